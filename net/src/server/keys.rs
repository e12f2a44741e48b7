//! Which keys are let in, and which registered key each stands for. Changes while the server runs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use engine::chain::{ChainId, NodeKey};
use engine::state::SideChain;
use tokio::sync::Notify;

use crate::identity::KnownKeys;

/// The keys that are registered for some chain, and what the operator has changed since: keys struck off, and new keys
/// that stand for registered ones.
///
/// Asked once a handshake. Servers that use it are told of changes, and end the sessions whose key is no longer good.
#[derive(Debug)]
pub struct NodeKeys {
    registry: RwLock<Registry>,
    changes: RwLock<KeyChanges>,
    /// Rung after a change. Of servers that are gone nothing is left but the weak reference.
    watchers: Mutex<Vec<Weak<Notify>>>,
}

/// What the chains are registered with.
#[derive(Debug, Default)]
struct Registry {
    registered: HashSet<NodeKey>,
    chains: HashMap<ChainId, Box<[NodeKey]>>,
}

impl Registry {
    fn of(chains: &[SideChain]) -> Self {
        Self {
            registered: chains.iter().flat_map(|side| side.nodes.iter().copied()).collect(),
            chains: chains.iter().map(|side| (side.id, side.nodes.clone().into())).collect(),
        }
    }
}

/// What differs from the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Keys that are not let in any more, registered or not.
    pub revoked: BTreeSet<NodeKey>,
    /// New key to the registered key that it stands for: it speaks for the same chains.
    pub stands_for: BTreeMap<NodeKey, NodeKey>,
}

impl NodeKeys {
    /// The keys that are registered for any of `chains`.
    pub fn new(chains: &[SideChain]) -> Arc<Self> {
        Arc::new(Self {
            registry: RwLock::new(Registry::of(chains)),
            changes: RwLock::default(),
            watchers: Mutex::default(),
        })
    }

    /// Puts the keys of `chains` in the place of all that were registered: new ones are let in at once, and sessions
    /// whose key is registered for no chain any more end within a second.
    pub fn set_chains(&self, chains: &[SideChain]) {
        // Made before the lock is taken: handshakes wait for it.
        let registry = Registry::of(chains);
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = registry;
        self.ring();
    }

    /// Puts `changes` in the place of all earlier ones. Sessions whose key is not good any more, or stands for another
    /// one than when they began, end within a second.
    pub fn set(&self, changes: KeyChanges) {
        *self.changes.write().unwrap_or_else(PoisonError::into_inner) = changes;
        self.ring();
    }

    fn ring(&self) {
        // After the change is written: whoever is woken, or comes in from now on, sees it.
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.upgrade().inspect(|watcher| watcher.notify_one()).is_some());
    }

    /// The registered key that `presented` stands for, itself as a rule; `None` when it is not let in.
    pub fn identify(&self, presented: &NodeKey) -> Option<NodeKey> {
        let changes = self.changes();
        if changes.revoked.contains(presented) {
            return None;
        }
        let key = changes.stands_for.get(presented).unwrap_or(presented);
        self.registry().registered.contains(key).then_some(*key)
    }

    /// The keys that a node of a chain may present: those of the registry, and those that stand for one of them.
    pub(super) fn of_chain(&self, chain: ChainId) -> Vec<NodeKey> {
        let changes = self.changes();
        let registry = self.registry();
        let registered = registry.chains.get(&chain).map_or(&[][..], |keys| keys);
        let stand_ins = changes.stands_for.iter().filter(|(_, key)| registered.contains(key));
        let mut keys: Vec<_> = registered.iter().chain(stand_ins.map(|(new, _)| new)).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether the operator has struck the key off.
    pub fn is_revoked(&self, key: &NodeKey) -> bool {
        self.changes().revoked.contains(key)
    }

    /// Whether the operator has named the key anywhere: in the registry or in a change.
    pub fn is_known(&self, key: &NodeKey) -> bool {
        let changes = self.changes();
        self.registry().registered.contains(key)
            || changes.revoked.contains(key)
            || changes.stands_for.contains_key(key)
    }

    /// Rung after each change, as long as it is kept.
    pub(super) fn watch(&self) -> Arc<Notify> {
        let watcher = Arc::new(Notify::new());
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watcher));
        watcher
    }

    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> RwLockReadGuard<'_, KeyChanges> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownKeys for NodeKeys {
    fn identify(&self, key: &NodeKey) -> Option<NodeKey> {
        Self::identify(self, key)
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::Height;
    use engine::quorum::FinalityRule;

    use super::*;

    const OLD: NodeKey = NodeKey([1; 32]);
    const NEW: NodeKey = NodeKey([2; 32]);
    const STRANGER: NodeKey = NodeKey([3; 32]);

    fn keys() -> Arc<NodeKeys> {
        NodeKeys::new(&[SideChain {
            id: ChainId(1),
            name: "side".into(),
            first_height: Height(1),
            nodes: vec![OLD],
            finality: FinalityRule::Single,
        }])
    }

    #[test]
    fn a_new_key_stands_for_a_registered_one_and_a_revoked_one_for_nobody() {
        let keys = keys();
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (Some(OLD), None));
        keys.set(KeyChanges { stands_for: [(NEW, OLD)].into(), ..KeyChanges::default() });
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (Some(OLD), Some(OLD)), "both, for a while");
        keys.set(KeyChanges { revoked: [OLD].into(), stands_for: [(NEW, OLD)].into() });
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (None, Some(OLD)));
        keys.set(KeyChanges { revoked: [OLD, NEW].into(), stands_for: [(NEW, OLD)].into() });
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (None, None));
        keys.set(KeyChanges::default());
        assert_eq!(
            (keys.identify(&OLD), keys.identify(&NEW)),
            (Some(OLD), None),
            "each set is the whole truth"
        );
    }

    #[test]
    fn the_keys_of_a_chain_are_the_registered_ones_and_those_that_stand_for_them() {
        let keys = keys();
        assert_eq!(keys.of_chain(ChainId(1)), [OLD]);
        assert!(keys.of_chain(ChainId(2)).is_empty());
        let stands_for = [(NEW, OLD), (STRANGER, NEW), (OLD, OLD)].into();
        keys.set(KeyChanges { stands_for, ..KeyChanges::default() });
        assert_eq!(keys.of_chain(ChainId(1)), [OLD, NEW]);
    }

    #[test]
    fn chains_that_come_and_go_take_their_keys_with_them() {
        let keys = keys();
        let side = |id, key| SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: Height(1),
            nodes: vec![key],
            finality: FinalityRule::Single,
        };
        keys.set_chains(&[side(1, OLD), side(2, NEW)]);
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (Some(OLD), Some(NEW)));
        assert_eq!(keys.of_chain(ChainId(2)), [NEW]);
        keys.set_chains(&[side(2, NEW)]);
        assert_eq!((keys.identify(&OLD), keys.identify(&NEW)), (None, Some(NEW)));
        assert!(keys.of_chain(ChainId(1)).is_empty() && !keys.is_known(&OLD));
    }

    #[test]
    fn standing_for_a_key_that_nobody_registered_lets_nobody_in() {
        let keys = keys();
        keys.set(KeyChanges {
            stands_for: [(NEW, STRANGER), (STRANGER, NEW)].into(),
            ..KeyChanges::default()
        });
        assert_eq!((keys.identify(&NEW), keys.identify(&STRANGER)), (None, None));
    }

    #[test]
    fn servers_that_are_gone_are_forgotten() {
        let keys = keys();
        let kept = keys.watch();
        drop(keys.watch());
        keys.set(KeyChanges::default());
        assert_eq!(keys.watchers.lock().unwrap().len(), 1);
        drop(kept);
    }
}
