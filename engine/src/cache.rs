//! The cache: every chain's lane, found by chain id.

use std::sync::Arc;

use dashmap::DashMap;

use crate::chain::ChainId;
use crate::lane::Lane;

/// The table of lanes. Shared by all ingest threads; a session looks its lanes up once, when it starts.
#[derive(Debug, Default, Clone)]
pub struct Cache {
    lanes: Arc<DashMap<ChainId, Arc<Lane>>>,
}

impl Cache {
    /// Adds a lane, or puts it in place of an older one of the same chain.
    pub fn insert(&self, lane: Arc<Lane>) {
        self.lanes.insert(lane.chain(), lane);
    }

    /// Takes the lane of `chain` out, which was closed.
    pub(crate) fn remove(&self, chain: ChainId) {
        self.lanes.remove(&chain);
    }

    /// The lane of `chain`, if the chain is known.
    pub fn lane(&self, chain: ChainId) -> Option<Arc<Lane>> {
        self.lanes.get(&chain).map(|lane| Arc::clone(&lane))
    }

    /// All lanes, by ascending chain id.
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        let mut lanes: Vec<_> = self.lanes.iter().map(|lane| Arc::clone(&lane)).collect();
        lanes.sort_unstable_by_key(|lane| lane.chain());
        lanes
    }
}
