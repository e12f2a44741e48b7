//! [`Segments`]: the segment files of a log, in order. One that cannot be read does not hide the others.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use engine::chain::{ChainId, Height};
use engine::store::Base;

use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{ChainEntry, FIRST_RECORD, Flaw, Mark, Place, RecordHeader, SegmentHeader};
use crate::map::Map;
use crate::segment::{self, Segment};

/// The segments of a log as its files say, before a record of the last one is looked at.
pub(crate) struct Segments {
    /// Number of the lowest segment.
    pub(crate) begin: u64,
    /// Where the log begins.
    pub(crate) base: Arc<Base>,
    /// All but the last one.
    pub(crate) slots: Vec<Slot>,
    /// The last one; it is not sealed.
    pub(crate) active: Result<Open, Error>,
    /// What is wrong with the file `BASE`. It is then taken as absent: what was pruned seems lost, the rest can be read.
    pub(crate) trouble: Option<Error>,
}

/// A segment that is followed by another one.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    Sealed(Arc<Segment>),
    Lost(Arc<Lost>),
}

/// A segment that cannot be read.
#[derive(Debug)]
pub(crate) struct Lost {
    number: u64,
    file: PathBuf,
    /// Its records, as those around it say; of several lost ones in a row the first has all.
    first: u64,
    last: u64,
    cause: Arc<Error>,
}

/// The segment that is not sealed.
pub(crate) struct Open {
    pub(crate) number: u64,
    pub(crate) file: File,
    pub(crate) map: Arc<Map>,
    /// Number of its first record.
    pub(crate) first: u64,
    /// Lowest generation that its records may have.
    pub(crate) generation: u64,
    /// Whether its file held another segment before.
    pub(crate) recycled: bool,
}

impl Slot {
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Sealed(segment) => segment.number(),
            Self::Lost(lost) => lost.number,
        }
    }
    /// Number of the first record.
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Sealed(segment) => segment.first(),
            Self::Lost(lost) => lost.first,
        }
    }
    /// Number of the last record.
    pub(crate) fn last(&self) -> u64 {
        match self {
            Self::Sealed(segment) => segment.last(),
            Self::Lost(lost) => lost.last,
        }
    }
    pub(crate) fn file(&self) -> &std::path::Path {
        match self {
            Self::Sealed(segment) => segment.file(),
            Self::Lost(lost) => &lost.file,
        }
    }
    /// The segment, if it can be read.
    pub(crate) fn sealed(&self) -> Result<&Arc<Segment>, Error> {
        match self {
            Self::Sealed(segment) => Ok(segment),
            Self::Lost(lost) => Err(lost.error()),
        }
    }
}

impl Lost {
    /// What every request for its blocks gets.
    pub(crate) fn error(&self) -> Error {
        Error::Lost { first: Height(self.first), last: Height(self.last), cause: self.cause.clone() }
    }
}

/// What a look at one file gave.
enum Look {
    Sealed(Segment),
    Open { file: File, map: Map, recycled: bool },
}

impl Segments {
    /// Opens all segments, reading a page and a trailer of each. An error means that not even the first files could
    /// be read; all else that is wrong is in the slots.
    pub(crate) fn open(context: &Arc<Context>, mark: &Mark) -> Result<Self, Error> {
        let (begin, base, trouble) = match context.read_base() {
            Ok((begin, base)) => (begin, Arc::new(base), None),
            Err(error @ Error::Damaged { .. }) => (1, Base::whole(), Some(error)),
            Err(error) => return Err(error),
        };
        let numbers = context.segment_numbers()?;
        let mut slots: Vec<Slot> = Vec::new();
        // Segments that cannot be read, until one after them says how many records they have.
        let mut lost: Vec<(u64, Error)> = Vec::new();
        let mut number = begin;
        let mut next = base.first.0;
        let mut generation = 0;
        loop {
            let expected = if lost.is_empty() { Expected::Exactly(next) } else { Expected::AtLeast(next) };
            match look(context, mark, number, &expected, generation) {
                Ok(Look::Sealed(segment)) => {
                    bury(context, &mut slots, &mut lost, next, segment.first() - 1);
                    generation = segment.trailer().generation.get();
                    next = segment.last() + 1;
                    slots.push(Slot::Sealed(Arc::new(segment)));
                }
                Ok(Look::Open { file, map, recycled }) => {
                    let first = match lost.last() {
                        None => Ok(next),
                        Some(_) => first_number(context, &file, number, next),
                    };
                    let active = match first {
                        Ok(first) => {
                            bury(context, &mut slots, &mut lost, next, first - 1);
                            Ok(Open { number, file, map: Arc::new(map), first, generation, recycled })
                        }
                        Err(error) => {
                            bury(context, &mut slots, &mut lost, next, next - 1);
                            Err(error)
                        }
                    };
                    return Ok(Self { begin, base, slots, active, trouble });
                }
                Err(error) => {
                    let Some(later) = numbers.iter().find(|later| **later > number) else {
                        bury(context, &mut slots, &mut lost, next, next - 1);
                        return Ok(Self { begin, base, slots, active: Err(error), trouble });
                    };
                    // However many are missing in a row, it is one loss.
                    let resume = if matches!(error, Error::Missing { .. }) { *later } else { number + 1 };
                    lost.push((number, error));
                    number = resume;
                    continue;
                }
            }
            number += 1;
        }
    }

    /// Those that cannot be read.
    pub(crate) fn damage(slots: &[Slot]) -> Vec<Error> {
        slots.iter().filter_map(|slot| slot.sealed().err()).collect()
    }
}

/// An error if a segment was written in a format that this program does not know. Others of the log may be, too, and
/// nothing of it is changed: not even to mend what seems damaged.
pub(crate) fn refuse_newer(context: &Context) -> Result<(), Error> {
    for number in context.segment_numbers()? {
        let path = context.segment_path(number);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        // One that is cut short says nothing.
        let Ok(header) = segment::read_at(&file, &path, 0, FIRST_RECORD as usize) else { continue };
        let judged = SegmentHeader::judge(&header, &context.key, number, context.segment_bytes);
        if let Err(flaw) = judged
            && flaw.other_version().is_some()
        {
            return Err(Error::damaged(&path, 0, Part::SegmentHeader, flaw));
        }
    }
    Ok(())
}

/// The segment behind `slots`, as they say: its number, and that of its first record.
pub(crate) fn behind(slots: &[Slot], begin: u64, base: &Base) -> (u64, u64) {
    slots.last().map_or((begin, base.first.0), |slot| (slot.number() + 1, slot.last() + 1))
}

/// Turns the collected errors into slots that together hold the records `first` to `last`.
fn bury(context: &Context, slots: &mut Vec<Slot>, lost: &mut Vec<(u64, Error)>, first: u64, last: u64) {
    for (index, (number, cause)) in lost.drain(..).enumerate() {
        let first = if index == 0 { first } else { last + 1 };
        let (file, cause) = (context.segment_path(number), Arc::new(cause));
        slots.push(Slot::Lost(Arc::new(Lost { number, file, first, last, cause })));
    }
}

/// What the first record of a segment must be.
enum Expected {
    Exactly(u64),
    /// The segment before it cannot be read.
    AtLeast(u64),
}

/// Looks at the file of segment `number`: its header and its trailer.
fn look(
    context: &Arc<Context>,
    mark: &Mark,
    number: u64,
    expected: &Expected,
    generation: u64,
) -> Result<Look, Error> {
    let path = context.segment_path(number);
    let damaged = |flaw| Error::damaged(&path, context.trailer_offset(), Part::Trailer, flaw);
    let segment::OpenFile { file, map, recycled } = segment::open_file(context, number)?;
    let mut trailer = segment::read_trailer(context, &file, number)?;
    if let Err(flaw) = trailer
        && context.segment_path(number + 1).exists()
        && context.holds_records(number + 1)?
        && !drops_next(context, mark, number + 1)?
    {
        // Its writer may have sealed it between the two looks. Otherwise its trailer is gone: records are
        // written only after the segment before them was sealed.
        trailer = segment::read_trailer(context, &file, number)?;
        if trailer.is_err() {
            return Err(damaged(flaw));
        }
    }
    let Ok(trailer) = trailer else { return Ok(Look::Open { file, map, recycled }) };
    let (first, found) = (trailer.first_record.get(), trailer.generation.get());
    let expected = match *expected {
        Expected::Exactly(expected) if first != expected => Some(expected),
        Expected::AtLeast(expected) if first < expected => Some(expected),
        _ => None,
    };
    if let Some(expected) = expected {
        return Err(damaged(Flaw::Field { field: "first_record", found: first, expected }));
    }
    if trailer.last_record() >= mark.first_record && found != mark.generation {
        if mark.dropping {
            return Ok(Look::Open { file, map, recycled });
        }
        return Err(damaged(Flaw::Generation { found, newest: mark.generation }));
    }
    if found < generation || found > mark.generation {
        return Err(damaged(Flaw::Generation { found, newest: mark.generation }));
    }
    Ok(Look::Sealed(Segment::new(context.clone(), number, Arc::new(map), trailer, false)))
}

/// Whether the segment is one that a drop has still to remove: the one before it is not sealed any more, then.
fn drops_next(context: &Context, mark: &Mark, number: u64) -> Result<bool, Error> {
    if !mark.dropping {
        return Ok(false);
    }
    let path = context.segment_path(number);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    Ok(first_number(context, &file, number, 0).is_ok_and(|first| first > mark.first_record))
}

/// The number of the first record of a segment, as that record itself says. It is at least `least`.
pub(crate) fn first_number(context: &Context, file: &File, segment: u64, least: u64) -> Result<u64, Error> {
    let path = context.segment_path(segment);
    let offset = FIRST_RECORD;
    let damaged = |flaw| Error::damaged(&path, offset.into(), Part::Record(least), flaw);
    let bytes = segment::read_at(file, &path, offset.into(), RecordHeader::BYTES)?;
    let number = RecordHeader::read(&bytes).map_err(damaged)?.number();
    let place = Place { segment, offset, number };
    RecordHeader::judge(&bytes, &context.key, place, usize::MAX).map_err(damaged)?;
    crate::format::at_least("number", number, least).map_err(damaged)?;
    Ok(number)
}

/// The chains of all blocks before a segment, ascending: as the index of `last`, the one before it, has them, or what
/// is kept of blocks that were pruned if there is none.
pub(crate) fn chains(base: &Base, last: Option<&Slot>) -> Result<Vec<ChainEntry>, Error> {
    let Some(slot) = last else { return Ok(base.heads.iter().map(ChainEntry::from).collect()) };
    let segment = slot.sealed()?;
    let chains = segment.chains()?.to_vec();
    // Nothing is sealed with the zeros of a file that was cut meanwhile.
    segment.vouch_index(Ok(chains))
}

/// The main block in one of `slots` that indexed `height` of `chain`. What a segment that cannot be read may hold is
/// an error, not an absence.
pub(crate) fn locate(slots: &[Slot], chain: ChainId, height: Height) -> Result<Option<Height>, Error> {
    let reaches = |slot: &Slot| -> Result<bool, Error> {
        Ok(slot.sealed()?.chain_head(chain)?.is_some_and(|head| height <= head))
    };
    // The first segment at whose end the chain is that far, and before it those that cannot say.
    let (mut low, mut high) = (0, slots.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let said = (middle..high).find_map(|at| Some((at, reaches(&slots[at]).ok()?)));
        match said {
            Some((at, false)) => low = at + 1,
            Some((_, true)) | None => high = middle,
        }
    }
    let mut unknown = None;
    for slot in &slots[low..] {
        let found = slot.sealed().and_then(|segment| segment.locate(chain, height));
        match found {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) if reaches(slot).unwrap_or(false) => break,
            Ok(None) => {}
            Err(error) => unknown = unknown.or(Some(error)),
        }
    }
    unknown.map_or(Ok(None), Err)
}
