//! Which side chains are registered now, for everybody who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::chain::ChainId;

use super::{Genesis, Operation, SideChain};

/// The side chains that are registered now, as far as main blocks that are durable say. Cheap to clone; all clones see the
/// same. Changed by the persisting stage alone, once the block with the operation is durable.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By ascending id. Replaced as a whole, so that nobody holds the lock for longer than it takes to count a reference.
    chains: Arc<RwLock<Arc<[SideChain]>>>,
}

impl Registry {
    /// The registry after `operations`, from block 1 on, each of which was valid when it came.
    pub fn new<'a>(genesis: &Genesis, operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let mut chains: BTreeMap<_, _> = genesis.chains.iter().map(|side| (side.id, side.clone())).collect();
        for operation in operations {
            match operation {
                Operation::Register(side) => chains.insert(side.id, side.clone()),
                Operation::Remove(chain) => chains.remove(chain),
            };
        }
        Self { chains: Arc::new(RwLock::new(chains.into_values().collect())) }
    }

    /// The chains, by ascending id.
    pub fn chains(&self) -> Arc<[SideChain]> {
        Arc::clone(&self.chains.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The chain with this id.
    pub fn chain(&self, id: ChainId) -> Option<SideChain> {
        let chains = self.chains();
        chains.binary_search_by_key(&id, |side| side.id).ok().map(|position| chains[position].clone())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chains().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes an operation in that is durable now.
    pub(crate) fn apply(&self, operation: &Operation) {
        let mut chains = self.chains().to_vec();
        chains.retain(|side| side.id != operation.chain());
        if let Operation::Register(side) = operation {
            let position = chains.partition_point(|other| other.id < side.id);
            chains.insert(position, side.clone());
        }
        *self.chains.write().unwrap_or_else(PoisonError::into_inner) = chains.into();
    }
}
