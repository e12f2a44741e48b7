//! What the machine can do of each stage alone: measured after the run, with its connections and as many bytes a sync,
//! on the same disk and processors.

pub(super) mod disk;
pub(super) mod hash;
pub(super) mod quic;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::settings::Settings;
use crate::threads::cores;

use super::outcome::{self, Costs};
use disk::Disk;

/// Bytes of a side block, on the wire and in the log: two hashes and a time.
pub(super) const BLOCK_BYTES: u64 = 72;

/// A limit and what it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<T> {
    pub(super) limit: Spread,
    pub(super) cost: T,
}

/// How often and for how long each limit is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    pub(super) count: u32,
    pub(super) time: Duration,
}

/// The median of all rounds, and the lowest and the highest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// All limits.
pub(super) struct Limits {
    pub(super) quic: Found<quic::Cost>,
    pub(super) hash: Found<f64>,
    pub(super) disk: Disk,
}

impl Rounds {
    /// As fits a run of so long: all limits together take about as long as it, between 2 and 12 seconds.
    pub(super) fn of(run: Duration) -> Self {
        let time = (run / 15).clamp(Duration::from_millis(100), Duration::from_millis(700));
        Self { count: 5, time }
    }
}

impl Spread {
    /// Of the rounds' figures.
    ///
    /// # Panics
    /// When there are none.
    pub(super) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let (low, high) = (figures[0], figures[figures.len() - 1]);
        Self { median: figures[figures.len() / 2], low, high }
    }

    /// In another unit.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// Measures all of them, the disk with so many bytes a sync. `show` is told what comes next, and may end it.
pub(super) fn measure(
    settings: &Settings,
    dir: &Path,
    connections: u32,
    sync_bytes: u64,
    rounds: Rounds,
    mut show: impl FnMut(&'static str) -> Result<()>,
) -> Result<Limits> {
    show("QUIC alone")?;
    let quic = quic::measure(settings, connections, rounds)?;
    show("hash alone")?;
    let hash = hash::measure(cores().get(), rounds);
    show("disk alone")?;
    let disk = disk::measure(dir, settings.storage.segment_bytes.0, sync_bytes, rounds)?;
    Ok(Limits { quic, hash, disk })
}

impl Limits {
    /// Processor time that each of them took, in nanoseconds a side block.
    pub(super) fn costs(&self) -> Costs {
        let quic = self.quic.cost;
        Costs {
            quic_send: quic.send,
            quic_receive: quic.receive,
            hash: self.hash.cost,
            write: self.disk.write.cost,
        }
    }

    /// Side blocks a second.
    pub(super) fn blocks_per_second(&self) -> outcome::Limits {
        outcome::Limits {
            quic: self.quic.limit.median,
            hash: self.hash.limit.median,
            write_and_sync: self.disk.write.limit.median,
            processors: outcome::over(cores().get() as f64 * 1e9, self.costs().total()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_sorted_rounds() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 9.0]), Spread { median: 3.0, low: 1.0, high: 9.0 });
    }
}
