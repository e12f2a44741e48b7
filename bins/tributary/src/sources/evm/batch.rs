//! How many calls go into one request: as many as the node takes and answers in good time.

use std::time::Duration;

/// A batch size that halves when a node refuses or is slow, and doubles again when it serves well.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchSize {
    size: u64,
    max: u64,
    /// Good answers in a row since the size changed.
    good: u32,
    /// How many of them it takes to try a larger size.
    patience: u32,
    /// Whether the last change was to a larger size.
    grown: bool,
}

impl BatchSize {
    pub(super) fn new(max: u64) -> Self {
        Self { size: max, max, good: 0, patience: PATIENCE, grown: false }
    }

    pub(super) fn get(self) -> u64 {
        self.size
    }

    /// The node refused a batch of `count`, or failed on it.
    pub(super) fn refused(&mut self, count: u64) {
        if self.grown {
            // It was asked for more again, in vain: ask less often.
            self.patience = (self.patience * 2).min(MAX_PATIENCE);
        }
        self.size = (count / 2).max(1);
        self.good = 0;
        self.grown = false;
    }

    /// The node answered a batch of `count` in `time`.
    pub(super) fn answered(&mut self, count: u64, time: Duration) {
        if time > SLOW && count > 1 {
            self.refused(count);
        } else if self.size < self.max {
            self.good += 1;
            if self.good >= self.patience {
                self.size = (self.size * 2).min(self.max);
                self.good = 0;
                self.grown = true;
            }
        }
    }
}

/// A node that needs longer for a batch gets smaller ones: blocks then flow evenly and no time-out is near.
const SLOW: Duration = Duration::from_secs(3);
const PATIENCE: u32 = 16;
const MAX_PATIENCE: u32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_takes_thirty_calls_soon_gets_twenty_five_and_is_asked_for_more_ever_more_rarely() {
        let mut size = BatchSize::new(100);
        let mut refusals = 0;
        for _ in 0..10_000 {
            let count = size.get();
            if count > 30 {
                refusals += 1;
                size.refused(count);
            } else {
                size.answered(count, Duration::from_millis(5));
            }
        }
        assert_eq!(size.get(), 25);
        assert!(refusals < 20, "{refusals}");
    }

    #[test]
    fn a_slow_node_gets_less_down_to_one_call_and_all_of_it_again_when_it_is_fast() {
        let mut size = BatchSize::new(100);
        for _ in 0..20 {
            size.answered(size.get(), SLOW * 2);
        }
        assert_eq!(size.get(), 1);
        for _ in 0..7 * PATIENCE {
            size.answered(size.get(), Duration::from_millis(5));
        }
        assert_eq!(size.get(), 100);
    }
}
