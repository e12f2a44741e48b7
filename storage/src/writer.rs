//! [`LogWriter`]: appends blocks and makes them durable.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use engine::chain::{ChainId, Height, MainBlock};
use engine::merkle::history::History;
use engine::state::ops_root;
use engine::store::{Base, BlockStore, ChainHead, Operations, ReversibleStore, StoreError, StoredHistory};

use crate::active::{self, Active, ChainHash};
use crate::block::Encoder;
use crate::error::{Error, Part};
use crate::files::{Context, Lock, ReadersLock};
use crate::format::{self, FIRST_RECORD, Flaw, Mark, RecordHeader, RunEntry, Trailer};
use crate::log::{Options, Prepare};
use crate::medium::{Medium, MediumFile};
use crate::operations;
use crate::prepare::{Ahead, next_segment};
use crate::reader::{Index, LogReader, Shared};
use crate::recover::{self, Recovered};
use crate::segment::{self, Segment};
use crate::segments::{self, Slot};

/// What [`LogWriter::prune`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// The first block that is still there.
    pub first: Height,
    /// How many segments were removed.
    pub segments: u64,
    /// Bytes of their files, those included that are kept to be written again.
    pub bytes: u64,
}

/// The only writer of a log.
///
/// # Errors
/// After a failed write or sync it takes no more, since nobody knows what is on disk: open the log again.
/// Errors that leave it usable ([`Error::leaves_log_usable`]) are found before anything is written.
pub struct LogWriter {
    shared: Arc<Shared>,
    medium: Arc<dyn Medium>,
    prepare: Prepare,
    keep_blocks: Option<NonZeroU64>,
    keep_bytes: Option<NonZeroU64>,
    /// How many of the newest sealed segments stay in the page cache.
    cached_segments: usize,
    /// As it is on disk.
    mark: Mark,
    /// The active segment.
    file: Box<dyn MediumFile>,
    /// The segment after it: made ahead, since no segment is sealed before the next one exists.
    ahead: Ahead,
    /// Appended and not yet durable.
    pending: Pending,
    /// Where the next record goes.
    end: u32,
    /// Number of the next record.
    next: u64,
    /// Runs in the active segment, the pending ones included.
    runs: usize,
    /// Side chains in the whole log, the pending ones included.
    chains: usize,
    /// As the file has them, those of pending records included.
    operations: Operations,
    /// The newest appended height of each chain that this session has met; 0 before its first block.
    heads: HashMap<ChainId, Height, ChainHash>,
    encoder: Encoder,
    failed: Option<String>,
    _lock: Lock,
}

#[derive(Default)]
struct Pending {
    /// Bytes and side blocks of each record, and how many runs it has.
    records: Vec<(u32, u64, usize)>,
    runs: Vec<(ChainId, RunEntry)>,
}

impl LogWriter {
    pub(crate) fn new(
        recovered: Recovered,
        context: Arc<Context>,
        medium: Arc<dyn Medium>,
        options: &Options,
        lock: Lock,
    ) -> Result<Self, Error> {
        let chains = chains_of(&recovered)?;
        let Recovered { base, sealed, active, operations, file, mark, recovery: _ } = recovered;
        let mut writer = Self {
            medium,
            prepare: options.prepare,
            keep_blocks: options.keep_blocks,
            keep_bytes: options.keep_bytes,
            cached_segments: usize::try_from(options.cached_bytes / context.segment_bytes)
                .unwrap_or(usize::MAX),
            mark,
            file,
            ahead: Ahead::default(),
            pending: Pending::default(),
            end: active.end,
            next: active.next(),
            runs: active.runs(),
            chains,
            operations: operations.clone(),
            heads: HashMap::default(),
            encoder: Encoder::default(),
            failed: None,
            _lock: lock,
            shared: Arc::new(Shared::new(context, base, sealed, active)),
        };
        writer.shared.publish(|index| index.operations = operations);
        writer.prepare_ahead();
        Ok(writer)
    }

    /// A reader that sees what this writer has synced, at once.
    pub fn reader(&self) -> LogReader {
        LogReader::of_writer(self.shared.clone())
    }

    /// Appends the block after the last one. It is neither durable nor visible before [`LogWriter::sync`].
    ///
    /// Checks that the block is whole and the next one, not that its hashes and roots are true, but for that over its
    /// operations. Those are durable before its record is written.
    pub fn append(&mut self, block: &MainBlock) -> Result<(), Error> {
        self.usable()?;
        let height = block.header.height;
        format::judge_block(block, self.next, self.shared.context.main_chain)
            .map_err(|flaw| Error::Refused { height, flaw })?;
        if !block.operations.is_empty() && ops_root(&block.operations) != block.header.ops_root {
            let flaw = Flaw::Field { field: "header.ops_root", found: 0, expected: 1 };
            return Err(Error::Refused { height, flaw });
        }
        let new_chains = self.judge_heads(block)?;
        let bytes = self.encoder.encode(block);
        let runs = block.sections.len();
        let chains = self.chains + new_chains;

        let context = &self.shared.context;
        let least = u64::from(FIRST_RECORD) + bytes as u64 + seal_bytes(chains, runs, 1);
        if least > context.segment_bytes {
            return Err(Error::TooLarge { height, bytes: least, segment_bytes: context.segment_bytes });
        }
        let records = self.records() + 1;
        if u64::from(self.end) + bytes as u64 + seal_bytes(chains, self.runs + runs, records)
            > context.segment_bytes
        {
            self.roll()?;
        }

        if !block.operations.is_empty() && !planted!("operations_after_record") {
            self.write_operations(block)?;
        }
        let context = &self.shared.context;
        let (segment, synced) = (self.segment(), self.shared.head());
        let record_index = self.records() as u32;
        let header = RecordHeader::block(self.encoder.body_bytes(), self.next, self.mark.generation, synced);
        header.finish(&context.key, segment, self.end, self.encoder.record());
        let written = self.file.write_at(self.encoder.record(), self.end.into());
        self.final_error(written, "write")?;
        if !block.operations.is_empty() && planted!("operations_after_record") {
            self.write_operations(block)?;
        }

        self.pending.records.push((bytes as u32, block.columns.len() as u64, runs));
        for section in &block.sections {
            self.heads.insert(section.chain, section.last_height());
            self.pending.runs.push((section.chain, active::run(section, record_index)));
        }
        self.end += bytes as u32;
        self.next += 1;
        self.runs += runs;
        self.chains = chains;
        Ok(())
    }

    /// Puts a block's operations into their file, before its record comes.
    fn write_operations(&mut self, block: &MainBlock) -> Result<(), Error> {
        let height = block.header.height;
        let new = block.operations.iter().map(|operation| (height, operation.clone()));
        let operations: Operations = self.operations.iter().cloned().chain(new).collect();
        // Longer, it could be written and never be read again.
        format::at_most("length of OPERATIONS", operations::file_bytes(&operations), operations::MAX_BYTES)
            .map_err(|flaw| Error::Refused { height, flaw })?;
        let written = self.shared.context.write_operations(&*self.medium, &operations);
        // Nobody knows which of the two files is there: the next opening drops what has no record.
        written.inspect_err(|error| self.failed = Some(error.to_string()))?;
        self.operations = operations;
        Ok(())
    }

    /// Makes everything appended durable, then visible.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.pending.records.is_empty() {
            return Ok(());
        }
        if planted!("early_publish") {
            self.publish_pending();
        }
        let synced = self.file.sync();
        self.final_error(synced, "sync")?;
        self.publish_pending();
        Ok(())
    }

    fn publish_pending(&mut self) {
        let Pending { records, runs } = &mut self.pending;
        let operations = &self.operations;
        self.shared.publish(|index| {
            if operations.len() != index.operations.len() {
                index.operations = operations.clone();
            }
            let mut runs = runs.iter();
            for (bytes, leaves, count) in records.iter() {
                index.active.push_record(*bytes, *leaves);
                for (chain, run) in runs.by_ref().take(*count) {
                    index.active.push_run(*chain, *run);
                }
            }
        });
        records.clear();
        runs.clear();
    }

    /// Refuses a block that would index a side block twice; counts the chains that are new to the log.
    fn judge_heads(&mut self, block: &MainBlock) -> Result<usize, Error> {
        let mut new_chains = 0;
        for section in &block.sections {
            let chain = section.chain;
            let head = if let Some(head) = self.heads.get(&chain) {
                *head
            } else {
                let head = self.shared.chain_head(chain)?.unwrap_or(Height(0));
                self.heads.insert(chain, head);
                head
            };
            if section.first_height <= head {
                let height = block.header.height;
                return Err(Error::Indexed { height, chain, got: section.first_height, head });
            }
            new_chains += usize::from(head == Height(0));
        }
        Ok(new_chains)
    }

    /// Seals the active segment and goes on in the next one.
    fn roll(&mut self) -> Result<(), Error> {
        self.sync()?;
        let number = self.segment();
        let next_file = self.take_next_file()?;
        let map = segment::open_file(&self.shared.context, number + 1)?.map;

        let context = self.shared.context.clone();
        let sealed = self.shared.look(|index| {
            let older = segments::chains(&index.base, index.sealed.last())?;
            Ok::<_, Error>(index.active.seal(&context, &older, self.mark.generation))
        });
        let (index, trailer) = sealed?;
        let offset = u64::from(trailer.index_offset.get());
        let written = self.file.write_at(&index, offset).and_then(|()| {
            self.file.write_at(zerocopy::IntoBytes::as_bytes(&trailer), context.trailer_offset())
        });
        self.final_error(written, "write")?;
        let synced = self.file.sync();
        self.final_error(synced, "sync")?;

        let next = self.next;
        self.shared.publish(|index| {
            let map_of_sealed = index.active.map.clone();
            let segment = Segment::new(context.clone(), number, map_of_sealed, trailer, true);
            Arc::make_mut(&mut index.sealed).push(Slot::Sealed(Arc::new(segment)));
            index.active = Active::new(number + 1, next, Arc::new(map));
        });
        self.file = next_file;
        self.end = FIRST_RECORD;
        self.runs = 0;
        let before = self.surplus_blocks().max(self.surplus_bytes());
        if before > Height(0)
            && let Err(error) = self.prune(before)
        {
            tracing::warn!(%error, "old blocks were not removed; the next segment tries again");
        }
        self.prepare_ahead();
        Ok(())
    }

    /// The first block that `keep_blocks` keeps.
    fn surplus_blocks(&self) -> Height {
        Height(self.keep_blocks.map_or(0, |keep| self.next.saturating_sub(keep.get())))
    }

    /// The first block that `keep_bytes` keeps.
    fn surplus_bytes(&self) -> Height {
        let Some(keep) = self.keep_bytes else { return Height(0) };
        let context = &self.shared.context;
        // Besides the sealed ones there are the active one, the one after it, and spare ones.
        let others = 2 + context.spares.most;
        let files = usize::try_from(keep.get() / context.segment_bytes).unwrap_or(usize::MAX);
        let most = files.saturating_sub(others).max(1);
        self.shared.look(|index| {
            let surplus = index.sealed.len().checked_sub(most);
            surplus.and_then(|first| index.sealed.get(first)).map_or(Height(0), |slot| Height(slot.first()))
        })
    }

    /// Whether this log was made as one whose durable blocks can be taken back ([`Options::reversible`]).
    pub fn reversible(&self) -> bool {
        self.shared.context.reversible
    }

    /// The block up to which nothing is taken back any more: that of [`LogWriter::set_irreversible`], or the newest
    /// durable one of a log that is not reversible.
    pub fn irreversible(&self) -> Height {
        Height(if self.reversible() { self.mark.irreversible } else { self.shared.head() })
    }

    /// Takes back all blocks above `to`. Only a log that was made as reversible ([`Options::reversible`]) can, and
    /// only above its irreversible block.
    ///
    /// Blocks that readers hold stay what they are. An error after the first change is final: opening the log again
    /// finishes what was begun.
    pub fn rollback(&mut self, to: Height) -> Result<(), Error> {
        self.usable()?;
        let context = self.shared.context.clone();
        let refused = |why: String| Err(Error::Irreversible { to, why });
        let base = self.shared.look(|index| index.base.first);
        if !context.reversible {
            return refused("blocks of this log are final as soon as they are durable".into());
        } else if to.0 >= self.next {
            return refused(format!("the newest block is {}", self.next - 1));
        } else if to.0 < self.mark.irreversible {
            return refused(format!("block {} was said to be irreversible", self.mark.irreversible));
        } else if to.next() < base {
            return refused(format!("blocks below {base} were pruned"));
        }
        self.sync()?;
        // The thread must not make a file while files are removed.
        self.ahead.take();
        if to.0 == self.next - 1 {
            self.prepare_ahead();
            return Ok(());
        }
        let (generation, first_record) = (self.mark.generation + 1, to.0 + 1);
        let mark = Mark { generation, first_record, durable: to.0, dropping: true, ..self.mark };
        // What cannot be finished is not begun.
        if let Err(error) = recover::plan_drop(&context, &mark) {
            self.prepare_ahead();
            return refused(error.to_string());
        }
        if planted!("rollback_before_mark") {
            recover::finish_drop(&context, &*self.medium, &mark)?;
        }
        let done = context
            .write_mark(&*self.medium, mark)
            .and_then(|()| recover::recover(&context, &*self.medium))
            .and_then(|recovered| Ok((chains_of(&recovered)?, recovered)));
        let (chains, recovered) = done.map_err(|error| {
            let cause = error.to_string();
            self.failed = Some(cause.clone());
            Error::Failed { cause }
        })?;
        let Recovered { base, sealed, active, operations, file, mark, recovery: _ } = recovered;
        (self.mark, self.file, self.chains) = (mark, file, chains);
        (self.end, self.next, self.runs) = (active.end, active.next(), active.runs());
        self.heads.clear();
        self.operations = operations.clone();
        self.shared.publish(|index| *index = Index { base, sealed: Arc::new(sealed), active, operations });
        self.prepare_ahead();
        Ok(())
    }

    /// Says that the block `height` and all before it will never be taken back. Durable when it returns.
    pub fn set_irreversible(&mut self, height: Height) -> Result<(), Error> {
        self.usable()?;
        if height.0 > self.shared.head() {
            let most = Height(self.shared.head());
            return Err(Error::NoSuchBlock { what: "irreversible", height, first: Height(0), last: most });
        }
        if height.0 <= self.mark.irreversible {
            return Ok(());
        }
        self.write_mark(Mark { irreversible: height.0, durable: self.shared.head(), ..self.mark })
    }

    /// Removes the segments whose blocks are all below `before`; what proofs and restarts need of them is kept. The
    /// last sealed segment stays whatever `before` is, and so do blocks that may still be taken back, and the one that
    /// they stand on.
    ///
    /// Their files are kept to be written again, if there is room for them and nobody has them mapped. An error
    /// leaves the log usable, with or without those blocks.
    pub fn prune(&mut self, before: Height) -> Result<Pruned, Error> {
        self.usable()?;
        let context = self.shared.context.clone();
        // The irreversible block itself stays: what may be taken back stands on it.
        let before = if context.reversible { before.0.min(self.mark.irreversible.max(1)) } else { before.0 };
        let (base, slots) = self.shared.look(|index| (index.base.clone(), index.sealed.clone()));
        let count = slots.partition_point(|slot| slot.last() < before).min(slots.len().saturating_sub(1));
        let mut pruned = Pruned { first: base.first, segments: 0, bytes: 0 };
        if count == 0 {
            return Ok(pruned);
        }
        let kept = &slots[count];
        let base = Arc::new(self.base_at(kept.first(), slots[count - 1].sealed()?)?);
        context.write_base(&*self.medium, kept.number(), &base)?;
        pruned.first = base.first;
        self.shared.publish(|index| {
            index.base = base;
            index.sealed = Arc::new(index.sealed[count..].to_vec());
        });
        // From here on nobody can map them anew; who has them mapped holds a share of the lock, or is in this process.
        let alone = ReadersLock::whole(&context.dir);
        let removed: Vec<u64> = slots[..count].iter().map(Slot::number).collect();
        drop(slots);
        let mut result = Ok(());
        for number in removed {
            match context.retire(&*self.medium, number, alone.is_some()) {
                Ok(()) => {
                    pruned.segments += 1;
                    pruned.bytes += context.segment_bytes;
                }
                // The others can still go; the next opening removes this one.
                Err(error) => result = result.and(Err(error)),
            }
        }
        context.sync_dir(&*self.medium)?;
        drop(alone);
        result?;
        Ok(pruned)
    }

    /// What is kept of the blocks below `first`; `last` is the segment before it.
    fn base_at(&self, first: u64, last: &Segment) -> Result<Base, Error> {
        let reader = self.reader();
        let history = History::load(first - 1, &StoredHistory::new(&reader))?;
        let old = self.shared.look(|index| index.base.clone());
        let mut heads = Vec::new();
        for entry in last.chains()? {
            let (chain, height) = (ChainId(entry.chain.get()), Height(entry.head.get()));
            let known = old.head(chain).filter(|head| head.height == height);
            let hash = match known {
                Some(head) => Some(head.hash),
                None => self.shared.hash_of(chain, height)?,
            };
            let flaw = Flaw::Field { field: "head", found: height.0, expected: 0 };
            let hash = hash.ok_or_else(|| Error::damaged(last.file(), 0, Part::Index("chains"), flaw))?;
            heads.push(ChainHead { chain, height, hash });
        }
        Ok(Base { first: Height(first), history, heads })
    }

    /// Makes everything appended durable and says so in the mark, so that the next opening notices if any of it is
    /// gone. Dropping a writer does the same for what is durable, but cannot say when it fails.
    pub fn close(mut self) -> Result<(), Error> {
        self.sync()?;
        self.mark_durable()
    }

    fn mark_durable(&mut self) -> Result<(), Error> {
        let durable = self.shared.head();
        if self.failed.is_some() || durable <= self.mark.certain() {
            return Ok(());
        }
        self.write_mark(Mark { durable, ..self.mark })
    }

    fn write_mark(&mut self, mark: Mark) -> Result<(), Error> {
        let written = self.shared.context.write_mark(&*self.medium, mark);
        // Nobody knows which of the two is there now: both are right, but only the new one may be followed by more.
        written.inspect_err(|error| self.failed = Some(error.to_string()))?;
        self.mark = mark;
        Ok(())
    }

    fn prepare_ahead(&mut self) {
        if self.prepare == Prepare::Ahead {
            let oldest_cached = self.shared.look(|index| {
                let place = index.sealed.len().checked_sub(self.cached_segments.saturating_add(1))?;
                index.sealed[place].sealed().ok().cloned()
            });
            let (context, medium) = (self.shared.context.clone(), self.medium.clone());
            self.ahead = Ahead::start(context, medium, self.segment() + 1, oldest_cached);
        }
    }

    /// The next segment, made by now. A failure is not final: the next append tries again.
    fn take_next_file(&mut self) -> Result<Box<dyn MediumFile>, Error> {
        // What failed ahead of time may work now: space may have been freed.
        match self.ahead.take() {
            Some(file) => Ok(file),
            None => Ok(next_segment(&self.shared.context, &*self.medium, self.segment() + 1)?.file),
        }
    }

    fn usable(&self) -> Result<(), Error> {
        match &self.failed {
            None => Ok(()),
            Some(_) if planted!("goes_on_after_failure") => Ok(()),
            Some(cause) => Err(Error::Failed { cause: cause.clone() }),
        }
    }

    fn final_error(&mut self, result: std::io::Result<()>, action: &'static str) -> Result<(), Error> {
        result.map_err(|source| {
            let error = Error::io(action, &self.shared.context.segment_path(self.segment()))(source);
            self.failed = Some(error.to_string());
            error
        })
    }

    fn segment(&self) -> u64 {
        self.shared.look(|index| index.active.segment)
    }

    /// Records in the active segment, the pending ones included.
    fn records(&self) -> usize {
        self.shared.look(|index| index.active.records() as usize) + self.pending.records.len()
    }
}

impl BlockStore for LogWriter {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        Ok(LogWriter::append(self, block)?)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(LogWriter::sync(self)?)
    }
}

impl ReversibleStore for LogWriter {
    fn reversible(&self) -> bool {
        LogWriter::reversible(self)
    }

    fn irreversible(&self) -> Height {
        LogWriter::irreversible(self)
    }

    fn rollback(&mut self, to: Height) -> Result<(), StoreError> {
        Ok(LogWriter::rollback(self, to)?)
    }

    fn set_irreversible(&mut self, height: Height) -> Result<(), StoreError> {
        Ok(LogWriter::set_irreversible(self, height)?)
    }
}

impl Drop for LogWriter {
    /// Waits for the thread that prepares a segment, and marks the end of the log: the directory is at rest when the
    /// lock is given back.
    fn drop(&mut self) {
        self.ahead.take();
        if let Err(error) = self.mark_durable() {
            tracing::warn!(%error, "the end of the log could not be marked");
        }
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter")
            .field("dir", &self.shared.context.dir)
            .field("next", &self.next)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// How many side chains a log has.
fn chains_of(recovered: &Recovered) -> Result<usize, Error> {
    let older = segments::chains(&recovered.base, recovered.sealed.last())?;
    let newer =
        recovered.active.chains().filter(|chain| segment::find_chain(&older, *chain).is_none()).count();
    Ok(older.len() + newer)
}

/// Bytes of what seals a segment.
fn seal_bytes(chains: usize, runs: usize, records: usize) -> u64 {
    (format::index_bytes(chains, runs, records) + Trailer::BYTES) as u64
}
