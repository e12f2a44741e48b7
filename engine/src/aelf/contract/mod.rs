//! The part of AElf's cross-chain contract that concerns what was indexed: side chains with their fees, blocks of side
//! chains and of the parent, and proofs against them (`contract/AElf.Contracts.CrossChain`). Authority, votes and tokens
//! are not part of it: whoever calls has decided.

mod side_chain;

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{ChainId, Hash, Height};
use crate::merkle::aelf;
use crate::merkle::path::Step;

pub use side_chain::{ChainStatus, SideChain};

use super::address::Address;
use super::data::{ParentBlockData, SideBlockData};
use super::status::Status;
use super::{chain_id, concat, tree};

/// Errors of the contract, in AElf's own words: clients look for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContractError {
    /// A side chain whose deposit does not pay for a block.
    #[error("Invalid chain creation request.")]
    InvalidCreationRequest,
    /// Nothing is proposed.
    #[error("Empty cross chain data proposed.")]
    EmptyProposal,
    /// Proposed blocks that are not the next ones, or of an unknown chain.
    #[error("Invalid cross chain data to be indexed.")]
    InvalidProposal,
    /// No such side chain, or it has ended.
    #[error("Side chain not found or incorrect side chain status.")]
    NotFoundOrWrongStatus,
    /// No such side chain.
    #[error("Side chain not found.")]
    NotFound,
    /// A chain that has ended already.
    #[error("Incorrect chain status.")]
    IncorrectChainStatus,
    /// A recharge that does not pay all arrears and one more block.
    #[error("Indexing fee recharging not enough.")]
    RechargeNotEnough,
    /// Blocks of another chain than the parent.
    #[error("Wrong parent chain id.")]
    WrongParent,
    /// Not the next block of the parent.
    #[error("Parent chain block info at height {expected} is needed, not {got}")]
    WrongParentHeight {
        /// The next one.
        expected: Height,
        /// The one that came.
        got: Height,
    },
    /// A block of the parent without its status root.
    #[error("Parent chain transaction status merkle tree root needed.")]
    NoParentRoot,
    /// An own block that has a path already.
    #[error("Already bound at height {height} with parent chain")]
    AlreadyBound {
        /// Height of the own block.
        height: Height,
    },
    /// No root to verify against.
    #[error("Parent chain block at height {height} is not recorded.")]
    NotRecorded {
        /// The height that was asked for.
        height: Height,
    },
    /// What AElf says where it has no words.
    #[error("Assertion failed!")]
    AssertionFailed,
    /// A sum above what an amount can be.
    #[error("Arithmetic operation resulted in an overflow.")]
    Overflow,
}

/// Which root a transaction is verified against. The chain named in the call chooses it and is checked no further: a
/// proof of one side chain of the parent passes as one of any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootChoice {
    /// The parent's own status root at the height.
    Parent,
    /// The root over the side blocks released in the own block at the height.
    Released,
    /// The parent's root over all side blocks at the height: for all other chains, the own one included.
    AllSides,
}

impl RootChoice {
    /// The choice for `chain` on a chain with this parent, of which it is a child (of any status) or not.
    pub fn of(chain: ChainId, parent: Option<ChainId>, is_child: bool) -> Self {
        match parent {
            Some(parent) if parent == chain => Self::Parent,
            _ if is_child => Self::Released,
            _ => Self::AllSides,
        }
    }

    /// The error where there is no such root.
    pub const fn missing(self, height: Height) -> ContractError {
        match self {
            Self::Parent | Self::AllSides => ContractError::NotRecorded { height },
            Self::Released => ContractError::AssertionFailed,
        }
    }
}

/// Whether `path` leads from the leaf of the transaction, as one that was mined, to `root`.
pub fn verify_transaction(root: Hash, transaction: Hash, path: &[Step]) -> bool {
    tree::fold(Status::Mined.leaf(transaction), path) == root
}

/// The token of a proposal for a chain's blocks: its id follows from it.
pub fn proposal_token(previous_block: Hash, chain: ChainId) -> Hash {
    concat(&[previous_block, chain_id::hash(chain)])
}

/// What the contract has.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    parent: Option<(ChainId, Height)>,
    sides: BTreeMap<ChainId, SideChain>,
    parent_roots: BTreeMap<Height, Hash>,
    all_sides_roots: BTreeMap<Height, Hash>,
    /// Status roots of released side blocks by own height.
    released: BTreeMap<Height, Vec<Hash>>,
    bound: BTreeMap<Height, Bound>,
}

/// Where an own block was indexed by the parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The parent's block.
    pub parent_height: Height,
    /// The way from the own block's status root to the parent's root over all side blocks.
    pub path: Vec<Step>,
}

impl Contract {
    /// That of a chain without a parent.
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a chain which its parent created in its block `created`, which is the first one that is indexed.
    pub fn with_parent(parent: ChainId, created: Height) -> Self {
        Self { parent: Some((parent, created.previous())), ..Self::default() }
    }

    /// The parent and how far it is indexed.
    pub const fn parent(&self) -> Option<(ChainId, Height)> {
        self.parent
    }

    /// Adds a side chain.
    pub fn create(&mut self, chain: ChainId, deposit: u64, price: u64) -> Result<(), ContractError> {
        self.sides.insert(chain, SideChain::new(deposit, price)?);
        Ok(())
    }

    /// A side chain.
    pub fn side(&self, chain: ChainId) -> Result<&SideChain, ContractError> {
        self.sides.get(&chain).ok_or(ContractError::NotFound)
    }

    /// Recharges a side chain: see [`SideChain::recharge`].
    pub fn recharge(&mut self, chain: ChainId, amount: u64) -> Result<BTreeMap<Address, u64>, ContractError> {
        self.sides.get_mut(&chain).ok_or(ContractError::NotFoundOrWrongStatus)?.recharge(amount)
    }

    /// Ends a side chain: see [`SideChain::dispose`].
    pub fn dispose(&mut self, chain: ChainId) -> Result<u64, ContractError> {
        self.sides.get_mut(&chain).ok_or(ContractError::NotFound)?.dispose()
    }

    /// Whether these blocks may be proposed: all or none. Roots of side blocks are not looked at.
    pub fn check_proposal(
        &self,
        side: &[SideBlockData],
        parent: &[ParentBlockData],
    ) -> Result<(), ContractError> {
        if side.is_empty() && parent.is_empty() {
            return Err(ContractError::EmptyProposal);
        }
        let chains: BTreeSet<_> = side.iter().map(|block| block.chain).collect();
        let sides = chains.into_iter().all(|chain| {
            let heights = side.iter().filter(|block| block.chain == chain).map(|block| block.height);
            self.sides.get(&chain).is_some_and(|known| known.is_next(heights))
        });
        if sides && self.check_parent_blocks(parent).is_ok() {
            Ok(())
        } else {
            Err(ContractError::InvalidProposal)
        }
    }

    /// Records released blocks of a side chain in the own block at `height`, and returns what their proposer gets and
    /// how far the chain is indexed then, as the event `SideChainIndexed` says. Blocks from the first one on that is not
    /// next are left out.
    ///
    /// # Errors
    /// An unknown chain, or a sum is too large; then nothing changes.
    pub fn record_side(
        &mut self,
        height: Height,
        chain: ChainId,
        proposer: Address,
        blocks: &[SideBlockData],
    ) -> Result<SideIndexed, ContractError> {
        let side = self.sides.get_mut(&chain).ok_or(ContractError::NotFound)?;
        let next = side.height().0.saturating_add(1)..=Height::MAX.0;
        let fitting = blocks.iter().zip(next).take_while(|(block, next)| block.height.0 == *next).count();
        let fee = side.index(proposer, fitting as u64)?;
        let roots = blocks[..fitting].iter().map(|block| block.status_root.unwrap_or(Hash::ZERO));
        if fitting > 0 {
            self.released.entry(height).or_default().extend(roots);
        }
        Ok(SideIndexed { fee, indexed: side.height() })
    }

    /// Records blocks of the parent: their roots, and the paths of own blocks.
    ///
    /// # Errors
    /// The first thing that is wrong; then nothing changes.
    pub fn record_parent(&mut self, blocks: &[ParentBlockData]) -> Result<(), ContractError> {
        let heights = self.check_parent_blocks(blocks)?;
        for block in blocks {
            self.parent_roots.extend(block.status_root.map(|root| (block.height, root)));
            self.all_sides_roots.extend(block.side_root.map(|root| (block.height, root)));
            for (height, path) in &block.paths {
                let bound = Bound { parent_height: block.height, path: path.clone() };
                self.bound.insert(*height, bound);
            }
        }
        self.parent = heights;
        Ok(())
    }

    /// Where the parent stands after these blocks.
    fn check_parent_blocks(
        &self,
        blocks: &[ParentBlockData],
    ) -> Result<Option<(ChainId, Height)>, ContractError> {
        let (mut parent, mut bound) = (self.parent, BTreeSet::new());
        for block in blocks {
            let (chain, height) = parent.as_mut().ok_or(ContractError::WrongParent)?;
            if block.chain != *chain {
                return Err(ContractError::WrongParent);
            }
            let expected = Height(height.0.saturating_add(1));
            if block.height != expected {
                return Err(ContractError::WrongParentHeight { expected, got: block.height });
            }
            if block.status_root.is_none() {
                return Err(ContractError::NoParentRoot);
            }
            for &height in block.paths.keys() {
                if self.bound.contains_key(&height) || !bound.insert(height) {
                    return Err(ContractError::AlreadyBound { height });
                }
            }
            *height = expected;
        }
        Ok(parent)
    }

    /// `VerifyTransaction`: whether the transaction was mined in a block that leads to the root which `chain` and
    /// `height` choose.
    ///
    /// # Errors
    /// There is no such root.
    pub fn verify_transaction(
        &self,
        transaction: Hash,
        path: &[Step],
        height: Height,
        chain: ChainId,
    ) -> Result<bool, ContractError> {
        let parent = self.parent.map(|(parent, _)| parent);
        let choice = RootChoice::of(chain, parent, self.sides.contains_key(&chain));
        let root = match choice {
            RootChoice::Parent => self.parent_roots.get(&height).copied(),
            RootChoice::Released => self.released_root(height),
            RootChoice::AllSides => self.all_sides_roots.get(&height).copied(),
        };
        let root = root.ok_or_else(|| choice.missing(height))?;
        Ok(verify_transaction(root, transaction, path))
    }

    /// The root over all side blocks released in the own block at `height`; `None` if there are none.
    pub fn released_root(&self, height: Height) -> Option<Hash> {
        Some(aelf::root(&mut self.released.get(&height)?.clone()))
    }

    /// `GetBoundParentChainHeightAndMerklePathByHeight`: where the own block at `height` was indexed by the parent.
    pub fn bound(&self, height: Height) -> Result<&Bound, ContractError> {
        self.bound.get(&height).ok_or(ContractError::AssertionFailed)
    }
}

/// What came of recording blocks of a side chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SideIndexed {
    /// What the proposer gets at once.
    pub fee: u64,
    /// How far the chain is indexed.
    pub indexed: Height,
}
