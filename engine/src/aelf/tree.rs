//! AElf's tree (`BinaryMerkleTree.cs`, `MerklePathExtensions.cs`): [`root`], [`path`] and [`Tree`] are those of
//! [`crate::merkle::aelf`]; here is what AElf does with them beside that.
//!
//! Leaves stand as they are; a node is `H(left || right)`; a row of odd length is completed by its last node, also a
//! single leaf, but not the root. So `[a, b, c]` and `[a, b, c, c]` have one root, and an inner node passes for a leaf.

use crate::chain::Hash;
use crate::merkle::node;
use crate::merkle::path::Step;

pub use crate::merkle::aelf::{Tree, path, root};

/// The root that `path` leads to from `leaf`, whatever its length and sides; of an empty one, the leaf itself. That is
/// all that AElf checks: neither index nor size are known. For proofs of ours there is the stricter
/// `verify::aelf::fold`.
pub fn fold(leaf: Hash, path: &[Step]) -> Hash {
    path.iter().fold(
        leaf,
        |below, step| {
            if step.left { node(step.hash, below) } else { node(below, step.hash) }
        },
    )
}

/// How many nodes AElf keeps of a tree of `leaves` leaves: those that complete a row count, and the leaves.
pub fn node_count(leaves: usize) -> usize {
    rows(leaves).sum()
}

/// Where the siblings of leaf `index` stand among the nodes of the tree, counted row after row from the leaves up;
/// `None` if there is no such leaf.
pub fn path_indexes(index: usize, leaves: usize) -> Option<Vec<usize>> {
    (index < leaves).then(|| {
        let below_root = rows(leaves).take_while(|width| *width > 1);
        let starts = below_root.scan(0, |next, width| Some(std::mem::replace(next, *next + width)));
        starts.enumerate().map(|(level, start)| start + (index >> level ^ 1)).collect()
    })
}

/// The lengths of the rows from the leaves up, each as it is completed.
fn rows(leaves: usize) -> impl Iterator<Item = usize> {
    let first = (leaves > 0).then(|| leaves.next_multiple_of(2));
    std::iter::successors(first, |width| match width / 2 {
        0 => None,
        1 => Some(1),
        half => Some(half.next_multiple_of(2)),
    })
}
