//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::engine::Engine;
use crate::spec::Tuning;

/// Measure our QUIC reactor against other runtimes under the same quinn, and against plain UDP.
///
/// Sender and receiver are processes of their own, each on a core of its own where there are two, with the transport
/// settings of the product. The receiver discards what it reads. Runs are interleaved: every round measures each runtime
/// once, in an order that changes. Results are Markdown tables: the median of the runs with the lowest and the highest.
/// Processor time per byte is that of the whole process and says more than the speed where the machine has other work.
///
/// The other runtimes, tokio's two, are built with `--features peers`. Takes some ten minutes with them.
#[derive(Parser)]
#[command(name = "quic", bin_name = "cargo bench -p mainstem-benches --features peers --bench quic --")]
pub(crate) struct Args {
    /// Fractions of a second each, to see that everything runs
    #[arg(long)]
    quick: bool,

    /// Only these parts [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PART,..")]
    only: Vec<Part>,

    /// Only these runtimes [default: all that were built]
    #[arg(long, value_delimiter = ',', value_name = "RUNTIME,..")]
    runtimes: Vec<Engine>,

    /// Bulk: numbers of connections
    #[arg(long, value_delimiter = ',', value_name = "N,..", default_values_t = [1, 10, 100, 1000])]
    connections: Vec<usize>,

    /// Bulk: numbers of streams of each connection
    #[arg(long, value_delimiter = ',', value_name = "N,..", default_values_t = [1, 8])]
    streams: Vec<u32>,

    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,

    /// Seconds of each run that are measured
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// Seconds before, for slow start and the discovery of the path's MTU
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    warm_up: f64,

    /// Let the system place the processes
    #[arg(long)]
    pub(crate) unpinned: bool,

    /// Only this process's figures: run the receiver under this command (`perf record -o x`, ..)
    #[arg(long, value_name = "COMMAND")]
    pub(crate) receiver_under: Option<String>,

    /// The same for the sender
    #[arg(long, value_name = "COMMAND")]
    pub(crate) sender_under: Option<String>,

    #[command(flatten)]
    pub(crate) tuning: Tuning,

    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Given by `cargo bench` and not by `cargo test`, which runs `--quick`
    #[arg(long, hide = true)]
    bench: bool,

    /// As a process of its own: what this tells
    #[arg(long, hide = true, value_name = "JSON")]
    pub(crate) child: Option<String>,

    /// Names of benches, for all benches of the package
    #[arg(hide = true)]
    filter: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// As many bytes as go through, and plain UDP
    Bulk,
    /// A small message there and back
    Echo,
    /// Handshakes
    Accept,
    /// Connections that say nothing
    Idle,
}

/// What to do, and how much of it.
pub(crate) struct Plan {
    /// So little that nothing can be said of speed.
    pub(crate) quick: bool,
    pub(crate) parts: Vec<Part>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) connections: Vec<usize>,
    pub(crate) streams: Vec<u32>,
    pub(crate) idle_connections: usize,
    pub(crate) runs: u32,
    pub(crate) measured: Duration,
    pub(crate) warm_up: Duration,
    /// Of idle connections: their keep-alives come every 20 s.
    pub(crate) idle: Duration,
}

impl Args {
    /// Whether some other bench is meant.
    pub(crate) fn is_for_others(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| !"quic".contains(filter.as_str()))
    }

    /// What was asked for, checked.
    pub(crate) fn plan(&self) -> Result<Plan> {
        if let Some(missing) = self.runtimes.iter().find(|runtime| !runtime.is_built()) {
            bail!("--runtimes: {missing} is not in this build; tokio's need `--features peers`");
        }
        let engines = if self.runtimes.is_empty() {
            Engine::value_variants().iter().copied().filter(|engine| engine.is_built()).collect()
        } else {
            self.runtimes.clone()
        };
        let parts = if self.only.is_empty() { Part::value_variants().to_vec() } else { self.only.clone() };
        for (name, seconds) in [("--seconds", self.seconds), ("--warm-up", self.warm_up)] {
            ensure!((0.05..=600.0).contains(&seconds), "{name} is {seconds}, expected 0.05 to 600");
        }
        let plan = Plan {
            quick: false,
            parts,
            engines,
            connections: self.connections.clone(),
            streams: self.streams.clone(),
            idle_connections: 1000,
            runs: self.runs,
            measured: Duration::from_secs_f64(self.seconds),
            warm_up: Duration::from_secs_f64(self.warm_up),
            idle: Duration::from_secs(20),
        };
        if self.bench && !self.quick {
            return Ok(plan);
        }
        Ok(Plan {
            quick: true,
            connections: vec![1, 5],
            streams: vec![2],
            idle_connections: 5,
            runs: 1,
            measured: Duration::from_millis(100),
            warm_up: Duration::from_millis(50),
            idle: Duration::from_millis(100),
            ..plan
        })
    }
}

impl Plan {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}
