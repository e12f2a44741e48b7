//! [`Sim`]: a medium that does what it is told in a directory in memory, without real syncs, and remembers it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use engine::store::BlockReader;

use super::disk::{Choice, Content, Disk, Event, Image, Name, Names};
use crate::{FileMedium, LogReader, Medium, MediumFile};

/// A directory that shows one image after the other, writing only what differs.
pub(super) struct Stage {
    dir: tempfile::TempDir,
    shown: Image,
}

impl Stage {
    pub(super) fn new() -> Self {
        // In memory where the system has that: what only imitates a disk need not wait for one.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { dir: dir.expect("a temporary directory"), shown: Image::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the directory hold just this, apart from the lock, and gives a medium to write it.
    pub(super) fn show(&mut self, image: &Image) -> Sim {
        self.write(image).expect("the directory can be written");
        self.shown = image.clone();
        Sim {
            dir: self.dir().to_owned(),
            state: Arc::new(Mutex::new(State { disk: Disk::new(image), ..State::default() })),
        }
    }

    /// Must follow each use of a medium, so that the stage knows what is in its directory.
    pub(super) fn take_back(&mut self, sim: &Sim) {
        self.shown = sim.state().disk.cached();
    }

    fn write(&self, image: &Image) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        for name in self.shown.keys().filter(|name| !image.contains_key(*name)) {
            std::fs::remove_file(self.dir().join(&**name))?;
        }
        let nothing = Content::default();
        for (name, content) in image {
            let known = self.shown.get(name);
            let old = known.unwrap_or(&nothing);
            let mut changed = content.changed_from(old).peekable();
            if known.is_some() && old.len == content.len && changed.peek().is_none() {
                continue;
            }
            let path = self.dir().join(&**name);
            let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            if old.len != content.len {
                file.set_len(content.len as u64)?;
            }
            for (offset, bytes) in changed {
                file.write_all_at(bytes, offset as u64)?;
            }
        }
        Ok(())
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An input/output error; nothing was done. Of a sync: some of it was, and the rest will never be.
    Io,
    /// No space; nothing was done.
    Full,
    /// An input/output error after the first half of a write or of an allocation.
    Short,
}

/// The medium.
#[derive(Clone)]
pub(super) struct Sim {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    disk: Disk,
    events: Vec<Event>,
    /// The call to fail and how.
    fail: Option<(usize, Fault)>,
    fired: bool,
    /// A reader that is asked for its head before each call.
    watched: Option<LogReader>,
    seen: Vec<(usize, u64)>,
}

impl Sim {
    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.state().events.len()
    }

    /// All calls.
    pub(super) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Makes the call with this number fail, once.
    pub(super) fn fail(&self, call: usize, fault: Fault) {
        self.state().fail = Some((call, fault));
    }

    /// Whether that has happened.
    pub(super) fn fired(&self) -> bool {
        self.state().fired
    }

    /// Notes before each call what this reader shows: what readers see must be durable at any moment.
    pub(super) fn watch(&self, reader: Option<LogReader>) {
        self.state().watched = reader;
    }

    /// What that reader showed: (calls made, newest block), where it changed.
    pub(super) fn seen(&self) -> Vec<(usize, u64)> {
        self.state().seen.clone()
    }

    /// What a crash leaves now that loses all that was not synced.
    pub(super) fn all_lost(&self) -> Image {
        let disk = &self.state().disk;
        let pending = disk.pending();
        disk.crashed(&pending, &Choice { units: vec![0; pending.units.len()], names: Names::First(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }

    fn call(&self) -> Option<Fault> {
        let mut state = self.state();
        let call = state.events.len();
        if let Some(head) = state.watched.as_ref().map(|reader| reader.head().0)
            && state.seen.last().is_none_or(|(_, last)| *last != head)
        {
            state.seen.push((call, head));
        }
        let (at, fault) = state.fail?;
        if at != call {
            return None;
        }
        state.fail = None;
        state.fired = true;
        Some(fault)
    }

    fn note(&self, event: Event) {
        let mut state = self.state();
        state.disk.apply(&event);
        state.events.push(event);
    }

    fn open_file(&self, event: Event, real: Box<dyn MediumFile>) -> Box<dyn MediumFile> {
        self.note(event);
        let file = self.state().disk.openings() - 1;
        Box::new(SimFile { sim: self.clone(), file, real })
    }

    /// Does it, unless it is to fail.
    fn act<T>(&self, event: Event, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(fault) = self.call() {
            self.note(Event::Nothing);
            return Err(error(fault));
        }
        let done = act();
        self.note(if done.is_ok() { event } else { Event::Nothing });
        done
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Io | Fault::Short => io::Error::other("a planted fault"),
        Fault::Full => io::ErrorKind::StorageFull.into(),
    }
}

fn name(path: &Path) -> Name {
    path.file_name().and_then(|name| name.to_str()).expect("one of the log's names").into()
}

impl Medium for Sim {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        if let Some(fault) = self.call() {
            self.note(Event::Nothing);
            return Err(error(fault));
        }
        Ok(self.open_file(Event::Create { name: name(path) }, FileMedium.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        if let Some(fault) = self.call() {
            self.note(Event::Nothing);
            return Err(error(fault));
        }
        Ok(self.open_file(Event::Open { name: name(path) }, FileMedium.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Event::Rename { from: name(from), to: name(to) }, || FileMedium.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(Event::Remove { name: name(path) }, || FileMedium.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        assert_eq!(dir, self.dir, "the log's own directory was there before");
        self.act(Event::SyncDir, || Ok(()))
    }
}

struct SimFile {
    sim: Sim,
    file: usize,
    real: Box<dyn MediumFile>,
}

impl MediumFile for SimFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let fault = self.sim.call();
        let done = match fault {
            None => bytes,
            Some(Fault::Short) => bytes / 2,
            Some(fault) => {
                self.sim.note(Event::Nothing);
                return Err(error(fault));
            }
        };
        self.real.allocate(done)?;
        self.sim.note(Event::Allocate { file: self.file, bytes: done as usize });
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.sim.call();
        let done = match fault {
            None => bytes,
            Some(Fault::Short) => &bytes[..bytes.len() / 2],
            Some(fault) => {
                self.sim.note(Event::Nothing);
                return Err(error(fault));
            }
        };
        self.real.write_at(done, offset)?;
        self.sim.note(Event::Write { file: self.file, offset: offset as usize, bytes: done.into() });
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
    fn sync(&self) -> io::Result<()> {
        match self.sim.call() {
            None => {
                self.sim.note(Event::Sync { file: self.file });
                Ok(())
            }
            Some(fault) => {
                self.sim.note(Event::SyncFailed { file: self.file });
                Err(error(fault))
            }
        }
    }
}
