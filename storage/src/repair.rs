//! [`repair`]: mends what can be mended from what is left, and says what cannot.
//!
//! Nothing is ever dropped without being told to, block by block: a block that is damaged stays where it is, and so
//! do those behind it, until [`RepairOptions::drop_from`] names the first one that may go.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::chain::{BlockView, Height};

use crate::active::Active;
use crate::block::LogBlock;
use crate::error::{Error, Part};
use crate::files::{Context, Lock};
use crate::format::{FIRST_RECORD, Flaw, Mark, Place, RecordHeader, SegmentHeader, Trailer};
use crate::map::Map;
use crate::medium::FileMedium;
use crate::operations::Judge;
use crate::recover::{self, Rest};
use crate::scan::Scan;
use crate::segment::{self, Segment};
use crate::segments::{self, Open, Segments, Slot};

/// What [`repair`] may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairOptions {
    /// Whether it changes anything; if not, it only says what it would do.
    pub apply: bool,
    /// Drop this block and all after it, whatever state they are in, and even if they were acknowledged.
    pub drop_from: Option<Height>,
}

/// Something that is mended, or can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// A file in the making that a crash left is removed.
    RemoveUnfinished {
        /// The file.
        file: PathBuf,
    },
    /// The file `MARK` is made again from the newest records.
    RewriteMark {
        /// The file.
        file: PathBuf,
        /// The newest block.
        head: Height,
    },
    /// The header of a segment, which says nothing that is not known from elsewhere, is written again.
    RewriteHeader {
        /// The segment.
        file: PathBuf,
    },
    /// The index and the trailer of a sealed segment are made again from its records, which are whole.
    RewriteIndex {
        /// The segment.
        file: PathBuf,
        /// Its first block.
        first: Height,
        /// Its last block.
        last: Height,
    },
    /// Blocks are dropped: only as [`RepairOptions::drop_from`] says.
    Drop {
        /// The first of them.
        first: Height,
        /// The last of them that is known of.
        last: Height,
        /// How many side blocks those of them hold that can still be read.
        side_blocks: u64,
    },
}

/// What [`repair`] did, or would do.
#[derive(Debug, Default)]
pub struct Repair {
    /// What is mended, in this order.
    pub mends: Vec<Mend>,
    /// What cannot be mended.
    pub remaining: Vec<Error>,
    /// The newest block, once mended.
    pub head: Height,
}

/// Mends the log in `dir`, which nobody may be writing, or says what would be mended. It reads all of the log;
/// `progress` is told the bytes read and the bytes in all.
///
/// An error means that the log could not be opened at all, or that writing failed half way: every mend is safe to do
/// again.
pub fn repair(
    dir: impl AsRef<Path>,
    options: RepairOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repair, Error> {
    let context = Arc::new(Context::read(dir.as_ref())?);
    let _lock = Lock::take(dir.as_ref(), &FileMedium)?;
    segments::refuse_newer(&context)?;
    let mut work = Work { context, apply: options.apply, repair: Repair::default() };
    work.unfinished()?;
    let mark = work.mark(options.drop_from)?;
    work.headers()?;
    work.indexes(&mark)?;
    if let Some(first) = options.drop_from {
        work.drop_from(&mark, first)?;
    }
    work.look(&mark, options.drop_from, progress)?;
    Ok(work.repair)
}

struct Work {
    context: Arc<Context>,
    apply: bool,
    repair: Repair,
}

impl Work {
    fn unfinished(&mut self) -> Result<(), Error> {
        for file in self.context.unfinished()? {
            self.repair.mends.push(Mend::RemoveUnfinished { file });
        }
        if self.apply { self.context.sweep(&FileMedium) } else { Ok(()) }
    }

    /// The mark, made again from the records if it cannot be read.
    fn mark(&mut self, drop_from: Option<Height>) -> Result<Mark, Error> {
        /// Sessions that left no record raised the generation too. So many of them there were not.
        const MORE: u64 = 1 << 32;
        if let Ok(mark) = self.context.read_mark() {
            return Ok(mark);
        }
        // Accepts every generation: those of one log never fall.
        let any = Mark { generation: u64::MAX >> 1, first_record: Height::MAX.0, ..Mark::NEW };
        let open = Segments::open(&self.context, &any)?.active?;
        let Scanned { scan, flaw, rest, .. } = self.scan(&any, open.number, open.first, open.generation)?;
        if rest.vouched >= scan.number && drop_from.is_none_or(|first| first.0 > scan.number) {
            // Under a new mark the blocks behind this one would not count: it has to be said that they may go.
            let path = self.context.segment_path(open.number);
            return Err(Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw));
        }
        let (generation, head) = (scan.generation + MORE, scan.number - 1);
        let irreversible = if self.context.reversible { head } else { 0 };
        let mark = Mark { generation, first_record: scan.number, durable: head, irreversible, ..Mark::NEW };
        let file = self.context.mark_path();
        self.repair.mends.push(Mend::RewriteMark { file, head: Height(head) });
        if self.apply {
            self.context.write_mark(&FileMedium, mark)?;
        }
        Ok(mark)
    }

    /// The headers of segment files that are ours by what else is in them.
    fn headers(&mut self) -> Result<(), Error> {
        let context = self.context.clone();
        for number in context.segment_numbers()? {
            let path = context.segment_path(number);
            if !matches!(
                segment::open_file(&context, number),
                Err(Error::Damaged { part: Part::SegmentHeader, .. })
            ) {
                continue;
            }
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let sealed = segment::read_trailer(&context, &file, number)?.is_ok();
            let first = segment::read_at(&file, &path, FIRST_RECORD.into(), RecordHeader::BYTES)?;
            let ours = RecordHeader::read(&first).is_ok_and(|header| {
                let place = Place { segment: number, offset: FIRST_RECORD, number: header.number() };
                RecordHeader::judge(&first, &context.key, place, usize::MAX).is_ok()
            });
            if !sealed && !ours {
                continue;
            }
            self.repair.mends.push(Mend::RewriteHeader { file: path.clone() });
            if self.apply {
                // Whether the file was used before is not known: if so, what lies behind its records means nothing.
                let header = SegmentHeader::encode(&context.key, number, context.segment_bytes, true);
                self.replace(number, &[(0, &header)])?;
            }
        }
        Ok(())
    }

    /// The indexes and trailers of segments whose records are whole.
    fn indexes(&mut self, mark: &Mark) -> Result<(), Error> {
        let segments = Segments::open(&self.context, mark)?;
        let after = segments.active.as_ref().ok().map(|open| open.first);
        let mut next = segments.base.first.0;
        let mut generation = 0;
        for (index, slot) in segments.slots.iter().enumerate() {
            if let Slot::Sealed(segment) = slot
                && segment.check_index().is_ok()
            {
                next = segment.last() + 1;
                generation = segment.trailer().generation.get();
                continue;
            }
            if let Some(trailer) = self.behind_mended_header(slot)? {
                next = trailer.last_record() + 1;
                generation = trailer.generation.get();
                continue;
            }
            // A sealed one says itself where it begins; a lost one begins where the one before it ends.
            let (start, least) = match slot {
                Slot::Sealed(segment) => (segment.first(), 0),
                Slot::Lost(_) => (next, generation),
            };
            let Ok(Scanned { active, scan, rest, .. }) = self.scan(mark, slot.number(), start, least) else {
                continue;
            };
            // Whole if it ends where the next one begins, and nothing whole lies behind that end.
            let end = match segments.slots.get(index + 1) {
                Some(Slot::Sealed(next)) => Some(next.first()),
                Some(Slot::Lost(_)) => self.first_record_of(slot.number() + 1),
                None => after.or_else(|| self.first_record_of(slot.number() + 1)),
            };
            let end = slot.sealed().map_or(end, |segment| Some(segment.last() + 1));
            let whole = rest.next.is_none() && end == Some(scan.number);
            if !whole || scan.number == start {
                continue;
            }
            let (first, last) = (Height(start), Height(scan.number - 1));
            (next, generation) = (scan.number, scan.generation);
            if self.apply {
                let trailer = slot.sealed().ok().map(|segment| *segment.trailer());
                match self.rewrite_index(mark, slot.number(), &active, trailer, generation) {
                    Ok(()) => {}
                    Err(error @ Error::Io { .. }) => return Err(error),
                    // The index of the one before it is needed, and is gone: what is left is told at the end.
                    Err(_) => continue,
                }
            }
            self.repair.mends.push(Mend::RewriteIndex { file: slot.file().to_owned(), first, last });
        }
        Ok(())
    }

    /// The number of a segment's first record, as that says itself, whatever else is wrong with the segment.
    fn first_record_of(&self, number: u64) -> Option<u64> {
        let file = File::open(self.context.segment_path(number)).ok()?;
        segments::first_number(&self.context, &file, number, 1).ok()
    }

    /// The trailer of a segment that will be readable once its header is written again.
    fn behind_mended_header(&self, slot: &Slot) -> Result<Option<Trailer>, Error> {
        let mended = Mend::RewriteHeader { file: slot.file().to_owned() };
        if self.apply || !self.repair.mends.contains(&mended) {
            return Ok(None);
        }
        let file = File::open(slot.file()).map_err(Error::io("open", slot.file()))?;
        Ok(segment::read_trailer(&self.context, &file, slot.number())?.ok())
    }

    fn rewrite_index(
        &self,
        mark: &Mark,
        number: u64,
        active: &Active,
        trailer: Option<Trailer>,
        generation: u64,
    ) -> Result<(), Error> {
        let path = self.context.segment_path(number);
        // Opened anew: the one before may just have been mended.
        let Segments { base, slots, .. } = Segments::open(&self.context, mark)?;
        let older = segments::chains(&base, slots.iter().rfind(|slot| slot.number() < number))?;
        let generation = trailer.map_or(generation, |trailer| trailer.generation.get());
        let (index, again) = active.seal(&self.context, &older, generation);
        if trailer.is_some_and(|trailer| trailer != again) {
            return Err(Error::damaged(&path, self.context.trailer_offset(), Part::Trailer, Flaw::Checksum));
        }
        let recycled = segment::open_file(&self.context, number).map_or(true, |opened| opened.recycled);
        let header = SegmentHeader::encode(&self.context.key, number, self.context.segment_bytes, recycled);
        let trailer = zerocopy::IntoBytes::as_bytes(&again);
        let index = (again.index_offset.get().into(), &index[..]);
        self.replace(number, &[(0, &header), index, (self.context.trailer_offset(), trailer)])
    }

    /// Replaces a segment file by a copy with these changes: readers may have the old one mapped.
    fn replace(&self, number: u64, changes: &[(u64, &[u8])]) -> Result<(), Error> {
        let path = self.context.segment_path(number);
        let old = File::open(&path).map_err(Error::io("open", &path))?;
        let whole = recover::whole_map(&self.context, &old, number)?;
        let all = 0..self.context.segment_bytes as usize;
        let records = FIRST_RECORD as usize..all.end;
        let bytes = whole.get(records.start, records.len()).expect("the map shows all of the file");
        let file = self.context.new_segment_file(&FileMedium, number)?;
        file.write_at(bytes, FIRST_RECORD.into()).map_err(Error::io("copy", &path))?;
        whole.vouch(all, Ok(()))?;
        for (offset, bytes) in changes {
            file.write_at(bytes, *offset).map_err(Error::io("write", &path))?;
        }
        self.context.finish_segment_file(&FileMedium, number, &*file)
    }

    fn drop_from(&mut self, mark: &Mark, first: Height) -> Result<(), Error> {
        let segments = Segments::open(&self.context, mark)?;
        let mut last = mark.certain().max(segments.slots.last().map_or(0, Slot::last));
        let mut side_blocks = 0;
        for segment in segments.slots.iter().filter_map(|slot| slot.sealed().ok()) {
            side_blocks += leaves_from(segment, first);
        }
        if let Ok(Open { number, first: of_active, generation, .. }) = &segments.active {
            let Scanned { active, scan, .. } = self.scan(mark, *number, *of_active, *generation)?;
            last = last.max(scan.number - 1);
            for number in first.0.max(*of_active)..scan.number {
                let Some((map, offset)) = active.find(number) else { break };
                let block = crate::active::checked_block(map, offset);
                side_blocks += block.map_or(0, |block| block.header().leaf_count);
            }
        }
        // Of a last segment that cannot be read all may go, also if it is not known to hold anything.
        let most = last.max(mark.certain()) + u64::from(segments.active.is_err());
        let base = segments.base.first;
        if first < base || first.0 > most {
            let last = Height(most);
            return Err(Error::NoSuchBlock { what: "drop-from", height: first, first: base, last });
        }
        let kept = first.0 - 1;
        let mark = Mark {
            generation: mark.generation + 1,
            first_record: first.0,
            durable: kept,
            irreversible: mark.irreversible.min(kept),
            dropping: true,
        };
        self.repair.mends.push(Mend::Drop { first, last: Height(last.max(kept)), side_blocks });
        match recover::plan_drop(&self.context, &mark) {
            Ok(_) if self.apply => {}
            Ok(_) => return Ok(()),
            // What comes before can be mended first.
            Err(_) if !self.apply && self.repair.mends.len() > 1 => return Ok(()),
            Err(error) => return Err(error),
        }
        self.context.write_mark(&FileMedium, mark)?;
        recover::finish_drop(&self.context, &FileMedium, &mark)?;
        self.context.write_mark(&FileMedium, Mark { dropping: false, ..mark })
    }

    /// Looks at all of the log, for what is left to say.
    fn look(
        &mut self,
        planned: &Mark,
        drop_from: Option<Height>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mark = if self.apply { self.context.read_mark()? } else { *planned };
        let Segments { begin, base, slots, active, trouble } = Segments::open(&self.context, &mark)?;
        let mends = &self.repair.mends;
        let is_mended = |file: &Path| {
            !self.apply && mends.iter().any(|mend| {
                matches!(mend, Mend::RewriteHeader { file: mended } | Mend::RewriteIndex { file: mended, .. }
                        if mended == file)
            })
        };
        let is_dropped = |number: u64| !self.apply && drop_from.is_some_and(|first| number >= first.0);
        let total = slots.len() as u64 * self.context.segment_bytes;
        let mut head = segments::behind(&slots, begin, &base).1 - 1;
        let mut remaining: Vec<Error> = trouble.into_iter().collect();
        let context = self.context.clone();
        remaining.extend(context.read_operations().err());
        let mut judge = Judge::new(&context);
        let mut judge_block = |block: Result<LogBlock, Error>| {
            let block = block?;
            let header = block.header();
            block.vouch()?;
            if let Some(judge) = &mut judge {
                judge.look(&header);
            }
            Ok::<_, Error>(())
        };
        for (index, slot) in slots.iter().enumerate() {
            match slot.sealed().and_then(|segment| segment.check_index().map(|()| segment)) {
                Err(error) if !is_mended(slot.file()) && !is_dropped(slot.first()) => remaining.push(error),
                Err(_) => {}
                Ok(segment) => {
                    let numbers = (segment.first()..=segment.last()).filter(|number| !is_dropped(*number));
                    remaining.extend(numbers.filter_map(|number| judge_block(segment.block(number)).err()));
                }
            }
            progress((index as u64 + 1) * self.context.segment_bytes, total);
        }
        match active {
            Ok(open) => {
                head = open.first - 1;
                match recover::end_of(&self.context, &mark, &open) {
                    Ok((end, active)) => {
                        head = end;
                        for number in (open.first..=end).filter(|number| !is_dropped(*number)) {
                            let Some((map, offset)) = active.find(number) else { continue };
                            if let Ok(block) = crate::active::checked_block(map, offset) {
                                remaining.extend(judge_block(Ok(block)).err());
                            }
                        }
                    }
                    Err(Error::Damaged { part: Part::Record(number), .. }) if is_dropped(number) => {}
                    Err(error) => remaining.push(error),
                }
            }
            Err(Error::Damaged { file, .. }) if is_mended(&file) => {
                let (number, _) = segments::behind(&slots, begin, &base);
                head = self.scan(&mark, number, head + 1, 0)?.scan.number - 1;
            }
            Err(_) if is_dropped(head + 1) => {}
            Err(error) => remaining.push(error),
        }
        if let Some(first) = drop_from {
            head = first.0 - 1;
        }
        remaining.extend(judge.and_then(Judge::verdict));
        self.repair.remaining = remaining;
        self.repair.head = Height(head);
        Ok(())
    }

    /// The whole records of a segment file, whatever its header and its trailer are.
    fn scan(&self, mark: &Mark, number: u64, first: u64, generation: u64) -> Result<Scanned, Error> {
        let path = self.context.segment_path(number);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let map =
            Map::new(&file, &path, self.context.segment_bytes, None).map_err(Error::io("map", &path))?;
        let whole = recover::whole_map(&self.context, &file, number)?;
        let mut active = Active::new(number, first, Arc::new(map));
        let mut scan = Scan::new(number, first, generation);
        let flaw = recover::scan_records(&self.context, mark, &whole, &mut scan, &mut active);
        let rest = recover::look_behind(&self.context, mark, &file, &whole, &scan);
        let flaw = whole.vouch(0..self.context.segment_bytes as usize, flaw)?;
        Ok(Scanned { active, scan, flaw, rest })
    }
}

/// What a segment file holds.
struct Scanned {
    active: Active,
    /// Where its whole records end.
    scan: Scan,
    /// What is wrong with the next one.
    flaw: Flaw,
    rest: Rest,
}

/// How many side blocks the readable blocks of a segment hold from `first` on.
fn leaves_from(segment: &Segment, first: Height) -> u64 {
    if first.0 <= segment.first() {
        return segment.trailer().leaves.get();
    }
    (first.0..=segment.last())
        .filter_map(|number| segment.block(number).ok())
        .map(|block| block.header().leaf_count)
        .sum()
}
