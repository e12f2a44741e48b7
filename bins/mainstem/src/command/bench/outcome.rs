//! The result of a bench, as programs read it: what `--json` writes and `--compare` reads.
//!
//! The names are those of the JSON, which scripts rely on: fields are added, never renamed. A reader ignores what it
//! does not know, so that an older program compares the runs of a newer one.

mod file;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a run achieved, what the machine could have done, and how to tell the two apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Version of this layout: [`FORMAT`].
    pub(super) format: u32,
    /// Version of the program.
    pub(super) version: String,
    /// When the run began, RFC 3339.
    #[serde(default)]
    pub(super) started: String,
    /// The command line.
    #[serde(default)]
    pub(super) command: String,
    #[serde(default)]
    pub(super) machine: Machine,
    /// Every flag by its name without the dashes, also those that were not given. A flag without a value is null.
    #[serde(default)]
    pub(super) options: BTreeMap<String, Value>,

    /// Processors that the run could use.
    pub(super) processors: usize,
    /// Side chains.
    pub(super) chains: u32,
    /// Connections that the chains were spread over.
    pub(super) connections: u32,
    /// How long was measured, without the warm-up.
    pub(super) seconds: f64,
    /// Side blocks made durable while it was measured.
    pub(super) side_blocks: u64,
    /// Main blocks made durable while it was measured.
    pub(super) main_blocks: u64,
    /// Side blocks made durable, a second.
    pub(super) blocks_per_second: f64,
    /// From the arrival of a frame in its lanes to the end of the sync that made it durable.
    pub(super) durable_p50_ms: f64,
    pub(super) durable_p99_ms: f64,
    /// How much later than due blocks were handed to their connections; only of a paced load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) late_p50_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) late_p99_ms: Option<f64>,
    /// Gathering and hashing a main block.
    pub(super) seal_p50_ms: f64,
    pub(super) seal_p99_ms: f64,
    /// Making main blocks durable.
    pub(super) sync_p50_ms: f64,
    pub(super) sync_p99_ms: f64,
    /// `fdatasync` alone, of as many bytes as the run's syncs made durable: of the run that measured the limit.
    #[serde(default)]
    pub(super) disk_sync_p50_ms: f64,
    #[serde(default)]
    pub(super) disk_sync_p99_ms: f64,

    /// All zero if they were not measured; then nothing that follows from them is known, see
    /// [`Outcome::has_limits`].
    #[serde(default)]
    pub(super) limits: Limits,
    /// The lowest of the limits, side blocks a second.
    #[serde(default)]
    pub(super) roofline_blocks_per_second: f64,
    /// `blocks_per_second` over the roofline.
    #[serde(default)]
    pub(super) ratio: f64,
    /// Which limit is the lowest.
    #[serde(default)]
    pub(super) bottleneck: Limit,
    /// If the processors are the bottleneck: the part of the work that took most of their time, see [`Spent::shown`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bottleneck_stage: Option<String>,

    /// Processor time that the limits needed.
    #[serde(default)]
    pub(super) costs_ns: Costs,
    /// Processor time that the run took.
    #[serde(default)]
    pub(super) spent_ns: Spent,
    /// From received to durable, by ascending quantile.
    #[serde(default)]
    pub(super) latency: Vec<Quantile>,
    /// In the order in which a block passes them.
    #[serde(default)]
    pub(super) stages: Vec<Stage>,
    /// By ascending time, at most [`MAX_TICKS`].
    #[serde(default)]
    pub(super) timeline: Vec<Tick>,
    /// Only where allocations were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) allocations: Option<Allocations>,
}

/// Where the run took place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    /// Model of the processors.
    pub(super) cpu: String,
    /// Processors that are there, whether or not the run could use them.
    pub(super) processors: usize,
    /// Main memory.
    pub(super) memory_bytes: u64,
    /// Release of the kernel.
    pub(super) kernel: String,
    /// File system and device of the log.
    pub(super) disk: String,
}

/// Side blocks a second that each stage could carry alone, measured in the same run: with the same connections and
/// chains, and as many bytes a sync. 0 is not known, as what the processors could do is where the system tells no
/// processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Bulk transfer of the same bytes over QUIC, whose receiver discards them.
    pub(super) quic: f64,
    /// Side leaves and nodes hashed on all processors.
    pub(super) hash: f64,
    /// The bytes of the log written and synced.
    pub(super) write_and_sync: f64,
    /// What all of it together could do if it shared the processors perfectly: `processors` over [`Costs::total`].
    pub(super) processors: f64,
}

/// The name of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    Quic,
    Hash,
    WriteAndSync,
    #[default]
    Processors,
}

/// Processor time that a side block needs where each stage runs alone, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Costs {
    pub(super) quic_send: f64,
    pub(super) quic_receive: f64,
    pub(super) hash: f64,
    pub(super) write: f64,
}

/// Processor time that a side block took in the run, by thread group, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Spent {
    /// The process that sends.
    pub(super) load: f64,
    pub(super) ingest: f64,
    pub(super) seal: f64,
    pub(super) hash: f64,
    pub(super) persist: f64,
    pub(super) other: f64,
    /// All of these.
    pub(super) total: f64,
}

/// A quantile of the latency from received to durable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantile {
    /// Per cent, 0 to 100.
    pub(super) quantile: f64,
    pub(super) ms: f64,
}

/// What a stage did while it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stage {
    /// `ingest`, `seal`, `append` or `sync`.
    pub(super) name: String,
    pub(super) threads: usize,
    /// Busy time over time and threads, 0 to 1.
    pub(super) utilisation: f64,
    /// What waited for it, in `unit`: the mean of all ticks, and the most.
    pub(super) queue_mean: f64,
    pub(super) queue_max: f64,
    /// How much may wait, in `unit`.
    pub(super) capacity: f64,
    pub(super) unit: String,
    /// Time of one main block in it; null where it is not measured.
    #[serde(default)]
    pub(super) p50_ms: Option<f64>,
    #[serde(default)]
    pub(super) p99_ms: Option<f64>,
}

/// What happened within a piece of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tick {
    /// Its end, in seconds since measuring began; negative during the warm-up.
    pub(super) at: f64,
    pub(super) blocks_per_second: f64,
    /// From received to durable, of what became durable; null if nothing did.
    #[serde(default)]
    pub(super) p50_ms: Option<f64>,
    #[serde(default)]
    pub(super) p99_ms: Option<f64>,
    /// Busy time of each stage over time and threads, 0 to 1.
    #[serde(default)]
    pub(super) utilisation: BTreeMap<String, f64>,
    /// What waits for each stage over its capacity, 0 to 1.
    #[serde(default)]
    pub(super) queue: BTreeMap<String, f64>,
    /// Resident memory of the node.
    #[serde(default)]
    pub(super) memory_bytes: u64,
}

/// Heap allocations of the node while it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Allocations {
    pub(super) per_side_block: f64,
    pub(super) by_thread: Vec<ThreadAllocations>,
}

/// Heap allocations of a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ThreadAllocations {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) per_main_block: f64,
}

/// The version of the layout that this program writes and reads.
pub(super) const FORMAT: u32 = 1;

/// What `seal` and `hash` of [`Spent`] are together.
pub(super) const SEAL_AND_HASH: &str = "seal and hash";

/// Most entries of a timeline.
pub(super) const MAX_TICKS: usize = 600;

impl Outcome {
    /// Fills in what follows from the limits and from what was achieved: roofline, ratio, bottleneck and its stage.
    pub(super) fn judged(mut self) -> Self {
        let Some(lowest) = self.limits.lowest() else { return self };
        self.bottleneck = lowest;
        self.roofline_blocks_per_second = self.limits.of(lowest);
        self.ratio = over(self.blocks_per_second, self.roofline_blocks_per_second);
        self.bottleneck_stage =
            (lowest == Limit::Processors).then(|| self.spent_ns.largest()).flatten().map(str::to_owned);
        self
    }

    /// Whether the load had a pace of its own, so that the run shows less than the machine can do.
    pub(super) fn paced(&self) -> bool {
        self.options.get("rate").is_some_and(|rate| !rate.is_null())
    }

    /// Whether the machine's limits were measured, and with them roofline, ratio and bottleneck.
    pub(super) fn has_limits(&self) -> bool {
        self.limits.lowest().is_some()
    }

    /// The ticks after the warm-up.
    pub(super) fn measured(&self) -> impl Iterator<Item = &Tick> {
        self.timeline.iter().filter(|tick| tick.at > 0.0)
    }
}

impl Limits {
    /// The lowest one that is known; of equal ones the first.
    pub(super) fn lowest(&self) -> Option<Limit> {
        self.known().min_by(|a, b| self.of(*a).total_cmp(&self.of(*b)))
    }

    /// Those that are known.
    pub(super) fn known(&self) -> impl Iterator<Item = Limit> {
        Limit::ALL.into_iter().filter(|limit| self.of(*limit) > 0.0)
    }

    /// Side blocks a second.
    pub(super) fn of(&self, limit: Limit) -> f64 {
        match limit {
            Limit::Quic => self.quic,
            Limit::Hash => self.hash,
            Limit::WriteAndSync => self.write_and_sync,
            Limit::Processors => self.processors,
        }
    }
}

impl Limit {
    /// In the order in which a block meets them, and what they share last.
    pub(super) const ALL: [Self; 4] = [Self::Quic, Self::Hash, Self::WriteAndSync, Self::Processors];

    /// What people call it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Quic => "QUIC",
            Self::Hash => "hashing",
            Self::WriteAndSync => "write and sync",
            Self::Processors => "processors, all shared",
        }
    }
}

impl Costs {
    /// Names and values, as a block meets them.
    pub(super) fn parts(&self) -> [(&'static str, f64); 4] {
        [
            ("quic_send", self.quic_send),
            ("quic_receive", self.quic_receive),
            ("hash", self.hash),
            ("write", self.write),
        ]
    }

    /// What a part of [`Spent::shown`] would need alone; nothing for one that no limit stands for.
    pub(super) fn of_group(&self, group: &str) -> Option<f64> {
        match group {
            "load" => Some(self.quic_send),
            "ingest" => Some(self.quic_receive),
            SEAL_AND_HASH => Some(self.hash),
            "persist" => Some(self.write),
            _ => None,
        }
    }

    /// All of it.
    pub(super) fn total(&self) -> f64 {
        self.parts().iter().map(|(_, ns)| ns).sum()
    }
}

impl Spent {
    /// Names and values, as a block meets them.
    pub(super) fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("load", self.load),
            ("ingest", self.ingest),
            ("seal", self.seal),
            ("hash", self.hash),
            ("persist", self.persist),
            ("other", self.other),
        ]
    }

    /// The same as people are shown it: sealing and hashing are one part, because with one hashing thread it is the
    /// thread that seals which hashes.
    pub(super) fn shown(&self) -> [(&'static str, f64); 5] {
        [
            ("load", self.load),
            ("ingest", self.ingest),
            (SEAL_AND_HASH, self.seal + self.hash),
            ("persist", self.persist),
            ("other", self.other),
        ]
    }

    /// The part that took most; nothing if none was measured.
    fn largest(&self) -> Option<&'static str> {
        let parts = self.shown().into_iter();
        parts.filter(|(_, ns)| *ns > 0.0).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
    }
}

/// A part of a whole; 0 of nothing, because JSON knows no infinity.
pub(super) fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
