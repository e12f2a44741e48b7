//! Blocks that are taken back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{Error, Log, LogReader, LogWriter, Options, Recovery};
use support::{Maker, assert_holds, assert_same, options, scratch};

fn reversible() -> Options {
    Options { reversible: true, segment_bytes: 1 << 16, ..options() }
}

fn open(dir: &std::path::Path) -> (LogWriter, LogReader, Recovery) {
    Log::open(dir, reversible()).unwrap()
}

/// A maker that goes on after these blocks.
fn after(blocks: &[MainBlock], seed: u64) -> Maker {
    let mut maker = Maker::new(seed);
    for block in blocks {
        maker.height = block.header.height.0;
        for section in &block.sections {
            maker.heads.insert(section.chain.0, section.last_height().0);
        }
    }
    maker
}

fn append(log: &mut LogWriter, blocks: &mut Vec<MainBlock>, seed: u64, count: usize) {
    let mut maker = after(blocks, seed);
    for _ in 0..count {
        let block = maker.random_block(120);
        log.append(&block).unwrap();
        log.sync().unwrap();
        blocks.push(block);
    }
}

#[test]
fn blocks_are_taken_back_to_any_height_and_others_take_their_place() {
    let whole = scratch();
    let (mut log, reader, _) = open(whole.path());
    let mut all = Vec::new();
    append(&mut log, &mut all, 30, 24);
    drop(log);
    assert!(reader.segments().len() > 3);
    for to in 0..=24 {
        let dir = scratch();
        for entry in std::fs::read_dir(whole.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        let (mut log, reader, _) = open(dir.path());
        let outside = LogReader::open(dir.path()).unwrap();
        let shown = reader.block(Height(24)).unwrap().unwrap();
        log.rollback(Height(to)).unwrap();
        let mut blocks = all[..to as usize].to_vec();
        assert_holds(&reader, &blocks);
        assert_eq!(outside.refresh().unwrap(), Height(to));
        assert_holds(&outside, &blocks);
        assert_same(&shown, &all[23]);
        // The same sizes, other contents: nothing of the old blocks comes back.
        append(&mut log, &mut blocks, 1000 + to, 5);
        assert_holds(&reader, &blocks);
        outside.refresh().unwrap();
        assert_holds(&outside, &blocks);
        drop(log);
        let (log, reader, recovery) = open(dir.path());
        assert_eq!((recovery.cut, recovery.rolled_back), (None, None));
        assert_holds(&reader, &blocks);
        drop(log);
        let report = mainstem_storage::check(dir.path(), true, &mut |_, _| ()).unwrap();
        assert!(report.damage.is_empty(), "{to}: {report:?}");
    }
}

#[test]
fn what_was_not_synced_is_taken_back_too() {
    let dir = scratch();
    let (mut log, reader, _) = open(dir.path());
    let mut blocks = Vec::new();
    append(&mut log, &mut blocks, 31, 3);
    let mut maker = after(&blocks, 32);
    log.append(&maker.random_block(50)).unwrap();
    log.append(&maker.random_block(50)).unwrap();
    log.rollback(Height(3)).unwrap();
    assert_holds(&reader, &blocks);
    append(&mut log, &mut blocks, 33, 2);
    assert_holds(&reader, &blocks);
}

#[test]
fn irreversible_blocks_stay() {
    let dir = scratch();
    let (mut log, _, _) = Log::open(dir.path(), options()).unwrap();
    log.append(&Maker::new(34).random_block(5)).unwrap();
    log.sync().unwrap();
    let error = log.rollback(Height(0)).unwrap_err();
    assert!(error.leaves_log_usable());
    assert_eq!(
        error.to_string(),
        "cannot roll back to block 0: blocks of this log are final as soon as they are durable"
    );
    drop(log);

    let dir = scratch();
    let (mut log, _, _) = open(dir.path());
    let mut blocks = Vec::new();
    append(&mut log, &mut blocks, 35, 9);
    log.set_irreversible(Height(4)).unwrap();
    log.set_irreversible(Height(2)).unwrap();
    assert!(matches!(log.set_irreversible(Height(10)), Err(Error::NoSuchBlock { .. })));
    drop(log);
    let (mut log, reader, _) = open(dir.path());
    let error = log.rollback(Height(3)).unwrap_err();
    assert_eq!(error.to_string(), "cannot roll back to block 3: block 4 was said to be irreversible");
    let error = log.rollback(Height(10)).unwrap_err();
    assert_eq!(error.to_string(), "cannot roll back to block 10: the newest block is 9");
    log.rollback(Height(9)).unwrap();
    assert_holds(&reader, &blocks);
    log.rollback(Height(4)).unwrap();
    blocks.truncate(4);
    append(&mut log, &mut blocks, 36, 3);
    assert_holds(&reader, &blocks);
    let sections: BTreeMap<_, _> = [(1, 3)].into();
    log.append(&after(&blocks, 37).block(&sections)).unwrap();
}
