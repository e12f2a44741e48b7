//! The trees of the commitments (`docs/protocol.md`, section "Commitments"): nodes, paths, and what they fold to.
//!
//! A node hashes 64 bytes, `H(left || right)`; the preimage of a leaf never has 64. The shape is that of RFC 9162
//! section 2.1: seen from the leaves, an odd last node moves up unchanged. So a leaf's index and a tree's size give the
//! only valid sequence of siblings.

use sha2::{Digest, Sha256};

use crate::chain::Hash;

mod consistency;
mod error;
mod many;

pub use consistency::{consistency_nodes, verify_consistency};
pub use error::PathError;
pub use many::{fold_many, many};

/// `H(left || right)`.
#[inline]
pub fn node(left: Hash, right: Hash) -> Hash {
    let mut preimage = [0; 64];
    preimage[..32].copy_from_slice(left.as_bytes());
    preimage[32..].copy_from_slice(right.as_bytes());
    digest(&preimage)
}

/// SHA-256 of some bytes.
#[inline]
pub(crate) fn digest(preimage: &[u8]) -> Hash {
    Hash(Sha256::digest(preimage).into())
}

/// One step of a path, from the leaf up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Step {
    /// The sibling.
    pub hash: Hash,
    /// Whether the sibling stands on the left.
    pub left: bool,
}

/// A walk from leaf `index` of a tree of `size` up to the root: for each sibling on the way, at which level and
/// index it stands. Ends at once for an index out of range.
#[derive(Clone, Debug)]
pub struct Siblings {
    level: u32,
    index: u64,
    /// Nodes at this level; 0 once there is nothing to walk.
    width: u64,
}

/// A sibling on the way up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sibling {
    /// 0 is the level of the leaves.
    pub level: u32,
    /// Index within the level.
    pub index: u64,
    /// Whether it stands on the left.
    pub left: bool,
}

/// The siblings of leaf `index` in a tree of `size` leaves.
pub fn siblings(index: u64, size: u64) -> Siblings {
    Siblings { level: 0, index, width: if index < size { size } else { 0 } }
}

impl Iterator for Siblings {
    type Item = Sibling;

    fn next(&mut self) -> Option<Sibling> {
        while self.width > 1 {
            let (level, index, last) = (self.level, self.index ^ 1, self.width - 1);
            let left = index < self.index;
            self.level += 1;
            self.index /= 2;
            self.width = self.width.div_ceil(2);
            // An odd last node has no sibling and moves up unchanged.
            if index <= last {
                return Some(Sibling { level, index, left });
            }
        }
        None
    }
}

/// The root that `path` leads to from `leaf`, the leaf `index` of a tree of `size`. A path that is longer,
/// shorter or otherwise sided than the only valid one is refused.
pub fn fold(leaf: Hash, index: u64, size: u64, path: &[Step]) -> Result<Hash, PathError> {
    check(index, size, path.len())?;
    for (step, (sibling, given)) in siblings(index, size).zip(path).enumerate() {
        if given.left != sibling.left {
            return Err(PathError::Side { index, size, step, expected_left: sibling.left });
        }
    }
    Ok(climb(leaf, index, size, path.iter().map(|step| step.hash)))
}

/// As [`fold`], of a path that names no sides: they follow from `index` and `size`.
pub fn fold_hashes(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, PathError> {
    check(index, size, path.len())?;
    Ok(climb(leaf, index, size, path.iter().copied()))
}

/// As [`fold`], of a path whose sides follow from nothing: they are what the path says. At most [`MAX_FREE_STEPS`].
pub fn fold_free(leaf: Hash, path: &[Step]) -> Result<Hash, PathError> {
    if path.len() > MAX_FREE_STEPS {
        return Err(PathError::TooLong { got: path.len(), most: MAX_FREE_STEPS });
    }
    Ok(path.iter().fold(
        leaf,
        |below, step| {
            if step.left { node(step.hash, below) } else { node(below, step.hash) }
        },
    ))
}

/// The most steps of a path whose sides do not follow.
pub const MAX_FREE_STEPS: usize = 32;

fn check(index: u64, size: u64, got: usize) -> Result<(), PathError> {
    if index >= size {
        return Err(PathError::Index { index, size });
    }
    let expected = siblings(index, size).count();
    if got == expected { Ok(()) } else { Err(PathError::Length { index, size, expected, got }) }
}

fn climb(leaf: Hash, index: u64, size: u64, path: impl Iterator<Item = Hash>) -> Hash {
    siblings(index, size)
        .zip(path)
        .fold(leaf, |below, (sibling, hash)| if sibling.left { node(hash, below) } else { node(below, hash) })
}

#[cfg(test)]
mod tests;
