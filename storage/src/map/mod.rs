//! [`Map`]: a segment file, mapped for reading. The only module with `unsafe`.
//!
//! # Ownership
//! The map is shared with the page cache, and so with whoever writes the file. A Rust slice may not change while
//! it is borrowed; what keeps that true is the *published length*: bytes below it are never written again, and
//! no slice reaches above it. The log is written by `pwrite` on the file, never through a map.
//!
//! # When pages go away
//! A program that shortens a segment file under us breaks `docs/format.md`, and a disk may fail to give a page back.
//! The kernel answers a read of such a page by SIGBUS. [`faults`] turns that into zeros and a note of which bytes
//! are *lost*; whoever made something of bytes of a map asks [`Map::vouch`] afterwards, so that zeros never leave
//! the log as an answer. The zeros do change bytes under a borrowed slice, as truncation does by itself. So what
//! reads a slice must stay inside its bounds whatever the bytes are, also when they differ from those it checked:
//! indexes and lengths from the file go through `get`, and sums of them do not overflow.

mod faults;
#[cfg(test)]
mod tests;
mod users;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use crate::error::Error;
use crate::files::ReadersLock;
use faults::Guard;
use users::User;
pub(crate) use users::is_mapped;

/// A read-only map of a whole segment file, of which the published part can be seen.
#[derive(Debug)]
pub(crate) struct Map {
    /// Watches the addresses of `raw`. Declared, and so dropped, first: once the addresses are given back they may
    /// become someone else's.
    guard: Guard,
    raw: MmapRaw,
    /// Keeps the file from being written again. Dropped after `raw`; none of a map of no file.
    _user: Option<User>,
    /// How many bytes from the start are final. Written by the one who knows (the log's writer, or a reader that
    /// checked them); grows, never shrinks. A reader that sees it late sees less.
    published: AtomicU64,
    /// The file, for errors.
    path: PathBuf,
}

impl Map {
    /// Maps the first `bytes` of `file`, which is at `path`, none of them published yet. A shorter file is an
    /// error. The first map of the process installs its handler of SIGBUS.
    ///
    /// While it lives, the file is not written again: not by this process, and not by another one if `share` is this
    /// one's share of the readers' lock.
    pub(crate) fn new(
        file: &File,
        path: &Path,
        bytes: u64,
        share: Option<Arc<ReadersLock>>,
    ) -> io::Result<Self> {
        let found = file.metadata()?.len();
        if found < bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {found} bytes, expected {bytes}"),
            ));
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        if length < Self::PEEK {
            return Err(io::Error::other(format!(
                "a map of {length} bytes, expected at least {}",
                Self::PEEK
            )));
        }
        let user = Some(User::new(file, share)?);
        let raw = MmapOptions::new().len(length).map_raw_read_only(file)?;
        // Nobody reads the map before it is watched.
        let guard = Guard::new(raw.as_ptr().addr(), length)?;
        Ok(Self { guard, raw, _user: user, published: AtomicU64::new(0), path: path.to_owned() })
    }

    /// A map of no file: it never shows anything.
    pub(crate) fn blank() -> io::Result<Self> {
        let raw = MmapRaw::from(MmapOptions::new().len(1 << 16).map_anon()?);
        let guard = Guard::new(raw.as_ptr().addr(), raw.len())?;
        Ok(Self { guard, raw, _user: None, published: AtomicU64::new(0), path: PathBuf::new() })
    }

    /// Lets everyone see the bytes below `length`. They must be in the file and must never change again.
    pub(crate) fn publish(&self, length: u64) {
        assert!(length <= self.raw.len() as u64, "published {length} bytes of a map of {}", self.raw.len());
        // The bytes themselves come from the page cache, not from this thread's stores; Release orders what the
        // publisher did before (its checks, its pwrite) with the Acquire in `get`.
        self.published.fetch_max(length, Ordering::Release);
    }

    /// `length` bytes from `offset` on; `None` unless all of them are published. Says nothing about whether they
    /// are still there: [`Map::vouch`] does, afterwards.
    pub(crate) fn get(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        // Synchronises with the Release in `publish`.
        if end as u64 > self.published.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: `end` is at most `published`, which `publish` keeps at most the length of the map, so the sum
        // stays inside one mapping.
        let start = unsafe { self.raw.as_ptr().add(offset) };
        // SAFETY: the range is inside the mapping, which lives as long as `self`; u8 needs no alignment; every
        // byte is initialised by the kernel, and reading one that is gone gives zero (`faults`). Published bytes
        // are never written again: the writer appends above them, recovery only ever rewrites bytes above the
        // durable prefix or equal ones, and another writer is kept out by the lock of the log.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }

    /// What was made of the bytes in `range`, right or wrong, if they were there all the time that it took: else
    /// the error that says that they were not. To be asked *after* the last read of them.
    ///
    /// Costs a read of the last page and two loads. The read notices that the file became shorter by a page or more
    /// even when no read of `range` did: of the page that was cut through, the kernel fills the rest with zeros and
    /// sends no signal.
    pub(crate) fn vouch<T>(&self, range: Range<usize>, result: Result<T, Error>) -> Result<T, Error> {
        self.peek(self.raw.len().saturating_sub(Self::PEEK));
        // The reads before, be they ours or the caller's, come before the load of the note. On this thread a
        // handler ran at the read that it served, so the note is older than the zeros. On another thread the
        // handler writes the note before it puts zeros in place, by a system call: who reads zeros reads after
        // that, and by this fence looks for the note after it read. (Pairs with `Guard::contain`.)
        fence(Ordering::Acquire);
        match self.guard.lost() {
            None => result,
            Some(lost) => self.explain(lost, &range).map_or(result, Err),
        }
    }

    /// The error that says so, if the file has become shorter than the map.
    pub(crate) fn shrunk(&self) -> Option<Error> {
        let expected = self.raw.len() as u64;
        let found = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        (found < expected).then(|| Error::Shrunk { file: self.path.clone(), found, expected })
    }

    /// Why what is in `range` cannot be trusted when reads met that `lost` was gone; `None` if it can be.
    #[cold]
    fn explain(&self, lost: Range<usize>, range: &Range<usize>) -> Option<Error> {
        let whole = self.raw.len();
        let shrunk = self.shrunk();
        let lost = match &shrunk {
            // All that lies behind the cut is gone, whether or not a read has met it.
            Some(Error::Shrunk { found, .. }) => lost.start.min(*found as usize)..whole,
            // The end was gone and the file has its length again: who knows how short it was in between, and what
            // was written since.
            _ if lost.end >= whole => 0..whole,
            _ => lost,
        };
        if range.end <= lost.start || lost.end <= range.start {
            return None;
        }
        shrunk.or_else(|| {
            let (start, end) = (lost.start, lost.end);
            let source = io::Error::other(format!(
                "bytes {start} to {end} could not be had when they were needed: see the kernel's log for the disk"
            ));
            Some(Error::Io { action: "read", path: self.path.clone(), source })
        })
    }

    const PEEK: usize = 8;

    /// What stands at `offset` now, published or not, after all reads before this one.
    pub(crate) fn peek(&self, offset: usize) -> [u8; Self::PEEK] {
        assert!(offset.checked_add(Self::PEEK).is_some_and(|end| end <= self.raw.len()), "inside of the map");
        // As in `vouch`.
        fence(Ordering::Acquire);
        // SAFETY: inside the mapping, by the assertion.
        let start = unsafe { self.raw.as_ptr().add(offset) };
        // SAFETY: the range is inside the mapping, which lives as long as `self`; bytes need no alignment. Only the
        // kernel may be writing there (a `pwrite` on the file), and a volatile read takes what it finds.
        unsafe { start.cast::<[u8; Self::PEEK]>().read_volatile() }
    }
}
