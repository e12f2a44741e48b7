//! [`WriteLog`]: the list of all writes to a disk, as `blklogwrites` of QEMU keeps it. The format is that of Linux's
//! dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c):
//!
//! ```text
//! sector 0: magic u64, version u64, number of entries u64, sector size u32
//! then entries, each: a sector {sector u64, sectors u64, flags u64, length of a mark u64}, and the sectors written
//! ```

use std::path::Path;

use crate::Outcome;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// A list of writes, in the order in which the disk finished them: the recorder takes one at a time.
pub(crate) struct WriteLog {
    bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

/// One thing that was done to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where on the disk, in bytes.
    pub(crate) start: u64,
    /// How many bytes.
    pub(crate) length: u64,
    pub(crate) kind: Kind,
    /// Where its data are in the list, in bytes.
    data: usize,
    /// Where it ends in the list, in bytes.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Write,
    /// The bytes are zeros from now on.
    Discard,
    /// All before it is durable.
    Flush,
}

impl WriteLog {
    /// Reads a list whose recorder has ended.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = std::fs::read(path)?;
        let entries = parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { bytes, entries })
    }

    /// What an entry wrote.
    pub(crate) fn data(&self, entry: &Entry) -> &[u8] {
        match entry.kind {
            Kind::Write => &self.bytes[entry.data..entry.data + entry.length as usize],
            Kind::Discard | Kind::Flush => &[],
        }
    }
}

fn parse(bytes: &[u8]) -> Outcome<Vec<Entry>> {
    let word = |at: usize| -> Outcome<u64> {
        let word = bytes.get(at..at + 8).ok_or_else(|| format!("cut off at byte {at}"))?;
        Ok(u64::from_le_bytes(word.try_into()?))
    };
    if word(0)? != MAGIC || word(8)? != 1 {
        return Err("not a list of writes of version 1".into());
    }
    let sector = word(24)? & u64::from(u32::MAX);
    if sector != 512 {
        return Err(format!("sectors of {sector} bytes, expected 512").into());
    }
    let mut entries = Vec::new();
    let mut at = 512;
    // The number in sector 0 is that of the last flush: writes follow it.
    while at < bytes.len() {
        let (start, length, flags) = (word(at)? * sector, word(at + 8)? * sector, word(at + 16)?);
        let kind = match flags {
            0 => Kind::Write,
            FLUSH if length == 0 => Kind::Flush,
            DISCARD => Kind::Discard,
            _ => {
                let known = FLUSH | FUA | DISCARD | MARK;
                let what = if flags & !known == 0 { "never written by QEMU" } else { "unknown" };
                return Err(format!("entry {} at byte {at}: flags {flags:#x}, {what}", entries.len()).into());
            }
        };
        let data = at + sector as usize;
        let end = data + if kind == Kind::Write { length as usize } else { 0 };
        if end > bytes.len() {
            return Err(format!("entry {} at byte {at} is cut off", entries.len()).into());
        }
        entries.push(Entry { start, length, kind, data, end: end as u64 });
        at = end;
    }
    Ok(entries)
}
