//! A sealed main block: the header, and everything a proof is made from.

use crate::state::Operation;
use crate::store::StoreError;

use super::{ChainId, Columns, ColumnsRef, Hash, Height, MainHeader};

/// The blocks of one side chain in one main block: consecutive, in the columns from `first_leaf` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// The side chain.
    pub chain: ChainId,
    /// How many blocks; at least 1.
    pub count: u32,
    /// Height of the first of them.
    pub first_height: Height,
    /// Hash of the side block before the first one.
    pub parent: Hash,
    /// Root of the tree over their side leaves.
    pub chain_root: Hash,
    /// Where its blocks start in the columns: the sum of the counts before.
    pub first_leaf: u32,
    /// Where its stored nodes start in [`BlockView::chain_nodes`].
    pub first_node: u32,
}

impl Section {
    /// Height of the last block. Of a section that cannot be (read from a file that was cut short, say) some height.
    pub fn last_height(&self) -> Height {
        Height(self.first_height.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }

    /// Where its blocks lie in the columns.
    pub fn leaves(&self) -> std::ops::Range<usize> {
        let first = self.first_leaf as usize;
        first..first + self.count as usize
    }
}

/// A sealed block in memory, between the stage that hashes it and the stage that stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MainBlock {
    /// The header.
    pub header: MainHeader,
    /// Its hash.
    pub hash: Hash,
    /// What it changes in the registry, in this order, before its side blocks are indexed. Few blocks have any.
    pub operations: Vec<Operation>,
    /// One section a chain, by ascending chain id.
    pub sections: Vec<Section>,
    /// All side blocks, section after section.
    pub columns: Columns,
    /// The upper nodes of each chain's tree ([`crate::merkle::tree`] says which), section after section.
    pub chain_nodes: Vec<Hash>,
    /// The upper nodes of the tree over the chain leaves.
    pub side_nodes: Vec<Hash>,
    /// The nodes of the history tree that this block completes, from level 1 up: as many as its height has
    /// trailing zero bits ([`crate::merkle::history`]).
    pub history_nodes: Vec<Hash>,
}

/// A sealed block wherever it lies: in memory ([`MainBlock`]) or in the map of a log. Proofs are built from
/// this alone, without copying.
pub trait BlockView {
    /// The header.
    fn header(&self) -> MainHeader;
    /// How many sections there are.
    fn section_count(&self) -> usize;
    /// Section `index`, which must be below [`BlockView::section_count`].
    fn section(&self, index: usize) -> Section;
    /// All side blocks, section after section.
    fn columns(&self) -> ColumnsRef<'_>;
    /// See [`MainBlock::chain_nodes`].
    fn chain_nodes(&self) -> &[Hash];
    /// See [`MainBlock::side_nodes`].
    fn side_nodes(&self) -> &[Hash];
    /// See [`MainBlock::history_nodes`].
    fn history_nodes(&self) -> &[Hash];

    /// Whether all that was read from this view so far was what is stored. To be asked before anything that was
    /// read is handed on: a file that someone truncates under its map, say, reads as zeros.
    fn intact(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The position and the section of `chain`, if it has blocks here.
    ///
    /// Sections lie far apart in memory, and each look waits for one. So the first looks go where the chain would be if
    /// ids were spread evenly, which finds those of a dense range at once; after that it is a binary search.
    fn find(&self, chain: ChainId) -> Option<(usize, Section)> {
        const GUESSES: usize = 3;
        let (mut low, mut high) = (0, self.section_count());
        if high == 0 {
            return None;
        }
        // The ids that may stand from `low` to `high - 1`.
        let (mut least, mut most) = (self.section(0).chain.0, self.section(high - 1).chain.0);
        let mut looks = 0;
        while low < high && (least..=most).contains(&chain.0) {
            let middle = if looks < GUESSES {
                let ahead = u64::from(chain.0 - least) * (high - 1 - low) as u64;
                // In range whatever the ids are: a file that someone cut short reads as zeros.
                (low + (ahead / u64::from(most - least).max(1)) as usize).min(high - 1)
            } else {
                usize::midpoint(low, high)
            };
            let section = self.section(middle);
            match section.chain.cmp(&chain) {
                std::cmp::Ordering::Equal => return Some((middle, section)),
                std::cmp::Ordering::Less => (low, least) = (middle + 1, section.chain.0 + 1),
                std::cmp::Ordering::Greater => (high, most) = (middle, section.chain.0 - 1),
            }
            looks += 1;
        }
        None
    }
}

impl BlockView for MainBlock {
    fn header(&self) -> MainHeader {
        self.header
    }
    fn section_count(&self) -> usize {
        self.sections.len()
    }
    fn section(&self, index: usize) -> Section {
        self.sections[index]
    }
    fn columns(&self) -> ColumnsRef<'_> {
        self.columns.as_ref()
    }
    fn chain_nodes(&self) -> &[Hash] {
        &self.chain_nodes
    }
    fn side_nodes(&self) -> &[Hash] {
        &self.side_nodes
    }
    fn history_nodes(&self) -> &[Hash] {
        &self.history_nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of which only the chains of its sections matter.
    struct Chains(&'static [u32]);

    impl BlockView for Chains {
        fn section_count(&self) -> usize {
            self.0.len()
        }
        fn section(&self, index: usize) -> Section {
            Section {
                chain: ChainId(self.0[index]),
                count: 1,
                first_height: Height(1),
                parent: Hash::ZERO,
                chain_root: Hash::ZERO,
                first_leaf: 0,
                first_node: 0,
            }
        }
        fn header(&self) -> MainHeader {
            unreachable!("nobody asks")
        }
        fn columns(&self) -> ColumnsRef<'_> {
            unreachable!("nobody asks")
        }
        fn chain_nodes(&self) -> &[Hash] {
            &[]
        }
        fn side_nodes(&self) -> &[Hash] {
            &[]
        }
        fn history_nodes(&self) -> &[Hash] {
            &[]
        }
    }

    #[test]
    fn every_chain_of_a_block_is_found_and_no_other() {
        let sets: [&[u32]; 6] = [
            &[],
            &[0],
            &[u32::MAX],
            &[5, 6, 7, 8, 9],
            &[0, 1, 2, 3, 1000, 1_000_000, u32::MAX - 1, u32::MAX],
            &[7, 9_992_731, 9_992_732, 9_992_733, 9_992_740, 4_000_000_000],
        ];
        for ids in sets {
            let near = ids.iter().flat_map(|id| [id.saturating_sub(1), *id, id.saturating_add(1)]);
            for id in near.chain([0, 4, 500, 9_992_736, u32::MAX]) {
                let found = Chains(ids).find(ChainId(id)).map(|(index, section)| (index, section.chain.0));
                let expected = ids.binary_search(&id).ok().map(|index| (index, id));
                assert_eq!(found, expected, "{id} in {ids:?}");
            }
        }
        // Ids out of order, as damage may leave them: some answer, and an end.
        for id in 0..10 {
            let _ = Chains(&[9, 3, 7, 0, 0, 5, 9]).find(ChainId(id));
        }
    }
}
