//! Dropping, pruning and mending on a log that is damaged, being read, or full: whatever cannot be finished is not
//! begun, and nothing changes that someone holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{
    Error, FileMedium, Log, LogReader, LogWriter, Medium, MediumFile, Mend, Options, Recovery, Repair,
    RepairOptions, check, repair,
};
use support::{Maker, assert_holds, assert_same, options, scratch};

const SEGMENT: usize = 1 << 16;

fn reversible() -> Options {
    Options { reversible: true, segment_bytes: SEGMENT as u64, ..options() }
}

fn open(dir: &Path) -> Result<(LogWriter, LogReader, Recovery), Error> {
    Log::open(dir, reversible())
}

/// A log with so many segments, and what is in it.
struct Filled {
    dir: tempfile::TempDir,
    log: LogWriter,
    reader: LogReader,
    maker: Maker,
    blocks: Vec<MainBlock>,
}

impl Filled {
    fn new(segments: usize) -> Self {
        let dir = scratch();
        let (log, reader, _) = open(dir.path()).unwrap();
        let mut filled = Self { dir, log, reader, maker: Maker::new(60), blocks: Vec::new() };
        filled.fill(segments);
        filled
    }

    /// Appends until there are so many segments, and some blocks in the last one.
    fn fill(&mut self, segments: usize) {
        while self.reader.segments().len() < segments || self.reader.segments()[segments - 1].blocks < 4 {
            let block = self.maker.random_block(40);
            self.log.append(&block).unwrap();
            self.log.sync().unwrap();
            self.blocks.push(block);
        }
    }

    fn newest(&self) -> Height {
        Height(self.blocks.len() as u64)
    }

    /// Takes all irreversible segments but the last one away, and writes their files again.
    fn prune_and_write_again(&mut self) {
        self.log.set_irreversible(self.reader.head()).unwrap();
        assert!(self.log.prune(self.reader.head()).unwrap().segments >= 3);
        let segments = self.reader.segments().len();
        self.fill(segments + 3);
    }
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.seg"))
}

fn spoil(path: &Path, range: Range<usize>) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xa5; range.len()], range.start as u64).unwrap();
}

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|it| it == "seg")).count()
}

fn run(dir: &Path, apply: bool, drop_from: Option<Height>) -> Result<Repair, Error> {
    repair(dir, RepairOptions { apply, drop_from }, &mut |_, _| ())
}

#[test]
fn damage_below_a_drop_does_not_make_it_take_more() {
    // The trailer of a segment that is far below, which a writer tolerates.
    let Filled { dir, log, blocks, .. } = Filled::new(6);
    drop(log);
    spoil(&segment(dir.path(), 2), SEGMENT - 128..SEGMENT);
    let newest = blocks.len() as u64;
    let (mut log, reader, recovery) = open(dir.path()).unwrap();
    assert_eq!((recovery.damage.len(), reader.head()), (1, Height(newest)));
    log.rollback(Height(newest - 1)).unwrap();
    assert_eq!((reader.head(), segments(dir.path())), (Height(newest - 1), 6));
    drop(log);
    let dropped = run(dir.path(), true, Some(Height(newest - 1))).unwrap();
    assert!(matches!(dropped.mends[..], [Mend::RewriteIndex { .. }, Mend::Drop { .. }]), "{dropped:?}");
    assert!(dropped.remaining.is_empty(), "{dropped:?}");
    assert_holds(&open(dir.path()).unwrap().1, &blocks[..newest as usize - 2]);
}

#[test]
fn a_drop_that_cannot_be_finished_is_not_begun() {
    for missing in [false, true] {
        let Filled { dir, log, blocks, reader, .. } = Filled::new(6);
        drop(log);
        let within = Height(reader.segments()[2].first.0 + 3);
        let path = segment(dir.path(), 3);
        if missing {
            std::fs::remove_file(&path).unwrap();
        } else {
            // One block of a sealed segment, which nobody has noticed yet.
            spoil(&path, 4200..4210);
        }
        for _ in 0..2 {
            let (mut log, reader, _) = open(dir.path()).unwrap();
            let error = log.rollback(within).unwrap_err();
            assert!(matches!(error, Error::Irreversible { .. }) && error.leaves_log_usable(), "{error}");
            assert!(error.to_string().contains("0000000003.seg"), "{error}");
            assert_eq!(reader.head(), Height(blocks.len() as u64));
            assert_eq!(segments(dir.path()), if missing { 5 } else { 6 });
        }
        for apply in [false, true] {
            assert!(run(dir.path(), apply, Some(within)).is_err());
        }
        let reader = LogReader::open(dir.path()).unwrap();
        assert_eq!(reader.head(), Height(blocks.len() as u64));
        assert_same(&reader.block(reader.head()).unwrap().unwrap(), &blocks[blocks.len() - 1]);
    }
}

#[test]
fn a_block_in_hand_stays_what_it_is_whatever_is_pruned_and_written_again() {
    // Over a rollback, which opens all files anew.
    let mut log = Filled::new(5);
    let held = log.reader.block(Height(1)).unwrap().unwrap();
    let to = Height(log.newest().0 - 1);
    log.log.rollback(to).unwrap();
    let undone = log.blocks.pop().unwrap();
    log.maker.height = to.0;
    for section in &undone.sections {
        log.maker.heads.insert(section.chain.0, section.first_height.0 - 1);
    }
    log.prune_and_write_again();
    assert_same(&held, &log.blocks[0]);

    // When its reader is gone, which had opened the log as another process does.
    let mut log = Filled::new(5);
    let held = LogReader::open(log.dir.path()).unwrap().block(Height(1)).unwrap().unwrap();
    log.prune_and_write_again();
    assert_same(&held, &log.blocks[0]);

    // And so does what a reader shows whose writer is gone.
    let Filled { dir, log, reader: old, maker, blocks } = Filled::new(5);
    drop(log);
    let (log, reader, _) = open(dir.path()).unwrap();
    let mut log = Filled { dir, log, reader, maker, blocks };
    log.prune_and_write_again();
    for height in 1..4 {
        assert_same(&old.block(Height(height)).unwrap().unwrap(), &log.blocks[height as usize - 1]);
    }

    // A file with a second name is a backup's.
    let mut log = Filled::new(5);
    let backup = log.dir.path().join("backup");
    std::fs::hard_link(segment(log.dir.path(), 1), &backup).unwrap();
    let before = std::fs::read(&backup).unwrap();
    log.prune_and_write_again();
    assert!(std::fs::read(&backup).unwrap() == before);
}

#[test]
fn a_follower_that_was_left_behind_by_pruning_catches_up() {
    let mut log = Filled::new(2);
    let follower = LogReader::open(log.dir.path()).unwrap();
    log.fill(7);
    log.log.set_irreversible(log.reader.head()).unwrap();
    log.log.prune(log.newest()).unwrap();
    assert_eq!(follower.refresh().unwrap(), log.newest());
    assert_eq!(follower.base(), log.reader.base());
    assert!(follower.base().first > Height(1));
}

#[test]
fn readers_open_and_follow_a_log_that_is_pruned_and_rolled_back_all_the_time() {
    let mut log = Filled::new(3);
    let dir = log.dir.path().to_owned();
    let until = Instant::now() + std::time::Duration::from_secs(2);
    std::thread::scope(|scope| {
        let readers = [true, false].map(|again| {
            let dir = &dir;
            scope.spawn(move || {
                let mut reader = LogReader::open(dir).unwrap();
                let mut looks = 0;
                while Instant::now() < until {
                    if again {
                        reader = LogReader::open(dir).unwrap();
                    }
                    let head = reader.refresh().unwrap();
                    let found = reader.block(head).unwrap();
                    assert!(found.is_some(), "{head}, from {}: {:?}", reader.base().first, reader.damage());
                    looks += 1;
                }
                looks
            })
        });
        for round in 0_u64.. {
            if Instant::now() >= until {
                break;
            }
            for _ in 0..7 {
                let block = log.maker.random_block(60);
                log.log.append(&block).unwrap();
                log.log.sync().unwrap();
                log.blocks.push(block);
            }
            let irreversible = Height(log.newest().0 - 3);
            log.log.set_irreversible(irreversible).unwrap();
            if round % 2 == 0 {
                log.log.prune(Height(irreversible.0.saturating_sub(10))).unwrap();
            }
            if round % 3 == 0 {
                log.log.rollback(irreversible).unwrap();
                for block in log.blocks.drain(irreversible.0 as usize..).rev() {
                    log.maker.height = block.header.height.0 - 1;
                    for section in &block.sections {
                        log.maker.heads.insert(section.chain.0, section.first_height.0 - 1);
                    }
                }
            }
        }
        for reader in readers {
            assert!(reader.join().unwrap() > 10);
        }
    });
}

#[test]
fn a_lost_mark_gives_up_neither_blocks_nor_what_was_final() {
    let Filled { dir, mut log, blocks, reader, .. } = Filled::new(2);
    let first = reader.segments()[1].first;
    log.set_irreversible(Height(9)).unwrap();
    drop(log);
    let mark = dir.path().join("MARK");
    spoil(&mark, 0..16);
    let path = segment(dir.path(), 2);
    let whole = std::fs::read(&path).unwrap();
    // Behind a damaged block there are others, which a mark made of the ones before it would not count.
    spoil(&path, 4200..4210);
    for apply in [false, true] {
        let error = run(dir.path(), apply, None).unwrap_err();
        assert!(error.to_string().contains(&format!("record {first}: wrong checksum")), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(run(dir.path(), true, None).unwrap().head, Height(blocks.len() as u64));
    let (mut log, reader, _) = open(dir.path()).unwrap();
    assert_holds(&reader, &blocks);
    assert!(matches!(log.rollback(Height(8)), Err(Error::Irreversible { .. })));
}

#[test]
fn a_segment_is_not_sealed_short_and_one_that_cannot_be_read_goes_alone() {
    // No segment after it can be read, and one of its blocks is damaged.
    let Filled { dir, log, reader, .. } = Filled::new(6);
    drop(log);
    let fifth = segment(dir.path(), 5);
    spoil(&fifth, SEGMENT - 128..SEGMENT);
    let bytes = std::fs::read(&fifth).unwrap();
    let second =
        4096 + 64 + (u32::from_le_bytes(bytes[4112..4116].try_into().unwrap()) as usize).next_multiple_of(64);
    spoil(&fifth, second + 100..second + 110);
    std::fs::OpenOptions::new().write(true).open(segment(dir.path(), 6)).unwrap().set_len(60_000).unwrap();
    let found = run(dir.path(), true, None).unwrap();
    assert!(found.mends.is_empty() && found.remaining.len() == 2, "{found:?}");
    drop(reader);

    // Only the last segment is gone: all before it stays.
    let Filled { dir, log, reader, blocks, .. } = Filled::new(4);
    drop(log);
    spoil(&segment(dir.path(), 4), 0..8192);
    let first = reader.segments()[3].first;
    assert!(run(dir.path(), false, Some(first.next().next())).is_err());
    let dropped = run(dir.path(), true, Some(first)).unwrap();
    assert!(dropped.remaining.is_empty(), "{dropped:?}");
    assert_holds(&open(dir.path()).unwrap().1, &blocks[..first.0 as usize - 1]);
}

#[test]
fn a_damaged_base_hides_nothing_that_is_there() {
    let mut log = Filled::new(5);
    log.log.set_irreversible(log.reader.head()).unwrap();
    let first = log.log.prune(log.newest()).unwrap().first;
    let Filled { dir, log, blocks, .. } = log;
    drop(log);
    spoil(&dir.path().join("BASE"), 70..80);
    let reader = LogReader::open(dir.path()).unwrap();
    for block in &blocks[first.0 as usize - 1..] {
        assert_same(&reader.block(block.header.height).unwrap().unwrap(), block);
    }
    assert!(reader.block(Height(1)).is_err());
    assert!(reader.damage().iter().any(|error| error.to_string().contains("BASE is damaged")));
    let report = check(dir.path(), true, &mut |_, _| ()).unwrap();
    assert!(report.damage.iter().any(|error| error.to_string().contains("BASE is damaged")), "{report:?}");
    assert!(open(dir.path()).unwrap_err().to_string().contains("BASE is damaged"));
}

/// A disk that has no space for another segment, once it is said so.
struct Full(Arc<AtomicBool>);

impl Medium for Full {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        let is_segment = path.to_string_lossy().ends_with(".seg.tmp");
        if is_segment && self.0.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileMedium.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        FileMedium.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileMedium.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileMedium.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        FileMedium.sync_dir(dir)
    }
}

#[test]
fn a_rollback_on_a_full_disk_ends_the_writer_and_is_finished_by_the_next_one() {
    let dir = scratch();
    let full = Arc::new(AtomicBool::new(false));
    let medium = Arc::new(Full(full.clone()));
    let (mut log, reader, _) = Log::open_on(medium, dir.path(), reversible()).unwrap();
    let mut maker = Maker::new(61);
    let blocks: Vec<MainBlock> = (0..6).map(|_| maker.random_block(40)).collect();
    for block in &blocks {
        log.append(block).unwrap();
        log.sync().unwrap();
    }
    full.store(true, Ordering::Relaxed);
    let error = log.rollback(Height(3)).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }) && !error.leaves_log_usable(), "{error}");
    assert!(
        error.to_string().contains("no space") && error.to_string().ends_with("open it again"),
        "{error}"
    );
    assert!(log.append(&blocks[5]).is_err());
    drop((log, reader));
    let (_, reader, recovery) = open(dir.path()).unwrap();
    assert_eq!(recovery.rolled_back, Some(Height(4)));
    assert_holds(&reader, &blocks[..3]);
}
