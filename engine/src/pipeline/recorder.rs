//! A histogram that one thread writes and any reads while it is written: nobody waits for anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations in microseconds, up to an hour, to three digits: the buckets of [`empty`], as plain counts. Relaxed
/// throughout: figures, which guard nothing. A count is written by one thread and seen late by an instant at most.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: Box<[AtomicU64]>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self { counts: (0..=index(MOST)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Records a duration, `count` times; one that is longer than an hour counts as an hour. For one thread: of two that
    /// do so at once, one may be lost.
    pub(crate) fn record(&self, duration: Duration, count: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(MOST);
        let place = &self.counts[index(micros.clamp(1, MOST))];
        place.store(place.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// What was recorded up to now.
    pub(super) fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty();
        for (index, count) in self.counts.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                histogram.saturating_record_n(lowest(index), count);
            }
        }
        histogram
    }
}

/// A histogram with nothing in it.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST, 3).expect("the bounds are in order")
}

/// An hour.
const MOST: u64 = 3_600_000_000;

/// The bits of a value that count. Three digits: 2,000 values are told apart in each doubling, and 2^11 is the next power.
const BITS: u32 = 11;

/// Half of the values that those bits tell apart: so many are new in each doubling.
const HALF: u64 = 1 << (BITS - 1);

/// The place of a value: itself while it has few bits, else by its leading bits.
fn index(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS);
    (HALF * u64::from(shift) + (value >> shift)) as usize
}

/// The lowest value that has this place.
fn lowest(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / HALF).saturating_sub(1);
    (index - HALF * shift) << shift
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_a_histogram_says(values in prop::collection::vec((0_u64..5_000_000_000, 1_u64..9), 1..50)) {
            let (recorder, mut histogram) = (Recorder::new(), empty());
            for (value, count) in values {
                // Small ones, too.
                for value in [value, value >> 16] {
                    recorder.record(Duration::from_micros(value), count);
                    histogram.saturating_record_n(value.clamp(1, MOST), count);
                }
            }
            let recorded = recorder.histogram();
            for quantile in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(recorded.value_at_quantile(quantile), histogram.value_at_quantile(quantile));
            }
            prop_assert_eq!(recorded.len(), histogram.len());
        }
    }

    #[test]
    fn every_place_is_the_place_of_its_lowest_value() {
        for place in 0..=index(MOST) {
            assert_eq!(index(lowest(place)), place);
        }
    }
}
