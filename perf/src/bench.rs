//! `mainstem bench`, run as a program, and what of its results is used here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::child::{Child, stopped};
use crate::table::{build, commit, root};

/// The fields of a result that goals are read from. Those that this program does not need are left out, those that an
/// older program does not write are empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    pub(crate) chains: u32,
    pub(crate) connections: u32,
    pub(crate) processors: usize,
    pub(crate) seconds: f64,
    pub(crate) side_blocks: u64,
    pub(crate) main_blocks: u64,
    pub(crate) blocks_per_second: f64,
    pub(crate) durable_p50_ms: f64,
    pub(crate) durable_p99_ms: f64,
    /// These four only where the limits were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<BTreeMap<String, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roofline_blocks_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bottleneck: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bottleneck_stage: Option<String>,
    pub(crate) spent_ns: BTreeMap<String, f64>,
    pub(crate) disk_sync_p50_ms: f64,
    pub(crate) disk_sync_p99_ms: f64,
    pub(crate) latency: Vec<Quantile>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) timeline: Vec<Tick>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocations: Option<Allocations>,
    pub(crate) machine: Machine,
    /// How much later than due a paced load handed blocks to its connections, where the program tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late_p99_ms: Option<f64>,
    /// What the log took of the disk at most, with what was set aside for more, over the blocks in it. Not of the program,
    /// but looked at from outside.
    pub(crate) disk_bytes_per_block: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) processors: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) disk: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quantile {
    /// Per cent.
    pub(crate) quantile: f64,
    pub(crate) ms: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) threads: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tick {
    /// Seconds since measuring began.
    pub(crate) at: f64,
    pub(crate) blocks_per_second: f64,
    /// Busy time of each stage over time and threads.
    pub(crate) utilisation: BTreeMap<String, f64>,
    pub(crate) memory_bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Allocations {
    pub(crate) per_side_block: f64,
    pub(crate) by_thread: Vec<ThreadAllocations>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ThreadAllocations {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) per_main_block: f64,
}

impl Outcome {
    /// Processor time of the node a side block, in ns: all but the load's. Nothing if the program does not tell.
    pub(crate) fn node_ns(&self) -> Option<f64> {
        let total = self.spent_ns.get("total")?;
        Some(total - self.spent_ns.get("load").copied().unwrap_or(0.0))
    }

    /// The limit that is the lowest, and the stage that takes most of it.
    pub(crate) fn narrowest(&self) -> String {
        let name = self.bottleneck.as_deref().unwrap_or("not measured").replace('_', " ");
        match &self.bottleneck_stage {
            Some(stage) => format!("{name} ({stage})"),
            None => name,
        }
    }

    /// Side blocks made durable since the load began: in the warm-up too.
    fn all_blocks(&self) -> f64 {
        let steps =
            self.timeline.windows(2).map(|pair| (pair[1].at - pair[0].at) * pair[1].blocks_per_second);
        steps.sum::<f64>().max(self.side_blocks as f64)
    }

    /// What is worth keeping of a run among many.
    pub(crate) fn without_timeline(self) -> Self {
        Self { timeline: Vec::new(), ..self }
    }
}

/// A program to measure, and a place for its files.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    scratch: PathBuf,
    commit: String,
}

/// In the place of a commit: of a program that was there already it is not known.
pub(crate) const GIVEN: &str = "given program";

/// What a run leaves on the disk, removed when this is dropped: also when the run fails or is stopped.
struct Files {
    data: PathBuf,
    json: PathBuf,
}

impl Files {
    fn remove(&self) {
        // Mostly they are not there.
        let _ = fs::remove_dir_all(&self.data);
        let _ = fs::remove_file(&self.json);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Program {
    /// The release build of this commit, or another program that is there already.
    pub(crate) fn new(given: Option<&Path>) -> Result<Self> {
        let (path, commit) = if let Some(given) = given {
            let path = given.canonicalize();
            (path.with_context(|| format!("{} is not there", given.display()))?, GIVEN.to_owned())
        } else {
            // Before it is built: what is committed meanwhile may not be in it.
            let commit = commit()?;
            (build("mainstem")?, commit)
        };
        let scratch = root()?.join("target").join("perf");
        fs::create_dir_all(&scratch).with_context(|| format!("{} cannot be made", scratch.display()))?;
        Ok(Self { path, scratch, commit })
    }

    /// The commit that it was built of, or [`GIVEN`].
    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    /// A directory on the disk that is measured.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// `mainstem bench` with `flags`, at the end of which its result is read.
    pub(crate) fn bench(&self, flags: &[String]) -> Result<Outcome> {
        // Dropped after the child, which then writes no more.
        let files = Files { data: self.scratch.join("data"), json: self.scratch.join("result.json") };
        // Left by a run that was killed; a bench refuses what is there.
        files.remove();
        let Files { data, json } = &files;
        let mut arguments = vec!["bench".to_owned()];
        arguments.extend_from_slice(flags);
        arguments.extend(["--data".into(), data.to_string_lossy().into_owned()]);
        arguments.extend(["--json".into(), json.to_string_lossy().into_owned()]);
        let mut child = Child::leashed("bench", &self.path, &arguments)?;
        let mut disk = 0;
        let status = loop {
            stopped()?;
            if let Some(status) = child.ended()? {
                break status;
            }
            disk = disk.max(disk_bytes(data));
            std::thread::sleep(Duration::from_millis(50));
        };
        if !status.success() {
            bail!("`mainstem {}` failed ({status}): see above", arguments.join(" "));
        }
        let text = fs::read_to_string(json).with_context(|| format!("{} cannot be read", json.display()))?;
        let mut outcome: Outcome = serde_json::from_str(&text)
            .with_context(|| format!("{} is no result of a bench", json.display()))?;
        outcome.disk_bytes_per_block = disk as f64 / outcome.all_blocks();
        Ok(outcome)
    }
}

/// What the files of a directory take of the disk; 0 while there is none.
fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => disk_bytes(&entry.path()),
        Ok(file) => file.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// The flags of a load with so many chains and connections, measured for some seconds.
pub(crate) fn flags(chains: u32, connections: u32, seconds: u64) -> Vec<String> {
    let flag = |name: &str, value: u64| [format!("--{name}"), value.to_string()];
    let mut flags = Vec::new();
    flags.extend(flag("chains", chains.into()));
    flags.extend(flag("connections", connections.into()));
    flags.extend(flag("seconds", seconds));
    flags.extend(flag("warm-up", WARM_UP.as_secs()));
    flags
}

/// How long a load runs before it is measured.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);
