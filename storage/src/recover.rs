//! Opening a log to write it: finds the end of what is there, and makes it certain. `docs/format.md`, "Recovery",
//! gives the rules and says why they suffice.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use engine::chain::Height;
use rustix::fs::SeekFrom;

use crate::active::Active;
use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{Flaw, Mark, Place, RecordHeader};
use crate::map::Map;
use crate::medium::{Medium, MediumFile};
use crate::scan::{Scan, judge_body};
use crate::segment::{self, Segment};

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

/// The segments of a log: sealed ones, and the one after them.
pub(crate) struct Segments {
    pub(crate) sealed: Vec<Arc<Segment>>,
    pub(crate) file: File,
    pub(crate) map: Arc<Map>,
    /// Number of the segment that is not sealed.
    pub(crate) active: u64,
    /// Number of its first record.
    pub(crate) first: u64,
    /// Lowest generation that its records may have.
    pub(crate) generation: u64,
}

impl Segments {
    /// Opens all segments, reading a page and a trailer of each.
    pub(crate) fn open(context: &Arc<Context>, mark: &Mark) -> Result<Self, Error> {
        let mut sealed: Vec<Arc<Segment>> = Vec::new();
        let mut number = mark.base_segment;
        let mut first = mark.base_record;
        let mut generation = 0;
        loop {
            let (file, map) = segment::open_file(context, number)?;
            let mut trailer = segment::read_trailer(context, &file, number)?;
            if let Err(flaw) = trailer
                && context.segment_path(number + 1).exists()
                && context.holds_records(number + 1)?
            {
                // Its writer may have sealed it between the two looks. Otherwise its trailer is gone: records are
                // written only after the segment before them was sealed.
                trailer = segment::read_trailer(context, &file, number)?;
                if trailer.is_err() {
                    let path = context.segment_path(number);
                    return Err(Error::damaged(&path, context.trailer_offset(), Part::Trailer, flaw));
                }
            }
            let Ok(trailer) = trailer else {
                return Ok(Self { sealed, file, map: Arc::new(map), active: number, first, generation });
            };
            let flaw = if trailer.first_record.get() != first {
                Some(Flaw::Field {
                    field: "first_record",
                    found: trailer.first_record.get(),
                    expected: first,
                })
            } else if trailer.generation.get() < generation
                || trailer.generation.get() > mark.generation
                || (trailer.last_record() >= mark.first_record && trailer.generation.get() != mark.generation)
            {
                Some(Flaw::Generation { found: trailer.generation.get(), newest: mark.generation })
            } else {
                None
            };
            if let Some(flaw) = flaw {
                let path = context.segment_path(number);
                return Err(Error::damaged(&path, context.trailer_offset(), Part::Trailer, flaw));
            }
            generation = trailer.generation.get();
            first = trailer.last_record() + 1;
            sealed.push(Arc::new(Segment::new(context.clone(), number, Arc::new(map), trailer, false)));
            number += 1;
        }
    }
}

/// A log that is ready to be written.
pub(crate) struct Recovered {
    pub(crate) sealed: Vec<Arc<Segment>>,
    pub(crate) active: Active,
    pub(crate) file: Box<dyn MediumFile>,
    pub(crate) mark: Mark,
    pub(crate) recovery: Recovery,
}

/// Recovers the log. The caller holds its lock.
pub(crate) fn recover(context: &Arc<Context>, medium: &dyn Medium) -> Result<Recovered, Error> {
    let mark = context.read_mark()?;
    let segments = Segments::open(context, &mark)?;
    let path = context.segment_path(segments.active);
    let mut recovery = Recovery {
        sealed_segments: segments.sealed.len() as u64,
        segment_bytes: context.segment_bytes,
        ..Recovery::default()
    };

    if let Some(last) = segments.sealed.last() {
        let started = context.holds_records(segments.active)?;
        match last.check_index() {
            // The segment after it is empty: this one was being sealed when the power went, or its sync failed.
            Ok(()) if !started => rewrite_seal(context, medium, last)?,
            Err(_) if !started => {
                reseal(context, medium, &mark, &segments.sealed)?;
                recovery.resealed = Some(last.file().to_owned());
            }
            result => result?,
        }
    }

    let End { whole, active, scan, rest, flaw } = find_end(context, &mark, &segments)?;
    let (end, head) = (scan.offset, scan.number - 1);
    let damaged = |flaw| Error::damaged(&path, end.into(), Part::Record(scan.number), flaw);

    let file = context.open_segment(medium, segments.active)?;
    // A record that no later one vouches for may be in the page cache only: after a failed sync the kernel calls
    // its pages clean. Writing the same bytes again makes it durable, or fails.
    let certain = scan.synced.max(mark.first_record - 1);
    let uncertain = active.find((certain + 1).max(segments.first)).map(|(_, start)| start);
    if let Some(start) = uncertain {
        let bytes = whole.get(start as usize, (end - start) as usize).ok_or(damaged(Flaw::Empty))?;
        file.write_at(bytes, start.into()).map_err(Error::io("write", &path))?;
    }
    if rest.bytes > 0 {
        // The generation already keeps these bytes from becoming records; zeros let the next opening say so.
        let zeros = vec![0; rest.bytes.min(1 << 20) as usize];
        let mut offset = u64::from(end);
        let stop = offset + rest.bytes;
        while offset < stop {
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

    let mark = Mark { generation: mark.generation + 1, first_record: head + 1, ..mark };
    context.write_mark(medium, mark)?;
    recovery.head = Height(head);
    recovery.generation = mark.generation;
    Ok(Recovered { sealed: segments.sealed, active, file, mark, recovery })
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
fn find_end(context: &Context, mark: &Mark, segments: &Segments) -> Result<End, Error> {
    let whole = whole_map(context, &segments.file, segments.active)?;
    let mut active = Active::new(segments.active, segments.first, segments.map.clone());
    let mut scan = Scan::new(segments.active, segments.first, segments.generation);
    let flaw = scan_records(context, mark, &whole, &mut scan, &mut active);
    let rest = look_behind(context, mark, &segments.file, &whole, &scan);
    // A file that is cut while we look reads as zeros: that is not the end of the log.
    let flaw = whole.vouch(0..context.segment_bytes as usize, flaw)?;
    // Every record before the mark was made certain before the mark was written.
    if scan.number < mark.first_record || rest.acknowledged {
        let path = context.segment_path(segments.active);
        return Err(Error::damaged(&path, scan.offset.into(), Part::Record(scan.number), flaw));
    }
    Ok(End { whole, active, scan, rest, flaw })
}

/// Whether a log that nobody writes ends as a crash may leave it, and not in damage. The caller holds its lock.
pub(crate) fn check_end(context: &Arc<Context>) -> Result<(), Error> {
    let mark = context.read_mark()?;
    let segments = Segments::open(context, &mark)?;
    find_end(context, &mark, &segments).map(drop)
}

/// Takes in records until one is not right; says what is wrong with that one.
fn scan_records(
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
struct Rest {
    /// How many bytes up to the last one that is not zero.
    bytes: u64,
    /// A later record of the newest session says that the first missing one was durable: so it is damage, not a
    /// torn write.
    acknowledged: bool,
}

fn look_behind(context: &Context, mark: &Mark, file: &File, whole: &Map, scan: &Scan) -> Rest {
    let mut rest = Rest { bytes: 0, acknowledged: false };
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
            rest.acknowledged |= vouches(context, mark, whole, scan, offset, chunk);
        }
    }
}

/// Whether a record of the newest session stands at `offset` which says that the missing one was durable.
fn vouches(context: &Context, mark: &Mark, whole: &Map, scan: &Scan, offset: usize, header: &[u8]) -> bool {
    let Ok(number) = RecordHeader::read(header).map(|header| header.number()) else { return false };
    let room = (context.trailer_offset() as usize).saturating_sub(offset);
    let place = Place { segment: scan.segment, offset: offset as u32, number };
    let Ok(header) = RecordHeader::judge(header, &context.key, place, room) else { return false };
    number > scan.number
        && header.generation() == mark.generation
        && header.synced() >= scan.number
        && whole
            .get(offset, header.record_bytes())
            .is_some_and(|record| header.judge_record(&context.key, place, record).is_ok())
}

/// Writes the index of the last sealed segment again: its trailer reached the disk, all of its index did not.
/// The records were durable before either was written.
fn reseal(
    context: &Arc<Context>,
    medium: &dyn Medium,
    mark: &Mark,
    sealed: &[Arc<Segment>],
) -> Result<(), Error> {
    let Some((last, before)) = sealed.split_last() else { return Ok(()) };
    let (file, map) = segment::open_file(context, last.number())?;
    let whole = whole_map(context, &file, last.number())?;
    let mut active = Active::new(last.number(), last.first(), Arc::new(map));
    let mut scan = Scan::new(last.number(), last.first(), 0);
    // The sealing session was the newest one, whose mark this still is.
    let flaw = scan_records(context, mark, &whole, &mut scan, &mut active);
    let flaw = whole.vouch(0..context.segment_bytes as usize, flaw)?;
    let trailer = last.trailer();
    if scan.offset != trailer.records_end.get() || scan.number != last.last() + 1 {
        return Err(Error::damaged(last.file(), scan.offset.into(), Part::Record(scan.number), flaw));
    }
    let (index, again) = active.seal(context, before.last().map(AsRef::as_ref), trailer.generation.get())?;
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
fn whole_map(context: &Context, file: &File, number: u64) -> Result<Arc<Map>, Error> {
    let path = context.segment_path(number);
    let map = Map::new(file, &path, context.segment_bytes).map_err(Error::io("map", &path))?;
    map.publish(context.segment_bytes);
    Ok(Arc::new(map))
}
