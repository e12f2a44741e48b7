//! Blocks as JSON lines: `{"height":1,"hash":"0x..","parent":"0x..","tx_root":"0x..","time":1700000000000}`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use engine::chain::{Hash, Height, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FileError, Record};
use crate::sources::shorten;

/// A file of JSON lines, read from any height.
#[derive(Debug)]
pub(super) struct JsonFile {
    path: PathBuf,
    reader: BufReader<File>,
    /// Where the reader stands: always at the start of a line.
    offset: u64,
    follow: bool,
    line: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    height: Height,
    hash: Hash,
    parent: Hash,
    tx_root: Hash,
    time: Timestamp,
}

impl JsonFile {
    pub(super) fn open(path: &Path, follow: bool) -> Result<Self, FileError> {
        let io = |error| FileError::Io { path: path.to_owned(), error };
        let reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
        Ok(Self { path: path.to_owned(), reader, offset: 0, follow, line: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn start(&mut self) -> Result<Option<(u64, Hash)>, FileError> {
        let back = self.offset;
        self.go(0)?;
        let first = self.record()?;
        self.go(back)?;
        match first {
            Some(record) if record.height == 0 || record.height > Height::MAX.0 => {
                Err(self.wrong(0, format!("field height: {}; expected 1 to 2^63 - 1", record.height)))
            }
            first => Ok(first.map(|record| (record.height, record.parent))),
        }
    }

    /// Height of the last complete line.
    pub(super) fn last(&mut self) -> Result<Option<u64>, FileError> {
        let back = self.offset;
        let end = self.len()?;
        // Two longest lines: the last complete one, and an incomplete one after it.
        let from = end.saturating_sub(2 * MAX_LINE as u64 + 2);
        self.next_line(from)?;
        let mut last = None;
        while let Some(record) = self.record()? {
            last = Some(record.height);
        }
        self.go(back)?;
        Ok(last)
    }

    pub(super) fn rewind(&mut self) -> Result<(), FileError> {
        self.go(0)
    }

    /// Bisects, since heights ascend, and reads the last stretch line by line.
    pub(super) fn seek(&mut self, height: u64) -> Result<Option<Hash>, FileError> {
        let mut low = 0;
        let mut high = self.len()?;
        while high - low > STRETCH {
            let middle = low + (high - low) / 2;
            self.next_line(middle)?;
            let start = self.offset;
            match self.record()? {
                Some(record) if start < high && record.height <= height => low = start,
                _ => high = middle,
            }
        }
        self.go(low)?;
        let mut before: Option<Record> = None;
        loop {
            let start = self.offset;
            let Some(record) = self.record()? else { return Ok(None) };
            if let Some(before) = before {
                self.check(start, &record, before.height + 1, before.hash)?;
            }
            if record.height == height {
                return Ok(Some(record.hash));
            }
            if record.height > height {
                let what = format!("field height: {}; expected {height} at the latest", record.height);
                return Err(self.wrong(start, what));
            }
            before = Some(record);
        }
    }

    pub(super) fn next(&mut self, height: u64, parent: Hash) -> Result<Option<Record>, FileError> {
        let start = self.offset;
        let Some(record) = self.record()? else { return Ok(None) };
        self.check(start, &record, height, parent)?;
        Ok(Some(record))
    }

    /// Writes one line.
    pub(super) fn write(record: &Record, out: &mut impl Write) -> io::Result<()> {
        let Record { height, hash, parent, tx_root, time } = *record;
        serde_json::to_writer(&mut *out, &Line { height: Height(height), hash, parent, tx_root, time })?;
        out.write_all(b"\n")
    }

    fn check(&self, start: u64, record: &Record, height: u64, parent: Hash) -> Result<(), FileError> {
        if record.height != height {
            let what = format!("field height: {}; expected {height}, the next one", record.height);
            return Err(self.wrong(start, what));
        }
        if record.parent != parent {
            let what =
                format!("field parent: {}; expected {parent}, the hash of the block before", record.parent);
            return Err(self.wrong(start, what));
        }
        Ok(())
    }

    /// Reads the line that the reader stands at. `None` at the end, and at a line that is still being written.
    fn record(&mut self) -> Result<Option<Record>, FileError> {
        self.line.clear();
        let start = self.offset;
        let read = (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.io(error))? as u64;
        self.offset += read;
        if self.line.last() != Some(&b'\n') {
            if self.line.len() > MAX_LINE {
                return Err(self.wrong(start, format!("longer than {MAX_LINE} bytes, which no block is")));
            }
            if self.follow || read == 0 {
                if self.len()? < start {
                    let what = "became shorter while it was read".to_owned();
                    return Err(FileError::File { path: self.path.clone(), what });
                }
                // Whatever is buffered ends here; what is written later has to be read anew.
                self.go(start)?;
                return Ok(None);
            }
        }
        match serde_json::from_slice::<Line>(&self.line) {
            Ok(Line { height, hash, parent, tx_root, time }) => {
                Ok(Some(Record { height: height.0, hash, parent, tx_root, time }))
            }
            Err(error) => Err(self.wrong(start, diagnosis(&self.line, &error))),
        }
    }

    /// Goes to the start of the first line that begins at `offset` or after it.
    fn next_line(&mut self, offset: u64) -> Result<(), FileError> {
        if offset == 0 {
            return self.go(0);
        }
        self.go(offset - 1)?;
        self.line.clear();
        let read = (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.line);
        self.offset += read.map_err(|error| self.io(error))? as u64;
        if self.line.len() > MAX_LINE {
            return Err(self.wrong(offset, format!("longer than {MAX_LINE} bytes, which no block is")));
        }
        Ok(())
    }

    fn go(&mut self, offset: u64) -> Result<(), FileError> {
        // Within the buffer this costs nothing; at the buffer's end the next read asks the system again.
        let by = offset.cast_signed() - self.offset.cast_signed();
        self.reader.seek_relative(by).map_err(|error| self.io(error))?;
        self.offset = offset;
        Ok(())
    }

    pub(super) fn len(&self) -> Result<u64, FileError> {
        self.reader.get_ref().metadata().map(|data| data.len()).map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), error }
    }

    /// An error in the line that begins at `start`. Lines are counted only here: nothing else needs their numbers.
    fn wrong(&self, start: u64, what: String) -> FileError {
        let line = File::open(&self.path)
            .and_then(|file| {
                let mut lines = 1;
                let mut reader = BufReader::with_capacity(1 << 20, file.take(start));
                loop {
                    let buffer = reader.fill_buf()?;
                    if buffer.is_empty() {
                        return Ok(lines);
                    }
                    lines += buffer.split(|byte| *byte == b'\n').count() as u64 - 1;
                    let length = buffer.len();
                    reader.consume(length);
                }
            })
            .unwrap_or(0);
        FileError::Line { path: self.path.clone(), line, what }
    }
}

/// Names the field that is wrong.
fn diagnosis(line: &[u8], error: &serde_json::Error) -> String {
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(line) else {
        if line.trim_ascii().is_empty() {
            return "is empty: every line holds one block".to_owned();
        }
        return format!("not a JSON object: {}", shorten(&error.to_string(), 120));
    };
    for name in NAMES {
        let Some(value) = fields.get(name) else { return format!("field {name} is missing") };
        let fine = match name {
            "height" | "time" => value.is_u64(),
            _ => value.as_str().is_some_and(|text| text.parse::<Hash>().is_ok()),
        };
        if !fine {
            let expected = match name {
                "height" => "a number from 1 to 2^63 - 1",
                "time" => "a number, milliseconds since 1970",
                _ => "\"0x and 64 hex digits\"",
            };
            let value = shorten(&value.to_string(), 80);
            return format!("field {name}: {value}; expected {expected}");
        }
    }
    match fields.keys().find(|key| !NAMES.contains(&key.as_str())) {
        Some(key) => format!("field {:?} is unknown; expected {}", shorten(key, 40), NAMES.join(", ")),
        None => shorten(&error.to_string(), 120),
    }
}

const NAMES: [&str; 5] = ["height", "hash", "parent", "tx_root", "time"];
/// Longest line; a block takes some 280 bytes.
const MAX_LINE: usize = 4_096;
/// From here on reading line by line is faster than bisecting.
const STRETCH: u64 = 16 << 10;
