//! A main chain that is driven from outside: what it answers, and that forks lose and repeat nothing.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod forks;
mod judge;
mod lanes;
mod store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::external::{External, ExternalConfig, Limits, Proposal, Verdict};
use engine::lane::{Claim, SessionId};
use engine::pipeline::{Head, HeadSink, PipelineConfig, SealRules};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::sync::Waiter;
use mainstem_engine as engine;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);
const ALL: Limits = Limits { max_leaves: 4096, max_per_chain: 4096, rules: SealRules::Mainstem };

/// Goes when the test says so.
#[derive(Default)]
struct ManualClock(AtomicU64);

impl ManualClock {
    fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Chain c begins at height 1, 2 or 3.
fn genesis(chains: u32) -> Genesis {
    let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
    let side = |id| SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: first_height(id),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    Genesis::parse(&Genesis::document(&main, &(1..=chains).map(side).collect::<Vec<_>>())).unwrap()
}

fn first_height(chain: u32) -> Height {
    Height(u64::from(chain % 3) + 1)
}

fn config(lane_blocks: usize) -> ExternalConfig {
    let pipeline = PipelineConfig { lane_blocks, max_leaves: 4096, ..Default::default() };
    ExternalConfig { pipeline, max_reversible: 200 }
}

#[derive(Clone, Default)]
struct Heads(Arc<Mutex<Vec<Head>>>);

impl HeadSink for Heads {
    fn publish(&mut self, head: &Head) {
        self.0.lock().unwrap().push(*head);
    }
}

/// A node of the main chain, and its store.
struct Node {
    external: External,
    waiter: Waiter,
    reader: MemoryReader,
    heads: Heads,
    clock: Arc<ManualClock>,
    config: ExternalConfig,
    genesis: Genesis,
}

impl Node {
    fn new(genesis: &Genesis, config: ExternalConfig) -> Self {
        let store = MemoryStore::default();
        Self::open(genesis, config, store, Arc::default(), Heads::default())
    }

    fn open(
        genesis: &Genesis,
        config: ExternalConfig,
        store: MemoryStore,
        clock: Arc<ManualClock>,
        heads: Heads,
    ) -> Self {
        let reader = store.reader();
        let (external, waiter) = External::resume(config, genesis, store, &reader, clock.clone()).unwrap();
        external.announce_to(Box::new(heads.clone())).unwrap();
        Self { external, waiter, reader, heads, clock, config, genesis: genesis.clone() }
    }

    /// Ends it, and starts it again on what is stored.
    fn restart(self) -> Self {
        let Self { external, reader, heads, clock, config, genesis, .. } = self;
        drop(external);
        Self::open(&genesis, config, MemoryStore::reopen(&reader), clock, heads)
    }

    /// Sends a chain's blocks up to `height`; all of them fit.
    fn send(&self, chain: u32, height: u64) {
        let mut sim = sim(chain);
        let sent = send_some(&self.external.cache(), chain, &mut sim, u64::MAX, height);
        assert_eq!(sent, Height(height), "chain {chain}");
    }

    /// The candidate on top of the head.
    fn candidate(&self) -> MainBlock {
        self.external.candidate(self.head_hash(), ALL).unwrap()
    }

    /// Zero before block 1.
    fn head_hash(&self) -> Hash {
        self.external.status().head.map_or(Hash::ZERO, |head| head.hash)
    }

    fn head(&self) -> u64 {
        self.external.status().head.map_or(0, |head| head.header.height.0)
    }

    fn judge(&self, block: &MainBlock) -> Verdict {
        self.external.validate(&Proposal::of(block)).unwrap()
    }

    fn commit(&self, block: &MainBlock) -> Head {
        let head = self.external.commit(&Proposal::of(block)).unwrap();
        assert_eq!((head.header, head.hash), (block.header, block.hash));
        head
    }
}

fn sim(chain: u32) -> SimChain {
    SimChain::new(ChainId(chain), Arc::new(SimConfig { transactions: 0, ..Default::default() }))
}

/// Sends at most `most` blocks of a chain after those that were received, as far as there is room and up to `until`, and
/// says what the newest one received is.
fn send_some(cache: &Cache, chain: u32, sim: &mut SimChain, most: u64, until: u64) -> Height {
    let lane = cache.lane(ChainId(chain)).unwrap();
    let Ok(Claim::Speaker(position)) = lane.claim(KEY, SESSION) else {
        panic!("{chain} has another speaker")
    };
    let parent = sim.seek(position.received);
    assert!(position.hash.is_none_or(|hash| hash == parent), "chain {chain} goes on after another block");
    let last = position.limit.0.min(until).min(position.received.0.saturating_add(most));
    let mut blocks = Columns::default();
    for _ in position.received.0..last {
        let (hash, tx_root, time) = sim.step();
        blocks.push(hash, tx_root, time);
    }
    lane.push(SESSION, position.received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap()
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
