//! Blocks to store, and a medium that does not wait for a disk.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use engine::chain::{
    BlockView, ChainId, Columns, Hash, Height, MainBlock, MainHeader, NodeKey, Section, Timestamp,
};
use engine::quorum::FinalityRule;
use engine::state::{Operation, SideChain};
use engine::store::BlockReader;
use mainstem_storage::{self as storage, FileMedium, LogReader, Medium, MediumFile, Options, Prepare};

pub(crate) const MAIN: ChainId = ChainId(9_992_731);

/// The options of all tests: small segments, and calls in one order.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 1 << 20, prepare: Prepare::AtRoll, ..Options::new(Hash([7; 32]), MAIN) }
}

/// A directory in memory where the system has one: what only imitates a disk need not wait for it.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// splitmix64.
#[derive(Clone)]
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
        self.next() % end
    }
    fn hash(&mut self) -> Hash {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        Hash(bytes)
    }
}

/// Makes blocks that follow each other. Their roots are random: a log does not look at them.
#[derive(Clone)]
pub(crate) struct Maker {
    /// Whether some blocks carry operations.
    pub(crate) operates: bool,
    pub(crate) rng: Rng,
    pub(crate) height: u64,
    pub(crate) heads: BTreeMap<u32, u64>,
}

impl Maker {
    pub(crate) fn new(seed: u64) -> Self {
        Self { operates: false, rng: Rng(seed), height: 0, heads: BTreeMap::new() }
    }

    /// The next block, with so many side blocks of each chain; a chain's first height is 100 + its id.
    pub(crate) fn block(&mut self, chains: &BTreeMap<u32, u32>) -> MainBlock {
        self.height += 1;
        let rng = &mut self.rng;
        let mut columns = Columns::default();
        let mut sections = Vec::new();
        let mut nodes = 0;
        for (&chain, &count) in chains {
            let head = self.heads.entry(chain).or_insert(99 + u64::from(chain));
            sections.push(Section {
                chain: ChainId(chain),
                count,
                first_height: Height(*head + 1),
                parent: rng.hash(),
                chain_root: rng.hash(),
                first_leaf: columns.len() as u32,
                first_node: nodes,
            });
            *head += u64::from(count);
            nodes += count / 16;
            for _ in 0..count {
                columns.push(rng.hash(), rng.hash(), Timestamp::from_millis(rng.next()));
            }
        }
        // Drawn all the same, so that a seed gives the blocks it always gave.
        rng.hash();
        let mut ops_root = Hash::ZERO;
        let mut operations = Vec::new();
        if self.operates && rng.below(3) == 0 {
            operations = (0..=rng.below(2)).map(|_| operation(rng)).collect();
            ops_root = engine::state::ops_root(&operations);
        }
        let header = MainHeader {
            version: 1,
            chain_id: MAIN,
            height: Height(self.height),
            time: Timestamp::from_millis(rng.next()),
            parent: rng.hash(),
            side_root: rng.hash(),
            chain_count: sections.len() as u32,
            leaf_count: columns.len() as u64,
            ops_root,
            state_root: rng.hash(),
            history_root: rng.hash(),
            aelf_root: Hash::ZERO,
        };
        MainBlock {
            header,
            hash: header.hash(),
            operations,
            sections,
            columns,
            chain_nodes: (0..nodes).map(|_| rng.hash()).collect(),
            side_nodes: (0..chains.len() / 16).map(|_| rng.hash()).collect(),
            history_nodes: (0..self.height.trailing_zeros()).map(|_| rng.hash()).collect(),
        }
    }

    /// Goes on after this block.
    pub(crate) fn follow(&mut self, block: &MainBlock) {
        self.height = block.header.height.0;
        for section in &block.sections {
            self.heads.insert(section.chain.0, section.last_height().0);
        }
    }

    /// A block of one to four chains with about `leaves` side blocks.
    pub(crate) fn random_block(&mut self, leaves: u32) -> MainBlock {
        let mut chains = BTreeMap::new();
        for _ in 0..=self.rng.below(3) {
            chains.insert(self.rng.below(8) as u32, 1 + self.rng.below(u64::from(leaves)) as u32);
        }
        self.block(&chains)
    }
}

/// Every block up to the head is that of `blocks`, by height, and every look-up gives what they say.
pub(crate) fn assert_holds(reader: &LogReader, blocks: &[MainBlock]) {
    assert_eq!(reader.head(), Height(blocks.len() as u64));
    let mut heads = BTreeMap::new();
    for block in blocks {
        let height = block.header.height;
        let found = reader.block(height).expect("readable").expect("there");
        assert_same(&found, block);
        for section in &block.sections {
            for side in [section.first_height, section.last_height()] {
                assert_eq!(reader.locate(section.chain, side).expect("readable"), Some(height));
            }
            heads.insert(section.chain, section.last_height());
        }
    }
    for (chain, head) in heads {
        assert_eq!(reader.chain_head(chain).expect("readable"), Some(head));
        assert_eq!(reader.locate(chain, head.next()).expect("readable"), None);
        assert_eq!(reader.locate(chain, Height(99 + u64::from(chain.0))).expect("readable"), None);
    }
    assert_eq!(reader.chain_head(ChainId(999)).expect("readable"), None);
    assert_eq!(reader.locate(ChainId(999), Height(1)).expect("readable"), None);
    assert!(reader.block(Height(0)).expect("readable").is_none());
    assert!(reader.block(reader.head().next()).expect("readable").is_none());
}

/// Both views show the same.
pub(crate) fn assert_same(found: &storage::LogBlock, block: &MainBlock) {
    assert_eq!(found.hash(), block.hash);
    assert_eq!(found.columns().hashes, block.columns().hashes);
    assert_eq!(found.columns().tx_roots, block.columns().tx_roots);
    assert_eq!(found.columns().times, block.columns().times);
    let without = MainBlock { operations: Vec::new(), ..block.clone() };
    assert_eq!(copy(found), without);
}

/// Some operation: a log does not look at what it means.
pub(crate) fn operation(rng: &mut Rng) -> Operation {
    let chain = ChainId(rng.below(9) as u32);
    if rng.below(2) == 0 {
        return Operation::Remove(chain);
    }
    Operation::Register(SideChain {
        id: chain,
        name: "x".repeat(1 + rng.below(9) as usize),
        first_height: Height(1 + rng.below(9)),
        nodes: vec![NodeKey(rng.hash().0)],
        finality: FinalityRule::Single,
    })
}

/// The operations of these blocks.
pub(crate) fn operations<'a>(blocks: impl IntoIterator<Item = &'a MainBlock>) -> Vec<(Height, Operation)> {
    let of = |block: &'a MainBlock| block.operations.iter().map(|own| (block.header.height, own.clone()));
    blocks.into_iter().flat_map(of).collect()
}

/// A copy in memory.
pub(crate) fn copy(block: &storage::LogBlock) -> MainBlock {
    let columns = block.columns();
    MainBlock {
        header: block.header(),
        hash: block.hash(),
        operations: Vec::new(),
        sections: (0..block.section_count()).map(|index| block.section(index)).collect(),
        columns: Columns {
            hashes: columns.hashes.to_vec(),
            tx_roots: columns.tx_roots.to_vec(),
            times: columns.times.to_vec(),
        },
        chain_nodes: block.chain_nodes().to_vec(),
        side_nodes: block.side_nodes().to_vec(),
        history_nodes: block.history_nodes().to_vec(),
    }
}

/// The file system, without its syncs: nothing here survives a crash, and no test of these waits for a disk.
pub(crate) struct Sim;

impl Sim {
    /// A medium for a log in this directory.
    pub(crate) fn new(_dir: &Path) -> Self {
        Self
    }
}

impl Medium for Sim {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(SimFile(FileMedium.create(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(SimFile(FileMedium.open(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileMedium.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileMedium.remove(path)
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct SimFile(Box<dyn MediumFile>);

impl MediumFile for SimFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
