//! Side chains that come and go while the main chain goes on, on a store in memory.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod model;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use engine::chain::{ChainId, Hash, Height, MainBlock};
use engine::clock::Clock;
use engine::lane::Refusal;
use engine::pipeline::{Engine, OperateError, Operator, PipelineConfig, ResumeError, check};
use engine::state::{Operation, OperationError};
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::store::{BlockReader, BlockStore, StoreError};
use mainstem_engine as engine;
use proptest::prelude::*;

use model::{Place, Step, clock, config, genesis, push, run, side, wait_until};

#[derive(Default)]
struct InMemory(Option<MemoryReader>);

impl Place for InMemory {
    type Store = MemoryStore;
    type Reader = MemoryReader;

    fn open(&mut self) -> (MemoryStore, MemoryReader) {
        let store = self.0.take().map_or_else(MemoryStore::default, |reader| MemoryStore::reopen(&reader));
        self.0 = Some(store.reader());
        let reader = store.reader();
        (store, reader)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chain = 1_u32..6;
    let step = prop_oneof![
        3 => (chain.clone(), 1_u64..9).prop_map(|(chain, first)| Step::Register { chain, first }),
        2 => chain.clone().prop_map(|chain| Step::Remove { chain }),
        5 => (chain.clone(), 1_u64..20).prop_map(|(chain, count)| Step::Push { chain, count }),
        2 => (chain, any::<bool>()).prop_map(|(chain, paused)| Step::Pause { chain, paused }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn chains_come_and_go_and_no_height_is_indexed_twice_whatever_the_number_of_threads(steps in steps()) {
        let one = run(&mut InMemory::default(), &steps, 1);
        let three = run(&mut InMemory::default(), &steps, 3);
        prop_assert_eq!(one, three);
    }
}

#[test]
fn a_paused_lane_fills_and_goes_on_where_it_stood() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    let (held, other) = (ChainId(2), ChainId(4));
    let lane = running.cache().lane(held).unwrap();
    lane.pause(true);
    assert_eq!(push(&lane, 100), Ok(16), "as much as the lane holds");
    // Another chain's blocks are sealed meanwhile, in several main blocks.
    let beside = running.cache().lane(other).unwrap();
    for _ in 0..3 {
        let sent = push(&beside, 5).unwrap();
        assert_eq!(sent, 5);
        wait_until("the other chain goes on", || beside.position().durable == beside.position().received);
    }
    assert_eq!((lane.position().durable, lane.position().limit), (Height(0), Height(16)));
    assert_eq!(push(&lane, 1), Ok(0), "no room");
    lane.pause(false);
    wait_until("it goes on", || lane.position().durable == Height(16));
    running.stop().unwrap();
    assert_eq!(reader.chain_head(held).unwrap(), Some(Height(16)));
}

#[test]
fn an_engine_stops_with_a_paused_lane_that_is_full() {
    for rules in [engine::pipeline::SealRules::Mainstem, engine::pipeline::SealRules::Aelf] {
        let store = MemoryStore::default();
        let reader = store.reader();
        let config = PipelineConfig { rules, ..PipelineConfig::default() };
        let engine = Engine::resume(config, &genesis(), store, &reader, clock()).unwrap();
        let running = engine.start(Vec::new());
        let lane = running.cache().lane(ChainId(2)).unwrap();
        lane.pause(true);
        push(&lane, 300).unwrap();
        running.stop().unwrap();
        assert_eq!(reader.head(), Height(0));
    }
}

#[test]
fn a_chain_beyond_the_memory_of_the_cache_is_refused_and_a_removed_one_makes_room() {
    let room = PipelineConfig { cache_bytes: 2 * config(1).lane_bytes(), ..config(1) };
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(room, &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    let third = || Operation::Register(side(3, 1));
    let Err(OperateError::Config(error)) = running.operate(third()) else { panic!("there is no room") };
    let text = error.to_string();
    assert!(text.starts_with("cache_bytes: ") && text.contains("3 chains of 16 blocks take up to"), "{text}");
    assert_eq!(reader.head(), Height(0), "nothing was sealed");
    running.operate(Operation::Remove(ChainId(2))).unwrap();
    running.operate(third()).unwrap();
    running.stop().unwrap();
    Engine::resume(room, &genesis(), MemoryStore::reopen(&reader), &reader, clock()).unwrap();
}

#[test]
fn after_the_end_nothing_is_done_any_more() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    let operator = running.operator();
    running.stop().unwrap();
    let refused = operator.operate(Operation::Remove(ChainId(2)));
    assert_eq!(refused, Err(OperateError::Stopped { cause: "it is being stopped".into() }));
}

/// A store whose syncs fail.
struct Broken(MemoryStore);

impl BlockStore for Broken {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.0.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        Err(StoreError::new("the disk is gone"))
    }
}

#[test]
fn an_operation_that_cannot_be_stored_is_told_so_and_shows_nowhere() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let engine = Engine::resume(config(1), &genesis(), Broken(store), &reader, clock()).unwrap();
    let running = engine.start(Vec::new());
    let refused = running.operate(Operation::Register(side(3, 1)));
    let Err(OperateError::Stopped { cause }) = refused else { panic!("{refused:?}") };
    assert!(cause.contains("the disk is gone"), "{cause}");
    assert!(running.registry().chain(ChainId(3)).is_none() && running.cache().lane(ChainId(3)).is_none());
    running.stop().unwrap_err();
}

/// A store whose first sync fails, but not before it may.
struct Slow {
    store: MemoryStore,
    syncs: mpsc::Sender<()>,
    may_fail: mpsc::Receiver<()>,
}

impl BlockStore for Slow {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.store.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        let _ = self.syncs.send(());
        let _ = self.may_fail.recv();
        Err(StoreError::new("the disk is gone"))
    }
}

/// Does the operation on a thread of its own; the answer, if there is one within a minute.
fn answer(operator: &Operator, operation: Operation) -> mpsc::Receiver<Result<Height, OperateError>> {
    let (answered, answer) = mpsc::channel();
    let operator = operator.clone();
    thread::spawn(move || answered.send(operator.operate(operation)));
    answer
}

#[test]
fn an_operation_behind_a_sync_that_fails_is_told_so_and_the_engine_stops() {
    let (syncs, syncing) = mpsc::channel();
    let (fail, may_fail) = mpsc::channel();
    let store = MemoryStore::default();
    let reader = store.reader();
    let store = Slow { store, syncs, may_fail };
    let engine = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap();
    let running = engine.start(Vec::new());
    push(&running.cache().lane(ChainId(2)).unwrap(), 1).unwrap();
    syncing.recv().unwrap();
    let answer = answer(&running.operator(), Operation::Register(side(3, 1)));
    wait_until("it was handed on", || {
        running.stages().iter().any(|stage| stage.name == "append" && stage.queue == 1)
    });
    fail.send(()).unwrap();
    let refused = answer.recv_timeout(Duration::from_mins(1)).expect("an answer");
    let Err(OperateError::Stopped { cause }) = refused else { panic!("{refused:?}") };
    assert!(cause.contains("the disk is gone"), "{cause}");
    running.stop().unwrap_err();
}

/// A clock that is broken for who seals.
struct Broke(Arc<dyn Clock>);

impl Clock for Broke {
    fn wall(&self) -> engine::chain::Timestamp {
        panic!("the clock is broken");
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

#[test]
fn operations_after_a_panic_of_a_stage_are_told_of_it() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let clock = Arc::new(Broke(clock()));
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock).unwrap().start(Vec::new());
    for chain in [3, 5] {
        let answer = answer(&running.operator(), Operation::Register(side(chain, 1)));
        let refused = answer.recv_timeout(Duration::from_mins(1)).expect("an answer");
        let Err(OperateError::Stopped { cause }) = refused else { panic!("{refused:?}") };
        assert!(cause.starts_with("the seal stage panicked"), "{cause}");
    }
    running.stop().unwrap_err();
}

#[test]
fn sessions_of_a_removed_chain_are_refused_and_the_new_lane_takes_them() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    let chain = ChainId(2);
    let old = running.cache().lane(chain).unwrap();
    assert_eq!(push(&old, 4), Ok(4));
    wait_until("they are durable", || old.position().durable == Height(4));
    running.operate(Operation::Remove(chain)).unwrap();
    let removed = Refusal::Removed { chain };
    assert_eq!(old.claim(model::KEY, model::SESSION), Err(removed));
    assert_eq!(old.reclaim(model::KEY, model::SESSION), Err(removed));
    let now = Duration::from_secs(9);
    assert_eq!(old.take_over(model::KEY, model::SESSION, Height(99), now, Duration::ZERO), Err(removed));
    running.operate(Operation::Register(side(2, 5))).unwrap();
    let new = running.cache().lane(chain).unwrap();
    assert!(!Arc::ptr_eq(&old, &new) && !new.is_closed());
    assert_eq!((new.position().durable, new.position().received), (Height(4), Height(4)));
    assert_eq!(push(&new, 3), Ok(3));
    wait_until("it goes on", || new.position().durable == Height(7));
    running.stop().unwrap();
}

/// A reader that tells other operations.
#[derive(Clone)]
struct Altered(MemoryReader, Arc<[(Height, Operation)]>);

impl BlockReader for Altered {
    type Block<'a> = engine::store::memory::MemoryBlock;

    fn head(&self) -> Height {
        self.0.head()
    }
    fn block(&self, height: Height) -> Result<Option<Self::Block<'_>>, StoreError> {
        self.0.block(height)
    }
    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        self.0.locate(chain, height)
    }
    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        self.0.chain_head(chain)
    }
    fn operations(&self) -> Result<engine::store::Operations, StoreError> {
        Ok(self.1.clone())
    }
}

#[test]
fn operations_that_the_headers_do_not_commit_to_are_refused_at_a_start() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    let added = running.operate(Operation::Register(side(3, 1))).unwrap();
    let removed = running.operate(Operation::Remove(ChainId(2))).unwrap();
    running.stop().unwrap();
    let resume = |operations: Vec<(Height, Operation)>| {
        let reader = Altered(reader.clone(), operations.into());
        Engine::resume(config(1), &genesis(), MemoryStore::default(), &reader, clock()).map(drop)
    };
    let right = reader.operations().unwrap().to_vec();
    resume(right.clone()).unwrap();
    assert_eq!(check(&genesis(), &reader).unwrap().unwrap().header.height, removed);
    check(&genesis(), &Altered(reader.clone(), Arc::new([]))).unwrap_err();
    let root = |result, height: Height, what: &str| match result {
        Err(ResumeError::Root { height: at, root, .. }) => assert_eq!((at, root), (height, what)),
        other => panic!("{other:?}"),
    };
    root(resume(vec![(added, Operation::Register(side(3, 2))), right[1].clone()]), added, "ops_root");
    root(resume(vec![right[0].clone()]), removed, "state_root");
    root(resume(Vec::new()), removed, "state_root");
    let twice = resume(vec![right[0].clone(), right[0].clone(), right[1].clone()]);
    let taken = OperationError::Taken { chain: ChainId(3) };
    assert!(
        matches!(&twice, Err(ResumeError::Operation { height, error }) if (*height, error) == (added, &taken)),
        "{twice:?}"
    );
}

#[test]
fn a_pruned_store_still_gives_the_registry_and_the_state() {
    let mut store = MemoryStore::default();
    let reader = store.reader();
    let running = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap().start(Vec::new());
    running.operate(Operation::Register(side(3, 1))).unwrap();
    running.operate(Operation::Remove(ChainId(2))).unwrap();
    let lane = running.cache().lane(ChainId(3)).unwrap();
    push(&lane, 5).unwrap();
    wait_until("it is durable", || lane.position().durable == Height(5));
    running.stop().unwrap();
    let root = |reader: &MemoryReader| reader.block(reader.head()).unwrap().unwrap();
    let before = engine::chain::BlockView::header(&root(&reader)).state_root;
    store = MemoryStore::reopen(&reader);
    store.prune(reader.head()).unwrap();
    let engine = Engine::resume(config(1), &genesis(), store, &reader, clock()).unwrap();
    let ids: Vec<_> = engine.registry().chains().iter().map(|side| side.id.0).collect();
    assert_eq!((ids, before == Hash::ZERO), (vec![3, 4], false));
}
