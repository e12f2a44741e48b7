//! The request to stop: made once by anyone, seen by the stages.

use super::Doorbell;
use super::facade::{Arc, AtomicBool, Ordering};

/// Requests a stop and shows whether one was requested. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Set by whoever asks, never cleared. A stage may see it late, but not after it has heard the ring that follows.
    requested: Arc<AtomicBool>,
    doorbell: Doorbell,
}

impl Stop {
    /// Not requested yet. `doorbell` wakes the stage that has to see it first.
    pub fn new(doorbell: Doorbell) -> Self {
        Self { requested: Arc::new(AtomicBool::new(false)), doorbell }
    }

    /// Asks to stop, and rings.
    pub fn request(&self) {
        // Release: pairs with the Acquire load in `is_requested`: what was done before the request is seen by whoever
        // sees the request.
        self.requested.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    /// Whether a stop was requested: all work that came before the request is visible then.
    pub fn is_requested(&self) -> bool {
        // Acquire: see `Stop::request`.
        self.requested.load(Ordering::Acquire)
    }
}
