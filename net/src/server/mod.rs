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
//! - What waits to be sent to a peer is derived from where its lanes stand when it can be sent: a slow reader gets
//!   the newest, and makes us hold nothing.
//!
//! # Capacity
//! A peer makes us hold at most what [`crate::endpoint::Limits`] says for its connection, one
//! frame for each of its data streams, 2 MiB in all, out of [`ServerConfig::frame_memory_bytes`], and one entry for each of its
//! chains.

mod accept;
mod chains;
mod follow;
mod herald;
mod ingest;
mod pool;
mod session;
mod sessions;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io};

use engine::cache::Cache;
use engine::chain::{ChainId, Hash};
use engine::clock::Clock;
use engine::pipeline::Head;
use engine::state::SideChain;

use crate::control::RefusalCode;
use crate::endpoint::{self, Bind, EndpointError, Limits};
use crate::identity::{Identity, KnownKeys};
use crate::reactor::Reactor;

pub use follow::MainBlocks;
pub use herald::ServerHeads;
pub use sessions::{LastRefusal, PeerInfo};

use herald::Heralds;
use pool::FramePool;
use sessions::Sessions;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens for QUIC, over UDP. Port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Its key: what tributaries are configured with.
    pub identity: Identity,
    /// Ingest threads, each with a socket of its own on the same port; the kernel spreads peers over them. Default 1,
    /// which carries several million blocks a second.
    pub reactors: NonZeroUsize,
    /// What each connection may hold.
    pub transport: Limits,
    /// Sessions at a time; beyond them a node only gets in for an older session of its own. Default 1,024.
    pub max_sessions: usize,
    /// Sessions of one key at a time; a further one takes the place of the oldest. Default 4.
    pub max_sessions_per_key: usize,
    /// Sessions and handshakes from one IP address at a time. Default 256.
    pub max_connections_per_address: usize,
    /// Handshakes at a time; more are refused. From a quarter of them on a client has to show that it receives at
    /// its address (QUIC Retry). Default 1,024.
    pub max_handshakes: usize,
    /// Memory for frames that are being received, in bytes, over all sessions; one session has 2 MiB of it at most.
    /// When it is in use, data streams wait. At least the longest frame, 1 MiB. Default 256 MiB.
    pub frame_memory_bytes: usize,
    /// A handshake, and after it a hello, takes no longer. Default 5 s.
    pub hello_timeout: Duration,
    /// A frame takes no longer from its first byte to its last. Default 10 s.
    pub frame_timeout: Duration,
    /// A client that reads none of its control stream for so long is closed. Default 30 s.
    pub control_timeout: Duration,
    /// The least time between two acks of a session. Default 2 ms.
    pub ack_pace: Duration,
    /// A node that stands by takes a chain over when the one that speaks has sent nothing for so long although there are
    /// newer blocks. Default 2 s: longer than a hiccup, far shorter than the idle timeout of a dead connection.
    pub takeover_after: Duration,
}

impl ServerConfig {
    /// The defaults.
    pub fn new(addr: SocketAddr, identity: Identity) -> Self {
        Self {
            addr,
            identity,
            reactors: NonZeroUsize::MIN,
            transport: Limits::default(),
            max_sessions: 1_024,
            max_sessions_per_key: 4,
            max_connections_per_address: 256,
            max_handshakes: 1_024,
            frame_memory_bytes: 256 << 20,
            hello_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(10),
            control_timeout: Duration::from_secs(30),
            ack_pace: Duration::from_millis(2),
            takeover_after: Duration::from_secs(2),
        }
    }

    fn check(&self) -> Result<(), ServerError> {
        let counts = [
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_key", self.max_sessions_per_key),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_handshakes", self.max_handshakes),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(ServerError::Config { field, value: "0".into(), expected: "at least 1" });
            }
        }
        let times = [
            ("hello_timeout", self.hello_timeout),
            ("frame_timeout", self.frame_timeout),
            ("control_timeout", self.control_timeout),
        ];
        for (field, time) in times {
            if time.is_zero() {
                return Err(ServerError::Config { field, value: "0".into(), expected: "above 0" });
            }
        }
        if self.reactors.get() > 64 {
            let (value, expected) = (self.reactors.to_string(), "1 to 64");
            return Err(ServerError::Config { field: "reactors", value, expected });
        }
        if self.frame_memory_bytes < crate::frame::MAX_FRAME_BYTES || self.frame_memory_bytes > MAX_MEMORY {
            let (value, expected) = (self.frame_memory_bytes.to_string(), "1048576 to 4294967295");
            return Err(ServerError::Config { field: "frame_memory_bytes", value, expected });
        }
        Ok(())
    }
}

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
    /// The keys that are let in: those that are registered for any chain. See [`registered`].
    pub keys: Arc<dyn KnownKeys>,
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

/// The keys that are registered for any of `chains`.
pub fn registered(chains: &[SideChain]) -> Arc<dyn KnownKeys> {
    let keys: std::collections::HashSet<_> =
        chains.iter().flat_map(|side| side.nodes.iter().copied()).collect();
    Arc::new(move |key: &engine::chain::NodeKey| keys.contains(key))
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
    heralds: Heralds,
    sessions: Sessions,
    pool: FramePool,
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
        let quic = endpoint::server_config(&config.identity, Arc::clone(&parts.keys), &config.transport)?;
        let count = config.reactors.get();
        let mut local_addr = config.addr;
        let mut ingests = Vec::with_capacity(count);
        for index in 0..count {
            let reactor = Reactor::spawn_thread(&format!("ingest-{index}")).map_err(ServerError::Reactor)?;
            // All of them share the port that the first one gets.
            let mut bind = Bind::new(local_addr);
            bind.share = (count > 1).then_some(index as u16);
            let endpoint = endpoint::open(&reactor.handle(), &bind, &config.identity, Some(quic.clone()))?;
            local_addr = endpoint.local_addr().map_err(ServerError::Reactor)?;
            ingests.push(Ingest { endpoint, reactor });
        }
        let shared = Arc::new(Shared {
            heralds: Heralds::new(count, parts.head.as_ref()),
            sessions: Sessions::new(&config),
            pool: FramePool::new(config.frame_memory_bytes),
            handshakes: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            config,
            parts,
        });
        for (index, ingest) in ingests.iter().enumerate() {
            let handle = ingest.reactor.handle();
            handle.spawn(herald::run(Arc::clone(&shared), index, handle.clone()));
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
        self.shared.sessions.peers()
    }

    /// A way to [`Server::peers`] for those who do not own the server.
    pub fn peer_list(&self) -> PeerList {
        PeerList(Arc::clone(&self.shared))
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
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// See [`Server::peer_list`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerList(Arc<Shared>);

impl PeerList {
    /// Who is connected, oldest session first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.0.sessions.peers()
    }
}

impl Shared {
    fn is_closing(&self) -> bool {
        // Acquire: pairs with the Release store in `Server::close`.
        self.closing.load(Ordering::Acquire)
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
        expected: &'static str,
    },
}

/// What the permits of the frame pool can count.
const MAX_MEMORY: usize = u32::MAX as usize;
