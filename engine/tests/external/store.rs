//! Stores that fail, and stores that do not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::chain::{Hash, Height, MainBlock};
use engine::external::{External, ExternalConfig, ExternalError, Limits, Proposal, StartError, Verdict};
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::store::{BlockReader, BlockStore, ReversibleStore, StoreError};
use mainstem_engine as engine;

use super::{ALL, ManualClock, config, genesis, send_some, sim};

/// A store that fails at the n-th call, and says no to everything afterwards.
struct Failing {
    inner: MemoryStore,
    calls_left: Arc<AtomicU64>,
    reversible: bool,
}

impl Failing {
    fn call(&self) -> Result<(), StoreError> {
        let left = self.calls_left.load(Ordering::Relaxed);
        self.calls_left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 { Err(StoreError::new("the disk is gone")) } else { Ok(()) }
    }
}

impl BlockStore for Failing {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.call()?;
        self.inner.append(block)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        self.call()?;
        self.inner.sync()
    }
}

impl ReversibleStore for Failing {
    fn reversible(&self) -> bool {
        self.reversible
    }
    fn irreversible(&self) -> Height {
        self.inner.irreversible()
    }
    fn rollback(&mut self, to: Height) -> Result<(), StoreError> {
        self.call()?;
        self.inner.rollback(to)
    }
    fn set_irreversible(&mut self, height: Height) -> Result<(), StoreError> {
        self.call()?;
        self.inner.set_irreversible(height)
    }
}

fn start(
    config: ExternalConfig,
    inner: MemoryStore,
    calls: u64,
    reversible: bool,
) -> (Result<External, StartError>, MemoryReader, Arc<AtomicU64>) {
    let (reader, calls_left) = (inner.reader(), Arc::new(AtomicU64::new(calls)));
    let store = Failing { inner, calls_left: Arc::clone(&calls_left), reversible };
    let clock = Arc::new(ManualClock::default());
    let started = External::resume(config, &genesis(3), store, &reader, clock);
    (started.map(|(external, _)| external), reader, calls_left)
}

/// Two blocks, one taken back, one more, and one of them final. Returns the error of the first step that fails.
fn drive(external: &External) -> Result<(), ExternalError> {
    let four = Limits { max_leaves: 4, ..ALL };
    let commit = || {
        let head = external.status().head.map_or(Hash::ZERO, |head| head.hash);
        external.commit(&Proposal::of(&external.candidate(head, four)?))
    };
    commit()?;
    commit()?;
    external.rollback(Height(1))?;
    commit()?;
    external.finalize(Height(1))
}

#[test]
fn after_a_failed_write_nothing_is_said_to_be_done_and_a_restart_finds_what_was() {
    for calls in 0..9 {
        let (started, reader, _) = start(config(100), MemoryStore::default(), calls, true);
        let external = started.unwrap();
        for chain in 1..=3 {
            send_some(&external.cache(), chain, &mut sim(chain), 20, 20);
        }
        let result = drive(&external);
        let before = external.status();
        if calls == 8 {
            assert_eq!(result, Ok(()));
            assert_eq!((before.failed, before.changes), (None, 5));
            continue;
        }
        let failed = ExternalError::Failed { cause: "the log cannot be written: the disk is gone".into() };
        assert_eq!(result, Err(failed.clone()), "call {calls}");
        assert!(before.failed.as_deref().is_some_and(|cause| cause.contains("the disk is gone")));
        assert_eq!(before.head.map_or(0, |head| head.header.height.0), reader.head().0, "call {calls}");
        assert_eq!(external.candidate(Hash::ZERO, ALL).unwrap_err(), failed);
        assert_eq!(external.rollback(Height(0)).unwrap_err(), failed);
        assert_eq!(external.finalize(Height(1)).unwrap_err(), failed);
        assert_eq!(external.status(), before);
        let durable = external.cache().lanes().iter().map(|lane| lane.position().durable.0).sum::<u64>();
        assert_eq!(durable, 3, "chains begin at 2, 3 and 1: nothing was released");
        drop(external);
        let (started, _, _) = start(config(100), MemoryStore::reopen(&reader), u64::MAX, true);
        let external = started.unwrap();
        let after = external.status();
        assert_eq!((after.head, after.irreversible), (before.head, before.irreversible));
        for chain in 1..=3 {
            send_some(&external.cache(), chain, &mut sim(chain), 20, 20);
        }
        let head = after.head.map_or(Hash::ZERO, |head| head.hash);
        let block = external.candidate(head, ALL).unwrap();
        assert_eq!(external.validate(&Proposal::of(&block)).unwrap(), Verdict::Valid);
    }
}

#[test]
fn a_store_whose_blocks_are_final_at_once_is_refused() {
    let (started, _, _) = start(config(100), MemoryStore::default(), 0, false);
    assert!(matches!(started, Err(StartError::NotReversible)));
}

#[test]
fn settings_that_cannot_be_and_lanes_that_became_too_small_are_refused() {
    let wrong = ExternalConfig { max_reversible: 0, ..config(100) };
    let (started, _, _) = start(wrong, MemoryStore::default(), 0, true);
    assert_eq!(started.unwrap_err().to_string(), "max_reversible: 0 is out of range: expected 1 to 1048576");
    let (started, reader, _) = start(config(100), MemoryStore::default(), u64::MAX, true);
    let external = started.unwrap();
    send_some(&external.cache(), 3, &mut sim(3), 20, 20);
    external.commit(&Proposal::of(&external.candidate(Hash::ZERO, ALL).unwrap())).unwrap();
    drop(external);
    let (started, _, _) = start(config(19), MemoryStore::reopen(&reader), 0, true);
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::LaneTooSmall { needed: 20, lane_blocks: 19, .. }), "{error}");
    assert!(start(config(20), MemoryStore::reopen(&reader), 0, true).0.is_ok());
}
