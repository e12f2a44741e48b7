//! [`VerifyError`]: why a proof does not verify.

use alloc::boxed::Box;
use core::fmt;

use crate::chain::{ChainId, Hash, Height};
#[cfg(feature = "evm")]
use crate::evm::TrieError;
use crate::tree::PathError;

/// Why a proof does not verify.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
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
    /// One of two fields that belong together is missing.
    #[error("{0} and head: one is given without the other")]
    HalfHistory(&'static str),
    /// The head is not later than the header, or of another chain.
    #[error(
        "{field}: height {head} of chain {head_chain} is not a later block of chain {chain} than height {height}"
    )]
    Head {
        /// Which header should be later.
        field: &'static str,
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
    /// Two fields that must be equal are not.
    #[error("{field}: {got}, but {other} is {expected}")]
    Differs {
        /// Which field.
        field: &'static str,
        /// What it says.
        got: u64,
        /// Which field it must be equal to.
        other: &'static str,
        /// What that one says.
        expected: u64,
    },
    /// Parts that do not ascend.
    #[error("{field}: {got} after {after}; expected them ascending, each once")]
    Order {
        /// Of what.
        field: &'static str,
        /// The one that stands wrong.
        got: u64,
        /// The one before it.
        after: u64,
    },
    /// A neighbour whose chain does not stand on its side of the absent one.
    #[error("{field}: chain {got} does not stand {side} chain {chain}, which is said to be absent")]
    Neighbour {
        /// Which neighbour.
        field: &'static str,
        /// Its chain.
        got: ChainId,
        /// Where it should stand: before or after.
        side: &'static str,
        /// The chain that is said to be absent.
        chain: ChainId,
    },
    /// A neighbour that is there and should not, or the other way round.
    #[error("{field}: is {}; with index {index} of {count} chains it must be {}", form(*.given), form(!.given))]
    Given {
        /// Which neighbour.
        field: &'static str,
        /// Whether it is given.
        given: bool,
        /// Where the absent chain would stand.
        index: u32,
        /// How many chains there are.
        count: u32,
    },
    /// A header or trie of an EVM chain that does not fit.
    #[cfg(feature = "evm")]
    #[error("{field}: {error}")]
    Evm {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        error: TrieError,
    },
    /// A kind of proof that this program was built without.
    #[error("{field}: proofs of this type are not built in; build with the feature {feature:?}")]
    NotBuiltIn {
        /// Which field.
        field: &'static str,
        /// The feature of this crate that it takes.
        feature: &'static str,
    },
    /// The proof is right in itself and ends in another header than the trusted one.
    #[error("ends in header {got}, which is not the trusted {trusted}")]
    NotTrusted {
        /// Hash of the header that the proof ends in.
        got: Hash,
        /// Hash that the verifier trusts.
        trusted: Hash,
    },
    /// What is wrong is in a part of the proof.
    #[error("{part}: {error}")]
    In {
        /// Which part.
        part: Part,
        /// What is wrong there.
        error: Box<VerifyError>,
    },
}

impl VerifyError {
    /// The same, said of a part of a proof.
    pub(super) fn of(self, part: Part) -> Self {
        Self::In { part, error: Box::new(self) }
    }
}

/// A part of a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The block proof in a transaction proof.
    Block,
    /// The transaction part of a transaction proof.
    Transaction,
    /// The inner proof of a transaction of type `mainstem`.
    Inner,
    /// A main block of a proof of many blocks.
    MainBlock(Height),
    /// A chain's part of such a main block.
    Chain(ChainId),
    /// A header of a consistency proof.
    Header(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::Transaction => f.write_str("transaction"),
            Self::Inner => f.write_str("proof"),
            Self::MainBlock(height) => write!(f, "main block {height}"),
            Self::Chain(chain) => write!(f, "chain {chain}"),
            Self::Header(name) => f.write_str(name),
        }
    }
}

const fn form(given: bool) -> &'static str {
    if given { "given" } else { "null" }
}
