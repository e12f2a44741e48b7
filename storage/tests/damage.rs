//! What a log says of bytes that are not what it wrote.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{Error, Log, LogReader, LogWriter, Options, Part, Prepare, Recovery, check};
use support::{Maker, Rng, Sim, assert_holds, assert_same, options, scratch};

const RECORDS: usize = 4096;

fn open(dir: &Path) -> Result<(LogWriter, LogReader, Recovery), Error> {
    Log::open_on(Arc::new(Sim::new(dir)), dir, options())
}

/// A log of `count` blocks, each synced.
fn log(dir: &Path, seed: u64, count: usize, leaves: u32) -> Vec<MainBlock> {
    let (mut log, _, _) = open(dir).unwrap();
    append(&mut log, seed, count, leaves)
}

/// The same, as a process leaves it that was killed: the end of the log is not marked.
fn killed_log(dir: &Path, seed: u64, count: usize, leaves: u32) -> Vec<MainBlock> {
    let (mut log, _, _) = open(dir).unwrap();
    let mark = std::fs::read(dir.join("MARK")).unwrap();
    let blocks = append(&mut log, seed, count, leaves);
    drop(log);
    std::fs::write(dir.join("MARK"), mark).unwrap();
    blocks
}

fn append(log: &mut LogWriter, seed: u64, count: usize, leaves: u32) -> Vec<MainBlock> {
    let mut maker = Maker::new(seed);
    let blocks: Vec<MainBlock> = (0..count).map(|_| maker.random_block(leaves)).collect();
    for block in &blocks {
        log.append(block).unwrap();
        log.sync().unwrap();
    }
    blocks
}

fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.seg"))
}

fn change(path: &Path, offset: usize, change: impl FnOnce(&mut u8)) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    change(&mut byte[0]);
    file.write_all_at(&byte, offset as u64).unwrap();
}

/// The offsets of all records in a segment file, and where the last one ends.
fn records(bytes: &[u8]) -> (Vec<usize>, usize) {
    let mut offsets = Vec::new();
    let mut at = RECORDS;
    while bytes[at + 8..at + 12] == *b"mREC" {
        offsets.push(at);
        let body = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
        at += 64 + body.next_multiple_of(64);
    }
    (offsets, at)
}

#[test]
fn every_bit_of_the_last_record_matters() {
    let dir = scratch();
    let blocks = log(dir.path(), 20, 3, 3);
    let path = segment(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    let (offsets, end) = records(&bytes);
    assert_eq!(offsets.len(), 3);
    for at in offsets[2]..end {
        for bit in 0..8 {
            change(&path, at, |byte| *byte ^= 1 << bit);
            let reader = LogReader::open(dir.path()).unwrap();
            assert_eq!(reader.head(), Height(2), "bit {bit} of byte {at}");
            change(&path, at, |byte| *byte ^= 1 << bit);
        }
    }
    assert_holds(&LogReader::open(dir.path()).unwrap(), &blocks);
}

#[test]
fn a_last_record_cut_anywhere_is_cut_off() {
    let dir = scratch();
    let blocks = killed_log(dir.path(), 21, 3, 3);
    let bytes = std::fs::read(segment(dir.path(), 1)).unwrap();
    let (offsets, end) = records(&bytes);
    for kept in (offsets[2]..end).step_by(7) {
        let torn = scratch();
        for name in ["LOG", "MARK"] {
            std::fs::copy(dir.path().join(name), torn.path().join(name)).unwrap();
        }
        let mut bytes = bytes.clone();
        // A record that ends in zeros is whole without them.
        let lost = bytes[kept..end].iter().any(|byte| *byte != 0);
        bytes[kept..].fill(0);
        std::fs::write(segment(torn.path(), 1), bytes).unwrap();
        let (mut log, reader, recovery) = open(torn.path()).unwrap();
        assert_holds(&reader, &blocks[..if lost { 2 } else { 3 }]);
        if !lost {
            continue;
        }
        match recovery.cut {
            None => assert_eq!(kept, offsets[2]),
            Some(cut) => {
                assert_eq!((cut.record, cut.offset), (3, offsets[2] as u64));
                assert!(cut.bytes <= (kept - offsets[2]) as u64);
            }
        }
        log.append(&blocks[2]).unwrap();
        log.sync().unwrap();
        assert_holds(&reader, &blocks);
    }
}

#[test]
fn the_end_of_a_log_that_was_closed_is_not_cut_off() {
    let dir = scratch();
    let blocks = log(dir.path(), 27, 3, 3);
    let path = segment(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    let (offsets, end) = records(&bytes);
    for start in [offsets[2], offsets[1]] {
        let mut zeroed = bytes.clone();
        zeroed[start..end].fill(0);
        std::fs::write(&path, zeroed).unwrap();
        let lost = if start == offsets[2] { 3 } else { 2 };
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(error, Error::Damaged { part: Part::Record(record), .. } if record == lost),
            "{error}"
        );
        let report = check(dir.path(), false, &mut |_, _| ()).unwrap();
        assert!(
            report.damage[0].to_string().contains(&format!("record {lost}: nothing there")),
            "{report:?}"
        );
    }
    std::fs::write(&path, bytes).unwrap();
    assert_holds(&open(dir.path()).unwrap().1, &blocks);
}

#[test]
fn damage_that_a_later_record_disproves_as_torn_is_not_cut_away() {
    let dir = scratch();
    let blocks = log(dir.path(), 22, 4, 30);
    let path = segment(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    let (offsets, _) = records(&bytes);
    // In the session that wrote it: the record after it says that it was durable.
    change(&path, offsets[1] + 100, |byte| *byte ^= 1);
    for _ in 0..2 {
        let error = open(dir.path()).unwrap_err();
        match error {
            Error::Damaged { file, offset, part, .. } => {
                assert_eq!((file, offset, part), (path.clone(), offsets[1] as u64, Part::Record(2)));
            }
            other => panic!("{other}"),
        }
    }
    // A reader still shows what comes before and after it.
    let reader = LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.head(), Height(4));
    for block in &blocks {
        let height = block.header.height;
        match reader.block(height) {
            Ok(found) if height != Height(2) => assert_same(&found.unwrap(), block),
            Err(error) if height == Height(2) => {
                let text = error.to_string();
                assert!(
                    text.contains(&format!("at byte {}, record 2: wrong checksum", offsets[1])),
                    "{text}"
                );
            }
            other => panic!("{height}: {other:?}"),
        }
        for section in &block.sections {
            match reader.locate(section.chain, section.first_height) {
                Ok(found) => assert_eq!(found, Some(height)),
                Err(_) => assert_eq!(height, Height(2)),
            }
        }
    }
    assert_eq!(reader.damage().len(), 1);
    let report = check(dir.path(), false, &mut |_, _| ()).unwrap();
    assert_eq!((report.damage.len(), report.records), (1, 3));
    drop(reader);
    change(&path, offsets[1] + 100, |byte| *byte ^= 1);
    // The last record of a session before: the mark says that it was durable.
    drop(open(dir.path()).unwrap());
    change(&path, offsets[3] + 100, |byte| *byte ^= 1);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { part: Part::Record(4), .. }), "{error}");
    assert!(std::fs::read(&path).unwrap()[offsets[3]..offsets[3] + 64] == bytes[offsets[3]..offsets[3] + 64]);
}

#[test]
fn damage_in_a_sealed_segment_is_named_and_hides_nothing_else() {
    let dir = scratch();
    let blocks = log(dir.path(), 23, 16, 2500);
    let path = segment(dir.path(), 2);
    let of_segment = {
        let info = LogReader::open(dir.path()).unwrap().segments().swap_remove(1);
        info.first.0..info.first.0 + info.blocks
    };
    let bytes = std::fs::read(&path).unwrap();
    let (offsets, end) = records(&bytes);
    let reader = LogReader::open(dir.path()).unwrap();
    let first = reader.segments()[1].first.0;
    assert!(reader.segments()[1].sealed && offsets.len() > 1);
    let index = trailer_word(&bytes, 72);
    let mut rng = Rng(23);
    let (mut in_records, mut in_index, mut at_opening) = (0, 0, 0);
    for round in 0..200 {
        // The header, the records, the index with the trailer, anything.
        let at = match round % 4 {
            0 => rng.below(RECORDS as u64) as usize,
            1 => RECORDS + rng.below((end - RECORDS) as u64) as usize,
            2 => index + rng.below((bytes.len() - index) as u64) as usize,
            _ => rng.below(bytes.len() as u64) as usize,
        };
        let bit = 1 << rng.below(8);
        change(&path, at, |byte| *byte ^= bit);
        let damaged_record = offsets.iter().rposition(|start| *start <= at).filter(|_| at < end);
        match LogReader::open(dir.path()) {
            Err(error) => panic!("{at}: {error}"),
            Ok(reader) => {
                assert_eq!(reader.head(), Height(16));
                let lost = reader.damage();
                if let [error] = &lost[..] {
                    assert!(at < RECORDS || at >= bytes.len() - 128, "{at}: {error}");
                    let (first, last) = (of_segment.start, of_segment.end - 1);
                    let begin = format!("main blocks {first} to {last} cannot be read: {}", path.display());
                    assert!(error.to_string().starts_with(&begin), "{error}");
                    at_opening += 1;
                }
                for block in &blocks {
                    let height = block.header.height;
                    match reader.block(height) {
                        Ok(found) => {
                            assert_same(&found.unwrap(), block);
                            assert_ne!(
                                damaged_record.map(|index| first + index as u64),
                                Some(height.0),
                                "{at}"
                            );
                        }
                        Err(error) if !lost.is_empty() => {
                            assert!(of_segment.contains(&height.0), "{at}: {error}");
                            assert!(error.to_string().contains("0000000002.seg"), "{error}");
                        }
                        Err(error) if damaged_record.is_some() => {
                            let index = damaged_record.unwrap();
                            assert_eq!(height.0, first + index as u64);
                            let text = error.to_string();
                            let place = format!("at byte {}, record {height}:", offsets[index]);
                            assert!(text.contains(&place) && text.contains("0000000002.seg"), "{text}");
                            in_records += 1;
                        }
                        Err(error) => {
                            assert!(
                                at >= end && error.to_string().contains("table of offsets"),
                                "{at}: {error}"
                            );
                            in_index += 1;
                        }
                    }
                }
                for chain in (0..9).map(ChainId) {
                    for height in [1, 100, 5000, 40_000] {
                        // Right or an error, never a panic and never another answer.
                        let expected = blocks.iter().find(|block| {
                            block.sections.iter().any(|section| {
                                section.chain == chain
                                    && (section.first_height.0..=section.last_height().0).contains(&height)
                            })
                        });
                        if let Ok(found) = reader.locate(chain, Height(height)) {
                            assert_eq!(found, expected.map(|block| block.header.height));
                        }
                    }
                }
                let found = check(dir.path(), true, &mut |_, _| ()).unwrap().damage.len();
                assert!(found > 0 || !is_used(&bytes, at, end), "{at} is used and its damage was not found");
            }
        }
        change(&path, at, |byte| *byte ^= bit);
    }
    assert!(in_records > 20 && in_index > 0 && at_opening > 40, "{in_records} {in_index} {at_opening}");
    assert_holds(&LogReader::open(dir.path()).unwrap(), &blocks);
}

/// Whether a byte of a sealed segment is under a checksum.
fn is_used(bytes: &[u8], at: usize, end: usize) -> bool {
    let word = |offset| trailer_word(bytes, offset);
    let (records, chains, runs, index) = (word(56), word(60), word(64), word(72));
    let tables = index..index + chains * 16 + runs * 16 + records * 4;
    at < end || tables.contains(&at) || at >= bytes.len() - 128
}

fn trailer_word(bytes: &[u8], offset: usize) -> usize {
    let at = bytes.len() - 128 + offset;
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn a_missing_short_or_swapped_segment_is_named_and_the_rest_is_read() {
    let dir = scratch();
    let blocks = log(dir.path(), 24, 16, 2500);
    let segments = LogReader::open(dir.path()).unwrap().segments();
    let last = segments.len() as u32;
    assert!(last > 3);
    for number in 1..=last {
        let path = segment(dir.path(), number);
        let info = &segments[number as usize - 1];
        let gone = info.first.0..info.first.0 + info.blocks;
        let judge = |is_right: &dyn Fn(&Error) -> bool| {
            let reader = LogReader::open(dir.path()).unwrap();
            let damage = reader.damage();
            assert_eq!(damage.len(), 1, "{damage:?}");
            let cause = |error: &Error| match error {
                Error::Lost { first, last, cause } => {
                    assert_eq!((first.0, last.0), (gone.start, gone.end - 1), "{error}");
                    is_right(cause)
                }
                other => is_right(other),
            };
            assert!(cause(&damage[0]), "{number}: {}", damage[0]);
            for block in &blocks {
                let height = block.header.height;
                match reader.block(height) {
                    Ok(Some(found)) => assert_same(&found, block),
                    Ok(None) => assert!(gone.contains(&height.0) && number == last),
                    Err(_) => assert!(gone.contains(&height.0), "{height}"),
                }
                for section in &block.sections {
                    match reader.locate(section.chain, section.first_height) {
                        Ok(None) => assert!(gone.contains(&height.0) && number == last, "{height}"),
                        Ok(found) => assert_eq!(found, Some(height)),
                        Err(error) => assert!(gone.contains(&height.0), "{height}: {error}"),
                    }
                }
            }
            // Writing goes on after the last two only.
            match open(dir.path()) {
                Ok((_, _, recovery)) => {
                    assert!(number < last - 1);
                    assert!(cause(&recovery.damage[0]), "{:?}", recovery.damage);
                }
                Err(error) => assert!(number >= last - 1 && cause(&error), "{number}: {error}"),
            }
        };
        let away = dir.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        judge(&|error| matches!(error, Error::Missing { file, .. } if *file == path));
        std::fs::copy(&away, &path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500_000).unwrap();
        judge(&|error| matches!(error, Error::SegmentLength { file, found: 500_000, .. } if *file == path));
        let other = segment(dir.path(), if number == 1 { 2 } else { 1 });
        std::fs::copy(&other, &path).unwrap();
        judge(&|error| matches!(error, Error::Damaged { file, .. } if *file == path));
        std::fs::rename(&away, &path).unwrap();
    }
    assert_holds(&open(dir.path()).unwrap().1, &blocks);
}

#[test]
fn a_lost_segment_is_told_of_and_not_the_empty_one_after_it() {
    let dir = scratch();
    let options = Options { prepare: Prepare::Ahead, ..options() };
    let (mut log, ..) = Log::open(dir.path(), options).unwrap();
    append(&mut log, 28, 3, 2);
    let (first, ahead) = (segment(dir.path(), 1), segment(dir.path(), 2));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ahead.exists() {
        assert!(Instant::now() < deadline, "no segment is made ahead");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(log);
    std::fs::OpenOptions::new().write(true).open(&first).unwrap().set_len(100).unwrap();
    let short = Log::open(dir.path(), options).unwrap_err().to_string();
    assert!(short.contains("0000000001.seg has 100 bytes"), "{short}");
    std::fs::remove_file(&first).unwrap();
    let gone = Log::open(dir.path(), options).unwrap_err().to_string();
    assert!(gone.contains("0000000001.seg is missing"), "{gone}");
}

#[test]
fn the_small_files_are_checked_too() {
    let dir = scratch();
    log(dir.path(), 25, 2, 10);
    for name in ["LOG", "MARK"] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            change(&path, at, |byte| *byte ^= 0x10);
            for error in [open(dir.path()).unwrap_err(), LogReader::open(dir.path()).unwrap_err()] {
                assert!(
                    matches!(&error, Error::Damaged { file, .. } if *file == path),
                    "{name} {at}: {error}"
                );
            }
            change(&path, at, |byte| *byte ^= 0x10);
        }
        for length in [0, 1, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(matches!(open(dir.path()).unwrap_err(), Error::Damaged { .. }));
        }
        std::fs::remove_file(&path).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::LogFileLost { .. } | Error::Missing { .. }), "{error}");
        std::fs::write(&path, good).unwrap();
    }
    assert!(open(dir.path()).is_ok());
}

#[test]
fn the_file_of_operations_is_checked_and_keeps_no_reader_from_the_blocks() {
    let dir = scratch();
    let (mut log, _, _) = open(dir.path()).unwrap();
    let mut maker = Maker::new(27);
    maker.operates = true;
    let blocks: Vec<MainBlock> = (0..12).map(|_| maker.random_block(10)).collect();
    blocks.iter().for_each(|block| log.append(block).unwrap());
    log.close().unwrap();
    let path = dir.path().join("OPERATIONS");
    let good = std::fs::read(&path).unwrap();
    let is_ours = |error: &Error| matches!(error, Error::Damaged { file, .. } if *file == path);
    let lengths = [0, 1, 63, 64, good.len() - 1].map(|length| good[..length].to_vec());
    let flipped = (0..good.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    });
    for bytes in lengths.into_iter().chain(flipped).chain([[&good[..], &[0; 8]].concat()]) {
        std::fs::write(&path, bytes).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(is_ours(&error), "{error}");
        let reader = LogReader::open(dir.path()).unwrap();
        assert_holds(&reader, &blocks);
        assert!(reader.damage().iter().any(is_ours));
        assert!(reader.operations().is_err());
    }
    std::fs::write(&path, &good).unwrap();
    let (_log, reader, _) = open(dir.path()).unwrap();
    assert_eq!(*reader.operations().unwrap(), *support::operations(&blocks));
}

#[test]
fn a_whole_log_of_noise_never_panics() {
    let dir = scratch();
    let blocks = log(dir.path(), 26, 9, 2500);
    let segments = LogReader::open(dir.path()).unwrap().segments().len() as u32;
    assert!(segments > 1);
    let good: Vec<Vec<u8>> =
        (1..=segments).map(|number| std::fs::read(segment(dir.path(), number)).unwrap()).collect();
    for seed in 0..60 {
        let mut rng = Rng(seed);
        for (index, bytes) in good.iter().enumerate() {
            let mut bytes = bytes.clone();
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                let end = (at + 1 + rng.below(3000) as usize).min(bytes.len());
                bytes[at..end].fill_with(|| 0);
                if rng.below(2) == 0 {
                    bytes[at..end].fill_with(|| rng.next() as u8);
                }
            }
            std::fs::write(segment(dir.path(), index as u32 + 1), bytes).unwrap();
        }
        let _ = check(dir.path(), true, &mut |_, _| ());
        if let Ok(reader) = LogReader::open(dir.path()) {
            for block in &blocks {
                if let Ok(Some(found)) = reader.block(block.header.height) {
                    assert_same(&found, block);
                }
            }
        }
    }
}
