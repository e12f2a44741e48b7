//! The load of a bench: clients that send, in a process of their own, and the hold that the bench has of it.
//!
//! ```text
//!   bench ── starts ──> bench-load          one client a connection, all on one reactor; they give nothing yet
//!     <── {"connected"} ──                  all are welcome
//!     ── begin ──>                          from now on blocks are due
//!     ── mark ──>  <── {"lateness", ..} ──  what was late since the last mark
//!     ── end of its input ──>               it ends; so it does when the bench dies
//! ```

mod bulk;
mod feed;
mod process;

use std::io::{BufRead, Write, stdin, stdout};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use engine::chain::NodeKey;
use net::client::{Client, ClientConfig, Event, EventSink};
use net::identity::Identity;
use net::reactor::Reactor;
use serde::{Deserialize, Serialize};

use super::shape::Shape;
use feed::{Feed, Gate, Plan};

pub(super) use bulk::Flooding;
pub(super) use process::{Helper, Load};

/// Sends; started by `mainstem bench`.
#[derive(Args)]
pub(crate) struct BenchLoad {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Blocks, as side chains send them.
    Blocks(BlockLoad),
    /// Bytes, over bare QUIC.
    Bulk(bulk::Bulk),
}

impl BenchLoad {
    /// Name of the command.
    pub(super) const NAME: &str = "bench-load";

    /// Runs until its input ends, or something fails.
    pub(crate) fn run(self) -> Result<()> {
        match self.part {
            Part::Blocks(blocks) => blocks.run(),
            Part::Bulk(bulk) => bulk.run(),
        }
    }
}

#[derive(Args)]
struct BlockLoad {
    #[arg(long)]
    main: SocketAddr,
    #[arg(long)]
    main_key: NodeKey,
    #[arg(long)]
    blocks: Option<u64>,
    #[command(flatten)]
    shape: Shape,
}

/// What a load that sends blocks says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// All connections are welcome.
    Connected,
    /// Answer to `mark`.
    Lateness(Lateness),
}

/// How much later than due blocks were handed to their connections, since the last mark. Only of a paced load.
#[derive(Clone, Copy, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lateness {
    /// Of how many blocks.
    pub(super) blocks: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// What the main thread of a load hears.
enum Heard {
    /// A line of the bench.
    Line(String),
    /// The bench is gone, or has had enough.
    InputEnded,
    /// A connection, by its number, is welcome.
    Connected(usize),
    /// A connection is lost or could not be had; its client tries again.
    Lost(usize, String),
    Failed(String),
}

impl BlockLoad {
    fn run(self) -> Result<()> {
        let reactor = Reactor::spawn_thread("load").context("cannot start a thread")?;
        let (shape, gate) = (&self.shape, Arc::<Gate>::default());
        let plan = Plan::new(shape, self.blocks);
        let (tell, heard) = channel();
        let (mut clients, mut late) = (Vec::new(), Vec::new());
        for connection in 0..shape.connections {
            let (feed, lateness) = Feed::new(&plan, connection, Arc::clone(&gate));
            let mut config = ClientConfig::new(self.main.to_string(), self.main_key, identity(connection));
            config.reactor = Some(reactor.handle());
            config.quick_source = true;
            config.give_up_on_refusal = true;
            config.on_event = Some(events(connection as usize, tell.clone()));
            (config.poll_min, config.poll_max) = plan.polls();
            clients.push(Client::start(config, Box::new(feed)).context("a client cannot start")?);
            late.push(lateness);
        }
        std::thread::Builder::new().name("input".into()).spawn(move || {
            for line in stdin().lock().lines().map_while(Result::ok) {
                // An error says that the load has ended.
                let _ = tell.send(Heard::Line(line));
            }
            let _ = tell.send(Heard::InputEnded);
        })?;
        // Its end is that of the process: to take leave on each of a thousand connections would take minutes.
        let clients = ManuallyDrop::new(clients);
        let (mut connected, mut said) = (vec![false; clients.len()], false);
        loop {
            match heard.recv().context("the thread of the input is there")? {
                Heard::Line(line) if line == BEGIN => gate.open(),
                Heard::Line(line) if line == MARK => say(&Said::Lateness(feed::collect(&late)))?,
                Heard::Line(line) => bail!("{line:?} is nothing that a load is told"),
                Heard::InputEnded => return Ok(()),
                Heard::Failed(reason) => bail!("the load stopped: {reason}"),
                Heard::Lost(_, reason) if said => bail!("the load stopped: {reason}"),
                // Of a thousand that begin at once some may be late.
                Heard::Lost(connection, _) => connected[connection] = false,
                Heard::Connected(connection) => {
                    connected[connection] = true;
                    if !said && connected.iter().all(|connected| *connected) {
                        said = true;
                        say(&Said::Connected)?;
                    }
                }
            }
        }
    }
}

/// Passes on what decides whether a run is worth anything: one in which a connection breaks is not.
fn events(connection: usize, tell: Sender<Heard>) -> EventSink {
    EventSink::new(move |event| {
        let heard = match event {
            Event::Connected { .. } => Heard::Connected(connection),
            Event::Disconnected { reason, retry_in: Some(_) } => Heard::Lost(connection, reason.to_string()),
            Event::Disconnected { reason, retry_in: None } => Heard::Failed(reason.to_string()),
            Event::Refused { chain, code, text } => Heard::Failed(format!("chain {chain}: {code}: {text}")),
            Event::SourceFailed { chain, error, .. } => Heard::Failed(format!("chain {chain}: {error}")),
            _ => return,
        };
        // An error says that the load has ended.
        let _ = tell.send(heard);
    })
}

/// What a load is told: to begin.
const BEGIN: &str = "begin";

/// What a load is told: to say how late blocks were.
const MARK: &str = "mark";

/// Tells the bench.
fn say(what: &impl Serialize) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// The key of a connection: made from its number, because a bench keeps no secrets.
pub(super) fn identity(connection: u32) -> Identity {
    let mut seed = [0xb3; 32];
    seed[..4].copy_from_slice(&connection.to_le_bytes());
    Identity::from_seed(seed)
}
