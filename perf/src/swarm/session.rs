//! One session: hello, welcome, and what the server says from then on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use engine::chain::ChainId;
use net::control::{ClientMessage, EntryState, Hello, Message, ServerMessage, Welcome, receive};
use net::endpoint;
use net::frame::MAX_SECTION_BLOCKS;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;

use super::lag::{Lags, Schedule};
use super::{Load, Shared, lock, send};

/// A connected session.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Rung when a limit has risen.
    pub(super) news: Notify,
    pub(super) chains: Mutex<Chains>,
}

/// The chains of a session, and what its listener measures of them.
pub(super) struct Chains {
    /// Ascending.
    pub(super) table: Vec<Cursor>,
    pub(super) lags: Lags,
}

/// Where a chain stands.
pub(super) struct Cursor {
    pub(super) chain: ChainId,
    /// Height of the block before the first one that this session sends.
    pub(super) base: u64,
    /// Next height to send.
    pub(super) next: u64,
    /// Highest height that may be sent.
    pub(super) limit: u64,
    /// How many batches are acknowledged. How many are due the [`Schedule`] tells.
    pub(super) acked: u64,
    /// Its longest lag, in microseconds.
    pub(super) worst: u64,
    /// How many blocks a lane holds, as the first limit told.
    room: u64,
}

impl Cursor {
    /// How many blocks can be sent at once; 0 while a small window is better left to grow.
    pub(super) fn credit(&self) -> u64 {
        let credit = (self.limit + 1).saturating_sub(self.next);
        if credit * 4 >= self.room || credit >= MAX_SECTION_BLOCKS as u64 { credit } else { 0 }
    }
}

/// The life of the session at `index`.
pub(super) async fn run(shared: Arc<Shared>, index: u32) {
    let Ok(permit) = shared.gate.acquire().await else { return };
    let connected = match shared.setup.load {
        Load::Bulk => bulk(&shared, index).await,
        _ => greet(&shared, index).await,
    };
    drop(permit);
    let (session, control) = match connected {
        Ok(connected) => connected,
        Err(error) => return shared.fail(&error.context(format!("connection {index}"))),
    };
    lock(&shared.sessions).push(Arc::clone(&session));
    shared.totals.connected.fetch_add(1, Ordering::Relaxed);
    let sender = (Arc::clone(&shared), Arc::clone(&session));
    shared.handle.spawn(async move {
        let (shared, session) = sender;
        if let Err(error) = send::run(&shared, &session).await {
            shared.fail(&error.context(format!("sender of connection {index}")));
        }
    });
    if let Some((_send, receive)) = control
        && let Err(error) = listen(&shared, &session, receive).await
    {
        shared.fail(&error.context(format!("connection {index}")));
    }
}

type Connected = (Arc<Session>, Option<(SendStream, RecvStream)>);

async fn connect(shared: &Shared, index: u32) -> Result<Connection> {
    let quic = shared.quic(index)?;
    let connecting = endpoint::connect(&shared.endpoint, quic, shared.setup.server)?;
    connecting.await.context("no connection")
}

async fn bulk(shared: &Shared, index: u32) -> Result<Connected> {
    let connection = connect(shared, index).await?;
    let chains = shared.setup.world.chains_of(index);
    let table = chains.map(|chain| Cursor::new(chain, 0, ENDLESS)).collect();
    Ok((Session::new(connection, table), None))
}

/// The limit of a chain without credits.
const ENDLESS: u64 = 1 << 60;

async fn greet(shared: &Shared, index: u32) -> Result<Connected> {
    let connection = connect(shared, index).await?;
    let (mut send, mut stream) = connection.open_bi().await?;
    let chains: Vec<_> = shared.setup.world.chains_of(index).collect();
    let mut out = Vec::new();
    ClientMessage::Hello(Hello { software: "mainstem-perf".into(), chains }).encode(&mut out);
    send.write_all(&out).await?;
    let welcome = match receive(&mut stream, &mut Vec::new()).await?.context("the server hung up")? {
        ServerMessage::Welcome(welcome) => welcome,
        other => bail!("the server said {other:?}; expected a welcome"),
    };
    let table = cursors(&welcome)?;
    Ok((Session::new(connection, table), Some((send, stream))))
}

fn cursors(welcome: &Welcome) -> Result<Vec<Cursor>> {
    let cursor = |entry: &net::control::Entry| match entry.state {
        EntryState::Speaker(position) => Ok(Cursor::new(entry.chain, position.received.0, position.limit.0)),
        other => bail!("chain {} is not to be spoken for: {other:?}", entry.chain),
    };
    welcome.chains.iter().map(cursor).collect()
}

impl Cursor {
    fn new(chain: ChainId, received: u64, limit: u64) -> Self {
        let (base, next, room) = (received, received + 1, limit - received);
        Self { chain, base, next, limit, acked: 0, worst: 0, room }
    }
}

impl Session {
    fn new(connection: Connection, table: Vec<Cursor>) -> Arc<Self> {
        let chains = Mutex::new(Chains { table, lags: Lags::default() });
        Arc::new(Self { connection, news: Notify::new(), chains })
    }
}

/// Reads the control stream until the connection ends.
async fn listen(shared: &Shared, session: &Session, mut stream: RecvStream) -> Result<()> {
    let mut body = Vec::new();
    while let Some(message) = receive(&mut stream, &mut body).await? {
        match message {
            ServerMessage::Ack(acks) => {
                let (now, schedule) = (Instant::now(), shared.schedule());
                let mut chains = lock(&session.chains);
                for ack in acks {
                    chains.ack(ack.chain, ack.durable.0, ack.limit.0, now, schedule.as_ref());
                }
                drop(chains);
                session.news.notify_one();
            }
            ServerMessage::Refused(refused) => {
                shared.totals.refused.fetch_add(1, Ordering::Relaxed);
                bail!("chain {} was refused: {} ({})", refused.chain, refused.code, refused.detail);
            }
            _ => {}
        }
    }
    bail!("the server finished the control stream")
}

impl Chains {
    fn ack(&mut self, chain: ChainId, durable: u64, limit: u64, now: Instant, schedule: Option<&Schedule>) {
        let Ok(place) = self.table.binary_search_by_key(&chain, |cursor| cursor.chain) else { return };
        let cursor = &mut self.table[place];
        cursor.limit = cursor.limit.max(limit);
        let Some(schedule) = schedule else { return };
        let covered = durable.saturating_sub(cursor.base) / schedule.batch;
        while cursor.acked < covered {
            let lag = self.lags.record(cursor.chain, cursor.acked, schedule, now);
            cursor.worst = cursor.worst.max(lag);
            cursor.acked += 1;
        }
    }
}
