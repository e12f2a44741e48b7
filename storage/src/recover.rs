//! Opening a log to write it: finds the end of what is there, and makes it certain. `docs/format.md`, "Recovery",
//! gives the rules and says why they suffice.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use engine::chain::Height;
use engine::store::{Base, Operations};
use rustix::fs::SeekFrom;

use crate::active::Active;
use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{FIRST_RECORD, Flaw, Mark, Place, RecordHeader};
use crate::map::Map;
use crate::medium::{Medium, MediumFile};
use crate::scan::{Scan, judge_body};
use crate::segment::{self, Segment};
use crate::segments::{self, Open, Segments, Slot};

/// What an opening found, and what it did about it.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// The log was made by this opening.
    pub created: bool,
    /// The newest block.
    pub head: Height,
    /// How many segments are sealed.
    pub sealed_segments: u64,
    /// Size of a segment in bytes: that of the log, whatever the options say.
    pub segment_bytes: u64,
    /// The number of this writing session, from 1.
    pub generation: u64,
    /// A write that a crash cut short, if there was one: it is gone. It was never acknowledged.
    pub cut: Option<Cut>,
    /// A segment whose sealing was interrupted and is now finished.
    pub resealed: Option<PathBuf>,
    /// Blocks that were being taken back when the process ended, and are gone now: the first of them.
    pub rolled_back: Option<Height>,
    /// Segments that cannot be read, with what is wrong: their blocks are missing, all others are there.
    pub damage: Vec<Arc<Error>>,
}

/// The torn end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Where the log ends now, in bytes.
    pub offset: u64,
    /// The first record that is not there.
    pub record: u64,
    /// How many bytes from `offset` on were not zero, up to the last such one.
    pub bytes: u64,
    /// What is wrong with the record.
    pub flaw: Flaw,
}

/// A log that is ready to be written.
pub(crate) struct Recovered {
    pub(crate) base: Arc<Base>,
    pub(crate) sealed: Vec<Slot>,
    pub(crate) active: Active,
    /// Of the blocks up to the newest one.
    pub(crate) operations: Operations,
    pub(crate) file: Box<dyn MediumFile>,
    pub(crate) mark: Mark,
    pub(crate) recovery: Recovery,
}

/// Recovers the log. The caller holds its lock.
pub(crate) fn recover(context: &Arc<Context>, medium: &dyn Medium) -> Result<Recovered, Error> {
    let mut mark = context.read_mark()?;
    let mut recovery = Recovery { segment_bytes: context.segment_bytes, ..Recovery::default() };
    let begin = context.read_base()?.0;
    let pruned: Vec<u64> = context.segment_numbers()?.into_iter().filter(|number| *number < begin).collect();
    if mark.dropping || !pruned.is_empty() {
        // Whoever wrote the mark or the base may have failed to make its name durable, and the files that it does
        // without must not be gone before it is there for good.
        context.sync_dir(medium)?;
    }
    if mark.dropping {
        finish_drop(context, medium, &mark)?;
        mark.dropping = false;
        recovery.rolled_back = Some(Height(mark.first_record));
    }
    // What was being pruned when the process ended.
    for number in pruned {
        context.retire(medium, number, false)?;
    }

    let Segments { base, slots, active, .. } = Segments::open(context, &mark)?;
    // If the segment before it is lost, that is why nothing in this one can be told.
    let open = active.map_err(|error| slots.last().and_then(|slot| slot.sealed().err()).unwrap_or(error))?;
    let path = context.segment_path(open.number);
    recovery.sealed_segments = slots.len() as u64;
    recovery.damage = Segments::damage(&slots).into_iter().map(Arc::new).collect();
    if let Some(last) = slots.last() {
        // A new segment's index goes on from that of the one before it.
        let last = last.sealed()?;
        let started = context.holds_records(open.number)?;
        match last.check_index() {
            // The segment after it is empty: this one was being sealed when the power went, or its sync failed.
            _ if planted!("seal_not_finished") => {}
            Ok(()) if !started => rewrite_seal(context, medium, last)?,
            Err(_) if !started => {
                reseal(context, medium, &mark, &base, &slots)?;
                recovery.resealed = Some(last.file().to_owned());
            }
            result => result?,
        }
    }

    let End { whole, active, scan, rest, flaw } = find_end(context, &mark, &open)?;
    let (end, head) = (scan.offset, scan.number - 1);
    let damaged = |flaw| Error::damaged(&path, end.into(), Part::Record(scan.number), flaw);

    let file = context.open_segment(medium, open.number)?;
    // A record that no later one vouches for may be in the page cache only: after a failed sync the kernel calls
    // its pages clean. Writing the same bytes again makes it durable, or fails.
    let certain = scan.synced.max(mark.certain());
    let uncertain = active.find((certain + 1).max(open.first)).map(|(_, start)| start);
    if let Some(start) = uncertain
        && !planted!("uncertain_not_rewritten")
    {
        let bytes = whole.get(start as usize, (end - start) as usize).ok_or_else(|| damaged(Flaw::Empty))?;
        file.write_at(bytes, start.into()).map_err(Error::io("write", &path))?;
    }
    if rest.bytes > 0 {
        // The generation already keeps these bytes from becoming records; zeros let the next opening say so.
        let zeros = vec![0; rest.bytes.min(1 << 20) as usize];
        let mut offset = u64::from(end);
        let stop = offset + rest.bytes;
        while offset < stop && !planted!("tail_not_cleared") {
            let part = zeros.len().min((stop - offset) as usize);
            file.write_at(&zeros[..part], offset).map_err(Error::io("write", &path))?;
            offset += part as u64;
        }
        recovery.cut = Some(Cut {
            file: path.clone(),
            offset: end.into(),
            record: scan.number,
            bytes: rest.bytes,
            flaw,
        });
    }
    if uncertain.is_some() || rest.bytes > 0 {
        file.sync().map_err(Error::io("sync", &path))?;
    }
    drop(whole);

    // Operations are written before the record of their block. Those of a record that never came, or was taken back, must
    // not pass for those of the next record with its number.
    let mut operations = context.read_operations()?;
    if operations.last().is_some_and(|(height, _)| height.0 > head) && !planted!("operations_not_dropped") {
        operations = operations.iter().filter(|(height, _)| height.0 <= head).cloned().collect();
        context.write_operations(medium, &operations)?;
    }

    let mut mark = Mark { generation: mark.generation + 1, first_record: head + 1, durable: head, ..mark };
    if planted!("generation_not_raised") && mark.generation > 1 {
        mark.generation -= 1;
    }
    if planted!("irreversible_forgotten") {
        mark.irreversible = 0;
    }
    context.write_mark(medium, mark)?;
    recovery.head = Height(head);
    recovery.generation = mark.generation;
    Ok(Recovered { base, sealed: slots, active, operations, file, mark, recovery })
}

/// What dropping records takes.
pub(crate) struct DropPlan {
    /// The segment in which the first dropped record stands.
    number: u64,
    /// The records of it that stay, in a map, and whether it has to be replaced by a copy with only these. `None`: all
    /// of it goes.
    kept: Option<(Arc<Map>, std::ops::Range<usize>, bool)>,
}

/// Finds out how all records from the mark's first one on are dropped, and that they can be. Changes nothing.
pub(crate) fn plan_drop(context: &Arc<Context>, mark: &Mark) -> Result<DropPlan, Error> {
    let Segments { begin, base, slots, active, trouble } = Segments::open(context, mark)?;
    if let Some(error) = trouble {
        return Err(error);
    }
    let first = mark.first_record;
    // The segment with the first dropped record; of one that cannot be read all is dropped, or nothing can be.
    let open = match active {
        Ok(open) if open.first <= first => open,
        active => match slots.iter().find(|slot| slot.last() >= first || slot.last() < slot.first()) {
            Some(slot) if slot.first() == first => {
                return Ok(DropPlan { number: slot.number(), kept: None });
            }
            Some(slot) => {
                let flaw = Flaw::Field { field: "first record", found: slot.first(), expected: first };
                let error = slot.sealed().err().or(active.err());
                return Err(error.unwrap_or_else(|| Error::damaged(slot.file(), 0, Part::Trailer, flaw)));
            }
            None => {
                let (number, begins) = segments::behind(&slots, begin, &base);
                if begins == first {
                    return Ok(DropPlan { number, kept: None });
                }
                let path = context.segment_path(number);
                let damaged = || Error::damaged(&path, 0, Part::Record(first), Flaw::Empty);
                return Err(active.err().unwrap_or_else(damaged));
            }
        },
    };
    let number = open.number;
    let whole = whole_map(context, &open.file, number)?;
    let mut kept = Active::new(number, open.first, open.map.clone());
    let mut scan = Scan::new(number, open.first, open.generation);
    let flaw = scan_records(context, mark, &whole, &mut scan, &mut kept);
    // A file that is cut while we look reads as zeros: those are not dropped as records nobody wrote.
    let flaw = whole.vouch(0..context.segment_bytes as usize, flaw)?;
    if scan.number != first {
        let path = context.segment_path(number);
        return Err(Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw));
    }
    let copy = open.recycled || look_behind(context, mark, &open.file, &whole, &scan).bytes > 0;
    Ok(DropPlan { number, kept: Some((whole, FIRST_RECORD as usize..scan.offset as usize, copy)) })
}

/// Drops all records from the mark's first one on, which may have been done in part before. No file changes that a
/// reader may have mapped: the segment in which the first dropped record stands is replaced by a copy without it.
pub(crate) fn finish_drop(context: &Arc<Context>, medium: &dyn Medium, mark: &Mark) -> Result<(), Error> {
    // Nothing is removed before it is known that all of it can be done.
    let DropPlan { number, kept } = plan_drop(context, mark)?;
    for later in context.segment_numbers()?.into_iter().rev().filter(|later| *later > number) {
        context.retire(medium, later, false)?;
    }
    context.sync_dir(medium)?;
    match kept {
        None => context.create_segment(medium, number).map(drop),
        Some((_, _, false)) => Ok(()),
        Some((whole, records, true)) => {
            let path = context.segment_path(number);
            let bytes = whole.get(records.start, records.len()).expect("the plan has just read them");
            let file = context.new_segment_file(medium, number)?;
            file.write_at(bytes, FIRST_RECORD.into()).map_err(Error::io("copy", &path))?;
            whole.vouch(records, Ok(()))?;
            context.finish_segment_file(medium, number, &*file)
        }
    }
}

/// Where a log ends.
struct End {
    whole: Arc<Map>,
    active: Active,
    scan: Scan,
    rest: Rest,
    /// What is wrong with the first record that is not there.
    flaw: Flaw,
}

/// Finds the end of a log that nobody writes, since the caller holds its lock: so a map of its own may show all of
/// the last file. That a record which was certain is missing is an error.
fn find_end(context: &Context, mark: &Mark, open: &Open) -> Result<End, Error> {
    let whole = whole_map(context, &open.file, open.number)?;
    let mut active = Active::new(open.number, open.first, open.map.clone());
    let mut scan = Scan::new(open.number, open.first, open.generation);
    let flaw = scan_records(context, mark, &whole, &mut scan, &mut active);
    let mut rest = look_behind(context, mark, &open.file, &whole, &scan);
    if open.recycled {
        // Old bytes lie behind the end of a file that is used again. Only a header for just this place was
        // begun in this life of the file.
        let place = Place { segment: scan.segment, offset: scan.offset, number: scan.number };
        let begun = whole
            .get(scan.offset as usize, RecordHeader::BYTES)
            .is_some_and(|header| RecordHeader::judge(header, &context.key, place, usize::MAX).is_ok());
        rest.bytes = if begun { RecordHeader::BYTES as u64 } else { 0 };
    }
    // A file that is cut while we look reads as zeros: that is not the end of the log.
    let flaw = whole.vouch(0..context.segment_bytes as usize, flaw)?;
    // What the mark calls durable was made certain before the mark was written.
    if scan.number <= mark.certain() || rest.acknowledged {
        let path = context.segment_path(open.number);
        return Err(Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw));
    }
    Ok(End { whole, active, scan, rest, flaw })
}

/// Whether a log that nobody writes ends as a crash may leave it, and not in damage. The caller holds its lock.
pub(crate) fn check_end(context: &Arc<Context>) -> Result<(), Error> {
    let mark = context.read_mark()?;
    if mark.dropping {
        // The next opening finishes that, and finds the end.
        return Ok(());
    }
    find_end(context, &mark, &Segments::open(context, &mark)?.active?).map(drop)
}

/// The newest record of the segment that is not sealed, and all that it holds. The caller holds the lock.
pub(crate) fn end_of(context: &Context, mark: &Mark, open: &Open) -> Result<(u64, Active), Error> {
    find_end(context, mark, open).map(|end| (end.scan.number - 1, end.active))
}

/// Takes in records until one is not right; says what is wrong with that one.
pub(crate) fn scan_records(
    context: &Context,
    mark: &Mark,
    whole: &Arc<Map>,
    scan: &mut Scan,
    active: &mut Active,
) -> Result<Flaw, Error> {
    loop {
        let judged = (|| {
            if scan.room(context) < RecordHeader::BYTES {
                return Err(Flaw::Empty);
            }
            let bytes = whole.get(scan.offset as usize, RecordHeader::BYTES).ok_or(Flaw::Empty)?;
            let header = scan.judge_header(context, mark, bytes)?;
            let record = whole.get(scan.offset as usize, header.record_bytes()).ok_or(Flaw::Empty)?;
            scan.judge_record(context, &header, record)?;
            Ok(header)
        })();
        let header = match judged {
            Ok(header) => header,
            Err(flaw) => return Ok(flaw),
        };
        let block = judge_body(whole, scan, &header, context.main_chain).map_err(|flaw| {
            let path = context.segment_path(scan.segment);
            Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw)
        })?;
        active.push_block(header.record_bytes() as u32, &block)?;
        scan.step(&header);
    }
}

/// What lies behind the end of a log.
pub(crate) struct Rest {
    /// How many bytes up to the last one that is not zero.
    bytes: u64,
    /// A later record of the newest session says that the first missing one was durable: so it is damage, not a
    /// torn write.
    acknowledged: bool,
    /// The first whole record there.
    pub(crate) next: Option<Place>,
    /// The newest record that a whole one there calls durable.
    pub(crate) vouched: u64,
}

/// Looks at all that lies behind the end of a segment's records.
pub(crate) fn look_behind(context: &Context, mark: &Mark, file: &File, whole: &Map, scan: &Scan) -> Rest {
    let mut rest = Rest { bytes: 0, acknowledged: false, next: None, vouched: 0 };
    let end = context.segment_bytes;
    let mut at = u64::from(scan.offset);
    while at < end {
        // Most of what was reserved was never written: the file system knows, and reading it would cost memory.
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => at,
        };
        let stop = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(stop) if stop > start => stop.min(end),
            _ => end,
        };
        look_at(context, mark, whole, scan, (start as usize, stop as usize), &mut rest);
        at = stop;
    }
    rest
}

/// Looks at a part of what lies behind the end.
fn look_at(
    context: &Context,
    mark: &Mark,
    whole: &Map,
    scan: &Scan,
    (start, stop): (usize, usize),
    rest: &mut Rest,
) {
    const PAGE: usize = 4096;
    const STEP: usize = RecordHeader::BYTES;
    // Records start at such steps; the holes of a file system at larger ones.
    let start = start - start % STEP;
    let Some(bytes) = whole.get(start, stop.saturating_sub(start)) else { return };
    for (page, bytes_of_page) in bytes.chunks(PAGE).enumerate() {
        if bytes_of_page == &[0; PAGE][..bytes_of_page.len()] {
            continue;
        }
        for (step, chunk) in bytes_of_page.chunks(STEP).enumerate() {
            let Some(last) = chunk.iter().rposition(|byte| *byte != 0) else { continue };
            let offset = start + page * PAGE + step * STEP;
            rest.bytes = (offset + last + 1) as u64 - u64::from(scan.offset);
            let Some((place, header)) = whole_record(context, mark, whole, scan, offset, chunk) else {
                continue;
            };
            rest.next = rest.next.or(Some(place));
            rest.vouched = rest.vouched.max(header.synced());
            rest.acknowledged |= header.generation() == mark.generation && header.synced() >= scan.number;
        }
    }
}

/// The whole record at `offset`, if there is one that is later than the missing one and may be there.
fn whole_record(
    context: &Context,
    mark: &Mark,
    whole: &Map,
    scan: &Scan,
    offset: usize,
    header: &[u8],
) -> Option<(Place, RecordHeader)> {
    let number = RecordHeader::read(header).ok()?.number();
    let room = (context.trailer_offset() as usize).saturating_sub(offset);
    let place = Place { segment: scan.segment, offset: offset as u32, number };
    let header = RecordHeader::judge(header, &context.key, place, room).ok()?;
    let generation = header.generation();
    if number <= scan.number || !mark.allows(number, generation) || generation < scan.generation {
        return None;
    }
    let record = whole.get(offset, header.record_bytes())?;
    header.judge_record(&context.key, place, record).ok()?;
    Some((place, header))
}

/// The first whole record behind damage, where a log that nobody writes seems to end; `None` if it does end there,
/// but for what a crash may have torn. The caller holds the lock.
pub(crate) fn behind_damage(
    context: &Context,
    mark: &Mark,
    file: &File,
    scan: &Scan,
) -> Result<Option<Place>, Error> {
    let whole = whole_map(context, file, scan.segment)?;
    let rest = look_behind(context, mark, file, &whole, scan);
    let damaged = rest.acknowledged || scan.number <= mark.certain();
    whole.vouch(0..context.segment_bytes as usize, Ok(rest.next.filter(|_| damaged)))
}

/// Writes the index of the last sealed segment again: its trailer reached the disk, all of its index did not.
/// The records were durable before either was written.
fn reseal(
    context: &Arc<Context>,
    medium: &dyn Medium,
    mark: &Mark,
    base: &Base,
    slots: &[Slot],
) -> Result<(), Error> {
    let Some((last, before)) = slots.split_last() else { return Ok(()) };
    let (last, older) = (last.sealed()?, segments::chains(base, before.last())?);
    let opened = segment::open_file(context, last.number())?;
    let whole = whole_map(context, &opened.file, last.number())?;
    let mut active = Active::new(last.number(), last.first(), Arc::new(opened.map));
    let mut scan = Scan::new(last.number(), last.first(), 0);
    // The sealing session was the newest one, whose mark this still is.
    let flaw = scan_records(context, mark, &whole, &mut scan, &mut active);
    let flaw = whole.vouch(0..context.segment_bytes as usize, flaw)?;
    let trailer = last.trailer();
    if scan.offset != trailer.records_end.get() || scan.number != last.last() + 1 {
        return Err(Error::damaged(last.file(), scan.offset.into(), Part::Record(scan.number), flaw));
    }
    let (index, again) = active.seal(context, &older, trailer.generation.get());
    if again != *trailer {
        return Err(Error::damaged(last.file(), context.trailer_offset(), Part::Trailer, Flaw::Checksum));
    }
    let file = context.open_segment(medium, last.number())?;
    file.write_at(&index, trailer.index_offset.get().into()).map_err(Error::io("write", last.file()))?;
    last.check_index()?;
    rewrite_seal(context, medium, last)
}

/// Writes index and trailer of the last sealed segment again, as they are, and makes them durable.
fn rewrite_seal(context: &Context, medium: &dyn Medium, last: &Segment) -> Result<(), Error> {
    let start = last.trailer().index_offset.get();
    let length = context.segment_bytes as usize - start as usize;
    let bytes = last.map().get(start as usize, length).expect("a sealed segment shows all of itself");
    let file = context.open_segment(medium, last.number())?;
    file.write_at(bytes, start.into()).map_err(Error::io("write", last.file()))?;
    file.sync().map_err(Error::io("sync", last.file()))
}

/// A map that shows the whole of a file which nobody writes while it is used.
pub(crate) fn whole_map(context: &Context, file: &File, number: u64) -> Result<Arc<Map>, Error> {
    let path = context.segment_path(number);
    let map = Map::new(file, &path, context.segment_bytes, context.share.clone())
        .map_err(Error::io("map", &path))?;
    map.publish(context.segment_bytes);
    Ok(Arc::new(map))
}
