//! A session: one connection of one node, from its hello to its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use engine::chain::{Height, NodeKey, Timestamp};
use engine::lane::SessionId;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::Notify;

use super::chains::{Chains, Fault};
use super::follow::{self, Wanted};
use super::pool::Share;
use super::sessions::{LastRefusal, PeerInfo};
use super::{Shared, ingest};
use crate::control::{
    CLOSE_DONE, ClientMessage, ControlError, Hello, Message, ReceiveError, RefusalCode, ServerMessage,
    Welcome, receive, shorten,
};
use crate::reactor::{Either, Handle, race};

/// The longest reason in a QUIC close, in bytes: it shares a datagram with the rest.
const MAX_REASON_BYTES: usize = 512;

/// What is kept between two messages on the control stream.
const CONTROL_BUFFER: usize = 64 << 10;

/// What a session's tasks, the herald and callers share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) key: NodeKey,
    pub(super) reactor: usize,
    /// Rung when lanes may have moved or there is something to tell.
    pub(super) news: Notify,
    /// What it wants to follow of the main chain.
    pub(super) wanted: Wanted,
    /// Counters for people: written by the session's data streams, stale for others.
    pub(super) bytes: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) blocks: AtomicU64,
    /// Its share of the memory for frames.
    pub(super) memory: Share,
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

/// Serves a connection until it ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    reactor: usize,
    handle: Handle,
    connection: Connection,
    key: NodeKey,
) {
    let id = shared.sessions.number();
    let session = Arc::new(Session {
        id,
        key,
        reactor,
        news: Notify::new(),
        wanted: Wanted::default(),
        bytes: AtomicU64::new(0),
        frames: AtomicU64::new(0),
        blocks: AtomicU64::new(0),
        memory: Share::default(),
        address: connection.remote_address(),
        connection,
        since: shared.parts.clock.wall(),
        software: OnceLock::new(),
        refusal: Mutex::new(None),
        chains: Mutex::new(Chains::none(id, key)),
    });
    if let Err((code, detail)) = shared.sessions.admit(&session) {
        return session.refuse(code, &detail);
    }
    let peer = Admitted { shared, session };
    let end = peer.serve(&handle).await;
    let (session, number) = (&peer.session, peer.session.id.0);
    match end {
        Ok(()) | Err(End::Done) => session.connection.close(CLOSE_DONE, b"done"),
        Err(End::Fault((code, detail))) => session.refuse(code, &detail),
        Err(End::Gone(error)) => tracing::debug!(session = number, %key, %error, "a session ended"),
    }
}

impl Session {
    /// Closes the connection with a code and a reason.
    pub(super) fn refuse(&self, code: RefusalCode, detail: &str) {
        tracing::info!(session = self.id.0, key = %self.key, address = %self.address, %code, detail, "closed a session");
        let detail = shorten(detail.to_owned(), MAX_REASON_BYTES);
        self.connection.close(code.close_code(), detail.as_bytes());
        self.note(LastRefusal { chain: None, code, detail });
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
    pub(super) fn note(&self, refusal: LastRefusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(super) fn chains(&self) -> MutexGuard<'_, Chains> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn info(&self) -> PeerInfo {
        let (chains, speaks_for) = self.chains().counts();
        PeerInfo {
            session: self.id.0,
            key: self.key,
            address: self.address,
            software: self.software.get().cloned().unwrap_or_default(),
            since: self.since,
            chains,
            speaks_for,
            // Relaxed, each: figures for people.
            bytes: self.bytes.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
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
        self.shared.sessions.remove(self.session.id);
        // Closed already, unless this is a panic: then its data streams would keep it alive, and nobody would listen.
        self.session.connection.close(CLOSE_DONE, b"the session ended");
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
            .timeout(limit, greet(&session.connection))
            .await
            .map_err(|_| too_slow(format!("no hello within {limit:?}")))??;
        tracing::info!(
            session = session.id.0, key = %session.key, address = %session.address,
            software = ?hello.software, chains = hello.chains.len(), "a session began"
        );
        let _ = session.software.set(hello.software);
        let (welcome, refusal) = {
            // First the head, then the lanes: the entries ack what the head has indexed.
            let head = shared.heralds.head().map(|head| Box::new(head.header));
            let mut chains = session.chains();
            let entries = chains.claim(&shared.parts.cache, &hello.chains);
            let (main_chain, genesis_hash) = (shared.parts.main_chain, shared.parts.genesis_hash);
            (Welcome { main_chain, genesis_hash, head, chains: entries }, chains.refusal())
        };
        if let Some(fault) = refusal {
            return Err(End::Fault(fault));
        }
        let told = welcome.head.as_ref().map_or(Height(0), |head| head.height);
        let mut out = Vec::new();
        ServerMessage::Welcome(welcome).encode(&mut out);
        self.write(handle, &mut send, &out).await?;
        let control = race(self.listen(handle, &mut receive), self.tell(handle, &mut send, told));
        let data = race(ingest::accept(shared, session, handle), follow::run(shared, session, handle));
        let (Either::Left(end) | Either::Right(end)) = race(control, data).await;
        let (Either::Left(end) | Either::Right(end)) = end;
        end
    }

    /// Reads the control stream.
    async fn listen(&self, handle: &Handle, stream: &mut RecvStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut body = Vec::new();
        loop {
            match receive(stream, &mut body).await?.ok_or(End::Done)? {
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
    async fn tell(&self, handle: &Handle, stream: &mut SendStream, mut head: Height) -> Result<(), End> {
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
                tracing::info!(session = session.id.0, key = %session.key, taken, "took over from silent speakers");
                shared.heralds.tell();
            }
            // First the head, then the lanes: what a header has indexed is acked with it or before the next one.
            let newest = shared.heralds.head();
            session.chains().collect(&mut out);
            if let Some(newest) = newest.filter(|newest| newest.header.height > head) {
                head = newest.header.height;
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

pub(super) fn too_slow(detail: String) -> End {
    End::Fault((RefusalCode::TooSlow, detail))
}
