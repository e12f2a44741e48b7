//! For tests: a main chain in memory, and its blocks as they are followed.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engine::chain::{BlockView as _, ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::SessionId;
use engine::pipeline::{Engine, PipelineConfig};
use engine::proof::{self, ChainProof, Proof};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader as _;
use engine::store::memory::{MemoryReader, MemoryStore};
use net::client::FollowedBlock;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

/// Side chains of a [`World`].
pub(crate) const CHAINS: [ChainId; 3] = [ChainId(1), ChainId(2), ChainId(3)];

/// A main chain with [`CHAINS`], of which `OURS` are followed.
pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) reader: MemoryReader,
}

/// What is followed: chain 3 is somebody else's.
pub(crate) const OURS: [ChainId; 2] = [ChainId(1), ChainId(2)];

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

impl World {
    /// One main chain or another, with at least `turns` main blocks; the first twelve have two or three blocks of each
    /// chain.
    pub(crate) fn new(main: u32, turns: u64) -> Self {
        // On a busy machine a block is sealed before all chains have given theirs.
        let mut worlds = (0..200).map(|_| Self::build(main, turns));
        worlds.find(|world| world.is_even(turns.min(12))).expect("one of them is even")
    }

    /// Whether each of the first blocks has all chains.
    fn is_even(&self, blocks: u64) -> bool {
        (1..=blocks).all(|height| {
            let header = self.reader.block(Height(height)).unwrap().unwrap().header();
            header.chain_count == 3 && header.leaf_count == 3 * (2 + (height - 1) % 2)
        })
    }

    fn build(main: u32, turns: u64) -> Self {
        let side = |id: ChainId| SideChain {
            id,
            name: id.to_string(),
            first_height: Height(1),
            nodes: vec![KEY],
            finality: FinalityRule::Single,
        };
        let main = MainChain { id: ChainId(main), name: "main".into(), aelf_root: false };
        let genesis = Genesis::parse(&Genesis::document(&main, &CHAINS.map(side))).unwrap();
        let store = MemoryStore::default();
        let reader = store.reader();
        let config = PipelineConfig { seal_interval: Duration::from_millis(1), ..PipelineConfig::default() };
        let clock = Arc::new(SystemClock(Instant::now()));
        let engine = Engine::resume(config, &genesis, store, &reader, clock).unwrap();
        let running = engine.start(Vec::new());
        let mut sims: Vec<_> =
            CHAINS.iter().map(|id| SimChain::new(*id, Arc::new(SimConfig::default()))).collect();
        for turn in 0..turns {
            for (id, sim) in CHAINS.iter().zip(&mut sims) {
                let lane = running.cache().lane(*id).unwrap();
                lane.claim(KEY, SESSION).unwrap();
                let (first, parent) = (sim.height().next(), sim.hash());
                let mut blocks = Columns::default();
                for _ in 0..2 + turn % 2 {
                    let (hash, tx_root, time) = sim.step();
                    blocks.push(hash, tx_root, time);
                }
                lane.push(SESSION, first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
            }
            while sims
                .iter()
                .zip(CHAINS)
                .any(|(sim, id)| reader.chain_head(id).unwrap() != Some(sim.height()))
            {
                assert!(running.failed().is_none());
                thread::sleep(Duration::from_micros(200));
            }
        }
        running.stop().unwrap();
        Self { genesis, reader }
    }

    pub(crate) fn main(&self) -> (ChainId, Hash) {
        (self.genesis.main.id, self.genesis.hash)
    }

    /// The newest main height.
    pub(crate) fn head(&self) -> u64 {
        self.reader.head().0
    }

    /// The main blocks `from` to `to`, as they are followed.
    pub(crate) fn followed(&self, from: u64, to: u64) -> Vec<FollowedBlock> {
        (from..=to)
            .map(|height| {
                let block = self.reader.block(Height(height)).unwrap().unwrap();
                let of = |chain: &ChainId| ChainProof::of(&block, *chain).unwrap();
                FollowedBlock { header: block.header(), chains: OURS.iter().filter_map(of).collect() }
            })
            .collect()
    }

    /// The newest height of a chain that is indexed.
    pub(crate) fn newest(&self, chain: ChainId) -> u64 {
        self.reader.chain_head(chain).unwrap().unwrap().0
    }

    /// Which main block indexed a height.
    pub(crate) fn locate(&self, chain: ChainId, height: u64) -> u64 {
        self.reader.locate(chain, Height(height)).unwrap().unwrap().0
    }

    pub(crate) fn proof(&self, chain: ChainId, height: u64, head: Option<u64>) -> Proof {
        proof::build(&self.reader, chain, Height(height), head.map(Height)).unwrap()
    }
}
