//! A doorbell: many ingest threads tell one sealing thread that there is work, at the cost of one atomic
//! exchange when it has been told already.

use std::time::Duration;

use super::facade::{Arc, AtomicBool, Ordering};
use super::park::{Deadline, Parker, Unparker};

/// Rings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Doorbell {
    /// True from a ring until the waiter has heard it. Set by any ringer, cleared by the waiter.
    rung: Arc<AtomicBool>,
    unparker: Unparker,
}

/// Waits for rings.
#[derive(Debug)]
pub struct Waiter {
    rung: Arc<AtomicBool>,
    parker: Parker,
}

impl Doorbell {
    /// A doorbell and the one who waits at it.
    pub fn new() -> (Self, Waiter) {
        let parker = Parker::new();
        let rung = Arc::new(AtomicBool::new(false));
        (Self { rung: Arc::clone(&rung), unparker: parker.unparker().clone() }, Waiter { rung, parker })
    }

    /// Tells the waiter that there is work.
    pub fn ring(&self) {
        // AcqRel: the Release half pairs with the Acquire half in `Waiter::hear`, also when this exchange
        // finds the bell rung already, because it continues the release sequence: whatever was published
        // before the ring is seen by the waiter after it has heard.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.unparker.unpark();
        }
    }
}

impl Waiter {
    /// Waits until someone rings or `timeout` passes; tells whether someone has rung.
    pub fn wait(&self, timeout: Duration) -> bool {
        if self.hear() {
            return true;
        }
        let deadline = Deadline::after(timeout);
        loop {
            // A park may also end by the wake-up of a ring that was heard before: then nobody has rung.
            let over = deadline.park(&self.parker);
            if self.hear() {
                return true;
            }
            if over {
                return false;
            }
        }
    }

    /// Whether someone has rung since the last time; forgets it.
    pub fn hear(&self) -> bool {
        // AcqRel: see `Doorbell::ring`. Whoever rings after this exchange rings anew.
        self.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_tells_rings_from_the_wake_up_of_one_that_was_heard() {
        let (bell, waiter) = Doorbell::new();
        bell.ring();
        assert!(waiter.hear());
        // Its wake-up is still there, and ends no wait.
        let (begin, timeout) = (Instant::now(), Duration::from_millis(5));
        assert!(!waiter.wait(timeout));
        assert!(begin.elapsed() >= timeout);
        bell.ring();
        assert!(waiter.wait(Duration::MAX), "it was rung before");
        let ringing = std::thread::spawn(move || bell.ring());
        assert!(waiter.wait(Duration::MAX), "it is rung meanwhile");
        ringing.join().unwrap();
        assert!(!waiter.hear(), "a wait hears the ring that ends it");
    }
}
