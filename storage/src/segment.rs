//! [`Segment`]: a sealed segment file. It never changes again.
//!
//! # What is checked when
//! Opening reads the header page and the trailer. A table of the index is checked as a whole when it is first
//! used, a record when it is first read; each is remembered in a flag or a bit, so that every later use costs
//! bounds and nothing more. Damage is not remembered: it is found, and reported, each time.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use engine::chain::{ChainId, Height};
use rustix::fs::Advice;
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::block::LogBlock;
use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{
    self, ALIGN, ChainEntry, FIRST_RECORD, Flaw, Place, Purpose, RecordHeader, RunEntry, SegmentHeader,
    Trailer,
};
use crate::map::Map;

/// A sealed segment.
#[derive(Debug)]
pub(crate) struct Segment {
    context: Arc<Context>,
    number: u64,
    file: PathBuf,
    map: Arc<Map>,
    trailer: Trailer,
    checked_chains: AtomicBool,
    checked_runs: AtomicBool,
    checked_offsets: AtomicBool,
    /// A bit for each record, set once its checksum and contents were found right.
    checked_records: OnceLock<Box<[AtomicU64]>>,
}

/// A segment file, its header found right. The map shows nothing yet.
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) map: Map,
    /// Whether the file held another segment before.
    pub(crate) recycled: bool,
}

/// Opens the file of segment `number` and checks its length and its header.
pub(crate) fn open_file(context: &Context, number: u64) -> Result<OpenFile, Error> {
    let path = context.segment_path(number);
    let file = File::open(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing {
            file: path.clone(),
            why: "the segment before it is sealed, or it is the first one",
        },
        _ => Error::io("open", &path)(source),
    })?;
    let found = file.metadata().map_err(Error::io("look at", &path))?.len();
    if found != context.segment_bytes {
        return Err(Error::SegmentLength { file: path, found, expected: context.segment_bytes });
    }
    let header = read_at(&file, &path, 0, FIRST_RECORD as usize)?;
    let recycled = SegmentHeader::judge(&header, &context.key, number, context.segment_bytes)
        .map_err(|flaw| Error::damaged(&path, 0, Part::SegmentHeader, flaw))?;
    let map = Map::new(&file, &path, context.segment_bytes, context.share.clone())
        .map_err(Error::io("map", &path))?;
    Ok(OpenFile { file, map, recycled })
}

/// The trailer of a segment file; an error of kind [`Flaw`] when it is not sealed.
pub(crate) fn read_trailer(
    context: &Context,
    file: &File,
    number: u64,
) -> Result<Result<Trailer, Flaw>, Error> {
    let path = context.segment_path(number);
    let bytes = read_at(file, &path, context.trailer_offset(), Trailer::BYTES)?;
    Ok(Trailer::judge(&bytes, &context.key, number, context.segment_bytes))
}

/// Reads `length` bytes of the file at `offset` into memory, past the map.
pub(crate) fn read_at(file: &File, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).map_err(Error::io("read", path))?;
    Ok(bytes)
}

impl Segment {
    /// The segment behind `map`, whose trailer was found right. `checked` if the caller has just written, or
    /// checked, all the rest of it.
    pub(crate) fn new(
        context: Arc<Context>,
        number: u64,
        map: Arc<Map>,
        trailer: Trailer,
        checked: bool,
    ) -> Self {
        map.publish(context.segment_bytes);
        let segment = Self {
            file: context.segment_path(number),
            context,
            number,
            map,
            trailer,
            checked_chains: AtomicBool::new(checked),
            checked_runs: AtomicBool::new(checked),
            checked_offsets: AtomicBool::new(checked),
            checked_records: OnceLock::new(),
        };
        if checked {
            for word in segment.checked_records() {
                word.store(u64::MAX, Ordering::Relaxed);
            }
        }
        segment
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
    pub(crate) fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Lets the kernel use the memory in which it keeps the records; the index stays. A hint: where it is not taken,
    /// all stays as it was.
    pub(crate) fn leave_cache(&self) {
        let records = NonZeroU64::new(self.trailer.index_offset.get().into());
        let advised = File::open(&self.file)
            .and_then(|file| Ok(rustix::fs::fadvise(file, 0, records, Advice::DontNeed)?));
        if let Err(error) = advised {
            tracing::debug!(file = %self.file.display(), %error, "its records stay in the page cache");
        }
    }

    pub(crate) fn trailer(&self) -> &Trailer {
        &self.trailer
    }
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
    /// Number of the first record.
    pub(crate) fn first(&self) -> u64 {
        self.trailer.first_record.get()
    }
    /// Number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.trailer.last_record()
    }

    /// The block `number`, which must be one of [`Self::first`] to [`Self::last`].
    pub(crate) fn block(&self, number: u64) -> Result<LogBlock, Error> {
        let index = (number - self.first()) as usize;
        let offset = self.offsets()?[index].get();
        let end = match self.offsets()?.get(index + 1) {
            Some(next) => next.get(),
            None => self.trailer.records_end.get(),
        };
        self.vouch(offset as usize..end as usize, self.block_at(number, index, offset))
    }

    fn block_at(&self, number: u64, index: usize, offset: u32) -> Result<LogBlock, Error> {
        let damaged = |flaw| Error::damaged(&self.file, offset.into(), Part::Record(number), flaw);
        let bytes = self.map.get(offset as usize, RecordHeader::BYTES).ok_or_else(|| damaged(Flaw::Empty))?;
        let body = offset as usize + RecordHeader::BYTES;
        // Relaxed: the bit guards no memory of ours, and a reader that misses it checks once more.
        let (word, bit) = (&self.checked_records()[index / 64], 1 << (index % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            let header = RecordHeader::read(bytes).map_err(damaged)?;
            return LogBlock::access(self.map.clone(), body, header.body_bytes()).map_err(damaged);
        }
        let place = Place { segment: self.number, offset, number };
        let room = self.trailer.records_end.get().saturating_sub(offset) as usize;
        let header = RecordHeader::judge(bytes, &self.context.key, place, room).map_err(damaged)?;
        let record =
            self.map.get(offset as usize, header.record_bytes()).ok_or_else(|| damaged(Flaw::Empty))?;
        header.judge_record(&self.context.key, place, record).map_err(damaged)?;
        let block = LogBlock::access(self.map.clone(), body, header.body_bytes()).map_err(damaged)?;
        format::judge_block(&block, number, self.context.main_chain).map_err(damaged)?;
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(block)
    }

    /// The newest indexed height of `chain` at the end of this segment.
    pub(crate) fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, Error> {
        let chains = self.chains()?;
        let found = find_chain(chains, chain).map(|index| Height(chains[index].head.get()));
        self.vouch_index(Ok(found))
    }

    /// The main block of this segment that indexed `height` of `chain`.
    pub(crate) fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, Error> {
        let chains = self.chains()?;
        let Some(index) = find_chain(chains, chain) else { return self.vouch_index(Ok(None)) };
        let start = if index == 0 { 0 } else { chains[index - 1].runs_end.get() as usize };
        // The bounds were checked, and may be zeros by now: then this is not vouched for.
        let runs = self.runs()?.get(start..chains[index].runs_end.get() as usize).unwrap_or_default();
        let found = find_run(runs, height).map(|run| Height(self.first() + u64::from(run.record.get())));
        self.vouch_index(Ok(found))
    }

    /// [`Map::vouch`] for something that was read by way of the index. It also notices that the end of the file
    /// is not what it was, which a cut inside of the last page leaves without a signal.
    fn vouch<T>(&self, range: Range<usize>, result: Result<T, Error>) -> Result<T, Error> {
        let offset = self.context.trailer_offset();
        if self.map.peek(offset as usize) == self.trailer.sum() {
            return self.map.vouch(range, result);
        }
        let changed = || Error::damaged(&self.file, offset, Part::Trailer, Flaw::Checksum);
        self.map.vouch(0..self.context.segment_bytes as usize, Err(self.map.shrunk().unwrap_or_else(changed)))
    }

    /// The same for what was read of the index alone.
    pub(crate) fn vouch_index<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        self.vouch(self.trailer.index_offset.get() as usize..self.context.trailer_offset() as usize, result)
    }

    /// Every side chain with a block in this segment or an earlier one, ascending.
    pub(crate) fn chains(&self) -> Result<&[ChainEntry], Error> {
        self.table(&self.checked_chains, Purpose::Chains, |entries: &[ChainEntry]| {
            let (mut next_chain, mut runs) = (0, 0);
            for entry in entries {
                format::at_least("chain", entry.chain.get().into(), next_chain)?;
                format::at_least("runs_end", entry.runs_end.get().into(), runs)?;
                next_chain = u64::from(entry.chain.get()) + 1;
                runs = entry.runs_end.get().into();
            }
            format::exactly("last runs_end", runs, self.trailer.runs.get().into())
        })
    }

    /// The runs of each of [`Self::chains`] in turn, ascending.
    fn runs(&self) -> Result<&[RunEntry], Error> {
        let chains = self.chains()?;
        self.table(&self.checked_runs, Purpose::Runs, |runs: &[RunEntry]| {
            let mut start = 0;
            for chain in chains {
                let end = chain.runs_end.get() as usize;
                let mut next_height = 1;
                for run in runs.get(start..end).ok_or(Flaw::Empty)? {
                    // A copy: between two looks at the file it may be cut.
                    let run = *run;
                    format::at_least("first_height", run.first_height.get(), next_height)?;
                    format::at_least("count", run.count.get().into(), 1)?;
                    let highest = Height::MAX.0 - (u64::from(run.count.get()) - 1);
                    format::at_most("first_height", run.first_height.get(), highest)?;
                    format::at_most(
                        "record",
                        run.record.get().into(),
                        (self.trailer.records.get() - 1).into(),
                    )?;
                    next_height = run.last_height().saturating_add(1);
                }
                start = end;
            }
            Ok(())
        })
    }

    /// Where each record starts.
    fn offsets(&self) -> Result<&[U32], Error> {
        self.table(&self.checked_offsets, Purpose::Offsets, |offsets: &[U32]| {
            let mut next = FIRST_RECORD;
            for offset in offsets {
                let offset = offset.get();
                format::at_least("offset", offset.into(), next.into())?;
                if !(offset as usize).is_multiple_of(ALIGN) {
                    return Err(Flaw::Field { field: "offset", found: offset.into(), expected: next.into() });
                }
                let last =
                    u64::from(self.trailer.records_end.get()).saturating_sub(RecordHeader::BYTES as u64);
                format::at_most("offset", offset.into(), last)?;
                next = offset + RecordHeader::BYTES as u32;
            }
            Ok(())
        })
    }

    /// Checks all three tables.
    pub(crate) fn check_index(&self) -> Result<(), Error> {
        self.chains()?;
        self.runs()?;
        self.offsets()?;
        self.vouch_index(Ok(()))
    }

    fn table<T>(
        &self,
        checked: &AtomicBool,
        purpose: Purpose,
        judge: impl FnOnce(&[T]) -> Result<(), Flaw>,
    ) -> Result<&[T], Error>
    where
        T: FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
    {
        let trailer = &self.trailer;
        let chains = trailer.chains.get() as usize;
        let runs = trailer.runs.get() as usize;
        let runs_start = trailer.index_offset.get() as usize + chains * size_of::<ChainEntry>();
        let offsets_start = runs_start + runs * size_of::<RunEntry>();
        let (name, start, count, sum) = match purpose {
            Purpose::Chains => ("chains", trailer.index_offset.get() as usize, chains, trailer.chains_sum),
            Purpose::Runs => ("runs", runs_start, runs, trailer.runs_sum),
            _ => ("offsets", offsets_start, trailer.records.get() as usize, trailer.offsets_sum),
        };
        // What is found right here is vouched for once it was used.
        let damaged = |flaw| {
            let error = Error::damaged(&self.file, start as u64, Part::Index(name), flaw);
            self.vouch_index(Err::<(), _>(error)).expect_err("an error stays one")
        };
        let bytes = self.map.get(start, count * size_of::<T>()).ok_or_else(|| damaged(Flaw::Empty))?;
        let table = <[T]>::ref_from_bytes(bytes).map_err(|_| damaged(Flaw::length(bytes.len(), count)))?;
        // Relaxed, as for records.
        if !checked.load(Ordering::Relaxed) {
            if sum.get() != self.context.key.sum(purpose, self.number, 0, 0, bytes) {
                return Err(damaged(Flaw::Checksum));
            }
            judge(table).map_err(damaged)?;
            checked.store(true, Ordering::Relaxed);
        }
        Ok(table)
    }

    fn checked_records(&self) -> &[AtomicU64] {
        self.checked_records
            .get_or_init(|| (0..self.trailer.records.get().div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }
}

/// Where `chain` stands in a table of chains.
pub(crate) fn find_chain(chains: &[ChainEntry], chain: ChainId) -> Option<usize> {
    chains.binary_search_by_key(&chain.0, |entry| entry.chain.get()).ok()
}

/// The run that holds `height`, of the runs of one chain.
pub(crate) fn find_run(runs: &[RunEntry], height: Height) -> Option<&RunEntry> {
    let after = runs.partition_point(|run| run.first_height.get() <= height.0);
    runs[..after].last().filter(|run| height.0 <= run.last_height())
}
