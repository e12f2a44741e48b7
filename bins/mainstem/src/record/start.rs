//! Where a recording begins: all that the next main block depends on, but the side blocks themselves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use engine::chain::{BlockView, ChainId, Hash, Height, MainHeader};
use engine::merkle::history::History;
use engine::pipeline::{Head, PipelineConfig};
use engine::state::{Genesis, Operation, State};
use engine::store::{BlockReader, StoredHistory};
use serde::{Deserialize, Serialize};

use crate::data_dir::read_genesis;

/// Heights are below this: far above what a chain ever reaches, and far from where numbers end.
const MOST_HEIGHT: u64 = 1 << 62;

/// Memory of all lanes together, as `cache.bytes` takes it at most.
const MOST_CACHE: u64 = 1 << 40;

/// The state after a main block, or before block 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// What recorded it.
    pub software: String,
    /// The genesis document.
    pub genesis: String,
    /// The newest header; `None` before block 1.
    pub head: Option<MainHeader>,
    /// Of the history of all headers up to it.
    pub peaks: Vec<Hash>,
    /// The newest indexed block of each chain that has one.
    pub heads: Vec<(ChainId, Height, Hash)>,
    /// All operations up to it, by their bytes in hex.
    pub operations: Vec<String>,
    /// Blocks that a lane holds.
    pub lane_blocks: usize,
}

impl Start {
    /// Where the log stands now.
    pub(super) fn read<R: BlockReader>(reader: &R, genesis: &Path, lane_blocks: usize) -> Result<Self> {
        let (parsed, text) = read_genesis(genesis)?;
        // Main blocks come meanwhile: each chain is asked for its newest block, and what is in those that came since the
        // first question is newer.
        let before = reader.head();
        let operations = reader.operations()?;
        let mut known: Vec<ChainId> = parsed.chains.iter().map(|chain| chain.id).collect();
        known.extend(operations.iter().map(|(_, operation)| operation.chain()));
        known.sort_unstable();
        known.dedup();
        let mut heads = BTreeMap::new();
        for chain in known {
            if let Some(height) = reader.chain_head(chain)? {
                heads.insert(chain, height);
            }
        }
        let head = reader.head();
        for height in before.0 + 1..=head.0 {
            let block = reader.block(Height(height))?.context("a main block went away")?;
            for section in (0..block.section_count()).map(|index| block.section(index)) {
                let newest = heads.entry(section.chain).or_insert(section.last_height());
                *newest = (*newest).max(section.last_height());
            }
        }
        let header = match reader.block(head)? {
            Some(block) => {
                let header = block.header();
                block.intact()?;
                Some(header)
            }
            None if head == Height(0) => None,
            None => bail!("main block {head} went away"),
        };
        let history = History::load(head.0, &StoredHistory::new(reader))?;
        let with_hash =
            |(chain, height): (ChainId, Height)| Ok((chain, height, hash_of(reader, chain, height)?));
        let operations = reader.operations()?;
        let encode = |(_, operation): &(Height, Operation)| const_hex::encode(operation.encode());
        Ok(Self {
            software: format!("mainstem {}", env!("CARGO_PKG_VERSION")),
            genesis: text,
            head: header,
            peaks: history.peaks().to_vec(),
            heads: heads.into_iter().map(with_hash).collect::<Result<_>>()?,
            operations: operations.iter().filter(|(height, _)| *height <= head).map(encode).collect(),
            lane_blocks,
        })
    }

    /// What an engine with so many hashing threads is started with: the roots are those that the newest header says.
    ///
    /// # Errors
    /// A number that no node has, or a state that contradicts its header.
    pub(super) fn restore(&self, threads: usize) -> Result<Restored> {
        let genesis = Genesis::parse(&self.genesis).context("the genesis document of the recording")?;
        let mut operations = Vec::new();
        for hex in &self.operations {
            let bytes = const_hex::decode(hex).context("an operation of the recording")?;
            // Of which main block each is, nothing depends on.
            operations.push((Height(0), Operation::decode(&bytes)?));
        }
        // All at once: one by one, each chain would cost as much as there are.
        let mut state = State::restore(&genesis, &operations)
            .map_err(|(_, error)| anyhow!("an operation of the recording: {error}"))?;
        let operations = operations.into_iter().map(|(_, operation)| operation).collect();
        // As of a node that starts: lanes are made by this, and heights counted on from these.
        let settings = PipelineConfig {
            lane_blocks: self.lane_blocks,
            hash_threads: threads,
            cache_bytes: MOST_CACHE,
            ..PipelineConfig::default()
        };
        settings.validate(state.chains().len()).context("the recording cannot be replayed")?;
        if !self.heads.is_sorted_by(|(a, ..), (b, ..)| a < b) {
            bail!("the chains that the recording begins with are not in order");
        }
        let heights = self.heads.iter().map(|(_, height, _)| *height);
        if let Some(height) =
            heights.chain(self.head.map(|head| head.height)).find(|height| height.0 > MOST_HEIGHT)
        {
            bail!("the recording begins at height {height}; expected at most {MOST_HEIGHT}");
        }
        let mut heads = Vec::new();
        for (chain, height, hash) in &self.heads {
            let place = state.chains().binary_search_by_key(chain, |known| known.id);
            let position = place
                .map_err(|_| anyhow!("the recording begins with chain {chain}, which nobody registered"))?;
            let first = state.chains()[position].indexed.next();
            if *height < first {
                bail!(
                    "the recording begins with height {height} of chain {chain}; expected {first} at least"
                );
            }
            heads.push((position, *height, *hash));
        }
        // By ascending position, as the chains are.
        state.index_restored(heads);
        let size = self.head.map_or(0, |head| head.height.0);
        let history = History::from_peaks(size, self.peaks.clone()).ok_or_else(|| {
            anyhow!("the history of {size} main blocks does not have {} peaks", self.peaks.len())
        })?;
        if let Some(head) = &self.head
            && state.root() != head.state_root
        {
            bail!(
                "the state that the recording begins with has root {}, and its header says {}",
                state.root(),
                head.state_root
            );
        }
        let head = self.head.map(|header| Head { header, hash: header.hash() });
        Ok(Restored { genesis, operations, state, history, head })
    }
}

/// What a recording begins with.
pub(super) struct Restored {
    pub genesis: Genesis,
    pub operations: Vec<Operation>,
    pub state: State,
    pub history: History,
    pub head: Option<Head>,
}

fn hash_of<R: BlockReader>(reader: &R, chain: ChainId, height: Height) -> Result<Hash> {
    let missing = || anyhow!("chain {chain}: height {height} is indexed and cannot be read");
    let Some(main) = reader.locate(chain, height)? else {
        let base = reader.base();
        let head = base.head(chain).filter(|head| head.height == height);
        return head.map(|head| head.hash).ok_or_else(missing);
    };
    let block = reader.block(main)?.ok_or_else(missing)?;
    let hash = block.find(chain).and_then(|(_, section)| {
        let offset = usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?;
        block.columns().hashes.get(section.leaves())?.get(offset).copied()
    });
    block.intact()?;
    hash.ok_or_else(missing)
}
