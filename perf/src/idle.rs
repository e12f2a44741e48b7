//! What connections and chains cost that do nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::child::{Child, Places};
use crate::ingest::Layout;
use crate::receiver::{self, Kind};
use crate::swarm::world::World;
use crate::swarm::{self, Load, role};
use crate::table::{Output, Progress, Spread, Table};

const EXAMPLES: &str = "\
Examples:
  mainstem-perf idle                                  1,000 and 10,000 connections, and 100 with 100 chains each
  mainstem-perf idle --layouts 10000x10000 --seconds 60

A layout is chains x connections. Memory is what the resident memory of the server grows by, from when its chains are
registered to when all are connected and have been idle for a while; lanes are not in it until blocks come. The goal is 40 KiB
for each connection and 400 MB for 10,000. Processor time is of the whole server, as a share of one processor: with keep-alives only,
and with a main head every second for every session.";

/// Measure what idle connections and chains cost: memory, processor time, handshakes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Idle {
    /// Chains x connections of each measurement
    #[arg(long, value_delimiter = ',', default_value = "1000x1000,10000x10000,10000x100")]
    layouts: Vec<Layout>,
    /// Runs of each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of each half of a run: with keep-alives only, and with heads
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Handshakes under way at a time
    #[arg(long, default_value_t = 64)]
    handshakes: usize,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    output: Output,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    handshakes_per_second: f64,
    /// Processor time of the server for a handshake and a hello, in microseconds.
    handshake_us: f64,
    client_handshake_us: f64,
    /// Resident memory of the server, in bytes: with no connection, and what all of them add.
    base: u64,
    grown: u64,
    /// The same a while after main heads have begun to come.
    grown_with_heads: u64,
    /// Shares of a processor.
    keep_alive: f64,
    heads: f64,
    /// Resident memory of the swarm for a connection, in bytes.
    client: f64,
}

impl Idle {
    pub(crate) fn run(&self) -> Result<()> {
        let mut table = Table::new(&[
            "chains x connections",
            "KiB a connection",
            "with heads",
            "all, MB",
            "bytes a chain",
            "processor, keep-alives",
            "with heads every second",
            "handshakes/s",
            "us of the server each",
        ]);
        let progress = Progress::new(u64::from(self.runs) * self.layouts.len() as u64);
        for layout in &self.layouts {
            let mut runs = Vec::new();
            for _ in 0..self.runs {
                progress.say(format!("{} chains, {} connections", layout.chains, layout.connections));
                let run = self.once(*layout)?;
                progress.note(&format!("{run:?}"));
                runs.push(run);
                progress.step();
            }
            let spread = |of: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(of));
            let connections = f64::from(layout.connections);
            let cells = [
                format!("{} x {}", layout.chains, layout.connections),
                format!("{:.1}", spread(&|run| run.grown as f64 / 1024.0 / connections)),
                format!("{:.1}", spread(&|run| run.grown_with_heads as f64 / 1024.0 / connections)),
                format!("{:.0}", spread(&|run| run.grown_with_heads as f64 / 1e6)),
                format!("{:.0}", spread(&|run| run.grown_with_heads as f64 / f64::from(layout.chains))),
                format!("{:.1} %", spread(&|run| run.keep_alive * 100.0)),
                format!("{:.1} %", spread(&|run| run.heads * 100.0)),
                format!("{:.0}", spread(&|run| run.handshakes_per_second)),
                format!("{:.0}", spread(&|run| run.handshake_us)),
            ];
            table.row(cells, &serde_json::json!({ "layout": layout, "runs": runs }))?;
        }
        drop(progress);
        let method = format!(
            "{} runs of twice {} s, {} handshakes at a time; median (lowest to highest)",
            self.runs, self.seconds, self.handshakes
        );
        table.finish(&self.output, &method)
    }

    fn once(&self, layout: Layout) -> Result<Run> {
        let world = World::new(layout.chains, layout.connections);
        let setup = receiver::Setup {
            kind: Kind::Server,
            worlds: vec![world],
            lane_blocks: 1_024,
            reactors: 1,
            open: true,
        };
        let mut receiver = Child::role(receiver::NAME, &setup, &self.places.receiver())?;
        let at: receiver::Ready = receiver.hear()?;
        let (base, cpu) = (receiver.rss()?, receiver.cpu()?);
        let setup = swarm::Setup {
            server: at.addr,
            key: at.key,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            world,
            load: Load::Idle,
            handshakes: self.handshakes,
            max_mtu: None,
        };
        let mut sender = Child::role(role::NAME, &setup, &self.places.sender())?;
        let ready: role::Ready = sender.hear()?;
        if let Some(failure) = ready.failure {
            bail!("{} of {} connections failed; the first: {failure}", ready.failed, layout.connections);
        }
        let connections = f64::from(layout.connections);
        let handshake_us = receiver.cpu()?.since(&cpu, "") as f64 / 1e3 / connections;
        let client_handshake_us =
            sender.cpu()?.since(&crate::child::Cpu::default(), "") as f64 / 1e3 / connections;
        // Discovery of the MTU and the acks of the welcomes are over by then.
        std::thread::sleep(SETTLE);
        let keep_alive = self.busy(&receiver)?;
        let grown = receiver.rss()?.saturating_sub(base);
        receiver.ask::<()>("heads")?;
        std::thread::sleep(SETTLE);
        let heads = self.busy(&receiver)?;
        let grown_with_heads = receiver.rss()?.saturating_sub(base);
        let peers: usize = receiver.ask("peers")?;
        if let Some(failure) = sender.ask::<Option<String>>("failure")? {
            bail!("a connection failed while it was idle: {failure}");
        }
        if peers != layout.connections as usize {
            bail!("{peers} of {} sessions are left", layout.connections);
        }
        Ok(Run {
            handshakes_per_second: connections / ready.seconds,
            handshake_us,
            client_handshake_us,
            base,
            grown,
            grown_with_heads,
            keep_alive,
            heads,
            client: sender.rss()? as f64 / connections,
        })
    }

    /// The share of a processor that the server takes from now on.
    fn busy(&self, receiver: &Child) -> Result<f64> {
        let (begun, cpu) = (Instant::now(), receiver.cpu()?);
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        Ok(receiver.cpu()?.since(&cpu, "") as f64 / begun.elapsed().as_nanos() as f64)
    }
}

const SETTLE: Duration = Duration::from_secs(3);
