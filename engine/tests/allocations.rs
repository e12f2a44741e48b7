//! What building a proof allocates: its own paths and nothing else. A test binary of its own, because it counts
//! every allocation.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{BlockView, ChainId, Columns, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::SessionId;
use engine::merkle::path::Step;
use engine::pipeline::{Engine, PipelineConfig};
use engine::proof;
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader;
use engine::store::memory::MemoryStore;
use mainstem_engine as engine;

thread_local! {
    /// Allocations of this thread, and their bytes.
    static COUNT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is handed on as it came to the system's allocator, which keeps the contract. Counting does not
// allocate: the cell is initialised at compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (count, bytes) = COUNT.get();
        COUNT.set((count + 1, bytes + layout.size() as u64));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` is from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const KEY: NodeKey = NodeKey([1; 32]);

struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A store with some twenty main blocks of three chains, the first of them large.
fn store() -> MemoryStore {
    let main = MainChain { id: ChainId(9), name: "main".into(), aelf_root: false };
    let side = |id| SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    let genesis = Genesis::parse(&Genesis::document(&main, &(1..=3).map(side).collect::<Vec<_>>())).unwrap();
    let store = MemoryStore::default();
    let reader = store.reader();
    let config = PipelineConfig { seal_interval: Duration::ZERO, lane_blocks: 4096, ..Default::default() };
    let clock = Arc::new(TestClock(Instant::now()));
    let running = Engine::resume(config, &genesis, store, &reader, clock).unwrap().start(Vec::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    for round in 0..20_u64 {
        for chain in 1..=3 {
            let lane = running.cache().lane(ChainId(chain)).unwrap();
            lane.claim(KEY, SessionId(1)).unwrap();
            let mut sim =
                SimChain::new(ChainId(chain), Arc::new(SimConfig { transactions: 0, ..Default::default() }));
            let parent = sim.seek(lane.position().received);
            let mut blocks = Columns::default();
            for _ in 0..if round == 0 { 1000 } else { round } {
                let (hash, tx_root, time) = sim.step();
                blocks.push(hash, tx_root, time);
            }
            let first = lane.position().received.next();
            lane.push(SessionId(1), first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
        }
        while running.head().is_none_or(|head| head.header.height.0 <= round) {
            assert!(Instant::now() < deadline, "no main block is sealed");
            std::thread::yield_now();
        }
    }
    running.stop().unwrap();
    MemoryStore::reopen(&reader)
}

#[test]
fn building_a_proof_allocates_its_paths_once_each_and_nothing_else() {
    let mut store = store();
    let reader = store.reader();
    let newest = reader.head();
    let mut longest = 0;
    for prune in [None, Some(Height(6))] {
        if let Some(before) = prune {
            store.prune(before).unwrap();
        }
        for main in reader.base().first.0..=newest.0 {
            let block = reader.block(Height(main)).unwrap().unwrap();
            for index in 0..block.section_count() {
                let section = block.section(index);
                for head in [None, Some(Height(main)), Some(Height(newest.0.min(main + 5))), Some(newest)] {
                    let height = Height(section.first_height.0 + u64::from(section.count) / 3);
                    let before = COUNT.get();
                    let proof = proof::build(&reader, section.chain, height, head).unwrap();
                    let after = COUNT.get();
                    proof.verify().unwrap();
                    let history = proof.history_path.as_deref().unwrap_or_default();
                    let paths = [&proof.chain_path[..], &proof.side_path[..], history];
                    let steps = paths.iter().map(|path| path.len()).sum::<usize>();
                    longest = longest.max(proof.chain_path.len());
                    let expected = paths.iter().filter(|path| !path.is_empty()).count();
                    assert_eq!(after.0 - before.0, expected as u64, "allocations: {proof:?}");
                    assert_eq!(after.1 - before.1, (steps * size_of::<Step>()) as u64, "bytes: {proof:?}");
                }
            }
        }
    }
    assert!(longest > 6, "{longest}: also paths through stored nodes");
}
