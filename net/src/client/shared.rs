//! What pump, link and callers of a client share.
//!
//! The link writes limits and durable heights, the pump what was sent and what it found; everything that changes
//! what the pump does with a chain goes through the inbox, newest wins, so it is bounded by the number of chains.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::lane::Position;
use engine::sync::Doorbell;
use tokio::sync::{Notify, mpsc};

use super::{
    ChainState, ChainStatus, ClientConfig, ClientError, ConnectionState, Disconnect, Event, FollowStatus,
    Status,
};
use crate::control::{ClientMessage, Entry, MAX_CHAINS, RefusalCode, Resume, Tip};
use crate::frame::FrameBuffer;

/// How many frame buffers are kept for use again.
const SPARE_BUFFERS: usize = 64;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ClientConfig,
    /// By ascending id; a chain is named by its place here.
    pub(super) chains: Box<[Cell]>,
    /// Rung when the inbox has something, a limit has moved or a data stream has room.
    pub(super) bell: Bell,
    pub(super) outbox: Outbox,
    /// Rung when the client is to stop, or no chain goes on.
    pub(super) stop: Notify,
    pub(super) spare: Arc<ArrayQueue<FrameBuffer>>,
    pub(super) totals: Totals,
    inbox: Mutex<Inbox>,
    stopping: AtomicU8,
    connection: Mutex<ConnectionState>,
    main: Mutex<Option<(ChainId, Hash)>>,
    head: Mutex<Option<MainHeader>>,
    /// None where nobody is given the main chain's blocks.
    follow: Mutex<Option<FollowStatus>>,
}

/// One chain, as it is shown and as pump and link both see it.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) chain: ChainId,
    // Relaxed, all four: each is a number of its own. The bell orders them with what it announces.
    /// Written by the pump.
    sent: AtomicU64,
    /// Written by the link.
    durable: AtomicU64,
    /// Written by the link; it only grows within a connection.
    limit: AtomicU64,
    /// Written by the pump: what the source said last, 0 if it has not.
    tip: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    state: ChainState,
    error: Option<String>,
}

/// Figures for people: written by the pump, the last one by the link.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) blocks: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// Wakes the pump, wherever it runs.
#[derive(Debug)]
pub(super) enum Bell {
    Thread(Doorbell),
    Task(Notify),
}

impl Bell {
    pub(super) fn ring(&self) {
        match self {
            Self::Thread(doorbell) => doorbell.ring(),
            Self::Task(notify) => notify.notify_one(),
        }
    }

    /// Waits for a ring, if it wakes a task; a thread waits by its own means.
    pub(super) async fn rung(&self) {
        match self {
            Self::Thread(_) => std::future::pending().await,
            Self::Task(notify) => notify.notified().await,
        }
    }
}

/// What the pump has to hear.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The connection is gone.
    pub(super) lost: bool,
    /// There is a new connection.
    pub(super) welcome: Option<Welcomed>,
    /// By place of the chain; the newest only.
    pub(super) news: BTreeMap<usize, News>,
}

/// A new connection, as the pump sees it.
#[derive(Debug)]
pub(super) struct Welcomed {
    /// Number of the connection.
    pub(super) connection: u64,
    /// One for each chain that was in the hello.
    pub(super) chains: Vec<Entry>,
    /// One for each data stream.
    pub(super) streams: Vec<mpsc::Sender<FrameBuffer>>,
}

#[derive(Debug)]
pub(super) enum News {
    Position(Entry),
    Refused {
        code: RefusalCode,
        text: String,
        /// Whether a position came since the pump looked last, which this stands in for.
        answered: bool,
    },
}

/// What the pump has to say on the control stream. Of an older connection it is dropped: a resume counts the frames
/// of its own.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    unsaid: Mutex<Unsaid>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Unsaid {
    /// Number of the connection.
    connection: u64,
    // Of each chain the newest only: a main chain that does not read makes nothing pile up here.
    /// Resumes and leaves.
    places: BTreeMap<ChainId, ClientMessage>,
    follow: Option<Height>,
    tips: BTreeMap<ChainId, Height>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stopping {
    No = 0,
    /// Take no more from the source; send what was taken.
    Drain = 1,
    Now = 2,
}

impl Shared {
    pub(super) fn new(config: ClientConfig, chains: Vec<ChainId>, bell: Bell) -> Result<Self, ClientError> {
        let mut ids = chains;
        ids.sort_unstable();
        let (count, twice) = (ids.len(), ids.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
        if let Some(chain) = twice {
            let expected = "every chain once";
            return Err(ClientError::Config {
                field: "chains of the source",
                value: chain.to_string(),
                expected,
            });
        }
        if count == 0 || count > MAX_CHAINS {
            let expected = "1 to 16384 of them";
            return Err(ClientError::Config {
                field: "chains of the source",
                value: count.to_string(),
                expected,
            });
        }
        let cell = |chain| Cell {
            chain,
            sent: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            tip: AtomicU64::new(0),
            shown: Mutex::new(Shown { state: ChainState::Offline, error: None }),
        };
        let follow = config.follow.is_some().then(FollowStatus::default);
        Ok(Self {
            config,
            chains: ids.into_iter().map(cell).collect(),
            bell,
            outbox: Outbox::default(),
            stop: Notify::new(),
            spare: Arc::new(ArrayQueue::new(SPARE_BUFFERS)),
            totals: Totals::default(),
            inbox: Mutex::default(),
            stopping: AtomicU8::new(Stopping::No as u8),
            connection: Mutex::new(ConnectionState::Connecting),
            main: Mutex::new(None),
            head: Mutex::new(None),
            follow: Mutex::new(follow),
        })
    }

    /// The place of a chain.
    pub(super) fn find(&self, chain: ChainId) -> Option<usize> {
        self.chains.binary_search_by_key(&chain, |cell| cell.chain).ok()
    }

    /// The chains that a hello names: those that have not stopped.
    pub(super) fn running(&self) -> Vec<ChainId> {
        let running = |cell: &&Cell| cell.shown().state != ChainState::Stopped;
        self.chains.iter().filter(running).map(|cell| cell.chain).collect()
    }

    pub(super) fn tell(&self, event: Event) {
        if let Some(sink) = &self.config.on_event {
            sink.tell(event);
        }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    /// Puts news of one chain before the pump.
    pub(super) fn post(&self, place: usize, news: News) {
        {
            let mut inbox = self.inbox();
            let before = inbox.news.insert(place, news);
            if let (
                Some(News::Position(_) | News::Refused { answered: true, .. }),
                Some(News::Refused { answered, .. }),
            ) = (before, inbox.news.get_mut(&place))
            {
                *answered = true;
            }
        }
        self.bell.ring();
    }

    pub(super) fn stop(&self, stopping: Stopping) {
        // Release and Acquire by the bell and by joining the threads; the value stands alone.
        self.stopping.fetch_max(stopping as u8, Ordering::Relaxed);
        self.bell.ring();
        if stopping == Stopping::Now {
            self.stop.notify_one();
        }
    }

    /// The pump has panicked, in the source most likely: no chain goes on, which also ends the link.
    pub(super) fn pump_panicked(&self) {
        const TEXT: &str = "reading the source panicked";
        tracing::error!("{TEXT}");
        for cell in &self.chains {
            cell.show(ChainState::Stopped, Some(TEXT.into()));
        }
        self.stop.notify_one();
        self.tell(Event::Disconnected { reason: Disconnect::passing(TEXT), retry_in: None });
    }

    pub(super) fn stopping(&self) -> Stopping {
        match self.stopping.load(Ordering::Relaxed) {
            0 => Stopping::No,
            1 => Stopping::Drain,
            _ => Stopping::Now,
        }
    }

    /// Whether all that was taken from the source is durable.
    pub(super) fn is_drained(&self) -> bool {
        self.chains.iter().all(|cell| match cell.shown().state {
            ChainState::Speaking | ChainState::Offline => {
                cell.durable.load(Ordering::Relaxed) >= cell.sent.load(Ordering::Relaxed)
            }
            // Nothing of it can be waited for.
            ChainState::Standby | ChainState::Refused(_) | ChainState::Stopped => true,
        })
    }

    pub(super) fn connection(&self) -> ConnectionState {
        lock(&self.connection).clone()
    }

    pub(super) fn set_connection(&self, state: ConnectionState) {
        *lock(&self.connection) = state;
    }

    pub(super) fn set_main(&self, main_chain: ChainId, genesis_hash: Hash) {
        *lock(&self.main) = Some((main_chain, genesis_hash));
    }

    pub(super) fn set_head(&self, header: MainHeader) {
        *lock(&self.head) = Some(header);
        self.tell(Event::Head(Box::new(header)));
    }

    pub(super) fn change_follow(&self, change: impl FnOnce(&mut FollowStatus)) {
        if let Some(follow) = &mut *lock(&self.follow) {
            change(follow);
        }
    }

    pub(super) fn status(&self) -> Status {
        let count = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Status {
            connection: self.connection(),
            main: *lock(&self.main),
            head: *lock(&self.head),
            chains: self.chains.iter().map(Cell::status).collect(),
            follow: lock(&self.follow).clone(),
            blocks: count(&self.totals.blocks),
            frames: count(&self.totals.frames),
            bytes: count(&self.totals.bytes),
            connections: count(&self.totals.connections),
        }
    }
}

impl Cell {
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_sent(&self, height: u64) {
        self.sent.store(height, Ordering::Relaxed);
    }

    pub(super) fn set_tip(&self, tip: Height) {
        self.tip.store(tip.0, Ordering::Relaxed);
    }

    pub(super) fn set_credit(&self, durable: Height, limit: Height) {
        self.durable.store(durable.0, Ordering::Relaxed);
        self.limit.store(limit.0, Ordering::Relaxed);
    }

    pub(super) fn set_position(&self, position: &Position) {
        self.set_credit(position.durable, position.limit);
    }

    pub(super) fn show(&self, state: ChainState, error: Option<String>) {
        *self.shown() = Shown { state, error };
    }

    pub(super) fn show_state(&self, state: ChainState) {
        self.shown().state = state;
    }

    pub(super) fn show_error(&self, error: Option<String>) {
        self.shown().error = error;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    fn status(&self) -> ChainStatus {
        let shown = self.shown();
        ChainStatus {
            chain: self.chain,
            state: shown.state,
            sent: Height(self.sent.load(Ordering::Relaxed)),
            durable: Height(self.durable.load(Ordering::Relaxed)),
            limit: Height(self.limit()),
            tip: Some(Height(self.tip.load(Ordering::Relaxed))).filter(|tip| *tip > Height(0)),
            error: shown.error.clone(),
        }
    }
}

impl Outbox {
    /// Forgets what is left and takes messages of this connection only.
    pub(super) fn begin(&self, connection: u64) {
        *lock(&self.unsaid) = Unsaid { connection, ..Unsaid::default() };
    }

    /// A leave that was not said yet is not needed then: the place is asked for anyway.
    pub(super) fn resume(&self, connection: u64, resume: Resume) {
        self.add(connection, |unsaid| {
            unsaid.places.insert(resume.chain, ClientMessage::Resume(resume));
        });
    }

    pub(super) fn leave(&self, connection: u64, chain: ChainId) {
        self.add(connection, |unsaid| {
            unsaid.places.insert(chain, ClientMessage::Leave(chain));
        });
    }

    pub(super) fn follow(&self, connection: u64, from: Height) {
        self.add(connection, |unsaid| unsaid.follow = Some(from));
    }

    pub(super) fn say_tips(&self, connection: u64, tips: impl IntoIterator<Item = (ChainId, Height)>) {
        self.add(connection, |unsaid| unsaid.tips.extend(tips));
    }

    fn add(&self, connection: u64, add: impl FnOnce(&mut Unsaid)) {
        let mut unsaid = lock(&self.unsaid);
        if unsaid.connection == connection {
            add(&mut unsaid);
            self.news.notify_one();
        }
    }

    /// Waits for messages and takes them.
    pub(super) async fn take(&self) -> Vec<ClientMessage> {
        self.news.notified().await;
        let mut unsaid = lock(&self.unsaid);
        let mut messages: Vec<_> = std::mem::take(&mut unsaid.places).into_values().collect();
        messages.extend(unsaid.follow.take().map(ClientMessage::Follow));
        let tips = std::mem::take(&mut unsaid.tips);
        if !tips.is_empty() {
            let tips = tips.into_iter().map(|(chain, height)| Tip { chain, height });
            messages.push(ClientMessage::Tips(tips.collect()));
        }
        messages
    }
}

/// Marks when the connection was made.
pub(super) fn connected(address: std::net::SocketAddr) -> ConnectionState {
    ConnectionState::Connected { address, since: Instant::now() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it left it whole: nothing here is written in two steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
