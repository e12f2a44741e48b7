//! Lags: from the moment a block was due to the ack that covers it.

use std::time::{Duration, Instant};

use engine::chain::ChainId;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::session::Cursor;
use super::world::phase;

/// When batches of a paced load are due. Told by the clock alone: whoever is held up, blocked or gone owes what is due all the
/// same, or what was never sent would not count as late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) begun: Instant,
    pub(super) interval: Duration,
    /// Blocks of a batch.
    pub(super) batch: u64,
    pub(super) lasts: Duration,
}

impl Schedule {
    /// How many batches of `chain` are due by `now`.
    pub(super) fn due(&self, chain: ChainId, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begun);
        let since_first = elapsed.checked_sub(phase(chain, self.interval));
        since_first.map_or(0, |since| self.intervals(since) + 1).min(self.all(chain))
    }

    /// How many batches of `chain` become due in all: those before the end, and at least one.
    pub(super) fn all(&self, chain: ChainId) -> u64 {
        let after_first = self.lasts.saturating_sub(phase(chain, self.interval));
        self.intervals(after_first.saturating_sub(Duration::from_nanos(1))) + 1
    }

    /// When `batch` of `chain` is due, after the load has begun.
    fn due_at(&self, chain: ChainId, batch: u64) -> Duration {
        phase(chain, self.interval) + Duration::from_nanos(self.interval.as_nanos() as u64 * batch)
    }

    fn intervals(&self, within: Duration) -> u64 {
        (within.as_nanos() / self.interval.as_nanos()) as u64
    }
}

/// The lags of some chains.
pub(super) struct Lags(Histogram<u64>);

/// What became of a paced load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LagSummary {
    /// Batches whose lags are in it.
    pub(crate) batches: u64,
    /// Of them, those that were not acknowledged in the end: their lag is at least what is counted.
    pub(crate) unacknowledged: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) chains: u64,
    /// Chains of which some batch lagged by more than the interval and 100 ms.
    pub(crate) ever_behind: u64,
}

/// How much a chain may lag beyond its interval.
const GRACE: Duration = Duration::from_millis(100);

impl Default for Lags {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are within the bounds"))
    }
}

impl Lags {
    /// `batch` of `chain` is acknowledged at `now`. Gives its lag, in microseconds.
    pub(super) fn record(&mut self, chain: ChainId, batch: u64, schedule: &Schedule, now: Instant) -> u64 {
        let due = schedule.begun + schedule.due_at(chain, batch);
        let lag = now.saturating_duration_since(due).as_micros() as u64;
        self.0.record(lag).expect("it grows as it needs to");
        lag
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both grow as they need to");
    }

    pub(super) fn summary<'a>(
        &self,
        unacknowledged: u64,
        interval: Duration,
        cursors: impl Iterator<Item = &'a Cursor>,
    ) -> LagSummary {
        let most = (interval + GRACE).as_micros() as u64;
        let (mut chains, mut ever_behind) = (0, 0);
        for cursor in cursors {
            chains += 1;
            ever_behind += u64::from(cursor.worst > most);
        }
        let ms = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1e3;
        LagSummary {
            batches: self.0.len(),
            unacknowledged,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: self.0.max() as f64 / 1e3,
            chains,
            ever_behind,
        }
    }
}
