//! Many leaves of one tree at once, each shared node given once.
//!
//! Folded level by level from the leaves up, each level from left to right: a known node whose sibling is known too is
//! hashed with it; one whose sibling exists and is not known takes the next of the given nodes; an odd last one moves up.

use alloc::vec::Vec;

use crate::chain::Hash;

use super::{PathError, node};

/// The root that `leaves`, as (index, hash) in ascending order, lead to together with `nodes`, in a tree of `size`.
/// All nodes are used, and none may be left. `leaves` is used up.
pub fn fold_many(leaves: &mut Vec<(u64, Hash)>, size: u64, nodes: &[Hash]) -> Result<Hash, PathError> {
    for pair in leaves.windows(2) {
        let (after, index) = (pair[0].0, pair[1].0);
        if index <= after {
            return Err(PathError::Order { index, after });
        }
    }
    match leaves.last() {
        None => return Err(PathError::Empty),
        Some(&(index, _)) if index >= size => return Err(PathError::Index { index, size }),
        Some(_) => {}
    }
    let (mut width, mut used) = (size, 0);
    while width > 1 {
        let (mut from, mut to) = (0, 0);
        while let Some(&(index, hash)) = leaves.get(from) {
            from += 1;
            let sibling = index ^ 1;
            let above = match leaves.get(from) {
                Some(&(right, other)) if right == sibling => {
                    from += 1;
                    node(hash, other)
                }
                _ if sibling < width => {
                    // One that is missing is counted all the same, for the error.
                    let given = nodes.get(used).copied();
                    used += 1;
                    match given {
                        None => Hash::ZERO,
                        Some(given) if sibling < index => node(given, hash),
                        Some(given) => node(hash, given),
                    }
                }
                _ => hash,
            };
            leaves[to] = (index / 2, above);
            to += 1;
        }
        leaves.truncate(to);
        width = width.div_ceil(2);
    }
    if used != nodes.len() {
        return Err(PathError::Nodes { got: nodes.len(), expected: used, size });
    }
    Ok(leaves[0].1)
}

/// The nodes that complete a tree of `size` of which the leaves at `indices` are known, as (level, index), in the order in
/// which [`fold_many`] takes them. None at all for indices that do not ascend or are not below `size`.
///
/// A node in the last, incomplete part of the tree is the root over all leaves from `index << level` on.
pub fn many(indices: impl Iterator<Item = u64>, size: u64) -> impl Iterator<Item = (u32, u64)> {
    let row: Vec<u64> = indices.collect();
    let valid = row.windows(2).all(|pair| pair[0] < pair[1]) && row.last().is_some_and(|last| *last < size);
    Many { width: if valid { size } else { 0 }, row, from: 0, to: 0, level: 0 }
}

struct Many {
    /// From `from` on the known nodes of this level that are yet to be looked at; below `to` those of the level above.
    row: Vec<u64>,
    from: usize,
    to: usize,
    level: u32,
    /// Nodes at this level.
    width: u64,
}

impl Iterator for Many {
    type Item = (u32, u64);

    fn next(&mut self) -> Option<(u32, u64)> {
        while self.width > 1 {
            let Some(&index) = self.row.get(self.from) else {
                self.row.truncate(self.to);
                (self.from, self.to) = (0, 0);
                (self.level, self.width) = (self.level + 1, self.width.div_ceil(2));
                continue;
            };
            let sibling = index ^ 1;
            self.row[self.to] = index / 2;
            self.to += 1;
            self.from += 1;
            if self.row.get(self.from) == Some(&sibling) {
                self.from += 1;
            } else if sibling < self.width {
                return Some((self.level, sibling));
            }
        }
        None
    }
}
