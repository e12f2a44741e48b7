//! `mainstem bench`: how many side blocks a second this machine takes in, durably, over real QUIC, and how much of what
//! the machine can do that is.
//!
//! ```text
//!   this process: a whole node (ingest, lanes, sealing, log)  <==QUIC, loopback==  `bench-load`: another process
//!   then, one by one: QUIC alone, hashing alone, the disk alone                      the limits
//! ```
//! What is counted is side blocks made durable between the end of the warm-up and the end of the run; latencies run
//! from a frame's arrival in its lane to the end of the sync that made it durable. The limits are measured in the same
//! run with the same connections, chains and bytes a sync; achieved over the lowest limit is the ratio.

mod bed;
mod compare;
mod cpu;
pub(crate) mod format;
mod host;
mod html;
mod limits;
mod load;
mod machine;
mod meter;
mod outcome;
mod progress;
mod report;
mod shape;
mod summary;

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::signals::Signals;

pub(crate) use bed::Bed;
pub(crate) use load::BenchLoad;
pub(crate) use shape::Shape;

use limits::Rounds;
use meter::{Measured, Meter};
use progress::Progress;

const EXAMPLES: &str = "\
Examples:
  mainstem bench                                      100 chains over one connection, flat out, 10 seconds
  mainstem bench --chains 10_000 --connections 10 --json a.json --html a.html
                                                      ten thousand chains; the result also as JSON and with plots
  mainstem bench --rate 2M --seal-interval-ms 0       latency at two million side blocks a second, sealed at once
  mainstem bench --chains 1000 --skew zipf            a few busy chains and many quiet ones
  mainstem bench --blocks 100M                        catching up: how long a hundred million waiting blocks take
  mainstem bench --compare a.json b.json              what changed between two runs
  mainstem bench machine                              what this machine could do, stage by stage, without a node

The load comes from a process of its own on this machine, so it takes a share of the processors: a node whose peers are \
elsewhere does better. A lane holds by default the busiest chain's share of a million blocks, at least 256: so queues, and \
with them memory and latency, do not grow with the number of chains.";

/// Measure how many side blocks a second this machine indexes durably, and how near to its limits that is
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    shape: Shape,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before measuring, in seconds
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Measure until so many blocks, which all wait from the start, are durable: catching up
    #[arg(long, value_name = "N", value_parser = blocks, conflicts_with_all = ["seconds", "warm_up"])]
    blocks: Option<u64>,
    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result to this file, as a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Do not measure the machine's limits afterwards
    #[arg(long)]
    no_limits: bool,
    /// Measure nothing, and show what differs between the results of two runs
    #[arg(long, value_names = ["A.json", "B.json"], num_args = 2, conflicts_with_all = RUNNING)]
    compare: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    Machine(machine::MachineBench),
}

/// Flags of a run.
const RUNNING: [&str; 15] = [
    "chains",
    "connections",
    "rate",
    "skew",
    "batch",
    "seal_interval_ms",
    "sync_interval_ms",
    "hashing",
    "lane_blocks",
    "data",
    "seconds",
    "warm_up",
    "blocks",
    "json",
    "no_limits",
];

fn blocks(text: &str) -> Result<u64, String> {
    shape::within(text, 1, 1_000_000_000_000)
}

/// Refuses a file that cannot be written before the minutes are spent.
fn check_out(path: &Path) -> Result<()> {
    let found = fs::metadata(path);
    // To open a pipe would wait for its reader.
    if found.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(());
    }
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.with_context(|| format!("{} cannot be written", path.display()))?;
    if found.is_err() {
        fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(Part::Machine(machine)) = &self.part {
            return machine.run();
        }
        if let [a, b] = self.compare.as_slice() {
            return compare::run(a, b, self.html.as_deref());
        }
        self.json.iter().chain(&self.html).try_for_each(|path| check_out(path))?;
        let (signals, started) = (Signals::listen()?, host::now());
        let progress = RefCell::new(Progress::new());
        progress.borrow().step("connecting");
        let bed = Bed::start_with(&self.shape, self.blocks)?;
        let measured = self.measure(&bed, &signals, &progress)?;
        let settings = bed.settings().clone();
        progress.borrow().step("stopping");
        let (_, scratch) = bed.end()?;
        let limits = if self.no_limits {
            None
        } else {
            let (connections, sync_bytes) = (self.shape.connections, measured.sync_bytes());
            let rounds = Rounds::of(measured.elapsed);
            let show = |what| {
                progress.borrow().step(what);
                bed::stopped(&signals, Duration::ZERO)
            };
            Some(limits::measure(&settings, scratch.path(), connections, sync_bytes, rounds, show)?)
        };
        progress.borrow().finish();
        let outcome = report::outcome(&self, started, scratch.path(), &measured, limits.as_ref());
        println!("{outcome}");
        if limits.is_some() {
            println!("{}", report::advice(&outcome));
        }
        for note in report::notes(&self, &measured, limits.as_ref()) {
            println!("{note}");
        }
        if let Some(path) = &self.json {
            outcome.write(path)?;
        }
        if let Some(path) = &self.html {
            html::write(path, &outcome)?;
        }
        Ok(())
    }

    fn measure(&self, bed: &Bed, signals: &Signals, progress: &RefCell<Progress>) -> Result<Measured> {
        let (warm_up, lasts) = (Duration::from_secs(self.warm_up), Duration::from_secs(self.seconds));
        bed.wait_welcome(signals)?;
        let mut meter = Meter::new(bed);
        if let Some(all) = self.blocks {
            progress.borrow().step("catching up");
            return meter.measure(signals, meter::End::Blocks(all), |blocks| {
                progress.borrow_mut().counted(blocks, all);
            });
        }
        let timed = |begun: Instant, lasts: Duration| {
            move |blocks: u64| progress.borrow_mut().timed(begun, lasts, blocks)
        };
        progress.borrow().step("warm-up");
        meter.warm_up(signals, warm_up, timed(Instant::now(), warm_up))?;
        progress.borrow().step("measuring");
        let begun = Instant::now();
        meter.measure(signals, meter::End::At(begun + lasts), timed(begun, lasts))
    }
}
