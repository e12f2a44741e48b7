//! The pieces of a main block, on all threads: blocks are read from their lanes straight to their places, and hashed
//! while they are in the cache.

use crate::chain::{ChainId, Hash, MainBlock, Timestamp};
use crate::lane::Outlet;
use crate::merkle::leaf;
use crate::merkle::tree::{PARALLEL_LEAVES, STORED_LEVEL, SUBTREE, lower_levels, upper_levels, width_at};
use crate::sha256::Kernel;

use super::plan::{Piece, Plan, Tree};

/// Some pieces that follow each other, and the places for what they bring.
pub(super) struct Pieces<'a> {
    /// One more than there are: where the last one ends.
    bounds: &'a [Piece],
    /// All trees of the main block.
    trees: &'a [Tree],
    outlets: &'a [Outlet],
    hashes: &'a mut [Hash],
    tx_roots: &'a mut [Hash],
    times: &'a mut [Timestamp],
    nodes: &'a mut [Hash],
    /// The root of each tree.
    roots: &'a mut [Hash],
}

impl<'a> Pieces<'a> {
    /// All pieces of a main block.
    pub(super) fn new(
        plan: &'a Plan,
        outlets: &'a [Outlet],
        block: &'a mut MainBlock,
        roots: &'a mut [Hash],
    ) -> Self {
        Self {
            bounds: &plan.pieces,
            trees: &plan.trees,
            outlets,
            hashes: &mut block.columns.hashes,
            tx_roots: &mut block.columns.tx_roots,
            times: &mut block.columns.times,
            nodes: &mut block.chain_nodes,
            roots,
        }
    }

    /// Reads and hashes all of them.
    pub(super) fn run(self) {
        if self.hashes.len() < PARALLEL_LEAVES { self.run_here() } else { self.share_out() }
    }

    fn run_here(mut self) {
        while self.bounds.len() > 2 {
            let (next, others) = self.split(1);
            next.hash();
            self = others;
        }
        self.hash();
    }

    fn share_out(self) {
        let count = self.bounds.len() - 1;
        if count == 1 {
            return self.hash();
        }
        let (left, right) = self.split(count / 2);
        rayon::join(|| left.share_out(), || right.share_out());
    }

    /// The pieces before `at`, and the others.
    fn split(self, at: usize) -> (Self, Self) {
        let (from, to) = (self.bounds[0], self.bounds[at]);
        let leaves = to.leaf - from.leaf;
        let (hashes, other_hashes) = self.hashes.split_at_mut(leaves);
        let (tx_roots, other_tx_roots) = self.tx_roots.split_at_mut(leaves);
        let (times, other_times) = self.times.split_at_mut(leaves);
        let (nodes, other_nodes) = self.nodes.split_at_mut(to.node - from.node);
        let (roots, other_roots) = self.roots.split_at_mut(to.tree - from.tree);
        let (bounds, other_bounds) = (&self.bounds[..=at], &self.bounds[at..]);
        let (trees, outlets) = (self.trees, self.outlets);
        (
            Self { bounds, trees, outlets, hashes, tx_roots, times, nodes, roots },
            Self {
                bounds: other_bounds,
                trees,
                outlets,
                hashes: other_hashes,
                tx_roots: other_tx_roots,
                times: other_times,
                nodes: other_nodes,
                roots: other_roots,
            },
        )
    }

    /// The one piece that this is.
    #[expect(
        clippy::large_stack_arrays,
        reason = "32 KiB, once on a stack: hot in the cache from piece to piece"
    )]
    fn hash(self) {
        let [piece, end] = self.bounds else { unreachable!("one piece and where it ends") };
        let trees = &self.trees[piece.tree..end.tree];
        let mut places = self.hashes.iter_mut().zip(&mut *self.tx_roots).zip(self.times);
        for tree in trees {
            let outlet = &self.outlets[tree.outlet as usize];
            outlet.read(tree.offset.into(), tree.count.into(), |slot| {
                if let Some(((hash, tx_root), time)) = places.next() {
                    (*hash, *tx_root, *time) = (slot.hash, slot.tx_root, slot.time);
                }
            });
        }

        let mut row = [Hash::ZERO; SUBTREE];
        let row = &mut row[..self.hashes.len()];
        let blocks = Blocks { trees: trees.iter(), chain: ChainId(0), height: 0, left: 0 };
        leaf::side_rows(blocks, self.hashes, self.tx_roots, row);
        let kernel = Kernel::best();
        lower_levels(kernel, row, &trees.iter().map(|tree| tree.count as usize));
        let mut first = 0;
        for (tree, root) in trees.iter().zip(self.roots) {
            let count = tree.count as usize;
            let nodes = &mut self.nodes[tree.first_node as usize - piece.node..][..tree.nodes as usize];
            *root = upper_levels(kernel, &mut row[first..first + width_at(count, STORED_LEVEL)], nodes);
            first += count;
        }
    }
}

/// Chain and height of each block of some trees.
struct Blocks<'a> {
    trees: std::slice::Iter<'a, Tree>,
    chain: ChainId,
    height: u64,
    left: u32,
}

impl Iterator for Blocks<'_> {
    type Item = (ChainId, u64);

    fn next(&mut self) -> Option<(ChainId, u64)> {
        if self.left == 0 {
            let tree = self.trees.next()?;
            (self.chain, self.height, self.left) = (tree.chain, tree.first_height, tree.count);
        }
        let block = (self.chain, self.height);
        self.height += 1;
        self.left -= 1;
        Some(block)
    }
}
