//! The compact binary form of a proof: fixed fields, then sibling hashes only. How many siblings there are and
//! on which side they stand follows from indices and sizes, so a proof has exactly one encoding.

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::merkle::path::{Step, siblings};

use super::{ChainPart, Proof, ProvenBlock};

/// Why some bytes are not a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too short or too long.
    #[error("{got} bytes; this proof takes {expected}")]
    Length {
        /// How many there are.
        got: usize,
        /// How many there must be, as far as could be read.
        expected: usize,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: {got} cannot be; expected {expected}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it says.
        got: u64,
        /// What would be right.
        expected: &'static str,
    },
}

/// Version, chain, block, chain part, header, and whether a head follows.
const FIXED_BYTES: usize = 2 + 4 + (8 + 32 + 32) + (8 + 4 + 4) + MainHeader::BYTES + 1;

impl Proof {
    /// The binary form (`docs/protocol.md`, section "Proofs").
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + 32 * self.steps().count() + MainHeader::BYTES);
        out.extend(self.version.to_le_bytes());
        out.extend(self.chain_id.to_le_bytes());
        out.extend(self.block.height.0.to_le_bytes());
        out.extend(self.block.hash.as_bytes());
        out.extend(self.block.tx_root.as_bytes());
        out.extend(self.chain.first_height.0.to_le_bytes());
        out.extend(self.chain.count.to_le_bytes());
        out.extend(self.chain.index.to_le_bytes());
        out.extend(self.header.encode());
        out.push(u8::from(self.head.is_some()));
        out.extend(self.head.iter().flat_map(MainHeader::encode));
        out.extend(self.steps().flat_map(|step| step.hash.0));
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input { rest: bytes, total: bytes.len(), read: 0 };
        let version = u16::from_le_bytes(input.take()?);
        if version != Self::VERSION {
            return Err(DecodeError::Value { field: "version", got: version.into(), expected: "1" });
        }
        let chain_id = ChainId(u32::from_le_bytes(input.take()?));
        let block = ProvenBlock {
            height: Height(u64::from_le_bytes(input.take()?)),
            hash: Hash(input.take()?),
            tx_root: Hash(input.take()?),
        };
        let chain = ChainPart {
            first_height: Height(u64::from_le_bytes(input.take()?)),
            count: u32::from_le_bytes(input.take()?),
            index: u32::from_le_bytes(input.take()?),
        };
        let header = MainHeader::decode(&input.take()?);
        let head = match input.take::<1>()? {
            [0] => None,
            [1] => Some(MainHeader::decode(&input.take()?)),
            [got] => {
                return Err(DecodeError::Value { field: "head flag", got: got.into(), expected: "0 or 1" });
            }
        };
        // An index out of range has no siblings: the verifier refuses it.
        let offset = block.height.0.wrapping_sub(chain.first_height.0);
        let chain_path = input.path(offset, chain.count.into())?;
        let side_path = input.path(chain.index.into(), header.chain_count.into())?;
        let history_path = head
            .map(|head| input.path(header.height.0.wrapping_sub(1), head.height.0.wrapping_sub(1)))
            .transpose()?;
        if !input.rest.is_empty() {
            return Err(DecodeError::Length { got: input.total, expected: input.read });
        }
        Ok(Self { version, chain_id, block, chain_path, chain, side_path, header, history_path, head })
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.chain_path.iter().chain(&self.side_path).chain(self.history_path.iter().flatten())
    }
}

struct Input<'a> {
    rest: &'a [u8],
    total: usize,
    read: usize,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.read += N;
        let (head, tail) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Length { got: self.total, expected: self.read })?;
        self.rest = tail;
        Ok(*head)
    }

    fn path(&mut self, index: u64, size: u64) -> Result<Vec<Step>, DecodeError> {
        siblings(index, size)
            .map(|sibling| Ok(Step { hash: Hash(self.take()?), left: sibling.left }))
            .collect()
    }
}
