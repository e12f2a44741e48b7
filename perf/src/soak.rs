//! Ten thousand chains, a block each every second, into a whole node.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{ChainId, NodeKey};
use engine::state::{Genesis, MainChain};
use serde::Serialize;

use crate::child::{Child, Place, stop_on_signals, stopped};
use crate::ingest::Layout;
use crate::swarm::lag::LagSummary;
use crate::swarm::world::World;
use crate::swarm::{self, Load, role};
use crate::table::{Output, Progress, Spread, Table, build, root};

const EXAMPLES: &str = "\
Examples:
  mainstem-perf soak                                  10,000 chains over 100 connections, two minutes
  mainstem-perf soak --layouts 10000x1000,10000x10000 --seconds 30
  mainstem-perf soak --interval-ms 500 --runs 3

The node is `mainstem run` of this build with a data directory made like `mainstem init` makes it: everything is sealed,
stored and synced. A lag counts from when a block is due by the clock, whatever held it up, to the ack that covers it; a block that is
not acknowledged in the end lags until then. A chain is behind when a lag is longer than its interval and 100 ms, which is the goal
for the p99. A run in which a session fails is no result.";

/// Measure how far chains lag when very many of them send at their own pace
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Soak {
    /// Chains x connections of each measurement
    #[arg(long, value_delimiter = ',', default_value = "10000x100")]
    layouts: Vec<Layout>,
    /// Runs of each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Milliseconds between two blocks of a chain
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    interval_ms: u64,
    /// Where to put the data directory while it runs; removed afterwards. Choose the disk to be measured
    #[arg(long, default_value = "mainstem-soak")]
    data: PathBuf,
    /// The program to run; by default it is built first, like this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// More flags of `mainstem run`, such as --node="--ingest.reactors=2"
    #[arg(long = "node", value_name = "FLAG", allow_hyphen_values = true)]
    node: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    lags: LagSummary,
    connected_in: f64,
    /// Resident memory of the node, in bytes: before anyone connected, and the most that was seen.
    base: u64,
    most: u64,
    /// Shares of a processor while it ran.
    node: f64,
    node_ingest: f64,
    sender: f64,
}

impl Soak {
    pub(crate) fn run(&self) -> Result<()> {
        stop_on_signals()?;
        let program = self.program.clone().map_or_else(|| build("mainstem"), Ok)?;
        let mut table = Table::new(&[
            "chains x connections",
            "blocks",
            "lag p50, ms",
            "p99, ms",
            "p99.9, ms",
            "max, ms",
            "chains ever behind by the interval + 100 ms",
            "unacknowledged",
            "node memory, MB",
            "of it before",
            "node, processors",
            "ingest",
            "sender",
        ]);
        let progress = Progress::new(u64::from(self.runs) * self.layouts.len() as u64);
        for layout in &self.layouts {
            let mut runs = Vec::new();
            for _ in 0..self.runs {
                let run = self.once(&program, *layout, &progress)?;
                progress.note(&format!("{run:?}"));
                runs.push(run);
                progress.step();
            }
            let spread = |of: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(of));
            let cells = [
                format!("{} x {}", layout.chains, layout.connections),
                format!("{:.0}", spread(&|run| run.lags.batches as f64)),
                format!("{:.0}", spread(&|run| run.lags.p50_ms)),
                format!("{:.0}", spread(&|run| run.lags.p99_ms)),
                format!("{:.0}", spread(&|run| run.lags.p999_ms)),
                format!("{:.0}", spread(&|run| run.lags.max_ms)),
                format!(
                    "{:.2} %",
                    spread(&|run| 100.0 * run.lags.ever_behind as f64 / run.lags.chains as f64)
                ),
                format!("{:.0}", spread(&|run| run.lags.unacknowledged as f64)),
                format!("{:.0}", spread(&|run| run.most as f64 / 1e6)),
                format!("{:.0}", spread(&|run| run.base as f64 / 1e6)),
                format!("{:.2}", spread(&|run| run.node)),
                format!("{:.2}", spread(&|run| run.node_ingest)),
                format!("{:.2}", spread(&|run| run.sender)),
            ];
            table.row(cells, &serde_json::json!({ "layout": layout, "runs": runs }))?;
        }
        drop(progress);
        let method = format!(
            "{} runs of {} s, a block of each chain every {} ms; median (lowest to highest)",
            self.runs, self.seconds, self.interval_ms
        );
        table.finish(&self.output, &method)
    }

    fn once(&self, program: &Path, layout: Layout, progress: &Progress) -> Result<Run> {
        progress.say(format!("{} chains, {} connections: starting", layout.chains, layout.connections));
        let scratch = Scratch::make(&self.data)?;
        let world = World::new(layout.chains, layout.connections);
        let mut node = self.start(program, &scratch, &world)?;
        let (server, key) = announced(&mut node)?;
        let base = node.rss()?;
        let (interval, lasts) = (Duration::from_millis(self.interval_ms), Duration::from_secs(self.seconds));
        let setup = swarm::Setup {
            server,
            key,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            world,
            load: Load::Paced { interval, batch: 1, lasts },
            handshakes: 64,
            max_mtu: None,
        };
        let mut sender = Child::role(role::NAME, &setup, &Place::default())?;
        let ready: role::Ready = sender.hear()?;
        if let Some(failure) = ready.failure {
            bail!("{} of {} connections failed; the first: {failure}", ready.failed, layout.connections);
        }
        let (cpu, sent, begun) = (node.cpu()?, sender.cpu()?, Instant::now());
        sender.ask::<()>("go")?;
        let mut most = 0;
        while begun.elapsed() < lasts {
            progress.say(format!(
                "{} chains, {} connections: {:.0} of {} s, {} MB",
                layout.chains,
                layout.connections,
                begun.elapsed().as_secs_f64(),
                self.seconds,
                most / 1_000_000
            ));
            std::thread::sleep(TICK.min(lasts.saturating_sub(begun.elapsed())));
            most = most.max(node.rss()?);
            failed(&mut sender)?;
            stopped()?;
        }
        let elapsed = begun.elapsed().as_nanos() as f64;
        let (cpu_end, sent_end) = (node.cpu()?, sender.cpu()?);
        let lags: LagSummary = sender.ask("lags")?;
        failed(&mut sender).with_context(|| format!("the lags were {lags:?}"))?;
        Ok(Run {
            lags,
            connected_in: ready.seconds,
            base,
            most,
            node: cpu_end.since(&cpu, "") as f64 / elapsed,
            node_ingest: cpu_end.since(&cpu, "ingest") as f64 / elapsed,
            sender: sent_end.since(&sent, "") as f64 / elapsed,
        })
    }

    fn start(&self, program: &Path, scratch: &Scratch, world: &World) -> Result<Child> {
        let main = MainChain { id: ChainId(9_992_731), name: "mainstem soak".into(), aelf_root: false };
        let genesis = scratch.0.join("genesis.toml");
        fs::write(&genesis, Genesis::document(&main, &world.sides()))
            .with_context(|| format!("{} cannot be written", genesis.display()))?;
        let data = scratch.0.join("node").to_string_lossy().into_owned();
        let made = Command::new(program)
            .args(["init", "--data", &data, "--genesis"])
            .arg(&genesis)
            .output()
            .context("mainstem cannot be started")?;
        if !made.status.success() {
            bail!("mainstem init failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut arguments: Vec<String> =
            ["run", "--data", &data, "--ingest.addr", "127.0.0.1:0", "--api.addr", "127.0.0.1:0"]
                .map(Into::into)
                .into();
        // All nodes are at one address here.
        arguments.extend(
            ["--ingest.handshakes-per-address", "1000000", "--ingest.handshake-burst", "1000000"]
                .map(Into::into),
        );
        arguments.extend(["--log.filter", "warn"].map(Into::into));
        arguments.extend(self.node.iter().cloned());
        Child::leashed("node", program, &arguments)
    }
}

/// An error when a session has failed.
fn failed(sender: &mut Child) -> Result<()> {
    match sender.ask::<Option<String>>("failure")? {
        Some(failure) => bail!("a connection failed in the run: {failure}"),
        None => Ok(()),
    }
}

/// Reads what `mainstem run` announces: its address and its key.
fn announced(node: &mut Child) -> Result<(std::net::SocketAddr, NodeKey)> {
    let mut server = None;
    loop {
        let line = node.line()?;
        if let Some(address) = line.strip_prefix("ingest ") {
            let address = address.trim().trim_start_matches("quic ");
            server = Some(address.parse().with_context(|| format!("{line:?} names no address"))?);
        }
        if let Some(key) = line.strip_prefix("public key ") {
            let key = key.trim().parse().map_err(|_| anyhow::anyhow!("{line:?} names no key"))?;
            return Ok((server.context("the address is announced before the key")?, key));
        }
    }
}

/// The directory of a run, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path) -> Result<Self> {
        let path = if path.is_absolute() { path.to_owned() } else { root()?.join("target").join(path) };
        if path.exists() {
            bail!(
                "{} exists; a soak makes its directory anew and removes it: name another with --data",
                path.display()
            );
        }
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} cannot be removed: {error}", self.0.display());
        }
    }
}

const TICK: Duration = Duration::from_millis(500);
