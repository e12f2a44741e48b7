//! What a log promises while nothing fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::chain::{BlockView, ChainId, Hash, Height, MainBlock};
use engine::store::memory::MemoryStore;
use engine::store::{BlockReader, BlockStore};
use mainstem_storage::{self as storage, Error, Log, LogReader, Options, Prepare};
use proptest::prelude::*;
use support::{Maker, Sim, assert_holds, assert_same, options, scratch};

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Append(BTreeMap<u32, u32>),
    Sync,
    Reopen,
    Refresh,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let counts = prop_oneof![4 => 1_u32..40, 1 => 1_u32..4000];
    let step = prop_oneof![
        8 => prop::collection::btree_map(0_u32..12, counts, 0..6).prop_map(Step::Append),
        4 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        2 => Just(Step::Refresh),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_memory_store_that_survives_reopening(steps in steps(), seed: u64) {
        let dir = scratch();
        let sim = || Arc::new(Sim::new(dir.path()));
        let (mut log, mut reader, _) = Log::open_on(sim(), dir.path(), options()).unwrap();
        let mut follower = LogReader::open(dir.path()).unwrap();
        let mut model = MemoryStore::default();
        let mut maker = Maker::new(seed);
        for step in steps {
            match step {
                Step::Append(chains) => {
                    let block = maker.block(&chains);
                    BlockStore::append(&mut log, &block).unwrap();
                    model.append(&block).unwrap();
                }
                Step::Sync => {
                    BlockStore::sync(&mut log).unwrap();
                    model.sync().unwrap();
                }
                Step::Reopen => {
                    drop(log);
                    // Nothing was lost, so what was appended is found although it was never synced.
                    model.sync().unwrap();
                    let opened = Log::open_on(sim(), dir.path(), options()).unwrap();
                    prop_assert_eq!(opened.2.cut, None);
                    (log, reader) = (opened.0, opened.1);
                    follower = LogReader::open(dir.path()).unwrap();
                }
                Step::Refresh => {
                    follower.refresh().unwrap();
                    prop_assert!(follower.head() >= reader.head());
                }
            }
            same(&reader, &model, &maker)?;
        }
        log.sync().unwrap();
        model.sync().unwrap();
        same(&reader, &model, &maker)?;
        follower.refresh().unwrap();
        same(&follower, &model, &maker)?;
    }
}

/// Both show the same, at every height.
fn same(reader: &LogReader, model: &MemoryStore, maker: &Maker) -> Result<(), TestCaseError> {
    let model = model.reader();
    // A roll syncs, so the log may show blocks a little earlier than it was asked to.
    prop_assert!(reader.head() >= model.head());
    for height in (0..=model.head().0).map(Height) {
        match (reader.block(height).unwrap(), model.block(height).unwrap()) {
            (Some(found), Some(expected)) => {
                prop_assert_eq!(found.header(), expected.header());
                prop_assert_eq!(found.columns().hashes, expected.columns().hashes);
                prop_assert_eq!(found.columns().tx_roots, expected.columns().tx_roots);
                prop_assert_eq!(found.columns().times, expected.columns().times);
                prop_assert_eq!(found.chain_nodes(), expected.chain_nodes());
                prop_assert_eq!(found.side_nodes(), expected.side_nodes());
                prop_assert_eq!(found.history_nodes(), expected.history_nodes());
                let sections = 0..expected.section_count();
                prop_assert_eq!(found.section_count(), expected.section_count());
                prop_assert!(sections.into_iter().all(|i| found.section(i) == expected.section(i)));
            }
            (None, None) => {}
            (found, _) => prop_assert!(false, "{:?} at {}", found, height),
        }
    }
    if reader.head() > model.head() {
        return Ok(());
    }
    for chain in (0..13).map(ChainId) {
        let head = model.chain_head(chain).unwrap();
        prop_assert_eq!(reader.chain_head(chain).unwrap(), head);
        let last = maker.heads.get(&chain.0).copied().unwrap_or(200);
        let mut height = 99;
        while height <= last + 1 {
            let at = Height(height);
            prop_assert_eq!(reader.locate(chain, at).unwrap(), model.locate(chain, at).unwrap());
            height += 1 + last / 23;
        }
    }
    Ok(())
}

#[test]
fn blocks_are_seen_when_synced_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, reader, recovery) = Log::open(dir.path(), options()).unwrap();
    assert!(recovery.created);
    assert_eq!((recovery.head, recovery.generation), (Height(0), 1));
    let mut maker = Maker::new(1);
    let blocks: Vec<MainBlock> = (0..4).map(|_| maker.random_block(50)).collect();
    for block in &blocks[..3] {
        log.append(block).unwrap();
        assert_eq!(reader.head(), Height(0));
        assert!(reader.block(Height(1)).unwrap().is_none());
        assert_eq!(reader.chain_head(block.sections[0].chain).unwrap(), None);
    }
    log.sync().unwrap();
    assert_holds(&reader, &blocks[..3]);
    log.append(&blocks[3]).unwrap();
    assert_holds(&reader, &blocks[..3]);
    drop(log);
    let (_, reader, recovery) = Log::open(dir.path(), options()).unwrap();
    assert_eq!((recovery.created, recovery.generation, recovery.cut), (false, 2, None));
    assert_holds(&reader, &blocks);
}

#[test]
fn a_log_goes_on_over_many_segments_prepared_ahead() {
    let dir = tempfile::tempdir().unwrap();
    // Whatever leaves the page cache meanwhile.
    let ahead = |cached_bytes| Options { prepare: Prepare::Ahead, cached_bytes, ..options() };
    let mut maker = Maker::new(2);
    let mut blocks = Vec::new();
    for cached_bytes in [0, 1 << 20, u64::MAX] {
        let (mut log, reader, _) = Log::open(dir.path(), ahead(cached_bytes)).unwrap();
        for _ in 0..12 {
            blocks.push(maker.random_block(3000));
            log.append(blocks.last().unwrap()).unwrap();
            log.sync().unwrap();
        }
        assert_holds(&reader, &blocks);
    }
    let reader = LogReader::open(dir.path()).unwrap();
    assert_holds(&reader, &blocks);
    let segments = reader.segments();
    assert!(segments.len() > 3, "{segments:?}");
    assert_eq!(segments.iter().map(|segment| segment.blocks).sum::<u64>(), blocks.len() as u64);
    let leaves: u64 = blocks.iter().map(|block| block.header.leaf_count).sum();
    assert_eq!(segments.iter().map(|segment| segment.leaves).sum::<u64>(), leaves);
    let mut seen = Vec::new();
    let report = storage::check(dir.path(), true, &mut |done, all| seen.push((done, all))).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    assert_eq!((report.head, report.records), (Height(36), 36));
    assert!(seen.is_sorted());
    assert_eq!(seen.last().map(|(done, all)| done == all), Some(true));
}

#[test]
fn a_reader_on_its_own_follows_a_live_log() {
    let dir = scratch();
    let sim = Arc::new(Sim::new(dir.path()));
    let (mut log, _, _) = Log::open_on(sim, dir.path(), options()).unwrap();
    let reader = LogReader::open(dir.path()).unwrap();
    let clone = reader.clone();
    let mut maker = Maker::new(3);
    let mut blocks = Vec::new();
    for round in 0..20 {
        for _ in 0..round % 4 {
            blocks.push(maker.random_block(2500));
            log.append(blocks.last().unwrap()).unwrap();
            log.sync().unwrap();
        }
        if round % 7 == 6 {
            drop(log);
            let sim = Arc::new(Sim::new(dir.path()));
            log = Log::open_on(sim, dir.path(), options()).unwrap().0;
        }
        assert_eq!(reader.refresh().unwrap(), Height(blocks.len() as u64));
        assert_holds(&clone, &blocks);
    }
    assert!(reader.segments().len() > 3);
}

#[test]
fn readers_in_other_threads_see_whole_blocks_only_while_the_log_grows() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, inside, _) = Log::open(dir.path(), options()).unwrap();
    let outside = LogReader::open(dir.path()).unwrap();
    let mut maker = Maker::new(6);
    let blocks: Vec<MainBlock> = (0..40).map(|_| maker.random_block(1500)).collect();
    let end = Height(blocks.len() as u64);
    std::thread::scope(|scope| {
        for reader in [inside.clone(), inside, outside.clone(), outside] {
            let blocks = &blocks;
            scope.spawn(move || {
                let mut head = Height(0);
                while head < end {
                    let now = reader.refresh().unwrap();
                    assert!(now >= head);
                    head = now;
                    for height in [head, Height(head.0.div_ceil(2))] {
                        let Some(found) = reader.block(height).unwrap() else { continue };
                        let block = &blocks[height.0 as usize - 1];
                        assert_same(&found, block);
                        for section in &block.sections {
                            let last = section.last_height();
                            assert_eq!(reader.locate(section.chain, last).unwrap(), Some(height));
                            assert!(reader.chain_head(section.chain).unwrap() >= Some(last));
                        }
                    }
                }
            });
        }
        for block in &blocks {
            log.append(block).unwrap();
            log.sync().unwrap();
        }
    });
}

#[test]
fn a_block_that_was_shown_stays_after_its_segment_is_sealed_and_the_log_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, reader, _) = Log::open(dir.path(), options()).unwrap();
    let mut maker = Maker::new(4);
    let first = maker.random_block(100);
    log.append(&first).unwrap();
    log.sync().unwrap();
    let shown = reader.block(Height(1)).unwrap().unwrap();
    for _ in 0..6 {
        log.append(&maker.block(&[(1, 4000)].into())).unwrap();
        log.sync().unwrap();
    }
    drop((log, reader));
    assert_same(&shown, &first);
}

#[test]
fn a_second_writer_is_refused_and_told_which_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, _) = Log::open(dir.path(), options()).unwrap();
    let error = Log::open(dir.path(), options()).unwrap_err();
    assert!(matches!(&error, Error::Locked { path } if path == &dir.path().join("LOCK")), "{error}");
    assert!(LogReader::open(dir.path()).is_ok());
    drop(log);
    assert!(Log::open(dir.path(), options()).is_ok());
}

#[test]
fn a_log_of_another_genesis_or_chain_is_refused_with_both_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(Log::open(dir.path(), options()).unwrap());
    let other = Hash([8; 32]);
    let error = Log::open(dir.path(), Options { genesis_hash: other, ..options() }).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::WrongGenesis { .. }));
    assert!(text.contains(&other.to_string()) && text.contains(&Hash([7; 32]).to_string()), "{text}");
    let error = Log::open(dir.path(), Options { main_chain: ChainId(5), ..options() }).unwrap_err();
    assert!(matches!(error, Error::WrongChain { .. }), "{error}");
}

#[test]
fn what_cannot_be_stored_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [0, (1 << 16) - 4096, (1 << 20) + 1, (1 << 30) + 4096, u64::MAX] {
        let error = Log::open(dir.path(), Options { segment_bytes: bytes, ..options() }).unwrap_err();
        assert!(matches!(error, Error::SegmentBytes { .. }), "{error}");
    }
    let (mut log, reader, _) = Log::open(dir.path(), options()).unwrap();
    let mut maker = Maker::new(5);
    let good = maker.random_block(20);

    let huge = Maker::new(5).block(&[(1, 20_000)].into());
    assert!(matches!(log.append(&huge), Err(Error::TooLarge { bytes, .. }) if bytes > 20_000 * 72));
    let mut wrong: Vec<(&str, MainBlock)> = Vec::new();
    let mut spoil = |name, change: &dyn Fn(&mut MainBlock)| {
        let mut block = good.clone();
        change(&mut block);
        wrong.push((name, block));
    };
    spoil("header.height", &|block| block.header.height = Height(2));
    spoil("header.chain_id", &|block| block.header.chain_id = ChainId(1));
    spoil("header.chain_count", &|block| block.header.chain_count += 1);
    spoil("header.leaf_count", &|block| block.header.leaf_count += 1);
    spoil("length of times", &|block| block.columns.times.truncate(1));
    spoil("length of tx_roots", &|block| block.columns.tx_roots.push(Hash::ZERO));
    spoil("section.first_leaf", &|block| block.sections[0].first_leaf = 1);
    spoil("section.first_node", &|block| block.sections[0].first_node = 1000);
    spoil("section.first_height", &|block| block.sections[0].first_height = Height(0));
    spoil("section.first_height", &|block| block.sections[0].first_height = Height(u64::MAX));
    spoil("section.count", &|block| block.sections[0].count = 0);
    spoil("section.chain", &|block| {
        block.sections = vec![block.sections[0]; 2];
        block.header.chain_count = 2;
    });
    for (field, block) in wrong {
        let error = log.append(&block).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{field}: {error}");
        assert!(error.to_string().contains(field) && error.leaves_log_usable(), "{field}: {error}");
    }

    log.append(&good).unwrap();
    let mut again = maker.random_block(20);
    again.sections = vec![again.sections[0]];
    again.sections[0].chain = good.sections[0].chain;
    again.sections[0].first_height = good.sections[0].last_height();
    again.header.chain_count = 1;
    again.header.leaf_count = again.sections[0].count.into();
    again.columns.hashes.truncate(again.sections[0].count as usize);
    again.columns.tx_roots.truncate(again.sections[0].count as usize);
    again.columns.times.truncate(again.sections[0].count as usize);
    assert!(matches!(log.append(&again), Err(Error::Indexed { .. })));
    log.sync().unwrap();
    assert_holds(&reader, &[good]);
}

#[test]
fn a_directory_without_a_log_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(LogReader::open(dir.path()), Err(Error::NoLog { .. })));
    assert!(matches!(LogReader::open(dir.path().join("absent")), Err(Error::NoLog { .. })));
}

#[test]
fn the_highest_height_there_is_can_be_stored_sealed_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, reader, _) = Log::open(dir.path(), options()).unwrap();
    let mut maker = Maker::new(8);
    maker.heads.insert(7, Height::MAX.0 - 3);
    let mut blocks = vec![maker.block(&[(7, 3)].into())];
    log.append(&blocks[0]).unwrap();
    while reader.segments().len() < 2 {
        blocks.push(maker.block(&[(8, 3_000)].into()));
        log.append(&blocks[blocks.len() - 1]).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let (_log, reader, _) = Log::open(dir.path(), options()).unwrap();
    assert_eq!(reader.chain_head(ChainId(7)).unwrap(), Some(Height::MAX));
    assert_eq!(reader.locate(ChainId(7), Height::MAX).unwrap(), Some(Height(1)));
    assert_eq!(reader.locate(ChainId(7), Height(u64::MAX)).unwrap(), None);
    assert_holds(&reader, &blocks);
}
