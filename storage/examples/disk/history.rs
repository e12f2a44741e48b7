//! [`Note`]s of a workload, and [`Model`]: what they say must and may be in the log.
//!
//! A note is one line in a file outside of the recorded disk, written by one call: the length of the list of writes at
//! that moment, and what is about to be done or is done. What is noted as done was done by the writes up to that
//! length; what is noted as begun is in none of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::chain::MainBlock;

use crate::Outcome;
use crate::support::{Maker, Rng};

/// What a workload does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// Session `.0` is about to open the log.
    Open(u64),
    /// The log is open: its newest block, and its oldest one.
    Opened(u64, u64),
    /// Block `.0` is about to be appended, by session `.1`.
    Append(u64, u64),
    /// The blocks up to this one are acknowledged.
    Acknowledged(u64),
    /// The blocks above this one are about to be taken back.
    TakeBack(u64),
    /// They are gone.
    TakenBack,
    /// This block is about to be said to be irreversible.
    Irreversible(u64),
    /// The blocks below this one are about to be pruned, as far as whole segments hold them.
    Prune(u64),
    /// They are, and this one is the oldest now.
    Pruned(u64),
}

/// An event with the length of the list of writes when it was noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) position: u64,
    pub(crate) event: Event,
}

/// The file of notes.
pub(crate) struct History {
    file: File,
    writes: PathBuf,
}

impl History {
    pub(crate) fn open(notes: &Path, writes: &Path) -> Outcome<Self> {
        let file = OpenOptions::new().create(true).append(true).open(notes)?;
        Ok(Self { file, writes: writes.to_owned() })
    }

    pub(crate) fn note(&mut self, event: Event) -> Outcome {
        let position = std::fs::metadata(&self.writes)?.len();
        let what = match event {
            Event::Open(session) => format!("open {session}"),
            Event::Opened(head, first) => format!("opened {head} {first}"),
            Event::Append(height, session) => format!("append {height} {session}"),
            Event::Acknowledged(height) => format!("acknowledged {height}"),
            Event::TakeBack(to) => format!("take-back {to}"),
            Event::TakenBack => "taken-back".to_owned(),
            Event::Irreversible(height) => format!("irreversible {height}"),
            Event::Prune(before) => format!("prune {before}"),
            Event::Pruned(first) => format!("pruned {first}"),
        };
        let line = format!("{position} {what}\n");
        Ok(self.file.write_all(line.as_bytes())?)
    }

    pub(crate) fn read(notes: &Path) -> Outcome<Vec<Note>> {
        let text = match std::fs::read_to_string(notes) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let event = match words[..] {
                    [_, "open", session] => Event::Open(session.parse()?),
                    [_, "opened", head, first] => Event::Opened(head.parse()?, first.parse()?),
                    [_, "append", height, session] => Event::Append(height.parse()?, session.parse()?),
                    [_, "acknowledged", height] => Event::Acknowledged(height.parse()?),
                    [_, "take-back", to] => Event::TakeBack(to.parse()?),
                    [_, "taken-back"] => Event::TakenBack,
                    [_, "irreversible", height] => Event::Irreversible(height.parse()?),
                    [_, "prune", before] => Event::Prune(before.parse()?),
                    [_, "pruned", first] => Event::Pruned(first.parse()?),
                    _ => return Err(format!("no note: {line}").into()),
                };
                Ok(Note { position: words[0].parse()?, event })
            })
            .collect()
    }
}

/// Blocks from height 1 on, the pruned ones too.
pub(crate) type Blocks = Vec<Arc<MainBlock>>;

/// What may be in the log.
#[derive(Clone, Default)]
pub(crate) struct Model {
    seed: u64,
    /// What the writer sees.
    now: Blocks,
    /// What a crash may leave, from what is certain on.
    allowed: Vec<Blocks>,
    /// The lowest and the highest block that may be the oldest one kept.
    first: (u64, u64),
    /// No block up to this one is taken back: it was said to be irreversible, or may have been.
    irreversible: u64,
    /// Whether the log must exist.
    exists: bool,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, allowed: vec![Vec::new()], first: (1, 1), ..Self::default() }
    }

    pub(crate) fn take(&mut self, event: Event) -> Outcome {
        match event {
            Event::Open(_) => {}
            Event::Opened(head, first) => {
                let Some(held) = self.allowed.iter().rfind(|blocks| blocks.len() as u64 == head) else {
                    return Err(format!(
                        "opened at block {head} in a running system, where {} may be there",
                        self.lengths()
                    )
                    .into());
                };
                self.now = held.clone();
                self.exists = true;
                self.settle();
                self.begins_at(first)?;
            }
            Event::Append(height, session) => {
                if height != self.now.len() as u64 + 1 {
                    return Err(format!("appends block {height} to {} blocks", self.now.len()).into());
                }
                self.now.push(Arc::new(self.next(session)));
                self.allowed.push(self.now.clone());
            }
            Event::Acknowledged(height) => {
                if height != self.now.len() as u64 {
                    return Err(format!("acknowledges block {height} of {} blocks", self.now.len()).into());
                }
                self.settle();
            }
            Event::TakeBack(to) => {
                self.now.truncate(to as usize);
                self.allowed.push(self.now.clone());
            }
            Event::TakenBack => self.settle(),
            Event::Irreversible(height) => self.irreversible = height,
            Event::Prune(before) => self.first.1 = before.max(self.first.0),
            Event::Pruned(first) => self.begins_at(first)?,
        }
        Ok(())
    }

    /// Block `first` is the oldest one now, for good.
    fn begins_at(&mut self, first: u64) -> Outcome {
        if !self.may_begin_at(first) {
            return Err(format!("begins at block {first}, expected {:?}", self.first).into());
        }
        self.first = (first, first);
        Ok(())
    }

    /// Whether a log whose oldest block is `first` kept enough and forgot nothing that it had pruned.
    pub(crate) fn may_begin_at(&self, first: u64) -> bool {
        (self.first.0..=self.first.1).contains(&first)
    }

    pub(crate) fn first(&self) -> u64 {
        self.first.0
    }

    pub(crate) fn irreversible(&self) -> u64 {
        self.irreversible
    }

    /// The block after the newest, as `session` makes it: each session makes others, so that one which comes back
    /// from an earlier session is seen.
    pub(crate) fn next(&self, session: u64) -> MainBlock {
        Self::after(&self.now, self.seed, session)
    }

    pub(crate) fn after(blocks: &[Arc<MainBlock>], seed: u64, session: u64) -> MainBlock {
        let height = blocks.len() as u64;
        let mut rng = Rng(seed ^ session.rotate_left(40) ^ height.rotate_left(20));
        // Mostly small, so that there are many syncs; a large one now and then, so that segments fill.
        let leaves = [3, 3, 40, 40, 40, 400, 3000][rng.below(7) as usize];
        let mut heads = BTreeMap::new();
        for section in blocks.iter().flat_map(|block| &block.sections) {
            heads.insert(section.chain.0, section.last_height().0);
        }
        Maker { operates: false, rng, height, heads }.random_block(leaves)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn now(&self) -> &Blocks {
        &self.now
    }

    /// The fewest blocks that may be there.
    pub(crate) fn least(&self) -> usize {
        self.allowed.iter().map(Vec::len).min().unwrap_or(0)
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    /// Those that may be there and end at `head`, the newest first.
    pub(crate) fn ending_at(&self, head: u64) -> Option<&Blocks> {
        self.allowed.iter().rfind(|blocks| blocks.len() as u64 == head)
    }

    pub(crate) fn lengths(&self) -> String {
        let lengths: Vec<String> = self.allowed.iter().map(|blocks| blocks.len().to_string()).collect();
        format!("{} blocks", lengths.join(" or "))
    }

    fn settle(&mut self) {
        self.allowed = vec![self.now.clone()];
    }
}

/// The model at every note, to be asked by length of the list of writes.
pub(crate) struct Models(Vec<(u64, Model)>);

impl Models {
    pub(crate) fn new(seed: u64, notes: &[Note]) -> Outcome<Self> {
        let mut model = Model::new(seed);
        let mut models = vec![(0, model.clone())];
        for note in notes {
            model.take(note.event)?;
            models.push((note.position, model.clone()));
        }
        Ok(Self(models))
    }

    /// What a crash when the list was so long must and may leave.
    pub(crate) fn at(&self, position: u64) -> &Model {
        let after = self.0.partition_point(|(noted, _)| *noted <= position);
        &self.0[after.saturating_sub(1)].1
    }
}
