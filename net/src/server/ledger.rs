//! The last refusal of each key, for people who wonder why a node does not get in. Bounded.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// How many keys that nobody has registered are remembered.
pub(super) const MAX_UNKNOWN: usize = 256;

/// Keys that the operator knows have a place for ever: there are no more of them than he has named. The others share
/// [`MAX_UNKNOWN`] places, the last refused ones staying, so that a flood of them pushes nobody else out.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    known: HashMap<NodeKey, KeyRefusal>,
    /// The last refused one at the end.
    unknown: VecDeque<KeyRefusal>,
}

impl Ledger {
    /// Writes a refusal down; its count is how many there were at once, which the ledger adds up.
    pub(super) fn enter(&self, mut refusal: KeyRefusal) {
        let mut pages = self.pages();
        let key = refusal.key;
        // Where it was before: a key may have become known since, or have been forgotten by the operator.
        let place = pages.unknown.iter().position(|other| other.key == key);
        let before = place.and_then(|place| pages.unknown.remove(place)).or_else(|| pages.known.remove(&key));
        refusal.count += before.map_or(0, |before| before.count);
        if refusal.registered {
            pages.known.insert(key, refusal);
        } else {
            if pages.unknown.len() >= MAX_UNKNOWN {
                pages.unknown.pop_front();
            }
            pages.unknown.push_back(refusal);
        }
    }

    /// The last refusal of each key, the newest first.
    pub(super) fn all(&self) -> Vec<KeyRefusal> {
        let pages = self.pages();
        let mut all: Vec<_> = pages.known.values().chain(&pages.unknown).cloned().collect();
        drop(pages);
        all.sort_by_key(|refusal| (std::cmp::Reverse(refusal.time), refusal.key));
        all
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
