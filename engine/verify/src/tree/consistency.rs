//! That one tree is the beginning of another (RFC 9162 section 2.1.4).

use crate::chain::Hash;

use super::{PathError, Siblings, node, siblings};

/// The nodes, as (level, index) in the tree of `n` leaves, that prove that the tree of the first `m` of them is its
/// beginning: in the order of RFC 9162 section 2.1.4.1. None when `m` is 0 or not below `n`.
///
/// A node in the last, incomplete part of the tree is the root over all leaves from `index << level` on.
pub fn consistency_nodes(m: u64, n: u64) -> impl Iterator<Item = (u32, u64)> + Clone {
    let (start, rest) = parts(m, n);
    start.into_iter().chain(rest.map(|sibling| (sibling.level, sibling.index)))
}

/// The largest complete subtree that ends the tree of `m`, unless that is the whole tree, whose root the verifier has; and
/// its siblings in the tree of `n`.
fn parts(m: u64, n: u64) -> (Option<(u32, u64)>, Siblings) {
    if m == 0 || m >= n {
        return (None, siblings(0, 0));
    }
    let level = m.trailing_zeros();
    let index = (m >> level) - 1;
    let rest = Siblings { level, index, width: n.div_ceil(1 << level) };
    ((index > 0).then_some((level, index)), rest)
}

/// Checks, by RFC 9162 section 2.1.4.2, that the tree of `m` leaves with root `root_m` is the beginning of the tree of `n`
/// leaves with root `root_n`. The tree of nothing has the root zero and begins every tree: no hash proves it. Trees of one
/// size must be equal: no hash proves it either.
pub fn verify_consistency(
    m: u64,
    n: u64,
    root_m: Hash,
    root_n: Hash,
    nodes: &[Hash],
) -> Result<(), PathError> {
    if m > n {
        return Err(PathError::Sizes { from: m, to: n });
    }
    let expected = consistency_nodes(m, n).count();
    if nodes.len() != expected {
        return Err(PathError::Consistency { from: m, to: n, got: nodes.len(), expected });
    }
    let (start, rest) = parts(m, n);
    let (seed, nodes) = match (start, nodes.split_first()) {
        (Some(_), Some((first, nodes))) => (*first, nodes),
        _ => (root_m, nodes),
    };
    let (mut earlier, mut later) = (seed, seed);
    for (sibling, hash) in rest.zip(nodes) {
        if sibling.left {
            earlier = node(*hash, earlier);
            later = node(*hash, later);
        } else {
            later = node(later, *hash);
        }
    }
    if m == 0 {
        (earlier, later) = (Hash::ZERO, root_n);
    }
    for (later, got, expected) in [(false, earlier, root_m), (true, later, root_n)] {
        if got != expected {
            return Err(PathError::Roots { later, got, expected });
        }
    }
    Ok(())
}
