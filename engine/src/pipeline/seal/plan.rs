//! How the hashing of a main block is cut into pieces of about the same size, whether one chain has all of its blocks or
//! ten thousand chains have one each.

use crate::chain::{ChainId, Hash, Height, MainBlock, Section};
use crate::lane::Outlet;
use crate::merkle::tree::{SUBTREE, part_nodes, stored_nodes};

/// Which blocks of a chain go into a main block: some that wait in its outlet, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Which outlet, and so which chain of the state.
    pub(crate) outlet: u32,
    /// The chain.
    pub(crate) chain: ChainId,
    /// How many of the blocks waiting in the outlet are left out: those that the main blocks before this one have.
    pub(crate) offset: u32,
    /// How many blocks; at least 1.
    pub(crate) count: u32,
    /// Height of the first one.
    pub(crate) first_height: Height,
    /// Hash of the block before it; zero before the first block of a chain.
    pub(crate) parent: Hash,
}

impl Share {
    /// The next `count` blocks of the outlet.
    pub(crate) fn next(position: u32, outlet: &Outlet, count: u64) -> Self {
        Self {
            outlet: position,
            chain: outlet.chain(),
            offset: 0,
            count: count as u32,
            first_height: outlet.next_height(),
            parent: outlet.parent(),
        }
    }
}

/// The work on a main block. Made anew for each, its memory used again.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Of each section, which outlet its blocks come from.
    pub(super) outlets: Vec<u32>,
    /// Each chain's tree, or, of a chain with more than [`SUBTREE`] blocks, its subtrees; in the order of their leaves.
    pub(super) trees: Vec<Tree>,
    /// One after the other; the last one is empty and marks the end.
    pub(super) pieces: Vec<Piece>,
}

/// A tree of at most [`SUBTREE`] leaves: of a chain, or a subtree of one of a chain with more blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) chain: ChainId,
    /// Which outlet the blocks come from.
    pub(super) outlet: u32,
    /// Height of the first block.
    pub(super) first_height: u64,
    /// Which of the blocks waiting in the outlet the first one is.
    pub(super) offset: u32,
    /// How many blocks.
    pub(super) count: u32,
    /// Where its nodes go among those of the main block, and how many there are.
    pub(super) first_node: u32,
    pub(super) nodes: u32,
}

/// Trees of at most [`SUBTREE`] leaves together: where they begin among all trees, leaves and nodes of the main block. They
/// end where the next piece begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece {
    pub(super) tree: usize,
    pub(super) leaf: usize,
    pub(super) node: usize,
}

impl Plan {
    /// Cuts `shares`, which ascend by chain, into pieces, and gives `block` its sections (without roots) and places for all
    /// that the pieces bring.
    pub(super) fn make(&mut self, shares: impl Iterator<Item = Share>, block: &mut MainBlock) {
        self.outlets.clear();
        self.trees.clear();
        self.pieces.clear();
        self.pieces.push(Piece::default());
        block.sections.clear();
        let (mut piece_leaves, mut leaves, mut nodes) = (0, 0_u32, 0_u32);
        for Share { outlet, chain, offset: skipped, count, first_height, parent } in shares {
            self.outlets.push(outlet);
            block.sections.push(Section {
                chain,
                count,
                first_height,
                parent,
                chain_root: Hash::ZERO,
                first_leaf: leaves,
                first_node: nodes,
            });
            let count = count as usize;
            let end = nodes + stored_nodes(count) as u32;
            for offset in (0..count).step_by(SUBTREE) {
                let size = SUBTREE.min(count - offset);
                if piece_leaves + size > SUBTREE {
                    self.pieces.push(Piece {
                        tree: self.trees.len(),
                        leaf: leaves as usize,
                        node: nodes as usize,
                    });
                    piece_leaves = 0;
                }
                let tree_nodes = if count > SUBTREE { part_nodes(size) } else { stored_nodes(size) } as u32;
                self.trees.push(Tree {
                    chain,
                    outlet,
                    first_height: first_height.0 + offset as u64,
                    offset: skipped + offset as u32,
                    count: size as u32,
                    first_node: nodes,
                    nodes: tree_nodes,
                });
                piece_leaves += size;
                leaves += size as u32;
                nodes += tree_nodes;
            }
            // Behind its subtrees' nodes there is room for those above them.
            nodes = end;
        }
        let (leaf, node) = (leaves as usize, nodes as usize);
        self.pieces.push(Piece { tree: self.trees.len(), leaf, node });
        // Every place is written, so what is there may stay.
        block.columns.hashes.resize(leaf, Hash::ZERO);
        block.columns.tx_roots.resize(leaf, Hash::ZERO);
        block.columns.times.resize_with(leaf, Default::default);
        block.chain_nodes.resize(node, Hash::ZERO);
        block.side_nodes.resize(stored_nodes(block.sections.len()), Hash::ZERO);
    }
}
