//! [`Error`]: all that can be wrong with a log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::chain::{ChainId, Hash, Height};
use engine::store::{HistoryError, StoreError};

use crate::format::{Flaw, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};

/// Why a log cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process, or another part of this one, writes this log.
    #[error(
        "{path} is locked: this log is being written, by another process or elsewhere in this one; stop that first"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// There is no log in this directory.
    #[error("{dir} holds no log: there is no file LOG")]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// There are segments, and the file that says what they are is gone.
    #[error(
        "{dir} holds segments but no file LOG: put it back from a backup, nothing can be read without it"
    )]
    LogFileLost {
        /// The directory.
        dir: PathBuf,
    },
    /// The log belongs to another genesis document.
    #[error("{dir} holds the log of genesis {found}, expected genesis {expected}")]
    WrongGenesis {
        /// The directory.
        dir: PathBuf,
        /// The genesis of the log.
        found: Hash,
        /// That of the caller.
        expected: Hash,
    },
    /// The log belongs to another main chain.
    #[error("{dir} holds the log of main chain {found}, expected {expected}")]
    WrongChain {
        /// The directory.
        dir: PathBuf,
        /// The main chain of the log.
        found: ChainId,
        /// That of the caller.
        expected: ChainId,
    },
    /// An impossible size of segments was asked for.
    #[error(
        "segment_bytes is {bytes}, expected a multiple of 4096 from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
    )]
    SegmentBytes {
        /// What was asked for.
        bytes: u64,
    },
    /// A part of the log is not what was written there.
    #[error("{file} is damaged at byte {offset}, {part}: {flaw}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Which part.
        part: Part,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The segment that held these blocks cannot be read. All others can.
    #[error("{} cannot be read: {cause}", lost(*first, *last))]
    Lost {
        /// The first of them.
        first: Height,
        /// The last of them; below the first when it is not known which they are.
        last: Height,
        /// What is wrong with the segment.
        cause: Arc<Error>,
    },
    /// A file that must be there is not.
    #[error("{file} is missing: {why}")]
    Missing {
        /// The file.
        file: PathBuf,
        /// Why it must be there.
        why: &'static str,
    },
    /// The operations that are kept are not those that a main block commits to, so the registry of side chains cannot be
    /// known. The blocks themselves can be read.
    #[error(
        "{file} {}main block {height} commits to by its ops_root; put the file back from a snapshot or a backup of this \
         log that has this block",
        if *missing { "is missing, and with it the operations that " } else { "does not hold the operations that " }
    )]
    Operations {
        /// The file.
        file: PathBuf,
        /// The first block found whose operations are not there.
        height: Height,
        /// Whether there is no such file.
        missing: bool,
    },
    /// A segment file has another length than all segments of this log.
    #[error("{file} has {found} bytes, expected {expected}")]
    SegmentLength {
        /// The file.
        file: PathBuf,
        /// Its length.
        found: u64,
        /// That of a segment.
        expected: u64,
    },
    /// A segment file became shorter while it was mapped. What was read of it since is not served.
    #[error(
        "{file} was cut short while it was mapped: it has {found} bytes, expected {expected}; the log never does \
         that, so look for the program that did, put the file back from a backup and open the log again"
    )]
    Shrunk {
        /// The file.
        file: PathBuf,
        /// Its length by now.
        found: u64,
        /// That of a segment.
        expected: u64,
    },
    /// No space for the next segment. Nothing was written: the log is as it was, and goes on once there is space.
    #[error(
        "no space for {file} ({bytes} bytes): {source}; make room and start again: what is durable stays so"
    )]
    DiskFull {
        /// The segment that could not be made.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The block does not fit an empty segment. Nothing was written.
    #[error(
        "block {height} needs {bytes} bytes of a segment with its index, and a segment has {segment_bytes}: seal \
         smaller blocks, or make the log with larger segments"
    )]
    TooLarge {
        /// The block.
        height: Height,
        /// What it needs.
        bytes: u64,
        /// The size of a segment.
        segment_bytes: u64,
    },
    /// The block is not one that can follow. Nothing was written.
    #[error("block {height} cannot be appended: {flaw}")]
    Refused {
        /// The block.
        height: Height,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The block would index a side block again. Nothing was written.
    #[error(
        "block {height} cannot be appended: its blocks of chain {chain} begin at {got}, and {head} is indexed"
    )]
    Indexed {
        /// The block.
        height: Height,
        /// The side chain.
        chain: ChainId,
        /// Where the block's section begins.
        got: Height,
        /// The newest indexed height of the chain.
        head: Height,
    },
    /// A height that is none of the log's. Nothing was changed.
    #[error("{what} is {height}, expected a main block from {first} to {last}")]
    NoSuchBlock {
        /// What was to be done with it.
        what: &'static str,
        /// What was asked for.
        height: Height,
        /// The lowest that can be.
        first: Height,
        /// The highest that can be.
        last: Height,
    },
    /// Blocks that may not be taken back. Nothing was changed.
    #[error("cannot roll back to block {to}: {why}")]
    Irreversible {
        /// The block that was to become the newest one.
        to: Height,
        /// Why not.
        why: String,
    },
    /// The history of the main headers cannot be read.
    #[error("the history of the main headers cannot be read: {0}")]
    History(#[from] HistoryError),
    /// An earlier write or sync failed, after which nobody knows what is on disk.
    #[error("the log takes no more since an earlier failure ({cause}): open it again")]
    Failed {
        /// The earlier failure.
        cause: String,
    },
}

/// A part of a log, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole file.
    File,
    /// The header of a segment.
    SegmentHeader,
    /// A record, by its number: the height of its main block.
    Record(u64),
    /// The index of a sealed segment: one of its tables.
    Index(&'static str),
    /// The trailer of a sealed segment.
    Trailer,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::SegmentHeader => f.write_str("the segment's header"),
            Self::Record(number) => write!(f, "record {number}"),
            Self::Index(table) => write!(f, "the segment's table of {table}"),
            Self::Trailer => f.write_str("the segment's trailer"),
        }
    }
}

fn lost(first: Height, last: Height) -> String {
    match last.0.checked_sub(first.0) {
        None => format!("a segment after main block {last}"),
        Some(0) => format!("main block {first}"),
        Some(_) => format!("main blocks {first} to {last}"),
    }
}

impl Error {
    /// For `map_err`: an error of the operating system, with what was tried on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, part: Part, flaw: Flaw) -> Self {
        Self::Damaged { file: file.to_owned(), offset, part, flaw }
    }

    /// The version of a file that another version of this program wrote, and the one that this one knows, if that is why.
    pub fn other_version(&self) -> Option<(u64, u64)> {
        match self {
            Self::Damaged { flaw, .. } => flaw.other_version(),
            _ => None,
        }
    }

    /// Whether the writer is as it was before the call, and may be used again.
    pub fn leaves_log_usable(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. }
                | Self::TooLarge { .. }
                | Self::Refused { .. }
                | Self::Indexed { .. }
                | Self::Irreversible { .. }
                | Self::NoSuchBlock { .. }
        )
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}
