//! Roots of trees, and paths in trees of which only the upper levels were kept.
//!
//! # Stored nodes
//! With a block we store, of each tree, the nodes from level [`STORED_LEVEL`] up to below the root, level after
//! level: one node for 32 leaves and one more for all above, 2 bytes a leaf. A path then takes its lower siblings
//! from at most 31 other leaves hashed again, and its upper ones as they lie: a few dozen hashes, however large
//! the block.

use crate::chain::Hash;
use crate::sha256::{Kernel, Pair};

use super::path::{Step, siblings};

/// The lowest level whose nodes are stored.
pub const STORED_LEVEL: u32 = 5;

/// Leaves under one node of that level: what a path hashes again.
const GROUP: usize = 1 << STORED_LEVEL;

/// The level of the roots of the subtrees that larger trees are hashed in.
const SUBTREE_LEVEL: u32 = 10;

/// Leaves of such a subtree: 32 KiB of them, which stay in the cache from the first level to the last.
pub const SUBTREE: usize = 1 << SUBTREE_LEVEL;

/// Leaves from which on a tree is shared out between threads: a rayon call costs as much as some hundred nodes.
pub const PARALLEL_LEAVES: usize = 2 * SUBTREE;

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
/// room for exactly [`stored_nodes`]. A large tree is hashed on all threads of the rayon pool that this is called in.
///
/// # Panics
/// When `stored` has another length.
pub fn root(leaves: &mut [Hash], stored: &mut [Hash]) -> Hash {
    root_over(Kernel::best(), leaves, stored, &|_, _: &mut [Hash]| ())
}

/// Hashes a row into the row above it, in place, and returns that one's width.
pub fn nodes(row: &mut [Hash]) -> usize {
    reduce(Kernel::best(), row)
}

/// As [`root`], of leaves that are made on the way: `fill` is told the index of the first leaf of a part and puts the
/// leaves there.
pub(crate) fn root_over(
    kernel: Kernel,
    leaves: &mut [Hash],
    stored: &mut [Hash],
    fill: &(impl Fn(usize, &mut [Hash]) + Sync),
) -> Hash {
    let count = leaves.len();
    assert_eq!(stored.len(), stored_nodes(count), "room for the stored nodes");
    if count <= SUBTREE {
        fill(0, leaves);
        return subtree(kernel, leaves, stored);
    }
    subtrees(kernel, 0, leaves, &mut stored[..part_nodes(count)], fill);
    crown(kernel, count, stored, leaves)
}

/// Hashes the subtrees of a large tree, from leaf `first` on. Their nodes go into `nodes`, subtree after subtree.
fn subtrees(
    kernel: Kernel,
    first: usize,
    leaves: &mut [Hash],
    nodes: &mut [Hash],
    fill: &(impl Fn(usize, &mut [Hash]) + Sync),
) {
    let count = leaves.len();
    if count <= SUBTREE {
        fill(first, leaves);
        subtree(kernel, leaves, nodes);
        return;
    }
    let half = count.div_ceil(SUBTREE) / 2 * SUBTREE;
    let (left, right) = leaves.split_at_mut(half);
    let (left_nodes, right_nodes) = nodes.split_at_mut(part_nodes(half));
    let mut left = || subtrees(kernel, first, left, left_nodes, fill);
    let mut right = || subtrees(kernel, first + half, right, right_nodes, fill);
    if count < PARALLEL_LEAVES {
        left();
        right();
    } else {
        rayon::join(left, right);
    }
}

/// The root of a tree of at most [`SUBTREE`] leaves, which are used up. `nodes` has room for the [`stored_nodes`] of a
/// tree of its own, or for the [`part_nodes`] of a part of a larger one.
fn subtree(kernel: Kernel, leaves: &mut [Hash], nodes: &mut [Hash]) -> Hash {
    let count = leaves.len();
    if count == 0 {
        return Hash::ZERO;
    }
    lower_levels(kernel, leaves, &std::iter::once(count));
    upper_levels(kernel, &mut leaves[..width_at(count, STORED_LEVEL)], nodes)
}

/// Hashes the levels below [`STORED_LEVEL`] of several trees, whose leaves follow each other in `row`: `counts` says
/// how many each has. The row of each tree at that level then stands where its leaves began.
///
/// Level by level over all trees, so that the pairs of small ones are hashed side by side as well.
pub(crate) fn lower_levels(kernel: Kernel, row: &mut [Hash], counts: &(impl Iterator<Item = usize> + Clone)) {
    for level in 0..STORED_LEVEL {
        kernel.nodes(row, LevelPairs { counts: counts.clone(), level, next: 0, left: 0, to: 0, pairs: 0 });
        let (mut start, mut done) = (0, true);
        for count in counts.clone() {
            let width = width_at(count, level);
            if width > 1 {
                done &= width == 2;
                if width % 2 == 1 {
                    row[start + width / 2] = row[start + width - 1];
                }
            }
            start += count;
        }
        if done {
            return;
        }
    }
}

/// The pairs of one level of several trees.
struct LevelPairs<I> {
    counts: I,
    level: u32,
    /// Where the leaves of the next tree begin.
    next: usize,
    /// The next pair of this tree, where its node goes, and how many pairs are left.
    left: usize,
    to: usize,
    pairs: usize,
}

impl<I: Iterator<Item = usize>> Iterator for LevelPairs<I> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        while self.pairs == 0 {
            let count = self.counts.next()?;
            (self.left, self.to) = (self.next, self.next);
            self.pairs = width_at(count, self.level) / 2;
            self.next += count;
        }
        let pair = Pair { left: self.left, to: self.to };
        self.left += 2;
        self.to += 1;
        self.pairs -= 1;
        Some(pair)
    }
}

/// Hashes a row of [`STORED_LEVEL`] or above up to the root. The rows on the way, this one first, go into `nodes`, as
/// many as it has room for: below the root of a tree of its own, up to [`SUBTREE_LEVEL`] of a part of a larger one.
pub(crate) fn upper_levels(kernel: Kernel, row: &mut [Hash], mut nodes: &mut [Hash]) -> Hash {
    let mut width = row.len();
    while !nodes.is_empty() {
        let (own, above) = nodes.split_at_mut(width);
        own.copy_from_slice(&row[..width]);
        nodes = above;
        width = reduce(kernel, &mut row[..width]);
    }
    row[0]
}

/// The root of a large tree of `leaves` from the nodes of its subtrees, which stand in `stored` subtree after subtree,
/// and are put in order. `scratch` has room for [`part_nodes`].
pub(crate) fn crown(kernel: Kernel, leaves: usize, stored: &mut [Hash], scratch: &mut [Hash]) -> Hash {
    let below = part_nodes(leaves);
    let parts = leaves.div_ceil(SUBTREE);
    let mut from = &mut scratch[..below];
    from.copy_from_slice(&stored[..below]);
    for part in 0..parts {
        let count = SUBTREE.min(leaves - part * SUBTREE);
        let mut row = 0;
        for level in STORED_LEVEL..=SUBTREE_LEVEL {
            let (own, rest) = from.split_at_mut(width_at(count, level));
            let to = row + (part << (SUBTREE_LEVEL - level));
            stored[to..to + own.len()].copy_from_slice(own);
            row += width_at(leaves, level);
            from = rest;
        }
    }
    let roots = &mut scratch[..parts];
    roots.copy_from_slice(&stored[below - parts..below]);
    let width = reduce(kernel, roots);
    upper_levels(kernel, &mut roots[..width], &mut stored[below..])
}

/// How many nodes the subtrees of a large tree have from [`STORED_LEVEL`] up to their roots, these included.
pub(crate) fn part_nodes(leaves: usize) -> usize {
    (STORED_LEVEL..=SUBTREE_LEVEL).map(|level| width_at(leaves, level)).sum()
}

/// As [`nodes`], with the kernel given.
pub(crate) fn reduce(kernel: Kernel, row: &mut [Hash]) -> usize {
    let width = row.len();
    kernel.nodes(row, (0..width / 2).map(|index| Pair { left: 2 * index, to: index }));
    if width % 2 == 1 {
        row[width / 2] = row[width - 1];
    }
    width.div_ceil(2)
}

/// The path of leaf `index` in a tree of `size` leaves, of which `stored` are the stored nodes and `leaf` gives
/// the leaves. It allocates the steps and nothing else.
///
/// # Panics
/// When `index` is not below `size`, or `stored` does not have [`stored_nodes`] nodes.
pub fn path(index: usize, size: usize, stored: &[Hash], leaf: impl Fn(usize) -> Hash) -> Vec<Step> {
    let fill = |first: usize, row: &mut [Hash]| {
        (first..).zip(row).for_each(|(index, place)| *place = leaf(index));
    };
    let tree = Stored::new(size, stored, fill);
    tree.expect("all stored nodes are there").path(index)
}

/// A tree of which the stored nodes are there, and whose leaves can be made again.
pub(crate) struct Stored<'a, F> {
    size: usize,
    nodes: &'a [Hash],
    fill: F,
}

impl<'a, F: Fn(usize, &mut [Hash])> Stored<'a, F> {
    /// The tree of `size` leaves with these stored `nodes`; `None` if they are not as many as it has. `fill` puts the
    /// leaves from an index on into a row.
    pub(crate) fn new(size: usize, nodes: &'a [Hash], fill: F) -> Option<Self> {
        (nodes.len() == stored_nodes(size)).then_some(Self { size, nodes, fill })
    }

    /// The path of leaf `index`. It allocates the steps and nothing else.
    ///
    /// # Panics
    /// When `index` is not below the tree's size.
    pub(crate) fn path(&self, index: usize) -> Vec<Step> {
        let size = self.size;
        assert!(index < size, "leaf {index} of a tree of {size}");
        let group = index >> STORED_LEVEL << STORED_LEVEL;
        let mut row = [Hash::ZERO; GROUP];
        let mut width = self.group(group, &mut row);
        let (mut level, mut stored) = (0, self.nodes);
        let siblings = siblings(index as u64, size as u64);
        let mut steps = Vec::with_capacity(siblings.clone().count());
        for sibling in siblings {
            // Climb to the sibling's level: odd last nodes have moved up without one.
            while level < sibling.level {
                if level < STORED_LEVEL {
                    width = nodes(&mut row[..width]);
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

    /// The nodes that complete the tree for whoever has the leaves at `indices`, which ascend: level after level from
    /// the leaves up, and each level from left to right, the siblings of known nodes that are not known themselves.
    ///
    /// Leaves are made and hashed once for each group of 32 with a known one among them.
    ///
    /// # Panics
    /// When an index is not below the tree's size.
    pub(crate) fn completing(&self, indices: impl Iterator<Item = usize>) -> Vec<Hash> {
        let mut lower = [const { Vec::new() }; STORED_LEVEL as usize];
        let mut known = Vec::new();
        let mut indices = indices.peekable();
        while let Some(index) = indices.next() {
            assert!(index < self.size, "leaf {index} of a tree of {}", self.size);
            let group = index / GROUP;
            let mut mask = 1_u32 << (index % GROUP);
            while let Some(next) = indices.next_if(|next| next / GROUP == group) {
                mask |= 1 << (next % GROUP);
            }
            self.complete_group(group * GROUP, mask, &mut lower);
            known.push(group);
        }
        let mut completing = lower.concat();
        let (mut level, mut stored) = (STORED_LEVEL, self.nodes);
        while width_at(self.size, level) > 1 {
            let (row, above) = stored.split_at(width_at(self.size, level));
            completing.extend(known.iter().enumerate().filter_map(|(position, &node)| {
                let sibling = node ^ 1;
                let neighbour = if sibling < node { position.checked_sub(1) } else { Some(position + 1) };
                let is_known = neighbour.and_then(|neighbour| known.get(neighbour)) == Some(&sibling);
                row.get(sibling).filter(|_| !is_known).copied()
            }));
            known.iter_mut().for_each(|node| *node /= 2);
            known.dedup();
            (level, stored) = (level + 1, above);
        }
        completing
    }

    /// The part of [`Stored::completing`] in the group from leaf `first` on, whose leaves in `known` are known, each
    /// level at the end of the list of its own.
    fn complete_group(&self, first: usize, mut known: u32, lower: &mut [Vec<Hash>]) {
        if known.count_ones() as usize == GROUP.min(self.size - first) {
            return;
        }
        let mut row = [Hash::ZERO; GROUP];
        let mut width = self.group(first, &mut row);
        for level in lower {
            let is_known = |position: usize| known >> position & 1 == 1;
            let wanted = |position: &usize| !is_known(*position) && is_known(position ^ 1);
            level.extend((0..width).filter(wanted).map(|position| row[position]));
            known = (0..GROUP / 2)
                .filter(|parent| known >> (2 * parent) & 0b11 != 0)
                .fold(0, |all, p| all | 1 << p);
            if width > 1 {
                width = nodes(&mut row[..width]);
            }
        }
    }

    /// Puts the leaves of the group from leaf `first` on into `row`, and returns how many there are.
    fn group(&self, first: usize, row: &mut [Hash; GROUP]) -> usize {
        let width = GROUP.min(self.size - first);
        (self.fill)(first, &mut row[..width]);
        width
    }
}

/// How many nodes a tree of `size` leaves has at `level`.
pub(crate) fn width_at(size: usize, level: u32) -> usize {
    size.div_ceil(1 << level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::node;
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
            for kernel in Kernel::all() {
                let root = root_over(kernel, &mut leaves.clone(), &mut stored, &|_, _: &mut [Hash]| ());
                assert_eq!(root, expected, "{kernel:?} {size}");
                assert_eq!(stored, stored_by_definition(&leaves), "{kernel:?} {size}");
            }
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

    /// All levels of a tree, as the definition of the stored nodes has them.
    fn stored_by_definition(leaves: &[Hash]) -> Vec<Hash> {
        let (mut row, mut level, mut stored) = (leaves.to_vec(), 0, Vec::new());
        while row.len() > 1 {
            if level >= STORED_LEVEL {
                stored.extend_from_slice(&row);
            }
            row = row.chunks(2).map(|pair| if let [l, r] = pair { node(*l, *r) } else { pair[0] }).collect();
            level += 1;
        }
        stored
    }

    #[test]
    fn trees_of_several_subtrees_have_the_same_root_and_the_same_nodes_on_any_number_of_threads() {
        let sizes = [1, 2, 3, 4, 5, 9].map(|parts| parts * SUBTREE);
        let sizes = sizes.iter().flat_map(|size| [0, 1, 2, 31, 33, 700, SUBTREE - 1].map(|more| size + more));
        let all = leaves(10 * SUBTREE);
        let pools = [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
        for size in sizes {
            let leaves = &all[..size];
            let (expected, nodes) = (by_definition(leaves), stored_by_definition(leaves));
            for (kernel, pool) in
                Kernel::all().flat_map(|kernel| pools.iter().map(move |pool| (kernel, pool)))
            {
                // Without optimisation, intrinsics are slow.
                if kernel != Kernel::PORTABLE && size > 4 * SUBTREE {
                    continue;
                }
                let mut stored = vec![Hash::ZERO; stored_nodes(size)];
                let fill =
                    |first: usize, row: &mut [Hash]| row.copy_from_slice(&leaves[first..first + row.len()]);
                let mut row = vec![Hash::ZERO; size];
                let root = pool.install(|| root_over(kernel, &mut row, &mut stored, &fill));
                assert_eq!(root, expected, "{kernel:?} {size}");
                assert_eq!(stored, nodes, "{kernel:?} {size}");
            }
        }
    }

    #[test]
    fn trees_side_by_side_have_the_roots_that_they_have_alone() {
        // Of a piece: many small ones, and a whole subtree.
        side_by_side(&[1, 2, 3, 1, 1, 33, 5, 64, 100, 1, 31, 32, 0, 65, 7]);
        for count in 1..20 {
            // So that pairs of one tree stand anywhere among those that are hashed together.
            side_by_side(&[count; 9]);
            side_by_side(&[1, count, 2, 19 - count, 3]);
        }
        side_by_side(&[SUBTREE]);
        side_by_side(&[SUBTREE - 1]);
    }

    fn side_by_side(counts: &[usize]) {
        let leaves = leaves(counts.iter().sum());
        for kernel in Kernel::all() {
            let mut row = leaves.clone();
            lower_levels(kernel, &mut row, &counts.iter().copied());
            let mut start = 0;
            for count in counts.iter().copied().filter(|count| *count > 0) {
                let own = &leaves[start..start + count];
                let mut nodes = vec![Hash::ZERO; stored_nodes(count)];
                let row = &mut row[start..start + width_at(count, STORED_LEVEL)];
                assert_eq!(upper_levels(kernel, row, &mut nodes), by_definition(own), "{count}");
                assert_eq!(nodes, stored_by_definition(own), "{count}");
                start += count;
            }
        }
    }

    /// The rule word for word, on whole rows.
    fn completing_by_definition(leaves: &[Hash], indices: &[usize]) -> Vec<Hash> {
        let (mut row, mut known, mut nodes) = (leaves.to_vec(), indices.to_vec(), Vec::new());
        while row.len() > 1 {
            for &index in &known {
                if !known.contains(&(index ^ 1)) && index ^ 1 < row.len() {
                    nodes.push(row[index ^ 1]);
                }
            }
            row = row.chunks(2).map(|pair| if let [l, r] = pair { node(*l, *r) } else { pair[0] }).collect();
            known = known.iter().map(|index| index / 2).collect();
            known.dedup();
        }
        nodes
    }

    #[test]
    fn what_completes_a_tree_is_each_unknown_sibling_once_level_by_level() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for size in (1..70).chain([95, 96, 97, 128, 200, 255, 256, 257, 1000, 1025]) {
            let leaves = leaves(size);
            let mut stored = vec![Hash::ZERO; stored_nodes(size)];
            root(&mut leaves.clone(), &mut stored);
            let fill =
                |first: usize, row: &mut [Hash]| row.copy_from_slice(&leaves[first..first + row.len()]);
            let tree = Stored::new(size, &stored, fill).unwrap();
            for percent in [1, 10, 50, 90, 100] {
                let mut indices: Vec<usize> = (0..size).filter(|_| random() % 100 < percent).collect();
                if indices.is_empty() {
                    indices.push(random() as usize % size);
                }
                let completing = tree.completing(indices.iter().copied());
                assert_eq!(completing, completing_by_definition(&leaves, &indices), "{indices:?} of {size}");
            }
            for index in 0..size {
                let alone: Vec<Hash> = tree.path(index).iter().map(|step| step.hash).collect();
                assert_eq!(tree.completing([index].into_iter()), alone, "{index} of {size}");
            }
            assert!(Stored::new(size, &leaves, fill).is_none(), "not the stored nodes");
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
