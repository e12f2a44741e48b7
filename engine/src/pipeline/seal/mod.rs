//! Sealing: from final side blocks to a main block with all its roots. Pure: the same blocks and the same times
//! give the same main blocks, whatever the number of threads.
//!
//! A main block is cut into pieces of about a thousand leaves ([`plan`]). On each thread of the rayon pool that this is
//! called in, piece after piece is read from the lanes and hashed ([`pieces`]), while its bytes are in the cache and
//! whatever chains they belong to. What is left then is small: the tops of large trees, the tree over the chains, and the
//! state.
//!
//! # Memory
//! All lists are kept and used again. Once they have grown to the largest main block, nothing is allocated.

mod pieces;
mod plan;

use crate::chain::{ChainId, Hash, Height, MainBlock, MainHeader, Timestamp};
use crate::lane::Outlet;
use crate::merkle::tree::{self, PARALLEL_LEAVES, SUBTREE};
use crate::merkle::{aelf, history::History, leaf};
use crate::sha256::Kernel;
use crate::state::{Applied, ChainState, Genesis, Operation, OperationError, State, ops_root};

use super::head::Head;
use pieces::Pieces;
use plan::Plan;
pub(crate) use plan::Share;

/// Makes main blocks, one on top of the other.
#[derive(Debug)]
pub struct Sealer {
    below: Below,
    state: State,
    history: History,
    assembler: Assembler,
}

/// What a main block stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Below {
    /// Header hash of the block before, or what stands for it before block 1.
    pub(crate) parent: Hash,
    /// Its height; 0 before block 1.
    pub(crate) height: Height,
    /// Its time.
    pub(crate) time: Timestamp,
}

/// Makes main blocks on top of what it is told, from the blocks that it is told, which it does not take out of their
/// lanes.
#[derive(Debug)]
pub(crate) struct Assembler {
    main_chain: ChainId,
    aelf_root: bool,
    plan: Plan,
    /// The root of each tree of the plan.
    roots: Vec<Hash>,
    /// Rows that are used up on the way to a root.
    scratch: Vec<Hash>,
}

impl Sealer {
    /// Continues after `head`, whose state and history are given.
    pub fn new(genesis: &Genesis, head: Option<&Head>, state: State, history: History) -> Self {
        Self { below: Below::new(genesis, head), state, history, assembler: Assembler::new(genesis) }
    }

    /// A block for [`Sealer::seal`] to fill.
    pub fn blank() -> MainBlock {
        super::empty_block()
    }

    /// Takes `counts[i]` blocks from outlet i and seals them. The outlets are those of all chains of the state, by
    /// ascending id. `block` is filled anew, its memory used again. Block times
    /// never go back, whatever `now` says.
    ///
    /// # Panics
    /// When an outlet has fewer blocks.
    pub fn seal(&mut self, outlets: &mut [Outlet], counts: &[u64], now: Timestamp, block: &mut MainBlock) {
        block.operations.clear();
        self.seal_with_operations(outlets, counts, now, block);
    }

    /// Changes the registry. The next block, and no other, has to carry the operation.
    ///
    /// # Errors
    /// The operation cannot be, at all or now: nothing was changed.
    pub fn apply(&mut self, operation: &Operation) -> Result<(Applied, ChainState), OperationError> {
        let applied = self.state.apply(operation)?;
        Ok((applied, self.state.chains()[applied.position]))
    }

    /// As [`Sealer::seal`], of a block whose operations are in it already, and were applied.
    ///
    /// # Panics
    /// When an outlet has fewer blocks.
    pub fn seal_with_operations(
        &mut self,
        outlets: &mut [Outlet],
        counts: &[u64],
        now: Timestamp,
        block: &mut MainBlock,
    ) {
        let Self { below, state, history, assembler } = self;
        let taken = (0..).zip(outlets.iter().zip(counts)).filter(|(_, (_, count))| **count > 0);
        let shares = taken.map(|(position, (outlet, &count))| Share::next(position, outlet, count));
        assembler.assemble(outlets, shares, below, now, state, history, block);
        let taken = outlets.iter_mut().zip(counts).filter(|(_, count)| **count > 0);
        for ((outlet, &count), section) in taken.zip(&block.sections) {
            outlet.advance(count, block.columns.hashes[section.leaves().end - 1]);
        }
        *below = Below::of(&Head { header: block.header, hash: block.hash });
    }
}

impl Below {
    /// On top of `head`, or before block 1.
    pub(crate) fn new(genesis: &Genesis, head: Option<&Head>) -> Self {
        let genesis_parent = MainHeader::genesis_parent(genesis.main.id, genesis.hash);
        let first = Self { parent: genesis_parent, height: Height(0), time: Timestamp::default() };
        head.map_or(first, Self::of)
    }

    /// On top of `head`.
    pub(crate) fn of(head: &Head) -> Self {
        Self { parent: head.hash, height: head.header.height, time: head.header.time }
    }
}

impl Assembler {
    /// For this main chain.
    pub(crate) fn new(genesis: &Genesis) -> Self {
        Self {
            main_chain: genesis.main.id,
            aelf_root: genesis.main.aelf_root,
            plan: Plan::default(),
            roots: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Fills `block`, whose operations are in it and were applied, with `shares`, which ascend by chain: the block after `below`, whose state and history
    /// are given, and move on with it.
    ///
    /// # Panics
    /// When an outlet has fewer blocks.
    #[expect(clippy::too_many_arguments, reason = "what a block is made of, which its callers keep apart")]
    pub(crate) fn assemble(
        &mut self,
        outlets: &[Outlet],
        shares: impl Iterator<Item = Share>,
        below: &Below,
        now: Timestamp,
        state: &mut State,
        history: &mut History,
        block: &mut MainBlock,
    ) {
        self.plan.make(shares, block);
        self.roots.resize(self.plan.trees.len(), Hash::ZERO);
        Pieces::new(&self.plan, outlets, block, &mut self.roots).run();
        self.set_chain_roots(block);

        let MainBlock { sections, columns, side_nodes, .. } = &mut *block;
        let (sections, hashes) = (&sections[..], &columns.hashes[..]);
        let Self { scratch, plan, .. } = self;
        scratch.resize(sections.len(), Hash::ZERO);
        let mut side_root = || {
            tree::root_over(Kernel::best(), scratch, side_nodes, &|first, leaves: &mut [Hash]| {
                leaf::chain_row(&sections[first..first + leaves.len()], leaves);
            })
        };
        let mut state_root = || {
            let heads = sections.iter().zip(&plan.outlets).map(|(section, position)| {
                let newest = hashes[section.leaves().end - 1];
                (*position as usize, section.last_height(), newest)
            });
            state.index(heads);
            state.root()
        };
        let (side_root, state_root) = if sections.len() < PARALLEL_CHAINS || hashes.len() < PARALLEL_LEAVES {
            (side_root(), state_root())
        } else {
            rayon::join(side_root, state_root)
        };

        let aelf_root = if self.aelf_root {
            self.scratch.clear();
            self.scratch.extend_from_slice(&block.columns.tx_roots);
            aelf::root(&mut self.scratch)
        } else {
            Hash::ZERO
        };
        block.header = MainHeader {
            version: MainHeader::VERSION,
            chain_id: self.main_chain,
            height: below.height.next(),
            time: below.time.max(now),
            parent: below.parent,
            side_root,
            chain_count: block.sections.len() as u32,
            leaf_count: block.columns.len() as u64,
            ops_root: ops_root(&block.operations),
            state_root,
            history_root: history.root(),
            aelf_root,
        };
        block.hash = block.header.hash();
        block.history_nodes.clear();
        history.append_to(leaf::history(block.header.height, block.hash), &mut block.history_nodes);
    }

    /// Puts each chain's root into its section, and hashes what is left of the trees of more than one piece.
    fn set_chain_roots(&mut self, block: &mut MainBlock) {
        let mut first_tree = 0;
        for section in &mut block.sections {
            let count = section.count as usize;
            section.chain_root = if count <= SUBTREE {
                self.roots[first_tree]
            } else {
                let nodes =
                    &mut block.chain_nodes[section.first_node as usize..][..tree::stored_nodes(count)];
                self.scratch.resize(tree::part_nodes(count), Hash::ZERO);
                tree::crown(Kernel::best(), count, nodes, &mut self.scratch)
            };
            first_tree += count.div_ceil(SUBTREE);
        }
    }
}

/// Chains in a main block from which on the tree over them and the state are hashed at the same time.
const PARALLEL_CHAINS: usize = 256;

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
    fn a_block_has_the_roots_and_the_nodes_that_its_chains_have_one_by_one() {
        let many = |count: u64| vec![count; 700];
        for turns in [vec![many(1)], vec![many(3), many(2)], vec![vec![1, 1024, 1025, 0, 3100, 31, 33, 5000]]]
        {
            let genesis = fixture::genesis(turns[0].len() as u32);
            for block in fixture::blocks(&genesis, &turns) {
                let mut chain_leaves = Vec::new();
                let (mut leaf, mut node) = (0, 0);
                for section in &block.sections {
                    let count = section.count as usize;
                    let columns = block.columns.as_ref().slice(leaf, leaf + count);
                    let heights = (section.first_height.0..).map(Height);
                    let mut leaves: Vec<_> = heights
                        .zip(columns.hashes.iter().zip(columns.tx_roots))
                        .map(|(height, (hash, tx_root))| leaf::side(section.chain, height, *hash, *tx_root))
                        .collect();
                    let mut nodes = vec![Hash::ZERO; tree::stored_nodes(count)];
                    let root = tree::root(&mut leaves, &mut nodes);
                    assert_eq!((section.first_leaf, section.first_node), (leaf as u32, node as u32));
                    assert_eq!(section.chain_root, root, "{count} blocks of chain {}", section.chain);
                    assert_eq!(block.chain_nodes[node..node + nodes.len()], nodes);
                    let first = section.first_height;
                    chain_leaves.push(leaf::chain(section.chain, first, section.count, root));
                    leaf += count;
                    node += nodes.len();
                }
                assert_eq!((block.columns.len(), block.chain_nodes.len()), (leaf, node), "nothing else");
                let mut nodes = vec![Hash::ZERO; tree::stored_nodes(chain_leaves.len())];
                assert_eq!(block.header.side_root, tree::root(&mut chain_leaves, &mut nodes));
                assert_eq!(block.side_nodes, nodes);
                let mut tx_roots = block.columns.tx_roots.clone();
                assert_eq!(block.header.aelf_root, aelf::root(&mut tx_roots));
            }
        }
    }

    #[test]
    fn one_huge_chain_beside_small_ones_changes_no_header() {
        let turns = [vec![1, 5000, 0, 3], vec![2, 8000, 1, 0]];
        assert_eq!(headers(&turns, 1), headers(&turns, 4));
    }
}
