//! What a log promises when the power goes, the disk fails, or it is full.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{Error, Flaw, Log, LogReader, LogWriter};
use support::{Crash, Fault, Maker, Rng, Sim, assert_holds, copy, options, scratch};

/// What happened to a log: its blocks in order, and how many of them were durable after so many calls.
struct History {
    sim: Sim,
    blocks: Vec<MainBlock>,
    /// (calls made, blocks appended, blocks acknowledged), after each step.
    steps: Vec<(usize, usize, usize)>,
}

/// Opens the log in `dir`, which holds `blocks`, and appends to it, in groups of `group` to a sync.
fn write(dir: &Path, blocks: &[MainBlock], more: &[MainBlock], group: usize) -> History {
    let sim = Sim::new(dir);
    let mut history = History { sim: sim.clone(), blocks: blocks.to_vec(), steps: Vec::new() };
    let durable = blocks.len();
    history.steps.push((0, durable, durable));
    let (mut log, reader, _) = Log::open_on(Arc::new(sim.clone()), dir, options()).unwrap();
    assert_eq!(reader.head(), Height(durable as u64));
    let mut acknowledged = durable;
    for (index, block) in more.iter().enumerate() {
        // From before the call: while it runs, its record may or may not be there already.
        history.blocks.push(block.clone());
        let before = history.sim.calls();
        log.append(block).unwrap();
        acknowledged = acknowledged.max(reader.head().0 as usize);
        history.steps.push((before, history.blocks.len(), history.steps.last().unwrap().2));
        history.steps.push((history.sim.calls(), history.blocks.len(), acknowledged));
        if index % group == group - 1 {
            log.sync().unwrap();
            acknowledged = history.blocks.len();
            history.steps.push((history.sim.calls(), acknowledged, acknowledged));
        }
    }
    history
}

impl History {
    /// How many blocks a crash after `calls` calls must leave, and how many it may.
    fn bounds(&self, calls: usize) -> (usize, usize) {
        let done = self.steps.iter().rfind(|(at, ..)| *at <= calls).unwrap();
        (done.2, done.1)
    }

    /// Crashes after `calls` calls, opens what is left and checks it. Returns the directory and what it holds.
    fn crash(&self, calls: usize, crash: Crash) -> (tempfile::TempDir, Vec<MainBlock>) {
        let dir = scratch();
        self.sim.crash(calls, crash, dir.path());
        let (least, most) = self.bounds(calls);
        let what = format!("{crash:?} after {calls} calls: {least} to {most} blocks");
        // A reader without the lock sees no more than the writer will.
        let seen = match LogReader::open(dir.path()) {
            Ok(reader) => reader.head().0,
            Err(Error::NoLog { .. }) => 0,
            Err(error) => panic!("{what}, a reader: {error}"),
        };
        let (log, reader, recovery) = open(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let head = reader.head().0 as usize;
        assert!((least..=most).contains(&head), "{what}, found {head}");
        assert!(seen <= head as u64, "{what}: a reader saw {seen}, the writer {head}");
        assert_eq!(recovery.head.0 as usize, head);
        let holds = self.blocks[..head].to_vec();
        assert_holds(&reader, &holds);
        drop(log);
        // The second opening finds nothing left to do.
        let (_, reader, recovery) = open(dir.path()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
        assert_eq!((recovery.cut, recovery.resealed), (None, None), "{what}");
        assert_holds(&reader, &holds);
        (dir, holds)
    }
}

fn open(dir: &Path) -> Result<(LogWriter, LogReader, mainstem_storage::Recovery), Error> {
    Log::open_on(Arc::new(Sim::new(dir)), dir, options())
}

/// Blocks of up to `leaves` side blocks a chain, after those that `maker` made.
fn blocks(maker: &mut Maker, count: usize, leaves: u32) -> Vec<MainBlock> {
    (0..count).map(|_| maker.random_block(leaves)).collect()
}

#[test]
fn an_acknowledged_block_is_there_after_a_crash_at_any_call() {
    for group in [1, 3] {
        let dir = scratch();
        let more = blocks(&mut Maker::new(10), 9, 3000);
        let history = write(dir.path(), &[], &more, group);
        assert!(LogReader::open(dir.path()).unwrap().segments().len() >= 3, "the history rolls");
        for calls in 0..=history.sim.calls() {
            let seed = calls as u64;
            for crash in [Crash::Lost, Crash::Kept, Crash::Newest, Crash::Random(seed), Crash::Random(!seed)]
            {
                history.crash(calls, crash);
            }
        }
    }
}

#[test]
fn crash_after_crash_loses_nothing_and_revives_nothing() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut dir = scratch();
        let mut holds: Vec<MainBlock> = Vec::new();
        for session in 0..5 {
            // Other blocks in each session, so that a revived one is seen; sizes repeat, so that places do.
            let mut maker = Maker::new(seed * 100 + session);
            for block in &holds {
                maker.height = block.header.height.0;
                for section in &block.sections {
                    maker.heads.insert(section.chain.0, section.last_height().0);
                }
            }
            let sizes = [[(1, 40)].into(), [(1, 10), (2, 30)].into(), [(1, 4000)].into()];
            let more: Vec<MainBlock> = (0..=rng.below(8))
                .map(|_| maker.block(&sizes[rng.below(8).saturating_sub(5) as usize]))
                .collect();
            let history = write(dir.path(), &holds, &more, 1 + rng.below(4) as usize);
            let calls = rng.below(history.sim.calls() as u64 + 1) as usize;
            (dir, holds) = history.crash(calls, Crash::Random(rng.next()));
        }
    }
}

#[test]
fn after_any_failed_call_the_log_takes_no_more_and_has_all_it_acknowledged() {
    let more = blocks(&mut Maker::new(11), 9, 3000);
    let mut at = 0;
    loop {
        let dir = scratch();
        let sim = Sim::new(dir.path());
        sim.fail(at, Fault::Io);
        let mut acknowledged = 0;
        let mut failed = false;
        if let Ok((mut log, reader, _)) = Log::open_on(Arc::new(sim.clone()), dir.path(), options()) {
            for block in &more {
                if let Err(error) = log.append(block).and_then(|()| log.sync()) {
                    failed = true;
                    // What could not be made is no failure of the log; all else ends it.
                    if matches!(&error, Error::Io { action: "write" | "sync", path, .. }
                        if path.extension().is_some_and(|name| name == "seg"))
                    {
                        assert!(matches!(log.append(block), Err(Error::Failed { .. })), "call {at}");
                        assert!(matches!(log.sync(), Err(Error::Failed { .. })), "call {at}");
                    }
                    break;
                }
                acknowledged += 1;
            }
            assert!(reader.head().0 as usize >= acknowledged);
            for (index, block) in more[..reader.head().0 as usize].iter().enumerate() {
                let found = reader.block(Height(index as u64 + 1)).unwrap().unwrap();
                assert_eq!(&copy(&found), block, "readable after a failure");
            }
            acknowledged = reader.head().0 as usize;
        } else {
            failed = true;
        }
        if !failed {
            break;
        }
        // Opened again at once, from the page cache, and after a power loss of whatever kind.
        for crash in [Crash::Kept, Crash::Lost, Crash::Random(at as u64)] {
            let lost = scratch();
            sim.crash(sim.calls(), crash, lost.path());
            let (_, reader, _) =
                open(lost.path()).unwrap_or_else(|error| panic!("call {at}, {crash:?}: {error}"));
            assert!(reader.head().0 as usize >= acknowledged, "call {at}, {crash:?}");
            assert_holds(&reader, &more[..reader.head().0 as usize]);
        }
        reopen_then_lose(dir.path(), &sim, &more, acknowledged);
        at += 1;
    }
    assert!(at > 40, "{at} calls");
}

/// After a failed sync the page cache shows what the disk may not have. Reopening must not build on that.
fn reopen_then_lose(dir: &Path, sim: &Sim, more: &[MainBlock], acknowledged: usize) {
    let (mut log, reader, _) = Log::open_on(Arc::new(sim.clone()), dir, options()).unwrap();
    let head = reader.head().0 as usize;
    assert!(head >= acknowledged);
    if let Some(next) = more.get(head) {
        log.append(next).unwrap();
        log.sync().unwrap();
        let lost = scratch();
        sim.crash(sim.calls(), Crash::Lost, lost.path());
        let (_, reader, _) = open(lost.path()).unwrap();
        assert_holds(&reader, &more[..=head]);
    }
}

#[test]
fn a_full_disk_leaves_the_log_readable_and_appendable_once_there_is_space() {
    let dir = scratch();
    let sim = Sim::new(dir.path());
    let (mut log, reader, _) = Log::open_on(Arc::new(sim.clone()), dir.path(), options()).unwrap();
    let mut maker = Maker::new(12);
    let large = [(1, 4000)].into();
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(maker.block(&large));
        log.append(holds.last().unwrap()).unwrap();
        log.sync().unwrap();
    }
    let next = maker.block(&large);
    for call in 0..2 {
        // The first call of a roll creates the file, the second reserves the space.
        sim.fail(call, Fault::Full);
        let error = log.append(&next).unwrap_err();
        assert!(matches!(error, Error::DiskFull { bytes: 1_048_576, .. }), "{error}");
        assert!(error.leaves_log_usable());
        assert_holds(&reader, &holds);
        assert_holds(&LogReader::open(dir.path()).unwrap(), &holds);
    }
    log.append(&next).unwrap();
    log.sync().unwrap();
    holds.push(next);
    assert_holds(&reader, &holds);
}

#[test]
fn a_record_left_behind_by_a_crash_never_comes_back() {
    use std::os::unix::fs::FileExt;
    let dir = scratch();
    let sized = [(1, 40)].into();
    let mut maker = Maker::new(13);
    let first: Vec<MainBlock> = (0..3).map(|_| maker.block(&sized)).collect();
    let sim = Sim::new(dir.path());
    let (mut log, _, _) = Log::open_on(Arc::new(sim.clone()), dir.path(), options()).unwrap();
    log.append(&first[0]).unwrap();
    log.sync().unwrap();
    log.append(&first[1]).unwrap();
    log.append(&first[2]).unwrap();
    drop(log);
    let path = dir.path().join("0000000001.seg");
    let before = std::fs::read(&path).unwrap();

    // The crash keeps the third record and loses the second.
    let lost = scratch();
    sim.crash(sim.calls(), Crash::Newest, lost.path());
    let (mut log, reader, recovery) = open(lost.path()).unwrap();
    assert_holds(&reader, &first[..1]);
    let cut = recovery.cut.unwrap();
    assert_eq!((cut.record, cut.flaw), (2, Flaw::Empty));
    let mut maker = Maker::new(14);
    (maker.height, maker.heads) = (1, [(1, 140)].into());
    let second = maker.block(&sized);
    log.append(&second).unwrap();
    log.sync().unwrap();
    drop(log);

    // Nor does it when a disk that only pretended to forget it brings its bytes back.
    let path = lost.path().join("0000000001.seg");
    let now = std::fs::read(&path).unwrap();
    let end = cut.offset as usize + (now.len() - cut.offset as usize).min(before.len());
    let third =
        (cut.offset as usize + 64..end).step_by(64).find(|at| before[*at + 8..*at + 12] == *b"mREC").unwrap();
    assert_eq!(now[third..third + 64], [0; 64]);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&before[third..], third as u64).unwrap();
    let holds = [first[0].clone(), second];
    assert_holds(&LogReader::open(lost.path()).unwrap(), &holds);
    let (_, reader, recovery) = open(lost.path()).unwrap();
    assert_eq!(recovery.cut.unwrap().flaw, Flaw::Generation { found: 1, newest: 2 });
    assert_holds(&reader, &holds);
}
