//! How the stages overlap, and what they say of themselves: with a store whose syncs end when the test says so, and a
//! clock that goes when the test says so.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use engine::chain::{BlockView, ChainId, Columns, Height, MainBlock, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Lane, SessionId};
use engine::pipeline::{Engine, PipelineConfig, Running, StageNow};
use engine::quorum::FinalityRule;
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::store::{BlockReader, BlockStore, StoreError};
use mainstem_engine as engine;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

#[derive(Default)]
struct ManualClock {
    now: Mutex<Duration>,
    /// By how much it goes on each time that somebody looks.
    step: Mutex<Duration>,
}

impl ManualClock {
    fn advance(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }
    fn monotonic(&self) -> Duration {
        let mut now = self.now.lock().unwrap();
        *now += *self.step.lock().unwrap();
        *now
    }
}

/// Where syncs wait.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// How many syncs have begun, and how many may end.
    begun: u64,
    may_end: u64,
    fail: bool,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }
    fn let_one_end(&self) {
        self.set(|state| state.may_end += 1);
    }
    fn begun(&self) -> u64 {
        self.0.0.lock().unwrap().begun
    }
}

struct Gated {
    inner: MemoryStore,
    gate: Gate,
}

impl BlockStore for Gated {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.inner.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        let (state, changed) = &*self.gate.0;
        let mut state = state.lock().unwrap();
        state.begun += 1;
        while state.may_end < state.begun {
            state = changed.wait(state).unwrap();
        }
        if state.fail { Err(StoreError::new("the disk is gone")) } else { self.inner.sync() }
    }
}

/// A running engine with one chain.
struct World {
    running: Running,
    reader: MemoryReader,
    gate: Gate,
    clock: Arc<ManualClock>,
    lane: Arc<Lane>,
    sim: SimChain,
}

impl World {
    /// Every block is sealed at once, as far as the store lets it.
    fn start(config: PipelineConfig) -> Self {
        Self::sealing_every(Duration::ZERO, config)
    }

    fn sealing_every(seal_interval: Duration, config: PipelineConfig) -> Self {
        let chain = ChainId(1);
        let main = MainChain { id: ChainId(100), name: "main".into(), aelf_root: false };
        let side = SideChain {
            id: chain,
            name: "side".into(),
            first_height: Height(1),
            nodes: vec![KEY],
            finality: FinalityRule::Single,
        };
        let genesis = Genesis::parse(&Genesis::document(&main, &[side])).unwrap();
        let (clock, gate, inner) =
            (Arc::new(ManualClock::default()), Gate::default(), MemoryStore::default());
        let reader = inner.reader();
        let store = Gated { inner, gate: gate.clone() };
        let config = PipelineConfig { seal_interval, ..config };
        let engine = Engine::resume(config, &genesis, store, &reader, clock.clone()).unwrap();
        let lane = engine.cache().lane(chain).unwrap();
        lane.claim(KEY, SESSION).unwrap();
        let running = engine.start(Vec::new());
        Self { running, reader, gate, clock, lane, sim: SimChain::new(chain, Arc::new(SimConfig::default())) }
    }

    fn send(&mut self, count: u64) {
        let (first, parent) = (self.sim.height().next(), self.sim.hash());
        let mut blocks = Columns::default();
        for _ in 0..count {
            let (hash, tx_root, time) = self.sim.step();
            blocks.push(hash, tx_root, time);
        }
        self.lane.push(SESSION, first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
    }

    /// Sends a block, and waits until its sync has begun.
    fn send_one_and_wait_for_its_sync(&mut self) {
        let begun = self.gate.begun();
        self.send(1);
        wait_until("the sync begins", || self.gate.begun() > begun);
    }

    fn sealed(&self) -> u64 {
        self.running.stats().seal.len()
    }

    fn stage(&self, name: &str) -> StageNow {
        self.running.stages().into_iter().find(|stage| stage.name == name).unwrap()
    }

    fn queue(&self, stage: &str) -> (u64, u64, &'static str) {
        let StageNow { queue, capacity, unit, .. } = self.stage(stage);
        (queue, capacity, unit)
    }

    /// Lets all syncs end, stops, and gives the number of side blocks in each main block.
    fn finish(self) -> Vec<u64> {
        self.gate.set(|state| state.may_end = u64::MAX);
        self.running.stop().unwrap();
        let leaves = |height| self.reader.block(Height(height)).unwrap().unwrap().header().leaf_count;
        (1..=self.reader.head().0).map(leaves).collect()
    }
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not happen in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Long enough that what must not happen would have.
fn give_it_time() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn what_little_comes_during_a_sync_is_sealed_together_after_it() {
    let mut world = World::start(PipelineConfig::default());
    world.send_one_and_wait_for_its_sync();
    for _ in 0..5 {
        world.send(1);
    }
    wait_until("all of them are seen", || world.queue("seal") == (5, 1024, "side blocks"));
    give_it_time();
    assert_eq!(world.sealed(), 1, "sealed now they would wait for one sync more than what comes after them");
    assert_eq!(world.queue("append"), (0, 2, "main blocks"));
    assert_eq!(world.queue("sync"), (1, 2, "main blocks"));
    world.gate.let_one_end();
    wait_until("the rest is sealed", || world.gate.begun() == 2);
    assert_eq!((world.sealed(), world.queue("seal").0), (2, 0));
    assert_eq!(world.finish(), [1, 5]);
}

#[test]
fn when_much_waits_it_is_sealed_while_the_store_syncs() {
    let mut world = World::start(PipelineConfig { seal_leaves: 4, ..PipelineConfig::default() });
    world.send_one_and_wait_for_its_sync();
    for sealed in 2..=3 {
        world.send(4);
        wait_until("the next one is sealed", || world.sealed() == sealed);
        wait_until("it waits to be stored", || world.queue("append").0 == sealed - 1);
    }
    // The hand-over is full: one more is sealed and held, and then all waits.
    world.send(4);
    wait_until("one more is sealed", || world.sealed() == 4);
    world.send(100);
    give_it_time();
    assert_eq!((world.sealed(), world.gate.begun()), (4, 1));
    assert_eq!(world.finish(), [1, 4, 4, 4, 100]);
}

#[test]
fn a_look_that_seemed_to_take_an_hour_is_followed_by_the_next_one_soon() {
    let mut world = World::start(PipelineConfig { seal_leaves: 4, ..PipelineConfig::default() });
    world.send_one_and_wait_for_its_sync();
    *world.clock.step.lock().unwrap() = Duration::from_secs(3600);
    world.send(1);
    wait_until("it is seen", || world.queue("seal").0 == 1);
    give_it_time();
    world.send(3);
    wait_until("enough are seen to be sealed during the sync", || world.sealed() == 2);
    assert_eq!(world.finish(), [1, 4]);
}

#[test]
fn a_chain_with_more_than_a_block_takes_is_sealed_while_the_store_syncs_though_nobody_catches_up() {
    let config = PipelineConfig { catch_up: false, max_per_chain: 4, ..PipelineConfig::default() };
    let mut world = World::start(config);
    world.send_one_and_wait_for_its_sync();
    world.send(14);
    wait_until("all but what one block takes is sealed", || world.sealed() == 4);
    wait_until("the rest is seen", || world.queue("seal").0 == 2);
    assert_eq!(world.gate.begun(), 1, "three blocks wait for one sync to end");
    assert_eq!(world.finish(), [1, 4, 4, 4, 2]);
}

#[test]
fn a_request_to_stop_is_seen_though_the_interval_is_an_hour() {
    let interval = Duration::from_secs(3600);
    let mut world = World::sealing_every(interval, PipelineConfig::default());
    world.send(5);
    wait_until("it is seen", || world.queue("seal").0 == 5);
    assert_eq!(world.sealed(), 0);
    assert_eq!(world.finish(), [5]);
}

#[test]
fn blocks_that_wait_for_the_interval_are_sealed_when_it_has_passed_and_nobody_rings() {
    let interval = Duration::from_secs(3600);
    let mut world = World::sealing_every(interval, PipelineConfig::default());
    world.send(5);
    wait_until("it is seen", || world.queue("seal").0 == 5);
    world.clock.advance(interval);
    wait_until("it is sealed", || world.sealed() == 1);
    assert_eq!(world.finish(), [5]);
}

#[test]
fn a_stage_is_busy_while_it_works_and_not_while_it_waits() {
    let second = Duration::from_secs(1);
    let mut world = World::start(PipelineConfig::default());
    world.clock.advance(second);
    world.send_one_and_wait_for_its_sync();
    wait_until("sealing rests", || {
        let before = world.stage("seal").busy;
        world.clock.advance(second);
        world.stage("seal").busy == before
    });
    // In the middle of its turn.
    let before = world.stage("sync").busy;
    world.clock.advance(3 * second);
    assert_eq!(world.stage("sync").busy, before + 3 * second);
    assert_eq!(world.stage("append").busy, Duration::ZERO);
    world.gate.let_one_end();
    wait_until("the block is durable", || world.running.durable().main_blocks == 1);
    wait_until("the sync is over", || {
        let before = world.stage("sync").busy;
        world.clock.advance(second);
        world.stage("sync").busy == before
    });
    world.finish();
}

#[test]
fn a_store_that_fails_while_blocks_wait_for_it_ends_both_stages() {
    let mut world = World::start(PipelineConfig::default());
    world.send_one_and_wait_for_its_sync();
    world.send(1);
    give_it_time();
    world.gate.set(|state| state.fail = true);
    world.gate.let_one_end();
    wait_until("the failure is seen", || world.running.failed().is_some());
    assert_eq!(world.sealed(), 1);
    assert!(world.running.stop().unwrap_err().contains("the disk is gone"));
}

#[test]
fn stopping_during_a_sync_seals_and_stores_what_has_come() {
    let mut world = World::start(PipelineConfig { hash_threads: 3, ..PipelineConfig::default() });
    world.send_one_and_wait_for_its_sync();
    world.send(7);
    give_it_time();
    assert_eq!(world.finish(), [1, 7]);
}
