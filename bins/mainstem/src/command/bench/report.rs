//! From what was measured to the result.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::threads::cores;

use super::format::{bytes, count, time};
use super::limits::{Limits, Spread};
use super::meter::{Measured, millis};
use super::outcome::{self, Costs, FORMAT, Limit, Outcome, Quantile, Spent, over};
use super::{Bench, host};

/// The quantiles of a latency that are kept, in per cent.
const QUANTILES: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// The result of a run. Without `limits` those are zero, and so is what follows from them.
pub(super) fn outcome(
    bench: &Bench,
    started: String,
    dir: &Path,
    measured: &Measured,
    limits: Option<&Limits>,
) -> Outcome {
    let seconds = measured.elapsed.as_secs_f64();
    let nothing = outcome::Limits { quic: 0.0, hash: 0.0, write_and_sync: 0.0, processors: 0.0 };
    let quantile = |quantile: f64| Quantile { quantile, ms: millis(&measured.durable, quantile / 100.0) };
    let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let late = Some(measured.lateness).filter(|late| late.blocks > 0);
    let outcome = Outcome {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        started,
        command: command.join(" "),
        machine: host::describe(dir),
        options: options(bench),
        processors: cores().get(),
        chains: bench.shape.chains,
        connections: bench.shape.connections,
        seconds,
        side_blocks: measured.side_blocks,
        main_blocks: measured.main_blocks,
        blocks_per_second: over(measured.side_blocks as f64, seconds),
        durable_p50_ms: millis(&measured.durable, 0.5),
        durable_p99_ms: millis(&measured.durable, 0.99),
        late_p50_ms: late.map(|late| late.p50_ms),
        late_p99_ms: late.map(|late| late.p99_ms),
        seal_p50_ms: millis(&measured.seal, 0.5),
        seal_p99_ms: millis(&measured.seal, 0.99),
        sync_p50_ms: millis(&measured.sync, 0.5),
        sync_p99_ms: millis(&measured.sync, 0.99),
        disk_sync_p50_ms: limits.map_or(0.0, |limits| limits.disk.sync_p50_ms),
        disk_sync_p99_ms: limits.map_or(0.0, |limits| limits.disk.sync_p99_ms),
        limits: limits.map_or(nothing, Limits::blocks_per_second),
        roofline_blocks_per_second: 0.0,
        ratio: 0.0,
        bottleneck: Limit::Processors,
        bottleneck_stage: None,
        costs_ns: limits.map_or_else(Costs::default, Limits::costs),
        spent_ns: spent(measured),
        latency: QUANTILES.map(quantile).into(),
        stages: measured.stages.clone(),
        timeline: measured.timeline.clone(),
        allocations: Some(measured.allocations.clone()),
    };
    if limits.is_some() { outcome.judged() } else { outcome }
}

/// Every flag as it was given, and what stands where none was.
fn options(bench: &Bench) -> BTreeMap<String, Value> {
    let Bench { shape, .. } = bench;
    let counted = bench.blocks.is_some();
    let options = [
        ("chains", json!(shape.chains)),
        ("connections", json!(shape.connections)),
        ("rate", json!(shape.rate)),
        ("skew", json!(shape.skew)),
        ("batch", json!(shape.batch)),
        ("seal-interval-ms", json!(shape.seal_interval_ms)),
        ("sync-interval-ms", json!(shape.sync_interval_ms)),
        ("hashing", json!(shape.hashing)),
        ("lane-blocks", json!(shape.lane_blocks())),
        ("data", json!(shape.data)),
        ("seconds", json!((!counted).then_some(bench.seconds))),
        ("warm-up", json!((!counted).then_some(bench.warm_up))),
        ("blocks", json!(bench.blocks)),
        ("json", json!(bench.json)),
        ("html", json!(bench.html)),
        ("no-limits", json!(bench.no_limits)),
    ];
    options.map(|(name, value)| (name.to_owned(), value)).into()
}

fn spent(measured: &Measured) -> Spent {
    let a_block = |ns: u64| over(ns as f64, measured.side_blocks as f64);
    let of = |name: &str| a_block(measured.cpu.get(name).copied().unwrap_or(0));
    let mut spent = Spent {
        load: a_block(measured.load_cpu),
        ingest: of("ingest"),
        seal: of("seal"),
        hash: of("hash"),
        persist: of("persist"),
        other: of("other"),
        total: 0.0,
    };
    spent.total = spent.parts().iter().map(|(_, ns)| ns).sum();
    spent
}

/// What the table has no place for, a line each.
pub(super) fn notes(bench: &Bench, measured: &Measured, limits: Option<&Limits>) -> Vec<String> {
    let mut notes = Vec::new();
    let memory = measured.timeline.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0);
    notes.push(format!(
        "Lanes of {} blocks; the node had {} of memory at most.",
        count(bench.shape.lane_blocks() as f64),
        bytes(memory as f64)
    ));
    let late = measured.lateness;
    if late.blocks > 0 {
        notes.push(format!(
            "Blocks were handed to their connections at most {} ms after they were due.",
            time(late.max_ms)
        ));
    }
    if let Some(limits) = limits {
        let spread = |spread: Spread| format!("{} to {}", count(spread.low), count(spread.high));
        notes.push(format!(
            "Limits are medians; from the lowest to the highest round: QUIC {}, hashing {}, write and sync {} ({} each).",
            spread(limits.quic.limit),
            spread(limits.hash.limit),
            spread(limits.disk.write.limit),
            bytes(limits.disk.piece_bytes as f64)
        ));
    }
    notes
}

/// What would raise the roofline, or bring the run nearer to it.
pub(super) fn advice(outcome: &Outcome) -> &'static str {
    match (outcome.bottleneck, outcome.bottleneck_stage.as_deref()) {
        (Limit::Quic, _) => {
            "More connections, ingest.reactors on more cores, or a path with larger datagrams would raise it."
        }
        (Limit::Hash, _) => "More cores would raise it: hashing uses all of them.",
        (Limit::WriteAndSync, _) => {
            "A faster disk would raise it (--data names the one to measure), or fewer syncs: seal.interval_ms and \
             storage.sync_interval_ms make larger pieces of it."
        }
        (Limit::Processors, Some("load")) => {
            "The load is no part of a node: one whose peers are elsewhere has that time for itself. More cores would \
             raise it, too."
        }
        (Limit::Processors, Some("ingest")) => {
            "More cores would raise it, peers elsewhere, and paths with larger datagrams: QUIC costs by the datagram."
        }
        (Limit::Processors, Some("persist")) => {
            "More cores would raise it; storing costs less when segments are used again (storage.keep_blocks)."
        }
        (Limit::Processors, _) => "More cores would raise it, or peers elsewhere.",
    }
}
