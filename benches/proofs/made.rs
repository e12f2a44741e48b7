//! Main blocks with true trees, in a log.

use std::path::Path;

use anyhow::Result;
use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, MainHeader, Section, Timestamp};
use engine::merkle::history::History;
use engine::merkle::{leaf, tree};
use storage::{Log, LogReader, Options};

use crate::turns::hash;

/// The main chain.
pub(crate) const MAIN: ChainId = ChainId(9_992_731);

/// How many chains a main block has, and how many blocks of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) chains: u32,
    pub(crate) per_chain: u32,
}

impl Shape {
    pub(crate) fn leaves(self) -> u64 {
        u64::from(self.chains) * u64::from(self.per_chain)
    }
}

/// The chain with this index. Ids with gaps, so that there are chains of which nothing is indexed.
pub(crate) fn chain(index: u32) -> ChainId {
    ChainId(1_866_392 + 7 * index)
}

/// A block with the next `per_chain` heights of every chain. Its history is the caller's.
pub(crate) fn block(shape: Shape, height: Height) -> MainBlock {
    let Shape { chains, per_chain } = shape;
    let first = Height((height.0 - 1) * u64::from(per_chain) + 1);
    let mut columns = Columns::default();
    let mut chain_nodes = Vec::new();
    let (mut sections, mut chain_leaves) = (Vec::new(), Vec::new());
    let nodes_of_chain = tree::stored_nodes(per_chain as usize);
    for index in 0..chains {
        let (first_leaf, first_node) = (columns.len(), chain_nodes.len());
        for offset in 0..per_chain {
            let number = height.0 << 32 | (first_leaf as u64 + u64::from(offset));
            columns.push(hash(number), hash(!number), Timestamp::from_millis(number));
        }
        let mut row = vec![Hash::ZERO; per_chain as usize];
        let (hashes, tx_roots) = (&columns.hashes[first_leaf..], &columns.tx_roots[first_leaf..]);
        leaf::side_row(chain(index), first, hashes, tx_roots, &mut row);
        chain_nodes.resize(first_node + nodes_of_chain, Hash::ZERO);
        let chain_root = tree::root(&mut row, &mut chain_nodes[first_node..]);
        chain_leaves.push(leaf::chain(chain(index), first, per_chain, chain_root));
        sections.push(Section {
            chain: chain(index),
            count: per_chain,
            first_height: first,
            parent: Hash::ZERO,
            chain_root,
            first_leaf: first_leaf as u32,
            first_node: first_node as u32,
        });
    }
    let mut side_nodes = vec![Hash::ZERO; tree::stored_nodes(chains as usize)];
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: MAIN,
        height,
        time: Timestamp::from_millis(height.0),
        parent: Hash::ZERO,
        side_root: tree::root(&mut chain_leaves, &mut side_nodes),
        chain_count: chains,
        leaf_count: shape.leaves(),
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    };
    let hash = header.hash();
    MainBlock {
        header,
        hash,
        operations: Vec::new(),
        sections,
        columns,
        chain_nodes,
        side_nodes,
        history_nodes: Vec::new(),
    }
}

/// A log of `blocks` main blocks of one shape.
pub(crate) fn log(dir: &Path, shape: Shape, blocks: u64) -> Result<LogReader> {
    let (mut writer, reader, _) = Log::open(dir, Options::new(hash(1), MAIN))?;
    let (mut history, mut parent) = (History::default(), MainHeader::genesis_parent(MAIN, hash(1)));
    for height in (1..=blocks).map(Height) {
        let mut block = block(shape, height);
        block.header.parent = parent;
        block.header.history_root = history.root();
        block.hash = block.header.hash();
        block.history_nodes = history.append(leaf::history(height, block.hash));
        parent = block.hash;
        writer.append(&block)?;
        if height.0 % 64 == 0 {
            writer.sync()?;
        }
    }
    writer.sync()?;
    writer.close()?;
    Ok(reader)
}
