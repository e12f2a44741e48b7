//! Faults planted between the log and its medium, each as if the log did not make some call, or made it too early.
//! Those that no medium can show are in the log itself, as `planted!("...")`.
//!
//! Only the unit tests of this crate have them, and one of them at most is at work: the one that MAINSTEM_CRASH_BUG names.
//! `cargo xtask crash` names each fault in `bugs.txt`, and wants it found.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use super::options;
use super::sim::Sim;
use crate::{Medium, MediumFile};

/// Whether this fault is at work.
pub(crate) fn is(fault: &str) -> bool {
    static PLANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MAINSTEM_CRASH_BUG").ok());
    PLANTED.as_deref() == Some(fault)
}

/// What the log writes by.
pub(super) fn medium(sim: &Sim) -> Arc<dyn Medium> {
    Arc::new(Planted { sim: sim.clone(), based: AtomicBool::new(false) })
}

struct Planted {
    sim: Sim,
    /// The base got its name, which was not synced yet.
    based: AtomicBool,
}

impl Medium for Planted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(PlantedFile::of(self.sim.create(path)?, path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(PlantedFile::of(self.sim.open(path)?, path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.based.store(to.ends_with("BASE"), Ordering::Relaxed);
        self.sim.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let based = self.based.swap(false, Ordering::Relaxed);
        if planted!("dir_not_synced") || planted!("prune_before_base") && based {
            return Ok(());
        }
        self.sim.sync_dir(dir)
    }
}

struct PlantedFile {
    file: Box<dyn MediumFile>,
    kind: Kind,
    /// Writes since the last sync.
    writes: Cell<usize>,
    last: Cell<Write>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mark,
    Base,
    Operations,
    /// A segment, or what is to become one.
    Segment,
    Other,
}

/// The newest write to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Header,
    Record,
    Seal,
}

impl PlantedFile {
    fn of(file: Box<dyn MediumFile>, path: &Path) -> Box<dyn MediumFile> {
        let kind = match path.file_name().and_then(|name| name.to_str()) {
            Some("MARK.tmp") => Kind::Mark,
            Some("BASE.tmp") => Kind::Base,
            Some("OPERATIONS.tmp") => Kind::Operations,
            Some(name) if name.starts_with("00") => Kind::Segment,
            _ => Kind::Other,
        };
        Box::new(Self { file, kind, writes: Cell::new(0), last: Cell::new(Write::Record) })
    }
}

impl MediumFile for PlantedFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let seal = offset + bytes.len() as u64 == options().segment_bytes;
        let kind = match offset {
            0 => Write::Header,
            _ if seal => Write::Seal,
            _ => Write::Record,
        };
        if planted!("recycled_not_cleared") && kind == Write::Record && bytes == [0; 64] {
            return Ok(());
        }
        if planted!("ack_before_batch") && kind == Write::Record && self.writes.get() > 0 {
            self.file.sync()?;
        }
        self.last.set(kind);
        self.writes.set(self.writes.get() + 1);
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let writes = self.writes.take();
        let skip = match (self.kind, self.last.get()) {
            (Kind::Mark, _) => planted!("mark_not_synced"),
            (Kind::Base, _) => planted!("base_not_synced"),
            (Kind::Operations, _) => planted!("operations_not_synced"),
            (Kind::Segment, Write::Header) => planted!("growth_not_synced"),
            (Kind::Segment, Write::Record) => {
                planted!("no_sync_before_ack") || planted!("ack_before_batch") && writes > 1
            }
            (Kind::Segment, Write::Seal) => planted!("no_barrier"),
            (Kind::Other, _) => false,
        };
        if skip {
            return Ok(());
        }
        let done = self.file.sync();
        if planted!("retry_after_failed_sync") && done.is_err() { self.file.sync() } else { done }
    }
}
