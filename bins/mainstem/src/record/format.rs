//! The file: chunks, each with its own checksum. What is not exactly as it was written is refused.
//!
//! # Format
//! ```text
//! file    "MSRECORD" | version u32 = 1 | chunks
//! chunk   kind u32 | length u32 | at u64 (microseconds since the start) | payload[length] | xxh3 u64
//! ```
//! Little-endian; the checksum covers the number of the chunk (u64, from 0) and all of it but itself, so a chunk that is lost
//! or twice is found. The first chunk is the start and the last one the end; nothing follows.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use engine::chain::{ChainId, Hash, Height, Timestamp};
use engine::state::Operation;
use net::frame::{Frame, FrameBuffer};
use xxhash_rust::xxh3::Xxh3;

use super::start::Start;

const MAGIC: &[u8; 8] = b"MSRECORD";
const VERSION: u32 = 1;
/// Of a chunk without its payload.
const CHUNK_BYTES: u64 = 16 + 8;
/// The longest payload: the start of a chain with very many side chains.
const MAX_PAYLOAD: u32 = 256 << 20;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// The system does not give it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it does not begin like a recording: expected {}", MAGIC.escape_ascii())]
    NoRecording,
    /// Of another version of this program.
    #[error("its version is {0}; this program reads {VERSION}: replay it with the version that recorded it")]
    Version(u32),
    /// Its bytes are not those that were written.
    #[error("it is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the chunk begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// What a chunk says.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Where the recording begins.
    Start(Box<Start>),
    /// A frame, with the sections that went into no lane.
    Frame { left_out: Vec<u16>, frame: FrameBuffer },
    /// Blocks that were in lanes before the recording began, as the log has them.
    Backlog(FrameBuffer),
    /// A main block that became durable.
    Block(Sealing),
    /// Why nothing follows.
    End(String),
}

/// What was decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    pub height: Height,
    pub time: Timestamp,
    pub hash: Hash,
    /// How many blocks of which chains, from which height on, by ascending chain.
    pub shares: Vec<(ChainId, Height, u32)>,
    pub operations: Vec<Operation>,
}

const START: u32 = 1;
const FRAME: u32 = 2;
const BACKLOG: u32 = 3;
const BLOCK: u32 = 4;
const END: u32 = 5;

/// Writes a recording.
pub(super) struct Writer {
    out: BufWriter<File>,
    chunks: u64,
    /// How long it is so far.
    pub(super) bytes: u64,
}

impl Writer {
    /// Begins a file, which must not exist yet; only its owner may read it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { out, chunks: 0, bytes: 12 })
    }

    pub(super) fn start(&mut self, start: &Start) -> io::Result<()> {
        let payload = serde_json::to_vec(start)?;
        self.chunk(START, Duration::ZERO, &[&payload])
    }

    pub(super) fn frame(&mut self, at: Duration, left_out: &[u16], frame: &[u8]) -> io::Result<()> {
        let mut head = Vec::with_capacity(2 + 2 * left_out.len());
        head.extend((left_out.len() as u16).to_le_bytes());
        head.extend(left_out.iter().flat_map(|index| index.to_le_bytes()));
        self.chunk(FRAME, at, &[&head, frame])
    }

    pub(super) fn backlog(&mut self, at: Duration, frame: &[u8]) -> io::Result<()> {
        self.chunk(BACKLOG, at, &[frame])
    }

    pub(super) fn block(&mut self, at: Duration, sealing: &Sealing) -> io::Result<()> {
        let Sealing { height, time, hash, shares, operations } = sealing;
        let mut payload = Vec::with_capacity(64 + 16 * shares.len());
        payload.extend(height.0.to_le_bytes());
        payload.extend(time.as_millis().to_le_bytes());
        payload.extend(hash.as_bytes());
        payload.extend((shares.len() as u32).to_le_bytes());
        for (chain, first, count) in shares {
            payload.extend(chain.0.to_le_bytes());
            payload.extend(first.0.to_le_bytes());
            payload.extend(count.to_le_bytes());
        }
        payload.extend((operations.len() as u32).to_le_bytes());
        for operation in operations {
            let bytes = operation.encode();
            payload.extend((bytes.len() as u32).to_le_bytes());
            payload.extend(bytes);
        }
        self.chunk(BLOCK, at, &[&payload])
    }

    /// Writes the last chunk and makes all of it durable.
    pub(super) fn end(mut self, at: Duration, why: &str) -> io::Result<u64> {
        self.chunk(END, at, &[why.as_bytes()])?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(self.bytes)
    }

    fn chunk(&mut self, kind: u32, at: Duration, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD);
        let length = length.ok_or_else(|| io::Error::other("a part of the recording is too long"))?;
        let mut head = [0; 16];
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[4..8].copy_from_slice(&length.to_le_bytes());
        head[8..].copy_from_slice(&u64::try_from(at.as_micros()).unwrap_or(u64::MAX).to_le_bytes());
        let mut sum = checksum(self.chunks, &head);
        self.out.write_all(&head)?;
        for part in parts {
            sum.update(part);
            self.out.write_all(part)?;
        }
        self.out.write_all(&sum.digest().to_le_bytes())?;
        self.chunks += 1;
        self.bytes += CHUNK_BYTES + u64::from(length);
        Ok(())
    }
}

fn checksum(number: u64, head: &[u8; 16]) -> Xxh3 {
    let mut sum = Xxh3::new();
    sum.update(&number.to_le_bytes());
    sum.update(head);
    sum
}

/// Reads a recording, chunk by chunk.
pub(super) struct Reader {
    input: BufReader<File>,
    chunks: u64,
    offset: u64,
    ended: bool,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut head = [0; 12];
        if let Err(error) = input.read_exact(&mut head) {
            return Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => FormatError::NoRecording,
                _ => error.into(),
            });
        }
        let (magic, version) = head.split_at(8);
        if magic != MAGIC {
            return Err(FormatError::NoRecording);
        }
        let version = u32::from_le_bytes(version.try_into().expect("four bytes are left"));
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        Ok(Self { input, chunks: 0, offset: 12, ended: false })
    }

    /// The next chunk and its time; `None` after the end.
    pub(super) fn next(&mut self) -> Result<Option<(Duration, Chunk)>, FormatError> {
        if self.ended {
            let mut more = [0];
            return match self.input.read(&mut more)? {
                0 => Ok(None),
                _ => Err(self.damaged("something follows the end")),
            };
        }
        let mut head = [0; 16];
        self.fill(&mut head)?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (kind, length) = (word(0), word(4));
        if length > MAX_PAYLOAD {
            return Err(self.damaged(format!("a length of {length}; expected at most {MAX_PAYLOAD}")));
        }
        // Not more than what is there: a length that lies costs no memory.
        let mut payload = Vec::new();
        let read = (&mut self.input).take(length.into()).read_to_end(&mut payload)?;
        if read < length as usize {
            return Err(self.damaged("it breaks off"));
        }
        let mut sum = [0; 8];
        self.fill(&mut sum)?;
        let mut expected = checksum(self.chunks, &head);
        expected.update(&payload);
        if expected.digest() != u64::from_le_bytes(sum) {
            return Err(self.damaged("wrong checksum"));
        }
        if (self.chunks == 0) != (kind == START) {
            return Err(self.damaged("the start is not where it should be"));
        }
        let at = u64::from_le_bytes(head[8..].try_into().expect("eight bytes are left"));
        let chunk = parse(kind, payload).map_err(|what| self.damaged(what))?;
        self.ended = matches!(chunk, Chunk::End(_));
        self.chunks += 1;
        self.offset += CHUNK_BYTES + u64::from(length);
        Ok(Some((Duration::from_micros(at), chunk)))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), FormatError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it breaks off"),
            _ => error.into(),
        })
    }

    fn damaged(&self, what: impl Into<String>) -> FormatError {
        FormatError::Damaged { offset: self.offset, what: what.into() }
    }
}

/// A payload whose checksum is right: what is wrong with it was written so.
fn parse(kind: u32, payload: Vec<u8>) -> Result<Chunk, String> {
    let frame = |bytes: &[u8]| {
        let mut buffer = FrameBuffer::with_capacity(bytes.len());
        buffer.extend(bytes);
        Frame::parse(buffer.as_bytes()).map_err(|error| error.to_string())?;
        Ok::<_, String>(buffer)
    };
    match kind {
        START => serde_json::from_slice(&payload).map(Chunk::Start).map_err(|error| error.to_string()),
        FRAME => {
            let mut rest = Bytes(&payload);
            let count = rest.u16()?;
            let left_out = (0..count).map(|_| rest.u16()).collect::<Result<_, _>>()?;
            Ok(Chunk::Frame { left_out, frame: frame(rest.0)? })
        }
        BACKLOG => Ok(Chunk::Backlog(frame(&payload)?)),
        BLOCK => sealing(&payload).map(Chunk::Block),
        END => String::from_utf8(payload).map(Chunk::End).map_err(|error| error.to_string()),
        other => Err(format!("chunk of kind {other}, which this version does not know")),
    }
}

fn sealing(payload: &[u8]) -> Result<Sealing, String> {
    let mut rest = Bytes(payload);
    let (height, time) = (Height(rest.u64()?), Timestamp::from_millis(rest.u64()?));
    let hash = Hash(*rest.take::<32>()?);
    let mut shares = Vec::new();
    for _ in 0..rest.u32()? {
        let (chain, first, count) = (ChainId(rest.u32()?), Height(rest.u64()?), rest.u32()?);
        let last: Option<&(ChainId, _, _)> = shares.last();
        if count == 0 || last.is_some_and(|(last, ..)| *last >= chain) {
            return Err(format!("shares of main block {height} are not in order"));
        }
        shares.push((chain, first, count));
    }
    let mut operations = Vec::new();
    for _ in 0..rest.u32()? {
        let length = rest.u32()? as usize;
        let (bytes, after) = rest.0.split_at_checked(length).ok_or("an operation breaks off")?;
        operations.push(Operation::decode(bytes).map_err(|error| error.to_string())?);
        rest.0 = after;
    }
    if !rest.0.is_empty() {
        return Err(format!("{} bytes follow main block {height}", rest.0.len()));
    }
    Ok(Sealing { height, time, hash, shares, operations })
}

/// What is left of a payload.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it breaks off within a chunk")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }
}
