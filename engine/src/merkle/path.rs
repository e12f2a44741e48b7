//! Paths from a leaf to a root, and the only valid sequence of sides for a leaf's index and a tree's size.

use serde::{Deserialize, Serialize};

use crate::chain::Hash;

use super::node;

/// One step of a path, from the leaf up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The sibling.
    pub hash: Hash,
    /// Whether the sibling stands on the left.
    pub left: bool,
}

/// Why a path does not lead where it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// The leaf cannot be in a tree of this size.
    #[error("leaf {index} of a tree of {size}")]
    Index {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Too few or too many steps.
    #[error("{got} steps; leaf {index} of a tree of {size} has {expected}")]
    Length {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// The only right length.
        expected: usize,
        /// Length of the path.
        got: usize,
    },
    /// A sibling stands on the wrong side.
    #[error("step {step} has its sibling on the {}; leaf {index} of a tree of {size} has it on the {}", side(!expected_left), side(*expected_left))]
    Side {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// Which step.
        step: usize,
        /// Whether the sibling must stand on the left.
        expected_left: bool,
    },
}

const fn side(left: bool) -> &'static str {
    if left { "left" } else { "right" }
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
