//! What a chain gives others to index, one value a block: the messages `acs7.SideChainBlockData` and
//! `acs7.ParentChainBlockData`. Fields that a message may lack are options; nodes compare all of them.

use std::collections::BTreeMap;

use crate::chain::{ChainId, Hash, Height};
use crate::merkle::path::Step;

/// A block of a side chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SideBlockData {
    /// Whose block.
    pub chain: ChainId,
    /// Its height.
    pub height: Height,
    /// Hash of its header.
    pub header_hash: Option<Hash>,
    /// Root over the statuses of its transactions.
    pub status_root: Option<Hash>,
}

/// A block of a parent chain, as one of its side chains gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParentBlockData {
    /// Whose block.
    pub chain: ChainId,
    /// Its height.
    pub height: Height,
    /// Root over the statuses of its own transactions.
    pub status_root: Option<Hash>,
    /// Root over all side blocks that it released; none if there are none.
    pub side_root: Option<Hash>,
    /// The way to that root from each block of the chain that asked, by its height.
    pub paths: BTreeMap<Height, Vec<Step>>,
    /// More of its header, such as "Consensus".
    pub extra_data: BTreeMap<String, Vec<u8>>,
}

/// A block of a side chain or of the parent chain: what a cache holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlockData {
    /// Of a side chain.
    Side(SideBlockData),
    /// Of the parent chain.
    Parent(ParentBlockData),
}

impl BlockData {
    /// Whose block.
    pub const fn chain(&self) -> ChainId {
        match self {
            Self::Side(block) => block.chain,
            Self::Parent(block) => block.chain,
        }
    }

    /// Its height.
    pub const fn height(&self) -> Height {
        match self {
            Self::Side(block) => block.height,
            Self::Parent(block) => block.height,
        }
    }

    /// Root over the statuses of its transactions.
    pub const fn status_root(&self) -> Option<Hash> {
        match self {
            Self::Side(block) => block.status_root,
            Self::Parent(block) => block.status_root,
        }
    }

    /// It as one of a side chain.
    pub const fn side(&self) -> Option<&SideBlockData> {
        if let Self::Side(block) = self { Some(block) } else { None }
    }

    /// It as one of the parent chain.
    pub const fn parent(&self) -> Option<&ParentBlockData> {
        if let Self::Parent(block) = self { Some(block) } else { None }
    }
}
