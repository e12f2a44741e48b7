//! The goals of the whole way of a block, measured in one command: rows for `perf/RESULTS.md`, the figures as JSON, plots.
//!
//! What is compared is measured by turns: shape after shape and the peer between them, then all of it again, so that a
//! slower quarter of an hour of the machine is a slower one for all.

mod measure;
mod results;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::bench::Program;
use crate::child::stop_on_signals;
use crate::table::{Progress, root};

#[cfg(feature = "peer")]
pub(crate) use results::Figures;
pub(crate) use results::{Latency, Results, Shape};

/// Measure the goals of the whole way of a block, and print their rows for perf/RESULTS.md
///
/// Everything by default: about ten minutes after the build, in which the machine should do nothing else, and 10 GB of disk
/// in target/perf for a while. Nearly all of the time is runs of 8 to 20 s: it grows with --runs and --seconds. The disk is
/// for catching up, 100 bytes for each of --blocks. The peer takes --features peer of cargo.
///
/// What is measured goes into a file, in the place of what that had of the same goals; the plots show what is in it.
#[derive(Args)]
pub(crate) struct Goals {
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GOALS")]
    only: Vec<Goal>,
    /// Runs of each; catching up takes one
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Blocks to catch up with
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(2_000_000..))]
    blocks: u64,
    /// Measure this program, and not the release build of this commit
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// What the machine is called in perf/RESULTS.md
    #[arg(long, default_value = "M1")]
    machine: String,
    /// The file of the figures [default: perf/results/goals.json]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Plot what is in it to this directory
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Goal {
    /// Four numbers of chains and connections, flat out, against the roofline
    Shapes,
    /// From received to durable at half of the highest rate
    Latency,
    /// Cost of a block with one chain and with a thousand
    Flat,
    /// A hundred million waiting blocks: rate, memory, cost of the first and of the last
    CatchUp,
    /// Against common parts put together
    Peer,
    /// Of heap memory, in the runs of the shapes
    Allocations,
}

impl Goals {
    pub(crate) fn run(&self) -> Result<()> {
        if self.only.contains(&Goal::Peer) && !cfg!(feature = "peer") {
            bail!(
                "the peer is not built in: `cargo run --release -p mainstem-perf --features peer -- goals`"
            );
        }
        stop_on_signals()?;
        let file = match &self.results {
            Some(file) => file.clone(),
            None => default_file()?,
        };
        let mut kept = Results::read(&file)?;
        let program = Program::new(self.program.as_deref())?;
        let progress = Progress::new(measure::steps(self));
        if self.wants(Goal::Peer) && !self.peer() {
            progress.note("the peer is left out: it takes --features peer");
        }
        let mut results = Results::default();
        let measured = measure::all(self, &program, &progress, &mut results);
        drop(progress);
        print!("{}", rows::markdown(self, &results, &kept));
        // What is there is kept, also when a later goal failed.
        kept.replace(&results);
        kept.write(&file)?;
        if let Some(dir) = &self.plots {
            crate::plot::write(&kept, dir)?;
        }
        match measured? {
            0 => Ok(()),
            failed => bail!("{failed} runs failed: see above"),
        }
    }

    fn wants(&self, goal: Goal) -> bool {
        self.only.is_empty() || self.only.contains(&goal)
    }

    fn peer(&self) -> bool {
        self.wants(Goal::Peer) && cfg!(feature = "peer")
    }

    /// Whether the shapes have to be run, for whatever goal.
    fn shapes(&self) -> bool {
        [Goal::Shapes, Goal::Peer, Goal::Allocations].into_iter().any(|goal| self.wants(goal))
    }
}

/// Where figures are kept.
pub(crate) fn default_file() -> Result<PathBuf> {
    Ok(root().context("the figures are kept in the workspace")?.join("perf/results/goals.json"))
}
