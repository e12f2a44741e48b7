//! An engine on a store in memory, and simulated chains that fill its lanes.

use std::sync::Arc;
use std::time::Duration;

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Claim, Position, SessionId};
use engine::pipeline::{Engine, PipelineConfig};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader;
use engine::store::memory::{MemoryReader, MemoryStore};
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

/// One main block, in which chain i + 1 has blocks with the transaction roots `tx_roots[i]`.
pub(crate) fn one_main_block(tx_roots: &[Vec<Hash>]) -> MemoryReader {
    let (genesis, store) = (genesis(tx_roots.len() as u32), MemoryStore::default());
    let reader = store.reader();
    let engine =
        Engine::resume(PipelineConfig::default(), &genesis, store, &reader, Arc::new(Still)).unwrap();
    for (chain, roots) in (1..).map(ChainId).zip(tx_roots) {
        let mut blocks = Columns::default();
        for (root, height) in roots.iter().zip(1_u8..) {
            blocks.push(Hash([height; 32]), *root, Timestamp::default());
        }
        let position = claim(&engine.cache(), chain);
        send(&engine.cache(), chain, position, Hash::ZERO, &blocks);
    }
    engine.start(Vec::new()).stop().unwrap();
    assert_eq!(reader.head(), Height(1));
    reader
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
fn push(cache: &Cache, chain: ChainId, count: u64) {
    let position = claim(cache, chain);
    let mut sim = SimChain::new(chain, Arc::new(SimConfig { transactions: 1, ..Default::default() }));
    let parent = sim.seek(position.received);
    let mut blocks = Columns::default();
    for _ in 0..count {
        let (hash, tx_root, time) = sim.step();
        blocks.push(hash, tx_root, time);
    }
    send(cache, chain, position, parent, &blocks);
}

fn claim(cache: &Cache, chain: ChainId) -> Position {
    match cache.lane(chain).unwrap().claim(KEY, SessionId(1)) {
        Ok(Claim::Speaker(position)) => position,
        other => panic!("nobody else speaks for {chain}: {other:?}"),
    }
}

fn send(cache: &Cache, chain: ChainId, position: Position, parent: Hash, blocks: &Columns) {
    let (lane, first) = (cache.lane(chain).unwrap(), position.received.next());
    lane.push(SessionId(1), first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
}
