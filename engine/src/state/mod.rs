//! The deterministic state machine of the main chain. Today: the registry of side chains, from the genesis
//! document, and how far each is indexed. Replaying the log gives the same state and the same root.

mod genesis;

use sha2::{Digest, Sha256};

pub use genesis::{Genesis, GenesisError, MainChain, SideChain};

use crate::chain::{ChainId, Hash, Height};
use crate::merkle::digest;
use crate::merkle::live::LiveTree;
use crate::quorum::FinalityRule;
use crate::sha256::Kernel;

/// The state after some main block (`docs/protocol.md`, section "State").
#[derive(Clone, Debug)]
pub struct State {
    /// By ascending chain id.
    chains: Vec<ChainState>,
    tree: LiveTree,
    /// Of the last call of [`State::index`]: which chains changed. Kept for its memory.
    changed: Vec<u32>,
}

/// The state of one side chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainState {
    /// The side chain.
    pub id: ChainId,
    /// Commits to its registration: name, first height, nodes, finality rule.
    pub registration: Hash,
    /// Newest indexed height; the height before the first one if none is.
    pub indexed: Height,
    /// Hash of the block at that height; zero if none is indexed.
    pub hash: Hash,
}

impl State {
    /// The state before block 1.
    pub fn new(genesis: &Genesis) -> Self {
        let chains = genesis.chains.iter().map(|side| ChainState {
            id: side.id,
            registration: registration(side),
            indexed: side.first_height.previous(),
            hash: Hash::ZERO,
        });
        let chains: Vec<_> = chains.collect();
        let mut leaves = vec![Hash::ZERO; chains.len()];
        Kernel::best().digests(chains.iter().map(ChainState::preimage), &mut leaves);
        Self { tree: LiveTree::new(&leaves), changed: Vec::with_capacity(chains.len()), chains }
    }

    /// The chains, by ascending id.
    pub fn chains(&self) -> &[ChainState] {
        &self.chains
    }

    /// Moves indexed heads: (position in [`State::chains`], newest height, its hash), by ascending position.
    pub fn index(&mut self, heads: impl IntoIterator<Item = (usize, Height, Hash)>) {
        self.change(heads, |old, new| debug_assert!(old < new, "heads move forward"));
    }

    /// Takes indexed heads back: (position in [`State::chains`], newest height that stays, its hash), by ascending
    /// position. Of a chain of which nothing stays: the height before its first one, and zero.
    pub fn take_back(&mut self, heads: impl IntoIterator<Item = (usize, Height, Hash)>) {
        self.change(heads, |old, new| debug_assert!(new < old, "heads move back"));
    }

    fn change(
        &mut self,
        heads: impl IntoIterator<Item = (usize, Height, Hash)>,
        check: impl Fn(Height, Height),
    ) {
        let Self { chains, tree, changed } = self;
        changed.clear();
        changed.extend(heads.into_iter().map(|(position, indexed, hash)| {
            let chain = &mut chains[position];
            check(chain.indexed, indexed);
            (chain.indexed, chain.hash) = (indexed, hash);
            position as u32
        }));
        tree.update(changed, |positions, leaves| {
            let preimages = positions.iter().map(|position| chains[*position as usize].preimage());
            Kernel::best().digests(preimages, leaves);
        });
    }

    /// The `state_root` of a header: `H(0x07 || parts u32 = 1 || chains root[32])`.
    pub fn root(&self) -> Hash {
        let mut preimage = [0; 1 + 4 + 32];
        preimage[0] = 0x07;
        preimage[1..5].copy_from_slice(&1_u32.to_le_bytes());
        preimage[5..].copy_from_slice(self.tree.root().as_bytes());
        digest(&preimage)
    }
}

impl ChainState {
    /// Of its leaf: `0x05 || chain_id u32 || registration[32] || indexed height u64 || hash[32]`.
    fn preimage(&self) -> [u8; 77] {
        let mut preimage = [0; 77];
        preimage[0] = 0x05;
        preimage[1..5].copy_from_slice(&self.id.to_le_bytes());
        preimage[5..37].copy_from_slice(self.registration.as_bytes());
        preimage[37..45].copy_from_slice(&self.indexed.0.to_le_bytes());
        preimage[45..].copy_from_slice(self.hash.as_bytes());
        preimage
    }
}

/// `H(0x06 || first_height u64 || finality u8 || nodes u32 || keys[32].. || name length u32 || name)`, the keys
/// in the order of the document.
fn registration(side: &SideChain) -> Hash {
    let finality = match side.finality {
        FinalityRule::Single => 1_u8,
    };
    let mut hasher = Sha256::new();
    hasher.update([0x06]);
    hasher.update(side.first_height.0.to_le_bytes());
    hasher.update([finality]);
    hasher.update((side.nodes.len() as u32).to_le_bytes());
    side.nodes.iter().for_each(|node| hasher.update(node.0));
    hasher.update((side.name.len() as u32).to_le_bytes());
    hasher.update(&side.name);
    Hash(hasher.finalize().into())
}
