//! [`CrashState`]: a content of the disk that a power loss may leave, and [`Image`], the content itself.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::Outcome;
use crate::support::Rng;
use crate::write_log::{Entry, Kind, WriteLog};

const PAGE: usize = 4096;
const SECTOR: u64 = 512;

/// The power goes after the first `cut` entries. What came before the last flush among them is on the disk, and of
/// the writes after it `kept` says which part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CrashState {
    pub(crate) cut: usize,
    pub(crate) kept: Kept,
}

/// What is on the disk of the writes that no flush followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// Everything but the end of the newest one: it is torn between two sectors.
    Torn(u64),
    /// The newest one only, as if it had overtaken the others.
    Newest,
    /// Some of them.
    Writes(u64),
    /// Some of their sectors.
    Sectors(u64),
}

impl CrashState {
    /// State `index` of `of`: they are spread over all flushes, and random within.
    pub(crate) fn choose(seed: u64, index: usize, of: usize, log: &WriteLog) -> Self {
        let mut rng = Rng(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Between two flushes lies a gap; the first begins with the list.
        let flushes = log.entries.iter().enumerate().filter(|(_, entry)| entry.kind == Kind::Flush);
        let mut edges: Vec<usize> = std::iter::once(0).chain(flushes.map(|(at, _)| at + 1)).collect();
        edges.push(log.entries.len() + 1);
        let gaps = edges.len() - 1;
        let gap = if of >= gaps { index % gaps } else { index * gaps / of };
        // The last place in a gap is just before the flush is done.
        let (first, last) = (edges[gap], edges[gap + 1] - 1);
        let cut = match rng.below(4) {
            0 => first + rng.below((last - first) as u64 + 1) as usize,
            _ => last,
        };
        let kept = match rng.below(8) {
            0 => Kept::Nothing,
            1 => Kept::All,
            2 => Kept::Torn(rng.next()),
            3 => Kept::Newest,
            4 | 5 => Kept::Writes(rng.next()),
            _ => Kept::Sectors(rng.next()),
        };
        Self { cut, kept }
    }

    /// Where the list of writes ended when the power went, in bytes.
    pub(crate) fn position(&self, log: &WriteLog) -> u64 {
        self.cut.checked_sub(1).map_or(0, |last| log.entries[last].end)
    }

    /// The first entry that no flush before the cut made durable.
    pub(crate) fn first_pending(&self, log: &WriteLog) -> usize {
        log.entries[..self.cut].iter().rposition(|entry| entry.kind == Kind::Flush).map_or(0, |at| at + 1)
    }

    /// Does the pending writes, or what is kept of them, to `image`, on which all before is done.
    pub(crate) fn apply(&self, log: &WriteLog, image: &mut Image) {
        let pending = &log.entries[self.first_pending(log)..self.cut];
        let mut rng = match self.kept {
            Kept::Torn(seed) | Kept::Writes(seed) | Kept::Sectors(seed) => Rng(seed),
            _ => Rng(0),
        };
        for (index, entry) in pending.iter().enumerate() {
            let newest = index == pending.len() - 1;
            let data = log.data(entry);
            match self.kept {
                Kept::Nothing => {}
                Kept::All => image.apply(entry, data),
                Kept::Newest => image.apply_sectors(entry, data, |_| newest),
                Kept::Writes(_) => {
                    let keep = rng.below(2) == 0;
                    image.apply_sectors(entry, data, |_| keep);
                }
                Kept::Torn(_) => {
                    let sectors = entry.length / SECTOR;
                    let kept = if newest { rng.below(sectors + 1) } else { sectors } * SECTOR;
                    image.apply_sectors(entry, data, |at| at < kept);
                }
                Kept::Sectors(_) => image.apply_sectors(entry, data, |_| rng.below(2) == 0),
            }
        }
    }
}

impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.cut)?;
        match self.kept {
            Kept::Nothing => f.write_str("nothing"),
            Kept::All => f.write_str("all"),
            Kept::Newest => f.write_str("newest"),
            Kept::Torn(seed) => write!(f, "torn:{seed:x}"),
            Kept::Writes(seed) => write!(f, "writes:{seed:x}"),
            Kept::Sectors(seed) => write!(f, "sectors:{seed:x}"),
        }
    }
}

impl FromStr for CrashState {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Outcome<Self> {
        let bad = || format!("state {text}: expected CUT:KEPT or CUT:KEPT:SEED, as a failed run prints it");
        let mut parts = text.splitn(3, ':');
        let cut = parts.next().and_then(|cut| cut.parse().ok()).ok_or_else(bad)?;
        let name = parts.next().ok_or_else(bad)?;
        let seed = parts.next().map(|seed| u64::from_str_radix(seed, 16)).transpose()?;
        let kept = match (name, seed) {
            ("nothing", None) => Kept::Nothing,
            ("all", None) => Kept::All,
            ("newest", None) => Kept::Newest,
            ("torn", Some(seed)) => Kept::Torn(seed),
            ("writes", Some(seed)) => Kept::Writes(seed),
            ("sectors", Some(seed)) => Kept::Sectors(seed),
            _ => return Err(bad().into()),
        };
        Ok(Self { cut, kept })
    }
}

/// The content of a disk. A copy shares its pages until one of the two changes them.
#[derive(Clone)]
pub(crate) struct Image {
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Image {
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = std::fs::read(path)?;
        let zeros = [0; PAGE];
        let pages = bytes.chunks_exact(PAGE).map(|page| {
            let page: [u8; PAGE] = page.try_into().expect("a whole page");
            (page != zeros).then(|| Arc::new(page))
        });
        Ok(Self { pages: pages.collect() })
    }

    pub(crate) fn apply(&mut self, entry: &Entry, data: &[u8]) {
        self.apply_sectors(entry, data, |_| true);
    }

    /// Applies those sectors for which `keep` says so by their distance from the entry's first, in bytes.
    fn apply_sectors(&mut self, entry: &Entry, data: &[u8], mut keep: impl FnMut(u64) -> bool) {
        let mut unit_kept = false;
        for at in (0..entry.length).step_by(SECTOR as usize) {
            let on_disk = entry.start + at;
            // Ext4 checks its superblock as a whole (1024 bytes at 1024) and trusts its disk not to tear it. Where it
            // lies is not ours to test: the first page is kept or lost as one.
            if on_disk >= PAGE as u64 || on_disk == 0 || at == 0 {
                unit_kept = keep(at);
            }
            if !unit_kept {
                continue;
            }
            let (page, within) = ((on_disk / PAGE as u64) as usize, (on_disk % PAGE as u64) as usize);
            let Some(slot) = self.pages.get_mut(page) else { continue };
            let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE])));
            let sector = &mut page[within..within + SECTOR as usize];
            match data.get(at as usize..(at + SECTOR) as usize) {
                Some(data) => sector.copy_from_slice(data),
                None => sector.fill(0),
            }
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        let page = |page: &Option<Arc<[u8; PAGE]>>| page.as_deref().copied().unwrap_or([0; PAGE]);
        self.pages.len() == other.pages.len()
            && self.pages.iter().zip(&other.pages).all(|(a, b)| page(a) == page(b))
    }

    /// Writes it as a new sparse file.
    pub(crate) fn write(&self, path: &Path) -> Outcome {
        let file = File::create(path)?;
        file.set_len((self.pages.len() * PAGE) as u64)?;
        for (index, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                file.write_all_at(&page[..], (index * PAGE) as u64)?;
            }
        }
        Ok(())
    }
}
