//! Thousands of sessions on one reactor, without a thread or a source each: the client's half of the protocol, by hand.
//!
//! ```text
//!   connection ──> hello, welcome ──> listener: acks raise limits, measure lags
//!                                 └─> sender:   frames of ~64 KiB flat out, or what is due at a pace
//! ```
//! For bulk transfer the same sender writes the same frames without a hello and without credits.

pub(crate) mod lag;
pub(crate) mod role;
mod send;
mod session;
pub(crate) mod world;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine::chain::NodeKey;
use net::endpoint::{self, Bind, Limits};
use net::frame::FrameBuffer;
use net::identity::Identity;
use net::reactor::{Handle, Reactor};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use self::lag::Schedule;
use self::session::Session;
use self::world::World;

/// What a swarm is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) server: SocketAddr,
    pub(crate) key: NodeKey,
    /// The address that it connects from.
    pub(crate) from: IpAddr,
    pub(crate) world: World,
    pub(crate) load: Load,
    /// Handshakes at a time.
    pub(crate) handshakes: usize,
    /// The largest UDP payload that it tries; the default of a client without.
    pub(crate) max_mtu: Option<u16>,
}

/// What its sessions send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Nothing.
    Idle,
    /// As much as credits allow, in frames as full as they can be.
    Flat,
    /// The same frames without a session, to an endpoint that discards them.
    Bulk,
    /// Every `interval` each chain has `batch` more blocks, each chain at a moment of its own, for `lasts` after the
    /// word is given. They are sent when they are due, and their lag counts from then, whatever holds them up.
    Paced { interval: Duration, batch: u32, lasts: Duration },
}

/// The sessions and what they share.
pub(crate) struct Swarm {
    /// Before the reactor, whose tasks hold it.
    shared: Arc<Shared>,
    _reactor: Reactor,
}

struct Shared {
    setup: Setup,
    handle: Handle,
    endpoint: quinn::Endpoint,
    /// How many handshakes may be under way.
    gate: Semaphore,
    /// When the loads begin: not before all have connected, since handshakes starve beside a flood.
    go: watch::Sender<Option<Instant>>,
    totals: Totals,
    sessions: Mutex<Vec<Arc<Session>>>,
    /// Buffers to be used again: fresh memory costs more than what is written into it.
    spare: Arc<Mutex<Vec<FrameBuffer>>>,
    /// Why the first of the sessions that failed did.
    failure: Mutex<Option<String>>,
}

/// Counted up by sessions; Relaxed, as they guard nothing.
#[derive(Debug, Default)]
struct Totals {
    connected: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    blocks: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Swarm {
    /// Binds; [`Swarm::connect`] does the rest.
    pub(crate) fn new(setup: Setup) -> Result<Self> {
        let reactor = Reactor::spawn_thread("swarm").context("cannot start a thread")?;
        let bind = Bind::new(SocketAddr::new(setup.from, 0));
        // Its secrets are nobody's concern; each session shows the key of its node.
        let endpoint = endpoint::open(&reactor.handle(), &bind, &Identity::from_seed([0; 32]), None)?;
        let shared = Arc::new(Shared {
            handle: reactor.handle(),
            endpoint,
            gate: Semaphore::new(setup.handshakes),
            go: watch::Sender::new(None),
            totals: Totals::default(),
            sessions: Mutex::default(),
            spare: Arc::default(),
            failure: Mutex::default(),
            setup,
        });
        Ok(Self { shared, _reactor: reactor })
    }

    /// Starts all sessions, and waits until each has its welcome or has failed. Gives the time that it took.
    pub(crate) fn connect(&self) -> Duration {
        let begun = Instant::now();
        let (shared, totals) = (&self.shared, &self.shared.totals);
        for index in 0..shared.setup.world.nodes {
            shared.handle.spawn(session::run(Arc::clone(shared), index));
        }
        let done = || totals.connected.load(Ordering::Relaxed) + totals.failed.load(Ordering::Relaxed);
        while done() < u64::from(shared.setup.world.nodes) {
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    /// Lets the loads begin, all at once.
    pub(crate) fn go(&self) {
        self.shared.go.send_replace(Some(Instant::now() + Duration::from_millis(100)));
    }
}

impl Shared {
    /// QUIC of the node at `index`. Made when it is needed: it is by far the largest thing that a session has.
    fn quic(&self, index: u32) -> Result<quinn::ClientConfig> {
        let identity = self.setup.world.identity(index);
        let mut limits = Limits::default();
        // One process sends for all of them: with the default of a single client, a thousand would put gigabytes into
        // fresh memory before the first of them is acknowledged.
        limits.max_mtu = self.setup.max_mtu.unwrap_or(limits.max_mtu);
        let share = SEND_MEMORY / self.setup.world.nodes.max(1);
        limits.send_window_bytes = limits.send_window_bytes.min(share.max(LEAST_SEND_WINDOW));
        Ok(endpoint::client_config(&identity, self.setup.key, &limits)?)
    }

    /// Of a paced load that has been let begin.
    fn schedule(&self) -> Option<Schedule> {
        let Load::Paced { interval, batch, lasts } = self.setup.load else { return None };
        let begun = *self.go.borrow();
        Some(Schedule { begun: begun?, interval, batch: u64::from(batch), lasts })
    }

    fn fail(&self, why: &anyhow::Error) {
        self.totals.failed.fetch_add(1, Ordering::Relaxed);
        lock(&self.failure).get_or_insert_with(|| format!("{why:#}"));
    }
}

/// What all sessions together may have written that is not acknowledged, in bytes.
const SEND_MEMORY: u32 = 128 << 20;

/// Three frames: one that is written, one that is sent, one that is acknowledged.
const LEAST_SEND_WINDOW: u32 = 192 << 10;

/// A panic elsewhere is reported there; what it leaves here are figures.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
