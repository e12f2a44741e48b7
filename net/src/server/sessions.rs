//! Who is connected, and how many may be.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::chain::{ChainId, NodeKey, Timestamp};
use engine::lane::SessionId;

use super::session::Session;
use super::{ServerConfig, Shared};
use crate::control::RefusalCode;

/// A session, for people.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Number of the session, counted up from 1.
    pub session: u64,
    /// The key that the peer has proven to hold.
    pub key: NodeKey,
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
    max_per_address: usize,
    next: AtomicU64,
    /// By number, so the oldest first.
    open: Mutex<BTreeMap<u64, Arc<Session>>>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl Sessions {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            max: config.max_sessions,
            max_per_key: config.max_sessions_per_key,
            max_per_address: config.max_connections_per_address,
            next: AtomicU64::new(1),
            open: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    /// A number that no session has had.
    pub(super) fn number(&self) -> SessionId {
        // Relaxed: only the number itself matters.
        SessionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a session in. The oldest one of its key makes room for it if there are too many of them, or too many in all:
    /// it may well be dead, and only not have timed out yet.
    pub(super) fn admit(&self, session: &Arc<Session>) -> Result<(), (RefusalCode, String)> {
        let mut open = self.open();
        let same: Vec<_> = open.values().filter(|other| other.key == session.key).cloned().collect();
        let above = (same.len() + 1).saturating_sub(self.max_per_key);
        let above = above.max((open.len() + 1).saturating_sub(self.max));
        let Some(superseded) = same.get(..above) else {
            return Err((
                RefusalCode::Busy,
                format!("{} sessions are open, the most there may be", self.max),
            ));
        };
        for old in superseded {
            open.remove(&old.id.0);
        }
        open.insert(session.id.0, Arc::clone(session));
        drop(open);
        for old in superseded {
            let detail = format!(
                "a newer session of this key took its place; {} of a key may be open, {} in all",
                self.max_per_key, self.max
            );
            old.refuse(RefusalCode::Superseded, &detail);
        }
        Ok(())
    }

    pub(super) fn remove(&self, session: SessionId) {
        self.open().remove(&session.0);
    }

    /// Makes the sessions of one reactor look at their lanes.
    pub(super) fn wake(&self, reactor: usize) {
        for session in self.open().values().filter(|session| session.reactor == reactor) {
            session.news.notify_one();
            session.wanted.heads.notify_one();
        }
    }

    pub(super) fn peers(&self) -> Vec<PeerInfo> {
        let open: Vec<_> = self.open().values().cloned().collect();
        open.iter().map(|session| session.info()).collect()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections of one address; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    /// `None` when the address has as many as it may have.
    pub(super) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        let mut addresses = shared.sessions.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        if *count >= shared.sessions.max_per_address {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.shared.sessions.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}
