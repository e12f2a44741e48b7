//! What a log does when another program cuts its files while they are mapped: no signal ends the process, what is
//! gone is an error that names the file, the rest is served.
//!
//! Each case runs in a process of its own, so that the signal it might die of is seen by the test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::chain::{BlockView, ChainId, Height, MainBlock, Section};
use engine::store::{BlockReader, StoreError};
use mainstem_storage::{Log, LogReader, LogWriter};
use support::{Maker, Rng, Sim, assert_holds, copy, options, scratch};

/// A log of `count` blocks of up to about 10,000 side blocks.
fn log(dir: &Path, seed: u64, count: usize) -> (LogWriter, LogReader, Vec<MainBlock>) {
    let (mut log, reader, _) = Log::open_on(Arc::new(Sim::new(dir)), dir, options()).unwrap();
    let mut maker = Maker::new(seed);
    let blocks = (0..count).map(|_| {
        let block = maker.random_block(2500);
        log.append(&block).unwrap();
        log.sync().unwrap();
        block
    });
    let blocks = blocks.collect();
    (log, reader, blocks)
}

fn cut(file: &Path, length: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Runs the rest of the test `name` in a process of its own, and fails if that fails.
fn alone(name: &str, case: impl FnOnce()) {
    const CHILD: &str = "MAINSTEM_TEST_ALONE";
    if std::env::var_os(CHILD).is_some_and(|child| child == *name) {
        return case();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(CHILD, name).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("running 1 test"), "no such test: {text}");
    assert!(output.status.success(), "{}: {errors}", output.status);
}

/// The block, if all of it was there when it was read.
fn read(reader: &LogReader, height: Height) -> Result<MainBlock, StoreError> {
    let block = reader.block(height)?.expect("below the head");
    let read = copy(&block);
    block.intact()?;
    Ok(read)
}

fn assert_names(error: &StoreError, file: &Path) {
    let text = error.to_string();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(name) && text.contains("was cut short while it was mapped"), "{text}");
}

/// Every block and every look-up is right, or an error that says that `file` was cut. Gives the heights of blocks
/// that are not served.
fn assert_right_or_named(reader: &LogReader, blocks: &[MainBlock], file: &Path) -> Vec<u64> {
    let mut gone = Vec::new();
    for block in blocks {
        let height = block.header.height;
        match read(reader, height) {
            Ok(found) => assert_eq!(&found, block),
            Err(error) => {
                assert_names(&error, file);
                gone.push(height.0);
            }
        }
        for section in &block.sections {
            for side in [section.first_height, section.last_height()] {
                match reader.locate(section.chain, side) {
                    Ok(found) => assert_eq!(found, Some(height)),
                    Err(error) => assert_names(&error, file),
                }
            }
        }
    }
    for chain in (0..9).map(ChainId) {
        let head =
            blocks.iter().rev().flat_map(|block| &block.sections).find(|section| section.chain == chain);
        match reader.chain_head(chain) {
            Ok(found) => assert_eq!(found, head.map(Section::last_height)),
            Err(error) => assert_names(&error, file),
        }
    }
    gone
}

fn segments(reader: &LogReader) -> Vec<(PathBuf, u64, u64)> {
    let infos = reader.segments().into_iter();
    infos.map(|info| (info.file, info.first.0, info.first.0 + info.blocks)).collect()
}

#[test]
fn a_sealed_segment_that_is_cut_is_an_error_and_the_rest_is_served() {
    alone("a_sealed_segment_that_is_cut_is_an_error_and_the_rest_is_served", || {
        let size = options().segment_bytes;
        // Nothing left, a part of the records, no index, a part of the last page.
        for length in [0, 5000, size / 2, size - 4096, size - 129] {
            for warm in [false, true] {
                let dir = scratch();
                let (writer, own, blocks) = log(dir.path(), 40, 20);
                let other = LogReader::open(dir.path()).unwrap();
                let of_segments = segments(&own);
                assert!(of_segments.len() > 3);
                if warm {
                    assert_holds(&own, &blocks);
                    assert_holds(&other, &blocks);
                }
                let (file, first, end) = &of_segments[1];
                cut(file, length);
                for reader in [&own, &other] {
                    let gone = assert_right_or_named(reader, &blocks, file);
                    assert_eq!(gone, (*first..*end).collect::<Vec<_>>(), "cut to {length}, warm: {warm}");
                    // It stays so.
                    assert_eq!(assert_right_or_named(reader, &blocks, file), gone);
                }
                drop(writer);
            }
        }
    });
}

#[test]
fn an_active_segment_that_is_cut_still_serves_what_is_left() {
    alone("an_active_segment_that_is_cut_still_serves_what_is_left", || {
        let dir = scratch();
        let (_writer, own, blocks) = log(dir.path(), 41, 18);
        let other = LogReader::open(dir.path()).unwrap();
        let (file, first, end) = segments(&own).pop().unwrap();
        assert!(end - first > 2, "{first}..{end}");
        // Into the second record of the segment.
        let block = own.block(Height(first)).unwrap().unwrap();
        cut(&file, 4096 + block.record_bytes() + 100);
        for reader in [&own, &other] {
            let gone = assert_right_or_named(reader, &blocks, &file);
            assert_eq!(gone, (first + 1..end).collect::<Vec<_>>());
        }
        // Who opens it now is told at once.
        let new = LogReader::open(dir.path()).unwrap();
        let damage: Vec<String> = new.damage().iter().map(ToString::to_string).collect();
        assert!(damage.len() == 1 && damage[0].contains(file.to_str().unwrap()), "{damage:?}");
        assert_eq!(new.head(), Height(first - 1));
    });
}

#[test]
fn a_block_in_hand_knows_that_it_is_gone() {
    alone("a_block_in_hand_knows_that_it_is_gone", || {
        let dir = scratch();
        let (_writer, reader, blocks) = log(dir.path(), 42, 8);
        let (file, first, end) = segments(&reader)[0].clone();
        let held: Vec<_> =
            (first..end).map(|height| reader.block(Height(height)).unwrap().unwrap()).collect();
        let elsewhere = reader.block(Height(end)).unwrap().unwrap();
        for block in &held {
            block.intact().unwrap();
        }
        cut(&file, 4096 + held[0].record_bytes());
        for (block, expected) in held.iter().zip(&blocks).skip(1) {
            assert_eq!(block.columns().hashes.len(), expected.columns.len());
            assert!(block.columns().hashes.iter().all(|hash| hash.0 == [0; 32]));
            assert_names(&block.intact().unwrap_err(), &file);
        }
        held[0].intact().unwrap();
        assert_eq!(copy(&held[0]), blocks[0]);
        elsewhere.intact().unwrap();
    });
}

#[test]
fn threads_that_read_while_a_file_is_cut_get_no_wrong_answer() {
    alone("threads_that_read_while_a_file_is_cut_get_no_wrong_answer", || {
        let (served, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        for seed in 0..12 {
            let dir = scratch();
            let (_writer, own, blocks) = log(dir.path(), 43 + seed, 10);
            let other = LogReader::open(dir.path()).unwrap();
            let mut rng = Rng(seed);
            let of_segments = segments(&own);
            let (file, ..) = &of_segments[rng.below(of_segments.len() as u64) as usize];
            let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
            std::thread::scope(|scope| {
                for reader in [&own, &other, &own, &other] {
                    let (blocks, stop, rounds, served, refused) =
                        (&blocks, &stop, &rounds, &served, &refused);
                    scope.spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            let gone = assert_right_or_named(reader, blocks, file).len() as u64;
                            served.fetch_add(blocks.len() as u64 - gone, Ordering::Relaxed);
                            refused.fetch_add(gone, Ordering::Relaxed);
                            rounds.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                let wait_for = |more: u64| {
                    let until = rounds.load(Ordering::Relaxed) + more;
                    while rounds.load(Ordering::Relaxed) < until {
                        std::thread::yield_now();
                    }
                };
                wait_for(rng.below(5));
                let mut length = options().segment_bytes;
                while length > 0 {
                    length = length.saturating_sub(1 + rng.below(500_000));
                    cut(file, length);
                    for _ in 0..rng.below(2000) {
                        std::hint::spin_loop();
                    }
                }
                wait_for(5);
                stop.store(true, Ordering::Relaxed);
            });
        }
        assert!(served.into_inner() > 0 && refused.into_inner() > 0);
    });
}

#[test]
fn recovery_never_takes_a_cut_for_the_end_of_the_log() {
    alone("recovery_never_takes_a_cut_for_the_end_of_the_log", || {
        let (mut whole, mut refused) = (0, 0);
        for seed in 0..40 {
            let dir = scratch();
            let (writer, own, blocks) = log(dir.path(), 60, 6);
            let (file, ..) = segments(&own).pop().unwrap();
            drop((writer, own));
            std::thread::scope(|scope| {
                let file = &file;
                scope.spawn(move || {
                    let mut rng = Rng(seed);
                    for _ in 0..rng.below(1 << (seed % 20)) {
                        std::hint::spin_loop();
                    }
                    cut(file, 4096 + rng.below(100_000));
                });
                match Log::open_on(Arc::new(Sim::new(dir.path())), dir.path(), options()) {
                    Ok((_, reader, recovery)) => {
                        assert_eq!((reader.head(), recovery.cut), (Height(blocks.len() as u64), None));
                        whole += 1;
                    }
                    Err(_) => refused += 1,
                }
            });
        }
        assert_eq!(whole + refused, 40);
        assert!(refused > 0, "the cut always came too late");
    });
}
