//! Lags: from the moment a block was due to the ack that covers it.

use std::time::{Duration, Instant};

use engine::chain::ChainId;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::session::Cursor;
use super::world::phase;

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
    pub(super) fn record(
        &mut self,
        chain: ChainId,
        batch: u64,
        begun: Instant,
        interval: Duration,
        now: Instant,
    ) -> u64 {
        let due = begun + phase(chain, interval) + interval.mul_f64(batch as f64);
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
