//! The figures of all goals, as they are kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::Outcome;
use crate::table::Spread;

/// What was measured last of each goal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    pub(crate) shapes: Option<Section<Vec<Shape>>>,
    pub(crate) latency: Option<Section<Vec<Latency>>>,
    /// One connection and more and more chains.
    pub(crate) flat: Option<Section<Vec<Shape>>>,
    pub(crate) catch_up: Option<Section<Outcome>>,
}

/// When it was measured, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Section<T> {
    /// What was measured, or [`GIVEN`](crate::bench::GIVEN).
    pub(crate) commit: String,
    /// Name of the machine in `perf/RESULTS.md`.
    pub(crate) machine: String,
    pub(crate) data: T,
}

/// Runs with as many chains and connections, and those of the peer between them. A run that failed is in neither list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shape {
    pub(crate) chains: u32,
    pub(crate) connections: u32,
    pub(crate) runs: Vec<Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) peer: Vec<Figures>,
    /// Rate of Mainstem over that of the peer, of the turns in which neither failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) over_peer: Vec<f64>,
}

/// Runs at a pace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Latency {
    pub(crate) interval_ms: u64,
    /// Side blocks a second.
    pub(crate) rate: u64,
    pub(crate) runs: Vec<Outcome>,
}

/// What a run of the peer gave.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    pub(crate) blocks_per_second: f64,
    pub(crate) durable_p50_ms: f64,
    pub(crate) durable_p99_ms: f64,
    /// Processor time a side block, of the receiver and of the sender.
    pub(crate) server_ns: f64,
    pub(crate) load_ns: f64,
    pub(crate) disk_bytes_per_block: f64,
    /// Side blocks in a main block, on average.
    pub(crate) main_block: f64,
    /// Resident memory of the receiver at the end.
    pub(crate) memory_bytes: u64,
}

impl Shape {
    /// Of so many chains and connections each, nothing measured.
    pub(crate) fn none<const N: usize>(shapes: [(u32, u32); N]) -> Vec<Self> {
        shapes.map(|(chains, connections)| Self { chains, connections, ..Self::default() }).into()
    }

    /// Adds what a turn has given.
    pub(crate) fn turn(&mut self, run: Option<Outcome>, peer: Option<Figures>) {
        if let (Some(run), Some(peer)) = (&run, &peer)
            && peer.blocks_per_second > 0.0
        {
            self.over_peer.push(run.blocks_per_second / peer.blocks_per_second);
        }
        self.runs.extend(run.map(Outcome::without_timeline));
        self.peer.extend(peer);
    }

    /// NaN if there is no run.
    pub(crate) fn of(&self, value: impl Fn(&Outcome) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(value))
    }

    /// Of the runs that have the value; nothing if none has.
    pub(crate) fn rare(&self, value: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of_any(self.runs.iter().filter_map(value))
    }

    /// Side blocks a second; nothing if there is no run.
    pub(crate) fn speed(&self) -> Option<Spread> {
        self.rare(|run| Some(run.blocks_per_second))
    }

    /// What was reached of the roofline. A run that did not measure it is held against that of the others.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        let roofline = self.rare(|run| run.roofline_blocks_per_second)?.median;
        self.rare(|run| Some(run.ratio.unwrap_or(run.blocks_per_second / roofline)))
    }

    /// Mainstem over the peer, turn by turn.
    pub(crate) fn over_peer(&self) -> Option<Spread> {
        Spread::of_any(self.over_peer.iter().copied())
    }
}

impl Latency {
    /// With so many ms between main blocks each, nothing measured.
    pub(crate) fn none<const N: usize>(intervals: [u64; N], rate: u64) -> Vec<Self> {
        intervals.map(|interval_ms| Self { interval_ms, rate, runs: Vec::new() }).into()
    }
}

impl Results {
    /// None at all where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        serde_json::from_str(&text).with_context(|| format!("{} has no figures of goals", path.display()))
    }

    /// Takes what `newer` has over.
    pub(crate) fn replace(&mut self, newer: &Self) {
        let Self { shapes, latency, flat, catch_up } = newer.clone();
        self.shapes = shapes.or(self.shapes.take());
        self.latency = latency.or(self.latency.take());
        self.flat = flat.or(self.flat.take());
        self.catch_up = catch_up.or(self.catch_up.take());
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}
