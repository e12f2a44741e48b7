//! [`LogReader`]: finds and shows durable blocks, in the process that writes the log or in another one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use engine::chain::{ChainId, Hash, Height};
use engine::store::{BlockReader, StoreError};

use crate::active::{self, Active, Lookup};
use crate::block::LogBlock;
use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{Flaw, Mark, RecordHeader};
use crate::recover::Segments;
use crate::scan::{Scan, judge_body};
use crate::segment::{self, Segment};

/// Reads a log. Cheap to clone; all clones see the same head.
///
/// One that belongs to a [`crate::LogWriter`] follows it by itself. One that was opened on its own sees what was
/// durable at the last [`LogReader::refresh`]; it needs no lock and never writes.
#[derive(Debug, Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// Of a reader of another process's log.
    follower: Option<Arc<Mutex<Follower>>>,
}

/// What the writer publishes and readers see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: Arc<Context>,
    /// The newest durable record. Written last, after the index holds the record; who sees it late sees less.
    head: AtomicU64,
    pub(crate) index: RwLock<Index>,
}

/// Where all durable records are.
#[derive(Debug)]
pub(crate) struct Index {
    /// Replaced as a whole when a segment is sealed, so that readers search it without the lock.
    pub(crate) sealed: Arc<Vec<Arc<Segment>>>,
    pub(crate) active: Active,
}

/// A segment file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub file: PathBuf,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Its first main block.
    pub first: Height,
    /// How many main blocks it holds.
    pub blocks: u64,
    /// How many side blocks.
    pub leaves: u64,
    /// Bytes of its records.
    pub record_bytes: u64,
}

impl Shared {
    pub(crate) fn new(context: Arc<Context>, sealed: Vec<Arc<Segment>>, active: Active) -> Self {
        let head = AtomicU64::new(active.next() - 1);
        Self { context, head, index: RwLock::new(Index { sealed: Arc::new(sealed), active }) }
    }

    /// Changes the index, then lets readers see the new head.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut index);
        let head = index.active.next() - 1;
        drop(index);
        // Synchronises with the load in `head`.
        self.head.store(head, Ordering::Release);
    }

    /// Looks at the index. `look` should be brief: the writer waits for it.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn head(&self) -> u64 {
        // Synchronises with the store in `publish`.
        self.head.load(Ordering::Acquire)
    }

    fn block(&self, height: Height) -> Result<Option<LogBlock>, Error> {
        let number = height.0;
        if number == 0 || number > self.head() {
            return Ok(None);
        }
        let (place, sealed) = self.look(|index| match index.active.find(number) {
            Some((map, offset)) => (Some((map, offset, index.active.segment)), None),
            None => (None, Some(index.sealed.clone())),
        });
        if let Some((map, offset, segment)) = place {
            let found = active::checked_block(map.clone(), offset).map_err(|flaw| {
                let path = self.context.segment_path(segment);
                Error::damaged(&path, offset.into(), Part::Record(number), flaw)
            });
            let end = match &found {
                Ok(block) => u64::from(offset) + block.record_bytes(),
                Err(_) => self.context.segment_bytes,
            };
            return map.vouch(offset as usize..end as usize, found.map(Some));
        }
        let sealed = sealed.expect("either place or segments");
        let index = sealed.partition_point(|segment| segment.last() < number);
        sealed
            .get(index)
            .filter(|segment| segment.first() <= number)
            .map(|segment| segment.block(number))
            .transpose()
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, Error> {
        let (lookup, sealed) = self.look(|index| (index.active.locate(chain, height), index.sealed.clone()));
        match lookup {
            Lookup::Found(found) => return Ok(Some(found)),
            Lookup::Absent => return Ok(None),
            Lookup::Earlier => {}
        }
        // The first segment at whose end the chain is that far.
        let (mut low, mut high) = (0, sealed.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if sealed[middle].chain_head(chain)?.is_some_and(|head| height <= head) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        sealed.get(low).map_or(Ok(None), |segment| segment.locate(chain, height))
    }

    pub(crate) fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, Error> {
        let (head, last) = self.look(|index| (index.active.chain_head(chain), index.sealed.last().cloned()));
        match (head, last) {
            (Some(head), _) => Ok(Some(head)),
            (None, Some(last)) => last.chain_head(chain),
            (None, None) => Ok(None),
        }
    }
}

impl LogReader {
    pub(crate) fn of_writer(shared: Arc<Shared>) -> Self {
        Self { shared, follower: None }
    }

    /// Opens a log for reading, whether or not some process writes it, and refreshes once.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let context = Arc::new(Context::read(dir.as_ref())?);
        let mut mark = context.read_mark()?;
        let segments = loop {
            let opened = Segments::open(&context, &mark);
            // What another writing session has done since is no damage.
            let now = context.read_mark()?;
            if opened.is_ok() || now == mark {
                break opened?;
            }
            mark = now;
        };
        let scan = Scan::new(segments.active, segments.first, segments.generation);
        let active = Active::new(segments.active, segments.first, segments.map);
        let follower = Follower { mark, file: segments.file, scan, buffer: Vec::new() };
        let reader = Self {
            shared: Arc::new(Shared::new(context, segments.sealed, active)),
            follower: Some(Arc::new(Mutex::new(follower))),
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// Takes in what another process has written since, and returns the new head. On the reader of a writer it does
    /// nothing: that one is always up to date.
    ///
    /// What it shows it has made durable itself, since it cannot know whether the writer already has: it may sync
    /// the segment file (a few milliseconds, when there is anything new).
    pub fn refresh(&self) -> Result<Height, Error> {
        if let Some(follower) = &self.follower {
            follower.lock().unwrap_or_else(PoisonError::into_inner).follow(&self.shared)?;
        }
        Ok(Height(self.shared.head()))
    }

    /// The main chain whose blocks these are.
    pub fn main_chain(&self) -> ChainId {
        self.shared.context.main_chain
    }

    /// Hash of the genesis document that the log was made for.
    pub fn genesis_hash(&self) -> Hash {
        self.shared.context.genesis_hash
    }

    /// Size of a segment file, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.shared.context.segment_bytes
    }

    /// The segment files, in order; the last one is not sealed.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let context = &self.shared.context;
        self.shared.look(|index| {
            let active = &index.active;
            let sealed = index.sealed.iter().map(|segment| SegmentInfo {
                file: segment.file().to_owned(),
                sealed: true,
                first: Height(segment.first()),
                blocks: segment.trailer().records.get().into(),
                leaves: segment.trailer().leaves.get(),
                record_bytes: (segment.trailer().records_end.get() - crate::format::FIRST_RECORD).into(),
            });
            let open = SegmentInfo {
                file: context.segment_path(active.segment),
                sealed: false,
                first: Height(active.first),
                blocks: active.records().into(),
                leaves: active.leaves,
                record_bytes: (active.end - crate::format::FIRST_RECORD).into(),
            };
            sealed.chain([open]).collect()
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl BlockReader for LogReader {
    type Block<'a> = LogBlock;

    fn head(&self) -> Height {
        Height(self.shared.head())
    }

    fn block(&self, height: Height) -> Result<Option<LogBlock>, StoreError> {
        Ok(self.shared.block(height)?)
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        Ok(self.shared.locate(chain, height)?)
    }

    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        Ok(self.shared.chain_head(chain)?)
    }
}

/// Follows a log that another process may be writing.
///
/// It looks at bytes that may still change by reading copies of them from the file; the map shows a record only
/// after its copy was found right and the file was synced.
#[derive(Debug)]
struct Follower {
    mark: Mark,
    file: File,
    scan: Scan,
    buffer: Vec<u8>,
}

impl Follower {
    fn follow(&mut self, shared: &Shared) -> Result<(), Error> {
        loop {
            while self.take_records(shared)? {}
            let context = &shared.context;
            let number = self.scan.segment;
            let Ok(trailer) = segment::read_trailer(context, &self.file, number)? else { return Ok(()) };
            // Sealed, so all its records are durable, also those that came after our look.
            let path = context.segment_path(number);
            let first = shared.look(|index| index.active.first);
            if trailer.first_record.get() != first || trailer.last_record() + 1 < self.scan.number {
                let flaw = Flaw::Field {
                    field: "last record",
                    found: trailer.last_record(),
                    expected: self.scan.number - 1,
                };
                return Err(Error::damaged(&path, context.trailer_offset(), Part::Trailer, flaw));
            }
            let next = trailer.last_record() + 1;
            let (file, map) = segment::open_file(context, number + 1)?;
            let sealed_map = shared.look(|index| index.active.map.clone());
            let sealed = Arc::new(Segment::new(context.clone(), number, sealed_map, trailer, false));
            sealed.check_index()?;
            shared.publish(|index| {
                Arc::make_mut(&mut index.sealed).push(sealed);
                index.active = Active::new(number + 1, next, Arc::new(map));
            });
            self.file = file;
            self.scan = Scan::new(number + 1, next, trailer.generation.get());
        }
    }

    /// Takes in records of the active segment that are there by now, so many that the lists stay small; says
    /// whether there were any.
    fn take_records(&mut self, shared: &Shared) -> Result<bool, Error> {
        const MOST: usize = 1024;
        let context = &shared.context;
        let path = context.segment_path(self.scan.segment);
        let mut scan = self.scan;
        let mut found = Vec::new();
        while found.len() < MOST
            && let Some(header) = self.next_record(context, &path, &scan)?
        {
            found.push((scan, header));
            scan.step(&header);
        }
        if found.is_empty() {
            return Ok(false);
        }
        self.file.sync_data().map_err(Error::io("sync", &path))?;
        let map = shared.look(|index| index.active.map.clone());
        map.publish(scan.offset.into());
        let mut blocks = Vec::with_capacity(found.len());
        for (scan, header) in found {
            let block = judge_body(&map, &scan, &header, context.main_chain)
                .map_err(|flaw| Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw));
            let start = scan.offset as usize;
            let block = map.vouch(start..start + header.record_bytes(), block)?;
            blocks.push((scan, header, block));
        }
        let mut taken = Ok(());
        shared.publish(|index| {
            for (scan, header, block) in &blocks {
                taken = index.active.push_block(header.record_bytes() as u32, block);
                if taken.is_err() {
                    break;
                }
                self.scan = *scan;
                self.scan.step(header);
            }
        });
        taken.map(|()| true)
    }

    /// The record at `scan`, if it is whole.
    fn next_record(
        &mut self,
        context: &Context,
        path: &Path,
        scan: &Scan,
    ) -> Result<Option<RecordHeader>, Error> {
        if scan.room(context) < RecordHeader::BYTES {
            return Ok(None);
        }
        let mut first = [0; RecordHeader::BYTES];
        self.file.read_exact_at(&mut first, scan.offset.into()).map_err(Error::io("read", path))?;
        let mut judged = scan.judge_header(context, &self.mark, &first);
        if let Err(Flaw::Generation { found, newest }) = judged
            && found > newest
        {
            // Another session writes by now.
            self.mark = context.read_mark()?;
            judged = scan.judge_header(context, &self.mark, &first);
        }
        let Ok(header) = judged else { return Ok(None) };
        self.buffer.resize(header.record_bytes(), 0);
        self.file.read_exact_at(&mut self.buffer, scan.offset.into()).map_err(Error::io("read", path))?;
        // Read again with the header: the two must be of one record.
        let header = match scan.judge_header(context, &self.mark, &self.buffer) {
            Ok(again) if again.record_bytes() == header.record_bytes() => again,
            _ => return Ok(None),
        };
        Ok(scan.judge_record(context, &header, &self.buffer).is_ok().then_some(header))
    }
}
