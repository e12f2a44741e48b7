//! Short histories: every state that a crash may leave, and every call failed once in every way.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::disk::{Choice, Disk, Image, Pending, fingerprint};
use super::history::{Action, Session, Truth, run};
use super::planted;
use super::sim::{Fault, Stage};
use super::support::{Maker, Rng, assert_holds};
use super::verify::{Flop, verify};
use super::{Budget, Tally, choose, options};
use crate::{Error, Log, LogReader, MIN_SEGMENT_BYTES, Options};

/// The histories: each is what some part of the log's life consists of.
fn histories() -> Vec<(&'static str, Options, Vec<Action>)> {
    use Action::{Close, Prune, Reopen, Rollback, Settle, Sync};
    let append = |leaves| Action::Append([(1, leaves)].into());
    let plain = Options { spare_segments: 0, ..options() };
    let reversible = Options { reversible: true, ..plain };
    let recycling = Options { spare_segments: 1, ..plain };
    // So many side blocks fill a segment.
    let whole = (options().segment_bytes / 72) as u32;
    let most = || append(whole * 9 / 10);
    vec![
        (
            "a segment is full",
            plain,
            vec![
                most(),
                Sync,
                append(1),
                Sync,
                append(whole / 9),
                Sync,
                append(1),
                append(1),
                Sync,
                Reopen,
                append(1),
                Sync,
            ],
        ),
        (
            "a segment is used again",
            recycling,
            vec![
                most(),
                most(),
                most(),
                Sync,
                Prune(1),
                append(1),
                Sync,
                append(1),
                append(2),
                most(),
                append(1),
                Sync,
                Reopen,
                append(1),
                Sync,
            ],
        ),
        (
            "create, append, reopen",
            plain,
            vec![
                append(1),
                Sync,
                append(3),
                Sync,
                append(1),
                append(1),
                Sync,
                Reopen,
                append(2),
                Sync,
                Close,
            ],
        ),
        ("left without a sync", plain, vec![append(1), Sync, append(1), append(2), Reopen, append(1), Sync]),
        (
            "a segment is full in the middle of a group",
            plain,
            vec![most(), append(whole / 8), append(1), Sync],
        ),
        (
            "blocks of a segment are taken back",
            reversible,
            vec![
                append(1),
                append(2),
                Sync,
                append(1),
                Settle(2),
                Rollback(1),
                append(2),
                Sync,
                Rollback(2),
                append(1),
                Sync,
                Close,
            ],
        ),
        (
            "a whole segment is taken back",
            reversible,
            vec![
                append(1),
                most(),
                append(whole / 8),
                Sync,
                Rollback(1),
                append(1),
                Sync,
                Rollback(2),
                append(1),
                Sync,
            ],
        ),
        (
            "segments are pruned",
            plain,
            vec![most(), most(), most(), Sync, Prune(1), append(1), Sync, Reopen, append(1), Sync],
        ),
    ]
}

#[test]
fn every_state_that_a_crash_may_leave_is_recovered() {
    let whole = Budget::from_env().whole;
    let tally = Tally::new("short histories");
    tally.run(|thread, threads| {
        let mut stage = Stage::new();
        for (name, options, actions) in histories() {
            let start = vec![Truth::new()];
            let session = run(&mut stage, options, &Image::new(), start, &actions, 1, None)?;
            tally.histories.fetch_add(u64::from(thread == 0), Ordering::Relaxed);
            let part = if whole { 1 } else { 32 };
            let share = (thread * part, threads * part);
            let mut explorer = Explorer { share, ..Explorer::new(&mut stage, &tally) };
            explorer.explore(&session, 0, true).map_err(|flop| flop.because(name))?;
        }
        Ok(())
    });
}

#[test]
fn no_call_that_fails_loses_what_was_acknowledged() {
    let whole = Budget::from_env().whole;
    let tally = Tally::new("failed calls");
    tally.run(|thread, threads| {
        let mut stage = Stage::new();
        for (name, options, actions) in histories() {
            for fault in [Fault::Io, Fault::Full, Fault::Short] {
                for call in (thread..).step_by(threads) {
                    let start = vec![Truth::new()];
                    let because = |flop: Flop| flop.because(&format!("{name}; {fault:?} at call {call}"));
                    let session =
                        run(&mut stage, options, &Image::new(), start, &actions, 1, Some((call, fault)))
                            .map_err(because)?;
                    if !session.fired {
                        break;
                    }
                    tally.histories.fetch_add(1, Ordering::Relaxed);
                    let part = if whole { 1 } else { 32 };
                    let share = (call % part, part);
                    let mut explorer = Explorer { share, ..Explorer::new(&mut stage, &tally) };
                    explorer.explore(&session, call, false).map_err(because)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_full_disk_leaves_the_log_readable_and_appendable_once_there_is_space() {
    let mut stage = Stage::new();
    let sim = stage.show(&Image::new());
    let (mut log, reader, _) = Log::open_on(planted::medium(&sim), stage.dir(), options()).expect("made");
    let mut maker = Maker::new(12);
    let large = [(1, (options().segment_bytes / 72 * 9 / 10) as u32)].into();
    let first = maker.block(&large);
    log.append(&first).and_then(|()| log.sync()).expect("appended");
    let next = maker.block(&large);
    // The first call of a roll creates the file, the second reserves the space.
    for call in 0..2 {
        sim.fail(sim.calls() + call, Fault::Full);
        let error = log.append(&next).expect_err("there is no space");
        assert!(matches!(error, Error::DiskFull { bytes: MIN_SEGMENT_BYTES, .. }), "{error}");
        assert!(error.leaves_log_usable());
        for reader in [&reader, &LogReader::open(stage.dir()).expect("readable")] {
            assert_holds(reader, std::slice::from_ref(&first));
        }
    }
    log.append(&next).and_then(|()| log.sync()).expect("there is space");
    assert_holds(&reader, &[first, next]);
}

/// Tries the states that crashes of a session may leave, each once.
struct Explorer<'a> {
    stage: &'a mut Stage,
    tally: &'a Tally,
    /// Of so many shares of all states, this one.
    share: (usize, usize),
    seen: HashSet<u64>,
}

impl<'a> Explorer<'a> {
    fn new(stage: &'a mut Stage, tally: &'a Tally) -> Self {
        Self { stage, tally, share: (0, 1), seen: HashSet::new() }
    }

    /// From so many calls on. `all`: every state where a crash decides about few things; and the recovery of every
    /// fourth state is itself crashed.
    fn explore(&mut self, session: &Session, from: usize, all: bool) -> Result<(), Flop> {
        let mut disk = Disk::new(&session.base);
        for calls in 0..=session.events.len() {
            let call = calls.checked_sub(1).map(|last| &session.events[last]);
            call.into_iter().for_each(|event| disk.apply(event));
            // Long after a failed call it matters less and less.
            if calls < from || !all && calls > from + 24 && !calls.is_multiple_of(4) {
                continue;
            }
            let pending = disk.pending();
            let truths = session.truths(calls);
            for choice in choices(&pending, all, calls as u64) {
                if self.tally.over() {
                    return Ok(());
                }
                let crashed = disk.crashed(&pending, &choice);
                let print = fingerprint(&crashed);
                // The same image may have to hold more later on.
                let promised =
                    truths.iter().map(|truth| (truth.least << 16) + truth.blocks.len()).sum::<usize>();
                if print as usize % self.share.1 != self.share.0
                    || !self.seen.insert(print ^ (promised as u64) << 20)
                {
                    continue;
                }
                let at = |flop: Flop| flop.because(&choice.to_string()).at(session, calls);
                self.tally
                    .count(call.map_or("nothing", |event| event.kind()), if all { "any" } else { "telling" });
                verify(self.stage, session.options, &crashed, &truths, print.is_multiple_of(7))
                    .map_err(at)?;
                // The drawn histories crash recoveries too, to any depth.
                if all && print.is_multiple_of(4) {
                    self.recover(session.options, &crashed, &truths).map_err(at)?;
                }
            }
        }
        Ok(())
    }

    /// Crashes the recovery, and what is written next.
    fn recover(&mut self, options: Options, image: &Image, truths: &[Truth]) -> Result<(), Flop> {
        let actions = [Action::Append([(1, 1)].into()), Action::Sync];
        let session = run(self.stage, options, image, truths.to_vec(), &actions, 2, None)?;
        self.tally.histories.fetch_add(1, Ordering::Relaxed);
        let share = std::mem::replace(&mut self.share, (0, 1));
        let done = self.explore(&session, 0, false);
        self.share = share;
        done.map_err(|flop| flop.because("in the recovery from a crash"))
    }
}

fn choices(pending: &Pending, all: bool, seed: u64) -> Vec<Choice> {
    if all && let Some(every) = choose::every(pending, 1 << 12) {
        return every;
    }
    let mut rng = Rng(seed);
    if all {
        return choose::telling(pending, 200, &mut rng);
    }
    if let Some(every) = choose::every(pending, 8) {
        return every;
    }
    (0..6).map(|_| choose::one(pending, &mut rng).1).collect()
}
