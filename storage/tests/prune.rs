//! Blocks that are removed from the beginning, and files that are used again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::num::NonZeroU64;
use std::path::Path;

use engine::chain::{BlockView, Height, MainBlock};
use engine::merkle::history::History;
use engine::store::{BlockReader, StoredHistory};
use mainstem_storage::{Log, LogReader, LogWriter, Options, Prepare, Recovery, check};
use support::{Maker, assert_same, options, scratch};

fn small() -> Options {
    Options { segment_bytes: 1 << 16, ..options() }
}

fn open(dir: &Path) -> (LogWriter, LogReader, Recovery) {
    Log::open(dir, small()).unwrap()
}

fn append(log: &mut LogWriter, maker: &mut Maker, blocks: &mut Vec<MainBlock>, count: usize) {
    for _ in 0..count {
        let block = maker.random_block(120);
        log.append(&block).unwrap();
        log.sync().unwrap();
        blocks.push(block);
    }
}

/// The reader shows the blocks from `first` on, nothing before, and knows what came before.
fn assert_holds_from(reader: &LogReader, blocks: &[MainBlock], first: Height) {
    assert_eq!(reader.base().first, first);
    assert_eq!(reader.head(), Height(blocks.len() as u64));
    for block in blocks {
        let height = block.header.height;
        let found = reader.block(height).unwrap();
        assert_eq!(found.is_some(), height >= first, "{height}");
        if let Some(found) = found {
            assert_same(&found, block);
        }
        for section in &block.sections {
            let expected = (height >= first).then_some(height);
            assert_eq!(reader.locate(section.chain, section.first_height).unwrap(), expected);
            assert_eq!(reader.locate(section.chain, section.last_height()).unwrap(), expected);
            let head =
                blocks.iter().flat_map(|block| &block.sections).rfind(|other| other.chain == section.chain);
            let head = head.unwrap().last_height();
            assert_eq!(reader.chain_head(section.chain).unwrap(), Some(head));
        }
    }
    let base = reader.base();
    for head in &base.heads {
        let below = &blocks[..first.0 as usize - 1];
        let (block, section) = below
            .iter()
            .flat_map(|block| block.sections.iter().map(move |section| (block, section)))
            .rfind(|(_, section)| section.chain == head.chain)
            .unwrap();
        assert_eq!(head.height, section.last_height());
        assert_eq!(head.hash, block.columns().hashes[section.leaves()][section.count as usize - 1]);
    }
}

#[test]
fn what_is_left_after_pruning_is_whole_and_the_rest_is_known_to_be_gone() {
    let dir = scratch();
    let (mut log, reader, _) = open(dir.path());
    let (mut maker, mut blocks) = (Maker::new(40), Vec::new());
    append(&mut log, &mut maker, &mut blocks, 40);
    let histories: Vec<History> =
        (0..40).map(|size| History::load(size, &StoredHistory::new(&reader)).unwrap()).collect();
    let segments = reader.segments();
    assert!(segments.len() > 6);
    let outside = LogReader::open(dir.path()).unwrap();
    let shown = reader.block(Height(1)).unwrap().unwrap();

    assert_eq!(log.prune(Height(1)).unwrap().segments, 0);
    // In the middle of the third segment: the first two go.
    let pruned = log.prune(segments[2].first.next()).unwrap();
    assert_eq!((pruned.first, pruned.segments), (segments[2].first, 2));
    assert!(!segments[1].file.exists() && segments[2].file.exists());
    assert_holds_from(&reader, &blocks, pruned.first);
    assert_eq!(reader.base().history, histories[pruned.first.0 as usize - 1]);
    // Who looked before goes on seeing what it saw.
    assert_same(&shown, &blocks[0]);
    assert_holds_from(&outside, &blocks, Height(1));
    drop(outside);
    drop(shown);

    append(&mut log, &mut maker, &mut blocks, 10);
    drop(log);
    let (mut log, reader, recovery) = open(dir.path());
    assert_eq!(recovery.damage.len(), 0);
    assert_holds_from(&reader, &blocks, pruned.first);
    assert_holds_from(&LogReader::open(dir.path()).unwrap(), &blocks, pruned.first);
    // The last sealed segment stays, whatever is asked for.
    let pruned = log.prune(Height(1_000_000)).unwrap();
    let sealed: Vec<_> = reader.segments().into_iter().filter(|segment| segment.sealed).collect();
    assert_eq!((sealed.len(), pruned.first), (1, sealed[0].first));
    assert_holds_from(&reader, &blocks, pruned.first);
    append(&mut log, &mut maker, &mut blocks, 10);
    assert_holds_from(&reader, &blocks, pruned.first);
    drop(log);
    let report = check(dir.path(), true, &mut |_, _| ()).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
}

#[test]
fn a_log_that_keeps_a_number_of_blocks_writes_its_files_again() {
    for prepare in [Prepare::AtRoll, Prepare::Ahead] {
        let dir = scratch();
        let options = Options { keep_blocks: NonZeroU64::new(20), prepare, ..small() };
        let (mut maker, mut blocks) = (Maker::new(41), Vec::new());
        let mut recycled = 0;
        for _ in 0..4 {
            let (mut log, reader, recovery) = Log::open(dir.path(), options).unwrap();
            assert_eq!(recovery.cut, None, "what is left in a file that is used again is no torn write");
            append(&mut log, &mut maker, &mut blocks, 40);
            let first = reader.base().first;
            assert!(first.0 > 1 && first.0 + 20 <= blocks.len() as u64 + 1, "{first}");
            assert!(reader.segments().len() < 12);
            assert_holds_from(&reader, &blocks, first);
            drop(log);
            let report = check(dir.path(), true, &mut |_, _| ()).unwrap();
            assert!(report.damage.is_empty(), "{report:?}");
            for segment in reader.segments() {
                recycled += usize::from(std::fs::read(segment.file).unwrap()[20] == 1);
            }
        }
        assert!(recycled > 8, "{recycled}");
        let names = std::fs::read_dir(dir.path()).unwrap();
        let spares =
            names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|it| it == "spare"));
        assert!(spares.count() <= 2);
    }
}

/// What all files of segments take.
fn segment_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "seg" || end == "spare") {
            bytes += path.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[test]
fn a_log_keeps_no_more_bytes_than_it_may_and_the_more_so_of_two_limits_counts() {
    const KEEP: u64 = 6 << 16;
    // The bytes that all files of segments take, and how many blocks there are at the end.
    let grow = |options: Options| {
        let dir = scratch();
        let (mut log, reader, _) = Log::open(dir.path(), options).unwrap();
        let (mut maker, mut blocks) = (Maker::new(44), Vec::new());
        let mut most = 0;
        for _ in 0..80 {
            append(&mut log, &mut maker, &mut blocks, 1);
            let bytes = loop {
                match segment_bytes(dir.path()) {
                    Ok(bytes) => break bytes,
                    // The thread that makes segments ahead has given one another name meanwhile.
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
                }
            };
            most = bytes.max(most);
        }
        let first = reader.base().first;
        assert_holds_from(&reader, &blocks, first);
        drop(log);
        let report = check(dir.path(), true, &mut |_, _| ()).unwrap();
        assert!(report.damage.is_empty(), "{report:?}");
        (most, first)
    };
    for prepare in [Prepare::AtRoll, Prepare::Ahead] {
        let options = Options { prepare, ..small() };
        let (unbounded, all) = grow(options);
        assert!(unbounded > 2 * KEEP && all == Height(1), "{unbounded}, from {all}");
        let bounded = Options { keep_bytes: NonZeroU64::new(KEEP), ..options };
        let (most, first) = grow(bounded);
        // A segment is begun before the oldest one goes.
        assert!(most <= KEEP + (1 << 16), "{most}");
        assert!(most > KEEP / 2, "not far fewer than it may: {most}");
        let blocks = Options { keep_blocks: NonZeroU64::new(1), ..bounded };
        assert!(grow(blocks).1 > first);
        let blocks = Options { keep_blocks: NonZeroU64::new(70), ..bounded };
        assert_eq!(grow(blocks).1, first);
        // However little it may keep.
        let (_, first) = grow(Options { keep_bytes: NonZeroU64::new(1), ..options });
        assert!(first > Height(1) && first < Height(80));
    }
}

#[test]
fn a_file_that_someone_has_mapped_is_not_written_again() {
    let dir = scratch();
    let (mut log, reader, _) = open(dir.path());
    let (mut maker, mut blocks) = (Maker::new(42), Vec::new());
    append(&mut log, &mut maker, &mut blocks, 40);
    let spares = || {
        let names = std::fs::read_dir(dir.path()).unwrap();
        names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|it| it == "spare")).count()
    };
    let segments = reader.segments();
    // Another process: this one opens the log as such a one does.
    let outside = LogReader::open(dir.path()).unwrap();
    log.prune(segments[1].first).unwrap();
    assert_eq!(spares(), 0);
    drop(outside);
    // A block of the second segment is in use, the third is not.
    let shown = reader.block(segments[1].first).unwrap().unwrap();
    log.prune(segments[3].first).unwrap();
    assert_eq!(spares(), 1);
    append(&mut log, &mut maker, &mut blocks, 20);
    assert_same(&shown, &blocks[segments[1].first.0 as usize - 1]);
}

#[test]
fn blocks_that_may_be_taken_back_are_not_pruned() {
    let dir = scratch();
    let (mut log, reader, _) = Log::open(dir.path(), Options { reversible: true, ..small() }).unwrap();
    let (mut maker, mut blocks) = (Maker::new(43), Vec::new());
    append(&mut log, &mut maker, &mut blocks, 40);
    assert_eq!(log.prune(Height(30)).unwrap().segments, 0);
    let segments = reader.segments();
    log.set_irreversible(segments[2].first).unwrap();
    assert_eq!(log.prune(Height(30)).unwrap().first, segments[2].first);
    let error = log.rollback(Height(segments[2].first.0 - 2)).unwrap_err();
    assert!(error.to_string().contains("irreversible"), "{error}");
    log.rollback(segments[2].first).unwrap();
    blocks.truncate(segments[2].first.0 as usize);
    assert_holds_from(&reader, &blocks, segments[2].first);
}
