//! What building a proof allocates: its own paths and nothing else. What sealing a main block allocates: nothing, once
//! its lists have grown. A test binary of its own, because it counts every allocation.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::chain::{BlockView, ChainId, Columns, Hash, Height, MainBlock, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Drain, Lane, Outlet, SessionId};
use engine::merkle::history::History;
use engine::merkle::path::Step;
use engine::pipeline::{Engine, PipelineConfig, Sealer};
use engine::proof;
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain, State};
use engine::store::BlockReader;
use engine::store::memory::MemoryStore;
use engine::sync::Doorbell;
use mainstem_engine as engine;

thread_local! {
    /// Allocations of this thread, and their bytes.
    static COUNT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// Whether this thread is one of a pool that seals.
    static SEALS: Cell<bool> = const { Cell::new(false) };
}

/// Allocations of all threads that seal.
static SEALING: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is handed on as it came to the system's allocator, which keeps the contract. Counting does not
// allocate: the cell is initialised at compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (count, bytes) = COUNT.get();
        COUNT.set((count + 1, bytes + layout.size() as u64));
        if SEALS.get() {
            SEALING.fetch_add(1, Ordering::Relaxed);
        }
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

/// Lanes that are filled and sealed from by hand.
struct Bed {
    sealer: Sealer,
    lanes: Vec<(Arc<Lane>, Drain)>,
    outlets: Vec<Outlet>,
}

impl Bed {
    fn new(chains: u32, lane_blocks: usize) -> Self {
        let main = MainChain { id: ChainId(u32::MAX), name: "main".into(), aelf_root: true };
        let side = |id: u32| SideChain {
            id: ChainId(id),
            name: id.to_string(),
            first_height: Height(1),
            nodes: vec![KEY],
            finality: FinalityRule::Single,
        };
        let document = Genesis::document(&main, &(1..=chains).map(side).collect::<Vec<_>>());
        let genesis = Genesis::parse(&document).unwrap();
        let (mut lanes, mut outlets) = (Vec::new(), Vec::new());
        for side in &genesis.chains {
            let (lane, ends) = Lane::new(side, Height(0), None, lane_blocks, Doorbell::new().0);
            lane.claim(KEY, SessionId(1)).unwrap();
            lanes.push((lane, ends.drain));
            outlets.push(ends.outlet);
        }
        let sealer = Sealer::new(&genesis, None, State::new(&genesis), History::default());
        Self { sealer, lanes, outlets }
    }

    /// Fills the lanes, seals what is there into `block`, and says how much the sealing threads allocated in doing so.
    fn turn(&mut self, counts: &[u64], block: &mut MainBlock) -> u64 {
        for (((lane, _), outlet), &count) in self.lanes.iter().zip(&self.outlets).zip(counts) {
            let (first, mut blocks) = (outlet.next_height(), Columns::default());
            for height in (first.0..).take(count as usize) {
                blocks.push(hash(height), hash(!height), Timestamp::from_millis(height));
            }
            lane.push(SessionId(1), first, outlet.parent(), blocks.as_ref(), Duration::ZERO).unwrap();
        }
        let before = SEALING.load(Ordering::Relaxed);
        self.sealer.seal(&mut self.outlets, counts, Timestamp::from_millis(1), block);
        let after = SEALING.load(Ordering::Relaxed);
        for section in &block.sections {
            let drain = &mut self.lanes[section.chain.0 as usize - 1].1;
            drain.release(section.last_height(), Duration::ZERO, |_, _| ());
        }
        after - before
    }
}

fn hash(height: u64) -> Hash {
    let mut hash = Hash::ZERO;
    hash.0[..8].copy_from_slice(&height.to_le_bytes());
    hash
}

#[test]
fn sealing_a_main_block_allocates_nothing_once_its_lists_have_grown() {
    let few: Vec<u64> = vec![40, 0, 1, 300];
    let giant = vec![1, 9000, 0, 3];
    let many: Vec<u64> = (0..3000).map(|chain| 1 + chain % 3).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .start_handler(|_| SEALS.set(true))
            .build()
            .unwrap();
        for counts in [&few, &giant, &many] {
            let mut bed = Bed::new(counts.len() as u32, 1 << 14);
            let smaller: Vec<_> = counts.iter().map(|count| count / 2).collect();
            let mut block = Sealer::blank();
            let mut turn = |counts: &Vec<u64>| pool.install(|| bed.turn(counts, &mut block));
            assert!(turn(counts) >= 8, "the lists of the first block are seen");
            // A thread that helps for the first time gets a place in rayon's queues, whenever that is.
            let mut without = 0;
            for counts in [counts, &smaller].into_iter().cycle().take(100) {
                without = if turn(counts) == 0 { without + 1 } else { 0 };
                if without == 8 {
                    break;
                }
            }
            assert_eq!(without, 8, "{} chains on {threads} threads", counts.len());
            assert_eq!(block.header.leaf_count, smaller.iter().sum::<u64>());
        }
    }
}
