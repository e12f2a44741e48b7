//! What can be mended in a damaged log, and what only goes when it is told to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::chain::{Height, MainBlock};
use mainstem_storage::{
    Error, Flaw, Log, LogReader, LogWriter, Mend, Options, Recovery, Repair, RepairOptions, SegmentInfo,
    check, repair,
};
use support::{Maker, assert_holds, options, scratch};

const SEGMENT: usize = 1 << 16;
const RECORDS: usize = 4096;
/// Where the key stands in `LOG`.
const KEY: usize = 64;

fn open(dir: &Path) -> Result<(LogWriter, LogReader, Recovery), Error> {
    Log::open(dir, Options { segment_bytes: SEGMENT as u64, ..options() })
}

/// A log of several segments, closed.
fn log(dir: &Path, seed: u64) -> (Vec<MainBlock>, Vec<SegmentInfo>) {
    let (mut log, reader, _) = open(dir).unwrap();
    let mut maker = Maker::new(seed);
    let mut blocks = Vec::new();
    while reader.segments().len() < 6 || reader.segments()[5].blocks < 4 {
        assert!(reader.segments().len() <= 6);
        blocks.push(maker.random_block(40));
        log.append(&blocks[blocks.len() - 1]).unwrap();
        log.sync().unwrap();
    }
    (blocks, reader.segments())
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn spoil(path: &Path, range: std::ops::Range<usize>) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[range].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}

fn run(dir: &Path, apply: bool, drop_from: Option<u64>) -> Result<Repair, Error> {
    let drop_from = drop_from.map(Height);
    repair(dir, RepairOptions { apply, drop_from }, &mut |done, all| assert!(done <= all))
}

/// A dry run changes nothing and says `mends`; a real one does them, and the log then holds `blocks`.
fn assert_mended(dir: &Path, drop_from: Option<u64>, mends: &[Mend], blocks: &[MainBlock]) {
    let before = files(dir);
    let dry = run(dir, false, drop_from).unwrap();
    assert_eq!(dry.mends, mends);
    assert!(dry.remaining.is_empty(), "{:?}", dry.remaining);
    assert_eq!(files(dir), before);
    let done = run(dir, true, drop_from).unwrap();
    assert_eq!(done.mends, mends);
    assert!(done.remaining.is_empty(), "{:?}", done.remaining);
    assert_eq!((dry.head.0, done.head.0), (blocks.len() as u64, blocks.len() as u64));
    let again = run(dir, false, None).unwrap();
    assert!(again.mends.is_empty() && again.remaining.is_empty(), "{again:?}");
    let report = check(dir, true, &mut |_, _| ()).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    assert_holds(&LogReader::open(dir).unwrap(), blocks);
    let (log, reader, recovery) = open(dir).unwrap();
    assert!(recovery.damage.is_empty() && recovery.cut.is_none());
    assert_holds(&reader, blocks);
    drop(log);
}

fn index_of(segment: &SegmentInfo) -> Mend {
    let last = Height(segment.first.0 + segment.blocks - 1);
    Mend::RewriteIndex { file: segment.file.clone(), first: segment.first, last }
}

#[test]
fn a_sound_log_is_left_as_it_is() {
    let dir = scratch();
    let (blocks, _) = log(dir.path(), 50);
    assert_mended(dir.path(), None, &[], &blocks);
    let (_writer, _, _) = open(dir.path()).unwrap();
    assert!(matches!(run(dir.path(), false, None), Err(Error::Locked { .. })));
    let absent = dir.path().join("absent");
    assert!(matches!(run(&absent, false, None), Err(Error::NoLog { .. })));
    assert!(!absent.exists());
}

#[test]
fn trailers_and_indexes_are_made_again_from_the_records() {
    for damaged in [vec![1], vec![4], vec![1, 2], vec![0, 3, 4]] {
        for trailer in [true, false] {
            let dir = scratch();
            let (blocks, segments) = log(dir.path(), 51);
            let range = if trailer { SEGMENT - 128..SEGMENT } else { SEGMENT - 300..SEGMENT - 128 };
            for index in &damaged {
                spoil(&segments[*index].file, range.clone());
            }
            let mends: Vec<Mend> = damaged.iter().map(|index| index_of(&segments[*index])).collect();
            assert_mended(dir.path(), None, &mends, &blocks);
        }
    }
}

#[test]
fn headers_marks_and_leftovers_are_made_right() {
    let dir = scratch();
    let (blocks, segments) = log(dir.path(), 52);
    let unfinished = dir.path().join("0000000007.seg.tmp");
    std::fs::write(&unfinished, b"half").unwrap();
    spoil(&segments[2].file, 0..4096);
    spoil(&segments[5].file, 8..16);
    let header = |index: usize| Mend::RewriteHeader { file: segments[index].file.clone() };
    let mends = [Mend::RemoveUnfinished { file: unfinished }, header(2), header(5)];
    assert_mended(dir.path(), None, &mends, &blocks);

    let mark = dir.path().join("MARK");
    let head = Height(blocks.len() as u64);
    for gone in [true, false] {
        if gone {
            std::fs::remove_file(&mark).unwrap();
        } else {
            spoil(&mark, 24..40);
        }
        assert!(open(dir.path()).is_err());
        assert_mended(dir.path(), None, &[Mend::RewriteMark { file: mark.clone(), head }], &blocks);
    }
    let (mut log, reader, _) = open(dir.path()).unwrap();
    let mut maker = Maker::new(53);
    for block in &blocks {
        maker.height = block.header.height.0;
        maker.heads.extend(block.sections.iter().map(|section| (section.chain.0, section.last_height().0)));
    }
    let next = maker.random_block(50);
    log.append(&next).unwrap();
    log.sync().unwrap();
    assert_holds(&reader, &[&blocks[..], &[next]].concat());
}

#[test]
fn damaged_blocks_stay_until_it_is_said_which_may_go() {
    // In a sealed segment, in the newest one, and as zeros at the very end.
    for place in 0..4 {
        let dir = scratch();
        let (blocks, segments) = log(dir.path(), 54);
        let segment = &segments[if place == 0 { 2 } else { 5 }];
        let bytes = std::fs::read(&segment.file).unwrap();
        let mut starts = vec![RECORDS];
        for _ in 1..segment.blocks {
            let at = starts[starts.len() - 1];
            let body = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
            starts.push(at + 64 + body.next_multiple_of(64));
        }
        let (damaged, first) = match place {
            0 | 1 => (1, segment.first.0 + 1),
            2 => (0, segment.first.0),
            _ => (starts.len() - 1, segment.first.0 + segment.blocks - 1),
        };
        spoil(&segment.file, starts[damaged] + 100..starts[damaged] + 110);
        let before = files(dir.path());
        for apply in [false, true] {
            let found = run(dir.path(), apply, None).unwrap();
            assert!(found.mends.is_empty(), "{:?}", found.mends);
            let place = format!("at byte {}, record {first}: wrong checksum", starts[damaged]);
            assert!(found.remaining[0].to_string().contains(&place), "{:?}", found.remaining);
        }
        assert_eq!(files(dir.path()), before, "nothing is dropped without being told to");
        let error = run(dir.path(), true, Some(blocks.len() as u64 + 1)).unwrap_err();
        assert!(matches!(error, Error::NoSuchBlock { .. }), "{error}");
        // Too little does not help, and says so.
        let rest = &blocks[first as usize - 1..];
        // A damaged block's side blocks are not counted: they cannot be read. Nor are those that only a scan
        // behind damage would find.
        let side_blocks = rest.iter().map(|block| block.header.leaf_count);
        let readable: u64 = if place == 0 { side_blocks.skip(1).sum() } else { 0 };
        let mend =
            Mend::Drop { first: Height(first), last: Height(blocks.len() as u64), side_blocks: readable };
        assert_mended(dir.path(), Some(first), &[mend], &blocks[..first as usize - 1]);
    }
}

#[test]
fn a_missing_segment_is_named_and_what_came_before_it_can_be_kept() {
    for missing in [2, 5] {
        let dir = scratch();
        let (blocks, segments) = log(dir.path(), 55);
        std::fs::remove_file(&segments[missing].file).unwrap();
        let found = run(dir.path(), true, None).unwrap();
        assert!(found.mends.is_empty(), "{:?}", found.mends);
        let text = found.remaining[0].to_string();
        assert!(text.contains(&format!("{} is missing", segments[missing].file.display())), "{text}");
        let first = segments[missing].first;
        let later = &segments[missing + 1..];
        let side_blocks = later.iter().map(|segment| segment.leaves).sum();
        let mend = Mend::Drop { first, last: Height(blocks.len() as u64), side_blocks };
        assert_mended(dir.path(), Some(first.0), &[mend], &blocks[..first.0 as usize - 1]);
    }
}

#[test]
fn a_segment_of_a_newer_format_is_refused_and_not_written_again() {
    for index in [1, 5] {
        let dir = scratch();
        let (_, segments) = log(dir.path(), 58);
        let file = &segments[index].file;
        let mut bytes = std::fs::read(file).unwrap();
        bytes[16] = 2;
        // The version alone: that is damage.
        std::fs::write(file, &bytes).unwrap();
        let damaged = run(dir.path(), false, None).unwrap();
        assert_eq!(damaged.mends, [Mend::RewriteHeader { file: file.clone() }]);

        let key: [u8; 32] = std::fs::read(dir.path().join("LOG")).unwrap()[KEY..KEY + 32].try_into().unwrap();
        let mut place = [0; 64];
        place[..32].copy_from_slice(&key);
        place[32] = 2;
        place[40] = index as u8 + 1;
        let seed = xxhash_rust::xxh3::xxh3_64(&place);
        let sum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[8..RECORDS], seed);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(file, &bytes).unwrap();
        let before = files(dir.path());
        let is_newer = |error: Error| {
            let Error::Damaged { file: of, flaw: Flaw::Field { field: "version", found: 2, .. }, .. } = error
            else {
                return false;
            };
            of == *file
        };
        assert!(is_newer(open(dir.path()).unwrap_err()));
        for (apply, drop_from) in [(false, None), (true, None), (true, Some(3))] {
            assert!(is_newer(run(dir.path(), apply, drop_from).unwrap_err()));
        }
        assert_eq!(files(dir.path()), before);
    }
}
