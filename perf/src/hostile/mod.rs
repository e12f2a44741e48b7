//! What hostile peers cost the honest ones.
//!
//! ```text
//!   processor 1: the server             processor 0: the honest load, and, standing back for it, the attack
//! ```
//! Honest nodes send to a server, alone and then beside an attack, in the same run: once as fast as it can, which
//! shows what throughput is lost, and once at a modest pace, which shows what happens to lags. The attack may send
//! no more than a remote host could on its link, and comes from other addresses than the honest load.

mod attack;
mod peer;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::child::{Child, Places};
use crate::receiver::{self, INGEST, Kind, Refusals};
use crate::swarm::lag::LagSummary;
use crate::swarm::world::World;
use crate::swarm::{self, Load, role};
use crate::table::{Output, Progress, Spread, Table};

pub(crate) use attack::Role;

const EXAMPLES: &str = "\
Examples:
  mainstem-perf hostile                               every kind of attack
  mainstem-perf hostile --attacks unknown,slow --runs 3
  mainstem-perf hostile --mbit 1000 --attackers 64

Attacks:
  garbage    random datagrams of many sizes
  initials   datagrams that look like the first of a connection
  unknown    handshakes with keys that are not registered
  broken     registered nodes that send broken frames, are closed and come again at once
  slow       frames that come a byte at a time, on every stream
  streams    data streams opened and finished as fast as they are allowed
  window     long frames that are never completed, on every stream
  gaps       streams of which half of all datagrams are missing
  deaf       nodes that make the server speak and never listen
  replays    blocks that were sent before, resumed after each refusal
  equivocate other blocks for heights that were sent before, resumed after each refusal
  chatter    resume, leave, tips and follow as fast as they can be written

Both sides share this machine: the server has a processor to itself, and the attack stands back for the honest load (nice 19). Its share
of a processor is in the table, and so is that of the server's ingest thread, alone and attacked. Goals: throughput ratio 0.9, p99
ratio 2, 2 MiB for each attacker.";

/// Measure what hostile peers cost the honest ones
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Hostile {
    /// Kinds of attack
    #[arg(long, value_delimiter = ',', default_values = attack::KINDS)]
    attacks: Vec<String>,
    /// Runs of each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds that are measured, alone and beside the attack, each
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What the honest load offers to measure throughput, in percent of its full speed. Far above 100 it goes as fast as it
    /// can, and all that an attack takes shows; below 100 what it takes of the rest does not
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    offer: u64,
    /// Registered nodes that attack
    #[arg(long, default_value_t = 16)]
    attackers: u32,
    /// What the attackers' link carries, in Mbit/s
    #[arg(long, default_value_t = 100)]
    mbit: u32,
    /// Honest chains
    #[arg(long, default_value_t = 20)]
    chains: u32,
    /// Honest connections
    #[arg(long, default_value_t = 4)]
    connections: u32,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    output: Output,
}

/// Half of a run: alone and attacked, at one pace.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    alone: Side,
    attacked: Side,
    /// The most that the server's resident memory grew by since the attackers were let loose, in bytes.
    grown: u64,
    attacker: attack::Sample,
    /// Share of a processor.
    attacker_cpu: f64,
    refusals: Refusals,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    /// Blocks of the honest load acknowledged a second.
    rate: f64,
    lags: LagSummary,
    /// Share of a processor that the ingest thread took.
    ingest: f64,
    /// And that the honest load took.
    sender: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Run {
    fast: Pair,
    modest: Pair,
}

impl Hostile {
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(unknown) = self.attacks.iter().find(|name| !attack::KINDS.contains(&name.as_str())) {
            bail!("--attacks names {unknown:?}, which is none; `mainstem-perf hostile --help` lists them");
        }
        let mut table = Table::new(&[
            "attack",
            "throughput, of alone",
            "alone, of full speed",
            "its attacks/s",
            "Mbit/s",
            "attacker, processors",
            "ingest, alone / attacked",
            "modest pace: p99 alone, ms",
            "attacked",
            "ratio",
            "KiB an attacker",
            "attacks/s",
            "Mbit/s",
            "attacker, processors",
            "ingest, alone / attacked",
            "refused",
        ]);
        let progress = Progress::new(u64::from(self.runs) * self.attacks.len() as u64);
        progress.say("full speed");
        let full = self.full_speed()?;
        progress.note(&format!("full speed: {full} blocks/s"));
        let offered = self.near(full);
        for name in &self.attacks {
            let mut runs = Vec::new();
            for _ in 0..self.runs {
                progress.say(format!("{name}, {} % of full speed", self.offer));
                let fast = self.pair(name, offered)?;
                progress.say(format!("{name}, modest pace"));
                let modest = self.pair(name, MODEST)?;
                let run = Run { fast, modest };
                progress.note(&format!("{name}: {run:?}"));
                runs.push(run);
                progress.step();
            }
            let spread = |of: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(of));
            let attackers = f64::from(self.attackers);
            // Who is faster than what is offered catches up with what it owes.
            let sustained = |side: &Side| side.rate.min(offered.rate(self.chains));
            let cells = [
                name.clone(),
                spread(&|run| sustained(&run.fast.attacked) / sustained(&run.fast.alone)).to_string(),
                spread(&|run| run.fast.alone.rate / full as f64).to_string(),
                format!("{:.0}", spread(&|run| run.fast.attacker.per_second)),
                format!("{:.1}", spread(&|run| run.fast.attacker.mbit)),
                spread(&|run| run.fast.attacker_cpu).to_string(),
                shares(&|side| spread(&|run| side(&run.fast).ingest).median),
                spread(&|run| run.modest.alone.lags.p99_ms).to_string(),
                spread(&|run| run.modest.attacked.lags.p99_ms).to_string(),
                spread(&|run| run.modest.attacked.lags.p99_ms / run.modest.alone.lags.p99_ms).to_string(),
                format!("{:.0}", spread(&|run| run.modest.grown as f64 / 1024.0 / attackers)),
                format!("{:.0}", spread(&|run| run.modest.attacker.per_second)),
                format!("{:.1}", spread(&|run| run.modest.attacker.mbit)),
                spread(&|run| run.modest.attacker_cpu).to_string(),
                shares(&|side| spread(&|run| side(&run.modest).ingest).median),
                shown(&runs[runs.len() / 2].modest.refusals),
            ];
            table.row(cells, &serde_json::json!({ "attack": name, "runs": runs }))?;
        }
        drop(progress);
        let method = format!(
            "{} honest chains over {} connections, offering {} % of full speed ({:.2} million blocks/s) and {} blocks/s; {} \
             attackers with {} Mbit/s together; {} runs of {} s alone and as long attacked; median (lowest to highest)",
            self.chains,
            self.connections,
            self.offer,
            full as f64 / 1e6,
            MODEST.rate(self.chains),
            self.attackers,
            self.mbit,
            self.runs,
            self.seconds
        );
        table.finish(&self.output, &method)
    }

    /// What the honest load can do alone, in blocks a second.
    fn full_speed(&self) -> Result<u64> {
        let (mut server, at) = self.server()?;
        let mut honest = self.honest(at, Load::Flat)?;
        honest.ask::<()>("go")?;
        std::thread::sleep(SETTLE);
        let before: receiver::Sample = server.ask("sample")?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let after: receiver::Sample = server.ask("sample")?;
        Ok((after.blocks - before.blocks) * 1_000 / ((after.at - before.at) / 1_000_000))
    }

    fn near(&self, full: u64) -> Pace {
        let interval = Duration::from_millis(2);
        let batch =
            full * self.offer / 100 * interval.as_micros() as u64 / 1_000_000 / u64::from(self.chains);
        Pace { interval, batch: batch.clamp(1, LANE_BLOCKS as u64 / 2) as u32 }
    }

    fn pair(&self, attack: &str, pace: Pace) -> Result<Pair> {
        let Pace { interval, batch } = pace;
        let (mut server, at) = self.server()?;
        let lasts = Duration::from_secs(86_400);
        let mut honest = self.honest(at, Load::Paced { interval, batch, lasts })?;
        honest.ask::<()>("go")?;
        std::thread::sleep(SETTLE);
        let alone = self.side(&server, &mut honest, batch)?;

        let (rss, watch) = (server.rss()?, server.watch()?);
        let setup = attack::Setup {
            server: at.addr,
            key: at.key,
            kind: attack.to_owned(),
            world: self.attackers(),
            mbit: self.mbit,
        };
        let mut place = self.places.sender();
        place.stands_back = true;
        let mut attacker = Child::role(attack::NAME, &setup, &place)?;
        attacker.hear::<()>()?;
        std::thread::sleep(SETTLE);
        let (refusals, cpu) = (server.ask::<Refusals>("refusals")?, attacker.cpu()?);
        attacker.ask::<attack::Sample>("sample")?;
        let begun = Instant::now();
        let attacked = self.side(&server, &mut honest, batch)?;
        let attacker_cpu = attacker.cpu()?.since(&cpu, "") as f64 / begun.elapsed().as_nanos() as f64;
        let sample = attacker.ask("sample")?;
        let mut more: Refusals = server.ask("refusals")?;
        more.retain(|name, count| {
            *count -= refusals.get(name).copied().unwrap_or(0);
            *count > 0
        });
        if let Some(failure) = honest.ask::<Option<String>>("failure")? {
            bail!("an honest connection failed beside {attack}: {failure}");
        }
        Ok(Pair {
            alone,
            attacked,
            grown: watch.most().saturating_sub(rss),
            attacker: sample,
            attacker_cpu,
            refusals: more,
        })
    }

    fn side(&self, server: &Child, honest: &mut Child, batch: u32) -> Result<Side> {
        honest.ask::<LagSummary>("window")?;
        let (begun, cpu, sent) = (Instant::now(), server.cpu()?, honest.cpu()?);
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let lags: LagSummary = honest.ask("window")?;
        let elapsed = begun.elapsed();
        let blocks = (lags.batches - lags.unacknowledged) * u64::from(batch);
        Ok(Side {
            rate: blocks as f64 / elapsed.as_secs_f64(),
            lags,
            ingest: server.cpu()?.since(&cpu, INGEST) as f64 / elapsed.as_nanos() as f64,
            sender: honest.cpu()?.since(&sent, "") as f64 / elapsed.as_nanos() as f64,
        })
    }

    fn server(&self) -> Result<(Child, receiver::Ready)> {
        let setup = receiver::Setup {
            kind: Kind::Server,
            worlds: vec![World::new(self.chains, self.connections), self.attackers()],
            lane_blocks: LANE_BLOCKS,
            reactors: 1,
            open: false,
        };
        let mut server = Child::role(receiver::NAME, &setup, &self.places.receiver())?;
        let at = server.hear()?;
        Ok((server, at))
    }

    fn honest(&self, at: receiver::Ready, load: Load) -> Result<Child> {
        let setup = swarm::Setup {
            server: at.addr,
            key: at.key,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            world: World::new(self.chains, self.connections),
            load,
            handshakes: 4,
            max_mtu: None,
        };
        let mut honest = Child::role(role::NAME, &setup, &self.places.sender())?;
        let ready: role::Ready = honest.hear()?;
        if let Some(failure) = ready.failure {
            bail!("{} honest connections failed; the first: {failure}", ready.failed);
        }
        Ok(honest)
    }

    /// A chain each.
    fn attackers(&self) -> World {
        World { first_chain: 1_000_001, chains: self.attackers, first_node: 1_000_000, nodes: self.attackers }
    }
}

/// How fast each honest chain is.
#[derive(Clone, Copy)]
struct Pace {
    interval: Duration,
    batch: u32,
}

impl Pace {
    /// Blocks of so many chains a second.
    fn rate(&self, chains: u32) -> f64 {
        f64::from(chains) * f64::from(self.batch) / self.interval.as_secs_f64()
    }
}

const MODEST: Pace = Pace { interval: Duration::from_millis(10), batch: 1 };

const LANE_BLOCKS: usize = 16_384;
const SETTLE: Duration = Duration::from_secs(2);

/// A figure alone and attacked.
fn shares(of: &dyn Fn(fn(&Pair) -> &Side) -> f64) -> String {
    format!("{:.2} / {:.2}", of(|pair| &pair.alone), of(|pair| &pair.attacked))
}

fn shown(refusals: &Refusals) -> String {
    let mut text = String::new();
    for (name, count) in refusals {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{name} {count}");
    }
    text
}
