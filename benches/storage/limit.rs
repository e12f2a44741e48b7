//! The limits: as many bytes as the log writes for a block, written and synced plainly, or copied in memory.
//!
//! The bytes come from one page-aligned buffer: a copy between addresses that differ by a few bytes within their
//! pages is many times slower on some processors, and that would be no limit.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use engine::chain::MainBlock;
use rustix::fs::FallocateFlags;

use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::Rng;

/// A limit.
pub(crate) struct Limit {
    pub(crate) way: Way,
    /// Bytes of the file that is preallocated or overwritten. A run that needs more begins again at its start, as a
    /// log that uses its files again would.
    pub(crate) file_bytes: u64,
    /// At least the bytes of the largest block.
    pub(crate) source_bytes: usize,
}

/// How the bytes are written.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// `pwrite` at the end of a new file, `fdatasync`.
    Append,
    /// `pwrite` into a new file whose space was reserved by `fallocate`, `fdatasync`.
    Preallocated,
    /// `pwrite` over a file that was written and synced before and is in the page cache, `fdatasync`.
    Overwrite,
    /// Copying into memory that was touched before.
    Copy,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Append, Self::Preallocated, Self::Overwrite, Self::Copy];
}

/// Filled once, for all runs.
static SOURCE: OnceLock<Aligned> = OnceLock::new();

impl Candidate for Limit {
    fn name(&self) -> String {
        match self.way {
            Way::Append => "limit: pwrite + fdatasync, new file",
            Way::Preallocated => "limit: pwrite + fdatasync, preallocated",
            Way::Overwrite => "limit: pwrite + fdatasync, recycled",
            Way::Copy => "limit: memcpy",
        }
        .into()
    }

    fn kind(&self) -> Kind {
        match self.way {
            Way::Append | Way::Preallocated => Kind::FreshLimit,
            Way::Overwrite => Kind::RecycledLimit,
            Way::Copy => Kind::CopyLimit,
        }
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let source = SOURCE.get_or_init(|| Aligned::noise(self.source_bytes));
        if matches!(self.way, Way::Copy) {
            let target = Aligned::noise(self.source_bytes);
            return job(&mut Copier { source, target });
        }
        let file = OpenOptions::new().write(true).create_new(true).open(dir.join("plain"))?;
        match self.way {
            Way::Preallocated => rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.file_bytes)?,
            Way::Overwrite => {
                for offset in (0..self.file_bytes).step_by(1 << 20) {
                    file.write_all_at(&source.bytes()[..1 << 20], offset)?;
                }
            }
            Way::Append | Way::Copy => {}
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        job(&mut Plain {
            file,
            source,
            offset: 0,
            file_bytes: self.file_bytes,
            wraps: !matches!(self.way, Way::Append),
        })
    }

    fn read(&self, _dir: &Path, _job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        bail!("a limit stores nothing that could be read")
    }
}

struct Plain {
    file: File,
    source: &'static Aligned,
    offset: u64,
    file_bytes: u64,
    wraps: bool,
}

impl Writer for Plain {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        let bytes = record_bytes(block);
        if self.wraps && self.offset + bytes as u64 > self.file_bytes {
            self.offset = 0;
        }
        self.file.write_all_at(&self.source.bytes()[..bytes], self.offset)?;
        self.file.sync_data()?;
        self.offset += bytes as u64;
        Ok(())
    }
}

struct Copier {
    source: &'static Aligned,
    target: Aligned,
}

impl Writer for Copier {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        let bytes = record_bytes(block);
        self.target.bytes_mut()[..bytes].copy_from_slice(black_box(&self.source.bytes()[..bytes]));
        black_box(self.target.bytes());
        Ok(())
    }
}

/// Bytes of the record that the log writes for this block (`docs/format.md`).
fn record_bytes(block: &MainBlock) -> usize {
    let nodes = block.chain_nodes.len() + block.side_nodes.len() + block.history_nodes.len();
    let slices = block.columns.len() * 72 + nodes * 32 + block.sections.len() * 88;
    64 + (slices.next_multiple_of(4) + 316).next_multiple_of(64)
}

/// Memory that begins at a page.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Aligned {
    fn noise(bytes: usize) -> Self {
        let mut rng = Rng(bytes as u64);
        let mut memory = vec![0; bytes + 4096];
        for part in memory.chunks_exact_mut(8) {
            part.copy_from_slice(&rng.next().to_le_bytes());
        }
        let start = memory.as_ptr().align_offset(4096);
        Self { memory, start, bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}
