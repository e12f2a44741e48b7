//! The deterministic state machine of the main chain: the registry of side chains, from the genesis document and the
//! operations that main blocks carry, and how far each is indexed. Replaying the log gives the same state and the same
//! root.

mod genesis;
mod operation;
mod registry;
#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use genesis::{Genesis, GenesisError, MainChain, SideChain};
pub use operation::{Operation, OperationError, ops_root};
pub use registry::Registry;

use genesis::Wrong;

use crate::chain::{ChainId, Hash, Height};
use crate::merkle::digest;
use crate::merkle::live::LiveTree;
use crate::sha256::Kernel;

/// The state after some main block (`docs/protocol.md`, section "State").
#[derive(Clone, Debug)]
pub struct State {
    /// No side chain may have its id.
    main: ChainId,
    /// By ascending chain id, those that were removed among them.
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
    /// Whether the chain is registered. One that was removed keeps its place, so that no height of it is ever indexed
    /// twice: registered again, it goes on after [`ChainState::indexed`].
    pub active: bool,
    /// Whether any block of it is indexed.
    begun: bool,
}

/// What an operation changed in a [`State`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Position of the chain in [`State::chains`].
    pub position: usize,
    /// Whether the chain is new there, so that those behind it have moved up by one.
    pub inserted: bool,
}

impl State {
    /// The state before block 1.
    pub fn new(genesis: &Genesis) -> Self {
        Self::restore(genesis, &[]).expect("nothing is applied")
    }

    /// The registry after `operations`, from block 1 on, as if nothing was indexed: [`State::index_restored`] says what is.
    ///
    /// # Errors
    /// One of them cannot be where it stands: which block's, and why.
    pub fn restore(
        genesis: &Genesis,
        operations: &[(Height, Operation)],
    ) -> Result<Self, (Height, OperationError)> {
        let chains: Vec<_> = genesis.chains.iter().map(ChainState::new).collect();
        let mut state = Self { main: genesis.main.id, chains, tree: LiveTree::new(&[]), changed: Vec::new() };
        for (height, operation) in operations {
            state.admit(operation).map_err(|error| (*height, error))?;
        }
        state.rebuild();
        Ok(state)
    }

    /// The chains that were ever registered, by ascending id.
    pub fn chains(&self) -> &[ChainState] {
        &self.chains
    }

    /// Changes the registry. Costs as much as there are chains if one is new, and as much as indexing a block if not.
    ///
    /// # Errors
    /// The operation cannot be, at all or now: nothing was changed.
    pub fn apply(&mut self, operation: &Operation) -> Result<Applied, OperationError> {
        let applied = self.admit(operation)?;
        if applied.inserted {
            self.rebuild();
        } else {
            let ChainState { indexed, hash, begun, .. } = self.chains[applied.position];
            self.change([(applied.position, indexed, hash)], begun, |_, _| ());
        }
        Ok(applied)
    }

    /// Sets indexed heads after [`State::restore`], as [`State::index`] does.
    pub fn index_restored(&mut self, heads: impl IntoIterator<Item = (usize, Height, Hash)>) {
        self.change(heads, true, |_, _| ());
    }

    /// Changes the registry, but not the tree.
    fn admit(&mut self, operation: &Operation) -> Result<Applied, OperationError> {
        operation.check()?;
        let chain = operation.chain();
        let place = self.chains.binary_search_by_key(&chain, |known| known.id);
        match operation {
            Operation::Remove(_) => {
                let known = place.ok().filter(|position| self.chains[*position].active);
                let position = known.ok_or(OperationError::Unknown { chain })?;
                self.chains[position].active = false;
                Ok(Applied { position, inserted: false })
            }
            Operation::Register(side) => match place {
                _ if chain == self.main => Err(OperationError::Taken { chain }),
                Ok(position) => {
                    let known = &mut self.chains[position];
                    if known.active {
                        return Err(OperationError::Taken { chain });
                    }
                    let ChainState { indexed, hash, begun, .. } = *known;
                    let first_height = side.first_height;
                    // Of a chain without a block the registration says where it begins, the first time and again.
                    if begun && first_height > indexed.next() {
                        return Err(OperationError::Gap { chain, first_height, indexed });
                    }
                    let fresh = ChainState::new(side);
                    *known = if begun { ChainState { indexed, hash, begun, ..fresh } } else { fresh };
                    Ok(Applied { position, inserted: false })
                }
                Err(position) => {
                    self.chains.insert(position, ChainState::new(side));
                    Ok(Applied { position, inserted: true })
                }
            },
        }
    }

    fn rebuild(&mut self) {
        let mut leaves = vec![Hash::ZERO; self.chains.len()];
        Kernel::best().digests(self.chains.iter().map(ChainState::preimage), &mut leaves);
        self.tree = LiveTree::new(&leaves);
        // Room for all of them, so that indexing allocates nothing.
        self.changed.clear();
        self.changed.reserve(self.chains.len());
    }

    /// Moves indexed heads: (position in [`State::chains`], newest height, its hash), by ascending position.
    pub fn index(&mut self, heads: impl IntoIterator<Item = (usize, Height, Hash)>) {
        self.change(heads, true, |old, new| debug_assert!(old < new, "heads move forward"));
    }

    /// Takes indexed heads back: (position in [`State::chains`], newest height that stays, its hash), by ascending
    /// position. Of a chain of which nothing stays: the height before its first one, and zero.
    pub fn take_back(&mut self, heads: impl IntoIterator<Item = (usize, Height, Hash)>) {
        self.change(heads, false, |old, new| debug_assert!(new < old, "heads move back"));
    }

    fn change(
        &mut self,
        heads: impl IntoIterator<Item = (usize, Height, Hash)>,
        begun: bool,
        check: impl Fn(Height, Height),
    ) {
        let Self { chains, tree, changed, .. } = self;
        changed.clear();
        changed.extend(heads.into_iter().map(|(position, indexed, hash)| {
            let chain = &mut chains[position];
            check(chain.indexed, indexed);
            (chain.indexed, chain.hash) = (indexed, hash);
            chain.begun = begun || hash != Hash::ZERO;
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
    /// Of a chain of which nothing is indexed.
    fn new(side: &SideChain) -> Self {
        Self {
            id: side.id,
            registration: registration(side),
            indexed: side.first_height.previous(),
            hash: Hash::ZERO,
            active: true,
            begun: false,
        }
    }

    /// Hash of the newest indexed block; `None` if none is.
    pub fn newest(&self) -> Option<Hash> {
        self.begun.then_some(self.hash)
    }

    /// Of its leaf: `0x05 || chain_id u32 || registration[32] || indexed height u64 || hash[32]`; with 0x09 of a chain
    /// that was removed.
    fn preimage(&self) -> [u8; 77] {
        let mut preimage = [0; 77];
        preimage[0] = if self.active { 0x05 } else { 0x09 };
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
    let mut hasher = Sha256::new();
    hasher.update([0x06]);
    hasher.update(side.first_height.0.to_le_bytes());
    hasher.update([side.finality.code()]);
    hasher.update((side.nodes.len() as u32).to_le_bytes());
    side.nodes.iter().for_each(|node| hasher.update(node.0));
    hasher.update((side.name.len() as u32).to_le_bytes());
    hasher.update(&side.name);
    Hash(hasher.finalize().into())
}
