//! The result of a bench, for people and for programs.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::limits::Limits;
use super::{Bench, Measured};

/// The result. The names are those of the JSON, which programs rely on.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    chains: u32,
    connections: u32,
    seconds: f64,
    processors: usize,
    side_blocks: u64,
    main_blocks: u64,
    /// Side blocks made durable, a second.
    blocks_per_second: f64,
    /// From received to durable.
    durable_p50_ms: f64,
    durable_p99_ms: f64,
    /// Gathering and hashing a main block.
    seal_p50_ms: f64,
    seal_p99_ms: f64,
    /// Making main blocks durable.
    sync_p50_ms: f64,
    sync_p99_ms: f64,
    /// What single stages can do alone, in side blocks a second.
    limits: Limits,
    /// What was achieved, over the lowest of them.
    ratio: f64,
}

impl Report {
    pub(super) fn new(bench: &Bench, measured: &Measured, limits: Limits) -> Self {
        let (before, after) = (&measured.before, &measured.after);
        let durable = since(&after.durable, &before.durable);
        let seal = since(&after.seal, &before.seal);
        let sync = since(&after.sync, &before.sync);
        let blocks_per_second = measured.side_blocks() as f64 / measured.elapsed.as_secs_f64();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            chains: bench.shape.chains,
            connections: bench.shape.connections,
            seconds: measured.elapsed.as_secs_f64(),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            side_blocks: measured.side_blocks(),
            main_blocks: measured.main_blocks(),
            blocks_per_second,
            durable_p50_ms: millis(&durable, 0.5),
            durable_p99_ms: millis(&durable, 0.99),
            seal_p50_ms: millis(&seal, 0.5),
            seal_p99_ms: millis(&seal, 0.99),
            sync_p50_ms: millis(&sync, 0.5),
            sync_p99_ms: millis(&sync, 0.99),
            limits,
            ratio: blocks_per_second / limits.hash.min(limits.write_and_sync),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).expect("numbers and texts can be written as JSON");
        fs::write(path, json + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chains, connections, processors, .. } = self;
        writeln!(
            f,
            "{chains} chains over {connections} connections, {:.1} s, {processors} processors",
            self.seconds
        )?;
        writeln!(f)?;
        writeln!(f, "  durable side blocks      {:>12.0} a second", self.blocks_per_second)?;
        writeln!(f, "  main blocks              {:>12.1} a second", self.main_blocks as f64 / self.seconds)?;
        writeln!(
            f,
            "  side blocks in one       {:>12}",
            self.side_blocks.checked_div(self.main_blocks).unwrap_or(0)
        )?;
        writeln!(f)?;
        writeln!(f, "  ms                             p50        p99")?;
        let row =
            |f: &mut fmt::Formatter<'_>, name, p50, p99| writeln!(f, "  {name:24} {p50:>10.2} {p99:>10.2}");
        row(f, "received to durable", self.durable_p50_ms, self.durable_p99_ms)?;
        row(f, "sealing a main block", self.seal_p50_ms, self.seal_p99_ms)?;
        row(f, "syncing", self.sync_p50_ms, self.sync_p99_ms)?;
        writeln!(f)?;
        writeln!(f, "  limits, alone            blocks/s   achieved")?;
        let limit = |f: &mut fmt::Formatter<'_>, name, limit: f64| {
            writeln!(f, "  {name:20} {limit:>12.0} {:>9.1} %", 100.0 * self.blocks_per_second / limit)
        };
        limit(f, "hashing", self.limits.hash)?;
        limit(f, "write and sync", self.limits.write_and_sync)
    }
}

/// What was recorded after `before` was taken.
fn since(after: &Histogram<u64>, before: &Histogram<u64>) -> Histogram<u64> {
    let mut recorded = after.clone();
    recorded.subtract(before).expect("an earlier state of the same histogram");
    recorded
}

/// A quantile of microseconds, in milliseconds.
fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
