//! Proofs: that a side block is in a main block, and that main block in the history of a later one.
//!
//! A proof has no optional meaning: every field is hashed or compared. A verifier hashes the side block itself,
//! derives each sibling's side from index and size, and ends at a header hash, which is all that needs trust.

mod binary;
mod build;
mod chain;

use serde::{Deserialize, Serialize};

use crate::chain::{ChainId, Hash, Height, MainHeader};
use crate::merkle::leaf;
use crate::merkle::path::{PathError, Step, fold};

pub use binary::DecodeError;
pub use build::{ProofError, build};
pub use chain::ChainProof;

/// That a side block was indexed: version 1 (`docs/protocol.md`, section "Proofs").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_path: Option<Vec<Step>>,
    /// A later header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<MainHeader>,
}

/// What is proven of a side block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenBlock {
    /// Height in the side chain.
    pub height: Height,
    /// The side chain's own block hash.
    pub hash: Hash,
    /// The root that the side chain's transaction proofs end in.
    pub tx_root: Hash,
}

/// A chain's part of a main block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainPart {
    /// Height of the chain's first block there.
    pub first_height: Height,
    /// How many blocks of the chain are there.
    pub count: u32,
    /// The chain's position among the chains there.
    pub index: u32,
}

/// What a proof that verifies has proven: the block is indexed, if its reader trusts the header hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The header that the block is under.
    pub header_hash: Hash,
    /// The newest header that the proof ends in: `head` if the proof has one, else the header itself.
    pub trusted: MainHeader,
    /// Its hash: the one thing to be trusted.
    pub trusted_hash: Hash,
}

/// Why a proof does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// A version that this program does not know.
    #[error("{field}: version {got} is not known; this program verifies version {expected}")]
    Version {
        /// Of what.
        field: &'static str,
        /// What it says.
        got: u16,
        /// What is known.
        expected: u16,
    },
    /// The block is not among those that the chain part names.
    #[error(
        "block.height: {got} is not among the {count} heights from {first} on that chain.first_height and chain.count name"
    )]
    Height {
        /// Height of the block.
        got: Height,
        /// First height of the chain part.
        first: Height,
        /// Count of the chain part.
        count: u32,
    },
    /// A path of the wrong form.
    #[error("{field}: {error}")]
    Path {
        /// Which path.
        field: &'static str,
        /// What is wrong with it.
        error: PathError,
    },
    /// A path leads elsewhere.
    #[error("{field}: leads to {got}, but {root} is {expected}")]
    Root {
        /// Which path.
        field: &'static str,
        /// Where it leads.
        got: Hash,
        /// Which root it should reach.
        root: &'static str,
        /// That root.
        expected: Hash,
    },
    /// `history_path` without `head` or the other way round.
    #[error("history_path and head: one is given without the other")]
    HalfHistory,
    /// The head is not later than the header, or of another chain.
    #[error(
        "head: height {head} of chain {head_chain} is not a later block of chain {chain} than height {height}"
    )]
    Head {
        /// Main chain of the header.
        chain: ChainId,
        /// Height of the header.
        height: Height,
        /// Main chain of the head.
        head_chain: ChainId,
        /// Height of the head.
        head: Height,
    },
    /// No block can have this height.
    #[error("{field}: {got} is no height; expected 1 to 2^63 - 1")]
    NoHeight {
        /// Which field.
        field: &'static str,
        /// What it says.
        got: Height,
    },
    /// The proof is right in itself and ends in another header than the trusted one.
    #[error("ends in header {got}, which is not the trusted {trusted}")]
    NotTrusted {
        /// Hash of the header that the proof ends in.
        got: Hash,
        /// Hash that the verifier trusts.
        trusted: Hash,
    },
}

impl Proof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;

    /// Checks the proof against the header hash that the verifier trusts: that of `head` or, whatever the proof has
    /// beyond it, that of `header`.
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        let verified = self.verify()?;
        let (header_hash, got) = (verified.header_hash, verified.trusted_hash);
        if got == trusted {
            Ok(verified)
        } else if header_hash == trusted {
            Ok(Verified { header_hash, trusted: self.header, trusted_hash: header_hash })
        } else {
            Err(VerifyError::NotTrusted { got, trusted })
        }
    }

    /// Checks the proof by itself. What it proves holds for whoever trusts [`Verified::trusted_hash`].
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        let version = |field, got, expected| {
            if got == expected { Ok(()) } else { Err(VerifyError::Version { field, got, expected }) }
        };
        let height = |field, got: Height| {
            let right = (Height(1)..=Height::MAX).contains(&got);
            if right { Ok(()) } else { Err(VerifyError::NoHeight { field, got }) }
        };
        version("version", self.version, Self::VERSION)?;
        version("header.version", self.header.version, MainHeader::VERSION)?;
        let (header, part, block) = (&self.header, &self.chain, &self.block);
        height("header.height", header.height)?;
        height("chain.first_height", part.first_height)?;
        height("block.height", block.height)?;

        let index =
            block.height.0.checked_sub(part.first_height.0).filter(|index| *index < part.count.into());
        let Some(index) = index else {
            let (got, first, count) = (block.height, part.first_height, part.count);
            return Err(VerifyError::Height { got, first, count });
        };
        let field = "chain_path";
        let side_leaf = leaf::side(self.chain_id, block.height, block.hash, block.tx_root);
        let chain_root = fold(side_leaf, index, part.count.into(), &self.chain_path)
            .map_err(|error| VerifyError::Path { field, error })?;
        let chain_leaf = leaf::chain(self.chain_id, part.first_height, part.count, chain_root);
        leads_to(
            chain_leaf,
            (part.index.into(), header.chain_count.into()),
            &self.side_path,
            ("side_path", "header.side_root", header.side_root),
        )?;

        let header_hash = header.hash();
        let (head, path) = match (&self.head, &self.history_path) {
            (None, None) => return Ok(Verified { header_hash, trusted: *header, trusted_hash: header_hash }),
            (Some(head), Some(path)) => (head, path),
            _ => return Err(VerifyError::HalfHistory),
        };
        version("head.version", head.version, MainHeader::VERSION)?;
        height("head.height", head.height)?;
        if head.chain_id != header.chain_id || head.height <= header.height {
            let (chain, height) = (header.chain_id, header.height);
            return Err(VerifyError::Head { chain, height, head_chain: head.chain_id, head: head.height });
        }
        leads_to(
            leaf::history(header.height, header_hash),
            (header.height.0 - 1, head.height.0 - 1),
            path,
            ("history_path", "head.history_root", head.history_root),
        )?;
        Ok(Verified { header_hash, trusted: *head, trusted_hash: head.hash() })
    }
}

/// Checks that `path` leads from `leaf`, at (index, size), to a root, named (path, root, its value).
fn leads_to(
    leaf: Hash,
    (index, size): (u64, u64),
    path: &[Step],
    (field, root, expected): (&'static str, &'static str, Hash),
) -> Result<(), VerifyError> {
    let got = fold(leaf, index, size, path).map_err(|error| VerifyError::Path { field, error })?;
    if got == expected { Ok(()) } else { Err(VerifyError::Root { field, got, root, expected }) }
}
