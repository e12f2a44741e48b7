//! Sealing: from final side blocks to a main block with all its roots. Pure: the same blocks and the same times
//! give the same main blocks, whatever the number of threads.

use rayon::prelude::*;

use crate::chain::{ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use crate::lane::Outlet;
use crate::merkle::{aelf, history::History, leaf, tree};
use crate::state::{Genesis, State};

use super::head::Head;

/// Side blocks below which one thread is faster than a rayon call (14 to 45 us).
const PARALLEL_LEAVES: usize = 2048;

/// Makes main blocks, one on top of the other.
#[derive(Debug)]
pub(crate) struct Sealer {
    main_chain: ChainId,
    aelf_root: bool,
    /// Header hash of the block before, or what stands for it before block 1.
    parent: Hash,
    height: Height,
    time: Timestamp,
    state: State,
    history: History,
    leaves: Vec<Hash>,
}

impl Sealer {
    /// Continues after `head`, whose state and history are given.
    pub(crate) fn new(genesis: &Genesis, head: Option<&Head>, state: State, history: History) -> Self {
        let genesis_parent = MainHeader::genesis_parent(genesis.main.id, genesis.hash);
        Self {
            main_chain: genesis.main.id,
            aelf_root: genesis.main.aelf_root,
            parent: head.map_or(genesis_parent, |head| head.hash),
            height: head.map_or(Height(0), |head| head.header.height),
            time: head.map_or(Timestamp::default(), |head| head.header.time),
            state,
            history,
            leaves: Vec::new(),
        }
    }

    /// Takes `counts[i]` blocks from outlet i and seals them. The outlets are those of all registered chains, by
    /// ascending id; at least one count is above 0. `block` is filled anew, its memory used again. Block times
    /// never go back, whatever `now` says.
    pub(crate) fn seal(
        &mut self,
        outlets: &mut [Outlet],
        counts: &[u64],
        now: Timestamp,
        block: &mut MainBlock,
    ) {
        gather(outlets, counts, block);
        let chain_leaves = self.chain_roots(block);
        self.leaves.clear();
        self.leaves.extend(chain_leaves);
        block.side_nodes.resize(tree::stored_nodes(self.leaves.len()), Hash::ZERO);
        let side_root = tree::root(&mut self.leaves, &mut block.side_nodes);

        let positions = (0..).zip(counts).filter(|(_, count)| **count > 0).map(|(position, _)| position);
        let heads = block.sections.iter().map(|section| {
            let last = section.leaves().end - 1;
            (section.last_height(), block.columns.hashes[last])
        });
        self.state.index(positions.zip(heads).map(|(position, (height, hash))| (position, height, hash)));

        let aelf_root = if self.aelf_root {
            self.leaves.clear();
            self.leaves.extend_from_slice(&block.columns.tx_roots);
            aelf::root(&mut self.leaves)
        } else {
            Hash::ZERO
        };
        self.height = self.height.next();
        self.time = self.time.max(now);
        block.header = MainHeader {
            version: MainHeader::VERSION,
            chain_id: self.main_chain,
            height: self.height,
            time: self.time,
            parent: self.parent,
            side_root,
            chain_count: block.sections.len() as u32,
            leaf_count: block.columns.len() as u64,
            // The root of nothing: main blocks carry no operations yet.
            ops_root: Hash::ZERO,
            state_root: self.state.root(),
            history_root: self.history.root(),
            aelf_root,
        };
        block.hash = block.header.hash();
        self.parent = block.hash;
        block.history_nodes = self.history.append(leaf::history(self.height, block.hash));
    }

    /// Hashes all side leaves and each chain's tree; returns the chain leaves.
    fn chain_roots(&mut self, block: &mut MainBlock) -> Vec<Hash> {
        let columns = block.columns.as_ref();
        self.leaves.clear();
        self.leaves.resize(columns.len(), Hash::ZERO);
        let (mut leaves, mut nodes) = (&mut self.leaves[..], &mut block.chain_nodes[..]);
        let work = block.sections.iter_mut().map(|section| {
            let count = section.count as usize;
            let (own_leaves, other_leaves) = std::mem::take(&mut leaves).split_at_mut(count);
            let (own_nodes, other_nodes) = std::mem::take(&mut nodes).split_at_mut(tree::stored_nodes(count));
            (leaves, nodes) = (other_leaves, other_nodes);
            let columns = columns.slice(section.leaves().start, section.leaves().end);
            ChainWork { section, columns, leaves: own_leaves, nodes: own_nodes }
        });
        if columns.len() < PARALLEL_LEAVES {
            work.map(ChainWork::run).collect()
        } else {
            work.collect::<Vec<_>>().into_par_iter().map(ChainWork::run).collect()
        }
    }
}

/// The hashing of one chain's blocks: independent of all others.
struct ChainWork<'a> {
    section: &'a mut Section,
    columns: ColumnsRef<'a>,
    leaves: &'a mut [Hash],
    nodes: &'a mut [Hash],
}

impl ChainWork<'_> {
    fn run(self) -> Hash {
        let Self { section, columns, leaves, nodes } = self;
        let hash = |offset: usize| {
            let height = Height(section.first_height.0 + offset as u64);
            leaf::side(section.chain, height, columns.hashes[offset], columns.tx_roots[offset])
        };
        if leaves.len() < 2 * PARALLEL_LEAVES {
            (0..).zip(leaves.iter_mut()).for_each(|(offset, leaf)| *leaf = hash(offset));
        } else {
            leaves
                .par_iter_mut()
                .enumerate()
                .with_min_len(512)
                .for_each(|(offset, leaf)| *leaf = hash(offset));
        }
        section.chain_root = tree::root(leaves, nodes);
        leaf::chain(section.chain, section.first_height, section.count, section.chain_root)
    }
}

/// Copies the blocks out of their lanes, section after section.
fn gather(outlets: &mut [Outlet], counts: &[u64], block: &mut MainBlock) {
    block.columns.clear();
    block.sections.clear();
    let mut nodes = 0;
    for (outlet, &count) in outlets.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
        block.sections.push(Section {
            chain: outlet.chain(),
            count: count as u32,
            first_height: outlet.next_height(),
            parent: outlet.parent(),
            chain_root: Hash::ZERO,
            first_leaf: block.columns.len() as u32,
            first_node: nodes as u32,
        });
        nodes += tree::stored_nodes(count as usize);
        let columns = &mut block.columns;
        outlet.take(count, |slot| columns.push(slot.hash, slot.tx_root, slot.time));
    }
    block.chain_nodes.clear();
    block.chain_nodes.resize(nodes, Hash::ZERO);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::fixture;

    /// Seals `turns[t][c]` blocks of each chain c at each turn t on `threads` threads, and returns the headers.
    fn headers(turns: &[Vec<u64>], threads: usize) -> Vec<MainHeader> {
        let genesis = fixture::genesis(turns[0].len() as u32);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fixture::blocks(&genesis, turns)).iter().map(|block| block.header).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn the_number_of_threads_changes_no_header(
            turns in prop::collection::vec(prop::collection::vec(0_u64..300, 5), 1..5),
        ) {
            prop_assert_eq!(headers(&turns, 1), headers(&turns, 3));
        }
    }

    #[test]
    fn one_huge_chain_beside_small_ones_changes_no_header() {
        let turns = [vec![1, 5000, 0, 3], vec![2, 8000, 1, 0]];
        assert_eq!(headers(&turns, 1), headers(&turns, 4));
    }
}
