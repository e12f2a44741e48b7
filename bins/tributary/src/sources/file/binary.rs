//! The binary form of a file of blocks: any height is found by arithmetic. The bytes are given in
//! `docs/sources.md`.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Hash, Height, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::{FileError, Record};

/// A file in the binary form, read from any height.
#[derive(Debug)]
pub(super) struct BinaryFile {
    path: PathBuf,
    reader: BufReader<File>,
    header: Header,
    /// The record that the reader stands at, counted from 0.
    position: u64,
    follow: bool,
}

/// What stands before the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) chain: ChainId,
    pub(super) first: u64,
    /// The block before the first one.
    pub(super) parent: Hash,
}

/// The first bytes of a file.
pub(super) const MAGIC: [u8; 8] = *b"MSBLOCKS";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 80;

impl BinaryFile {
    pub(super) fn open(path: &Path, follow: bool) -> Result<Self, FileError> {
        let io = |error| FileError::Io { path: path.to_owned(), error };
        let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
        let mut bytes = [0; HEADER_BYTES];
        let header = match reader.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(format!("it ends inside its header of {HEADER_BYTES} bytes"))
            }
            Err(error) => return Err(io(error)),
            Ok(()) => Header::parse(&bytes),
        };
        let header = header.map_err(|what| FileError::File { path: path.to_owned(), what })?;
        Ok(Self { path: path.to_owned(), reader, header, position: 0, follow })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn chain(&self) -> ChainId {
        self.header.chain
    }

    pub(super) fn start(&self) -> (u64, Hash) {
        (self.header.first, self.header.parent)
    }

    /// Height of the last complete record.
    pub(super) fn last(&self) -> Result<Option<u64>, FileError> {
        let length = self.len()?;
        let records = length.saturating_sub(HEADER_BYTES as u64) / RECORD_BYTES as u64;
        Ok(records.checked_sub(1).map(|last| self.header.first + last))
    }

    pub(super) fn len(&self) -> Result<u64, FileError> {
        self.reader.get_ref().metadata().map(|data| data.len()).map_err(|error| self.io(error))
    }

    pub(super) fn rewind(&mut self) -> Result<(), FileError> {
        self.go(0)
    }

    pub(super) fn seek(&mut self, height: u64) -> Result<Option<Hash>, FileError> {
        let Some(position) = height.checked_sub(self.header.first) else { return Ok(None) };
        if self.last()?.is_none_or(|last| last < height) {
            return Ok(None);
        }
        // The hash before is what its check value is made with.
        let parent = if position == 0 {
            self.header.parent
        } else {
            self.go(position - 1)?;
            match self.bytes()? {
                Some(bytes) => hash_at(&bytes, 0),
                None => return Ok(None),
            }
        };
        self.go(position)?;
        Ok(self.next(height, parent)?.map(|record| record.hash))
    }

    pub(super) fn next(&mut self, height: u64, parent: Hash) -> Result<Option<Record>, FileError> {
        let position = self.position;
        let expected = self.header.first + position;
        if expected != height {
            return Err(self.wrong(position, format!("its height is {expected}; expected {height}")));
        }
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        let record = Record {
            height,
            hash: hash_at(&bytes, 0),
            parent,
            tx_root: hash_at(&bytes, 32),
            time: Timestamp::from_millis(u64_at(&bytes, 64)),
        };
        let (stated, computed) = (u64_at(&bytes, 72), check_value(&record));
        if stated != computed {
            let what = format!(
                "field check: {stated:#018x}; expected {computed:#018x}: this record is damaged, or the one before it"
            );
            return Err(self.wrong(position, what));
        }
        Ok(Some(record))
    }

    /// Writes what stands before the records.
    pub(super) fn write_header(header: &Header, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&header.chain.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.first.to_le_bytes());
        bytes[24..56].copy_from_slice(header.parent.as_bytes());
        let check = xxh3_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&check.to_le_bytes());
        out.write_all(&bytes)
    }

    /// Writes one record.
    pub(super) fn write(record: &Record, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..32].copy_from_slice(record.hash.as_bytes());
        bytes[32..64].copy_from_slice(record.tx_root.as_bytes());
        bytes[64..72].copy_from_slice(&record.time.as_millis().to_le_bytes());
        bytes[72..].copy_from_slice(&check_value(record).to_le_bytes());
        out.write_all(&bytes)
    }

    /// The bytes of the record that the reader stands at. `None` at the end, and at a record that is still being
    /// written.
    fn bytes(&mut self) -> Result<Option<[u8; RECORD_BYTES]>, FileError> {
        let mut bytes = [0; RECORD_BYTES];
        let mut read = 0;
        while read < RECORD_BYTES {
            match self.reader.read(&mut bytes[read..]) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        if read == RECORD_BYTES {
            self.position += 1;
            return Ok(Some(bytes));
        }
        if read > 0 && !self.follow {
            let what = format!("the file ends after {read} of its {RECORD_BYTES} bytes: it was cut");
            return Err(self.wrong(self.position, what));
        }
        self.go(self.position)?;
        let length = self.len()?;
        if length < offset(self.position) {
            let what = "became shorter while it was read".to_owned();
            return Err(FileError::File { path: self.path.clone(), what });
        }
        Ok(None)
    }

    fn go(&mut self, position: u64) -> Result<(), FileError> {
        self.reader.seek(io::SeekFrom::Start(offset(position))).map_err(|error| self.io(error))?;
        self.position = position;
        Ok(())
    }

    fn io(&self, error: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), error }
    }

    fn wrong(&self, position: u64, what: String) -> FileError {
        FileError::Record {
            path: self.path.clone(),
            record: position + 1,
            height: self.header.first + position,
            offset: offset(position),
            what,
        }
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        // The magic brought us here. The version comes before the check value, whose place it decides.
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(format!(
                "header field version: {version}; expected {VERSION}, which this program knows"
            ));
        }
        let (stated, computed) = (u64_at(bytes, 56), xxh3_64(&bytes[..56]));
        if stated != computed {
            return Err(format!(
                "header field check: {stated:#018x}; expected {computed:#018x}: the header is damaged"
            ));
        }
        if bytes[10..12] != [0, 0] {
            return Err("header field reserved: not zero; the file is of a newer program".to_owned());
        }
        let chain = ChainId(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        let first = u64_at(bytes, 16);
        if first == 0 || first > Height::MAX.0 {
            return Err(format!("header field first_height: {first}; expected 1 to 2^63 - 1"));
        }
        Ok(Self { chain, first, parent: hash_at(bytes, 24) })
    }
}

fn offset(position: u64) -> u64 {
    HEADER_BYTES as u64 + position * RECORD_BYTES as u64
}

/// Binds a record to its height and to the block before it.
fn check_value(record: &Record) -> u64 {
    let mut bytes = [0; 112];
    bytes[..8].copy_from_slice(&record.height.to_le_bytes());
    bytes[8..40].copy_from_slice(record.parent.as_bytes());
    bytes[40..72].copy_from_slice(record.hash.as_bytes());
    bytes[72..104].copy_from_slice(record.tx_root.as_bytes());
    bytes[104..].copy_from_slice(&record.time.as_millis().to_le_bytes());
    xxh3_64(&bytes)
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[at..at + 32]);
    Hash(hash)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
