//! [`Map`]: a segment file, mapped for reading. The only file with `unsafe`.
//!
//! # Ownership
//! The map is shared with the page cache, and so with whoever writes the file. A Rust slice may not change while
//! it is borrowed; what keeps that true is the *published length*: bytes below it are never written again, and
//! no slice reaches above it. The log is written by `pwrite` on the file, never through a map.
//!
//! # Deliberately absent
//! A handler for SIGBUS: a process that shortens a segment file under us, against `docs/format.md`, kills us.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// A read-only map of a whole segment file, of which the published part can be seen.
#[derive(Debug)]
pub(crate) struct Map {
    raw: MmapRaw,
    /// How many bytes from the start are final. Written by the one who knows (the log's writer, or a reader that
    /// checked them); grows, never shrinks. A reader that sees it late sees less.
    published: AtomicU64,
}

impl Map {
    /// Maps the first `bytes` of `file`, none of them published yet. A shorter file is an error.
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<Self> {
        let found = file.metadata()?.len();
        if found < bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {found} bytes, expected {bytes}"),
            ));
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let raw = MmapOptions::new().len(length).map_raw_read_only(file)?;
        Ok(Self { raw, published: AtomicU64::new(0) })
    }

    /// A map of no file: it never shows anything.
    pub(crate) fn blank() -> io::Result<Self> {
        let raw = MmapRaw::from(MmapOptions::new().len(1 << 16).map_anon()?);
        Ok(Self { raw, published: AtomicU64::new(0) })
    }

    /// Lets everyone see the bytes below `length`. They must be in the file and must never change again.
    pub(crate) fn publish(&self, length: u64) {
        assert!(length <= self.raw.len() as u64, "published {length} bytes of a map of {}", self.raw.len());
        // The bytes themselves come from the page cache, not from this thread's stores; Release orders what the
        // publisher did before (its checks, its pwrite) with the Acquire in `get`.
        self.published.fetch_max(length, Ordering::Release);
    }

    /// `length` bytes from `offset` on; `None` unless all of them are published.
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
        // byte is initialised by the kernel. Published bytes are never written again: the writer appends above
        // them, recovery only ever rewrites bytes above the durable prefix or equal ones, and another writer is
        // kept out by the lock of the log.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_published_bytes_are_seen() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&[7; 8192]).expect("written");
        assert!(Map::new(&file, 8193).is_err());
        let map = Map::new(&file, 8192).expect("mapped");
        assert_eq!(map.get(0, 1), None);
        map.publish(100);
        map.publish(50);
        assert_eq!(map.get(0, 100), Some(&[7; 100][..]));
        assert_eq!(map.get(99, 1), Some(&[7][..]));
        assert_eq!(map.get(100, 0), Some(&[][..]));
        for (offset, length) in [(0, 101), (100, 1), (101, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert_eq!(map.get(offset, length), None);
        }
    }
}
