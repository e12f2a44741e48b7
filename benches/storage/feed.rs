//! [`Feed`]: the main blocks that all candidates store, made before any clock runs.
//!
//! A pool of blocks is made once and used again and again: to make the next block, only its heights are changed, a
//! store for each section. So no generator is measured, and no memory is touched for the first time. What a look-up
//! must find follows from the pool, so every answer can be checked.

use std::fmt;

use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use engine::merkle::{history::History, leaf, tree};
use rayon::prelude::*;

/// The main chain of all logs here: `AELF`.
pub(crate) const MAIN: ChainId = ChainId(9_992_731);
/// How many side chains there are.
pub(crate) const CHAINS: u32 = 1000;
/// The side blocks whose columns are kept, about: 72 MB. More than any block of the peers' stores can find equal.
const POOL_LEAVES: u64 = 1_000_000;

/// How a main block is made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Chains with blocks in one main block. They take turns.
    pub(crate) sections: u32,
    /// Side blocks of each of them.
    pub(crate) per_section: u32,
}

impl Shape {
    /// Main blocks until the first one's chains have their turn again.
    fn turns(self) -> u64 {
        u64::from(CHAINS / self.sections)
    }

    /// Side blocks in a main block.
    pub(crate) fn leaves(self) -> u64 {
        u64::from(self.sections) * u64::from(self.per_section)
    }

    /// The least number of main blocks with so many side blocks, such that all chains are equally high.
    pub(crate) fn blocks_for(self, side_blocks: u64) -> u64 {
        side_blocks.div_ceil(self.leaves()).next_multiple_of(self.turns())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} chains of {})", self.leaves(), self.sections, self.per_section)
    }
}

/// All shapes: the sizes that are measured by default, and one side block of each chain at a time, the worst case
/// for what is stored once a section.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape { name: "1k", sections: 50, per_section: 20 },
    Shape { name: "64k", sections: 1000, per_section: 64 },
    Shape { name: "1M", sections: 1000, per_section: 1000 },
    Shape { name: "thin", sections: 1000, per_section: 1 },
];

/// What a store knows of a side block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Height of the main block.
    pub(crate) main: u64,
    /// Position among its side blocks.
    pub(crate) leaf: u32,
    pub(crate) hash: Hash,
    pub(crate) tx_root: Hash,
    pub(crate) time: u64,
}

/// Makes main blocks, one after the other.
pub(crate) struct Feed {
    shape: Shape,
    pool: Vec<MainBlock>,
    made: u64,
    /// Heights that are there already: of the main chain and of each side chain.
    before: (u64, u64),
    /// Of blocks with true trees: the tree over the headers so far, and the newest header's hash.
    history: Option<(History, Hash)>,
}

impl Feed {
    /// Blocks for `side_blocks` or less. With `trees`, all roots and stored nodes are true, so that proofs verify;
    /// else they are noise of the same size.
    pub(crate) fn new(shape: Shape, side_blocks: u64, trees: bool) -> Self {
        let turns = shape.turns();
        let pool = (POOL_LEAVES.min(side_blocks) / shape.leaves()).next_multiple_of(turns).max(turns);
        let pool = (0..pool).into_par_iter().map(|slot| fresh(shape, slot)).collect();
        let history = trees.then(|| (History::default(), Hash([3; 32])));
        Self { shape, pool, made: 0, before: (0, 0), history }
    }

    /// Starts again, with the blocks that follow main height `main` and height `side` of every side chain.
    pub(crate) fn start_after(&mut self, (main, side): (u64, u64)) {
        (self.made, self.before) = (0, (main, side));
    }

    /// The next main block.
    pub(crate) fn next(&mut self) -> &MainBlock {
        let slot = (self.made % self.pool.len() as u64) as usize;
        let (main, side) = self.before;
        let first = Height(side + 1 + self.made / self.shape.turns() * u64::from(self.shape.per_section));
        self.made += 1;
        let height = Height(main + self.made);
        let block = &mut self.pool[slot];
        block.header.height = height;
        for section in &mut block.sections {
            section.first_height = first;
        }
        match &mut self.history {
            // Their bytes count, their values do not.
            None => block.history_nodes.resize(height.0.trailing_zeros() as usize, Hash([4; 32])),
            Some((history, parent)) => {
                hash_trees(block);
                block.header.parent = *parent;
                block.header.history_root = history.root();
                block.hash = block.header.hash();
                block.history_nodes = history.append(leaf::history(height, block.hash));
                *parent = block.hash;
            }
        }
        block
    }

    /// The chain with this index, below [`CHAINS`].
    pub(crate) fn chain(index: u32) -> ChainId {
        ChainId(1_866_392 + 7 * index)
    }

    /// The height that all chains have reached after `blocks` main blocks.
    pub(crate) fn chain_height(shape: Shape, blocks: u64) -> u64 {
        blocks / shape.turns() * u64::from(shape.per_section)
    }

    /// What a store must find for a height of the chain with this index.
    pub(crate) fn expected(&self, chain: u32, height: u64) -> Found {
        let per_section = u64::from(self.shape.per_section);
        let (round, offset) = ((height - 1) / per_section, (height - 1) % per_section);
        let turn = u64::from(chain / self.shape.sections);
        let main = round * self.shape.turns() + turn + 1;
        let leaf = u64::from(chain % self.shape.sections) * per_section + offset;
        let columns = &self.pool[((main - 1) % self.pool.len() as u64) as usize].columns;
        Found {
            main,
            leaf: leaf as u32,
            hash: columns.hashes[leaf as usize],
            tx_root: columns.tx_roots[leaf as usize],
            time: columns.times[leaf as usize].as_millis(),
        }
    }
}

/// A block of the pool: everything but its heights.
fn fresh(shape: Shape, slot: u64) -> MainBlock {
    let mut rng = Rng(slot);
    let mut columns = Columns::default();
    let (mut sections, mut nodes) = (Vec::new(), 0);
    let first_chain = (slot % shape.turns()) as u32 * shape.sections;
    for chain in first_chain..first_chain + shape.sections {
        sections.push(Section {
            chain: Feed::chain(chain),
            count: shape.per_section,
            first_height: Height(0),
            parent: rng.hash(),
            chain_root: rng.hash(),
            first_leaf: columns.len() as u32,
            first_node: nodes as u32,
        });
        nodes += tree::stored_nodes(shape.per_section as usize);
        for _ in 0..shape.per_section {
            let time = 1_763_000_000_000 + rng.next() % 1_000_000_000;
            columns.push(rng.hash(), rng.hash(), Timestamp::from_millis(time));
        }
    }
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: MAIN,
        height: Height(0),
        time: Timestamp::from_millis(1_763_000_000_000),
        parent: rng.hash(),
        side_root: rng.hash(),
        chain_count: shape.sections,
        leaf_count: columns.len() as u64,
        ops_root: Hash::ZERO,
        state_root: rng.hash(),
        history_root: rng.hash(),
        aelf_root: Hash::ZERO,
    };
    let mut noise = |nodes| (0..nodes).map(|_| rng.hash()).collect::<Vec<_>>();
    MainBlock {
        header,
        hash: header.hash(),
        operations: Vec::new(),
        chain_nodes: noise(nodes),
        side_nodes: noise(tree::stored_nodes(sections.len())),
        history_nodes: Vec::with_capacity(64),
        sections,
        columns,
    }
}

/// Hashes all side blocks, each chain's tree and the tree over the chains, as sealing does.
fn hash_trees(block: &mut MainBlock) {
    let columns = &block.columns;
    let trees: Vec<(Hash, Vec<Hash>)> = block
        .sections
        .par_iter()
        .map(|section| {
            let mut leaves: Vec<Hash> = section
                .leaves()
                .zip(section.first_height.0..)
                .map(|(leaf, height)| {
                    let (hash, tx_root) = (columns.hashes[leaf], columns.tx_roots[leaf]);
                    leaf::side(section.chain, Height(height), hash, tx_root)
                })
                .collect();
            let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
            (tree::root(&mut leaves, &mut stored), stored)
        })
        .collect();
    block.chain_nodes.clear();
    let mut leaves = Vec::with_capacity(block.sections.len());
    for (section, (root, stored)) in block.sections.iter_mut().zip(trees) {
        section.chain_root = root;
        block.chain_nodes.extend(stored);
        leaves.push(leaf::chain(section.chain, section.first_height, section.count, root));
    }
    block.header.side_root = tree::root(&mut leaves, &mut block.side_nodes);
}

/// splitmix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn hash(&mut self) -> Hash {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        Hash(bytes)
    }
}
