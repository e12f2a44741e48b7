//! The main blocks that may be taken back, on top of the irreversible one.
//!
//! # Memory
//! 88 bytes for each chain in each of these blocks, which has at least one side block in a lane for it, and about 1 KiB a
//! block: bounded by the lanes and by [`super::ExternalConfig::max_reversible`].

use std::collections::VecDeque;

use crate::chain::{Hash, Height, MainBlock};
use crate::merkle::history::History;
use crate::pipeline::{Below, Head, Share};
use crate::state::Genesis;

/// From the irreversible block to the head.
#[derive(Debug)]
pub(super) struct Branch {
    /// The irreversible block, if there is one.
    base: Option<Head>,
    base_below: Below,
    /// The history up to it.
    base_history: History,
    blocks: VecDeque<Committed>,
}

/// A block that may be taken back.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) head: Head,
    pub(super) below: Below,
    /// The history with it.
    pub(super) history: History,
    pub(super) sections: Box<[Move]>,
}

/// By how much a block moves a chain on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// Which chain of the state.
    pub(super) position: u32,
    pub(super) count: u32,
    /// Height of its first block here.
    pub(super) first_height: Height,
    /// Hash of the block before; zero if there is none.
    pub(super) parent: Hash,
    /// Hash of its last block here.
    pub(super) newest: Hash,
}

/// Where a chain stands: which one of the state, newest height, its hash.
pub(super) type Place = (usize, Height, Hash);

impl Move {
    fn before(&self) -> Place {
        (self.position as usize, self.first_height.previous(), self.parent)
    }

    fn after(&self) -> Place {
        let last = Height(self.first_height.0 + u64::from(self.count) - 1);
        (self.position as usize, last, self.newest)
    }
}

/// What a sealed block moves.
pub(super) fn moves(shares: &[Share], block: &MainBlock) -> Box<[Move]> {
    let moves = shares.iter().zip(&block.sections).map(|(share, section)| Move {
        position: share.outlet,
        count: section.count,
        first_height: section.first_height,
        parent: section.parent,
        newest: block.columns.hashes[section.leaves().end - 1],
    });
    moves.collect()
}

/// Where the chains stand before these moves, which are those of one block.
pub(super) fn before(moves: &[Move]) -> impl Iterator<Item = Place> {
    moves.iter().map(Move::before)
}

/// Where the chains stand after these moves, which are those of one block.
pub(super) fn after(moves: &[Move]) -> impl Iterator<Item = Place> {
    moves.iter().map(Move::after)
}

impl Branch {
    /// A branch with nothing that can be taken back.
    pub(super) fn new(genesis: &Genesis, base: Option<&Head>, base_history: History) -> Self {
        let base_below = Below::new(genesis, base);
        Self { base: base.copied(), base_below, base_history, blocks: VecDeque::new() }
    }

    /// The irreversible block.
    pub(super) fn irreversible(&self) -> Option<Head> {
        self.base
    }

    /// The newest block.
    pub(super) fn head(&self) -> Option<Head> {
        self.blocks.back().map(|block| block.head).or(self.base)
    }

    /// How many blocks can be taken back: the point that the newest one is.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn push(&mut self, block: Committed) {
        self.blocks.push_back(block);
    }

    /// Which point a block is, by its hash (before block 1: by what stands for it): how many blocks there are from the
    /// irreversible one up to it.
    pub(super) fn find(&self, hash: Hash) -> Option<usize> {
        (0..=self.len()).rev().find(|point| self.below(*point).parent == hash)
    }

    /// What a block on top of a point stands on.
    pub(super) fn below(&self, point: usize) -> &Below {
        point.checked_sub(1).map_or(&self.base_below, |last| &self.blocks[last].below)
    }

    /// The history up to a point.
    pub(super) fn history(&self, point: usize) -> &History {
        point.checked_sub(1).map_or(&self.base_history, |last| &self.blocks[last].history)
    }

    /// From the head back to a point: where the chains stand there that have moved since, by ascending position.
    pub(super) fn back_to(&self, point: usize) -> Vec<Place> {
        first_of_each(self.blocks.range(point..).flat_map(|block| before(&block.sections)).collect())
    }

    /// From a point on to the head: where the chains stand there that have moved.
    pub(super) fn forward_from(&self, point: usize) -> Vec<Place> {
        first_of_each(self.blocks.range(point..).rev().flat_map(|block| after(&block.sections)).collect())
    }

    /// Takes back all blocks after a point.
    pub(super) fn truncate(&mut self, point: usize) {
        self.blocks.truncate(point);
    }

    /// Where the chains stand at a point that have moved since the irreversible block.
    pub(super) fn moved_up_to(&self, point: usize) -> Vec<Place> {
        first_of_each(self.blocks.range(..point).rev().flat_map(|block| after(&block.sections)).collect())
    }

    /// Makes the blocks up to a point irreversible, and tells `each` of them, oldest first.
    pub(super) fn finalize(&mut self, point: usize, mut each: impl FnMut(&Head)) {
        for block in self.blocks.drain(..point) {
            each(&block.head);
            (self.base, self.base_below, self.base_history) = (Some(block.head), block.below, block.history);
        }
    }
}

/// The first one of each chain, by ascending position.
fn first_of_each(mut places: Vec<Place>) -> Vec<Place> {
    // Stable.
    places.sort_by_key(|(position, ..)| *position);
    places.dedup_by_key(|(position, ..)| *position);
    places
}
