//! Proofs from a log that an engine wrote: before and after pruning, and what building one allocates. A test binary
//! of its own, because it counts every allocation.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{BlockView, ChainId, Columns, Height, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::SessionId;
use engine::merkle::path::Step;
use engine::pipeline::{Engine, PipelineConfig};
use engine::proof::{self, ProofError};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader;
use mainstem_storage::{Log, LogReader, LogWriter, Options};

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
/// A chain that stops early: its newest block will be pruned.
const IDLE: u32 = 4;

struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn genesis() -> Genesis {
    let main = MainChain { id: ChainId(9), name: "main".into(), aelf_root: false };
    let side = |id| SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    Genesis::parse(&Genesis::document(&main, &(1..=IDLE).map(side).collect::<Vec<_>>())).unwrap()
}

fn open(dir: &Path) -> (LogWriter, LogReader) {
    let genesis = genesis();
    let options = Options { segment_bytes: 1 << 16, ..Options::new(genesis.hash, genesis.main.id) };
    let (writer, reader, _) = Log::open(dir, options).unwrap();
    (writer, reader)
}

/// Lets an engine seal one more main block for each of `rounds`, of so many side blocks a chain.
fn seal(dir: &Path, rounds: std::ops::Range<u64>) {
    let (writer, reader) = open(dir);
    let config = PipelineConfig { seal_interval: Duration::ZERO, lane_blocks: 4096, ..Default::default() };
    let clock = Arc::new(TestClock(Instant::now()));
    let running = Engine::resume(config, &genesis(), writer, &reader, clock).unwrap().start(Vec::new());
    let deadline = Instant::now() + Duration::from_secs(300);
    for round in rounds {
        let before = reader.head();
        for chain in 1..=if round < 3 { IDLE } else { IDLE - 1 } {
            let lane = running.cache().lane(ChainId(chain)).unwrap();
            lane.claim(KEY, SessionId(1)).unwrap();
            let config = SimConfig { transactions: 0, ..Default::default() };
            let mut sim = SimChain::new(ChainId(chain), Arc::new(config));
            let parent = sim.seek(lane.position().received);
            let mut blocks = Columns::default();
            for _ in 0..if round == 5 { 150 } else { 20 + round } {
                let (hash, tx_root, time) = sim.step();
                blocks.push(hash, tx_root, time);
            }
            let first = lane.position().received.next();
            lane.push(SessionId(1), first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
        }
        while reader.head() == before {
            assert_eq!(running.failed(), None);
            assert!(Instant::now() < deadline, "no main block is sealed");
            std::thread::yield_now();
        }
    }
    running.stop().unwrap();
}

/// Builds proofs from every block of the log, with and without later heads; returns the longest chain path.
fn assert_all_proven(reader: &LogReader) -> usize {
    let newest = reader.head();
    let mut longest = 0;
    for main in reader.base().first.0..=newest.0 {
        let block = reader.block(Height(main)).unwrap().unwrap();
        for index in 0..block.section_count() {
            let section = block.section(index);
            for head in [None, Some(Height(main)), Some(Height(newest.0.min(main + 5))), Some(newest)] {
                let height = Height(section.first_height.0 + u64::from(section.count) / 3);
                let before = COUNT.get();
                let proof = proof::build(reader, section.chain, height, head).unwrap();
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
    longest
}

#[test]
fn proofs_of_what_is_left_after_pruning_verify_and_the_engine_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    seal(dir.path(), 0..40);
    let (mut log, reader) = open(dir.path());
    // Whatever was read once is not checked again: what is left to allocate are the paths.
    for main in 1..=reader.head().0 {
        reader.block(Height(main)).unwrap();
    }
    for chain in 1..=IDLE {
        reader.locate(ChainId(chain), Height(1)).unwrap();
    }
    for segment in reader.segments() {
        let section = reader.block(segment.first).unwrap().unwrap().section(0);
        reader.locate(section.chain, section.first_height).unwrap();
    }
    assert!(assert_all_proven(&reader) > 6, "also paths through stored nodes");
    let middle = reader.segments()[3].first;
    let pruned = log.prune(middle).unwrap();
    assert!(pruned.segments == 3 && pruned.first == middle);
    assert_all_proven(&reader);
    for chain in [1, IDLE] {
        let error = proof::build(&reader, ChainId(chain), Height(5), None).unwrap_err();
        assert!(matches!(error, ProofError::Pruned { first, .. } if first == middle), "{error}");
    }
    drop(log);
    // An engine needs of the pruned blocks the history and the heads of chains that have been idle since.
    seal(dir.path(), 40..44);
    let (_, reader) = open(dir.path());
    assert_eq!(reader.base().first, middle);
    assert!(reader.head() >= Height(44));
    let newest = reader.head();
    for chain in 1..IDLE {
        let height = reader.chain_head(ChainId(chain)).unwrap().unwrap();
        proof::build(&reader, ChainId(chain), height, Some(newest)).unwrap().verify().unwrap();
    }
}
