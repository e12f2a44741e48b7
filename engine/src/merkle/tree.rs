//! Roots of trees, and paths in trees of which only the upper levels were kept.
//!
//! # Stored nodes
//! With a block we store, of each tree, the nodes from level [`STORED_LEVEL`] up to below the root, level after
//! level: one node for 32 leaves and one more for all above, 2 bytes a leaf. A path then takes its lower siblings
//! from at most 31 other leaves hashed again, and its upper ones as they lie: a few dozen hashes, however large
//! the block.

use rayon::prelude::*;

use crate::chain::Hash;

use super::node;
use super::path::{Step, siblings};

/// The lowest level whose nodes are stored.
pub const STORED_LEVEL: u32 = 5;

/// Leaves under one node of that level: what a path hashes again.
const GROUP: usize = 1 << STORED_LEVEL;

/// How many nodes make a level worth sharing out between threads (a rayon call costs 14 to 45 us).
const PARALLEL_NODES: usize = 4096;

/// How many nodes a tree of `leaves` stores.
pub fn stored_nodes(leaves: usize) -> usize {
    let mut width = leaves.div_ceil(GROUP);
    let mut nodes = 0;
    while width > 1 {
        nodes += width;
        width = width.div_ceil(2);
    }
    nodes
}

/// The root over `leaves`, which are used up; zero of nothing. The stored nodes are put into `stored`, which has
/// room for exactly [`stored_nodes`].
///
/// # Panics
/// When `stored` has another length.
pub fn root(leaves: &mut [Hash], mut stored: &mut [Hash]) -> Hash {
    assert_eq!(stored.len(), stored_nodes(leaves.len()), "room for the stored nodes");
    if leaves.is_empty() {
        return Hash::ZERO;
    }
    let (mut width, mut level) = (leaves.len(), 0);
    while width > 1 {
        if level >= STORED_LEVEL {
            let (row, rest) = stored.split_at_mut(width);
            row.copy_from_slice(&leaves[..width]);
            stored = rest;
        }
        width = reduce(&mut leaves[..width]);
        level += 1;
    }
    leaves[0]
}

/// Hashes one row into the row above, in place, and returns its width.
fn reduce(row: &mut [Hash]) -> usize {
    let width = row.len().div_ceil(2);
    if row.len() >= 2 * PARALLEL_NODES {
        // Each part is reduced to its own front, then the fronts are moved together.
        row.par_chunks_mut(PARALLEL_NODES).for_each(reduce_part);
        for (part, start) in (0..row.len()).step_by(PARALLEL_NODES).enumerate() {
            let nodes = (row.len() - start).min(PARALLEL_NODES).div_ceil(2);
            row.copy_within(start..start + nodes, part * PARALLEL_NODES / 2);
        }
    } else {
        reduce_part(row);
    }
    width
}

fn reduce_part(row: &mut [Hash]) {
    for index in 0..row.len() / 2 {
        row[index] = node(row[2 * index], row[2 * index + 1]);
    }
    if row.len() % 2 == 1 {
        row[row.len() / 2] = row[row.len() - 1];
    }
}

/// The path of leaf `index` in a tree of `size` leaves, of which `stored` are the stored nodes and `leaf` gives
/// the leaves. It allocates the steps and nothing else.
///
/// # Panics
/// When `index` is not below `size`, or `stored` does not have [`stored_nodes`] nodes.
pub fn path(index: usize, size: usize, stored: &[Hash], leaf: impl Fn(usize) -> Hash) -> Vec<Step> {
    assert!(index < size, "leaf {index} of a tree of {size}");
    assert_eq!(stored.len(), stored_nodes(size), "all stored nodes are there");
    let group = index >> STORED_LEVEL << STORED_LEVEL;
    let mut width = GROUP.min(size - group);
    let mut row = [Hash::ZERO; GROUP];
    (group..).zip(&mut row[..width]).for_each(|(index, place)| *place = leaf(index));
    let (mut level, mut stored) = (0, stored);
    let siblings = siblings(index as u64, size as u64);
    let mut steps = Vec::with_capacity(siblings.clone().count());
    for sibling in siblings {
        // Climb to the sibling's level: odd last nodes have moved up without one.
        while level < sibling.level {
            if level < STORED_LEVEL {
                reduce_part(&mut row[..width]);
                width = width.div_ceil(2);
            } else {
                stored = &stored[width_at(size, level)..];
            }
            level += 1;
        }
        let position = sibling.index as usize;
        let hash = if level < STORED_LEVEL { row[position - (group >> level)] } else { stored[position] };
        steps.push(Step { hash, left: sibling.left });
    }
    steps
}

/// How many nodes a tree of `size` leaves has at `level`.
fn width_at(size: usize, level: u32) -> usize {
    size.div_ceil(1 << level)
}

/// A tree that is kept whole, so that leaves can change: a changed leaf costs its path.
#[derive(Clone, Debug, Default)]
pub struct LiveTree {
    /// Level after level, the leaves first; the last one has one node, or there is none at all.
    levels: Vec<Vec<Hash>>,
}

impl LiveTree {
    /// A tree over `leaves`.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(row) = levels.last()
            && row.len() > 1
        {
            levels.push(row.chunks(2).map(parent).collect());
        }
        Self { levels }
    }

    /// The root; zero of nothing.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or(Hash::ZERO)
    }

    /// Puts new leaves at the given indices, which ascend.
    ///
    /// # Panics
    /// When an index is out of range.
    pub fn update(&mut self, changed: impl IntoIterator<Item = (usize, Hash)>) {
        let mut dirty: Vec<usize> = Vec::new();
        for (index, leaf) in changed {
            self.levels[0][index] = leaf;
            dirty.push(index);
        }
        for level in 1..self.levels.len() {
            for index in &mut dirty {
                *index /= 2;
            }
            dirty.dedup();
            let (below, above) = self.levels.split_at_mut(level);
            let (below, above) = (&below[level - 1], &mut above[0]);
            for &index in &dirty {
                above[index] = parent(&below[2 * index..below.len().min(2 * index + 2)]);
            }
        }
    }
}

/// The node over one or two children.
fn parent(children: &[Hash]) -> Hash {
    match children {
        [left, right] => node(*left, *right),
        _ => children[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::path::fold;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|index| crate::merkle::digest(index.to_string().as_bytes())).collect()
    }

    /// RFC 9162 section 2.1.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::ZERO,
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(by_definition(&leaves[..split]), by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn root_and_every_path_agree_with_the_definition() {
        for size in (0..200).chain([255, 256, 257, 1000, 1025]) {
            let leaves = leaves(size);
            let expected = by_definition(&leaves);
            let mut stored = vec![Hash::ZERO; stored_nodes(size)];
            assert_eq!(root(&mut leaves.clone(), &mut stored), expected, "{size}");
            assert_eq!(LiveTree::new(leaves.clone()).root(), expected, "{size}");
            for index in 0..size {
                let path = path(index, size, &stored, |leaf| leaves[leaf]);
                assert_eq!(
                    fold(leaves[index], index as u64, size as u64, &path),
                    Ok(expected),
                    "{index} of {size}"
                );
            }
        }
    }

    #[test]
    fn rows_shared_between_threads_give_the_same_root() {
        for size in
            [2 * PARALLEL_NODES - 1, 2 * PARALLEL_NODES, 2 * PARALLEL_NODES + 1, 3 * PARALLEL_NODES + 77]
        {
            let leaves = leaves(size);
            let mut stored = vec![Hash::ZERO; stored_nodes(size)];
            assert_eq!(root(&mut leaves.clone(), &mut stored), by_definition(&leaves), "{size}");
        }
    }

    #[test]
    fn a_live_tree_follows_changes() {
        let mut leaves = leaves(77);
        let mut tree = LiveTree::new(leaves.clone());
        for changed in [vec![0], vec![76], vec![3, 4, 5, 70], (0..77).collect()] {
            for &index in &changed {
                leaves[index] = node(leaves[index], Hash::ZERO);
            }
            tree.update(changed.iter().map(|&index| (index, leaves[index])));
            assert_eq!(tree.root(), by_definition(&leaves));
        }
    }

    #[test]
    fn a_path_of_another_index_size_length_or_side_is_refused() {
        let leaves = leaves(11);
        let expected = by_definition(&leaves);
        for index in 0..11_usize {
            let right = path(index, 11, &[], |leaf| leaves[leaf]);
            let fold = |index: usize, size, path: &[Step]| fold(leaves[index], index as u64, size, path);
            assert_eq!(fold(index, 11, &right), Ok(expected));
            assert!(fold(index, index as u64, &right).is_err());
            assert!(fold(index, 11, &right[1..]).is_err());
            assert!(fold(index, 11, &[&right[..], &right[..1]].concat()).is_err());
            for step in 0..right.len() {
                let mut wrong = right.clone();
                wrong[step].left ^= true;
                assert!(matches!(fold(index, 11, &wrong), Err(crate::merkle::path::PathError::Side { .. })));
            }
            for other in (0..11_u64).filter(|other| *other != index as u64) {
                assert_ne!(crate::merkle::path::fold(leaves[index], other, 11, &right).ok(), Some(expected));
            }
        }
    }
}
