//! A file of blocks, as JSON lines or in a binary form (`docs/sources.md`), for replay and for tests.
//!
//! Any height is found without reading what stands before it: by bisection in JSON lines, whose heights ascend, and
//! by arithmetic in the binary form. So nothing has to be kept about a file, in memory or on disk.

mod binary;
mod convert;
mod json;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::source::{Source, SourceError};

use self::binary::BinaryFile;
pub use self::convert::{ConvertError, Converted, Form, convert};
use self::json::JsonFile;
use super::Tip;

/// How to read a file.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// Where it is.
    pub path: PathBuf,
    /// Whose blocks they are. The binary form says so itself, and must agree; JSON lines do not.
    pub chain: Option<ChainId>,
    /// Whether the file is still being written: its end is then waited at, and its last record may be incomplete.
    pub follow: bool,
}

/// A [`Source`] that reads a file.
#[derive(Debug)]
pub struct FileSource {
    blocks: BlockFile,
    chain: ChainId,
    follow: bool,
    /// The next block to read, and the hash of the one before it; `None` before the main chain said so.
    next: Option<(u64, Hash)>,
    /// What is wrong with the next block, when the ones before it were right.
    failed: Option<FileError>,
    tip: Tip,
    /// Length of the file, in bytes, when its last block was looked for.
    looked_at: Option<u64>,
}

/// One block of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Record {
    height: u64,
    hash: Hash,
    parent: Hash,
    tx_root: Hash,
    time: Timestamp,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It cannot be used at all.
    #[error("{}: {what}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A line of JSON is wrong.
    #[error("{}: line {line}: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line; the first is 1.
        line: u64,
        /// The field and what is wrong with it.
        what: String,
    },
    /// A record of the binary form is wrong.
    #[error("{}: record {record} (height {height}, at byte {offset}): {what}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Which record; the first is 1.
        record: u64,
        /// Its height.
        height: u64,
        /// Where it begins.
        offset: u64,
        /// The field and what is wrong with it.
        what: String,
    },
}

impl FileSource {
    /// Opens a file in either form.
    pub fn open(config: FileConfig) -> Result<Self, FileError> {
        let FileConfig { path, chain, follow } = config;
        let blocks = BlockFile::open(&path, follow)?;
        let chain = match (&blocks, chain) {
            (BlockFile::Binary(file), Some(chain)) if file.chain() != chain => {
                let what = format!(
                    "it holds blocks of chain {}, not of {chain}; leave --chain away or correct it",
                    file.chain()
                );
                return Err(FileError::File { path, what });
            }
            (BlockFile::Binary(file), _) => file.chain(),
            (BlockFile::Json(_), Some(chain)) => chain,
            (BlockFile::Json(_), None) => {
                let what = "JSON lines do not say whose blocks they are; give --chain".to_owned();
                return Err(FileError::File { path, what });
            }
        };
        Ok(Self { blocks, chain, follow, next: None, failed: None, tip: Tip::default(), looked_at: None })
    }

    /// The last block of the file, to show and to wait for.
    pub fn tip_watch(&self) -> Tip {
        self.tip.clone()
    }

    fn resume_at(&mut self, next: Height, parent: Option<Hash>) -> Result<(), Stop> {
        self.next = None;
        self.failed = None;
        let waiting = |height: u64| {
            Stop::Later(format!(
                "the main chain has height {height} already, to which the file has not grown yet"
            ))
        };
        let Some((first, before_first)) = self.blocks.start()? else {
            if self.follow {
                self.next = parent.is_none().then_some((next.0, Hash::ZERO));
                return if parent.is_none() { Ok(()) } else { Err(waiting(next.0 - 1)) };
            }
            return Err(self.unusable("it holds no block".to_owned()).into());
        };
        if next.0 < first {
            let what = format!("it begins at height {first}, but the main chain wants {next} next");
            return Err(self.unusable(what).into());
        }
        if let Some(last) = self.blocks.last()? {
            self.tip.set(last);
        }
        let before = if next.0 == first { Some(before_first) } else { self.blocks.seek(next.0 - 1)? };
        let Some(ours) = before else {
            if self.follow {
                return Err(waiting(next.0 - 1));
            }
            let last = self.tip.get().unwrap_or_default();
            let what =
                format!("it ends at height {last}, but the main chain has {} already", next.previous());
            return Err(self.unusable(what).into());
        };
        if next.0 == first {
            self.blocks.rewind()?;
        }
        if let Some(theirs) = parent
            && theirs != ours
        {
            return Err(Stop::Fork { height: next.previous(), ours, theirs });
        }
        self.next = Some((next.0, ours));
        Ok(())
    }

    fn read_next(&mut self, max: usize, out: &mut Columns) -> Result<Hash, Stop> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        let Some((mut next, mut follows)) = self.next else {
            return Err(self.unusable("read before the main chain said from where".to_owned()).into());
        };
        if follows == Hash::ZERO
            && let Some((first, before_first)) = self.blocks.start()?
            && next == first
        {
            // Either the file was empty when the main chain spoke, or its first block has no parent.
            follows = before_first;
        }
        let mut before = follows;
        for given in 0..max.min(MAX_BLOCKS_AT_ONCE) {
            match self.blocks.next(next, before) {
                Ok(Some(record)) => {
                    out.push(record.hash, record.tx_root, record.time);
                    before = record.hash;
                    next += 1;
                }
                Ok(None) => break,
                Err(error) if given == 0 => return Err(error.into()),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.next = Some((next, before));
        if self.tip.get().is_none_or(|tip| tip.0 < next - 1) {
            self.tip.set(next - 1);
        }
        Ok(follows)
    }

    /// Looks how far the file goes. Of one that is not written any more, once.
    fn look(&mut self) -> Result<Option<Height>, FileError> {
        if self.follow || self.tip.get().is_none() {
            let length = self.blocks.len()?;
            if self.looked_at != Some(length) {
                if let Some(last) = self.blocks.last()? {
                    self.tip.set(last);
                }
                self.looked_at = Some(length);
            }
        }
        Ok(self.tip.get())
    }

    fn unusable(&self, what: String) -> FileError {
        FileError::File { path: self.blocks.path().to_owned(), what }
    }
}

impl Source for FileSource {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.chain]
    }

    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        self.resume_at(next, parent).map_err(|stop| stop.into_error(chain))
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        self.read_next(max, out).map_err(|stop| stop.into_error(chain))
    }

    fn tip(&mut self, _: ChainId) -> Result<Option<Height>, SourceError> {
        self.look().map_err(|error| SourceError::Later(error.to_string()))
    }
}

/// A file in either form.
#[derive(Debug)]
enum BlockFile {
    Json(JsonFile),
    Binary(BinaryFile),
}

impl BlockFile {
    fn open(path: &Path, follow: bool) -> Result<Self, FileError> {
        let io = |error| FileError::Io { path: path.to_owned(), error };
        let mut start = Vec::new();
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        file.take(binary::MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
        if start == binary::MAGIC {
            BinaryFile::open(path, follow).map(Self::Binary)
        } else {
            JsonFile::open(path, follow).map(Self::Json)
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Json(file) => file.path(),
            Self::Binary(file) => file.path(),
        }
    }

    /// Height of the first block, and its parent. `None` for an empty file.
    fn start(&mut self) -> Result<Option<(u64, Hash)>, FileError> {
        match self {
            Self::Json(file) => file.start(),
            Self::Binary(file) => Ok(Some(file.start())),
        }
    }

    /// Length of the file, in bytes.
    fn len(&self) -> Result<u64, FileError> {
        match self {
            Self::Json(file) => file.len(),
            Self::Binary(file) => file.len(),
        }
    }

    /// Height of the last block.
    fn last(&mut self) -> Result<Option<u64>, FileError> {
        match self {
            Self::Json(file) => file.last(),
            Self::Binary(file) => file.last(),
        }
    }

    /// Goes to the block after `height` and returns the hash of the one at `height`, if the file has it.
    fn seek(&mut self, height: u64) -> Result<Option<Hash>, FileError> {
        match self {
            Self::Json(file) => file.seek(height),
            Self::Binary(file) => file.seek(height),
        }
    }

    /// Goes to the first block.
    fn rewind(&mut self) -> Result<(), FileError> {
        match self {
            Self::Json(file) => file.rewind(),
            Self::Binary(file) => file.rewind(),
        }
    }

    /// Reads the next block, which must have height `height` and follow `parent`.
    fn next(&mut self, height: u64, parent: Hash) -> Result<Option<Record>, FileError> {
        match self {
            Self::Json(file) => file.next(height, parent),
            Self::Binary(file) => file.next(height, parent),
        }
    }
}

/// Why a file cannot go on, before it is known for which chain.
enum Stop {
    Later(String),
    Fork { height: Height, ours: Hash, theirs: Hash },
    File(FileError),
}

impl Stop {
    fn into_error(self, chain: ChainId) -> SourceError {
        match self {
            Self::Later(why) => SourceError::Later(why),
            Self::Fork { height, ours, theirs } => SourceError::Fork { chain, height, ours, theirs },
            Self::File(error) => SourceError::Fatal(error.to_string()),
        }
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// What one call reads at most: a good frame's worth.
const MAX_BLOCKS_AT_ONCE: usize = 4_096;
