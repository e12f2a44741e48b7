//! The last refusal of each key and of each chain, and how sessions ended, for people who wonder why a node does not get
//! in or a chain does not get on. Bounded.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::chain::{ChainId, NodeKey, Timestamp};

use crate::control::RefusalCode;

/// The last time that a key, or a chain of it, was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRefusal {
    /// The key that was shown.
    pub key: NodeKey,
    /// Whether the operator knows it: it is registered, or was struck off, or stands for one that is registered.
    pub registered: bool,
    /// When it was refused last.
    pub time: Timestamp,
    /// From where.
    pub address: SocketAddr,
    /// Which chain; `None` when it was the whole connection.
    pub chain: Option<ChainId>,
    /// Why.
    pub code: RefusalCode,
    /// Why, for people; at most 512 bytes.
    pub detail: String,
    /// How many times the key was refused since the server started; of an unknown key, since it was last forgotten.
    pub count: u64,
}

/// The last time that a chain which is served was refused, by whatever session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRefusal {
    /// Which chain.
    pub chain: ChainId,
    /// The key that was shown.
    pub key: NodeKey,
    /// When it was refused last.
    pub time: Timestamp,
    /// From where.
    pub address: SocketAddr,
    /// Why.
    pub code: RefusalCode,
    /// Why, for people; at most 512 bytes.
    pub detail: String,
    /// How many times it was refused since the server started, or since it was forgotten. Of a session that has many
    /// chains refused at once, not each is counted here.
    pub count: u64,
    /// How many of these were contradictions, code `conflict`, by the registered key for which the session acted.
    pub conflicts: Vec<(NodeKey, u64)>,
}

/// How a session of a key ended: the last one of those that had named a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The registered key that it acted for.
    pub key: NodeKey,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub time: Timestamp,
    /// Where it was.
    pub address: SocketAddr,
    /// How.
    pub how: Left,
    /// Which chains that are served it had named, ascending. Empty if it ended before it named one: that says something of
    /// all chains of the key.
    pub chains: Vec<ChainId>,
}

/// See [`Departure::how`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// The peer ended it in order.
    Done,
    /// The connection was lost: why, for people.
    Lost(String),
    /// It was refused: why.
    Refused(RefusalCode, String),
}

/// How many ends of sessions are remembered of a key whose sessions name different chains.
const MAX_DEPARTURES: usize = 4;

/// How many keys that nobody has registered are remembered.
pub(super) const MAX_UNKNOWN: usize = 256;

/// Keys that the operator knows have a place for ever: there are no more of them than he has named. The others share
/// [`MAX_UNKNOWN`] places, the last refused ones staying, so that a flood of them pushes nobody else out.
///
/// Chains have a place each if they are served; whoever enters them sees to that. Departures are of keys that were let
/// in, which the operator has named.
///
/// Entries are shared: whoever reads them, at a low priority maybe, holds those up who write for no longer than it takes
/// to count references.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
    /// Counts what was written: who has seen this number has seen all.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Pages {
    known: HashMap<NodeKey, Arc<KeyRefusal>>,
    /// The last refused one at the end.
    unknown: VecDeque<Arc<KeyRefusal>>,
    chains: HashMap<ChainId, Arc<ChainRefusal>>,
    /// Keys that are not registered for the chain which they named.
    strangers: HashMap<ChainId, Arc<ChainRefusal>>,
    /// The last one at the end; none that says nothing which a later one does not.
    departures: HashMap<NodeKey, Vec<Arc<Departure>>>,
}

impl Ledger {
    /// Writes a refusal down; its count is how many there were at once, which the ledger adds up.
    pub(super) fn enter(&self, mut refusal: KeyRefusal) {
        let mut pages = self.pages();
        self.count();
        let key = refusal.key;
        // Where it was before: a key may have become known since, or have been forgotten by the operator.
        let place = pages.unknown.iter().position(|other| other.key == key);
        let before = place.and_then(|place| pages.unknown.remove(place)).or_else(|| pages.known.remove(&key));
        refusal.count += before.map_or(0, |before| before.count);
        if refusal.registered {
            pages.known.insert(key, Arc::new(refusal));
        } else {
            if pages.unknown.len() >= MAX_UNKNOWN {
                pages.unknown.pop_front();
            }
            pages.unknown.push_back(Arc::new(refusal));
        }
    }

    /// Writes the refusal of a chain down, which is served; its counts are added up.
    pub(super) fn enter_chain(&self, mut refusal: ChainRefusal) {
        let mut pages = self.pages();
        self.count();
        if let Some(before) = pages.chains.get(&refusal.chain) {
            refusal.count += before.count;
            let new = std::mem::replace(&mut refusal.conflicts, before.conflicts.clone());
            for (key, count) in new {
                match refusal.conflicts.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, sum)) => *sum += count,
                    None => refusal.conflicts.push((key, count)),
                }
            }
        }
        pages.chains.insert(refusal.chain, Arc::new(refusal));
    }

    /// Writes down that a chain, which is served, was refused to a key that is not registered for it. Anybody who is let
    /// in may name any chain: that says nothing of the chain's own nodes.
    pub(super) fn enter_stranger(&self, mut refusal: ChainRefusal) {
        let mut pages = self.pages();
        self.count();
        refusal.count += pages.strangers.get(&refusal.chain).map_or(0, |before| before.count);
        pages.strangers.insert(refusal.chain, Arc::new(refusal));
    }

    /// Forgets what was refused of a chain.
    pub(super) fn forget(&self, chain: ChainId) {
        let mut pages = self.pages();
        if pages.chains.remove(&chain).is_some() | pages.strangers.remove(&chain).is_some() {
            self.count();
        }
    }

    /// Writes down how the session of a key that was let in ended.
    pub(super) fn depart(&self, departure: Departure) {
        let mut pages = self.pages();
        self.count();
        let of_key = pages.departures.entry(departure.key).or_default();
        of_key.retain(|before| {
            !departure.chains.is_empty()
                && before.chains.iter().any(|chain| departure.chains.binary_search(chain).is_err())
        });
        if of_key.len() >= MAX_DEPARTURES {
            of_key.remove(0);
        }
        of_key.push(Arc::new(departure));
    }

    /// The last refusal of each chain.
    pub(super) fn chains(&self) -> Vec<Arc<ChainRefusal>> {
        self.pages().chains.values().cloned().collect()
    }

    /// The last stranger of each chain.
    pub(super) fn strangers(&self) -> Vec<Arc<ChainRefusal>> {
        self.pages().strangers.values().cloned().collect()
    }

    /// How the last sessions of each key ended.
    pub(super) fn departures(&self) -> Vec<Arc<Departure>> {
        self.pages().departures.values().flatten().cloned().collect()
    }

    /// Grows with all that is written.
    pub(super) fn version(&self) -> u64 {
        // Acquire: pairs with `count`, which is called under the lock. Who sees the number, and then takes the lock, sees
        // what it counts.
        self.version.load(Ordering::Acquire)
    }

    /// The last refusal of each key, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<KeyRefusal>> {
        let pages = self.pages();
        let mut all: Vec<_> = pages.known.values().chain(&pages.unknown).cloned().collect();
        drop(pages);
        all.sort_by_key(|refusal| (std::cmp::Reverse(refusal.time), refusal.key));
        all
    }

    fn count(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: u64, registered: bool, time: u64) -> KeyRefusal {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        KeyRefusal {
            key: NodeKey(bytes),
            registered,
            time: Timestamp::from_millis(time),
            address: ([127, 0, 0, 1], 1).into(),
            chain: None,
            code: RefusalCode::UnknownKey,
            detail: "detail".into(),
            count: 1,
        }
    }

    #[test]
    fn a_flood_of_unknown_keys_pushes_no_known_one_out() {
        let ledger = Ledger::default();
        ledger.enter(refusal(1, true, 0));
        for key in 2..2_000 {
            ledger.enter(refusal(key, false, key));
        }
        let all = ledger.all();
        assert_eq!(all.len(), 1 + MAX_UNKNOWN);
        assert_eq!(all[0].key, refusal(1_999, false, 0).key, "the newest first");
        assert!(all.last().unwrap().registered);
    }

    #[test]
    fn of_a_key_the_last_refusal_is_kept_and_all_are_counted() {
        let ledger = Ledger::default();
        for time in 1..=3 {
            ledger.enter(refusal(7, false, time));
        }
        ledger.enter(refusal(8, false, 3));
        let counts = |ledger: &Ledger| ledger.all().iter().map(|refusal| refusal.count).collect::<Vec<_>>();
        assert_eq!(counts(&ledger), [3, 1]);
        // The operator registers it, and strikes it off the registry again.
        ledger.enter(refusal(7, true, 4));
        assert_eq!(counts(&ledger), [4, 1]);
        ledger.enter(refusal(7, false, 5));
        assert_eq!(counts(&ledger), [5, 1]);
    }

    #[test]
    fn of_a_chain_the_last_refusal_is_kept_and_contradictions_are_counted() {
        let ledger = Ledger::default();
        let KeyRefusal { key, time, address, .. } = refusal(7, true, 1);
        let other = NodeKey([8; 32]);
        let entry = |code: RefusalCode, conflicts| {
            let (chain, detail) = (ChainId(1), code.to_string());
            ChainRefusal { chain, key, time, address, code, detail, count: 1, conflicts }
        };
        for who in [key, other, key] {
            ledger.enter_chain(entry(RefusalCode::Conflict, vec![(who, 1)]));
        }
        ledger.enter_chain(entry(RefusalCode::WrongHeight, vec![]));
        let all = ledger.chains();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].code, all[0].count), (RefusalCode::WrongHeight, 4));
        assert_eq!(all[0].conflicts, [(key, 2), (other, 1)]);
        ledger.enter_stranger(entry(RefusalCode::UnknownKey, vec![]));
        assert_eq!(ledger.chains()[0].code, RefusalCode::WrongHeight, "a stranger hides nothing");
        assert_eq!((ledger.strangers()[0].code, ledger.version()), (RefusalCode::UnknownKey, 5));
        ledger.forget(ChainId(1));
        ledger.forget(ChainId(1));
        assert!(ledger.chains().is_empty() && ledger.strangers().is_empty());
        assert_eq!(ledger.version(), 6);
    }

    #[test]
    fn of_a_key_the_last_end_is_kept_for_each_chain_that_it_named() {
        let ledger = Ledger::default();
        let KeyRefusal { key, time, address, .. } = refusal(7, true, 1);
        let end = |chains: &[u32], how: Left| {
            let chains = chains.iter().copied().map(ChainId).collect();
            ledger.depart(Departure { key, since: time, time, address, how, chains });
            let all = ledger.departures();
            all.iter()
                .map(|gone| (gone.how.clone(), gone.chains.iter().map(|chain| chain.0).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        let lost = || Left::Lost("timed out".into());
        assert_eq!(end(&[1], Left::Done), [(Left::Done, vec![1])]);
        assert_eq!(end(&[1], lost()), [(lost(), vec![1])]);
        assert_eq!(end(&[2, 3], Left::Done), [(lost(), vec![1]), (Left::Done, vec![2, 3])]);
        assert_eq!(end(&[3], lost()).len(), 3, "of chain 2 it is still the one before");
        assert_eq!(end(&[1, 2, 3], lost()), [(lost(), vec![1, 2, 3])]);
        for chain in 4..20 {
            end(&[chain], lost());
        }
        assert_eq!(ledger.departures().len(), MAX_DEPARTURES);
        assert_eq!(end(&[], Left::Done), [(Left::Done, vec![])]);
    }
}
