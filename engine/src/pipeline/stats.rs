//! What the stages did and how long it took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Figures since the start. Durations are in microseconds, up to an hour, to three digits.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Main blocks made durable.
    pub main_blocks: u64,
    /// Side blocks made durable.
    pub side_blocks: u64,
    /// From received to durable, one value a side block.
    pub durable: Histogram<u64>,
    /// Gathering and hashing, one value a main block.
    pub seal: Histogram<u64>,
    /// Appending to the store, one value a main block.
    pub append: Histogram<u64>,
    /// Making durable, one value a sync (of one or more main blocks).
    pub sync: Histogram<u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
        Self {
            main_blocks: 0,
            side_blocks: 0,
            durable: histogram(),
            seal: histogram(),
            append: histogram(),
            sync: histogram(),
        }
    }
}

/// Records a duration, `count` times. Longer than an hour counts as an hour.
pub(super) fn record(histogram: &mut Histogram<u64>, duration: Duration, count: u64) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(micros.max(1), count);
}
