//! The blocks proof: that each of many side blocks is indexed, what their proofs share given once.

use alloc::vec::Vec;

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::leaf;
use crate::tree::{fold_many, many};

use super::binary::{Input, Output};
use super::block::index_of;
use super::{DecodeError, Part, ProvenBlock, Verified, VerifyError, header, height, later, same, version};

/// That each of many side blocks was indexed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlocksProof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The main blocks that they are in, by ascending height; at least one.
    pub main_blocks: Vec<ManyBlock>,
    /// Completes the history tree of `head`, of which the headers below `head` are known.
    pub history: Option<Vec<Hash>>,
    /// A later header, or the last of `main_blocks` if there are others.
    pub head: Option<MainHeader>,
}

/// A main block of a proof of many blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ManyBlock {
    /// Its header.
    pub header: MainHeader,
    /// The chains, by ascending index; at least one.
    pub chains: Vec<ManyChain>,
    /// Completes the tree over the chains.
    pub nodes: Vec<Hash>,
}

/// What a proof of many blocks has of one chain in one main block.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ManyChain {
    /// The side chain.
    pub chain_id: ChainId,
    /// Height of its first block there.
    pub first_height: Height,
    /// How many of its blocks are there.
    pub count: u32,
    /// Its position among the chains there.
    pub index: u32,
    /// The side blocks, by ascending height; at least one.
    pub blocks: Vec<ProvenBlock>,
    /// Completes the chain's tree.
    pub nodes: Vec<Hash>,
}

impl BlocksProof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;
    /// The most side blocks.
    pub const MAX_BLOCKS: usize = 65_536;
    const KIND: u8 = 2;

    /// The side blocks, with the chain that each is of and the header that each is under.
    pub fn blocks(&self) -> impl Iterator<Item = (ChainId, &ProvenBlock, &MainHeader)> {
        self.main_blocks.iter().flat_map(|main| {
            let chains = main.chains.iter();
            chains.flat_map(|chain| chain.blocks.iter().map(|block| (chain.chain_id, block, &main.header)))
        })
    }

    /// Checks the proof against the header hash that the verifier trusts: that of `head`; or that of the header, if there
    /// is just one.
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        let verified = self.verify()?;
        match &self.main_blocks[..] {
            [only] => verified.trusting(&only.header, trusted),
            _ if verified.trusted_hash == trusted => Ok(verified),
            _ => Err(VerifyError::NotTrusted { got: verified.trusted_hash, trusted }),
        }
    }

    /// As [`super::Proof::verify`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        version("version", self.version, Self::VERSION)?;
        let (blocks, expected) = (self.blocks().count(), "1 to 65536");
        if !(1..=Self::MAX_BLOCKS).contains(&blocks) {
            return Err(VerifyError::Value { field: "number of blocks", got: blocks as u64, expected });
        }
        ascending("main_blocks", self.main_blocks.iter().map(|main| main.header.height.0))?;
        for main in &self.main_blocks {
            main.verify().map_err(|error| error.of(Part::MainBlock(main.header.height)))?;
        }
        let last = self.main_blocks.last().expect("there are blocks").header;
        let (head, history) = match (&self.head, &self.history) {
            (Some(head), Some(history)) => (head, history),
            (None, None) if self.main_blocks.len() == 1 => {
                let header_hash = last.hash();
                return Ok(Verified { header_hash, trusted: last, trusted_hash: header_hash });
            }
            (None, None) => {
                let (field, got) = ("main_blocks", self.main_blocks.len() as u64);
                return Err(VerifyError::Value { field, got, expected: "one, for there is no head" });
            }
            _ => return Err(VerifyError::HalfHistory("history")),
        };
        version("head.version", head.version, MainHeader::VERSION)?;
        height("head.height", head.height)?;
        let last_hash = last.hash();
        // The last one may be the head itself; if it were the only one, it would need none.
        let below = if *head == last && self.main_blocks.len() > 1 {
            &self.main_blocks[..self.main_blocks.len() - 1]
        } else {
            &self.main_blocks[..]
        };
        let mut leaves = Vec::with_capacity(below.len());
        for main in below {
            later("head", head, &main.header)?;
            let height = main.header.height;
            leaves.push((height.0 - 1, leaf::history(height, main.header.hash())));
        }
        let field = "history";
        let got = fold_many(&mut leaves, head.height.0 - 1, history)
            .map_err(|error| VerifyError::Path { field, error })?;
        same((field, got), ("head.history_root", head.history_root))?;
        Ok(Verified { header_hash: last_hash, trusted: *head, trusted_hash: head.hash() })
    }

    /// The binary form (`docs/protocol.md`, section "Other proofs").
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put(&[1, Self::KIND]);
        out.put(&(self.main_blocks.len() as u32).to_le_bytes());
        for main in &self.main_blocks {
            out.put(&main.header.encode());
            out.put(&(main.chains.len() as u32).to_le_bytes());
            for chain in &main.chains {
                chain.write(&mut out);
            }
            out.put_hashes(&main.nodes);
        }
        out.put_head(self.head.as_ref());
        out.put_hashes(self.history.as_deref().unwrap_or_default());
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        input.kind(Self::KIND, "2, a proof of many blocks")?;
        let mut left = Self::MAX_BLOCKS as u32;
        let count = input.count("main blocks", (left, MOST), MIN_MAIN_BYTES)?;
        let mut main_blocks = Vec::with_capacity(count);
        for _ in 0..count {
            main_blocks.push(ManyBlock::read(&mut input, &mut left)?);
        }
        let head = input.head()?;
        let history = match &head {
            None => None,
            Some(head) => {
                // Of those that do not ascend, or stand above the head, there are no nodes: the verifier refuses them.
                let heights = main_blocks.iter().map(|main| main.header.height.0);
                let below = main_blocks.len()
                    - usize::from(count > 1 && main_blocks.last().is_some_and(|last| last.header == *head));
                let indices = heights.take(below).map(|height| height.wrapping_sub(1));
                Some(input.hashes(many(indices, head.height.0.wrapping_sub(1)))?)
            }
        };
        input.finish()?;
        Ok(Self { version: Self::VERSION, main_blocks, history, head })
    }
}

impl ManyBlock {
    fn verify(&self) -> Result<(), VerifyError> {
        header(&self.header)?;
        ascending("chains", self.chains.iter().map(|chain| chain.index.into()))?;
        let mut leaves = Vec::with_capacity(self.chains.len());
        for chain in &self.chains {
            let leaf = chain.leaf().map_err(|error| error.of(Part::Chain(chain.chain_id)))?;
            leaves.push((chain.index.into(), leaf));
        }
        let field = "nodes";
        let got = fold_many(&mut leaves, self.header.chain_count.into(), &self.nodes)
            .map_err(|error| VerifyError::Path { field, error })?;
        same((field, got), ("header.side_root", self.header.side_root))
    }

    /// Reads one, of at most `left` side blocks.
    fn read(input: &mut Input<'_>, left: &mut u32) -> Result<Self, DecodeError> {
        let header = input.header()?;
        let count = input.count("chains", (*left, MOST), MIN_CHAIN_BYTES)?;
        let mut chains = Vec::with_capacity(count);
        for _ in 0..count {
            chains.push(ManyChain::read(input, left)?);
        }
        let indices = chains.iter().map(|chain: &ManyChain| chain.index.into());
        let nodes = input.hashes(many(indices, header.chain_count.into()))?;
        Ok(Self { header, chains, nodes })
    }
}

impl ManyChain {
    /// The chain leaf that the blocks and nodes lead to.
    fn leaf(&self) -> Result<Hash, VerifyError> {
        height("first_height", self.first_height)?;
        ascending("blocks", self.blocks.iter().map(|block| block.height.0))?;
        let mut leaves = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            height("block.height", block.height)?;
            let index = index_of(block.height, self.first_height, self.count)?;
            leaves.push((index, leaf::side(self.chain_id, block.height, block.hash, block.tx_root)));
        }
        let field = "nodes";
        let chain_root = fold_many(&mut leaves, self.count.into(), &self.nodes)
            .map_err(|error| VerifyError::Path { field, error })?;
        Ok(leaf::chain(self.chain_id, self.first_height, self.count, chain_root))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.chain_id.to_le_bytes());
        out.put(&self.first_height.0.to_le_bytes());
        out.put(&self.count.to_le_bytes());
        out.put(&self.index.to_le_bytes());
        out.put(&(self.blocks.len() as u32).to_le_bytes());
        for block in &self.blocks {
            block.write(out);
        }
        out.put_hashes(&self.nodes);
    }

    fn read(input: &mut Input<'_>, left: &mut u32) -> Result<Self, DecodeError> {
        let chain_id = ChainId(input.u32()?);
        let first_height = Height(input.u64()?);
        let (count, index) = (input.u32()?, input.u32()?);
        let given = input.count("blocks", (*left, MOST), BLOCK_BYTES)?;
        *left -= given as u32;
        let blocks = (0..given).map(|_| ProvenBlock::read(input)).collect::<Result<Vec<_>, _>>()?;
        let indices = blocks.iter().map(|block| block.height.0.wrapping_sub(first_height.0));
        let nodes = input.hashes(many(indices, count.into()))?;
        Ok(Self { chain_id, first_height, count, index, blocks, nodes })
    }
}

fn ascending(field: &'static str, values: impl Iterator<Item = u64>) -> Result<(), VerifyError> {
    let mut last = None;
    for got in values {
        if let Some(after) = last.replace(got)
            && got <= after
        {
            return Err(VerifyError::Order { field, got, after });
        }
    }
    Ok(())
}

const MOST: &str = "at least 1, and at most 65536 blocks in all";
/// Height, hash, transaction root.
const BLOCK_BYTES: usize = 8 + 32 + 32;
/// Chain, first height, count, index, number of blocks, one block.
const MIN_CHAIN_BYTES: usize = 4 + 8 + 4 + 4 + 4 + BLOCK_BYTES;
/// Header, number of chains, one chain.
const MIN_MAIN_BYTES: usize = MainHeader::BYTES + 4 + MIN_CHAIN_BYTES;
