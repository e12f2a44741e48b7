//! [`Disk`]: files and names as a disk may hold them when the power goes.
//!
//! # What a crash may do
//! - Contents: each sector of 512 bytes holds any version that it had since it was last made durable, whatever the
//!   other sectors hold. A later version includes the earlier ones: the page cache writes whole sectors.
//! - Length: that of the last sync, or any that the file got since; what is cut off is gone.
//! - Names: what was created, renamed and removed since the directory was last synced is done up to some point; or
//!   all of it but one change, since file systems reorder independent ones.
//! - A failed sync leaves each sector in any of its versions, and no later sync changes that: the page cache takes
//!   the pages for clean. Only writing them again makes them certain.
//!
//! # What it may not do
//! Change what is durable (that is damage, not a crash), tear a sector, or forget a failed sync of the directory:
//! journals either keep such a change for the next sync or refuse everything from then on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

pub(super) const SECTOR: usize = 512;
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];

pub(super) type Name = Arc<str>;
/// All files of a directory.
pub(super) type Image = BTreeMap<Name, Content>;

/// The contents of a file, in pages that copies share. `None` is a page of zeros.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) len: usize,
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Content {
    fn resize(&mut self, len: usize) {
        self.len = len;
        self.pages.resize(len.div_ceil(PAGE), None);
        // Bytes behind the end are zeros, so that equal contents have equal pages.
        if let Some(Some(last)) = self.pages.last_mut()
            && !len.is_multiple_of(PAGE)
            && last[len % PAGE..] != ZEROS[len % PAGE..]
        {
            Arc::make_mut(last)[len % PAGE..].fill(0);
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset + bytes.len() > self.len {
            self.resize(offset + bytes.len());
        }
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done;
            let part = (PAGE - at % PAGE).min(bytes.len() - done);
            self.page(at / PAGE)[at % PAGE..][..part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    fn page(&mut self, index: usize) -> &mut [u8; PAGE] {
        Arc::make_mut(self.pages[index].get_or_insert_with(|| Arc::new(ZEROS)))
    }

    fn sector(&self, index: usize) -> &[u8; SECTOR] {
        let at = index * SECTOR;
        let page = self.pages.get(at / PAGE).and_then(Option::as_deref).unwrap_or(&ZEROS);
        page[at % PAGE..][..SECTOR].try_into().expect("as long as a sector")
    }

    fn set_sector(&mut self, index: usize, bytes: &[u8; SECTOR]) {
        let at = index * SECTOR;
        if at < self.len && self.sector(index) != bytes {
            self.page(at / PAGE)[at % PAGE..][..SECTOR].copy_from_slice(bytes);
        }
    }

    /// The pages that differ from those of `other`, with their offsets, up to the end of the file.
    pub(super) fn changed_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.pages.iter().enumerate().filter_map(move |(index, page)| {
            let old = other.pages.get(index).unwrap_or(&None);
            let same = match (page, old) {
                (None, None) => true,
                (Some(new), Some(old)) => Arc::ptr_eq(new, old) || new == old,
                (Some(page), None) | (None, Some(page)) => **page == ZEROS,
            };
            let bytes = page.as_deref().unwrap_or(&ZEROS);
            (!same).then(|| (index * PAGE, &bytes[..PAGE.min(self.len - index * PAGE)]))
        })
    }

    /// Takes over a part of `other`, up to the shorter end; says whether that changed anything.
    pub(super) fn overlay(&mut self, other: &Self, part: std::ops::Range<usize>) -> bool {
        let mut changed = false;
        let end = part.end.min(other.len).min(self.len);
        let mut at = part.start;
        while at < end {
            let stop = (at / PAGE * PAGE + PAGE).min(end);
            let old = other.pages[at / PAGE].as_deref().unwrap_or(&ZEROS);
            let now = self.pages[at / PAGE].as_deref().unwrap_or(&ZEROS);
            let range = at % PAGE..at % PAGE + (stop - at);
            if now[range.clone()] != old[range.clone()] {
                self.page(at / PAGE)[range.clone()].copy_from_slice(&old[range]);
                changed = true;
            }
            at = stop;
        }
        changed
    }

    fn hash_into(&self, hasher: &mut Xxh3) {
        hasher.update(&self.len.to_le_bytes());
        for (index, page) in self.pages.iter().enumerate() {
            if let Some(page) = page
                && **page != ZEROS
            {
                hasher.update(&index.to_le_bytes());
                hasher.update(&page[..]);
            }
        }
    }
}

/// A number for the contents of a directory: equal for equal ones.
pub(super) fn fingerprint(image: &Image) -> u64 {
    let mut hasher = Xxh3::new();
    for (name, content) in image {
        hasher.update(name.as_bytes());
        content.hash_into(&mut hasher);
    }
    hasher.digest()
}

/// One call to the medium. Files are named by the number of the call among those that opened a file.
#[derive(Clone)]
pub(super) enum Event {
    Create {
        name: Name,
    },
    Open {
        name: Name,
    },
    Allocate {
        file: usize,
        bytes: usize,
    },
    Write {
        file: usize,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Sync {
        file: usize,
    },
    SyncFailed {
        file: usize,
    },
    Rename {
        from: Name,
        to: Name,
    },
    Remove {
        name: Name,
    },
    SyncDir,
    /// It failed and did nothing.
    Nothing,
}

impl Event {
    /// Its kind, for counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Open { .. } => "open",
            Self::Allocate { .. } => "allocate",
            Self::Write { .. } => "write",
            Self::Sync { .. } => "sync",
            Self::SyncFailed { .. } => "failed sync",
            Self::Rename { .. } => "rename",
            Self::Remove { .. } => "remove",
            Self::SyncDir => "sync of the directory",
            Self::Nothing => "failed call",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Create { name } | Self::Open { name } | Self::Remove { name } => write!(f, " {name}"),
            Self::Allocate { file, bytes } => write!(f, " #{file}: {bytes} bytes"),
            Self::Write { file, offset, bytes } => write!(f, " #{file}: {} bytes at {offset}", bytes.len()),
            Self::Sync { file } | Self::SyncFailed { file } => write!(f, " #{file}"),
            Self::Rename { from, to } => write!(f, " {from} to {to}"),
            Self::SyncDir | Self::Nothing => Ok(()),
        }
    }
}

/// Files and names, what of them is durable, and what is pending.
#[derive(Clone, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<Name, usize>,
    durable_names: BTreeMap<Name, usize>,
    changes: Vec<Change>,
    /// The file of each opening.
    opened: Vec<usize>,
}

#[derive(Clone, Default)]
struct File {
    durable: Content,
    cache: Content,
    /// Lengths since the last sync.
    lengths: Versions<usize>,
    /// Sectors written since the last sync, by number.
    sectors: BTreeMap<usize, Versions<[u8; SECTOR]>>,
}

/// What something was since it was last durable, oldest first.
#[derive(Clone)]
struct Versions<T> {
    list: Vec<T>,
    /// Whether a sync would write it.
    dirty: bool,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self { list: Vec::new(), dirty: false }
    }
}

#[derive(Clone)]
enum Change {
    Link { name: Name, file: usize },
    Rename { from: Name, to: Name },
    Remove { name: Name },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<Name, usize>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            // Where the file has not got its old name, an earlier change was lost, and this one with it.
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.cache.len {
            self.lengths.list.push(end);
            self.lengths.dirty = true;
        }
        self.cache.write(offset, bytes);
        for index in offset / SECTOR..end.div_ceil(SECTOR) {
            let now = self.cache.sector(index);
            let versions = self.sectors.entry(index).or_default();
            if versions.list.last().unwrap_or(self.durable.sector(index)) != now {
                versions.list.push(*now);
            }
            versions.dirty = true;
        }
    }

    fn allocate(&mut self, bytes: usize) {
        if bytes > self.cache.len {
            self.cache.resize(bytes);
            self.lengths.list.push(bytes);
            self.lengths.dirty = true;
        }
    }

    fn sync(&mut self) {
        if std::mem::take(&mut self.lengths.dirty) {
            let len = self.lengths.list.pop().expect("dirty, so there is one");
            self.lengths.list.clear();
            self.durable.resize(len);
        }
        let durable = &mut self.durable;
        self.sectors.retain(|index, versions| {
            if versions.dirty
                && let Some(newest) = versions.list.last()
            {
                if index * SECTOR >= durable.len {
                    // Behind a length that a failed sync left uncertain.
                    durable.resize((index + 1) * SECTOR);
                }
                durable.set_sector(*index, newest);
            }
            !versions.dirty
        });
    }

    fn sync_failed(&mut self) {
        self.lengths.dirty = false;
        self.sectors.values_mut().for_each(|versions| versions.dirty = false);
        self.sectors.retain(|_, versions| !versions.list.is_empty());
    }
}

/// Something that a crash decides about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    file: usize,
    /// `None` is the length.
    sector: Option<usize>,
    /// It may be as it was durable (0), or any of so many versions later.
    pub(super) versions: usize,
}

/// All that a crash decides about.
pub(super) struct Pending {
    /// By file and place.
    pub(super) units: Vec<Unit>,
    /// Changes of names, in order.
    pub(super) names: usize,
}

/// What a crash decides.
#[derive(Clone)]
pub(super) struct Choice {
    /// The version of each unit.
    pub(super) units: Vec<usize>,
    pub(super) names: Names,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, names } = self;
        write!(f, "names {names:?}, ")?;
        if units.len() <= 32 {
            return write!(f, "versions of what is pending {units:?}");
        }
        let old = units.iter().filter(|version| **version == 0).count();
        write!(f, "{old} of {} pending sectors and lengths as they were", units.len())
    }
}

/// Which changes of names are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    First(usize),
    AllBut(usize),
}

impl Disk {
    /// A disk on which all of this is durable.
    pub(super) fn new(image: &Image) -> Self {
        let mut disk = Self::default();
        for (name, content) in image {
            disk.names.insert(name.clone(), disk.files.len());
            disk.files.push(File { durable: content.clone(), cache: content.clone(), ..File::default() });
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    /// What a program sees in the directory.
    pub(super) fn cached(&self) -> Image {
        self.names.iter().map(|(name, file)| (name.clone(), self.files[*file].cache.clone())).collect()
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { name } => {
                let file = self.files.len();
                self.files.push(File::default());
                self.opened.push(file);
                self.change(Change::Link { name: name.clone(), file });
            }
            Event::Open { name } => self.opened.push(self.names[name]),
            Event::Allocate { file, bytes } => self.file(*file).allocate(*bytes),
            Event::Write { file, offset, bytes } => self.file(*file).write(*offset, bytes),
            Event::Sync { file } => self.file(*file).sync(),
            Event::SyncFailed { file } => self.file(*file).sync_failed(),
            Event::Rename { from, to } => self.change(Change::Rename { from: from.clone(), to: to.clone() }),
            Event::Remove { name } => self.change(Change::Remove { name: name.clone() }),
            Event::SyncDir => {
                self.changes.clear();
                self.durable_names = self.names.clone();
            }
            Event::Nothing => {}
        }
    }

    /// How many files were opened.
    pub(super) fn openings(&self) -> usize {
        self.opened.len()
    }

    /// What a crash now would decide about. Files that no name leads to any more do not matter.
    pub(super) fn pending(&self) -> Pending {
        let mut linked = vec![false; self.files.len()];
        self.durable_names.values().for_each(|file| linked[*file] = true);
        for change in &self.changes {
            if let Change::Link { file, .. } = change {
                linked[*file] = true;
            }
        }
        let mut units = Vec::new();
        for (file, state) in self.files.iter().enumerate().filter(|(file, _)| linked[*file]) {
            let unit = |sector, versions| Unit { file, sector, versions };
            let sectors = state.sectors.iter().filter(|(_, versions)| !versions.list.is_empty());
            units.extend(sectors.map(|(index, versions)| unit(Some(*index), versions.list.len())));
            if !state.lengths.list.is_empty() {
                units.push(unit(None, state.lengths.list.len()));
            }
        }
        Pending { units, names: self.changes.len() }
    }

    /// What a crash leaves that decides so.
    pub(super) fn crashed(&self, pending: &Pending, choice: &Choice) -> Image {
        let mut names = self.durable_names.clone();
        let skipped = match choice.names {
            Names::First(_) => None,
            Names::AllBut(index) => Some(index),
        };
        let kept = match choice.names {
            Names::First(count) => count,
            Names::AllBut(_) => self.changes.len(),
        };
        for (index, change) in self.changes[..kept].iter().enumerate() {
            if Some(index) != skipped {
                change.apply(&mut names);
            }
        }
        names
            .into_iter()
            .map(|(name, file)| {
                let state = &self.files[file];
                let mut content = state.durable.clone();
                let first = pending.units.partition_point(|unit| unit.file < file);
                let units = pending.units[first..].iter().zip(&choice.units[first..]);
                let units = units.take_while(|(unit, _)| unit.file == file);
                // The length first: sectors behind it are gone.
                for (unit, version) in units.clone() {
                    if unit.sector.is_none() && *version > 0 {
                        content.resize(state.lengths.list[version - 1]);
                    }
                }
                for (unit, version) in units {
                    if let Some(index) = unit.sector
                        && *version > 0
                    {
                        content.set_sector(index, &state.sectors[&index].list[version - 1]);
                    }
                }
                content.resize(content.len);
                (name, content)
            })
            .collect()
    }

    fn file(&mut self, opening: usize) -> &mut File {
        &mut self.files[self.opened[opening]]
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }
}
