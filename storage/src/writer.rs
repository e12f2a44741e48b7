//! [`LogWriter`]: appends blocks and makes them durable.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use engine::chain::{ChainId, Height, MainBlock};
use engine::store::{BlockStore, StoreError};

use crate::active::{self, Active, ChainHash};
use crate::block::Encoder;
use crate::error::Error;
use crate::files::{Context, Lock};
use crate::format::{self, FIRST_RECORD, Flaw, RecordHeader, RunEntry, Trailer};
use crate::log::Prepare;
use crate::medium::{Medium, MediumFile};
use crate::reader::{LogReader, Shared};
use crate::recover::Recovered;
use crate::segment::{self, Segment};

/// The only writer of a log.
///
/// # Errors
/// After a failed write or sync it takes no more, since nobody knows what is on disk: open the log again.
/// Errors that leave it usable ([`Error::leaves_log_usable`]) are found before anything is written.
pub struct LogWriter {
    shared: Arc<Shared>,
    medium: Arc<dyn Medium>,
    prepare: Prepare,
    generation: u64,
    /// The active segment.
    file: Box<dyn MediumFile>,
    /// The segment after it: made ahead, since no segment is sealed before the next one exists.
    next_file: NextFile,
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

enum NextFile {
    /// Not made yet, or making it failed.
    None,
    /// A thread makes it.
    Preparing(JoinHandle<Result<Box<dyn MediumFile>, Error>>),
}

impl LogWriter {
    pub(crate) fn new(
        recovered: Recovered,
        context: Arc<Context>,
        medium: Arc<dyn Medium>,
        prepare: Prepare,
        lock: Lock,
    ) -> Result<Self, Error> {
        let Recovered { sealed, active, file, mark, recovery: _ } = recovered;
        let older = match sealed.last() {
            Some(last) => last.chains()?,
            None => &[],
        };
        let newer = active.chains().filter(|chain| segment::find_chain(older, *chain).is_none()).count();
        let chains = older.len() + newer;
        let mut writer = Self {
            medium,
            prepare,
            generation: mark.generation,
            file,
            next_file: NextFile::None,
            pending: Pending::default(),
            end: active.end,
            next: active.next(),
            runs: active.runs(),
            chains,
            heads: HashMap::default(),
            encoder: Encoder::default(),
            failed: None,
            _lock: lock,
            shared: Arc::new(Shared::new(context, sealed, active)),
        };
        writer.prepare_ahead();
        Ok(writer)
    }

    /// A reader that sees what this writer has synced, at once.
    pub fn reader(&self) -> LogReader {
        LogReader::of_writer(self.shared.clone())
    }

    /// Appends the block after the last one. It is neither durable nor visible before [`LogWriter::sync`].
    ///
    /// Checks that the block is whole and the next one, not that its hashes and roots are true.
    pub fn append(&mut self, block: &MainBlock) -> Result<(), Error> {
        self.usable()?;
        let height = block.header.height;
        format::judge_block(block, self.next, self.shared.context.main_chain)
            .map_err(|flaw| Error::Refused { height, flaw })?;
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

        let context = &self.shared.context;
        let (segment, synced) = (self.segment(), self.shared.head());
        let record_index = self.records() as u32;
        let header = RecordHeader::block(self.encoder.body_bytes(), self.next, self.generation, synced);
        header.finish(&context.key, segment, self.end, self.encoder.record());
        let written = self.file.write_at(self.encoder.record(), self.end.into());
        self.final_error(written, "write")?;

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

    /// Makes everything appended durable, then visible.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.pending.records.is_empty() {
            return Ok(());
        }
        let synced = self.file.sync();
        self.final_error(synced, "sync")?;
        let Pending { records, runs } = &mut self.pending;
        self.shared.publish(|index| {
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
        Ok(())
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
        let (next, map) = segment::open_file(&self.shared.context, number + 1)?;
        drop(next);

        let context = self.shared.context.clone();
        let sealed = self.shared.look(|index| {
            let before = index.sealed.last().map(AsRef::as_ref);
            index.active.seal(&context, before, self.generation)
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
            Arc::make_mut(&mut index.sealed).push(Arc::new(segment));
            index.active = Active::new(number + 1, next, Arc::new(map));
        });
        self.file = next_file;
        self.end = FIRST_RECORD;
        self.runs = 0;
        self.prepare_ahead();
        Ok(())
    }

    fn prepare_ahead(&mut self) {
        if self.prepare == Prepare::AtRoll {
            return;
        }
        let (context, medium, number) =
            (self.shared.context.clone(), self.medium.clone(), self.segment() + 1);
        let made = std::thread::Builder::new()
            .name("log-prepare".into())
            .spawn(move || next_segment(&context, &*medium, number));
        self.next_file = match made {
            Ok(thread) => NextFile::Preparing(thread),
            Err(error) => {
                tracing::warn!(%error, "no thread to prepare the next segment: made when it is needed");
                NextFile::None
            }
        };
    }

    /// The next segment, made by now. A failure is not final: the next append tries again.
    fn take_next_file(&mut self) -> Result<Box<dyn MediumFile>, Error> {
        match std::mem::replace(&mut self.next_file, NextFile::None) {
            // What failed ahead of time may work now: space may have been freed.
            NextFile::Preparing(thread) => match thread.join() {
                Ok(Ok(file)) => return Ok(file),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "could not prepare the next segment ahead: trying again");
                }
                Err(panic) => std::panic::resume_unwind(panic),
            },
            NextFile::None => {}
        }
        next_segment(&self.shared.context, &*self.medium, self.segment() + 1)
    }

    fn usable(&self) -> Result<(), Error> {
        match &self.failed {
            None => Ok(()),
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

impl Drop for LogWriter {
    /// Waits for the thread that prepares a segment: the directory is at rest when the lock is given back.
    fn drop(&mut self) {
        if let NextFile::Preparing(thread) = std::mem::replace(&mut self.next_file, NextFile::None)
            && let Ok(Err(error)) = thread.join()
        {
            tracing::debug!(%error, "the next segment was not prepared");
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

/// Bytes of what seals a segment.
fn seal_bytes(chains: usize, runs: usize, records: usize) -> u64 {
    (format::index_bytes(chains, runs, records) + Trailer::BYTES) as u64
}

/// Opens the segment `number` when it is there and sound, else makes it. It must be one that holds nothing.
fn next_segment(context: &Context, medium: &dyn Medium, number: u64) -> Result<Box<dyn MediumFile>, Error> {
    if context.segment_path(number).exists() {
        if context.holds_records(number)? {
            let path = context.segment_path(number);
            let flaw = Flaw::Field { field: "first byte", found: 1, expected: 0 };
            return Err(Error::damaged(&path, FIRST_RECORD.into(), crate::error::Part::File, flaw));
        }
        if segment::open_file(context, number).is_ok() {
            // Whoever made it may have failed to make its name durable.
            context.sync_dir(medium)?;
            return context.open_segment(medium, number);
        }
    }
    context.create_segment(medium, number)
}
