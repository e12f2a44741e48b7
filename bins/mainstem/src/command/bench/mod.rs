//! `mainstem bench`: how many side blocks a second this machine takes in, durably, over real QUIC.
//!
//! ```text
//!   this process: a whole node (ingest, lanes, sealing, log)  <==QUIC, loopback==  `bench-load`: another process
//! ```
//! The load is flat out: blocks made of cheap pseudo-random bytes, so that making them costs the sender little, and
//! linked as every chain's are. What is counted is side blocks made durable between the end of the warm-up and the
//! end of the run; latencies run from a frame's arrival in its lane to the end of the sync that made it durable.

mod limits;
mod load;
mod report;

use std::fs;
use std::io::{IsTerminal, stderr};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{ChainId, Height, NodeKey};
use engine::pipeline::Stats;
use engine::quorum::FinalityRule;
use engine::state::{Genesis, MainChain, SideChain};
use indicatif::{ProgressBar, ProgressStyle};
use net::identity::Identity;

use crate::data_dir::DataDir;
use crate::node::{Node, PortFlags};
use crate::settings::{ByteSize, Settings};
use crate::signals::Signals;

pub(crate) use load::BenchLoad;
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
    /// Side chains.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chains: u32,
    /// Connections that the chains are spread over; each is a node with a key of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before measuring, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Blocks that a lane holds; by default a million shared between the chains, at least 4096 each.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    lane_blocks: Option<u64>,
    /// Where to put the log while it runs; removed afterwards. Choose the disk to be measured.
    #[arg(long, default_value = "mainstem-bench")]
    data: PathBuf,
    /// Write the result to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Ports are chosen by the system, so none can be busy.
const PORTS: PortFlags = PortFlags { ingest: "nothing", api: "nothing" };

/// How often it is looked at how far things are.
const TICK: Duration = Duration::from_millis(100);

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        if self.connections > self.chains {
            bail!(
                "--connections is {}, and --chains {}: every connection needs a chain to speak for",
                self.connections,
                self.chains
            );
        }
        let signals = Signals::listen()?;
        let scratch = Scratch::make(&self.data)?;
        let settings = self.settings(scratch.path());
        write_world(&settings, &self.genesis())?;

        let node = Node::start(&settings, PORTS)?;
        let load = Load::start(&self, node.ingest_addr(), node.key())?;
        let measured = self.measure(&node, &signals);
        drop(load);
        let stopped = node.stop();
        let measured = measured?;
        stopped?;
        let limits = limits::measure(scratch.path(), measured.mean_block())?;
        let report = Report::new(&self, &measured, limits);
        println!("{report}");
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        Ok(())
    }

    fn measure(&self, node: &Node, signals: &Signals) -> Result<Measured> {
        let (warm_up, seconds) = (Duration::from_secs(self.warm_up), Duration::from_secs(self.seconds));
        let bar = if stderr().is_terminal() {
            ProgressBar::new((warm_up + seconds).as_secs() * 10)
        } else {
            ProgressBar::hidden()
        };
        let style = "{prefix:9} [{bar:40}] {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));

        // The first block is durable when the load has connected: only then does the warm-up begin.
        let deadline = Instant::now() + CONNECT;
        while node.side_blocks() == 0 {
            if Instant::now() > deadline {
                bail!("no block became durable within {} s: the load did not connect", CONNECT.as_secs());
            }
            wait(node, signals)?;
        }
        bar.set_prefix("warm-up");
        let run = |bar: &ProgressBar, duration: Duration| -> Result<(Stats, Duration)> {
            let before = node.stats();
            let start = Instant::now();
            let mut last = (start, node.side_blocks());
            while start.elapsed() < duration {
                wait(node, signals)?;
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

    fn settings(&self, dir: &Path) -> Settings {
        let mut settings = Settings::default();
        dir.clone_into(&mut settings.data.dir);
        settings.ingest.addr = (Ipv4Addr::LOCALHOST, 0).into();
        settings.api.addr = (Ipv4Addr::LOCALHOST, 0).into();
        let shared = (1_u64 << 20) / u64::from(self.chains);
        let lane_blocks = self.lane_blocks.unwrap_or(shared.next_power_of_two().max(4_096));
        settings.cache.lane_blocks = lane_blocks as usize;
        settings.cache.bytes = ByteSize::gib(1_024);
        settings
    }

    fn genesis(&self) -> String {
        let side = |chain: u32| SideChain {
            id: ChainId(chain),
            name: format!("chain {chain}"),
            first_height: Height(1),
            nodes: vec![load::identity((chain - 1) % self.connections).public()],
            finality: FinalityRule::Single,
        };
        let main = MainChain { id: ChainId(9_992_731), name: "mainstem bench".into(), aelf_root: false };
        Genesis::document(&main, &(1..=self.chains).map(side).collect::<Vec<_>>())
    }
}

fn write_world(settings: &Settings, genesis: &str) -> Result<()> {
    let dir = DataDir::of(settings);
    fs::write(&dir.genesis, genesis)
        .with_context(|| format!("{} cannot be written", dir.genesis.display()))?;
    Identity::create(&dir.key)?;
    Ok(())
}

/// How long the load may take to connect.
const CONNECT: Duration = Duration::from_secs(60);

fn wait(node: &Node, signals: &Signals) -> Result<()> {
    if signals.wait(TICK) {
        bail!("stopped before the end");
    }
    node.failed().map_or(Ok(()), |reason| bail!("{reason}"))
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

/// The process that sends. Killed when dropped: what it sends needs no end.
struct Load(Child);

impl Load {
    fn start(bench: &Bench, addr: SocketAddr, key: NodeKey) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let child = Command::new(program)
            .arg(BenchLoad::NAME)
            .args(["--main", &addr.to_string(), "--main-key", &key.to_string()])
            .args(["--chains", &bench.chains.to_string(), "--connections", &bench.connections.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .context("the load cannot be started")?;
        Ok(Self(child))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory of a run, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path) -> Result<Self> {
        if path.exists() {
            bail!(
                "{} exists; a bench makes its directory anew and removes it: name another with --data",
                path.display()
            );
        }
        fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} cannot be removed: {error}", self.0.display());
        }
    }
}
