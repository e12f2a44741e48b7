//! Opens what a crash left by the real code, and says what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::chain::{BlockView, ChainId, Height, MainBlock};
use engine::store::BlockReader;

use super::disk::{Image, Name};
use super::history::{Session, Truth};
use super::planted;
use super::sim::{Sim, Stage};
use super::support::{Maker, operations as operations_of};
use crate::{Error, Log, LogReader, LogWriter, Options, Recovery, check};

/// A promise that was broken, and how it came to that.
#[derive(Debug)]
pub(super) struct Flop {
    what: String,
    calls: String,
}

impl Flop {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), calls: String::new() }
    }

    /// After so many calls of a session.
    pub(super) fn at(mut self, session: &Session, calls: usize) -> Self {
        let (all, told) = (session.events.len(), session.told(calls));
        let before = std::mem::take(&mut self.calls);
        self.calls = format!("{before}  after {calls} of {all} calls:\n{told}\n");
        self
    }

    pub(super) fn because(mut self, why: &str) -> Self {
        self.what = format!("{} ({why})", self.what);
        self
    }
}

impl std::fmt::Display for Flop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.what, self.calls)
    }
}

/// Opens a directory that a crash left, in all ways, and checks what it holds against what it may hold:
/// - A reader without the lock opens it, and sees no more than the writer will.
/// - The writer finds one of the truths: all that was acknowledged, and every look-up right.
/// - A second opening finds nothing left to do.
/// - One more block can be appended and synced.
///
/// `thorough`: also checks the log as an operator would; takes the power once more, after that one block, and loses
/// all that was not synced; and lets the disk bring back what recovery has cleared behind the end of the log.
pub(super) fn verify(
    stage: &mut Stage,
    options: Options,
    image: &Image,
    truths: &[Truth],
    thorough: bool,
) -> Result<(), Flop> {
    let sim = stage.show(image);
    let found = Opened { stage, options, sim: &sim }.look(truths, thorough);
    stage.take_back(&sim);
    let (blocks, file, end) = found?;
    if !thorough {
        return Ok(());
    }
    let lost = sim.all_lost();
    let mut afterwards = |image: &Image, when: &str| {
        let sim = stage.show(image);
        let opened = Opened { stage, options, sim: &sim }.open("opening");
        let held = opened.and_then(|(_, reader, _)| holds(&reader, &blocks));
        stage.take_back(&sim);
        held.map_err(|flop| flop.because(when))
    };
    afterwards(&lost, "after one block more and the loss of all that was not synced")?;
    let mut haunted = lost;
    // Away from the index and the trailer: a disk that brings those back is damaged.
    let behind = end..options.segment_bytes as usize - 8192;
    if let (Some(content), Some(old)) = (haunted.get_mut(&file), image.get(&file))
        && content.overlay(old, behind)
    {
        afterwards(&haunted, "when the disk brings cleared bytes back")?;
    }
    Ok(())
}

/// A directory that is being looked at.
struct Opened<'a> {
    stage: &'a Stage,
    options: Options,
    sim: &'a Sim,
}

impl Opened<'_> {
    /// Says what it holds in the end, and where that ends: the file, and the offset in it.
    fn look(&self, truths: &[Truth], thorough: bool) -> Result<(Vec<Arc<MainBlock>>, Name, usize), Flop> {
        let seen = match LogReader::open(self.stage.dir()) {
            Ok(reader) if reader.damage().is_empty() => reader.head().0,
            Ok(reader) => return Err(Flop::new(format!("a reader on its own: {:?}", reader.damage()))),
            // The crash came before the log was made.
            Err(Error::NoLog { .. }) => 0,
            Err(error) => return Err(Flop::new(format!("a reader on its own: {error}"))),
        };
        let (log, reader, recovery) = self.open("opening")?;
        let head = reader.head();
        if recovery.head != head || !recovery.damage.is_empty() {
            return Err(Flop::new(format!("readers see block {head}, and recovery tells of {recovery:?}")));
        }
        let truth = holds_one_of(&reader, truths)?;
        if seen > head.0 {
            return Err(Flop::new(format!("a reader on its own saw block {seen}, the writer finds {head}")));
        }
        let first = reader.base().first;
        drop((log, reader));

        if thorough {
            let report = check(self.stage.dir(), true, &mut |_, _| {});
            let report = report.map_err(|error| Flop::new(format!("check: {error}")))?;
            if let Some(damage) = report.damage.first() {
                return Err(Flop::new(format!("check: {damage}")));
            }
        }

        let (mut log, reader, recovery) = self.open("opening again")?;
        let more = recovery.cut.is_some() || recovery.resealed.is_some() || recovery.rolled_back.is_some();
        if more || reader.head() != head || reader.base().first != first {
            return Err(Flop::new(format!(
                "the second opening finds more to do: {recovery:?}, head was {head}"
            )));
        }
        if let Some(to) = truth.irreversible.checked_sub(1)
            && self.options.reversible
            && !matches!(log.rollback(Height(to)), Err(Error::Irreversible { .. }))
        {
            return Err(Flop::new(format!(
                "block {} is irreversible, and may be taken back",
                truth.irreversible
            )));
        }
        let mut blocks = truth.blocks[..head.0 as usize].to_vec();
        let mut maker = Maker::new(head.0 ^ 0x5eed);
        maker.operates = true;
        blocks.iter().for_each(|block| maker.follow(block));
        // As large as the one that may be lost, so that the one after it would follow this one.
        let like = truth.blocks.get(head.0 as usize).filter(|block| !block.sections.is_empty());
        let chains = like.map(|block| block.sections.iter().map(|section| (section.chain.0, section.count)));
        let chains = chains.map_or_else(|| [(1, 1), (77, 2)].into(), Iterator::collect);
        let next = Arc::new(maker.block(&chains));
        let done = log.append(&next).and_then(|()| log.sync());
        done.map_err(|error| Flop::new(format!("one block more: {error}")))?;
        same(&reader, &next)?;
        blocks.push(next);
        let last = reader.segments().pop().expect("a log has one");
        let name = last.file.file_name().and_then(|name| name.to_str()).expect("one of the log's names");
        Ok((blocks, name.into(), 4096 + last.record_bytes as usize))
    }

    fn open(&self, what: &str) -> Result<(LogWriter, LogReader, Recovery), Flop> {
        Log::open_on(planted::medium(self.sim), self.stage.dir(), self.options)
            .map_err(|error| Flop::new(format!("{what}: {error}")))
    }
}

/// The truth that the log holds, as it is now: all of it certain.
pub(super) fn holds_one_of(reader: &LogReader, truths: &[Truth]) -> Result<Truth, Flop> {
    let head = reader.head().0 as usize;
    let base = reader.base().first.0;
    let mut first = None;
    for truth in truths {
        let Truth { blocks, least, .. } = truth;
        let held = if !(*least..=blocks.len()).contains(&head) {
            Err(Flop::new(format!("{head} blocks, expected {least} to {}", blocks.len())))
        } else if !truth.first.contains(&base) {
            Err(Flop::new(format!("the log begins at {base}, expected {:?}", truth.first)))
        } else {
            holds(reader, &blocks[..head])
        };
        match held {
            // The blocks behind the head stay with it, for those who want to know what was lost.
            Ok(()) => return Ok(Truth { least: head, first: base..=base, ..truth.clone() }),
            Err(flop) => first = first.or(Some(flop)),
        }
    }
    Err(first.unwrap_or_else(|| Flop::new("nothing is expected")))
}

/// The log holds these blocks but those that were pruned, and every look-up says so.
pub(super) fn holds(reader: &LogReader, blocks: &[Arc<MainBlock>]) -> Result<(), Flop> {
    let expect = |what: &dyn Fn() -> String, right: bool| if right { Ok(()) } else { Err(Flop::new(what())) };
    let head = reader.head();
    expect(&|| format!("head {head}, expected {}", blocks.len()), head.0 == blocks.len() as u64)?;
    let failed = |error| Flop::new(format!("reading: {error}"));
    let locate = |chain, side, expected: Option<Height>| {
        let found = reader.locate(chain, side).map_err(failed)?;
        expect(
            &|| format!("chain {chain}, block {side}: in {found:?}, expected {expected:?}"),
            found == expected,
        )
    };
    let operations = reader.operations().map_err(failed)?;
    let expected = operations_of(blocks.iter().map(|block| &**block));
    expect(&|| format!("operations {operations:?}, expected {expected:?}"), *operations == *expected)?;
    let base = reader.base();
    let mut heads = BTreeMap::new();
    for block in blocks {
        let height = block.header.height;
        let kept = height >= base.first;
        if kept {
            same(reader, block)?;
        } else {
            let found = reader.block(height).map_err(failed)?;
            expect(
                &|| format!("block {height} is there, and the log begins at {}", base.first),
                found.is_none(),
            )?;
        }
        for section in &block.sections {
            locate(section.chain, section.first_height, kept.then_some(height))?;
            locate(section.chain, section.last_height(), kept.then_some(height))?;
            heads.insert(section.chain, section.last_height());
            if !kept {
                let hash = block.columns.hashes[section.leaves().end - 1];
                let known = base.head(section.chain).filter(|head| head.height >= section.last_height());
                let right =
                    known.is_some_and(|head| head.height > section.last_height() || head.hash == hash);
                expect(
                    &|| format!("the base does not know chain {} of block {height}", section.chain),
                    right,
                )?;
            }
        }
    }
    for (chain, head) in heads {
        let found = reader.chain_head(chain).map_err(failed)?;
        expect(&|| format!("head of chain {chain}: {found:?}, expected {head}"), found == Some(head))?;
        locate(chain, head.next(), None)?;
        locate(chain, Height(99 + u64::from(chain.0)), None)?;
    }
    locate(ChainId(999), Height(1), None)?;
    let beyond = reader.block(head.next()).map_err(failed)?;
    expect(&|| format!("a block after {head}"), beyond.is_none())
}

fn same(reader: &LogReader, block: &MainBlock) -> Result<(), Flop> {
    let height = block.header.height;
    let found = reader.block(height).map_err(|error| Flop::new(format!("block {height}: {error}")))?;
    let Some(found) = found else { return Err(Flop::new(format!("block {height} is not there"))) };
    let sections = (0..found.section_count()).map(|index| found.section(index));
    let right = found.header() == block.header
        && found.hash() == block.hash
        && found.columns().hashes == block.columns.hashes
        && found.columns().tx_roots == block.columns.tx_roots
        && found.columns().times == block.columns.times
        && sections.eq(block.sections.iter().copied())
        && found.chain_nodes() == block.chain_nodes
        && found.side_nodes() == block.side_nodes
        && found.history_nodes() == block.history_nodes;
    if right { Ok(()) } else { Err(Flop::new(format!("block {height} is another one"))) }
}
