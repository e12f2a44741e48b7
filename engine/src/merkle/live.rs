//! A tree that is kept whole, so that leaves can change: a changed leaf costs its path.

use crate::chain::Hash;
use crate::sha256::{Kernel, Pair};

use super::tree::{PARALLEL_LEAVES, SUBTREE, reduce, width_at};

/// A tree whose leaves change. Kept as subtrees of [`SUBTREE`] leaves, so that many changes are hashed in the cache and on
/// several threads.
#[derive(Clone, Debug)]
pub struct LiveTree {
    kernel: Kernel,
    subtrees: Vec<Subtree>,
    /// Over the roots of the subtrees.
    top: Vec<Hash>,
    root: Hash,
}

impl LiveTree {
    /// A tree over `leaves`.
    pub fn new(leaves: &[Hash]) -> Self {
        Self::hashed_by(Kernel::best(), leaves)
    }

    fn hashed_by(kernel: Kernel, leaves: &[Hash]) -> Self {
        let subtrees: Vec<_> = leaves.chunks(SUBTREE).map(|leaves| Subtree::new(kernel, leaves)).collect();
        let mut tree = Self { kernel, top: vec![Hash::ZERO; subtrees.len()], subtrees, root: Hash::ZERO };
        tree.reduce_top();
        tree
    }

    /// The root; zero of nothing.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Changes the leaves at `indices`, which ascend. `fill` is given some of them and puts the new leaves into a row of
    /// that length. Many changes are shared out between the threads of the rayon pool that this is called in. It
    /// allocates nothing.
    ///
    /// # Panics
    /// When an index is out of range, or they do not ascend.
    pub fn update(&mut self, indices: &[u32], fill: impl Fn(&[u32], &mut [Hash]) + Sync) {
        assert!(indices.is_sorted_by(|a, b| a < b), "indices ascend");
        if let Some(last) = indices.last() {
            let subtree = self.subtrees.get(*last as usize / SUBTREE);
            let leaves = subtree.map_or(0, |subtree| subtree.leaves);
            assert!((*last as usize % SUBTREE) < leaves, "leaf {last} is in the tree");
            update(self.kernel, &mut self.subtrees, 0, indices, &fill);
            self.reduce_top();
        }
    }

    fn reduce_top(&mut self) {
        for (top, subtree) in self.top.iter_mut().zip(&self.subtrees) {
            *top = subtree.root();
        }
        let mut width = self.top.len();
        while width > 1 {
            width = reduce(self.kernel, &mut self.top[..width]);
        }
        self.root = self.top.first().copied().unwrap_or(Hash::ZERO);
    }
}

/// Changes leaves of some subtrees, the first of which is the `first`.
fn update(
    kernel: Kernel,
    subtrees: &mut [Subtree],
    first: usize,
    indices: &[u32],
    fill: &(impl Fn(&[u32], &mut [Hash]) + Sync),
) {
    if indices.is_empty() {
        return;
    }
    if let [subtree] = subtrees {
        return subtree.update(kernel, indices, fill);
    }
    let half = subtrees.len() / 2;
    let (left, right) = subtrees.split_at_mut(half);
    let split = indices.partition_point(|index| (*index as usize) < (first + half) * SUBTREE);
    let (left_indices, right_indices) = indices.split_at(split);
    let mut left = || update(kernel, left, first, left_indices, fill);
    let mut right = || update(kernel, right, first + half, right_indices, fill);
    if indices.len() < PARALLEL_LEAVES {
        left();
        right();
    } else {
        rayon::join(left, right);
    }
}

/// A tree of at most [`SUBTREE`] leaves.
#[derive(Clone, Debug)]
struct Subtree {
    leaves: usize,
    /// Level after level, the leaves first, the root last.
    nodes: Vec<Hash>,
}

impl Subtree {
    fn new(kernel: Kernel, leaves: &[Hash]) -> Self {
        let mut nodes = leaves.to_vec();
        let (mut width, mut level) = (leaves.len(), 1);
        while width > 1 {
            width = width_at(leaves.len(), level);
            nodes.resize(nodes.len() + width, Hash::ZERO);
            level += 1;
        }
        let mut tree = Self { leaves: leaves.len(), nodes };
        let mut all = [0; SUBTREE];
        (0..).zip(&mut all).for_each(|(index, place)| *place = index);
        tree.hash_above(kernel, &mut all[..leaves.len()]);
        tree
    }

    fn root(&self) -> Hash {
        self.nodes.last().copied().unwrap_or(Hash::ZERO)
    }

    #[expect(
        clippy::large_stack_arrays,
        reason = "34 KiB, once on a stack, and nothing is allocated for an update"
    )]
    fn update(&mut self, kernel: Kernel, indices: &[u32], fill: &impl Fn(&[u32], &mut [Hash])) {
        let (mut changed, mut leaves) = ([0; SUBTREE], [Hash::ZERO; SUBTREE]);
        let (changed, leaves) = (&mut changed[..indices.len()], &mut leaves[..indices.len()]);
        fill(indices, leaves);
        for ((index, changed), leaf) in indices.iter().zip(&mut *changed).zip(leaves) {
            let index = *index as usize % SUBTREE;
            self.nodes[index] = *leaf;
            *changed = index as u16;
        }
        self.hash_above(kernel, changed);
    }

    /// Hashes all nodes above the `changed` leaves, which ascend and are used up.
    fn hash_above(&mut self, kernel: Kernel, mut changed: &mut [u16]) {
        let (mut below, mut width) = (0, self.leaves);
        while width > 1 {
            let above = below + width;
            // The nodes above them, each once.
            let mut count = 0;
            for at in 0..changed.len() {
                let node = changed[at] / 2;
                if count == 0 || changed[count - 1] != node {
                    changed[count] = node;
                    count += 1;
                }
            }
            changed = &mut changed[..count];
            // An odd last node moves up unchanged.
            let mut pairs = &changed[..];
            if let Some((last, others)) = pairs.split_last()
                && 2 * usize::from(*last) + 1 == width
            {
                self.nodes[above + usize::from(*last)] = self.nodes[above - 1];
                pairs = others;
            }
            let places = pairs.iter().map(|node| usize::from(*node));
            kernel
                .nodes(&mut self.nodes, places.map(|node| Pair { left: below + 2 * node, to: above + node }));
            (below, width) = (above, width.div_ceil(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{digest, node, tree};

    fn root_of(leaves: &[Hash]) -> Hash {
        let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
        tree::root(&mut leaves.to_vec(), &mut stored)
    }

    #[test]
    fn it_follows_changes_of_any_leaves_in_trees_of_any_size() {
        let sizes = [0, 1, 2, 3, 77, 1023, 1024, 1025, 2048, 3000, 5121];
        for (kernel, size) in Kernel::all().flat_map(|kernel| sizes.map(|size| (kernel, size))) {
            let mut leaves: Vec<_> = (0..size as u32).map(|index| digest(&index.to_le_bytes())).collect();
            let mut live = LiveTree::hashed_by(kernel, &leaves);
            assert_eq!(live.root(), root_of(&leaves), "{size}");
            let every = |step: usize| (0..size as u32).step_by(step).collect::<Vec<_>>();
            let edges = vec![0, 1, 1023, 1024, 1025, 2047, 2048, 2999, 3000, 5120];
            for mut changed in [vec![], every(1), every(2), every(3), every(500), edges] {
                changed.retain(|index| (*index as usize) < size);
                for &index in &changed {
                    leaves[index as usize] = node(leaves[index as usize], Hash::ZERO);
                }
                live.update(&changed, |indices, out| {
                    indices.iter().zip(out).for_each(|(index, out)| *out = leaves[*index as usize]);
                });
                assert_eq!(live.root(), root_of(&leaves), "{kernel:?} {size}, {} changed", changed.len());
            }
        }
    }

    #[test]
    #[should_panic(expected = "leaf 5 is in the tree")]
    fn a_leaf_outside_is_refused() {
        LiveTree::new(&[Hash::ZERO; 5]).update(&[1, 5], |_, _| ());
    }

    #[test]
    #[should_panic(expected = "indices ascend")]
    fn leaves_out_of_order_are_refused() {
        LiveTree::new(&[Hash::ZERO; 5]).update(&[3, 2], |_, _| ());
    }
}
