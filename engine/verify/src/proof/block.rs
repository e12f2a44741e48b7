//! The block proof: that a side block is in a main block, and that main block in the history of a later one.

use alloc::vec::Vec;

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::leaf;
use crate::tree::{Step, fold};

use super::binary::{Input, Output};
use super::{DecodeError, Verified, VerifyError, header, height, history, leads_to, version};

/// That a side block was indexed: version 1 (`docs/protocol.md`, section "Proofs").
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Proof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The side chain.
    pub chain_id: ChainId,
    /// The side block.
    pub block: ProvenBlock,
    /// From the side leaf to the chain root.
    pub chain_path: Vec<Step>,
    /// The chain's part of the main block.
    pub chain: ChainPart,
    /// From the chain leaf to the header's `side_root`.
    pub side_path: Vec<Step>,
    /// The main block's header.
    pub header: MainHeader,
    /// From the header to the `history_root` of `head`.
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "super::json::given", skip_serializing_if = "Option::is_none")
    )]
    pub history_path: Option<Vec<Step>>,
    /// A later header.
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "super::json::given", skip_serializing_if = "Option::is_none")
    )]
    pub head: Option<MainHeader>,
}

/// What is proven of a side block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ProvenBlock {
    /// Height in the side chain.
    pub height: Height,
    /// The side chain's own block hash.
    pub hash: Hash,
    /// The root that the side chain's transaction proofs end in.
    pub tx_root: Hash,
}

/// A chain's part of a main block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ChainPart {
    /// Height of the chain's first block there.
    pub first_height: Height,
    /// How many blocks of the chain are there.
    pub count: u32,
    /// The chain's position among the chains there.
    pub index: u32,
}

impl Proof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;

    /// Checks the proof against the header hash that the verifier trusts: that of `head` or, whatever the proof has
    /// beyond it, that of `header`.
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        self.verify()?.trusting(&self.header, trusted)
    }

    /// Checks the proof by itself. What it proves holds for whoever trusts [`Verified::trusted_hash`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        version("version", self.version, Self::VERSION)?;
        header(&self.header)?;
        let (part, block) = (&self.chain, &self.block);
        height("chain.first_height", part.first_height)?;
        height("block.height", block.height)?;
        let index = index_of(block.height, part.first_height, part.count)?;
        let field = "chain_path";
        let side_leaf = leaf::side(self.chain_id, block.height, block.hash, block.tx_root);
        let chain_root = fold(side_leaf, index, part.count.into(), &self.chain_path)
            .map_err(|error| VerifyError::Path { field, error })?;
        let chain_leaf = leaf::chain(self.chain_id, part.first_height, part.count, chain_root);
        leads_to(
            chain_leaf,
            (part.index.into(), self.header.chain_count.into()),
            &self.side_path,
            ("side_path", "header.side_root", self.header.side_root),
        )?;
        history(&self.header, self.history_path.as_deref(), self.head.as_ref())
    }

    /// The binary form (`docs/protocol.md`, section "Proofs").
    pub fn to_bytes(&self) -> Vec<u8> {
        let steps =
            self.chain_path.len() + self.side_path.len() + self.history_path.as_ref().map_or(0, Vec::len);
        let mut out = Vec::with_capacity(FIXED_BYTES + 32 * steps + MainHeader::BYTES);
        self.write(&mut out);
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        let proof = Self::read(&mut input)?;
        input.finish()?;
        Ok(proof)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.version.to_le_bytes());
        out.put(&self.chain_id.to_le_bytes());
        self.block.write(out);
        out.put(&self.chain.first_height.0.to_le_bytes());
        out.put(&self.chain.count.to_le_bytes());
        out.put(&self.chain.index.to_le_bytes());
        out.put(&self.header.encode());
        out.put_head(self.head.as_ref());
        out.put_path(&self.chain_path);
        out.put_path(&self.side_path);
        out.put_path(self.history_path.as_deref().unwrap_or_default());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let version = input.u16()?;
        if version != Self::VERSION {
            return Err(DecodeError::Value { field: "version", got: version.into(), expected: "1" });
        }
        let chain_id = ChainId(input.u32()?);
        let block = ProvenBlock::read(input)?;
        let chain =
            ChainPart { first_height: Height(input.u64()?), count: input.u32()?, index: input.u32()? };
        let header = input.header()?;
        let head = input.head()?;
        // An index out of range has no siblings: the verifier refuses it.
        let offset = block.height.0.wrapping_sub(chain.first_height.0);
        let chain_path = input.path(offset, chain.count.into())?;
        let side_path = input.path(chain.index.into(), header.chain_count.into())?;
        let history_path = input.history_path(&header, head.as_ref())?;
        Ok(Self { version, chain_id, block, chain_path, chain, side_path, header, history_path, head })
    }
}

impl ProvenBlock {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.height.0.to_le_bytes());
        out.put(self.hash.as_bytes());
        out.put(self.tx_root.as_bytes());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height(input.u64()?), hash: input.hash()?, tx_root: input.hash()? })
    }
}

/// The index of the side leaf of height `got` in the tree of `count` from `first` on.
pub(super) fn index_of(got: Height, first: Height, count: u32) -> Result<u64, VerifyError> {
    let index = got.0.checked_sub(first.0).filter(|index| *index < count.into());
    index.ok_or(VerifyError::Height { got, first, count })
}

/// Version, chain, block, chain part, header, and whether a head follows.
const FIXED_BYTES: usize = 2 + 4 + (8 + 32 + 32) + (8 + 4 + 4) + MainHeader::BYTES + 1;
