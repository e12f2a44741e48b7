//! AElf's tree, for `aelf_root` only: leaves as they are, and a row of odd length completed by its last node,
//! also a single leaf (AElf `BinaryMerkleTree.cs`). Known to be ambiguous (`[a,b,c]` and `[a,b,c,c]` have one
//! root), so nothing of ours is proven by it.

use crate::chain::Hash;
use crate::sha256::{Kernel, Pair};

use super::node;
use super::tree::{PARALLEL_LEAVES, SUBTREE};

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
            assert_eq!(root(&mut leaves.clone()), by_definition(leaves), "{size}");
        }
    }
}
