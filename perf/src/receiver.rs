//! The receiving side as a process of its own: a server with real lanes, or an endpoint that discards what comes.
//!
//! Behind the server one thread makes durable at once what is final: nothing is hashed or stored, so what is measured
//! is ingest alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::cache::Cache;
use engine::chain::{ChainId, Hash, Height, MainHeader, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Lane, LaneEnds};
use engine::pipeline::{Head, HeadSink};
use engine::store::memory::MemoryReader;
use engine::sync::{Doorbell, Waiter};
use net::endpoint::{self, Bind, Limits};
use net::reactor::{Handle, Reactor};
use net::server::{Counters, NodeKeys, Parts, Server, ServerConfig, ServerHeads};
use quinn::Endpoint;
use serde::{Deserialize, Serialize};

use crate::child::{answer, setup, tell};
use crate::swarm::world::{World, server_identity};

/// Receives; started by the measurements.
#[derive(Args)]
pub(crate) struct Receiver {
    #[arg(long)]
    setup: String,
}

/// Name of the command.
pub(crate) const NAME: &str = "receiver";

/// What a receiver is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    /// The chains that are registered; an endpoint that discards lets everyone in.
    pub(crate) worlds: Vec<World>,
    /// Blocks that a lane holds.
    pub(crate) lane_blocks: usize,
    /// Ingest threads.
    pub(crate) reactors: usize,
    /// Whether the limits on connections are raised to what the worlds need, or stay as they are by default.
    pub(crate) open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Server,
    Discard,
}

/// The first line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) addr: SocketAddr,
    pub(crate) key: NodeKey,
}

/// Answer to "sample": figures since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// When, in nanoseconds of the receiver's clock.
    pub(crate) at: u64,
    /// Blocks made durable; of an endpoint that discards, none.
    pub(crate) blocks: u64,
    /// Bytes discarded; of a server, none.
    pub(crate) bytes: u64,
}

/// Name of the ingest threads, which that of an endpoint that discards has too.
pub(crate) const INGEST: &str = "ingest";

/// Name of the thread behind the server.
pub(crate) const PERSIST: &str = "persist";

impl Receiver {
    pub(crate) fn run(&self) -> Result<()> {
        let setup: Setup = setup(&self.setup)?;
        match setup.kind {
            Kind::Server => serve(&setup),
            Kind::Discard => discard(&setup),
        }
    }
}

fn config(setup: &Setup) -> Result<ServerConfig> {
    let mut config = ServerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server_identity());
    config.reactors = setup.reactors.try_into().context("a receiver has a reactor")?;
    if setup.open {
        let nodes = setup.worlds.iter().map(|world| world.nodes as usize).sum::<usize>().max(1);
        config.max_sessions = config.max_sessions.max(nodes);
        config.max_connections_per_address = config.max_connections_per_address.max(2 * nodes);
        (config.handshakes_per_address, config.handshake_burst) = (1_000_000, 1_000_000);
    }
    Ok(config)
}

fn serve(setup: &Setup) -> Result<()> {
    let sides: Vec<_> = setup.worlds.iter().flat_map(World::sides).collect();
    let (doorbell, waiter) = Doorbell::new();
    let (cache, mut ends) = (Cache::default(), Vec::new());
    for side in &sides {
        let (lane, end) = Lane::new(side, Height(0), None, setup.lane_blocks, doorbell.clone());
        cache.insert(lane);
        ends.push(end);
    }
    let clock = Arc::new(SystemClock(Instant::now()));
    let parts = Parts {
        cache,
        clock: clock.clone(),
        main_chain: MAIN,
        genesis_hash: Hash::ZERO,
        keys: NodeKeys::new(&sides),
        head: None,
        blocks: Arc::new(MemoryReader::default()),
    };
    let config = config(setup)?;
    let server = Server::start(config, parts)?;
    let shared = Arc::new(Shared::default());
    let persist = Persist {
        ends,
        waiter,
        shared: Arc::clone(&shared),
        heads: server.head_sink(),
        height: 0,
        clock: clock.clone(),
    };
    std::thread::Builder::new().name(PERSIST.into()).spawn(move || persist.run())?;
    tell(&Ready { addr: server.local_addr(), key: server_identity().public() })?;
    answer(|question| match question {
        "sample" => Ok(serde_json::to_value(shared.sample(&clock))?),
        "peers" => Ok(server.peers().len().into()),
        "refusals" => Ok(serde_json::to_value(refusals(&server.peer_list().counters()))?),
        "heads" => {
            shared.heads.store(true, Ordering::Relaxed);
            Ok(serde_json::Value::Null)
        }
        other => bail!("a receiver has no answer to {other:?}"),
    })
}

/// Answer to "refusals": what was limited or refused since the start, by name; nothing that did not happen.
pub(crate) type Refusals = BTreeMap<String, u64>;

fn refusals(counters: &Counters) -> Refusals {
    let counted = [
        ("handshakes failed", counters.handshakes_failed),
        ("refused: handshakes at a time", counters.refused_handshakes),
        ("refused: handshakes of an address", counters.refused_rate),
        ("refused: connections of an address", counters.refused_address),
        ("retries", counters.retries_sent),
    ];
    let closes = counters.closes.iter().map(|(code, count)| (format!("closed: {}", code.name()), count));
    let chains =
        counters.chain_refusals.iter().map(|(code, count)| (format!("chain: {}", code.name()), count));
    let all = counted.map(|(name, count)| (name.to_owned(), count)).into_iter().chain(closes).chain(chains);
    all.filter(|(_, count)| *count > 0).collect()
}

#[derive(Debug)]
pub(crate) struct SystemClock(pub(crate) Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.elapsed().as_millis() as u64)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Between the threads of a receiver. Relaxed throughout: figures, and a wish that is granted soon enough.
#[derive(Debug, Default)]
struct Shared {
    blocks: AtomicU64,
    bytes: AtomicU64,
    /// A head every second, though nothing comes.
    heads: AtomicBool,
}

impl Shared {
    fn sample(&self, clock: &SystemClock) -> Sample {
        Sample {
            at: clock.0.elapsed().as_nanos() as u64,
            blocks: self.blocks.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

struct Persist {
    ends: Vec<LaneEnds>,
    waiter: Waiter,
    shared: Arc<Shared>,
    heads: ServerHeads,
    height: u64,
    clock: Arc<SystemClock>,
}

impl Persist {
    fn run(mut self) {
        // A look at a lane that has nothing takes some 10 ns: this keeps looking at one percent of a processor for each
        // thousand lanes, and blocks wait no longer than they do for a sync.
        let pace = Duration::from_micros(500).max(Duration::from_micros(1) * self.ends.len() as u32);
        let mut last_head = Duration::ZERO;
        loop {
            self.waiter.wait(Duration::from_millis(100));
            let (now, mut leaves) = (self.clock.monotonic(), 0);
            for LaneEnds { outlet, drain } in &mut self.ends {
                let count = outlet.available();
                if count > 0 {
                    outlet.take(count, |_| ());
                    drain.release(outlet.next_height().previous(), now, |_, _| ());
                    leaves += count;
                }
            }
            self.shared.blocks.fetch_add(leaves, Ordering::Relaxed);
            let second = self.shared.heads.load(Ordering::Relaxed)
                && now.saturating_sub(last_head) >= Duration::from_secs(1);
            if leaves > 0 || second {
                last_head = now;
                self.height += 1;
                self.heads.publish(&head(self.height, leaves));
                std::thread::sleep(pace);
            }
        }
    }
}

/// A head of a main chain that stores nothing: its numbers are all that is right of it.
pub(crate) fn head(height: u64, leaf_count: u64) -> Head {
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: MAIN,
        height: Height(height),
        time: Timestamp::from_millis(height),
        parent: Hash::ZERO,
        side_root: Hash::ZERO,
        chain_count: 1,
        leaf_count,
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    };
    Head { header, hash: Hash::ZERO }
}

pub(crate) const MAIN: ChainId = ChainId(u32::MAX);

fn discard(setup: &Setup) -> Result<()> {
    let config = config(setup)?;
    let known = Arc::new(|_: &NodeKey| true);
    // What a session that delivers is granted in the end.
    let limits = Limits { connection_window_bytes: config.max_window_bytes, ..config.transport };
    let quic = endpoint::server_config(&config.identity, known, &limits)?;
    let shared = Arc::new(Shared::default());
    let (mut address, mut reactors) = (config.addr, Vec::new());
    for index in 0..setup.reactors {
        let reactor = Reactor::spawn_thread(&format!("{INGEST}-{index}"))?;
        let mut bind = Bind::new(address);
        bind.share = (setup.reactors > 1).then_some(index as u16);
        let listener = endpoint::open(&reactor.handle(), &bind, &config.identity, Some(quic.clone()))?;
        address = listener.local_addr()?;
        drop(reactor.handle().spawn(accept(reactor.handle(), listener, Arc::clone(&shared))));
        reactors.push(reactor);
    }
    let clock = SystemClock(Instant::now());
    tell(&Ready { addr: address, key: config.identity.public() })?;
    answer(|question| match question {
        "sample" => Ok(serde_json::to_value(shared.sample(&clock))?),
        other => bail!("a receiver that discards has no answer to {other:?}"),
    })
}

async fn accept(reactor: Handle, listener: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = listener.accept().await {
        let (handle, shared) = (reactor.clone(), Arc::clone(&shared));
        drop(reactor.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok(mut stream) = connection.accept_uni().await {
                let shared = Arc::clone(&shared);
                drop(handle.spawn(async move {
                    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                        shared.bytes.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                }));
            }
        }));
    }
}
