//! A main chain of millions of blocks that is not stored: all its blocks have the same side blocks, and of its history only
//! the nodes from level [`KEPT`] up are kept; the ones below are hashed again when they are asked for.
//!
//! Its proofs are true ones: they verify.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::chain::{BlockView, ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Section};
use engine::merkle::history::History;
use engine::merkle::{leaf, node};
use engine::store::{BlockReader, Operations, StoreError};

/// The lowest level whose nodes are kept: 64 bytes for 1,024 blocks.
const KEPT: u32 = 10;

/// The chain, its length included. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endless {
    head: Height,
    /// In which block side blocks are found: every one has them all.
    found: Height,
    chain: Arc<Chain>,
}

struct Chain {
    block: MainBlock,
    /// The nodes from level [`KEPT`] up, a level each.
    kept: Vec<Vec<Hash>>,
    /// The history roots that headers of these heights have. All others have none, which no verifier looks at as long as
    /// nothing is proven under them.
    roots: BTreeMap<Height, Hash>,
}

impl Endless {
    /// A chain whose blocks are all like `block`, with true headers at `heads`, the last of which is its newest block.
    pub(crate) fn new(block: MainBlock, heads: &[Height]) -> Self {
        let mut chain = Chain { block, kept: vec![Vec::new(); 54], roots: BTreeMap::new() };
        let newest = heads.iter().copied().max().unwrap_or(Height(1));
        let (mut history, mut completed) = (History::default(), Vec::new());
        for height in (1..=newest.0).map(Height) {
            if heads.contains(&height) {
                chain.roots.insert(height, history.root());
            }
            completed.clear();
            history.append_to(leaf::history(height, chain.header(height).hash()), &mut completed);
            for (node, level) in completed.iter().zip(1..).filter(|(_, level)| *level >= KEPT) {
                chain.kept[(level - KEPT) as usize].push(*node);
            }
        }
        Self { head: newest, found: newest, chain: Arc::new(chain) }
    }

    /// The same chain, its side blocks found in the block `found`.
    pub(crate) fn found_in(&self, found: Height) -> Self {
        Self { found, ..self.clone() }
    }
}

impl Chain {
    fn header(&self, height: Height) -> MainHeader {
        let history_root = self.roots.get(&height).copied().unwrap_or(Hash::ZERO);
        MainHeader { height, history_root, ..self.block.header }
    }

    /// The nodes that the block at `height` completes, from level 1 up.
    fn completed(&self, height: Height) -> Vec<Hash> {
        let levels = height.0.trailing_zeros();
        // The row under the highest node that is not kept.
        let hashed = levels.min(KEPT - 1);
        let first = height.0 + 1 - (1 << hashed);
        let mut row: Vec<Hash> = (first..=height.0)
            .map(|height| leaf::history(Height(height), self.header(Height(height)).hash()))
            .collect();
        let mut nodes = Vec::with_capacity(levels as usize);
        for _ in 0..hashed {
            row = row.chunks_exact(2).map(|pair| node(pair[0], pair[1])).collect();
            nodes.extend(row.last());
        }
        let kept =
            (KEPT..=levels).map(|level| self.kept[(level - KEPT) as usize][(height.0 >> level) as usize - 1]);
        nodes.extend(kept);
        nodes
    }
}

/// A block of the chain.
pub(crate) struct View {
    height: Height,
    chain: Arc<Chain>,
    completed: Vec<Hash>,
}

impl BlockView for View {
    fn header(&self) -> MainHeader {
        self.chain.header(self.height)
    }
    fn section_count(&self) -> usize {
        self.chain.block.section_count()
    }
    fn section(&self, index: usize) -> Section {
        self.chain.block.section(index)
    }
    fn columns(&self) -> ColumnsRef<'_> {
        self.chain.block.columns()
    }
    fn chain_nodes(&self) -> &[Hash] {
        self.chain.block.chain_nodes()
    }
    fn side_nodes(&self) -> &[Hash] {
        self.chain.block.side_nodes()
    }
    fn history_nodes(&self) -> &[Hash] {
        &self.completed
    }
}

impl BlockReader for Endless {
    type Block<'a> = View;

    fn head(&self) -> Height {
        self.head
    }

    fn block(&self, height: Height) -> Result<Option<View>, StoreError> {
        if !(Height(1)..=self.head).contains(&height) {
            return Ok(None);
        }
        let (chain, completed) = (Arc::clone(&self.chain), self.chain.completed(height));
        Ok(Some(View { height, chain, completed }))
    }

    fn locate(&self, _: ChainId, _: Height) -> Result<Option<Height>, StoreError> {
        Ok(Some(self.found))
    }

    fn chain_head(&self, _: ChainId) -> Result<Option<Height>, StoreError> {
        Ok(Some(self.head))
    }

    fn operations(&self) -> Result<Operations, StoreError> {
        Ok(Operations::default())
    }
}
