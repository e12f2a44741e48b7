//! [`LogReader`]: finds and shows durable blocks, in the process that writes the log or in another one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use engine::chain::{BlockView, ChainId, Hash, Height};
use engine::store::{Base, BlockReader, Operations, StoreError};

use crate::active::{self, Active, Lookup};
use crate::block::LogBlock;
use crate::error::{Error, Part};
use crate::files::{Context, Lock, ReadersLock};
use crate::format::{FIRST_RECORD, Flaw, Mark, RecordHeader};
use crate::map::Map;
use crate::recover;
use crate::scan::{Scan, judge_body};
use crate::segment::{self, Segment};
use crate::segments::{self, Open, Segments, Slot};

/// Reads a log. Cheap to clone; all clones see the same head.
///
/// One that belongs to a [`crate::LogWriter`] follows it by itself. One that was opened on its own sees what was
/// durable at the last [`LogReader::refresh`]; it waits for nobody and never writes. While it lives, the space of
/// segments that the writer removes is not given back.
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
    /// Where the log begins.
    pub(crate) base: Arc<Base>,
    /// All segments but the active one. Replaced as a whole when one is sealed or removed, so that readers search it
    /// without the lock.
    pub(crate) sealed: Arc<Vec<Slot>>,
    pub(crate) active: Active,
    /// Of all durable records. A reader of another process's log leaves this empty and looks into the file.
    pub(crate) operations: Operations,
}

/// A segment file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub file: PathBuf,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether it can be read; if not, the figures below are what its neighbours say.
    pub readable: bool,
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
    pub(crate) fn new(context: Arc<Context>, base: Arc<Base>, sealed: Vec<Slot>, active: Active) -> Self {
        let head = AtomicU64::new(active.next() - 1);
        let operations = Operations::default();
        Self {
            context,
            head,
            index: RwLock::new(Index { base, sealed: Arc::new(sealed), active, operations }),
        }
    }

    fn into_index(self) -> Index {
        self.index.into_inner().unwrap_or_else(PoisonError::into_inner)
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
            Some((map, offset)) => {
                let hole = self.outside_holes(&index.active, Some(number));
                (Some(hole.map(|()| (map, offset, index.active.segment))), None)
            }
            None => (None, Some(index.sealed.clone())),
        });
        if let Some(place) = place {
            let (map, offset, segment) = place?;
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
        let index = sealed.partition_point(|slot| slot.last() < number);
        let slot = sealed.get(index).filter(|slot| slot.first() <= number);
        slot.map(|slot| slot.sealed()?.block(number)).transpose()
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, Error> {
        let (lookup, sealed, hole) = self.look(|index| {
            let hole = self.outside_holes(&index.active, None);
            (index.active.locate(chain, height), index.sealed.clone(), hole)
        });
        let found = match lookup {
            Lookup::Found(found) => return Ok(Some(found)),
            Lookup::Absent => None,
            Lookup::Earlier => segments::locate(&sealed, chain, height)?,
        };
        // What is not found may have been in a damaged block.
        if found.is_none() { hole.map(|()| None) } else { Ok(found) }
    }

    /// An error if the block `number`, or any if there is none, is damaged and others follow it.
    fn outside_holes(&self, active: &Active, number: Option<u64>) -> Result<(), Error> {
        let Some((hole, offset)) = active.hole(number) else { return Ok(()) };
        let path = self.context.segment_path(active.segment);
        let part = Part::Record(number.unwrap_or(hole.start));
        Err(Error::damaged(&path, offset.into(), part, Flaw::Checksum))
    }

    /// The hash of an indexed side block.
    pub(crate) fn hash_of(&self, chain: ChainId, height: Height) -> Result<Option<Hash>, Error> {
        let Some(main) = self.locate(chain, height)? else { return Ok(None) };
        let Some(block) = self.block(main)? else { return Ok(None) };
        let hash = block.find(chain).and_then(|(_, section)| {
            let offset = usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?;
            block.columns().hashes.get(section.leaves())?.get(offset).copied()
        });
        block.vouch()?;
        Ok(hash)
    }

    pub(crate) fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, Error> {
        let (head, last, base) = self
            .look(|index| (index.active.chain_head(chain), index.sealed.last().cloned(), index.base.clone()));
        match (head, last) {
            (Some(head), _) => Ok(Some(head)),
            (None, Some(last)) => last.sealed()?.chain_head(chain),
            (None, None) => Ok(base.head(chain).map(|head| head.height)),
        }
    }
}

impl LogReader {
    pub(crate) fn of_writer(shared: Arc<Shared>) -> Self {
        Self { shared, follower: None }
    }

    /// Opens a log for reading, whether or not some process writes it, and refreshes once. Segments that cannot be
    /// read do not keep it from showing the others: see [`LogReader::damage`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let mut context = Context::read(dir.as_ref())?;
        context.share = Some(Arc::new(ReadersLock::share(dir.as_ref())?));
        let context = Arc::new(context);
        let (index, follower) = Follower::open(&context)?;
        let Index { base, sealed, active, .. } = index;
        let sealed = Arc::unwrap_or_clone(sealed);
        let reader = Self {
            shared: Arc::new(Shared::new(context, base, sealed, active)),
            follower: Some(Arc::new(Mutex::new(follower))),
        };
        reader.refresh()?;
        if let Some(follower) = &reader.follower {
            let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
            while follower.pass_damage(&reader.shared)? {
                follower.take_all(&reader.shared)?;
            }
        }
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

    /// The segments that cannot be read, each with what is wrong.
    pub fn damage(&self) -> Vec<Error> {
        let mut damage = self.shared.look(|index| Segments::damage(&index.sealed));
        if let Some(follower) = &self.follower {
            let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
            damage.extend(follower.damage(&self.shared));
        }
        damage.extend(self.shared.context.read_base().err());
        damage.extend(self.shared.context.read_operations().err());
        damage.extend(self.shared.look(|index| self.shared.outside_holes(&index.active, None).err()));
        damage
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
            let sealed = index.sealed.iter().map(|slot| {
                let trailer = slot.sealed().ok().map(|segment| segment.trailer());
                SegmentInfo {
                    file: slot.file().to_owned(),
                    sealed: true,
                    readable: trailer.is_some(),
                    first: Height(slot.first()),
                    blocks: (slot.last() + 1).saturating_sub(slot.first()),
                    leaves: trailer.map_or(0, |trailer| trailer.leaves.get()),
                    record_bytes: trailer
                        .map_or(0, |trailer| (trailer.records_end.get() - FIRST_RECORD).into()),
                }
            });
            let open = SegmentInfo {
                file: context.segment_path(active.segment),
                sealed: false,
                readable: true,
                first: Height(active.first),
                blocks: active.records().into(),
                leaves: active.leaves,
                record_bytes: (active.end - FIRST_RECORD).into(),
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

    fn base(&self) -> Arc<Base> {
        self.shared.look(|index| index.base.clone())
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

    fn operations(&self) -> Result<Operations, StoreError> {
        if self.follower.is_none() {
            return Ok(self.shared.look(|index| index.operations.clone()));
        }
        // Another process writes them before the record of their block: so after the head was read, all up to it are there.
        let head = self.head();
        let operations = self.shared.context.read_operations()?;
        Ok(operations.iter().filter(|(height, _)| *height <= head).cloned().collect())
    }
}

/// Follows a log that another process may be writing.
///
/// It looks at bytes that may still change by reading copies of them from the file; the map shows a record only
/// after its copy was found right and the file was synced.
#[derive(Debug)]
struct Follower {
    mark: Mark,
    /// The segment that is not sealed, and where the next record goes. `None` when it cannot be read.
    end: Option<(File, Scan)>,
    /// Whether the file of that segment held another one before.
    recycled: bool,
    buffer: Vec<u8>,
    /// Number of the lowest segment.
    begin: u64,
}

impl Follower {
    /// Opens the segments; no record of the active one is taken in yet.
    fn open(context: &Arc<Context>) -> Result<(Index, Self), Error> {
        let mut mark = context.read_mark()?;
        let segments = loop {
            let opened = Segments::open(context, &mark)?;
            // What the writer has done since is no damage.
            let now = context.read_mark()?;
            let sound = opened.active.is_ok() && Segments::damage(&opened.slots).is_empty();
            if sound || (now == mark && !begins_elsewhere(context, opened.begin)) {
                break opened;
            }
            mark = now;
        };
        let Segments { begin, base, slots, active, .. } = segments;
        let (active, end, recycled) = if let Ok(open) = active {
            let Open { number, file, map, first, generation, recycled } = open;
            let scan = Scan::new(number, first, generation);
            (Active::new(number, first, map), Some((file, scan)), recycled)
        } else {
            let (number, first) = segments::behind(&slots, begin, &base);
            let nothing = Map::blank().map_err(Error::io("map", &context.dir))?;
            (Active::new(number, first, Arc::new(nothing)), None, false)
        };
        let index = Index { base, sealed: Arc::new(slots), active, operations: Operations::default() };
        Ok((index, Self { mark, end, recycled, buffer: Vec::new(), begin }))
    }

    /// What is wrong with the segment that is not sealed, if it cannot be read.
    fn damage(&mut self, shared: &Shared) -> Option<Error> {
        if self.end.is_some() {
            return None;
        }
        Segments::open(&shared.context, &self.mark).map_or_else(Some, |segments| segments.active.err())
    }

    fn follow(&mut self, shared: &Shared) -> Result<(), Error> {
        /// How often a writer may change the files of the log under us.
        const TRIES: usize = 64;
        let context = &shared.context;
        let mark = context.read_mark()?;
        if mark.generation == self.mark.generation {
            match self.take_all(shared) {
                // The segments that come next were removed since: no damage.
                Err(_) if begins_elsewhere(context, self.begin) => {}
                // Another session began meanwhile.
                Err(_) if context.read_mark()?.generation != mark.generation => {}
                result => return result,
            }
        }
        // Another session may have taken blocks back, and then files were replaced.
        let mut result = Ok(());
        for _ in 0..TRIES {
            let (Index { base, sealed, active, .. }, mut fresh) = Self::open(context)?;
            let sealed = Arc::unwrap_or_clone(sealed);
            let again = Shared::new(context.clone(), base, sealed, active);
            result = fresh.take_all(&again);
            // Files that were opened after still another session began would seem to hold nothing under this mark.
            if context.read_mark()?.generation != fresh.mark.generation {
                continue;
            }
            if result.is_ok() {
                shared.publish(|index| *index = again.into_index());
                *self = fresh;
                return Ok(());
            }
            if !begins_elsewhere(context, fresh.begin) {
                break;
            }
        }
        result
    }

    /// Takes in all that is there by now.
    fn take_all(&mut self, shared: &Shared) -> Result<(), Error> {
        loop {
            while self.take_records(shared)? {}
            let context = &shared.context;
            let Some((file, scan)) = &self.end else { return Ok(()) };
            let number = scan.segment;
            let Ok(trailer) = segment::read_trailer(context, file, number)? else { return Ok(()) };
            // Sealed, so all its records are durable, also those that came after our look.
            let path = context.segment_path(number);
            let first = shared.look(|index| index.active.first);
            if self.mark.dropping && trailer.last_record() >= self.mark.first_record {
                return Ok(());
            }
            if trailer.first_record.get() != first || trailer.last_record() + 1 < scan.number {
                let flaw = Flaw::Field {
                    field: "last record",
                    found: trailer.last_record(),
                    expected: scan.number - 1,
                };
                return Err(Error::damaged(&path, context.trailer_offset(), Part::Trailer, flaw));
            }
            let next = trailer.last_record() + 1;
            let opened = segment::open_file(context, number + 1)?;
            let sealed_map = shared.look(|index| index.active.map.clone());
            let sealed = Arc::new(Segment::new(context.clone(), number, sealed_map, trailer, false));
            shared.publish(|index| {
                Arc::make_mut(&mut index.sealed).push(Slot::Sealed(sealed));
                index.active = Active::new(number + 1, next, Arc::new(opened.map));
            });
            self.end = Some((opened.file, Scan::new(number + 1, next, trailer.generation.get())));
            self.recycled = opened.recycled;
        }
    }

    /// Goes on behind damaged records at the end of a log that nobody writes, if a whole one follows them.
    fn pass_damage(&mut self, shared: &Shared) -> Result<bool, Error> {
        let Some((file, scan)) = &mut self.end else { return Ok(false) };
        let context = &shared.context;
        let path = context.segment_path(scan.segment);
        if scan.room(context) < RecordHeader::BYTES {
            return Ok(false);
        }
        let header = segment::read_at(file, &path, scan.offset.into(), RecordHeader::BYTES)?;
        // Most logs end in zeros. Where a file held another segment before, there is always something.
        let ends = !self.recycled && header.iter().all(|byte| *byte == 0);
        if ends && scan.number > self.mark.certain() {
            return Ok(false);
        }
        let Some(_lock) = Lock::if_free(&context.dir) else { return Ok(false) };
        let Some(next) = recover::behind_damage(context, &self.mark, file, scan)? else { return Ok(false) };
        shared.publish(|index| index.active.push_hole(next));
        (scan.offset, scan.number) = (next.offset, next.number);
        Ok(true)
    }

    /// Takes in records of the active segment that are there by now, so many that the lists stay small; says
    /// whether there were any.
    fn take_records(&mut self, shared: &Shared) -> Result<bool, Error> {
        const MOST: usize = 1024;
        let Self { mark, end: Some((file, at)), buffer, .. } = self else { return Ok(false) };
        let context = &shared.context;
        let path = context.segment_path(at.segment);
        let mut scan = *at;
        let mut found = Vec::new();
        while found.len() < MOST
            && let Some(header) = next_record(context, mark, file, &path, buffer, &scan)?
        {
            found.push((scan, header));
            scan.step(&header);
        }
        if found.is_empty() {
            return Ok(false);
        }
        file.sync_data().map_err(Error::io("sync", &path))?;
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
                *at = *scan;
                at.step(header);
            }
        });
        taken.map(|()| true)
    }
}

/// Whether segments were pruned since the log began with `begin`.
fn begins_elsewhere(context: &Context, begin: u64) -> bool {
    context.read_base().is_ok_and(|(now, _)| now != begin)
}

/// The record at `scan`, if it is whole.
fn next_record(
    context: &Context,
    mark: &Mark,
    file: &File,
    path: &Path,
    buffer: &mut Vec<u8>,
    scan: &Scan,
) -> Result<Option<RecordHeader>, Error> {
    if scan.room(context) < RecordHeader::BYTES {
        return Ok(None);
    }
    let mut first = [0; RecordHeader::BYTES];
    file.read_exact_at(&mut first, scan.offset.into()).map_err(Error::io("read", path))?;
    let Ok(header) = scan.judge_header(context, mark, &first) else { return Ok(None) };
    buffer.resize(header.record_bytes(), 0);
    file.read_exact_at(buffer, scan.offset.into()).map_err(Error::io("read", path))?;
    // Read again with the header: the two must be of one record.
    let header = match scan.judge_header(context, mark, buffer) {
        Ok(again) if again.record_bytes() == header.record_bytes() => again,
        _ => return Ok(None),
    };
    Ok(scan.judge_record(context, &header, buffer).is_ok().then_some(header))
}
