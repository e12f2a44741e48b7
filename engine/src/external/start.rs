//! Starting where a store ends: the branch above the irreversible block is read back, and the lanes are filled with it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use rayon::ThreadPoolBuilder;

use crate::cache::Cache;
use crate::chain::{BlockView, ChainId, ColumnsRef, Height, MainHeader};
use crate::clock::Clock;
use crate::lane::Lane;
use crate::merkle::history::History;
use crate::merkle::leaf;
use crate::pipeline::{Assembler, Below, ConfigError, Figures, Head, Resumed, Sealer, resume};
use crate::state::{ChainState, Genesis};
use crate::store::{BlockReader, ReversibleStore, StoreFailure, StoredHistory};
use crate::sync::{Doorbell, Waiter};

use super::branch::{Branch, Committed, Move};
use super::{External, ExternalConfig, Inner, StartError};

impl External {
    /// Reads where `reader`'s store ends and goes on there. `store` and `reader` are two sides of one store, made
    /// reversible; `clock` is the only time the engine knows.
    ///
    /// The waiter is rung when a lane has received something, and when a block was committed, taken back or finalized:
    /// the time to ask a [`super::PendingProposals`] again.
    pub fn resume<R: BlockReader>(
        config: ExternalConfig,
        genesis: &Genesis,
        store: impl ReversibleStore + 'static,
        reader: &R,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Waiter), StartError> {
        config.validate(genesis.chains.len())?;
        if !store.reversible() {
            return Err(StartError::NotReversible);
        }
        let Resumed { head, state, history, .. } = resume(genesis, reader)?;
        if let Some((height, _)) = reader.operations()?.first() {
            return Err(wrong(
                *height,
                "it carries an operation, and the main chain's node decides on those",
            ));
        }
        let irreversible = store.irreversible();
        let (branch, chains) = read_branch(genesis, reader, irreversible, state.chains(), &history)?;
        if branch.head() != head {
            let height = reader.head();
            return Err(StartError::Contradiction { height, what: "the blocks before do not lead to it" });
        }
        let lane_blocks = config.pipeline.lane_blocks;
        for (before, now) in chains.iter().zip(state.chains()) {
            let needed = now.indexed.0 - before.indexed.0;
            if needed > lane_blocks as u64 {
                return Err(StartError::LaneTooSmall { chain: now.id, needed, lane_blocks });
            }
        }
        let (doorbell, waiter) = Doorbell::new();
        let cache = Cache::default();
        let (mut lanes, mut outlets, mut drains) = (Vec::new(), Vec::new(), Vec::new());
        for (side, chain) in genesis.chains.iter().zip(&chains) {
            let hash = (chain.indexed >= side.first_height).then_some(chain.hash);
            let (lane, ends) = Lane::new(side, chain.indexed, hash, lane_blocks, doorbell.clone());
            cache.insert(Arc::clone(&lane));
            lanes.push(lane);
            outlets.push(ends.outlet);
            drains.push(ends.drain);
        }
        let now = clock.monotonic();
        for height in irreversible.0 + 1..=reader.head().0 {
            each_section(reader, Height(height), |chain, columns| {
                if let Ok(position) = chains.binary_search_by_key(&chain, |known| known.id) {
                    lanes[position].refill(columns, now);
                }
            })?;
        }
        let threads = ThreadPoolBuilder::new()
            .num_threads(config.pipeline.hash_threads)
            .thread_name(|index| format!("hash-{index}"))
            .build();
        let figures = Figures::new(lane_blocks as u64 * genesis.chains.len() as u64, 1, 1);
        let inner = Inner {
            genesis_parent: MainHeader::genesis_parent(genesis.main.id, genesis.hash),
            genesis: genesis.clone(),
            config,
            store: Box::new(store),
            outlets,
            drains,
            sinks: Vec::new(),
            assembler: Assembler::new(genesis),
            branch,
            state,
            block: Sealer::blank(),
            shares: Vec::new(),
            counts: Vec::new(),
            sorted: Vec::new(),
            failed: None,
        };
        let external = Self {
            status: Mutex::new(inner.status()),
            inner: Mutex::new(inner),
            changes: AtomicU64::new(0),
            cache,
            doorbell,
            figures: Arc::new(figures),
            clock,
            pool: threads.expect("the machine can start the threads that hash"),
            store_failure: StoreFailure::default(),
        };
        Ok((external, waiter))
    }
}

/// The branch above `irreversible`, and where the chains stand at that block; `newest` is where they stand at the head,
/// and `history` the one with it.
fn read_branch<R: BlockReader>(
    genesis: &Genesis,
    reader: &R,
    irreversible: Height,
    newest: &[ChainState],
    history: &History,
) -> Result<(Branch, Vec<ChainState>), StartError> {
    let base = match irreversible {
        Height(0) => None,
        height => {
            let block = reader.block(height)?;
            let block = block.ok_or(wrong(height, "it is irreversible, and missing"))?;
            let header = block.header();
            block.intact()?;
            Some(Head { header, hash: header.hash() })
        }
    };
    let mut now = History::load(irreversible.0, &StoredHistory::new(reader))
        .map_err(|error| StartError::Resume(error.into()))?;
    let mut branch = Branch::new(genesis, base.as_ref(), now.clone());
    let mut chains = newest.to_vec();
    let heights = irreversible.0 + 1..=reader.head().0;
    for height in heights.clone().rev().map(Height) {
        let block = reader.block(height)?.ok_or(wrong(height, "it is missing"))?;
        for index in 0..block.section_count() {
            let section = block.section(index);
            let chain = chains.binary_search_by_key(&section.chain, |chain| chain.id);
            let chain =
                &mut chains[chain.map_err(|_| wrong(height, "it has a chain that is not registered"))?];
            if chain.indexed != section.last_height() || section.first_height.0 == 0 {
                return Err(wrong(height, "its side blocks do not end where those after it begin"));
            }
            (chain.indexed, chain.hash) = (section.first_height.previous(), section.parent);
        }
        block.intact()?;
    }
    for height in heights.map(Height) {
        let block = reader.block(height)?.ok_or(wrong(height, "it is missing"))?;
        let header = block.header();
        let head = Head { header, hash: header.hash() };
        let (mut sections, columns) = (Vec::with_capacity(block.section_count()), block.columns());
        for index in 0..block.section_count() {
            let section = block.section(index);
            let position = newest.binary_search_by_key(&section.chain, |chain| chain.id);
            let newest = section.leaves().last().and_then(|last| columns.hashes.get(last)).copied();
            let (Ok(position), Some(newest)) = (position, newest) else {
                return Err(wrong(height, "a section of it is not whole"));
            };
            let (count, first_height, parent) = (section.count, section.first_height, section.parent);
            sections.push(Move { position: position as u32, count, first_height, parent, newest });
        }
        block.intact()?;
        if branch.find(header.parent) != Some(branch.len()) {
            return Err(wrong(height, "its parent is another block"));
        }
        now.append(leaf::history(height, head.hash));
        let (below, history) = (Below::of(&head), now.clone());
        branch.push(Committed { head, below, history, sections: sections.into() });
    }
    if now != *history {
        return Err(wrong(reader.head(), "its history is not that of the blocks before"));
    }
    Ok((branch, chains))
}

/// Tells `each` of the sections of a block.
fn each_section<R: BlockReader>(
    reader: &R,
    height: Height,
    mut each: impl FnMut(ChainId, ColumnsRef<'_>),
) -> Result<(), StartError> {
    let block = reader.block(height)?.ok_or(wrong(height, "it is missing"))?;
    let columns = block.columns();
    for index in 0..block.section_count() {
        let section = block.section(index);
        let leaves = section.leaves();
        if leaves.end > columns.len() {
            return Err(wrong(height, "a section of it is not whole"));
        }
        each(section.chain, columns.slice(leaves.start, leaves.end));
    }
    Ok(block.intact()?)
}

fn wrong(height: Height, what: &'static str) -> StartError {
    StartError::Contradiction { height, what }
}

impl ExternalConfig {
    /// Checks the settings for a main chain with `chains` side chains.
    pub fn validate(&self, chains: usize) -> Result<(), ConfigError> {
        self.pipeline.validate(chains)?;
        if !(1..=1 << 20).contains(&self.max_reversible) {
            let (value, expected) =
                (self.max_reversible.to_string(), "is out of range: expected 1 to 1048576".into());
            return Err(ConfigError { key: "max_reversible", value, expected });
        }
        Ok(())
    }
}
