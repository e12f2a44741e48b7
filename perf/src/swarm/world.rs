//! Who is who: chains, the nodes that speak for them, and blocks made from their height alone.

use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use net::identity::Identity;
use serde::{Deserialize, Serialize};

/// Chains that are spread evenly over nodes; each node has one connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct World {
    /// Id of the first chain; the others follow.
    pub(crate) first_chain: u32,
    pub(crate) chains: u32,
    /// Number of the first node, which its key is made from.
    pub(crate) first_node: u32,
    pub(crate) nodes: u32,
}

impl World {
    pub(crate) fn new(chains: u32, nodes: u32) -> Self {
        Self { first_chain: 1, chains, first_node: 0, nodes }
    }

    /// The chains of the node at `index`, ascending.
    pub(crate) fn chains_of(&self, index: u32) -> impl Iterator<Item = ChainId> + use<> {
        let first = self.first_chain;
        (index..self.chains).step_by(self.nodes as usize).map(move |chain| ChainId(first + chain))
    }

    pub(crate) fn identity(&self, index: u32) -> Identity {
        identity(self.first_node + index)
    }

    /// As the genesis document registers them.
    pub(crate) fn sides(&self) -> Vec<SideChain> {
        let keys: Vec<_> = (0..self.nodes).map(|node| self.identity(node).public()).collect();
        let side = |chain: u32| SideChain {
            id: ChainId(self.first_chain + chain),
            name: format!("chain {}", self.first_chain + chain),
            first_height: Height(1),
            nodes: vec![keys[(chain % self.nodes) as usize]],
            finality: FinalityRule::Single,
        };
        (0..self.chains).map(side).collect()
    }
}

/// The key of a node: made from its number, because a measurement keeps no secrets.
pub(crate) fn identity(node: u32) -> Identity {
    let mut seed = [0x5e; 32];
    seed[..4].copy_from_slice(&node.to_le_bytes());
    Identity::from_seed(seed)
}

/// The key of the server.
pub(crate) fn server_identity() -> Identity {
    Identity::from_seed([0xee; 32])
}

/// Hash of a block; of another `branch`, another one. No hash of anything, which the main chain neither knows nor minds.
pub(crate) fn hash(chain: ChainId, height: u64, branch: u8) -> Hash {
    let mut bytes = [branch; 32];
    bytes[..8].copy_from_slice(&height.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[8..16].copy_from_slice(&height.to_le_bytes());
    bytes[16..20].copy_from_slice(&chain.0.to_le_bytes());
    Hash(bytes)
}

pub(crate) fn parent(chain: ChainId, height: u64) -> Hash {
    if height == 1 { Hash::ZERO } else { hash(chain, height - 1, 0) }
}

/// Puts the blocks `first..first + count` into `columns`, instead of what they held.
pub(crate) fn blocks(chain: ChainId, first: u64, count: usize, columns: &mut Columns) {
    columns.clear();
    for height in first..first + count as u64 {
        let hash = hash(chain, height, 0);
        let mut tx_root = hash;
        tx_root.0[31] = 0xff;
        columns.push(hash, tx_root, Timestamp::from_millis(height));
    }
}

/// When in its interval a chain makes its blocks: spread evenly, and not in the order of ids.
pub(crate) fn phase(chain: ChainId, interval: Duration) -> Duration {
    // 2^32 over the golden ratio: multiples of it fill a circle evenly, however many there are.
    interval.mul_f64(f64::from(chain.0.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX))
}
