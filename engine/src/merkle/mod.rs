//! The trees of the commitments, version 1 (`docs/protocol.md`, section "Commitments").
//!
//! SHA-256 throughout. A node hashes 64 bytes, `H(left || right)`; the preimage of a leaf starts with a tag and
//! never has 64 bytes, so a leaf can never be read as a node nor a node as a leaf. The shape is that of RFC 9162
//! section 2.1: split at the largest power of two below n, which, seen from the leaves, means that an odd last
//! node moves up unchanged. Nothing is ever duplicated.

pub mod aelf;
pub mod history;
pub mod leaf;
pub mod live;
pub mod tree;

/// Paths from a leaf to a root, and the only valid sequence of sides for a leaf's index and a tree's size.
pub mod path {
    pub use verify::tree::{PathError, Sibling, Siblings, Step, fold, fold_hashes, siblings};
}

use sha2::{Digest, Sha256};

use crate::chain::Hash;

pub use verify::tree::node;

/// SHA-256 of some bytes.
pub(crate) fn digest(preimage: &[u8]) -> Hash {
    Hash(Sha256::digest(preimage).into())
}
