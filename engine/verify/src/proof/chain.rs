//! The chain proof: that these are all blocks of a chain in a main block.

use alloc::vec::Vec;

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::leaf;
use crate::tree::{Step, fold_many};

use super::binary::{Input, Output};
use super::{DecodeError, Verified, VerifyError, header, height, history, leads_to, version};

/// That a main block has these blocks of a chain, and no others: kind "chain".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionProof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The side chain.
    pub chain_id: ChainId,
    /// Height of its first block there.
    pub first_height: Height,
    /// All of its blocks there, by height; at least one.
    pub blocks: Vec<BlockContent>,
    /// Its position among the chains there.
    pub index: u32,
    /// From the chain leaf to the header's `side_root`.
    pub side_path: Vec<Step>,
    /// The main block's header.
    pub header: MainHeader,
    /// From the header to the `history_root` of `head`.
    pub history_path: Option<Vec<Step>>,
    /// A later header.
    pub head: Option<MainHeader>,
}

/// A block of which the height follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct BlockContent {
    /// The side chain's own block hash.
    pub hash: Hash,
    /// The root that the side chain's transaction proofs end in.
    pub tx_root: Hash,
}

impl SectionProof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;
    const KIND: u8 = 4;

    /// As [`super::Proof::verify_trusting`].
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        self.verify()?.trusting(&self.header, trusted)
    }

    /// As [`super::Proof::verify`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        version("version", self.version, Self::VERSION)?;
        header(&self.header)?;
        let (field, got) = ("blocks", self.blocks.len());
        let count = u32::try_from(got).ok().filter(|count| *count > 0);
        let count = count.ok_or(VerifyError::Value { field, got: got as u64, expected: "1 to 2^32 - 1" })?;
        height("first_height", self.first_height)?;
        let last = Height(self.first_height.0 + u64::from(count) - 1);
        height("first_height + number of blocks - 1", last)?;

        let leaf = |(index, block): (u64, &BlockContent)| {
            let height = Height(self.first_height.0 + index);
            (index, leaf::side(self.chain_id, height, block.hash, block.tx_root))
        };
        let mut leaves: Vec<_> = (0..).zip(&self.blocks).map(leaf).collect();
        let chain_root =
            fold_many(&mut leaves, count.into(), &[]).map_err(|error| VerifyError::Path { field, error })?;
        leads_to(
            leaf::chain(self.chain_id, self.first_height, count, chain_root),
            (self.index.into(), self.header.chain_count.into()),
            &self.side_path,
            ("side_path", "header.side_root", self.header.side_root),
        )?;
        history(&self.header, self.history_path.as_deref(), self.head.as_ref())
    }

    /// The binary form (`docs/protocol.md`, section "Other proofs").
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + BLOCK_BYTES * self.blocks.len());
        out.put(&[1, Self::KIND]);
        out.put(&self.chain_id.to_le_bytes());
        out.put(&self.first_height.0.to_le_bytes());
        out.put(&(self.blocks.len() as u32).to_le_bytes());
        out.put(&self.index.to_le_bytes());
        out.put(&self.header.encode());
        out.put_head(self.head.as_ref());
        for block in &self.blocks {
            out.put(block.hash.as_bytes());
            out.put(block.tx_root.as_bytes());
        }
        out.put_path(&self.side_path);
        out.put_path(self.history_path.as_deref().unwrap_or_default());
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        input.kind(Self::KIND, "4, a chain proof")?;
        let (chain_id, first_height) = (ChainId(input.u32()?), Height(input.u64()?));
        let count = input.count("count", (u32::MAX, "at least 1"), BLOCK_BYTES)?;
        let index = input.u32()?;
        let header = input.header()?;
        let head = input.head()?;
        let block = |_| Ok(BlockContent { hash: input.hash()?, tx_root: input.hash()? });
        let blocks = (0..count).map(block).collect::<Result<_, _>>()?;
        let side_path = input.path(index.into(), header.chain_count.into())?;
        let history_path = input.history_path(&header, head.as_ref())?;
        input.finish()?;
        let version = Self::VERSION;
        Ok(Self { version, chain_id, first_height, blocks, index, side_path, header, history_path, head })
    }
}

/// Hash and transaction root.
const BLOCK_BYTES: usize = 32 + 32;
