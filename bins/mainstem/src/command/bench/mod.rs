//! `mainstem bench`: how many side blocks a second this machine takes in, durably, over real QUIC.
//!
//! ```text
//!   this process: a whole node (ingest, lanes, sealing, log)  <==QUIC, loopback==  `bench-load`: another process
//! ```
//! The load is flat out: blocks made of cheap pseudo-random bytes, so that making them costs the sender little, and
//! linked as every chain's are. What is counted is side blocks made durable between the end of the warm-up and the
//! end of the run; latencies run from a frame's arrival in its lane to the end of the sync that made it durable.

mod bed;
mod limits;
mod load;
mod outcome;
mod report;
mod shape;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use engine::pipeline::Stats;
use indicatif::{ProgressBar, ProgressStyle};

use crate::signals::Signals;

pub(crate) use bed::Bed;
pub(crate) use load::BenchLoad;
pub(crate) use shape::Shape;

use report::Report;

const EXAMPLES: &str = "\
Examples:
  mainstem bench                                         100 chains over one connection, 10 seconds
  mainstem bench --chains 1000 --connections 4           1000 chains over four connections
  mainstem bench --chains 1 --seconds 30 --json one.json one chain; the result also as JSON

The load comes from a process of its own on this machine, so it takes a share of the processors: a node whose peers are
elsewhere does better.";

/// Measure how many side blocks a second this machine indexes durably.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    #[command(flatten)]
    shape: Shape,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before measuring, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Write the result to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How often it is looked at how far things are.
const TICK: Duration = Duration::from_millis(100);

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let signals = Signals::listen()?;
        let bed = Bed::start(&self.shape)?;
        let measured = self.measure(&bed, &signals)?;
        let (_, scratch) = bed.end()?;
        let limits = limits::measure(scratch.path(), measured.mean_block())?;
        let report = Report::new(&self, &measured, limits);
        println!("{report}");
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        Ok(())
    }

    fn measure(&self, bed: &Bed, signals: &Signals) -> Result<Measured> {
        let node = bed.node();
        let (warm_up, seconds) = (Duration::from_secs(self.warm_up), Duration::from_secs(self.seconds));
        let bar = if stderr().is_terminal() {
            ProgressBar::new((warm_up + seconds).as_secs() * 10)
        } else {
            ProgressBar::hidden()
        };
        let style = "{prefix:9} [{bar:40}] {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        bed.wait_connected(signals)?;
        bar.set_prefix("warm-up");
        let run = |bar: &ProgressBar, duration: Duration| -> Result<(Stats, Duration)> {
            let before = node.stats();
            let start = Instant::now();
            let mut last = (start, node.side_blocks());
            while start.elapsed() < duration {
                bed.wait(signals, TICK)?;
                let (now, blocks) = (Instant::now(), node.side_blocks());
                let rate = (blocks - last.1) as f64 / (now - last.0).as_secs_f64();
                last = (now, blocks);
                bar.set_message(format!("{blocks} blocks, {:.2} million a second", rate / 1e6));
                bar.inc(1);
            }
            Ok((before, start.elapsed()))
        };
        run(&bar, warm_up)?;
        bar.set_prefix("measuring");
        let (before, elapsed) = run(&bar, seconds)?;
        bar.finish_and_clear();
        Ok(Measured { before, after: node.stats(), elapsed })
    }
}

/// What was measured: the figures of the engine before and after.
struct Measured {
    before: Stats,
    after: Stats,
    elapsed: Duration,
}

impl Measured {
    fn side_blocks(&self) -> u64 {
        self.after.side_blocks - self.before.side_blocks
    }

    fn main_blocks(&self) -> u64 {
        self.after.main_blocks - self.before.main_blocks
    }

    /// Side blocks in a main block, on average.
    fn mean_block(&self) -> u64 {
        self.side_blocks().checked_div(self.main_blocks()).unwrap_or(1).max(1)
    }
}
