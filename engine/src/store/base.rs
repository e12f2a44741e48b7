//! Where a store begins, once its oldest blocks were pruned.

use std::sync::{Arc, LazyLock};

use crate::chain::{ChainId, Hash, Height};
use crate::merkle::history::History;

/// Where a store begins, and what is kept of the blocks before: what proofs and restarts need of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The oldest main block that is kept, or will be the first one of an empty store: 1 if none was pruned.
    pub first: Height,
    /// The history of the headers below `first`: its peaks are all that proofs of later headers need of them.
    pub history: History,
    /// The newest indexed block below `first` of each side chain that has one there, by ascending chain.
    pub heads: Vec<ChainHead>,
}

/// The newest indexed block of a side chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The side chain.
    pub chain: ChainId,
    /// The block's height in it.
    pub height: Height,
    /// The block's own hash.
    pub hash: Hash,
}

impl Base {
    /// The base of every store of which nothing was pruned. Shared, so that asking for it allocates nothing.
    pub fn whole() -> Arc<Self> {
        static WHOLE: LazyLock<Arc<Base>> = LazyLock::new(Arc::default);
        Arc::clone(&WHOLE)
    }

    /// The newest indexed block of `chain` below `first`, if it has one there. A binary search.
    pub fn head(&self, chain: ChainId) -> Option<&ChainHead> {
        let position = self.heads.binary_search_by_key(&chain, |head| head.chain).ok()?;
        self.heads.get(position)
    }
}

impl Default for Base {
    fn default() -> Self {
        Self { first: Height(1), history: History::default(), heads: Vec::new() }
    }
}
