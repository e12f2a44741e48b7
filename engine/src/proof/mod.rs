//! Proofs: that a side block is in a main block, and that main block in the history of a later one.
//!
//! Their forms, and how each is checked, are those of the crate `verify`, which works without std; here they are built.

mod build;
mod chain;

pub use build::{MAX_BLOCKS, ProofError, build, build_absence, build_chain, build_consistency, build_many};
pub use chain::ChainProof;
pub use verify::proof::{
    AbsenceProof, AelfPart, BlockContent, BlocksProof, ChainPart, Claim, ConsistencyProof, CrossChainProof,
    DecodeError, Document, EvmPart, Inner, ManyBlock, ManyChain, Neighbour, Nested, Outcome, ParseError,
    Part, Proof, ProvenBlock, SectionProof, SimPart, Transaction, Verified, VerifyError,
};
