//! [`check`]: reads a whole log and says what is wrong with it.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::chain::{BlockView, Height};
use engine::store::BlockReader;

use crate::error::Error;
use crate::files::Lock;
use crate::format::FIRST_RECORD;
use crate::operations::Judge;
use crate::reader::LogReader;
use crate::recover;
use crate::segment::Segment;

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// The newest block.
    pub head: Height,
    /// Segment files looked at.
    pub segments: u64,
    /// Records found right.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// All damage, in order. Empty: the log is sound.
    pub damage: Vec<Error>,
}

/// Checks the log in `dir`: trailers and indexes, and if `deep` every record too; and that the operations which are kept are
/// those that the blocks commit to, of all blocks if `deep`, else of those of the last segment and those that have some. Of a log that is being written it
/// checks what was durable when it began. If nobody writes it, it also looks behind the last record for signs that
/// there were more: a reader alone cannot tell damage there from a write that a crash cut short.
///
/// `progress` is told the bytes done and the bytes in all, after each piece. An error means that the log could not
/// be opened at all; all other damage is in the report.
pub fn check(dir: impl AsRef<Path>, deep: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, Error> {
    // Opening checks the records of the last segment.
    let reader = LogReader::open(dir.as_ref())?;
    let mut damage = reader.damage();
    if let Some(lock) = Lock::if_free(dir.as_ref())
        && damage.is_empty()
    {
        damage.extend(recover::check_end(&reader.shared().context).err());
        drop(lock);
    }
    let (slots, last_bytes, last_records) = reader.shared().look(|index| {
        let bytes = u64::from(index.active.end - FIRST_RECORD);
        (index.sealed.clone(), bytes, u64::from(index.active.records()) - index.active.damaged())
    });
    let bytes_of = |segment: &Segment| {
        let records = u64::from(segment.trailer().records_end.get() - FIRST_RECORD);
        let index = reader.segment_bytes() - u64::from(segment.trailer().index_offset.get());
        if deep { records + index } else { index }
    };
    let readable = || slots.iter().filter_map(|slot| slot.sealed().ok());
    let total = readable().map(|segment| bytes_of(segment)).sum::<u64>() + last_bytes;
    let mut report = Report {
        head: reader.head(),
        segments: slots.len() as u64 + 1,
        records: last_records,
        bytes: last_bytes,
        damage,
    };
    progress(report.bytes, total);
    let mut judge = Judge::new(&reader.shared().context);
    if let Some(judge) = &mut judge {
        let active = reader.shared().look(|index| index.active.first);
        let heights = if deep { Vec::new() } else { judge.heights() };
        for height in heights.into_iter().chain((active..=report.head.0).map(Height)) {
            look(judge, &reader, height);
        }
    }
    for segment in readable() {
        let before = report.bytes;
        match segment.check_index() {
            Err(error) => report.damage.push(error),
            Ok(()) if deep => {
                for number in segment.first()..=segment.last() {
                    match segment.block(number) {
                        Ok(block) => {
                            report.records += 1;
                            report.bytes += block.record_bytes();
                            let header = block.header();
                            if let (Some(judge), Ok(())) = (&mut judge, block.vouch()) {
                                judge.look(&header);
                            }
                            progress(report.bytes, total);
                        }
                        Err(error) => report.damage.push(error),
                    }
                }
            }
            Ok(()) => {}
        }
        report.bytes = before + bytes_of(segment);
        progress(report.bytes, total);
    }
    report.damage.extend(judge.and_then(Judge::verdict));
    Ok(report)
}

/// Looks for a block whose operations are not there: first at those of which some are kept, then at all blocks from the
/// oldest on, as far as it gets in `limit`. For when a log is found to contradict itself, to say where.
pub fn lost_operations(reader: &LogReader, limit: Duration) -> Option<Error> {
    let until = Instant::now() + limit;
    let mut judge = Judge::new(&reader.shared().context)?;
    let kept = judge.heights().into_iter();
    let all = (reader.base().first.0..=reader.head().0).map(Height);
    let lost = kept
        .chain(all)
        .take_while(|_| Instant::now() < until)
        .any(|height| !look(&mut judge, reader, height));
    if lost { judge.verdict() } else { None }
}

/// Looks at a block, if it can be read: whether its operations are there, as far as that shows.
fn look(judge: &mut Judge<'_>, reader: &LogReader, height: Height) -> bool {
    let Ok(Some(block)) = reader.block(height) else { return true };
    let header = block.header();
    block.vouch().is_err() || judge.look(&header)
}
