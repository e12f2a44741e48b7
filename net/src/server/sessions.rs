//! Who is connected, and how many may be.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::chain::{ChainId, NodeKey, Timestamp};
use engine::lane::SessionId;

use super::ServerConfig;
use super::chains::Fault;
use super::session::Session;
use crate::control::RefusalCode;

/// A session, for people.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Number of the session, counted up from 1.
    pub session: u64,
    /// The registered key that it acts for.
    pub key: NodeKey,
    /// The key that the peer has proven to hold: the same one, or one that stands for it.
    pub presented: NodeKey,
    /// Where it is.
    pub address: SocketAddr,
    /// What it says it runs; empty before its hello.
    pub software: String,
    /// When it came.
    pub since: Timestamp,
    /// How many chains its hello named.
    pub chains: usize,
    /// For how many of them it speaks.
    pub speaks_for: usize,
    /// Bytes of the frames received.
    pub bytes: u64,
    /// Frames received.
    pub frames: u64,
    /// Blocks put into lanes.
    pub blocks: u64,
    /// When the last frame was received.
    pub last_frame: Option<Timestamp>,
    /// How many blocks that its sources have are not durable yet, over the chains that it speaks for, as far as it has
    /// told how far they are; `None` if it has told nothing.
    pub behind: Option<u64>,
    /// Round trip to it and back, as QUIC reckons.
    pub rtt: Duration,
    /// Bytes that it may send ahead of our reading.
    pub window_bytes: u64,
    /// Bytes set aside for frames that it is sending.
    pub memory_bytes: u64,
    /// What was refused last.
    pub last_refusal: Option<LastRefusal>,
}

/// See [`PeerInfo::last_refusal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRefusal {
    /// Which chain; `None` when it was the whole connection.
    pub chain: Option<ChainId>,
    /// Why.
    pub code: RefusalCode,
    /// Why, for people.
    pub detail: String,
}

#[derive(Debug)]
pub(super) struct Sessions {
    max: usize,
    max_per_key: usize,
    next: AtomicU64,
    open: Mutex<Open>,
    /// How many are open, for those who only want to know that. Written under the lock.
    count: AtomicUsize,
    /// Of each reactor, those that are its own.
    reactors: Box<[Mutex<ByNumber>]>,
}

/// The oldest first.
type ByNumber = BTreeMap<u64, Arc<Session>>;

#[derive(Debug, Default)]
struct Open {
    sessions: ByNumber,
    /// The numbers of the sessions of a key that was presented, the oldest first.
    keys: HashMap<NodeKey, Vec<u64>>,
}

impl Sessions {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            max: config.max_sessions,
            max_per_key: config.max_sessions_per_key,
            next: AtomicU64::new(1),
            open: Mutex::default(),
            count: AtomicUsize::new(0),
            reactors: (0..config.reactors.get()).map(|_| Mutex::default()).collect(),
        }
    }

    /// A number that no session has had.
    pub(super) fn number(&self) -> SessionId {
        // Relaxed: only the number itself matters.
        SessionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a session in. The oldest ones of its key make room for it if there are too many of them, or too many in all:
    /// they may well be dead, and only not have timed out yet. Returns those, for the caller to end.
    pub(super) fn admit(&self, session: &Arc<Session>) -> Result<Vec<Arc<Session>>, Fault> {
        let mut open = self.open();
        let same = open.keys.get(&session.presented).map_or(&[][..], Vec::as_slice);
        let above = (same.len() + 1).saturating_sub(self.max_per_key);
        let above = above.max((open.sessions.len() + 1).saturating_sub(self.max));
        let Some(superseded) = same.get(..above).map(<[u64]>::to_vec) else {
            return Err((
                RefusalCode::Busy,
                format!("{} sessions are open, the most there may be", self.max),
            ));
        };
        let superseded = superseded.iter().filter_map(|number| open.remove(*number)).collect();
        open.sessions.insert(session.id.0, Arc::clone(session));
        open.keys.entry(session.presented).or_default().push(session.id.0);
        self.counted(&open);
        drop(open);
        self.of(session.reactor).insert(session.id.0, Arc::clone(session));
        Ok(superseded)
    }

    /// Why those that [`Sessions::admit`] gave back have to go.
    pub(super) fn superseded(&self) -> String {
        let (key, all) = (self.max_per_key, self.max);
        format!("a newer session of this key took its place; {key} of a key may be open, {all} in all")
    }

    pub(super) fn remove(&self, session: &Session) {
        let mut open = self.open();
        open.remove(session.id.0);
        self.counted(&open);
        drop(open);
        self.of(session.reactor).remove(&session.id.0);
    }

    /// Shows each session of one reactor, which must not come or go by that.
    pub(super) fn each(&self, reactor: usize, mut what: impl FnMut(&Arc<Session>)) {
        self.of(reactor).values().for_each(&mut what);
    }

    /// Up to `most` sessions of one reactor, from the first one after the number `after` on.
    pub(super) fn some(&self, reactor: usize, after: u64, most: usize, out: &mut Vec<Arc<Session>>) {
        out.extend(self.of(reactor).range(after + 1..).take(most).map(|(_, session)| Arc::clone(session)));
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        // Relaxed, as in `counted`: a figure.
        self.count.load(Ordering::Relaxed)
    }

    fn counted(&self, open: &Open) {
        self.count.store(open.sessions.len(), Ordering::Relaxed);
    }

    /// All of them, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.open().sessions.values().cloned().collect()
    }

    /// The first ones after `number`, the oldest first, `limit` at most; and whether there are more.
    pub(super) fn page(&self, number: u64, limit: usize) -> (Vec<Arc<Session>>, bool) {
        let open = self.open();
        let mut rest = open.sessions.range((Bound::Excluded(number), Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, session)| Arc::clone(session)).collect();
        (page, rest.next().is_some())
    }

    /// Those that presented one of these keys, the oldest first.
    pub(super) fn of_keys(&self, keys: &[NodeKey]) -> Vec<Arc<Session>> {
        let open = self.open();
        let mut numbers: Vec<_> = keys.iter().filter_map(|key| open.keys.get(key)).flatten().collect();
        numbers.sort_unstable();
        numbers.iter().filter_map(|number| open.sessions.get(*number)).cloned().collect()
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Session>> {
        self.open().sessions.get(&number).cloned()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, reactor: usize) -> MutexGuard<'_, ByNumber> {
        self.reactors[reactor].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, number: u64) -> Option<Arc<Session>> {
        let session = self.sessions.remove(&number)?;
        if let Some(numbers) = self.keys.get_mut(&session.presented) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.keys.remove(&session.presented);
            }
        }
        Some(session)
    }
}
