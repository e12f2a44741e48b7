//! A session: one connection of one node, from its hello to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::chain::{Height, NodeKey, Timestamp};
use engine::lane::SessionId;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::chains::{Chains, Fault, PeerChain};
use super::follow::{self, Wanted};
use super::pool::Share;
use super::sessions::{LastRefusal, PeerInfo};
use super::windows::Window;
use super::{Shared, ingest};
use crate::control::{
    CLOSE_DONE, ClientMessage, ControlError, Hello, Message, ReceiveError, RefusalCode, ServerMessage,
    Welcome, receive, shorten,
};
use crate::reactor::{Either, Handle, race};

/// The longest reason in a QUIC close, in bytes: it shares a datagram with the rest.
const MAX_REASON_BYTES: usize = 512;

/// What is kept between two messages on the control stream, of either direction.
const CONTROL_BUFFER: usize = 1 << 10;

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
        bytes: AtomicU64::new(0),
        frames: AtomicU64::new(0),
        blocks: AtomicU64::new(0),
        last_frame: AtomicU64::new(0),
        header_height: AtomicU64::new(0),
        header_at: AtomicU64::new(0),
        memory: Share::new(&shared.config),
        window: Mutex::new(Window::new(&shared.windows, now)),
        refused: AtomicBool::new(false),
        address: connection.remote_address(),
        connection,
        since: shared.parts.clock.wall(),
        software: OnceLock::new(),
        refusal: Mutex::new(None),
        chains: Mutex::new(Chains::none(id, key)),
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
        Ok(()) | Err(End::Done) => session.connection.close(CLOSE_DONE, b"done"),
        Err(End::Fault((code, detail))) => session.refuse(shared, code, &detail),
        Err(End::Gone(error)) => {
            tracing::debug!(session = session.id.0, key = %session.presented, %error, "a session ended");
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
        self.note(shared, LastRefusal { chain: None, code, detail });
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
        self.frames.fetch_add(1, Ordering::Relaxed);
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
    }

    /// Takes back what it does not use.
    pub(super) fn review(&self, shared: &Shared, now: Duration) {
        let lower = self.window().review(&shared.windows, now);
        self.set_window(lower);
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
        shared.note(&self.presented, self.address, refusal.clone());
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(super) fn chains(&self) -> MutexGuard<'_, Chains> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its chains stand.
    pub(super) fn list(&self) -> Vec<PeerChain> {
        self.chains().list()
    }

    pub(super) fn info(&self, shared: &Shared) -> PeerInfo {
        let ((chains, speaks_for), behind) = {
            let chains = self.chains();
            (chains.counts(), chains.behind())
        };
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

/// A session among the open ones. Whatever ends it, a panic too, its connection is closed, its chains are given up and
/// it is taken out.
struct Admitted {
    shared: Arc<Shared>,
    session: Arc<Session>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.sessions.remove(&self.session);
        self.shared.counts.sessions_closed.one();
        // Closed already, unless this is a panic: then its data streams would keep it alive, and nobody would listen.
        self.session.connection.close(CLOSE_DONE, b"the session ended");
        self.session.window().end(&self.shared.windows);
        self.session.chains().release();
        // Those that stand by may speak now. Also if it spoke for none any more: what it gave up last may not have
        // been told.
        self.shared.heralds.tell();
    }
}

impl Admitted {
    async fn serve(&self, handle: &Handle) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let limit = shared.config.hello_timeout;
        let (mut send, mut receive, hello) = handle
            .timeout(limit, Box::pin(greet(&session.connection)))
            .await
            .map_err(|_| too_slow(format!("no hello within {limit:?}")))??;
        tracing::info!(
            session = session.id.0, key = %session.presented, address = %session.address,
            software = ?hello.software, chains = hello.chains.len(), "a session began"
        );
        shared.counts.control_messages.one();
        let _ = session.software.set(hello.software);
        let (welcome, refusal) = {
            // First the head, then the lanes: the entries ack what the head has indexed.
            let head = shared.heralds.head().map(|head| Box::new(head.header));
            let mut chains = session.chains();
            let entries = chains.claim(&shared.parts.cache, &hello.chains);
            let (main_chain, genesis_hash) = (shared.parts.main_chain, shared.parts.genesis_hash);
            let refusal = chains.refusal().or_else(|| too_many_refused(shared, &chains));
            (Welcome { main_chain, genesis_hash, head, chains: entries }, refusal)
        };
        drop(hello.chains);
        if let Some(fault) = refusal {
            return Err(End::Fault(fault));
        }
        if let Some(head) = &welcome.head {
            session.told_header(head.height, shared.parts.clock.monotonic());
        }
        let mut out = Vec::new();
        ServerMessage::Welcome(welcome).encode(&mut out);
        self.write(handle, &mut send, &out).await?;
        drop(out);
        // By reference: a race keeps its futures twice.
        let listen = pin!(self.listen(handle, &mut receive));
        let tell = pin!(self.tell(handle, &mut send));
        let accept = pin!(ingest::accept(shared, session, handle));
        let follow = pin!(follow::run(shared, session, handle));
        let (control, data) = (pin!(race(listen, tell)), pin!(race(accept, follow)));
        let (Either::Left(end) | Either::Right(end)) = race(control, data).await;
        let (Either::Left(end) | Either::Right(end)) = end;
        end
    }

    /// Reads the control stream.
    async fn listen(&self, handle: &Handle, stream: &mut RecvStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut body = Vec::new();
        loop {
            let message = receive(stream, &mut body).await?.ok_or(End::Done)?;
            shared.counts.control_messages.one();
            if body.capacity() > CONTROL_BUFFER {
                body = Vec::new();
            }
            match message {
                ClientMessage::Hello(_) => {
                    return Err(End::Fault((RefusalCode::BadMessage, "a second hello; expected one".into())));
                }
                ClientMessage::Resume(resume) => {
                    session.chains().resume(&shared.parts.cache, resume).map_err(End::Fault)?;
                    session.news.notify_one();
                }
                ClientMessage::Leave(chain) => {
                    if session.chains().leave(chain).map_err(End::Fault)? {
                        shared.heralds.tell();
                    }
                }
                ClientMessage::Tips(tips) => {
                    if session.chains().tips(&tips).map_err(End::Fault)? {
                        session.news.notify_one();
                    }
                }
                ClientMessage::Follow(from) => session.wanted.ask(from),
            }
            // A peer that always has more to say must not keep the reactor to itself.
            handle.yield_now().await;
        }
    }

    /// Writes the control stream: whenever there is news, all that the peer does not know yet.
    async fn tell(&self, handle: &Handle, stream: &mut SendStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut out = Vec::new();
        // When a speaker may have been silent for long enough to take its place.
        let mut wait = None;
        loop {
            match wait {
                // Either way it is looked at.
                Some(wait) => drop(handle.timeout(wait, session.news.notified()).await),
                None => session.news.notified().await,
            }
            let taken;
            (taken, wait) =
                session.chains().take_over(shared.parts.clock.monotonic(), shared.config.takeover_after);
            if taken > 0 {
                shared.counts.take_overs.add(taken);
                tracing::info!(session = session.id.0, key = %session.presented, taken, "took over from silent speakers");
                shared.heralds.tell();
            }
            // First the head, then the lanes: what a header has indexed is acked with it or before the next one.
            let newest = shared.heralds.head();
            session.chains().collect(&mut out);
            let now = shared.parts.clock.monotonic();
            if let Some(newest) = newest
                && let Some(due) = session.header_due(newest.header.height, now, shared.config.header_pace)
                && (due || !out.is_empty())
            {
                session.told_header(newest.header.height, now);
                ServerMessage::Header(Box::new(newest.header)).encode(&mut out);
            }
            if !out.is_empty() {
                self.write(handle, stream, &out).await?;
                out.clear();
                out.shrink_to(CONTROL_BUFFER);
            }
        }
    }

    async fn write(&self, handle: &Handle, stream: &mut SendStream, bytes: &[u8]) -> Result<(), End> {
        let limit = self.shared.config.control_timeout;
        match handle.timeout(limit, stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(quinn::WriteError::ConnectionLost(error))) => Err(End::Gone(error)),
            Ok(Err(_)) => Err(End::Done),
            Err(_) => Err(too_slow(format!("the control stream was not read for {limit:?}"))),
        }
    }
}

/// Waits for the control stream and the hello on it.
async fn greet(connection: &Connection) -> Result<(SendStream, RecvStream, Hello), End> {
    let (send, mut stream) = connection.accept_bi().await.map_err(End::Gone)?;
    match receive(&mut stream, &mut Vec::new()).await?.ok_or(End::Done)? {
        ClientMessage::Hello(hello) => Ok((send, stream, hello)),
        _ => Err(End::Fault((RefusalCode::BadMessage, "the first message is no hello; expected one".into()))),
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

/// Chains that cannot be served cost as much memory as those that can.
fn too_many_refused(shared: &Shared, chains: &Chains) -> Option<Fault> {
    let (refused, most) = (chains.refused(), shared.config.max_refused_chains);
    let served = chains.counts().0 - refused;
    (refused > served.saturating_add(most)).then(|| {
        let detail = format!(
            "{refused} chains of the hello cannot be served and {served} can; expected at most {most} more than can"
        );
        (RefusalCode::NoChain, detail)
    })
}

pub(super) fn too_slow(detail: String) -> End {
    End::Fault((RefusalCode::TooSlow, detail))
}
