//! The history tree: every main header, in order; its root stands in each later header.
//!
//! Kept as its peaks: the roots of the complete subtrees of 2^k leaves that a tree of n leaves is made of, one
//! for each 1 in n. Appending leaf n completes one subtree for each trailing zero of n; these *completed nodes*
//! are stored with block n, level 1 first, and each node of a complete subtree is so stored exactly once: the
//! node at (level, index) with block `(index + 1) << level`. From them a proof for any header in any later one
//! takes O(log n) look-ups (RFC 9162 section 2.1.3).

use verify::tree;

use crate::chain::Hash;

use super::node;
use super::path::{Step, siblings};

/// Where the nodes of complete subtrees are kept.
pub trait Nodes {
    /// Why a node could not be had.
    type Error;

    /// The node at `level` (0: the leaves) and `index`. Asked only for complete subtrees.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The tree over the headers so far, as its peaks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    size: u64,
    /// From the largest subtree to the smallest.
    peaks: Vec<Hash>,
}

impl History {
    /// The history of `size` headers, its peaks read from `nodes`.
    pub fn load<N: Nodes>(size: u64, nodes: &N) -> Result<Self, N::Error> {
        let peaks =
            peaks_of(size).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// The history of `size` headers whose peaks, from the largest subtree to the smallest, are given; `None` if
    /// they are not as many as `size` has.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The roots of the complete subtrees that it is made of, from the largest to the smallest.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The peak at `level` and `index`, if there is one.
    pub fn peak(&self, level: u32, index: u64) -> Option<Hash> {
        let position = peaks_of(self.size).position(|peak| peak == (level, index))?;
        self.peaks.get(position).copied()
    }

    /// How many headers it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root; zero of nothing.
    pub fn root(&self) -> Hash {
        // The smaller ones hang on the right.
        self.peaks.iter().rev().copied().reduce(|right, left| node(left, right)).unwrap_or(Hash::ZERO)
    }

    /// Appends the leaf of the next header and returns the nodes that it completes, from level 1 up.
    pub fn append(&mut self, leaf: Hash) -> Vec<Hash> {
        let mut completed = Vec::new();
        self.append_to(leaf, &mut completed);
        completed
    }

    /// As [`History::append`], the nodes put at the end of `completed`. It takes memory for all nodes that can ever be, and
    /// so at the first time only.
    pub fn append_to(&mut self, leaf: Hash, completed: &mut Vec<Hash>) {
        const MOST: usize = u64::BITS as usize;
        completed.reserve(MOST);
        self.peaks.reserve(MOST - self.peaks.len());
        self.size += 1;
        let mut top = leaf;
        for _ in 0..self.size.trailing_zeros() {
            let left = self.peaks.pop().expect("one peak for each 1 of the size before");
            top = node(left, top);
            completed.push(top);
        }
        self.peaks.push(top);
    }
}

/// The path of leaf `index` to the root of the tree of the first `size` leaves. It allocates the steps and nothing
/// else.
///
/// # Panics
/// When `index` is not below `size`.
pub fn path<N: Nodes>(index: u64, size: u64, nodes: &N) -> Result<Vec<Step>, N::Error> {
    assert!(index < size, "leaf {index} of a history of {size}");
    let siblings = siblings(index, size);
    let mut steps = Vec::with_capacity(siblings.clone().count());
    for sibling in siblings {
        let hash = subtree(sibling.level, sibling.index, size, nodes)?;
        steps.push(Step { hash, left: sibling.left });
    }
    Ok(steps)
}

/// The nodes that complete the tree of the first `size` leaves for whoever has the leaves at `indices`, which ascend and
/// are below `size`: in the order in which [`tree::fold_many`] takes them.
pub fn completing<N: Nodes>(
    indices: impl Iterator<Item = u64>,
    size: u64,
    nodes: &N,
) -> Result<Vec<Hash>, N::Error> {
    tree::many(indices, size).map(|(level, index)| subtree(level, index, size, nodes)).collect()
}

/// The proof that the tree of the first `before` leaves is the beginning of that of the first `size` (RFC 9162 section
/// 2.1.4). Empty if `before` is 0 or not below `size`.
pub fn consistency<N: Nodes>(before: u64, size: u64, nodes: &N) -> Result<Vec<Hash>, N::Error> {
    tree::consistency_nodes(before, size).map(|(level, index)| subtree(level, index, size, nodes)).collect()
}

/// The node at (level, index) in the tree of `size` leaves: stored if its subtree is complete, else folded from
/// the peaks that lie in it. There must be such a node.
fn subtree<N: Nodes>(level: u32, index: u64, size: u64, nodes: &N) -> Result<Hash, N::Error> {
    let (first, width) = (index << level, 1_u64 << level);
    if size - first >= width {
        return nodes.node(level, index);
    }
    let mut peaks =
        peaks_of(size - first).rev().map(|(level, index)| nodes.node(level, index + (first >> level)));
    let smallest = peaks.next().expect("a node of the tree has at least one leaf")?;
    peaks.try_fold(smallest, |right, left| Ok(node(left?, right)))
}

/// The complete subtrees that a tree of `size` leaves is made of, largest first, as (level, index).
fn peaks_of(size: u64) -> impl DoubleEndedIterator<Item = (u32, u64)> {
    (0..u64::BITS).rev().filter(move |level| size >> level & 1 == 1).map(move |level| {
        let before = size >> level >> 1 << 1;
        (level, before)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::merkle::{digest, path::fold, tree};

    struct Kept(HashMap<(u32, u64), Hash>);

    impl Nodes for Kept {
        type Error = Infallible;
        fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
            Ok(self.0[&(level, index)])
        }
    }

    #[test]
    fn every_header_is_proven_in_every_later_one_from_the_completed_nodes() {
        let (mut history, mut leaves, mut kept) = (History::default(), Vec::new(), Kept(HashMap::new()));
        assert_eq!(history.root(), Hash::ZERO);
        for size in 1..=130_u64 {
            let leaf = digest(&size.to_le_bytes());
            leaves.push(leaf);
            kept.0.insert((0, size - 1), leaf);
            for (hash, level) in history.append(leaf).into_iter().zip(1..) {
                assert!(kept.0.insert((level, (size >> level) - 1), hash).is_none(), "stored once");
            }
            let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
            let root = tree::root(&mut leaves.clone(), &mut stored);
            assert_eq!(history.root(), root, "{size}");
            assert_eq!(History::load(size, &kept), Ok(history.clone()), "{size}");
            let peaks = history.peaks().to_vec();
            assert_eq!(History::from_peaks(size, peaks.clone()), Some(history.clone()));
            assert_eq!(History::from_peaks(size, peaks[1..].to_vec()), None, "a peak is missing");
            for (node, hash) in &kept.0 {
                let is_peak = peaks_of(size).any(|peak| peak == *node);
                assert_eq!(history.peak(node.0, node.1), is_peak.then_some(*hash), "{node:?} of {size}");
            }
            for index in 0..size {
                let path = path(index, size, &kept).unwrap();
                assert_eq!(fold(leaves[index as usize], index, size, &path), Ok(root), "{index} of {size}");
            }
        }
    }
}
