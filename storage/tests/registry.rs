//! Side chains that come and go while the main chain goes on, and what the log keeps of it.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

#[path = "../../engine/tests/registry/model.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod model;
mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::engine;
use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{
    Error, Log, LogReader, LogWriter, Medium, MediumFile, Options, RepairOptions, check, lost_operations,
    operations, repair,
};
use model::{Place, Step, genesis, run};
use proptest::prelude::*;
use support::{Maker, Sim, assert_holds, options, scratch};

/// A log in a directory.
struct OnDisk(tempfile::TempDir);

impl Place for OnDisk {
    type Store = LogWriter;
    type Reader = LogReader;

    fn open(&mut self) -> (LogWriter, LogReader) {
        let genesis = genesis();
        let options = Options { genesis_hash: genesis.hash, main_chain: genesis.main.id, ..options() };
        let (log, reader, _) =
            Log::open_on(Arc::new(Sim::new(self.0.path())), self.0.path(), options).unwrap();
        (log, reader)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chain = 1_u32..6;
    let step = prop_oneof![
        3 => (chain.clone(), 1_u64..9).prop_map(|(chain, first)| Step::Register { chain, first }),
        2 => chain.clone().prop_map(|chain| Step::Remove { chain }),
        4 => (chain, 1_u64..20).prop_map(|(chain, count)| Step::Push { chain, count }),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]
    #[test]
    fn chains_come_and_go_on_a_log_and_no_height_is_indexed_twice(steps in steps()) {
        let one = run(&mut OnDisk(scratch()), &steps, 1);
        let three = run(&mut OnDisk(scratch()), &steps, 3);
        prop_assert_eq!(one, three);
    }
}

/// Blocks of which some carry operations, the first one at least.
fn blocks(seed: u64, count: usize) -> Vec<MainBlock> {
    let mut maker = Maker::new(seed);
    maker.operates = true;
    let mut first = maker.clone();
    while first.block(&[(1, 3)].into()).operations.is_empty() {
        maker.rng.next();
        first = maker.clone();
    }
    (0..count).map(|_| maker.block(&[(1, 3)].into())).collect()
}

/// The file system, without its syncs, and with a segment that cannot be written.
struct Failing {
    inner: Sim,
    fails: Arc<AtomicBool>,
}

struct FailingFile(Box<dyn MediumFile>, Option<Arc<AtomicBool>>);

impl Failing {
    fn file(&self, file: Box<dyn MediumFile>, path: &Path) -> Box<dyn MediumFile> {
        let segment = path.extension().is_some_and(|extension| extension == "seg");
        Box::new(FailingFile(file, segment.then(|| self.fails.clone())))
    }
}

impl Medium for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(self.file(self.inner.create(path)?, path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(self.file(self.inner.open(path)?, path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
}

impl MediumFile for FailingFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.1.as_ref().is_some_and(|fails| fails.load(Ordering::Relaxed)) {
            return Err(io::Error::other("the process was killed here"));
        }
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn operations_whose_record_never_came_do_not_pass_for_those_of_the_next_one() {
    let dir = scratch();
    let fails = Arc::new(AtomicBool::new(false));
    let open = || {
        let medium = Failing { inner: Sim::new(dir.path()), fails: fails.clone() };
        Log::open_on(Arc::new(medium), dir.path(), options()).unwrap()
    };
    let lost = blocks(1, 1).remove(0);
    // Opened before the fault: the first segment's file is one that may fail.
    drop(open());
    let (mut log, reader, _) = open();
    fails.store(true, Ordering::Relaxed);
    log.append(&lost).unwrap_err();
    assert!(matches!(log.append(&lost), Err(Error::Failed { .. })), "it takes no more");
    drop((log, reader));
    fails.store(false, Ordering::Relaxed);

    assert_eq!(*operations(dir.path()).unwrap(), *support::operations([&lost]), "they were written first");
    let alone = LogReader::open(dir.path()).unwrap();
    assert!(alone.operations().unwrap().is_empty(), "no reader sees them without their block");
    drop(alone);
    let (mut log, reader, _) = open();
    assert!(reader.operations().unwrap().is_empty());
    let without = Maker::new(2).block(&[(1, 1)].into());
    log.append(&without).unwrap();
    log.close().unwrap();
    let (_log, reader, _) = open();
    assert_eq!((reader.head(), reader.operations().unwrap().len()), (Height(1), 0));
}

#[test]
fn operations_outlive_pruning_and_go_with_the_blocks_that_are_taken_back() {
    let dir = scratch();
    let options = Options { reversible: true, segment_bytes: 1 << 16, ..options() };
    let open = || Log::open_on(Arc::new(Sim::new(dir.path())), dir.path(), options).unwrap();
    let (mut log, reader, _) = open();
    let mut maker = Maker::new(3);
    maker.operates = true;
    let blocks: Vec<_> = (0..40).map(|_| maker.block(&[(1, 100)].into())).collect();
    for block in &blocks {
        log.append(block).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(*reader.operations().unwrap(), *support::operations(&blocks));
    log.set_irreversible(Height(30)).unwrap();
    assert!(log.prune(Height(25)).unwrap().segments > 0);
    assert_eq!(*reader.operations().unwrap(), *support::operations(&blocks), "also of what was pruned");
    let alone = LogReader::open(dir.path()).unwrap();
    log.rollback(Height(31)).unwrap();
    let left = support::operations(&blocks[..31]);
    assert!(left.len() < support::operations(&blocks).len());
    assert_eq!(*reader.operations().unwrap(), *left);
    alone.refresh().unwrap();
    assert_eq!(*alone.operations().unwrap(), *left);
    drop((log, reader));
    let (_log, reader, _) = open();
    assert_eq!(*reader.operations().unwrap(), *left);
}

#[test]
fn operations_that_the_header_does_not_commit_to_are_refused_before_anything_is_written() {
    let dir = scratch();
    let (mut log, reader, _) = Log::open_on(Arc::new(Sim::new(dir.path())), dir.path(), options()).unwrap();
    let block = blocks(4, 1).remove(0);
    let mut wrong = block.clone();
    wrong.header.ops_root.0[0] ^= 1;
    assert!(matches!(log.append(&wrong), Err(Error::Refused { .. })));
    assert!(operations(dir.path()).unwrap().is_empty());
    log.append(&block).unwrap();
    log.sync().unwrap();
    assert_holds(&reader, &[block]);
}

#[test]
fn operations_that_are_lost_are_found_and_the_block_that_has_them_is_named() {
    let dir = scratch();
    let options = Options { segment_bytes: 1 << 16, ..options() };
    let open = || Log::open_on(Arc::new(Sim::new(dir.path())), dir.path(), options);
    let mut maker = Maker::new(3);
    maker.operates = true;
    // The one that has operations, in a segment that is sealed, and none after it.
    let mut blocks = Vec::new();
    while blocks.last().is_none_or(|block: &MainBlock| block.operations.is_empty()) {
        blocks.push(maker.block(&[(1, 100)].into()));
    }
    let height = blocks[blocks.len() - 1].header.height;
    maker.operates = false;
    blocks.extend((0..30).map(|_| maker.block(&[(1, 100)].into())));
    let (mut log, reader, _) = open().unwrap();
    for block in &blocks {
        log.append(block).unwrap();
        log.sync().unwrap();
    }
    assert!(reader.segments().last().is_some_and(|open| open.first > height));
    log.close().unwrap();
    drop(reader);
    let damage = |deep| check(dir.path(), deep, &mut |_, _| ()).unwrap().damage;
    let lost = || lost_operations(&LogReader::open(dir.path()).unwrap(), Duration::from_secs(3_600));
    assert!(damage(true).is_empty() && damage(false).is_empty() && lost().is_none());

    let file = dir.path().join("OPERATIONS");
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let names = |error: &Error, missing_wanted: bool| matches!(error, Error::Operations { height: at, missing, .. } if *at == height && *missing == missing_wanted);
    let found = damage(true);
    assert!(found.len() == 1 && names(&found[0], true), "{found:?}");
    assert!(lost().is_some_and(|error| names(&error, true)));
    let text = found[0].to_string();
    assert!(text.contains("OPERATIONS") && text.contains(&format!("main block {height} ")), "{text}");
    let told = repair(dir.path(), RepairOptions::default(), &mut |_, _| ()).unwrap();
    assert!(told.mends.is_empty() && told.remaining.len() == 1 && names(&told.remaining[0], true));
    // Giving up the block and all after it is a way out.
    let options = RepairOptions { drop_from: Some(height), ..RepairOptions::default() };
    assert!(repair(dir.path(), options, &mut |_, _| ()).unwrap().remaining.is_empty());

    std::fs::write(&file, whole).unwrap();
    assert!(damage(true).is_empty());
}
