//! Slows a peer down that does much of what costs us more than it.

use std::time::{Duration, Instant};

use crate::reactor::Handle;

/// So many things in a row are done at once.
const AT_ONCE: u32 = 128;

/// Then no more for so long: 12,800 a second, which an honest peer needs only at its start, and a core hardly feels.
const REST: Duration = Duration::from_millis(10);

/// Counts what a peer makes us do.
#[derive(Debug, Default)]
pub(super) struct Calm {
    done: u32,
    since: Option<Instant>,
}

impl Calm {
    /// One more; waits if there were too many lately.
    pub(super) async fn step(&mut self, handle: &Handle) {
        self.done += 1;
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.done >= AT_ONCE {
            // In a box: hardly anybody ever gets here.
            Box::pin(handle.sleep(REST.saturating_sub(since.elapsed()))).await;
            *self = Self::default();
        }
    }
}
