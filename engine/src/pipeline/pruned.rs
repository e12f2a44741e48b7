//! Tests: what a pruned store still proves, and how the engine starts on one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crate::chain::{BlockView, ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Section};
use crate::proof::{Proof, ProofError, build, build_absence, build_chain, build_consistency, build_many};
use crate::state::Genesis;
use crate::store::memory::{MemoryBlock, MemoryReader, MemoryStore};
use crate::store::{Base, BlockReader, BlockStore, Operations, StoreError};

use super::fixture;
use super::resume::resume;

const BLOCKS: u64 = 70;

/// A busy chain, one with a few blocks now and then, one that has been idle since block 3, one with so many blocks
/// that some of their nodes are stored, one that comes late, one with no block at all.
fn turns() -> Vec<Vec<u64>> {
    let turn = |height: u64| {
        let when = |condition: bool, count: u64| if condition { count } else { 0 };
        vec![
            1,
            when(height.is_multiple_of(7), 3),
            when(height <= 3, 2),
            when(height == 20 || height == 50, 40),
            when(height > 66, 1),
            0,
        ]
    };
    (1..=BLOCKS).map(turn).collect()
}

fn store() -> (Genesis, MemoryStore) {
    static SEALED: LazyLock<(Genesis, Vec<MainBlock>)> = LazyLock::new(|| {
        let genesis = fixture::genesis(6);
        let blocks = fixture::blocks(&genesis, &turns());
        (genesis, blocks)
    });
    let (genesis, blocks) = &*SEALED;
    let mut store = MemoryStore::default();
    blocks.iter().for_each(|block| store.append(block).unwrap());
    store.sync().unwrap();
    (genesis.clone(), store)
}

type SideBlockId = (ChainId, Height);

/// The proofs of all side blocks in their own main block, the one after it, and the newest: by side block and head.
fn proofs(reader: &MemoryReader, every_head: bool) -> BTreeMap<(SideBlockId, Height), Proof> {
    let newest = reader.head();
    let mut proofs = BTreeMap::new();
    for main in 1..=newest.0 {
        let block = reader.block(Height(main)).unwrap().unwrap();
        for index in 0..block.section_count() {
            let section = block.section(index);
            for height in (section.first_height.0..).take(section.count as usize) {
                for head in
                    (main..=newest.0).filter(|head| every_head || head - main < 2 || *head == newest.0)
                {
                    let proof = build(reader, section.chain, Height(height), Some(Height(head))).unwrap();
                    proof.verify().unwrap();
                    proofs.insert(((section.chain, Height(height)), Height(head)), proof);
                }
            }
        }
    }
    proofs
}

#[test]
fn after_pruning_at_any_height_what_is_left_is_proven_as_before_and_the_rest_is_said_to_be_pruned() {
    let (_, whole) = store();
    let proofs = proofs(&whole.reader(), false);
    for before in (1..=BLOCKS).map(Height) {
        let (_, mut store) = store();
        store.prune(before).unwrap();
        let reader = store.reader();
        assert_eq!((reader.base().first, reader.head()), (before, Height(BLOCKS)));
        assert!(reader.block(before.previous()).unwrap().is_none());
        assert!(reader.block(before).unwrap().is_some());
        for (&((chain, height), head), proof) in &proofs {
            let asked = if head == proof.header.height { None } else { Some(head) };
            let built = build(&reader, chain, height, asked);
            if proof.header.height >= before {
                assert_eq!(built.unwrap(), *proof, "{chain} {height} up to {head}, pruned before {before}");
                continue;
            }
            let Err(error @ ProofError::Pruned { first, .. }) = built else {
                panic!("{built:?} of block {height} of chain {chain}, pruned before {before}");
            };
            assert_eq!(first, before);
            let text = error.to_string();
            assert!(text.contains(&format!("main block before {before}, and those were pruned")), "{text}");
        }
        for (chain, height) in [(1, BLOCKS + 2), (2, 1000), (5, 8), (6, 1)] {
            let refused = build(&reader, ChainId(chain), Height(height), None);
            assert!(matches!(refused, Err(ProofError::NotIndexed { .. })), "{refused:?}");
        }
    }
}

#[test]
fn proofs_up_to_every_head_outlive_pruning() {
    let (_, whole) = store();
    let proofs = proofs(&whole.reader(), true);
    for before in [2, 3, 4, 33, 48, 64, 65, 67] {
        let (_, mut store) = store();
        store.prune(Height(before)).unwrap();
        let reader = store.reader();
        for (&((chain, height), head), proof) in &proofs {
            if proof.header.height.0 >= before {
                assert_eq!(build(&reader, chain, height, Some(head)).unwrap(), *proof);
            }
        }
    }
}

#[test]
fn pruning_in_steps_leaves_the_same_as_pruning_at_once() {
    for (first, second) in [(2, 3), (3, 64), (32, 33), (33, 70), (10, 10)] {
        let ((_, mut steps), (_, mut once)) = (store(), store());
        steps.prune(Height(first)).unwrap();
        steps.prune(Height(second)).unwrap();
        once.prune(Height(second)).unwrap();
        assert_eq!(steps.reader().base(), once.reader().base());
    }
}

#[test]
fn only_below_a_block_that_is_there_is_pruned() {
    let (_, mut store) = store();
    store.prune(Height(10)).unwrap();
    for wrong in [0, 9, BLOCKS + 1] {
        let error = store.prune(Height(wrong)).unwrap_err().to_string();
        assert_eq!(error, format!("before: {wrong} is no block of this store; expected 10 to {BLOCKS}"));
    }
    assert_eq!(store.reader().base().first, Height(10));
}

#[test]
fn the_engine_resumes_on_a_store_pruned_at_any_height_as_on_the_whole() {
    let (genesis, whole) = store();
    let expected = resume(&genesis, &whole.reader()).unwrap();
    for before in (1..=BLOCKS).map(Height) {
        let (_, mut store) = store();
        store.prune(before).unwrap();
        let resumed = resume(&genesis, &store.reader()).unwrap();
        assert_eq!(resumed.head, expected.head);
        assert_eq!(resumed.history, expected.history);
        assert_eq!(resumed.state.chains(), expected.state.chains());
        assert_eq!(resumed.state.root(), expected.state.root());
    }
}

/// Which calls a reader answers before it is pruned under whoever asks, and what it watches.
#[derive(Clone)]
struct Watched {
    inner: MemoryReader,
    /// Prunes before `at` when so many calls have been answered.
    prune: Arc<Mutex<Option<(u64, MemoryStore, Height)>>>,
    calls: Arc<AtomicU64>,
    /// Calls of `intact`, and which of them says no.
    intact: Arc<AtomicU64>,
    broken: u64,
    /// Views that were read after they were last asked whether they are intact.
    unasked: Arc<AtomicU64>,
}

impl Watched {
    fn new(store: &MemoryStore) -> Self {
        Self {
            inner: store.reader(),
            prune: Arc::default(),
            calls: Arc::default(),
            intact: Arc::default(),
            broken: 0,
            unasked: Arc::default(),
        }
    }

    fn answered<T>(&self, answer: T) -> T {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let mut prune = self.prune.lock().unwrap();
        if let Some((_, mut store, before)) = prune.take_if(|(at, ..)| *at == call) {
            store.prune(before).unwrap();
        }
        answer
    }
}

impl BlockReader for Watched {
    type Block<'a> = WatchedBlock<'a>;

    fn head(&self) -> Height {
        self.answered(self.inner.head())
    }
    fn base(&self) -> Arc<Base> {
        self.answered(self.inner.base())
    }
    fn block(&self, height: Height) -> Result<Option<WatchedBlock<'_>>, StoreError> {
        let block = self.inner.block(height)?;
        Ok(self.answered(block.map(|inner| WatchedBlock { inner, read: Cell::new(false), watch: self })))
    }
    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        self.inner.locate(chain, height).map(|found| self.answered(found))
    }
    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        self.inner.chain_head(chain).map(|found| self.answered(found))
    }
    fn operations(&self) -> Result<Operations, StoreError> {
        self.inner.operations().map(|found| self.answered(found))
    }
}

struct WatchedBlock<'a> {
    inner: MemoryBlock,
    read: Cell<bool>,
    watch: &'a Watched,
}

impl WatchedBlock<'_> {
    fn read(&self) -> &MemoryBlock {
        self.read.set(true);
        &self.inner
    }
}

impl Drop for WatchedBlock<'_> {
    fn drop(&mut self) {
        self.watch.unasked.fetch_add(self.read.get().into(), Ordering::Relaxed);
    }
}

impl BlockView for WatchedBlock<'_> {
    fn header(&self) -> MainHeader {
        self.read().header()
    }
    fn section_count(&self) -> usize {
        self.inner.section_count()
    }
    fn section(&self, index: usize) -> Section {
        self.read().section(index)
    }
    fn columns(&self) -> ColumnsRef<'_> {
        self.read().columns()
    }
    fn chain_nodes(&self) -> &[Hash] {
        self.read().chain_nodes()
    }
    fn side_nodes(&self) -> &[Hash] {
        self.read().side_nodes()
    }
    fn history_nodes(&self) -> &[Hash] {
        self.read().history_nodes()
    }
    fn intact(&self) -> Result<(), StoreError> {
        self.read.set(false);
        let call = self.watch.intact.fetch_add(1, Ordering::Relaxed) + 1;
        if call == self.watch.broken {
            Err(StoreError::new("the file was cut under its map"))
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_proof_that_is_overtaken_by_pruning_is_right_or_says_so() {
    let (_, whole) = store();
    let (chain, height) = (ChainId(1), Height(32));
    let expected = build(&whole.reader(), chain, height, Some(Height(69))).unwrap();
    let mut pruned = 0;
    for before in [20, 32, 40, 65] {
        for call in 1.. {
            let (_, store) = store();
            let reader = Watched::new(&store);
            *reader.prune.lock().unwrap() = Some((call, store, Height(before)));
            match build(&reader, chain, height, Some(Height(69))) {
                Ok(proof) => assert_eq!(proof, expected),
                Err(ProofError::Pruned { first, .. }) if first.0 == before => pruned += 1,
                Err(error) => panic!("pruned before {before} after {call} calls: {error}"),
            }
            if reader.prune.lock().unwrap().is_some() {
                break;
            }
        }
    }
    assert!(pruned > 4, "{pruned}: some were too late");
}

#[test]
fn whatever_was_read_for_a_proof_or_a_start_was_asked_whether_it_is_intact() {
    let (genesis, mut store) = store();
    store.prune(Height(21)).unwrap();
    let prove = |reader: &Watched| {
        let (chain, head) = (ChainId(4), Some(Height(69)));
        build(reader, chain, Height(60), head)?;
        build_many(reader, &[(chain, Height(60)), (chain, Height(75))], head)?;
        build_consistency(reader, Height(30), Height(69))?;
        for main in (40..50).map(Height) {
            for chain in [chain, ChainId(1_000)] {
                let (whole, none) =
                    (build_chain(reader, chain, main, head)?, build_absence(reader, chain, main, head)?);
                assert!(whole.is_some() != none.is_some());
            }
        }
        Ok::<_, ProofError>(())
    };
    let start = |reader: &Watched| resume(&genesis, reader).map(drop);
    let whole = Watched::new(&store);
    prove(&whole).unwrap();
    let asked = whole.intact.load(Ordering::Relaxed);
    assert!(asked > 3, "{asked}: the block, the head, and nodes of the history");
    for broken in 1..=asked {
        let error = prove(&Watched { broken, ..Watched::new(&store) }).unwrap_err().to_string();
        assert_eq!(error, "the file was cut under its map");
    }
    start(&whole).unwrap();
    let asked = whole.intact.load(Ordering::Relaxed) - asked;
    for broken in 1..=asked {
        let error = start(&Watched { broken, ..Watched::new(&store) }).unwrap_err().to_string();
        assert_eq!(error, "the file was cut under its map");
    }
    assert_eq!(whole.unasked.load(Ordering::Relaxed), 0);
}
