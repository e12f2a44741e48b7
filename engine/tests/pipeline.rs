//! The whole engine on a store in memory: lanes in, proofs out.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::cache::Cache;
use engine::chain::{BlockView, ChainId, Columns, Hash, Height, MainBlock, MainHeader, NodeKey, Timestamp};
use engine::clock::Clock;
use engine::lane::{Claim, Lane, Position, Refusal, SessionId};
use engine::pipeline::{Engine, Head, HeadSink, PipelineConfig, ResumeError};
use engine::proof::{self, ProofError};
use engine::sim::{SimChain, SimConfig};
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::store::{BlockReader, BlockStore, StoreError};
use mainstem_engine as engine;

const KEY: NodeKey = NodeKey([1; 32]);
const OTHER_KEY: NodeKey = NodeKey([3; 32]);
const SESSION: SessionId = SessionId(1);

struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.monotonic().as_millis() as u64)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(Instant::now()))
}

fn genesis(chains: u32) -> Genesis {
    let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
    let side = |id| SideChain {
        id: ChainId(id),
        name: format!("side {id}"),
        first_height: Height(u64::from(id % 3) + 1),
        nodes: vec![KEY, OTHER_KEY],
        finality: engine::quorum::FinalityRule::Single,
    };
    Genesis::parse(&Genesis::document(&main, &(1..=chains).map(side).collect::<Vec<_>>())).unwrap()
}

fn config() -> PipelineConfig {
    PipelineConfig {
        seal_interval: Duration::from_millis(2),
        max_per_chain: 8,
        lane_blocks: 64,
        max_leaves: 200,
        ..Default::default()
    }
}

/// A simulated chain and the session that sends it.
struct Sender {
    cache: Cache,
    chain: ChainId,
    sim: SimChain,
}

impl Sender {
    fn new(cache: &Cache, chain: ChainId) -> Self {
        let config = SimConfig { transactions: 1, ..Default::default() };
        let mut sim = SimChain::new(chain, Arc::new(config));
        let lane = cache.lane(chain).unwrap();
        let Ok(Claim::Speaker(position)) = lane.claim(KEY, SESSION) else {
            panic!("{chain} has another speaker")
        };
        let ours = sim.seek(position.received);
        assert!(position.hash.is_none_or(|hash| hash == ours), "{chain} resumes on another block");
        Self { cache: cache.clone(), chain, sim }
    }

    /// Sends up to `count` blocks, as many as there is room for.
    fn send(&mut self, count: u64) -> u64 {
        let lane = self.cache.lane(self.chain).unwrap();
        let position = lane.position();
        let count = count.min(position.limit.0 - position.received.0);
        let (first, parent) = (self.sim.height().next(), self.sim.hash());
        let mut blocks = Columns::default();
        for _ in 0..count {
            let (hash, tx_root, time) = self.sim.step();
            blocks.push(hash, tx_root, time);
        }
        lane.push(SESSION, first, parent, blocks.as_ref(), Duration::ZERO).unwrap();
        count
    }

    fn send_all(&mut self, mut count: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while count > 0 {
            count -= self.send(count.min(7));
            assert!(Instant::now() < deadline, "the lane of {} never got room", self.chain);
            std::thread::yield_now();
        }
    }
}

fn first_height(chain: u32) -> u64 {
    u64::from(chain % 3) + 1
}

/// Checks that every block of every chain is there once, in order, with a proof that ends in the newest header.
fn check_all(reader: &MemoryReader, genesis: &Genesis, counts: &[u64]) {
    let head = reader.head();
    let trusted = reader.block(head).unwrap().unwrap().header().hash();
    let (mut parent, mut leaves) = (MainHeader::genesis_parent(genesis.main.id, genesis.hash), 0);
    for height in 1..=head.0 {
        let header = reader.block(Height(height)).unwrap().unwrap().header();
        assert_eq!((header.height.0, header.parent), (height, parent));
        parent = header.hash();
        leaves += header.leaf_count;
    }
    assert_eq!(leaves, counts.iter().sum::<u64>(), "nothing twice, nothing lost");
    for (&count, chain) in counts.iter().zip(1..) {
        let config = SimConfig { transactions: 1, ..Default::default() };
        let mut sim = SimChain::new(ChainId(chain), Arc::new(config));
        sim.seek(Height(first_height(chain) - 1));
        for height in (first_height(chain)..).take(count as usize) {
            let (hash, tx_root, _) = sim.step();
            let proof = proof::build(reader, ChainId(chain), Height(height), Some(head)).unwrap();
            proof.verify_trusting(trusted).unwrap();
            assert_eq!(
                (proof.block.height.0, proof.block.hash, proof.block.tx_root),
                (height, hash, tx_root)
            );
        }
        let beyond = Height(first_height(chain) + count);
        let refused = proof::build(reader, ChainId(chain), beyond, None);
        assert!(matches!(refused, Err(ProofError::NotIndexed { .. })), "{refused:?}");
    }
}

#[test]
fn every_block_is_indexed_once_and_proven_across_restarts() {
    let genesis = genesis(12);
    let mut store = MemoryStore::default();
    let reader = store.reader();
    let mut counts = vec![0; 12];
    for round in 0..3 {
        let engine = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap();
        let running = engine.start(Vec::new());
        std::thread::scope(|scope| {
            for (chain, count) in (1..).zip(&mut counts) {
                let cache = running.cache();
                let more = u64::from(chain) * 13 % 150 + round;
                *count += more;
                scope.spawn(move || Sender::new(&cache, ChainId(chain)).send_all(more));
            }
        });
        let stats = running.stop().unwrap();
        assert_eq!(stats.durable.len(), stats.side_blocks);
        check_all(&reader, &genesis, &counts);
        store = MemoryStore::reopen(&reader);
    }
}

#[test]
fn a_store_under_another_genesis_is_refused() {
    let (one, other) = (genesis(3), genesis(4));
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(), &one, store, &reader, clock()).unwrap().start(Vec::new());
    Sender::new(&running.cache(), ChainId(1)).send_all(5);
    running.stop().unwrap();
    let refused = Engine::resume(config(), &other, MemoryStore::reopen(&reader), &reader, clock());
    assert!(matches!(refused, Err(ResumeError::Root { root: "state_root", .. })));
}

/// A store whose syncs wait for permission, and may fail.
struct Gated {
    inner: MemoryStore,
    open: Arc<AtomicBool>,
    fail: Arc<AtomicBool>,
}

impl BlockStore for Gated {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.inner.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        while !self.open.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.fail.load(Ordering::Acquire) {
            let kind = std::io::ErrorKind::StorageFull;
            return Err(StoreError::new(std::io::Error::new(kind, "the disk is gone")));
        }
        self.inner.sync()
    }
}

#[derive(Clone, Default)]
struct Heads(Arc<Mutex<Vec<Head>>>);

impl HeadSink for Heads {
    fn publish(&mut self, head: &Head) {
        self.0.lock().unwrap().push(*head);
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_store_that_is_behind_stops_the_senders_and_nothing_is_published_before_it_is_durable() {
    let genesis = genesis(2);
    let (open, fail) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let inner = MemoryStore::default();
    let reader = inner.reader();
    let store = Gated { inner, open: Arc::clone(&open), fail };
    let heads = Heads::default();
    let engine = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap();
    let running = engine.start(vec![Box::new(heads.clone())]);
    let mut sender = Sender::new(&running.cache(), ChainId(1));
    let sent = AtomicU64::new(0);
    for _ in 0..100 {
        sent.fetch_add(sender.send(10), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(sent.load(Ordering::Relaxed), 64, "exactly what the lane holds");
    assert!(heads.0.lock().unwrap().is_empty() && running.head().is_none());
    open.store(true, Ordering::Release);
    sender.send_all(10);
    wait_until("all is durable", || running.stats().side_blocks == 74);
    running.stop().unwrap();
    let heads = heads.0.lock().unwrap();
    assert!(
        heads.iter().zip(1..).all(|(head, height)| head.header.height.0 == height),
        "in order, none left out"
    );
    assert_eq!(heads.len() as u64, reader.head().0);
    drop(heads);
    check_all(&reader, &genesis, &[74, 0]);
}

#[test]
fn after_a_failed_sync_nothing_is_published_released_or_tried_again() {
    let genesis = genesis(1);
    let (open, fail) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let inner = MemoryStore::default();
    let reader = inner.reader();
    let store = Gated { inner, open, fail: Arc::clone(&fail) };
    let running = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap().start(Vec::new());
    let mut sender = Sender::new(&running.cache(), ChainId(1));
    sender.send(5);
    wait_until("the failure is seen", || running.failed().is_some());
    fail.store(false, Ordering::Release);
    sender.send(5);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(running.cache().lane(ChainId(1)).unwrap().position().durable, Height(first_height(1) - 1));
    let cause = running.store_failure();
    let error = running.stop().unwrap_err();
    assert!(error.contains("the disk is gone"), "{error}");
    let cause = cause.get().and_then(StoreError::downcast_ref::<std::io::Error>);
    assert!(cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::StorageFull));
    assert_eq!(reader.head(), Height(0));
}

/// A store that is slower than sealing, and counts how many blocks share a sync.
struct Slow {
    inner: MemoryStore,
    unsynced: u64,
    most: Arc<AtomicU64>,
}

impl BlockStore for Slow {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(5));
        self.unsynced += 1;
        self.inner.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        self.most.fetch_max(self.unsynced, Ordering::Relaxed);
        self.unsynced = 0;
        self.inner.sync()
    }
}

#[test]
fn a_slow_store_does_not_put_the_sync_off() {
    let genesis = genesis(1);
    let most = Arc::new(AtomicU64::new(0));
    let inner = MemoryStore::default();
    let reader = inner.reader();
    let store = Slow { inner, unsynced: 0, most: Arc::clone(&most) };
    let config = PipelineConfig { seal_interval: Duration::ZERO, max_leaves: 2, ..config() };
    let running = Engine::resume(config, &genesis, store, &reader, clock()).unwrap().start(Vec::new());
    Sender::new(&running.cache(), ChainId(1)).send_all(60);
    running.stop().unwrap();
    check_all(&reader, &genesis, &[60]);
    assert_eq!(most.load(Ordering::Relaxed), 2, "waiting blocks share a sync, and no more than may wait");
}

/// A clock that stands still until it is told to go on.
#[derive(Default)]
struct ManualClock(AtomicU64);

impl ManualClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// How many main blocks each sync made durable, and how many wait for the next one.
#[derive(Clone, Default)]
struct Syncs(Arc<Mutex<(Vec<u64>, u64)>>);

impl Syncs {
    fn done(&self) -> Vec<u64> {
        self.0.lock().unwrap().0.clone()
    }
    fn waiting(&self) -> u64 {
        self.0.lock().unwrap().1
    }
}

/// A store whose syncs are counted, and may fail.
struct Counted {
    inner: MemoryStore,
    syncs: Syncs,
    fail: bool,
}

impl BlockStore for Counted {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.inner.append(block)?;
        self.syncs.0.lock().unwrap().1 += 1;
        Ok(())
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        if self.fail {
            return Err(StoreError::new("the disk is gone"));
        }
        self.inner.sync()?;
        let mut syncs = self.syncs.0.lock().unwrap();
        let group = std::mem::take(&mut syncs.1);
        syncs.0.push(group);
        Ok(())
    }
}

/// An engine that syncs once a second of a clock that stands still.
struct OnceASecond {
    running: engine::pipeline::Running,
    reader: MemoryReader,
    clock: Arc<ManualClock>,
    syncs: Syncs,
    heads: Heads,
    sender: Sender,
}

impl OnceASecond {
    const SECOND: Duration = Duration::from_secs(1);

    fn start(config: PipelineConfig, fail: bool) -> Self {
        let (clock, syncs, heads) = (Arc::new(ManualClock::default()), Syncs::default(), Heads::default());
        let inner = MemoryStore::default();
        let reader = inner.reader();
        let store = Counted { inner, syncs: syncs.clone(), fail };
        let config = PipelineConfig { seal_interval: Duration::ZERO, sync_interval: Self::SECOND, ..config };
        let engine = Engine::resume(config, &genesis(1), store, &reader, clock.clone()).unwrap();
        let running = engine.start(vec![Box::new(heads.clone())]);
        let sender = Sender::new(&running.cache(), ChainId(1));
        Self { running, reader, clock, syncs, heads, sender }
    }

    /// Sends one block after the other, so that each gets a main block of its own.
    fn send_one_by_one(&mut self, count: u64) {
        for _ in 0..count {
            let waiting = self.syncs.waiting();
            assert_eq!(self.sender.send(1), 1);
            wait_until("the block is appended", || self.syncs.waiting() > waiting);
        }
    }

    fn assert_nothing_is_told_beyond(&self, main: u64, side: u64) {
        assert_eq!(self.reader.head(), Height(main));
        assert_eq!(self.running.head().map_or(0, |head| head.header.height.0), main);
        assert_eq!(self.heads.0.lock().unwrap().len() as u64, main);
        let durable = self.running.cache().lane(ChainId(1)).unwrap().position().durable;
        assert_eq!(durable, Height(first_height(1) - 1 + side));
        let stats = self.running.stats();
        assert_eq!((stats.main_blocks, stats.side_blocks, stats.durable.len()), (main, side, side));
    }
}

#[test]
fn with_a_sync_interval_many_blocks_share_one_sync_and_nothing_is_told_before() {
    let mut node = OnceASecond::start(config(), false);
    node.send_one_by_one(5);
    node.clock.advance(Duration::from_millis(999));
    node.send_one_by_one(1);
    std::thread::sleep(Duration::from_millis(30));
    node.assert_nothing_is_told_beyond(0, 0);
    node.clock.advance(Duration::from_millis(1));
    wait_until("the sync is done", || node.heads.0.lock().unwrap().len() == 6);
    node.assert_nothing_is_told_beyond(6, 6);
    assert_eq!(node.syncs.done(), [6]);
    assert_eq!(node.running.stats().sync.len(), 1);
    // The next group has a second of its own.
    node.clock.advance(10 * OnceASecond::SECOND);
    node.send_one_by_one(2);
    node.assert_nothing_is_told_beyond(6, 6);
    node.clock.advance(OnceASecond::SECOND);
    wait_until("the sync is done", || node.heads.0.lock().unwrap().len() == 8);
    assert_eq!(node.syncs.done(), [6, 2]);
    let heads = node.heads.0.lock().unwrap();
    assert!(heads.iter().zip(1..).all(|(head, height)| head.header.height.0 == height), "in order");
}

#[test]
fn stopping_syncs_what_waits_without_waiting_for_the_interval() {
    let mut node = OnceASecond::start(config(), false);
    node.send_one_by_one(3);
    let OnceASecond { running, reader, syncs, heads, .. } = node;
    assert_eq!(running.stop().unwrap().side_blocks, 3);
    assert_eq!((syncs.done(), reader.head()), (vec![3], Height(3)));
    assert_eq!(heads.0.lock().unwrap().len(), 3);
    check_all(&reader, &genesis(1), &[3]);
}

#[test]
fn lanes_that_are_full_before_a_sync_wait_for_it_and_go_on_after() {
    let mut node = OnceASecond::start(config(), false);
    let mut sent = 0;
    for round in 1..=3 {
        let syncs = node.syncs.done();
        wait_until("the lane is full", || {
            sent += node.sender.send(7);
            sent == 64 * round
        });
        assert_eq!(node.sender.send(1), 0, "no more than the lane holds waits for a sync");
        assert_eq!(node.syncs.done(), syncs);
        wait_until("the lane is given back", || {
            node.clock.advance(OnceASecond::SECOND);
            node.running.cache().lane(ChainId(1)).unwrap().cursors().indexed == first_height(1) - 1 + sent
        });
    }
    node.running.stop().unwrap();
    check_all(&node.reader, &genesis(1), &[192]);
}

#[test]
fn no_more_blocks_than_a_bound_wait_for_a_sync() {
    let config = PipelineConfig { max_leaves: 1, lane_blocks: 8192, ..config() };
    let mut node = OnceASecond::start(config, false);
    node.sender.send_all(4100);
    wait_until("the bound is reached", || node.syncs.done() == [4096]);
    wait_until("the rest waits", || node.syncs.waiting() == 4);
    node.running.stop().unwrap();
    assert_eq!(node.syncs.done(), [4096, 4]);
}

#[test]
fn when_the_sync_of_an_interval_fails_none_of_its_blocks_is_told_of() {
    let mut node = OnceASecond::start(config(), true);
    node.send_one_by_one(5);
    node.clock.advance(OnceASecond::SECOND);
    wait_until("the failure is seen", || node.running.failed().is_some());
    node.assert_nothing_is_told_beyond(0, 0);
    assert!(node.running.stop().unwrap_err().contains("the disk is gone"));
    assert_eq!(node.syncs.done(), Vec::<u64>::new());
}

#[test]
fn a_sync_interval_out_of_range_is_refused() {
    let config = PipelineConfig { sync_interval: Duration::from_millis(10_001), ..config() };
    let error = config.validate(1).unwrap_err().to_string();
    assert_eq!(error, "sync_interval: 10.001s is out of range: expected at most 10s");
}

#[test]
fn a_pruned_store_goes_on_where_it_was_also_with_chains_that_were_idle_since() {
    let genesis = genesis(3);
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap().start(Vec::new());
    let cache = running.cache();
    let send = |cache: &Cache, chain, count| Sender::new(cache, ChainId(chain)).send_all(count);
    send(&cache, 2, 5);
    wait_until("chain 2 is stored", || cache.lane(ChainId(2)).unwrap().cursors().indexed == 7);
    let idle_since = reader.head();
    send(&cache, 1, 40);
    running.stop().unwrap();

    let mut store = MemoryStore::reopen(&reader);
    let before = Height(idle_since.0 + (reader.head().0 - idle_since.0).div_ceil(2));
    store.prune(before).unwrap();
    let running = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap().start(Vec::new());
    for (chain, count) in [(1, 11), (2, 12), (3, 13)] {
        send(&running.cache(), chain, count);
    }
    running.stop().unwrap();

    let head = reader.head();
    let trusted = reader.block(head).unwrap().unwrap().header().hash();
    let (mut proven, mut pruned) = (0, 0);
    for (chain, count) in [(1, 51), (2, 17), (3, 13)] {
        for height in (first_height(chain)..).take(count) {
            match proof::build(&reader, ChainId(chain), Height(height), Some(head)) {
                Ok(proof) => {
                    proof.verify_trusting(trusted).unwrap();
                    assert!(proof.header.height >= before);
                    proven += 1;
                }
                Err(ProofError::Pruned { first, .. }) if first == before => pruned += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(proven + pruned, 81);
    assert!(pruned >= 5 && proven >= 36, "{pruned} and {proven}");
}

struct Panicking;

impl HeadSink for Panicking {
    fn publish(&mut self, _: &Head) {
        panic!("a sink that panics");
    }
}

#[test]
fn a_stage_that_panics_is_a_failure_that_is_seen_at_once() {
    let genesis = genesis(1);
    let store = MemoryStore::default();
    let reader = store.reader();
    let engine = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap();
    let running = engine.start(vec![Box::new(Panicking)]);
    Sender::new(&running.cache(), ChainId(1)).send(1);
    wait_until("the panic is seen", || running.failed().is_some());
    assert!(running.stop().unwrap_err().starts_with("the persist stage panicked"));
}

#[test]
fn each_wrong_section_is_refused_with_its_reason_and_changes_nothing() {
    let genesis = genesis(2);
    let store = MemoryStore::default();
    let reader = store.reader();
    let engine = Engine::resume(config(), &genesis, store, &reader, clock()).unwrap();
    let cache = engine.cache();
    let chain = ChainId(1);
    let lane = cache.lane(chain).unwrap();
    let blocks = |hashes: &[u8]| {
        let mut columns = Columns::default();
        hashes.iter().for_each(|&hash| columns.push(Hash([hash; 32]), Hash::ZERO, Timestamp::default()));
        columns
    };
    let push = |session, first, parent: u8, hashes: &[u8]| {
        lane.push(session, Height(first), Hash([parent; 32]), blocks(hashes).as_ref(), Duration::ZERO)
    };
    let stranger = NodeKey([9; 32]);
    assert_eq!(lane.claim(stranger, SESSION), Err(Refusal::UnknownKey { chain, key: stranger }));
    assert_eq!(push(SESSION, 2, 1, &[2, 3]), Err(Refusal::NotSpeaker { chain }));

    assert!(matches!(lane.claim(KEY, SESSION), Ok(Claim::Speaker(_))));
    assert_eq!(push(SESSION, 2, 1, &[2, 3]), Ok(Height(3)));
    let before = lane.position();
    let (expected, got) = (Height(4), Height(6));
    assert_eq!(push(SESSION, 6, 5, &[6]), Err(Refusal::WrongHeight { chain, expected, got }));
    let got = Height(3);
    assert_eq!(push(SESSION, 3, 2, &[3]), Err(Refusal::WrongHeight { chain, expected, got }));
    let conflict = Refusal::Conflict { chain, height: Height(3), have: Hash([3; 32]), got: Hash([99; 32]) };
    assert_eq!(push(SESSION, 2, 1, &[2, 99]), Err(conflict));
    assert_eq!(lane.evidence(), Some(conflict));
    let (expected, got) = (Hash([3; 32]), Hash([77; 32]));
    assert_eq!(
        push(SESSION, 4, 77, &[4]),
        Err(Refusal::WrongParent { chain, height: Height(4), expected, got })
    );
    let (limit, got) = (Height(65), Height(66));
    assert_eq!(push(SESSION, 4, 3, &[4; 63]), Err(Refusal::AboveLimit { chain, limit, got }));
    assert_eq!(lane.position(), before, "a refused section leaves no trace");

    // Another node of the chain stands by; the same node connecting again takes over.
    assert!(matches!(lane.claim(OTHER_KEY, SessionId(2)), Ok(Claim::Standby(_))));
    assert_eq!(push(SessionId(2), 4, 3, &[4]), Err(Refusal::NotSpeaker { chain }));
    assert!(matches!(lane.claim(KEY, SessionId(3)), Ok(Claim::Speaker(_))));
    assert_eq!(push(SESSION, 4, 3, &[4]), Err(Refusal::NotSpeaker { chain }));
    assert!(matches!(lane.claim(KEY, SESSION), Ok(Claim::Standby(_))), "an older session takes nothing back");
    lane.release(SESSION);
    assert_eq!(
        push(SessionId(3), 4, 3, &[4]),
        Ok(Height(4)),
        "an old session cannot release a new one's claim"
    );
    lane.release(SessionId(3));
    assert!(matches!(lane.claim(OTHER_KEY, SessionId(2)), Ok(Claim::Speaker(_))));
    assert_eq!(cache.lane(ChainId(2)).unwrap().position().received, Height(2), "the neighbour is untouched");
}

/// The lane of chain 1, whose first height is 2, with nobody behind it.
fn idle_lane() -> Arc<Lane> {
    let store = MemoryStore::default();
    let reader = store.reader();
    let engine = Engine::resume(config(), &genesis(1), store, &reader, clock()).unwrap();
    engine.cache().lane(ChainId(1)).unwrap()
}

#[test]
fn a_silent_speaker_is_replaced_by_a_node_that_has_more() {
    let lane = idle_lane();
    let patience = Duration::from_secs(2);
    let at = Duration::from_secs;
    let second = SessionId(2);
    let push = |session, first, now| {
        let mut columns = Columns::default();
        columns.push(Hash([first as u8; 32]), Hash::ZERO, Timestamp::default());
        lane.push(session, Height(first), Hash([first as u8 - 1; 32]), columns.as_ref(), now)
    };
    let take = |tip, now| lane.take_over(OTHER_KEY, second, Height(tip), now, patience).unwrap();
    lane.claim(KEY, SESSION).unwrap();
    push(SESSION, 2, at(10)).unwrap();
    assert_eq!(take(2, at(100)), None, "it has nothing that is missing");
    assert_eq!(take(3, at(11)), None, "the speaker was heard a moment ago");
    push(SESSION, 3, at(12)).unwrap();
    assert_eq!(take(4, at(13)), None);
    assert!(lane.is_speaker(SESSION));
    assert_eq!(take(4, at(14)), Some(lane.position()));
    assert_eq!((lane.is_speaker(SESSION), lane.is_speaker(second)), (false, true));
    assert_eq!(push(SESSION, 4, at(14)), Err(Refusal::NotSpeaker { chain: ChainId(1) }));

    // Who is new gets its time, also when nothing has come for long.
    let back = |now| lane.take_over(KEY, SESSION, Height(4), now, patience).unwrap();
    assert_eq!((back(at(20)), back(at(21))), (None, None));
    push(second, 4, at(21)).unwrap();
    lane.release(second);
    assert!(matches!(lane.claim(KEY, SESSION), Ok(Claim::Speaker(_))));
    assert_eq!((take(5, at(50)), take(5, at(51))), (None, None));
    assert!(take(5, at(52)).is_some());
    // Of nobody it is taken at once, from oneself never.
    lane.release(second);
    assert!(take(5, at(52)).is_some());
    assert_eq!((take(5, at(98)), take(5, at(99))), (None, None));
    let stranger = NodeKey([9; 32]);
    assert!(lane.take_over(stranger, SESSION, Height(5), at(99), patience).is_err());
}

#[test]
fn a_silent_session_is_replaced_by_an_older_one_of_its_key_and_does_not_take_the_place_back() {
    let lane = idle_lane();
    let (patience, at) = (Duration::from_secs(2), Duration::from_secs);
    let (older, newer) = (SessionId(1), SessionId(2));
    let take = |session, now| lane.take_over(KEY, session, Height(9), now, patience).unwrap().is_some();
    let speaks = |claim| matches!(claim, Ok(Claim::Speaker(_)));
    assert!(speaks(lane.claim(KEY, older)) && speaks(lane.claim(KEY, newer)));
    assert!(!take(older, at(1)), "it is new");
    assert!(take(older, at(3)));
    // Only silence costs the older one its place again.
    assert!(!speaks(lane.reclaim(KEY, newer)));
    assert!(speaks(lane.reclaim(KEY, older)), "it is its own");
    assert!(!take(newer, at(4)) && take(newer, at(6)));
    assert!(!speaks(lane.reclaim(KEY, older)) && !speaks(lane.claim(KEY, older)));
    lane.release(newer);
    assert!(speaks(lane.reclaim(KEY, older)));
    // A node that begins anew need not wait.
    assert!(speaks(lane.claim(KEY, SessionId(3))));
}

#[test]
fn a_full_lane_is_not_the_fault_of_its_speaker() {
    let lane = idle_lane();
    lane.claim(KEY, SESSION).unwrap();
    let Position { received, limit, .. } = lane.position();
    let mut columns = Columns::default();
    (received.0..limit.0).for_each(|_| columns.push(Hash([1; 32]), Hash::ZERO, Timestamp::default()));
    lane.push(SESSION, received.next(), Hash::ZERO, columns.as_ref(), Duration::ZERO).unwrap();
    let taken = lane.take_over(OTHER_KEY, SessionId(2), Height::MAX, Duration::from_secs(99), Duration::ZERO);
    assert_eq!(taken, Ok(None));
}
