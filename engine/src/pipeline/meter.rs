//! How busy a thread is, at the cost of one store when it begins and one when it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For how long a thread has been busy in all: told by that thread, seen by any, also in the middle of a turn.
///
/// All times are of one clock that never goes back and began at zero with the meter or before it.
#[derive(Debug, Default)]
pub struct Meter {
    /// Nanoseconds, shifted left by one. Idle: for how long it was busy. Busy (lowest bit set): how much of the clock's
    /// time it was not. So one word says all, and a reader never sees one half of a change.
    ///
    /// Written by the one thread, and relaxed: a figure that guards nothing. Others see it stale by an instant.
    state: AtomicU64,
}

impl Meter {
    /// The thread has something to do from `now` on. Nothing changes if it had already.
    pub fn begin(&self, now: Duration) {
        let state = self.state.load(Ordering::Relaxed);
        if state & BUSY == 0 {
            let idle = nanos(now).saturating_sub(state >> 1);
            self.state.store(idle << 1 | BUSY, Ordering::Relaxed);
        }
    }

    /// The thread has nothing to do from `now` on. Nothing changes if it had nothing already.
    pub fn end(&self, now: Duration) {
        let state = self.state.load(Ordering::Relaxed);
        if state & BUSY != 0 {
            self.state.store(nanos(now).saturating_sub(state >> 1) << 1, Ordering::Relaxed);
        }
    }

    /// For how long the thread has been busy until `now`.
    pub fn busy(&self, now: Duration) -> Duration {
        let state = self.state.load(Ordering::Relaxed);
        let time = state >> 1;
        Duration::from_nanos(if state & BUSY == 0 { time } else { nanos(now).saturating_sub(time) })
    }
}

const BUSY: u64 = 1;

/// 63 bits last for 292 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) & (u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_add_up_and_a_turn_that_goes_on_counts_up_to_now() {
        let ms = Duration::from_millis;
        let meter = Meter::default();
        assert_eq!(meter.busy(ms(5)), ms(0));
        meter.begin(ms(10));
        assert_eq!((meter.busy(ms(10)), meter.busy(ms(13))), (ms(0), ms(3)));
        meter.begin(ms(12));
        meter.end(ms(15));
        meter.end(ms(19));
        assert_eq!(meter.busy(ms(100)), ms(5));
        meter.begin(ms(200));
        assert_eq!(meter.busy(ms(201)), ms(6));
        // Somebody who looked at the clock before the turn began.
        assert_eq!(meter.busy(ms(100)), ms(0));
        meter.end(ms(202));
        assert_eq!(meter.busy(ms(202)), ms(7));
    }
}
