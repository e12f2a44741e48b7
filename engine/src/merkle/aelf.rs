//! AElf's tree, for `aelf_root` only: leaves as they are, and a row of odd length completed by its last node,
//! also a single leaf (AElf `BinaryMerkleTree.cs`). Known to be ambiguous (`[a,b,c]` and `[a,b,c,c]` have one
//! root), so nothing of ours is proven by it.

use crate::chain::Hash;

use super::node;

/// The root over `row`, which is used up; zero of nothing.
pub fn root(row: &mut Vec<Hash>) -> Hash {
    let Some(last) = row.last() else { return Hash::ZERO };
    if row.len() == 1 {
        return node(*last, *last);
    }
    while row.len() > 1 {
        let pairs = row.len().div_ceil(2);
        for index in 0..pairs {
            let left = row[2 * index];
            row[index] = node(left, row.get(2 * index + 1).copied().unwrap_or(left));
        }
        row.truncate(pairs);
    }
    row[0]
}
