//! Received side blocks a second, against QUIC alone.
//!
//! The same frames go once into a server with real lanes and once into an endpoint that discards them. Both run in turn,
//! several times, so that what else the machine does meets both.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use net::frame::BLOCK_BYTES;
use serde::Serialize;

use crate::child::{Child, Places};
use crate::receiver::{self, INGEST, Kind, PERSIST};
use crate::swarm::world::World;
use crate::swarm::{self, Load, role};
use crate::table::{Output, Progress, Spread, Table};

const EXAMPLES: &str = "\
Examples:
  mainstem-perf ingest                                1,000 chains over 1, 10, 100 and 1,000 connections, and 10,000 over 100
  mainstem-perf ingest --layouts 1000x1 --runs 9      one layout, often
  mainstem-perf ingest --receiver-cpus any --sender-cpus any
                                                      let the system place both sides

A layout is chains x connections. `ratio` is received blocks of the server over those of the endpoint that only discards:
the goal is 0.9. `ns/block` is processor time: of the ingest thread, of the thread behind it that makes blocks durable, and
of the sender. It is less disturbed by a busy machine than speeds are. `receiver / sender` are the shares of a processor that both
sides took: who has nearly all of one was the limit. A row in which that was the sender, of either kind, is marked with *: its
ratio says what the sender can do rather than what the server can.";

/// Measure received side blocks a second against quinn's bulk transfer of the same bytes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ingest {
    /// Chains x connections of each measurement
    #[arg(long, value_delimiter = ',', default_value = "1000x1,1000x10,1000x100,1000x1000,10000x100")]
    layouts: Vec<Layout>,
    /// Runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Seconds of a run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before a run counts: slow start, discovery of the MTU; longer until all lanes have been filled once
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Blocks that a lane holds; as a node's, unless it is told otherwise
    #[arg(long, default_value_t = 1_024)]
    lane_blocks: usize,
    /// Ingest threads of the receiver
    #[arg(long, default_value_t = 1)]
    reactors: usize,
    /// Largest UDP payload that the sender tries, in bytes; by default that of a client
    #[arg(long)]
    max_mtu: Option<u16>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    output: Output,
}

/// See [`Ingest::layouts`].
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Layout {
    pub(crate) chains: u32,
    pub(crate) connections: u32,
}

impl std::str::FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('x').and_then(|(chains, connections)| {
            Some(Self { chains: chains.parse().ok()?, connections: connections.parse().ok()? })
        });
        parsed
            .filter(|layout| 0 < layout.connections && layout.connections <= layout.chains)
            .ok_or_else(|| {
                format!("{text:?} is no layout; expected chains x connections, such as 1000x10, at least as many chains")
            })
    }
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    /// Million blocks received a second; of bulk transfer, as many as its bytes would be.
    rate: f64,
    /// Processor time in nanoseconds a block.
    ingest: f64,
    persist: f64,
    sender: f64,
    /// Shares of a processor, of whole processes.
    receiver_share: f64,
    sender_share: f64,
    /// Of the packets that were sent.
    lost: f64,
    /// UDP payload of a datagram, in bytes, on average.
    datagram: f64,
    /// Datagrams in a send.
    batch: f64,
    rtt_us: f64,
}

impl Ingest {
    pub(crate) fn run(&self) -> Result<()> {
        let mut table = Table::new(&[
            "chains x connections",
            "million blocks/s",
            "bulk",
            "ratio",
            "ingest + persist, ns/block",
            "bulk receiver",
            "sender",
            "bulk sender",
            "processors, receiver / sender",
            "bulk",
            "lost",
            "bulk lost",
        ]);
        let progress = Progress::new(u64::from(self.runs) * 2 * self.layouts.len() as u64);
        for layout in &self.layouts {
            let (mut ours, mut bulk) = (Vec::new(), Vec::new());
            for run in 0..self.runs {
                // Neither is always the one that comes first.
                let kinds = [Kind::Server, Kind::Discard];
                for kind in if run % 2 == 0 { kinds } else { [kinds[1], kinds[0]] } {
                    let runs = if kind == Kind::Server { &mut ours } else { &mut bulk };
                    progress.say(format!(
                        "{} chains, {} connections, {kind:?}",
                        layout.chains, layout.connections
                    ));
                    let run = self.once(*layout, kind)?;
                    progress.note(&format!("{kind:?} {run:?}"));
                    runs.push(run);
                    progress.step();
                }
            }
            let spread = |runs: &[Run], of: fn(&Run) -> f64| Spread::of(runs.iter().map(of));
            let ratio = Spread::of(ours.iter().zip(&bulk).map(|(ours, bulk)| ours.rate / bulk.rate));
            let limit = |runs| spread(runs, |run| run.sender_share).median > SENDER_AT_ITS_LIMIT;
            let sender_limited = limit(&ours) || limit(&bulk);
            let shares = |runs| {
                format!(
                    "{:.2} / {:.2}",
                    spread(runs, |run| run.receiver_share).median,
                    spread(runs, |run| run.sender_share).median
                )
            };
            let mark = if sender_limited { " *" } else { "" };
            let cells = [
                format!("{} x {}{mark}", layout.chains, layout.connections),
                spread(&ours, |run| run.rate).to_string(),
                spread(&bulk, |run| run.rate).to_string(),
                ratio.to_string(),
                format!(
                    "{:.0} + {:.0}",
                    spread(&ours, |run| run.ingest),
                    spread(&ours, |run| run.persist).median
                ),
                format!("{:.0}", spread(&bulk, |run| run.ingest)),
                format!("{:.0}", spread(&ours, |run| run.sender)),
                format!("{:.0}", spread(&bulk, |run| run.sender)),
                shares(&ours),
                shares(&bulk),
                format!("{:.2} %", spread(&ours, |run| run.lost * 100.0)),
                format!("{:.2} %", spread(&bulk, |run| run.lost * 100.0)),
            ];
            table.row(
                cells,
                &serde_json::json!({
                    "layout": layout,
                    "ratio": ratio,
                    "sender_limited": sender_limited,
                    "ours": ours,
                    "bulk": bulk,
                }),
            )?;
        }
        drop(progress);
        let method = format!(
            "{} interleaved pairs of runs of {} s after {} s, {} blocks a lane, receiver on processor {}, sender on {}; \
             median (lowest to highest); *: the sender took more than {:.0} % of a processor",
            self.runs,
            self.seconds,
            self.warm_up,
            self.lane_blocks,
            self.places.receiver().cpus.unwrap_or_else(|| "any".into()),
            self.places.sender().cpus.unwrap_or_else(|| "any".into()),
            SENDER_AT_ITS_LIMIT * 100.0,
        );
        table.finish(&self.output, &method)
    }

    fn once(&self, layout: Layout, kind: Kind) -> Result<Run> {
        let world = World::new(layout.chains, layout.connections);
        let setup = receiver::Setup {
            kind,
            worlds: vec![world],
            lane_blocks: self.lane_blocks,
            reactors: self.reactors,
            open: true,
        };
        let mut receiver = Child::role(receiver::NAME, &setup, &self.places.receiver())?;
        let at: receiver::Ready = receiver.hear()?;
        let setup = swarm::Setup {
            server: at.addr,
            key: at.key,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            world,
            load: if kind == Kind::Server { Load::Flat } else { Load::Bulk },
            handshakes: 64,
            max_mtu: self.max_mtu,
        };
        let mut sender = Child::role(role::NAME, &setup, &self.places.sender())?;
        let ready: role::Ready = sender.hear()?;
        if let Some(failure) = ready.failure {
            bail!("{} of {} connections failed; the first: {failure}", ready.failed, layout.connections);
        }
        sender.ask::<()>("go")?;
        std::thread::sleep(Duration::from_secs_f64(self.warm_up));
        if kind == Kind::Server {
            // Memory that is touched for the first time costs more than the block that is put there.
            let all = u64::from(layout.chains) * self.lane_blocks as u64;
            let deadline = Instant::now() + LONGEST_WARM_UP;
            while receiver.ask::<receiver::Sample>("sample")?.blocks < all + all / 4
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let before = (receiver.ask::<receiver::Sample>("sample")?, receiver.cpu()?, sender.cpu()?);
        let begun = Instant::now();
        let sent: role::Sample = sender.ask("sample")?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let after = (receiver.ask::<receiver::Sample>("sample")?, receiver.cpu()?, sender.cpu()?);
        let elapsed = begun.elapsed().as_nanos() as f64;
        let end: role::Sample = sender.ask("sample")?;
        if let Some(failure) = sender.ask::<Option<String>>("failure")? {
            bail!("a connection failed in the run: {failure}");
        }

        let seconds = (after.0.at - before.0.at) as f64 / 1e9;
        let blocks = match kind {
            Kind::Server => (after.0.blocks - before.0.blocks) as f64,
            // All frames but their headers, which both kinds have.
            Kind::Discard => (after.0.bytes - before.0.bytes) as f64 / bytes_per_block(&end),
        };
        let packets = (end.packets - sent.packets) as f64;
        let datagrams = (end.datagrams - sent.datagrams) as f64;
        Ok(Run {
            rate: blocks / seconds / 1e6,
            ingest: after.1.since(&before.1, INGEST) as f64 / blocks,
            persist: after.1.since(&before.1, PERSIST) as f64 / blocks,
            sender: after.2.since(&before.2, "") as f64 / blocks,
            receiver_share: after.1.since(&before.1, "") as f64 / elapsed,
            sender_share: after.2.since(&before.2, "") as f64 / elapsed,
            lost: (end.lost - sent.lost) as f64 / packets,
            datagram: (end.bytes - sent.bytes) as f64 / datagrams,
            batch: datagrams / (end.sends - sent.sends) as f64,
            rtt_us: end.rtt as f64,
        })
    }
}

/// Share of a processor. The sender has one thread that works.
const SENDER_AT_ITS_LIMIT: f64 = 0.95;

/// A lane that has not been filled by then is left as it is.
const LONGEST_WARM_UP: Duration = Duration::from_secs(30);

/// Of what the sender wrote.
fn bytes_per_block(sample: &role::Sample) -> f64 {
    if sample.blocks == 0 { BLOCK_BYTES as f64 } else { sample.bytes as f64 / sample.blocks as f64 }
}
