//! A session: one connection of one node, from its hello to its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::chain::{Height, NodeKey, Timestamp};
use engine::lane::SessionId;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::ask::Asked;
use super::chains::{Chains, Copied, Fault, PeerChain};
use super::follow::Wanted;
use super::ledger::{Departure, Left};
use super::pool::Share;
use super::sessions::{LastRefusal, PeerInfo};
use super::windows::Window;
use super::{MAX_AT_ONCE, Shared};
use crate::control::{CLOSE_DONE, ControlError, ReceiveError, RefusalCode, shorten};
use crate::reactor::Handle;

mod serve;

use serve::Admitted;

/// The longest reason in a QUIC close, in bytes: it shares a datagram with the rest.
const MAX_REASON_BYTES: usize = 512;

/// Who has delivered nothing for so many ms is a stranger again.
const QUIET_MS: u64 = 2_000;

/// What is kept between two messages on the control stream, of either direction.
const CONTROL_BUFFER: usize = 256;

/// What a session's tasks, the herald and callers share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The registered key that it acts for.
    pub(super) key: NodeKey,
    /// The key that the peer holds.
    pub(super) presented: NodeKey,
    pub(super) reactor: usize,
    /// Rung when lanes may have moved or there is something to tell.
    pub(super) news: Notify,
    /// What it wants to follow of the main chain.
    pub(super) wanted: Wanted,
    /// What it is asked.
    pub(super) asked: Asked,
    /// Counters for people: written by the session's data streams, stale for others.
    pub(super) bytes: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) blocks: AtomicU64,
    /// When the last frame came, by the engine's monotonic clock in ms, and 1 more; 0 before the first.
    last_frame: AtomicU64,
    /// The height of the newest header that the peer was told, and when, in ms. By the session's control stream for the
    /// herald, on one thread.
    header_height: AtomicU64,
    header_at: AtomicU64,
    /// Its share of the memory for frames.
    pub(super) memory: Share,
    /// How far the peer may send ahead. Locked once or twice a frame.
    window: Mutex<Window>,
    /// The address that we have vouched for, since it delivers.
    vouched: Mutex<Option<SocketAddr>>,
    /// Speakers may have come or gone since it last looked. By tasks of one thread.
    claims: AtomicBool,
    /// It was refused as a whole: once is enough.
    refused: AtomicBool,
    connection: Connection,
    address: SocketAddr,
    since: Timestamp,
    software: OnceLock<String>,
    refusal: Mutex<Option<LastRefusal>>,
    /// Locked once a frame, by tasks of one thread.
    chains: Mutex<Chains>,
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// We ended it.
    Fault(Fault),
    /// The connection is gone.
    Gone(ConnectionError),
    /// The peer finished its control stream.
    Done,
}

/// Serves a connection until it ends. `presented` is the key that the peer has proven to hold.
pub(super) async fn run(
    shared: Arc<Shared>,
    reactor: usize,
    handle: Handle,
    connection: Connection,
    presented: NodeKey,
) {
    let id = shared.sessions.number();
    // Good in the handshake; if it is not any more, that shows below, where it cannot be missed.
    let key = shared.parts.keys.identify(&presented).unwrap_or(presented);
    let now = shared.parts.clock.monotonic();
    let session = Arc::new(Session {
        id,
        key,
        presented,
        reactor,
        news: Notify::new(),
        wanted: Wanted::default(),
        asked: Asked::default(),
        bytes: AtomicU64::new(0),
        frames: AtomicU64::new(0),
        blocks: AtomicU64::new(0),
        last_frame: AtomicU64::new(0),
        header_height: AtomicU64::new(0),
        header_at: AtomicU64::new(0),
        memory: Share::new(&shared.config),
        window: Mutex::new(Window::new(&shared.windows, now)),
        vouched: Mutex::new(None),
        claims: AtomicBool::new(false),
        refused: AtomicBool::new(false),
        address: connection.remote_address(),
        connection,
        since: shared.parts.clock.wall(),
        software: OnceLock::new(),
        refusal: Mutex::new(None),
        chains: Mutex::new(Chains::none(id, key, Arc::clone(&shared.bars))),
    });
    match shared.sessions.admit(&session) {
        Ok(superseded) => {
            for old in superseded {
                old.refuse(&shared, RefusalCode::Superseded, &shared.sessions.superseded());
            }
        }
        Err((code, detail)) => return session.refuse(&shared, code, &detail),
    }
    shared.counts.sessions_opened.one();
    let peer = Admitted { shared, session };
    let (shared, session) = (&peer.shared, &peer.session);
    // Now that a change of keys finds it among the others: none before was missed.
    if session.is_revoked(shared) {
        return session.revoke(shared);
    }
    let end = peer.serve(&handle).await;
    match end {
        Ok(()) | Err(End::Done) => {
            session.connection.close(CLOSE_DONE, b"done");
            session.depart(shared, Left::Done);
        }
        Err(End::Fault((code, detail))) => session.refuse(shared, code, &detail),
        Err(End::Gone(error)) => {
            tracing::debug!(session = session.id.0, key = %session.presented, %error, "a session ended");
            match &error {
                // We did, and have said why.
                ConnectionError::LocallyClosed => {}
                ConnectionError::ApplicationClosed(_) => session.depart(shared, Left::Done),
                other => session.depart(shared, Left::Lost(other.to_string())),
            }
        }
    }
}

impl Session {
    /// Closes the connection with a code and a reason, if that was not done before.
    pub(super) fn refuse(&self, shared: &Shared, code: RefusalCode, detail: &str) {
        // Relaxed: it guards nothing.
        if self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        if code == RefusalCode::Revoked {
            shared.counts.sessions_revoked.one();
        }
        tracing::info!(
            session = self.id.0, key = %self.presented, address = %self.address, %code, detail, "closed a session"
        );
        let detail = shorten(detail.to_owned(), MAX_REASON_BYTES);
        self.connection.close(code.close_code(), detail.as_bytes());
        shared.counts.closes.one(code);
        self.depart(shared, Left::Refused(code, detail.clone()));
        self.note(shared, LastRefusal { chain: None, code, detail });
    }

    /// Closes the connection since nothing comes over it: the peer has done nothing wrong, as far as one can see.
    pub(super) fn hang_up(&self, shared: &Shared, detail: &str) {
        // Relaxed: it guards nothing.
        if self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::info!(session = self.id.0, key = %self.presented, address = %self.address, detail, "hung up");
        let detail = shorten(detail.to_owned(), MAX_REASON_BYTES);
        self.connection.close(RefusalCode::TooSlow.close_code(), detail.as_bytes());
        shared.counts.closes.one(RefusalCode::TooSlow);
        self.depart(shared, Left::Lost(detail));
    }

    /// Writes down how it ended.
    fn depart(&self, shared: &Shared, how: Left) {
        let (key, time, address) = (self.key, shared.parts.clock.wall(), self.connection.remote_address());
        // Keys that the operator has named: there are no more of them.
        if shared.parts.keys.is_known(&key) {
            let chains = self.chains().named_with_right();
            shared.ledger.depart(Departure { key, since: self.since, time, address, how, chains });
        }
    }

    /// What the peer says it runs; empty before its hello.
    pub(super) fn software(&self) -> &str {
        self.software.get().map_or("", String::as_str)
    }

    /// Whether its key is not good any more, or not for what it was.
    pub(super) fn is_revoked(&self, shared: &Shared) -> bool {
        shared.parts.keys.identify(&self.presented) != Some(self.key)
    }

    /// Ends it, since its key is not good any more.
    pub(super) fn revoke(&self, shared: &Shared) {
        let detail = match shared.parts.keys.identify(&self.presented) {
            None => format!("the key {} is not registered any more", self.presented),
            Some(now) => format!("the key {} stands for {now} now; connect again", self.presented),
        };
        self.refuse(shared, RefusalCode::Revoked, &detail);
    }

    /// A frame of so many bytes has begun.
    pub(super) fn announced(&self, shared: &Shared, bytes: usize) {
        let wider = self.window().announced(&shared.windows, bytes);
        self.set_window(wider);
    }

    /// A frame of so many bytes has come and brought `blocks`.
    pub(super) fn delivered(&self, shared: &Shared, bytes: usize, blocks: u64, now: Duration) {
        // Relaxed, each: figures for people.
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.frames.fetch_add(1, Ordering::Relaxed) == 0 {
            let streams = VarInt::from_u32(shared.config.transport.data_streams);
            self.connection.set_max_concurrent_uni_streams(streams);
        }
        self.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.last_frame.store(millis(now) + 1, Ordering::Relaxed);
        shared.counts.bytes.add(bytes as u64);
        shared.counts.frames.one();
        shared.counts.blocks.add(blocks);
        let mut window = self.window();
        let proven = window.is_proven();
        let wider = window.delivered(&shared.windows, bytes, blocks > 0, now);
        if window.is_proven() != proven {
            self.memory.prove(&shared.config);
        }
        drop(window);
        self.set_window(wider);
        if blocks > 0 {
            self.vouched().get_or_insert_with(|| {
                let address = self.connection.remote_address();
                shared.vouched[self.reactor].vouch(address);
                address
            });
        }
    }

    /// So many bytes of an answer have come.
    pub(super) fn answered(&self, shared: &Shared, bytes: usize) {
        let now = shared.parts.clock.monotonic();
        let wider = self.window().delivered(&shared.windows, bytes, false, now);
        self.set_window(wider);
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Takes back what it, and its lanes, do not use.
    pub(super) fn review(&self, shared: &Shared, now: Duration) {
        self.chains().rest();
        let quiet = millis(now).saturating_sub(self.last_frame.load(Ordering::Relaxed)) > QUIET_MS;
        let moved = self.vouched().is_some_and(|address| address != self.connection.remote_address());
        if quiet || moved {
            self.retract(shared);
        }
        let lower = self.window().review(&shared.windows, now);
        self.set_window(lower);
    }

    /// Has the session look who speaks, when it is woken next.
    pub(super) fn note_claims(&self) {
        self.claims.store(true, Ordering::Relaxed);
    }

    fn take_claims(&self) -> bool {
        self.claims.swap(false, Ordering::Relaxed)
    }

    /// Makes it a stranger again.
    fn retract(&self, shared: &Shared) {
        if let Some(address) = self.vouched().take() {
            shared.vouched[self.reactor].retract(address);
        }
    }

    fn vouched(&self) -> MutexGuard<'_, Option<SocketAddr>> {
        self.vouched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_window(&self, bytes: Option<u32>) {
        if let Some(bytes) = bytes {
            self.connection.set_receive_window(VarInt::from_u32(bytes));
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the peer knows this head; else whether it is time to tell it even if there is nothing else.
    pub(super) fn header_due(&self, head: Height, now: Duration, pace: Duration) -> Option<bool> {
        if head.0 <= self.header_height.load(Ordering::Relaxed) {
            return None;
        }
        Some(millis(now).saturating_sub(self.header_at.load(Ordering::Relaxed)) >= millis(pace))
    }

    fn told_header(&self, head: Height, now: Duration) {
        self.header_height.store(head.0, Ordering::Relaxed);
        self.header_at.store(millis(now), Ordering::Relaxed);
    }

    /// Ready when the connection is gone.
    pub(super) async fn gone(&self) -> End {
        End::Gone(self.connection.closed().await)
    }

    /// The next data stream that the peer opens.
    pub(super) async fn accept_data(&self) -> Result<RecvStream, ConnectionError> {
        self.connection.accept_uni().await
    }

    /// A stream for main blocks.
    pub(super) async fn open_main(&self) -> Result<SendStream, ConnectionError> {
        self.connection.open_uni().await
    }

    /// Keeps a refusal, to be shown.
    pub(super) fn note(&self, shared: &Shared, refusal: LastRefusal) {
        shared.note(self.key, &self.presented, self.address, refusal.clone(), 1);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(super) fn chains(&self) -> MutexGuard<'_, Chains> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its chains stand.
    pub(super) fn list(&self) -> Vec<PeerChain> {
        let mut list = Vec::new();
        self.each_chain(|chain| list.push(chain.listed()));
        list
    }

    /// Shows its chains, ascending, a few of them copied at a time: whoever looks may be kept waiting in the middle of
    /// it, and those who take frames in wait for this lock.
    fn each_chain(&self, mut visit: impl FnMut(&Copied)) {
        let (mut from, mut some) = (0, Vec::with_capacity(MAX_AT_ONCE));
        loop {
            self.chains().copy(from, MAX_AT_ONCE, &mut some);
            if some.is_empty() {
                return;
            }
            from += some.len();
            some.drain(..).for_each(|chain| visit(&chain));
        }
    }

    pub(super) fn info(&self, shared: &Shared) -> PeerInfo {
        let (chains, speaks_for) = self.chains().counts();
        let mut behind = None::<u64>;
        self.each_chain(|chain| {
            if let Some(more) = chain.behind() {
                behind = Some(behind.unwrap_or(0).saturating_add(more));
            }
        });
        let (granted, proven) = {
            let window = self.window();
            (window.granted(), window.is_proven())
        };
        // Relaxed, each: figures for people.
        let last_frame = self.last_frame.load(Ordering::Relaxed).checked_sub(1).map(|at| {
            let ago = millis(shared.parts.clock.monotonic()).saturating_sub(at);
            Timestamp::from_millis(shared.parts.clock.wall().as_millis().saturating_sub(ago))
        });
        PeerInfo {
            session: self.id.0,
            key: self.key,
            presented: self.presented,
            address: self.connection.remote_address(),
            software: self.software.get().cloned().unwrap_or_default(),
            since: self.since,
            chains,
            speaks_for,
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
            last_frame,
            behind,
            rtt: self.connection.rtt(),
            window_bytes: granted,
            memory_bytes: self.memory.used(&shared.config, proven) as u64,
            last_refusal: self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl From<ReceiveError> for End {
    fn from(error: ReceiveError) -> Self {
        let code = match error {
            ReceiveError::Message(ControlError::Version { .. }) => RefusalCode::WrongVersion,
            ReceiveError::Message(_) | ReceiveError::Cut => RefusalCode::BadMessage,
            ReceiveError::Stream(quinn::ReadError::ConnectionLost(error)) => return Self::Gone(error),
            ReceiveError::Stream(_) => return Self::Done,
        };
        Self::Fault((code, error.to_string()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn too_slow(detail: String) -> End {
    End::Fault((RefusalCode::TooSlow, detail))
}
