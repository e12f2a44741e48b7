//! AElf's tree, for `aelf_root` only: leaves as they are, and a row of odd length completed by its last node,
//! also a single leaf (AElf `BinaryMerkleTree.cs`). Known to be ambiguous (`[a,b,c]` and `[a,b,c,c]` have one
//! root), so nothing of ours is proven by it.

use crate::chain::Hash;
use crate::sha256::{Kernel, Pair};

use super::node;
use super::path::Step;
use super::tree::{PARALLEL_LEAVES, SUBTREE};

/// A whole tree in memory, for the paths of many of its leaves: twice the leaves and a few more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// From the leaves up to the root, without what completes a row.
    rows: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over `leaves`.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut rows = vec![leaves];
        loop {
            let below = &rows[rows.len() - 1];
            // A single leaf is hashed with itself; the root, which is alone in its row too, is not.
            if below.is_empty() || (below.len() == 1 && rows.len() > 1) {
                return Self { rows };
            }
            let mut row = below.clone();
            let width = level(&mut row);
            row.truncate(width);
            rows.push(row);
        }
    }

    /// The root, as [`root`] has it.
    pub fn root(&self) -> Hash {
        self.rows.last().and_then(|row| row.first()).copied().unwrap_or(Hash::ZERO)
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> usize {
        self.rows[0].len()
    }

    /// All nodes as AElf keeps them: row after row from the leaves up, each but the root completed by its last node.
    pub fn nodes(&self) -> Vec<Hash> {
        let (root, below) = self.rows.split_last().expect("there is a row of leaves, even of none");
        let completed = below.iter().flat_map(|row| {
            let last = if row.len() % 2 == 1 { row.last() } else { None };
            row.iter().chain(last)
        });
        completed.chain(root).copied().collect()
    }

    /// The path from leaf `index` to the root, at least one step; `None` if there is no such leaf.
    pub fn path(&self, index: usize) -> Option<Vec<Step>> {
        (index < self.leaves()).then(|| {
            let below_root = self.rows.len() - 1;
            let step = |(level, row): (usize, &Vec<Hash>)| {
                let at = index >> level;
                // What has no sibling completes its row itself.
                let hash = row.get(at ^ 1).copied().unwrap_or(row[at]);
                Step { hash, left: at % 2 == 1 }
            };
            self.rows[..below_root].iter().enumerate().map(step).collect()
        })
    }
}

/// The path from leaf `index` of the tree over `leaves` to its root (AElf `BinaryMerkleTree.GenerateMerklePath`); `None`
/// if there is no such leaf. Of many leaves of one tree: [`Tree::path`].
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Step>> {
    (index < leaves.len()).then(|| Tree::new(leaves.to_vec()).path(index)).flatten()
}

/// The root over `row`, which is used up; zero of nothing. A large tree is hashed on all threads of the rayon pool that
/// this is called in.
pub fn root(row: &mut Vec<Hash>) -> Hash {
    let leaves = row.len();
    if leaves > SUBTREE {
        subtrees(row);
        let parts = leaves.div_ceil(SUBTREE);
        for part in 1..parts {
            row[part] = row[part * SUBTREE];
        }
        row.truncate(parts);
    }
    let Some(last) = row.last() else { return Hash::ZERO };
    if leaves == 1 {
        return node(*last, *last);
    }
    while row.len() > 1 {
        let width = level(row);
        row.truncate(width);
    }
    row[0]
}

/// Hashes each subtree of a large tree to its own front. The last one climbs as high as the others, even from one leaf:
/// in a row with others, its last node is completed as in any row.
fn subtrees(row: &mut [Hash]) {
    if row.len() > SUBTREE {
        let half = row.len().div_ceil(SUBTREE) / 2 * SUBTREE;
        let parallel = row.len() >= PARALLEL_LEAVES;
        let (left, right) = row.split_at_mut(half);
        if parallel {
            rayon::join(|| subtrees(left), || subtrees(right));
        } else {
            subtrees(left);
            subtrees(right);
        }
        return;
    }
    let mut width = row.len();
    for _ in 0..SUBTREE.ilog2() {
        width = level(&mut row[..width]);
    }
}

/// Hashes a row into the row above, in place, and returns its width.
fn level(row: &mut [Hash]) -> usize {
    let pairs = row.len() / 2;
    Kernel::best().nodes(row, (0..pairs).map(|index| Pair { left: 2 * index, to: index }));
    if let [.., last] = *row
        && row.len() % 2 == 1
    {
        row[pairs] = node(last, last);
    }
    row.len().div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::digest;

    /// Word for word: append the last node to an odd row, then hash pairs.
    fn by_definition(mut row: Vec<Hash>) -> Hash {
        if row.len() == 1 {
            row.push(row[0]);
        }
        while row.len() > 1 {
            if row.len() % 2 == 1 {
                row.push(row[row.len() - 1]);
            }
            row = row.chunks(2).map(|pair| node(pair[0], pair[1])).collect();
        }
        row.first().copied().unwrap_or(Hash::ZERO)
    }

    #[test]
    fn roots_of_small_and_of_large_trees_agree_with_the_definition() {
        let more = [1, 2, 3, 4, 5, 9].map(|parts| parts * SUBTREE);
        let more = more.iter().flat_map(|size| [size - 1, *size, size + 1, size + 2, size + 33, size + 700]);
        let leaves: Vec<_> = (0..10 * SUBTREE as u32).map(|index| digest(&index.to_le_bytes())).collect();
        for size in (0..40).chain(more) {
            let leaves = leaves[..size].to_vec();
            assert_eq!(Tree::new(leaves.clone()).root(), root(&mut leaves.clone()), "{size}");
            assert_eq!(root(&mut leaves.clone()), by_definition(leaves), "{size}");
        }
    }

    /// AElf's rule for a path: hash with what stands beside, to the end.
    fn fold(leaf: Hash, path: &[Step]) -> Hash {
        path.iter().fold(
            leaf,
            |below, step| {
                if step.left { node(step.hash, below) } else { node(below, step.hash) }
            },
        )
    }

    #[test]
    fn every_path_leads_from_its_leaf_to_the_root() {
        let leaves: Vec<_> = (0..300_u32).map(|index| digest(&index.to_le_bytes())).collect();
        for size in (0..70).chain([127, 128, 129, 255, 256, 257, 300]) {
            let leaves = &leaves[..size];
            let tree = Tree::new(leaves.to_vec());
            for (index, leaf) in leaves.iter().enumerate() {
                let of_tree = tree.path(index).unwrap();
                assert_eq!(fold(*leaf, &of_tree), tree.root(), "{index} of {size}");
                assert_eq!(of_tree.len(), size.next_power_of_two().ilog2().max(1) as usize);
                assert_eq!(path(leaves, index), Some(of_tree));
            }
            assert_eq!((tree.path(size), path(leaves, size)), (None, None));
        }
    }
}
