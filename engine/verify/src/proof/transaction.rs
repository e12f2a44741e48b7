//! The transaction proof: that a transaction, or what came of it, is in an indexed side block.
//!
//! Its first part leads to what the side chain's own block commits to ([`ProvenBlock::tx_root`], `hash`), in the side
//! chain's own way; the second is the block proof.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::aelf;
use crate::chain::{ChainId, Hash};
use crate::tree::{Step, digest, fold_free};

use super::binary::{Input, Output};
use super::{DecodeError, Part, Proof, ProvenBlock, Verified, VerifyError, same, version};

/// That a transaction is in a side block that was indexed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrossChainProof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The transaction, and the way from it to `block.block`.
    pub transaction: Transaction,
    /// The side block.
    pub block: Proof,
}

/// What is proven of a side block, in the way of its chain.
///
/// What it says is meant for chains of that type: whoever reads a claim knows of which type the chain is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transaction {
    /// Of an AElf chain.
    Aelf(AelfPart),
    /// Of a chain that runs the EVM.
    Evm(EvmPart),
    /// Of a simulated chain.
    Sim(SimPart),
    /// Of a chain that is itself a Mainstem: something that this one has indexed.
    Mainstem(Box<Nested>),
}

/// A transaction that an AElf chain has mined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AelfPart {
    /// The transaction's id.
    pub id: Hash,
    /// From its leaf to the block's `tx_root`.
    pub path: Vec<Step>,
}

/// A transaction of a simulated chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimPart {
    /// Its bytes: at most [`SimPart::MAX_BYTES`], and not 63.
    pub data: Vec<u8>,
    /// From its leaf to the block's `tx_root`.
    pub path: Vec<Step>,
}

/// A transaction of an EVM chain, its receipt, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvmPart {
    /// The RLP of the block's header: at most [`EvmPart::MAX_HEADER_BYTES`].
    pub header: Vec<u8>,
    /// Position in the block.
    pub index: u32,
    /// The nodes of the transactions' trie that lead to it, root first.
    pub transaction: Option<Vec<Vec<u8>>>,
    /// The nodes of the receipts' trie that lead to it, root first.
    pub receipt: Option<Vec<Vec<u8>>>,
}

/// What a transaction of type `mainstem` proves inside of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Nested {
    /// That a block is indexed there.
    Block(Proof),
    /// That a transaction is in a block that is indexed there.
    Transaction(CrossChainProof),
}

/// What a transaction part that leads to its block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// A transaction was mined.
    Aelf {
        /// Its id.
        id: Hash,
    },
    /// A transaction, its receipt or both are in the block.
    Evm {
        /// Position in the block.
        index: u32,
        /// The transaction as the trie has it (EIP-2718).
        transaction: Option<Vec<u8>>,
        /// The receipt as the trie has it (EIP-2718).
        receipt: Option<Vec<u8>>,
    },
    /// A transaction of these bytes is in the block.
    Sim {
        /// Its bytes.
        data: Vec<u8>,
    },
    /// A Mainstem that is a side chain has indexed something.
    Mainstem(Box<Inner>),
}

/// What was proven inside of a transaction of type `mainstem`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inner {
    /// The chain, a side chain of that Mainstem.
    pub chain_id: ChainId,
    /// Its block.
    pub block: ProvenBlock,
    /// The header that it is under, and the one that is the outer block.
    pub verified: Verified,
    /// What is in that block, if that was proven.
    pub claim: Option<Claim>,
}

impl CrossChainProof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;
    /// How many parts of type `mainstem` may be inside of each other.
    pub const MAX_LEVELS: u8 = 8;
    pub(super) const KIND: u8 = 1;

    /// As [`Proof::verify_trusting`].
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        self.verify()?.trusting(&self.block.header, trusted)
    }

    /// As [`Proof::verify`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        self.verify_claim().map(|(verified, _)| verified)
    }

    /// As [`CrossChainProof::verify`], with what the transaction part says.
    pub fn verify_claim(&self) -> Result<(Verified, Claim), VerifyError> {
        self.verify_at(0)
    }

    fn verify_at(&self, level: u8) -> Result<(Verified, Claim), VerifyError> {
        version("version", self.version, Self::VERSION)?;
        let verified = self.block.verify().map_err(|error| error.of(Part::Block))?;
        let claim = self.transaction.verify_at(self.block.chain_id, &self.block.block, level);
        Ok((verified, claim.map_err(|error| error.of(Part::Transaction))?))
    }

    /// The binary form: 1, 1, the transaction part, the block proof.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        let proof = Self::read(&mut input, 0)?;
        input.finish()?;
        Ok(proof)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put(&[1, Self::KIND]);
        self.transaction.write(out);
        self.block.write(out);
    }

    fn read(input: &mut Input<'_>, level: u8) -> Result<Self, DecodeError> {
        input.kind(Self::KIND, "1, a transaction proof")?;
        let transaction = Transaction::read(input, level)?;
        Ok(Self { version: Self::VERSION, transaction, block: Proof::read(input)? })
    }
}

impl Transaction {
    /// Checks that this leads to `block` of `chain`.
    pub fn verify(&self, chain: ChainId, block: &ProvenBlock) -> Result<Claim, VerifyError> {
        self.verify_at(chain, block, 0)
    }

    fn verify_at(&self, chain: ChainId, block: &ProvenBlock, level: u8) -> Result<Claim, VerifyError> {
        let path = |error| VerifyError::Path { field: "path", error };
        let root = ("block.tx_root", block.tx_root);
        match self {
            Self::Aelf(part) => {
                let got = aelf::fold(aelf::mined(part.id), &part.path).map_err(path)?;
                same(("path", got), root)?;
                Ok(Claim::Aelf { id: part.id })
            }
            Self::Sim(part) => {
                let got = fold_free(part.leaf()?, &part.path).map_err(path)?;
                same(("path", got), root)?;
                Ok(Claim::Sim { data: part.data.clone() })
            }
            #[cfg(feature = "evm")]
            Self::Evm(part) => part.verify(block),
            #[cfg(not(feature = "evm"))]
            Self::Evm(_) => Err(VerifyError::NotBuiltIn { field: "type", feature: "evm" }),
            Self::Mainstem(nested) => {
                nested.verify(chain, block, level).map(|inner| Claim::Mainstem(Box::new(inner)))
            }
        }
    }

    /// The type as a number, then the part: what the binary form of the proof has, and what a side chain's node answers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads it. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        let transaction = Self::read(&mut input, 0)?;
        input.finish()?;
        Ok(transaction)
    }

    /// The name of its type.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Aelf(_) => "aelf",
            Self::Evm(_) => "evm",
            Self::Sim(_) => "sim",
            Self::Mainstem(_) => "mainstem",
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Aelf(part) => {
                out.put(&[1]);
                out.put(part.id.as_bytes());
                out.put_free_path(&part.path);
            }
            Self::Evm(part) => {
                out.put(&[2]);
                part.write(out);
            }
            Self::Sim(part) => {
                out.put(&[3]);
                out.put(&(part.data.len() as u32).to_le_bytes());
                out.put(&part.data);
                out.put_free_path(&part.path);
            }
            Self::Mainstem(nested) => {
                out.put(&[4]);
                match &**nested {
                    Nested::Block(proof) => proof.write(out),
                    Nested::Transaction(proof) => proof.write(out),
                }
            }
        }
    }

    fn read(input: &mut Input<'_>, level: u8) -> Result<Self, DecodeError> {
        match input.u8()? {
            1 => Ok(Self::Aelf(AelfPart { id: input.hash()?, path: input.free_path()? })),
            2 => EvmPart::read(input).map(Self::Evm),
            3 => {
                let length = input.u32()?;
                if length as usize > SimPart::MAX_BYTES {
                    let expected = "at most 1 MiB";
                    return Err(DecodeError::Value { field: "data length", got: length.into(), expected });
                }
                let data = input.slice(length as usize)?.to_vec();
                Ok(Self::Sim(SimPart { data, path: input.free_path()? }))
            }
            4 => {
                if level >= CrossChainProof::MAX_LEVELS {
                    let got = u64::from(level) + 1;
                    return Err(DecodeError::Value { field: "levels", got, expected: "at most 8" });
                }
                Ok(Self::Mainstem(Box::new(match input.peek() {
                    Some([1, 0]) => Nested::Block(Proof::read(input)?),
                    _ => Nested::Transaction(CrossChainProof::read(input, level + 1)?),
                })))
            }
            got => Err(DecodeError::Value { field: "type", got: got.into(), expected: "1 to 4" }),
        }
    }
}

impl SimPart {
    /// The most data of a transaction.
    pub const MAX_BYTES: usize = 1 << 20;

    /// `H(0x10 || data)`.
    fn leaf(&self) -> Result<Hash, VerifyError> {
        let (field, got) = ("data", self.data.len() as u64);
        if self.data.len() > Self::MAX_BYTES {
            return Err(VerifyError::Value { field, got, expected: "at most 1 MiB" });
        }
        // A node's preimage has 64 bytes.
        if self.data.len() == 63 {
            return Err(VerifyError::Value { field, got, expected: "any other length than 63 bytes" });
        }
        let mut preimage = Vec::with_capacity(1 + self.data.len());
        preimage.push(0x10);
        preimage.extend_from_slice(&self.data);
        Ok(digest(&preimage))
    }
}

impl EvmPart {
    /// The longest header.
    pub const MAX_HEADER_BYTES: usize = 4096;
    /// The most nodes of a list.
    pub const MAX_NODES: usize = 32;

    fn write(&self, out: &mut Vec<u8>) {
        out.put(&(self.header.len() as u16).to_le_bytes());
        out.put(&self.header);
        out.put(&self.index.to_le_bytes());
        out.put(&[u8::from(self.transaction.is_some()) | u8::from(self.receipt.is_some()) << 1]);
        for nodes in [&self.transaction, &self.receipt].into_iter().flatten() {
            out.put(&[nodes.len() as u8]);
            for node in nodes {
                out.put(&(node.len() as u32).to_le_bytes());
                out.put(node);
            }
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let wrong = |field, got, expected| DecodeError::Value { field, got, expected };
        let length = input.u16()?;
        if usize::from(length) > Self::MAX_HEADER_BYTES {
            return Err(wrong("header length", length.into(), "at most 4096"));
        }
        let header = input.slice(length.into())?.to_vec();
        let index = input.u32()?;
        let flags = input.u8()?;
        if !(1..=3).contains(&flags) {
            return Err(wrong("flags", flags.into(), "1, 2 or 3"));
        }
        let mut list = |given: bool| {
            if !given {
                return Ok(None);
            }
            let nodes = input.u8()?;
            if !(1..=Self::MAX_NODES).contains(&usize::from(nodes)) {
                return Err(wrong("nodes", nodes.into(), "1 to 32"));
            }
            let node = |_| {
                let length = input.u32()? as usize;
                Ok(input.slice(length)?.to_vec())
            };
            (0..nodes).map(node).collect::<Result<_, _>>().map(Some)
        };
        Ok(Self { header, index, transaction: list(flags & 1 != 0)?, receipt: list(flags & 2 != 0)? })
    }
}

impl Nested {
    /// Checks that this ends in the header that is `block` of `chain`.
    fn verify(&self, chain: ChainId, block: &ProvenBlock, level: u8) -> Result<Inner, VerifyError> {
        if level >= CrossChainProof::MAX_LEVELS {
            let got = u64::from(level) + 1;
            return Err(VerifyError::Value { field: "levels", got, expected: "at most 8" });
        }
        let verified = match self {
            Self::Block(proof) => proof.verify().map(|verified| (verified, None)),
            Self::Transaction(proof) => {
                proof.verify_at(level + 1).map(|(verified, claim)| (verified, Some(claim)))
            }
        };
        let (verified, claim) = verified.map_err(|error| error.of(Part::Inner))?;
        let newest = &verified.trusted;
        if newest.chain_id != chain {
            return Err(VerifyError::Differs {
                field: "the inner proof's newest header.chain_id",
                got: newest.chain_id.0.into(),
                other: "chain_id",
                expected: chain.0.into(),
            });
        }
        if newest.height != block.height {
            return Err(VerifyError::Differs {
                field: "the inner proof's newest header.height",
                got: newest.height.0,
                other: "block.height",
                expected: block.height.0,
            });
        }
        same(("the inner proof's newest header", verified.trusted_hash), ("block.hash", block.hash))?;
        same(
            ("the inner proof's newest header.side_root", newest.side_root),
            ("block.tx_root", block.tx_root),
        )?;
        let inner = self.block();
        Ok(Inner { chain_id: inner.chain_id, block: inner.block, verified, claim })
    }

    /// Its block proof.
    pub const fn block(&self) -> &Proof {
        match self {
            Self::Block(proof) => proof,
            Self::Transaction(proof) => &proof.block,
        }
    }
}
