//! The ends of a path and the relay between them, each a process of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey};
use engine::lane::{Lane, LaneEnds};
use engine::pipeline::HeadSink;
use engine::source::{Source, SourceError};
use engine::store::memory::MemoryReader;
use engine::sync::{Doorbell, Waiter};
use net::client::{Client, ClientConfig, Event, EventSink};
use net::endpoint::{self, Bind, Limits};
use net::frame::BLOCK_BYTES;
use net::reactor::{Handle, Reactor};
use net::server::{NodeKeys, Parts, Server, ServerConfig, ServerHeads};
use quinn::{Connection, Endpoint, TransportConfig};
use serde::{Deserialize, Serialize};

use super::path::Relayed;
use super::relay::Relay;
use crate::child::{answer, setup, tell};
use crate::receiver::{MAIN, SystemClock, head};
use crate::swarm::world::{World, blocks, parent, server_identity};

/// What this process is, if it is not the one that measures.
#[derive(Args)]
pub(super) struct Role {
    #[arg(long, hide = true)]
    setup: Option<String>,
}

/// Who sends, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A client to a server.
    Mainstem,
    /// Bytes over one stream, with the limits that client and server have.
    Quinn,
    /// The same with all that quinn sets by default.
    QuinnDefaults,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Mainstem, Self::Quinn, Self::QuinnDefaults];
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Setup {
    Receive { kind: Kind, bind: SocketAddr, chains: u32, lane_blocks: usize },
    Send { kind: Kind, target: SocketAddr, chains: u32 },
    Relay { seed: u64, upstream: SocketAddr, path: Relayed },
}

/// Of a receiver, since its start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// When, in nanoseconds.
    pub(super) at: u64,
    /// Of durable blocks, or discarded.
    pub(super) bytes: u64,
}

/// Of a sender: what explains its speed. A client does not tell what its connection is like: there it is none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// How often it connected.
    connections: u64,
    /// The congestion window, in bytes.
    window: Option<u64>,
    /// Packets lost, and sent.
    lost: Option<u64>,
    sent: Option<u64>,
    rtt_ms: Option<f64>,
    mtu: Option<u16>,
    /// How often the receiver's windows stopped it, by stream and by connection.
    blocked: Option<[u64; 2]>,
}

impl Role {
    pub(super) fn is_set(&self) -> bool {
        self.setup.is_some()
    }

    pub(super) fn run(&self) -> Result<()> {
        let text = self.setup.as_ref().context("a role has a setup")?;
        match setup(text)? {
            Setup::Receive { kind: Kind::Mainstem, bind, chains, lane_blocks } => {
                serve(bind, chains, lane_blocks)
            }
            Setup::Receive { kind, bind, .. } => discard(kind, bind),
            Setup::Send { kind: Kind::Mainstem, target, chains } => client(target, chains),
            Setup::Send { kind, target, .. } => bulk(kind, target),
            Setup::Relay { seed, upstream, path } => relay(seed, upstream, &path),
        }
    }
}

fn relay(seed: u64, upstream: SocketAddr, path: &Relayed) -> Result<()> {
    let relay = Relay::start(seed, (Ipv4Addr::LOCALHOST, 0).into(), upstream, &path.path())?;
    tell(&relay.addr())?;
    answer(|order| {
        relay.cut(order == "cut");
        Ok(serde_json::Value::Null)
    })
}

/// Answers with samples of `bytes` until the one who asks is gone.
fn samples(bytes: &AtomicU64) -> Result<()> {
    let began = Instant::now();
    answer(|_| {
        let at = began.elapsed().as_nanos() as u64;
        // Relaxed: a figure.
        Ok(serde_json::to_value(Sample { at, bytes: bytes.load(Ordering::Relaxed) })?)
    })
}

fn serve(bind: SocketAddr, chains: u32, lane_blocks: usize) -> Result<()> {
    let sides = World::new(chains, 1).sides();
    let (doorbell, waiter) = Doorbell::new();
    let (cache, mut ends) = (Cache::default(), Vec::new());
    for side in &sides {
        let (lane, end) = Lane::new(side, Height(0), None, lane_blocks, doorbell.clone());
        cache.insert(lane);
        ends.push(end);
    }
    let parts = Parts {
        cache,
        clock: Arc::new(SystemClock(Instant::now())),
        main_chain: MAIN,
        genesis_hash: Hash::ZERO,
        keys: NodeKeys::new(&sides),
        head: None,
        blocks: Arc::new(MemoryReader::default()),
    };
    let server = Server::start(ServerConfig::new(bind, server_identity()), parts)?;
    let (bytes, mut heads) = (Arc::new(AtomicU64::new(0)), server.head_sink());
    let counter = Arc::clone(&bytes);
    std::thread::Builder::new()
        .name("persist".into())
        .spawn(move || persist(ends, &waiter, &mut heads, &counter))?;
    tell(&server.local_addr())?;
    samples(&bytes)
}

/// Makes durable at once what is final: nothing is hashed or stored.
fn persist(mut ends: Vec<LaneEnds>, waiter: &Waiter, heads: &mut ServerHeads, bytes: &AtomicU64) {
    let mut height = 0;
    loop {
        waiter.wait(Duration::from_millis(100));
        let mut leaves = 0;
        for LaneEnds { outlet, drain } in &mut ends {
            let count = outlet.available();
            if count > 0 {
                outlet.take(count, |_| ());
                drain.release(outlet.next_height().previous(), Duration::ZERO, |_, _| ());
                leaves += count;
            }
        }
        if leaves > 0 {
            bytes.fetch_add(leaves * BLOCK_BYTES as u64, Ordering::Relaxed);
            height += 1;
            heads.publish(&head(height, leaves));
            // As long as a fast disk takes over a sync.
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn discard(kind: Kind, bind: SocketAddr) -> Result<()> {
    let known = Arc::new(|_: &NodeKey| true);
    let config = ServerConfig::new(bind, server_identity());
    // What a session that delivers is granted in the end.
    let limits = Limits { connection_window_bytes: config.max_window_bytes, ..config.transport };
    let mut quic = endpoint::server_config(&config.identity, known, &limits)?;
    if kind == Kind::QuinnDefaults {
        quic.transport_config(Arc::new(TransportConfig::default()));
    }
    let reactor = Reactor::spawn_thread("receiver")?;
    let listener = endpoint::open(&reactor.handle(), &Bind::new(bind), &config.identity, Some(quic))?;
    let bytes = Arc::new(AtomicU64::new(0));
    let address = listener.local_addr()?;
    drop(reactor.handle().spawn(accept(reactor.handle(), listener, Arc::clone(&bytes))));
    tell(&address)?;
    samples(&bytes)
}

async fn accept(handle: Handle, listener: Endpoint, bytes: Arc<AtomicU64>) {
    while let Some(incoming) = listener.accept().await {
        let bytes = Arc::clone(&bytes);
        drop(handle.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok(mut stream) = connection.accept_uni().await else { return };
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                bytes.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        }));
    }
}

fn client(target: SocketAddr, chains: u32) -> Result<()> {
    let world = World::new(chains, 1);
    let mut config = ClientConfig::new(target.to_string(), server_identity().public(), world.identity(0));
    let (sender, events) = mpsc::channel();
    config.on_event = Some(EventSink::new(move |event| match event {
        Event::Connected { .. } => {
            // Nobody listens any more after the first.
            let _ = sender.send(());
        }
        Event::Disconnected { reason, .. } => eprintln!("disconnected: {reason}"),
        Event::Refused { chain, code, text } => eprintln!("chain {chain} was refused ({code}): {text}"),
        _ => {}
    }));
    let client = Client::start(config, Box::new(Endless { world, next: BTreeMap::new() }))?;
    events.recv_timeout(PATIENCE).context("no connection within a minute")?;
    tell(&())?;
    answer(|_| {
        let connections = client.status().connections;
        Ok(serde_json::to_value(Told { connections, ..Told::default() })?)
    })
}

/// Chains that always have as many blocks as are wanted.
struct Endless {
    world: World,
    next: BTreeMap<ChainId, u64>,
}

impl Source for Endless {
    fn chains(&self) -> Vec<ChainId> {
        self.world.chains_of(0).collect()
    }

    fn resume(&mut self, chain: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        self.next.insert(chain, next.0);
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let next =
            self.next.get_mut(&chain).ok_or_else(|| SourceError::Fatal("read before resume".into()))?;
        let first = *next;
        blocks(chain, first, max, out);
        *next += max as u64;
        Ok(parent(chain, first))
    }
}

fn bulk(kind: Kind, target: SocketAddr) -> Result<()> {
    let identity = World::new(1, 1).identity(0);
    let mut quic = endpoint::client_config(&identity, server_identity().public(), &Limits::default())?;
    if kind == Kind::QuinnDefaults {
        quic.transport_config(Arc::new(TransportConfig::default()));
    }
    let reactor = Reactor::spawn_thread("sender")?;
    let mut any = target;
    any.set_ip(if target.ip().is_loopback() { target.ip() } else { Ipv4Addr::UNSPECIFIED.into() });
    any.set_port(0);
    let dialer = endpoint::open(&reactor.handle(), &Bind::new(any), &identity, None)?;
    let connecting = endpoint::connect(&dialer, quic, target)?;
    let connection = reactor.handle().block_on(connecting)??;
    tell(&())?;
    drop(reactor.handle().spawn(write(connection.clone())));
    answer(|_| {
        let stats = connection.stats();
        let path = stats.path;
        let blocked = [stats.frame_tx.stream_data_blocked, stats.frame_tx.data_blocked];
        Ok(serde_json::to_value(Told {
            connections: 1,
            window: Some(path.cwnd),
            lost: Some(path.lost_packets),
            sent: Some(path.sent_packets),
            rtt_ms: Some(path.rtt.as_secs_f64() * 1e3),
            mtu: Some(path.current_mtu),
            blocked: Some(blocked),
        })?)
    })
}

async fn write(connection: Connection) {
    let chunk = Bytes::from(vec![0x5a; 64 << 10]);
    let Ok(mut stream) = connection.open_uni().await else { return };
    while stream.write_chunk(chunk.clone()).await.is_ok() {}
}

const PATIENCE: Duration = Duration::from_secs(60);
