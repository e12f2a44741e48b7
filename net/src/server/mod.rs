//! The main chain's side: takes frames in, puts them into the lanes of the engine, and tells how far it got.
//!
//! ```text
//!   UDP ──> endpoint ──> handshake (registered keys only) ──> session: hello, welcome
//!             data streams:    frame -> checked whole -> section after section into its lane
//!             control stream:  resume, leave ->          <- acks, refusals, positions, newest header
//!   persist thread ──> HeadSink ──> herald of each reactor ──> its sessions' control streams
//! ```
//!
//! # Invariants
//! - A fault of one chain stops that chain in that session; a fault of the format stops the connection; nothing
//!   stops another session.
//! - What a node answers to a question is a claim: it is verified by whoever asked, and stops nothing when it is wrong.
//! - What waits to be sent to a peer is derived from where its lanes stand when it can be sent: a slow reader gets
//!   the newest, and makes us hold nothing.
//!
//! # Capacity
//! What peers have sent and we have not read has a budget ([`ServerConfig::window_memory_bytes`]), and so have frames
//! that are being received ([`ServerConfig::frame_memory_bytes`]); of either a peer gets little before it has delivered
//! valid blocks. Beside that a peer makes us hold what QUIC keeps for an idle connection, what we send it until it is
//! acknowledged, and one entry for each of its chains.

mod accept;
mod ask;
mod bars;
mod calm;
mod chains;
mod config;
mod counters;
mod door;
mod follow;
mod herald;
mod ingest;
mod keys;
mod ledger;
mod pool;
mod session;
mod sessions;
mod survey;
mod tap;
mod warden;
mod windows;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io};

use engine::cache::Cache;
use engine::chain::{ChainId, Hash, NodeKey};
use engine::clock::Clock;
use engine::pipeline::Head;
use tokio::sync::Notify;

use crate::control::RefusalCode;
use crate::endpoint::{self, Bind, EndpointError, Limits};
use crate::reactor::{Handle, Reactor, Vouched};

pub use ask::{Questions, Unanswered};
pub use chains::{PeerChain, PeerChainState};
pub use config::ServerConfig;
pub use counters::{ByCode, Counters};
pub use follow::MainBlocks;
pub use herald::ServerHeads;
pub use keys::{KeyChanges, NodeKeys};
pub use ledger::{ChainRefusal, Departure, KeyRefusal, Left};
pub use sessions::{LastRefusal, PeerInfo};
pub use survey::{Seat, SessionSeen};
pub use tap::{Tap, TapReader, Tapped};

use ask::Asking;
use bars::Bars;
use counters::Counts;
use door::Door;
use herald::Heralds;
use ledger::Ledger;
use pool::FramePool;
use sessions::Sessions;
use windows::Windows;

/// What a server works with.
#[derive(Clone)]
pub struct Parts {
    /// The lanes that blocks go into.
    pub cache: Cache,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// Id of the main chain.
    pub main_chain: ChainId,
    /// Hash of its genesis document.
    pub genesis_hash: Hash,
    /// The keys that are let in: those that are registered for any chain, and what was changed since.
    pub keys: Arc<NodeKeys>,
    /// The newest durable block at the start.
    pub head: Option<Head>,
    /// The durable blocks, for those who follow the main chain.
    pub blocks: Arc<dyn MainBlocks>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("main_chain", &self.main_chain).finish_non_exhaustive()
    }
}

/// A running server. Dropping it ends it at once; [`Server::shutdown`] says good-bye first.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    ingests: Vec<Ingest>,
    local_addr: SocketAddr,
}

/// One ingest thread and its socket.
#[derive(Debug)]
struct Ingest {
    endpoint: quinn::Endpoint,
    reactor: Reactor,
}

/// What all reactors, sessions and callers share.
#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    parts: Parts,
    quic: endpoint::Door,
    /// Who is no stranger, by reactor.
    vouched: Box<[Arc<Vouched>]>,
    door: Door,
    heralds: Heralds,
    sessions: Sessions,
    pool: FramePool,
    windows: Windows,
    ledger: Ledger,
    bars: Arc<Bars>,
    asking: Asking,
    counts: Counts,
    tap: Tap,
    /// Rung when keys have changed, one for each reactor.
    keys_changed: Box<[Arc<Notify>]>,
    /// Handshakes under way.
    handshakes: AtomicUsize,
    closing: AtomicBool,
}

impl Server {
    /// Binds and starts to serve.
    ///
    /// # Errors
    /// The address cannot be bound, a setting is out of range, or the system gives no thread.
    pub fn start(config: ServerConfig, parts: Parts) -> Result<Self, ServerError> {
        config.check()?;
        // More of them once a frame has come: see `Session::delivered`.
        let transport = Limits { data_streams: 1, ..config.transport.clone() };
        let quic = endpoint::Door::new(&config.identity, Arc::clone(&parts.keys) as _, &transport)?;
        let count = config.reactors.get();
        let mut local_addr = config.addr;
        let mut ingests = Vec::with_capacity(count);
        let vouched: Box<[Arc<Vouched>]> = (0..count).map(|_| Arc::default()).collect();
        for index in 0..count {
            let reactor = Reactor::spawn_thread(&format!("ingest-{index}")).map_err(ServerError::Reactor)?;
            // All of them share the port that the first one gets.
            let mut bind = Bind::new(local_addr);
            bind.share = (count > 1).then_some(index as u16);
            bind.vouched = Some(Arc::clone(&vouched[index]));
            let endpoint =
                endpoint::open(&reactor.handle(), &bind, &config.identity, Some(quic.config().clone()))?;
            local_addr = endpoint.local_addr().map_err(ServerError::Reactor)?;
            ingests.push(Ingest { endpoint, reactor });
        }
        let shared = Arc::new(Shared {
            heralds: Heralds::new(count, parts.head.as_ref()),
            sessions: Sessions::new(&config),
            pool: FramePool::new(config.frame_memory_bytes),
            windows: Windows::new(&config),
            door: Door::new(&config),
            quic,
            vouched,
            ledger: Ledger::default(),
            bars: Arc::default(),
            asking: Asking::new(&config),
            counts: Counts::default(),
            tap: Tap::default(),
            // Before anybody comes in: no change is missed.
            keys_changed: (0..count).map(|_| parts.keys.watch()).collect(),
            handshakes: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            config,
            parts,
        });
        for (index, ingest) in ingests.iter().enumerate() {
            let handle = ingest.reactor.handle();
            handle.spawn(herald::run(Arc::clone(&shared), index, handle.clone()));
            let keys = Arc::clone(&shared.keys_changed[index]);
            handle.spawn(warden::run(Arc::clone(&shared), index, handle.clone(), keys));
            handle.spawn(accept::run(Arc::clone(&shared), index, handle.clone(), ingest.endpoint.clone()));
        }
        Ok(Self { shared, ingests, local_addr })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What the engine's persisting stage tells of new heads.
    pub fn head_sink(&self) -> ServerHeads {
        ServerHeads::new(Arc::clone(&self.shared))
    }

    /// Who is connected, oldest session first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peer_list().peers()
    }

    /// Who is connected, who was refused, and how much of everything there was, also for those who do not own the
    /// server.
    pub fn peer_list(&self) -> PeerList {
        PeerList(Arc::clone(&self.shared))
    }

    /// How busy its threads are, also for those who do not own the server.
    pub fn load(&self) -> Load {
        let reactors = self.ingests.iter().map(|ingest| ingest.reactor.handle()).collect();
        Load { shared: Arc::clone(&self.shared), reactors }
    }

    /// Where what comes in can be recorded.
    pub fn tap(&self) -> Tap {
        self.shared.tap.clone()
    }

    /// A way to ask the nodes of side chains, also for those who do not own the server.
    pub fn questions(&self) -> Questions {
        let reactors = self.ingests.iter().map(|ingest| ingest.reactor.handle()).collect();
        Questions { shared: Arc::clone(&self.shared), reactors }
    }

    /// Accepts no more, closes all sessions with the code `shutting-down` and waits until the peers have been told,
    /// `grace` at most.
    pub fn shutdown(mut self, grace: Duration) {
        self.close();
        let begun = Instant::now();
        for ingest in self.ingests.drain(..) {
            drop(ingest.endpoint);
            // They say good-bye at the same time, whichever is waited for first.
            ingest.reactor.shutdown(grace.saturating_sub(begun.elapsed()));
        }
    }

    fn close(&self) {
        // Release: pairs with the Acquire load in `Shared::is_closing`.
        self.shared.closing.store(true, Ordering::Release);
        for ingest in &self.ingests {
            let code = RefusalCode::ShuttingDown;
            ingest.endpoint.close(code.close_code(), b"the server is being shut down");
        }
        self.shared.heralds.tell();
        self.shared.keys_changed.iter().for_each(|changed| changed.notify_one());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// See [`Server::load`]. Cheap to clone, and cheap to ask: nobody waits for it.
#[derive(Debug, Clone)]
pub struct Load {
    shared: Arc<Shared>,
    reactors: Arc<[Handle]>,
}

impl Load {
    /// How many threads receive.
    pub fn threads(&self) -> usize {
        self.reactors.len()
    }

    /// For how long all of them together have not slept since they started.
    pub fn awake(&self) -> Duration {
        self.reactors.iter().map(Handle::awake).sum()
    }

    /// Memory set aside now for frames that are being received, in bytes.
    pub fn frame_bytes(&self) -> u64 {
        self.shared.pool.used() as u64
    }

    /// The most that it may be.
    pub fn most_frame_bytes(&self) -> u64 {
        self.shared.config.frame_memory_bytes as u64
    }
}

/// So many sessions, or chains of one, are copied with their lock held once, for those who ask at a low priority.
const MAX_AT_ONCE: usize = 64;

/// See [`Server::peer_list`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerList(Arc<Shared>);

impl PeerList {
    /// Who is connected, oldest session first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.0.sessions.all().iter().map(|session| session.info(&self.0)).collect()
    }

    /// The first sessions with a number above `after`, oldest first, `limit` at most; and whether there are more. Only
    /// these are looked at: with ten thousand of them, those who receive notice if all are.
    pub fn page(&self, after: u64, limit: usize) -> (Vec<PeerInfo>, bool) {
        // By and by: sessions come and go meanwhile, and must not wait for who asks.
        let (mut page, mut after, mut more) = (Vec::new(), after, true);
        while more && page.len() < limit {
            let some;
            (some, more) = self.0.sessions.page(after, (limit - page.len()).min(MAX_AT_ONCE));
            let Some(last) = some.last() else { break };
            after = last.id.0;
            page.extend(some.iter().map(|session| session.info(&self.0)));
        }
        (page, more)
    }

    /// One session; `None` if it is not open any more.
    pub fn peer(&self, session: u64) -> Option<PeerInfo> {
        self.0.sessions.get(session).map(|session| session.info(&self.0))
    }

    /// The chains of a session, ascending; `None` if it is not open any more.
    pub fn chains(&self, session: u64) -> Option<Vec<PeerChain>> {
        self.0.sessions.get(session).map(|session| session.list())
    }

    /// The last refusal of each key, newest first: of every key that the operator has named, and of the 256 other ones
    /// that were refused last.
    pub fn refusals(&self) -> Vec<Arc<KeyRefusal>> {
        self.0.ledger.all()
    }

    /// What was accepted, limited, refused and received since the server started.
    pub fn counters(&self) -> Counters {
        let shared = &self.0;
        let mut counters = shared.counts.snapshot();
        counters.sessions = shared.sessions.count() as u64;
        counters.handshakes = shared.handshakes.load(Ordering::Relaxed) as u64;
        let connections = counters.sessions + counters.handshakes;
        counters.window_bytes =
            shared.windows.lent() as u64 + connections * u64::from(shared.windows.least());
        counters.frame_memory_bytes = shared.pool.used() as u64;
        counters
    }
}

impl Shared {
    fn is_closing(&self) -> bool {
        // Acquire: pairs with the Release store in `Server::close`.
        self.closing.load(Ordering::Acquire)
    }

    /// A key was turned away in the handshake.
    fn turned_away(&self, key: &NodeKey, address: SocketAddr) {
        let (code, detail) = if self.parts.keys.is_revoked(key) {
            self.counts.handshakes_revoked_key.one();
            (RefusalCode::Revoked, "the key was struck off")
        } else {
            self.counts.handshakes_unknown_key.one();
            (RefusalCode::UnknownKey, "the key is not registered for any chain")
        };
        tracing::debug!(%key, %address, %code, "turned a key away");
        self.enter(key, address, LastRefusal { chain: None, code, detail: detail.into() }, 1);
    }

    /// A session was refused, which showed `key` and acts for `node`, or `times` chains of it, of which `refusal` stands
    /// for all.
    fn note(&self, node: NodeKey, key: &NodeKey, address: SocketAddr, refusal: LastRefusal, times: u64) {
        if let Some(chain) = refusal.chain {
            self.counts.chain_refusals.add(refusal.code, times);
            // Of those that are not served, peers could name any number.
            if self.parts.cache.lane(chain).is_some() {
                // Of the chain that is named, this is one: the others are other chains.
                let entry = ChainRefusal {
                    chain,
                    key: *key,
                    time: self.parts.clock.wall(),
                    address,
                    code: refusal.code,
                    detail: refusal.detail.clone(),
                    count: 1,
                    conflicts: (refusal.code == RefusalCode::Conflict)
                        .then_some((node, 1))
                        .into_iter()
                        .collect(),
                };
                if refusal.code == RefusalCode::UnknownKey {
                    self.ledger.enter_stranger(entry);
                } else {
                    self.ledger.enter_chain(entry);
                }
            }
        }
        self.enter(key, address, refusal, times);
    }

    fn enter(&self, key: &NodeKey, address: SocketAddr, refusal: LastRefusal, times: u64) {
        let LastRefusal { chain, code, detail } = refusal;
        self.ledger.enter(KeyRefusal {
            key: *key,
            registered: self.parts.keys.is_known(key),
            time: self.parts.clock.wall(),
            address,
            chain,
            code,
            detail,
            count: times,
        });
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be used, or a limit of the transport is out of range.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The system gives no thread, poll or address.
    #[error("cannot start an ingest thread: {0}")]
    Reactor(io::Error),
    /// A setting is out of range.
    #[error("{field} is {value}, expected {expected}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        expected: String,
    },
}
