//! An engine on a store in memory, and simulated chains that fill its lanes.

use std::sync::Arc;
use std::time::Duration;

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Claim, SessionId};
use engine::pipeline::{Engine, PipelineConfig};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::memory::MemoryStore;
use mainstem_engine as engine;

const KEY: NodeKey = NodeKey([1; 32]);

/// A clock that stands: nothing here depends on time.
struct Still;

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1)
    }
}

pub(crate) fn side(id: u32) -> SideChain {
    SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    }
}

/// A main chain with the side chains 1, 2 and so on.
pub(crate) fn genesis(chains: u32) -> Genesis {
    let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
    Genesis::parse(&Genesis::document(&main, &(1..=chains).map(side).collect::<Vec<_>>())).unwrap()
}

/// Continues on `store`, puts the next `counts[i]` blocks of chain i + 1 into its lane, and then seals and stores all
/// that the rules let it.
pub(crate) fn index(genesis: &Genesis, store: MemoryStore, config: PipelineConfig, counts: &[u64]) {
    let config = PipelineConfig { seal_interval: Duration::ZERO, ..config };
    let reader = store.reader();
    let engine = Engine::resume(config, genesis, store, &reader, Arc::new(Still)).unwrap();
    for (chain, count) in (1..).zip(counts) {
        push(&engine.cache(), ChainId(chain), *count);
    }
    engine.start(Vec::new()).stop().unwrap();
}

/// Sends the next `count` blocks of a simulated chain at once.
pub(crate) fn push(cache: &Cache, chain: ChainId, count: u64) {
    let lane = cache.lane(chain).unwrap();
    let Ok(Claim::Speaker(position)) = lane.claim(KEY, SessionId(1)) else { panic!("nobody else speaks") };
    let mut sim = SimChain::new(chain, Arc::new(SimConfig { transactions: 1, ..Default::default() }));
    let parent = sim.seek(position.received);
    let mut blocks = Columns::default();
    for _ in 0..count {
        let (hash, tx_root, time) = sim.step();
        blocks.push(hash, tx_root, time);
    }
    lane.push(SessionId(1), position.received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap();
}
