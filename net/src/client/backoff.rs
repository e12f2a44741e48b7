//! Pauses between attempts: twice as long each time, and never the same for all.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause before the next attempt: between half and the whole of a span that doubles, so that many clients
    /// that lost one server do not come back in one moment.
    pub(super) fn pause(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.max);
        jitter(span)
    }

    /// The longest pause, for what will not pass by itself.
    pub(super) fn longest(&mut self) -> Duration {
        self.next = self.max;
        jitter(self.max)
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// A random span between half of `span` and all of it.
pub(super) fn jitter(span: Duration) -> Duration {
    // The standard library's own randomness, which is all that this needs.
    let random = RandomState::new().hash_one(span);
    span / 2 + span.mul_f64(random as f64 / u64::MAX as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        let (min, max) = (Duration::from_millis(50), Duration::from_millis(300));
        let mut backoff = Backoff::new(min, max);
        for span in [50, 100, 200, 300, 300].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(span / 2 <= pause && pause <= span, "{pause:?} of {span:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= min);
        assert!(backoff.longest() >= max / 2);
        let first = jitter(max);
        assert!((0..64).any(|_| jitter(max) != first));
    }
}
