//! The figures of all goals, as they are kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::Outcome;
use crate::table::{Spread, commit};

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
    pub(crate) commit: String,
    /// Name of the machine in `perf/RESULTS.md`.
    pub(crate) machine: String,
    pub(crate) data: T,
}

impl<T> Section<T> {
    pub(crate) fn new(machine: &str, data: T) -> Result<Option<Self>> {
        Ok(Some(Self { commit: commit()?, machine: machine.to_owned(), data }))
    }
}

/// Runs with as many chains and connections, and those of the peer between them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shape {
    pub(crate) chains: u32,
    pub(crate) connections: u32,
    pub(crate) runs: Vec<Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) peer: Vec<Figures>,
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
    pub(crate) fn of(&self, value: impl Fn(&Outcome) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(value))
    }

    /// Of the runs that have the value; nothing if none has.
    pub(crate) fn rare(&self, value: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        let values: Vec<_> = self.runs.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| Spread::of(values))
    }

    /// Mainstem over the peer, run by run.
    pub(crate) fn over_peer(&self) -> Option<Spread> {
        let pairs = self.runs.iter().zip(&self.peer);
        let ratios: Vec<_> =
            pairs.map(|(run, peer)| run.blocks_per_second / peer.blocks_per_second).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
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

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}
