//! [`Session`]: what a program did to a log, and what a crash at each moment of it may leave.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;

use super::disk::{Event, Image};
use super::planted;
use super::sim::{Fault, Sim, Stage};
use super::support::Maker;
use super::verify::{self, Flop};
use crate::{Error, Log, LogReader, LogWriter, Options, Recovery};

pub(super) type Blocks = Arc<Vec<Arc<MainBlock>>>;

/// What a log may hold: from `least` to all of these blocks, beginning with one of `first`.
#[derive(Clone)]
pub(super) struct Truth {
    pub(super) blocks: Blocks,
    pub(super) least: usize,
    /// Where the log may begin; all before it were pruned.
    pub(super) first: RangeInclusive<u64>,
    /// Blocks up to this one were said to be irreversible.
    pub(super) irreversible: u64,
    /// And perhaps up to this one.
    pub(super) doubtful: u64,
    /// From so many calls on, what readers see must be there.
    pub(super) since: usize,
}

impl Truth {
    /// Of a log that is to be made.
    pub(super) fn new() -> Self {
        Self { blocks: Blocks::default(), least: 0, first: 1..=1, irreversible: 0, doubtful: 0, since: 0 }
    }

    /// The same log with this many of its blocks, all certain.
    fn of(&self, count: usize) -> Self {
        Self { blocks: Arc::new(self.blocks[..count].to_vec()), least: count, ..self.clone() }
    }
}

/// What a program does with a log.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Appends a block of so many side blocks of each chain.
    Append(BTreeMap<u32, u32>),
    Sync,
    /// Gives the log back and opens it again.
    Reopen,
    /// Makes everything durable and gives the log back.
    Close,
    /// Takes so many blocks back, or as many as may be.
    Rollback(u64),
    /// Says that all but so many blocks are irreversible.
    Settle(u64),
    /// Prunes all but so many blocks.
    Prune(u64),
}

/// A fault to meet on the way: the call, counted from the first one, and how it fails.
pub(super) type Planned = Option<(usize, Fault)>;

/// The recording of a program from an image on.
pub(super) struct Session {
    pub(super) options: Options,
    pub(super) base: Image,
    pub(super) events: Vec<Event>,
    /// From so many calls on, the log may be one of these.
    steps: Vec<(usize, Vec<Truth>)>,
    /// From so many calls on, readers see so many blocks.
    seen: Vec<(usize, u64)>,
    /// Whether the planned fault was met.
    pub(super) fired: bool,
}

impl Session {
    /// What may be found after a crash that follows so many calls.
    pub(super) fn truths(&self, calls: usize) -> Vec<Truth> {
        let step = self.steps.partition_point(|(at, _)| *at <= calls) - 1;
        let mut truths = self.steps[step].1.clone();
        for truth in &mut truths {
            let seen = self.seen.iter().filter(|(at, _)| (truth.since..=calls).contains(at));
            truth.least = truth.least.max(seen.map(|(_, head)| *head as usize).max().unwrap_or(0));
            truth.since = 0;
        }
        truths
    }

    /// The calls before a moment, for people.
    pub(super) fn told(&self, calls: usize) -> String {
        let first = calls.saturating_sub(12);
        let lines = self.events[first..calls].iter().enumerate();
        let lines = lines.map(|(index, event)| format!("    {:>4} {event}", first + index));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Does it all on the stage, opening the log when it is not open, again whenever a fault has closed it.
pub(super) fn run(
    stage: &mut Stage,
    options: Options,
    base: &Image,
    start: Vec<Truth>,
    actions: &[Action],
    seed: u64,
    planned: Planned,
) -> Result<Session, Flop> {
    let sim = stage.show(base);
    if let Some((call, fault)) = planned {
        sim.fail(call, fault);
    }
    let mut run = Run { stage, options, sim, steps: vec![(0, start)], seed, log: None };
    let done = run.all(actions);
    // Before the next image is shown, nobody may have this one mapped.
    run.log = None;
    run.sim.watch(None);
    let Run { sim, steps, stage, .. } = run;
    stage.take_back(&sim);
    let (events, seen, fired) = (sim.events(), sim.seen(), sim.fired());
    let session = Session { options, base: base.clone(), events, steps, seen, fired };
    done.map_err(|flop| flop.at(&session, session.events.len()))?;
    Ok(session)
}

struct Run<'a> {
    stage: &'a mut Stage,
    options: Options,
    sim: Sim,
    steps: Vec<(usize, Vec<Truth>)>,
    seed: u64,
    log: Option<(LogWriter, LogReader)>,
}

impl Run<'_> {
    fn all(&mut self, actions: &[Action]) -> Result<(), Flop> {
        self.open()?;
        for action in actions {
            if self.log.is_none() {
                self.open()?;
            }
            match action {
                Action::Append(chains) => self.append(chains)?,
                Action::Sync => self.sync()?,
                Action::Reopen => {
                    self.log = None;
                    self.open()?;
                }
                Action::Close => self.close()?,
                Action::Rollback(count) => self.rollback(*count)?,
                Action::Settle(but) => self.settle(*but)?,
                Action::Prune(but) => self.prune(*but)?,
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Flop> {
        self.sim.watch(None);
        let mut opened = self.try_open();
        if opened.is_err() && self.sim.fired() {
            // The fault is over: now it must work.
            opened = self.try_open();
        }
        let (log, reader, _) = opened.map_err(|error| Flop::new(format!("opening: {error}")))?;
        let truths = self.steps.last().map(|(_, truths)| truths.clone()).unwrap_or_default();
        let truth = verify::holds_one_of(&reader, &truths)?;
        let since = self.sim.calls();
        self.now(Truth { since, ..truth.of(truth.least) });
        self.log = Some((log, reader.clone()));
        self.sim.watch(Some(reader));
        Ok(())
    }

    fn try_open(&self) -> Result<(LogWriter, LogReader, Recovery), Error> {
        Log::open_on(planted::medium(&self.sim), self.stage.dir(), self.options)
    }

    fn append(&mut self, chains: &BTreeMap<u32, u32>) -> Result<(), Flop> {
        let before = self.truth();
        let block = Arc::new(self.maker(&before.blocks).block(chains));
        let mut more = before.clone();
        Arc::make_mut(&mut more.blocks).push(block.clone());
        // When it begins a segment, it prunes.
        let keep = self.options.keep_blocks.map_or(u64::MAX, NonZeroU64::get);
        let prunes_to = more.blocks.len() as u64 - more.blocks.len().min(keep as usize) as u64;
        more.first = *before.first.start()..=prunes_to.max(*before.first.end());
        // From before the call: while it runs, its record may be there already.
        self.now(more.clone());
        let sim = self.sim.clone();
        let (log, reader) = self.log();
        let mut done = log.append(&block);
        if done.is_err() && sim.fired() {
            // The fault is over: the log takes the block now, or none any more.
            done = match log.append(&block) {
                Err(Error::Failed { .. }) => done,
                again => again,
            };
        }
        let least = before.least.max(reader.head().0 as usize);
        let first = reader.base().first.0;
        // If that failed, nobody knows; it is tried again with the next segment.
        let first = first..=if sim.fired() { *more.first.end() } else { first };
        self.now(Truth { least, first, ..more });
        done.or_else(|error| self.over(&error))
    }

    fn sync(&mut self) -> Result<(), Flop> {
        let truth = self.truth();
        let (log, reader) = self.log();
        if let Err(error) = log.sync() {
            return self.over(&error);
        }
        let (head, count) = (reader.head(), truth.blocks.len());
        if head != Height(count as u64) {
            return Err(Flop::new(format!("synced {count} blocks, and readers see {head}")));
        }
        self.now(truth.of(count));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Flop> {
        let truth = self.truth();
        self.sim.watch(None);
        let (log, _) = self.log.take().expect("open");
        match log.close() {
            Ok(()) => self.now(truth.of(truth.blocks.len())),
            Err(error) if !self.sim.fired() => return Err(Flop::new(format!("closing: {error}"))),
            Err(_) => {}
        }
        Ok(())
    }

    fn rollback(&mut self, count: u64) -> Result<(), Flop> {
        let before = self.truth();
        let head = before.blocks.len() as u64;
        let least = before.doubtful.max(before.first.end() - 1).min(head);
        let to = head.saturating_sub(count).max(least) as usize;
        let after = Truth { since: usize::MAX, ..before.of(to) };
        self.either(vec![before, after.clone()]);
        let (log, reader) = self.log();
        if let Err(error) = log.rollback(Height(to as u64)) {
            return self.over(&error);
        }
        let head = reader.head();
        if head != Height(to as u64) {
            return Err(Flop::new(format!("rolled back to {to}, and readers see {head}")));
        }
        self.now(Truth { since: self.sim.calls(), ..after });
        Ok(())
    }

    fn settle(&mut self, but: u64) -> Result<(), Flop> {
        let truth = self.truth();
        let (_, reader) = self.log();
        let height = reader.head().0.saturating_sub(but);
        let doubtful = truth.doubtful.max(height);
        self.now(Truth { doubtful, ..truth.clone() });
        let (log, _) = self.log();
        if let Err(error) = log.set_irreversible(Height(height)) {
            return self.over(&error);
        }
        self.now(Truth { irreversible: truth.irreversible.max(height), doubtful, ..truth });
        Ok(())
    }

    fn prune(&mut self, but: u64) -> Result<(), Flop> {
        let before = self.truth();
        let (log, reader) = self.log.as_mut().expect("open");
        let height = (reader.head().0.saturating_sub(but)).max(1);
        let first = *before.first.start()..=height.max(*before.first.end());
        self.steps.push((self.sim.calls(), vec![Truth { first, ..before.clone() }]));
        let pruned = log.prune(Height(height));
        let first = reader.base().first.0;
        match pruned {
            Ok(pruned) if pruned.first.0 != first => {
                return Err(Flop::new(format!("pruned to {}, and readers begin at {first}", pruned.first)));
            }
            Ok(_) => self.now(Truth { first: first..=first, ..before }),
            // It may still be used, whether they are gone or not: the next opening finds out.
            Err(error) if self.sim.fired() => drop(error),
            Err(error) => return Err(Flop::new(format!("pruning: {error}"))),
        }
        Ok(())
    }

    /// After a failure that nobody can judge: the log must take no more, still be readable, and be opened again.
    fn over(&mut self, error: &Error) -> Result<(), Flop> {
        if !self.sim.fired() {
            return Err(Flop::new(format!("no call failed, and the log says: {error}")));
        }
        let truth = self.truth();
        self.sim.watch(None);
        let (mut log, reader) = self.log.take().expect("open");
        let block = self.maker(&truth.blocks).block(&[(1, 1)].into());
        for again in [log.sync(), log.append(&block)] {
            if !matches!(again, Err(Error::Failed { .. })) {
                return Err(Flop::new(format!("after \"{error}\" the log goes on: {again:?}")));
            }
        }
        verify::holds(&reader, &truth.blocks[..reader.head().0 as usize])
    }

    fn log(&mut self) -> (&mut LogWriter, &LogReader) {
        let (log, reader) = self.log.as_mut().expect("open");
        (log, reader)
    }

    /// What the log was made to hold.
    fn truth(&self) -> Truth {
        let (_, truths) = self.steps.last().expect("there is one from the start");
        truths[0].clone()
    }

    fn now(&mut self, truth: Truth) {
        self.either(vec![truth]);
    }

    fn either(&mut self, truths: Vec<Truth>) {
        self.steps.push((self.sim.calls(), truths));
    }

    /// Makes blocks that follow these: others in each session, so that one that comes back is known.
    fn maker(&self, blocks: &[Arc<MainBlock>]) -> Maker {
        let mut maker = Maker::new(self.seed ^ ((self.sim.calls() as u64) << 32));
        maker.operates = true;
        for block in blocks {
            maker.follow(block);
        }
        maker
    }
}
