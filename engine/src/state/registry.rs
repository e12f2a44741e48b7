//! Which side chains are registered now, for everybody who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::chain::ChainId;

use super::{Genesis, Operation, SideChain};

/// The side chains that are registered now, as far as main blocks that are durable say. Cheap to clone; all clones see the
/// same. Changed by the persisting stage alone, once the block with the operation is durable.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Held no longer than it takes to count a reference, but by who changes it.
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// By ascending id. Replaced as a whole.
    chains: Arc<[SideChain]>,
    /// Those that were, and are not registered now.
    removed: BTreeSet<ChainId>,
    /// What stores keep of all operations.
    operation_bytes: u64,
}

impl Registry {
    /// Bytes of all operations of a main chain at most, as stores keep them: about a million registrations of chains with
    /// one node. A registration beyond is refused. Stores take many times as much.
    pub const MAX_OPERATION_BYTES: u64 = 64 << 20;

    /// The registry after `operations`, from block 1 on, each of which was valid when it came.
    pub fn new<'a>(genesis: &Genesis, operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let mut chains: BTreeMap<_, _> = genesis.chains.iter().map(|side| (side.id, side.clone())).collect();
        let (mut removed, mut operation_bytes) = (BTreeSet::new(), 0);
        for operation in operations {
            operation_bytes += operation.kept_bytes();
            match operation {
                Operation::Register(side) => {
                    removed.remove(&side.id);
                    chains.insert(side.id, side.clone());
                }
                Operation::Remove(chain) => {
                    chains.remove(chain);
                    removed.insert(*chain);
                }
            }
        }
        let chains = chains.into_values().collect();
        Self { known: Arc::new(RwLock::new(Known { chains, removed, operation_bytes })) }
    }

    /// The chains, by ascending id.
    pub fn chains(&self) -> Arc<[SideChain]> {
        Arc::clone(&self.known().chains)
    }

    /// The chain with this id.
    pub fn chain(&self, id: ChainId) -> Option<SideChain> {
        let chains = self.chains();
        chains.binary_search_by_key(&id, |side| side.id).ok().map(|position| chains[position].clone())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known().chains.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there ever were, with those that were removed, which the state and the index of a log name for ever. One
    /// that was registered again counts once.
    pub fn ever(&self) -> usize {
        let known = self.known();
        known.chains.len() + known.removed.len()
    }

    /// [`Registry::ever`], if `chain` were registered, too.
    pub fn ever_with(&self, chain: ChainId) -> usize {
        let known = self.known();
        let is_known = known.removed.contains(&chain)
            || known.chains.binary_search_by_key(&chain, |side| side.id).is_ok();
        known.chains.len() + known.removed.len() + usize::from(!is_known)
    }

    /// Bytes that stores keep of all operations, at most.
    pub fn operation_bytes(&self) -> u64 {
        self.known().operation_bytes
    }

    /// Takes an operation in that is durable now.
    pub(crate) fn apply(&self, operation: &Operation) {
        let mut chains = self.chains().to_vec();
        chains.retain(|side| side.id != operation.chain());
        if let Operation::Register(side) = operation {
            let position = chains.partition_point(|other| other.id < side.id);
            chains.insert(position, side.clone());
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.chains = chains.into();
        match operation {
            Operation::Register(side) => known.removed.remove(&side.id),
            Operation::Remove(chain) => known.removed.insert(*chain),
        };
        known.operation_bytes += operation.kept_bytes();
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}
