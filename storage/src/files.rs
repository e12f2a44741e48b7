//! [`Context`]: the directory of a log, its names, and the small files that say what it is.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Hash, Height};
use engine::state::Operation;
use engine::store::{Base, Operations};
use rustix::fs::FlockOperation;

use crate::error::{Error, Part};
use crate::format::{self, FIRST_RECORD, Flaw, Key, LogFile, Mark, RecordHeader, SegmentHeader, Trailer};
use crate::map::is_mapped;
use crate::medium::{Medium, MediumFile};
use crate::operations;

const LOG: &str = "LOG";
const MARK: &str = "MARK";
const BASE: &str = "BASE";
const OPERATIONS: &str = "OPERATIONS";
const LOCK: &str = "LOCK";
const SEGMENT: &str = "seg";
/// Of a file that was a segment and may become one again.
const SPARE: &str = "spare";
/// Of a file that is still being made: never read, removed when found.
const UNFINISHED: &str = "tmp";

/// How long a writer waits for the lock of another one.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a log is: constant for its life.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dir: PathBuf,
    pub(crate) genesis_hash: Hash,
    pub(crate) main_chain: ChainId,
    pub(crate) segment_bytes: u64,
    pub(crate) reversible: bool,
    pub(crate) key: Key,
    /// A share of the readers' lock, of a process that only reads: every map holds it too.
    pub(crate) share: Option<Arc<ReadersLock>>,
    /// Files to make segments of, and how many of them are kept. A reader keeps none.
    pub(crate) spares: Spares,
}

/// Files of removed segments: their space is reserved and their pages are known to the system, so that writing
/// them again is several times faster than writing new ones.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    pub(crate) most: usize,
    files: Mutex<Vec<PathBuf>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Context {
    /// Reads the file `LOG`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(LOG);
        let Some(bytes) = read_small(&path)? else {
            // One that is being made has its file by now.
            let was_one = was_log(dir)? && !path.exists();
            let dir = dir.to_owned();
            return Err(if was_one { Error::LogFileLost { dir } } else { Error::NoLog { dir } });
        };
        let file = LogFile::decode(&bytes).map_err(|flaw| Error::damaged(&path, 0, Part::File, flaw))?;
        Ok(Self {
            dir: dir.to_owned(),
            genesis_hash: file.genesis_hash(),
            main_chain: file.main_chain(),
            segment_bytes: file.segment_bytes(),
            reversible: file.reversible(),
            key: file.key(),
            share: None,
            spares: Spares::default(),
        })
    }

    /// Makes a log in a directory that holds none. The file `LOG` comes last: with it, all the rest is there.
    pub(crate) fn create(self, medium: &dyn Medium) -> Result<Self, Error> {
        if was_log(&self.dir)? {
            return Err(Error::LogFileLost { dir: self.dir });
        }
        for number in self.segment_numbers()? {
            let path = self.segment_path(number);
            medium.remove(&path).map_err(Error::io("remove", &path))?;
        }
        self.write_mark(medium, Mark::NEW)?;
        self.create_segment(medium, 1)?;
        let log =
            LogFile::new(self.main_chain, self.genesis_hash, self.segment_bytes, self.reversible, self.key);
        self.replace(medium, LOG, zerocopy::IntoBytes::as_bytes(&log))?;
        Ok(self)
    }

    /// Refuses a log that is not that of this genesis and main chain.
    pub(crate) fn expect(&self, genesis_hash: Hash, main_chain: ChainId) -> Result<(), Error> {
        let dir = self.dir.clone();
        if self.genesis_hash != genesis_hash {
            return Err(Error::WrongGenesis { dir, found: self.genesis_hash, expected: genesis_hash });
        }
        if self.main_chain != main_chain {
            return Err(Error::WrongChain { dir, found: self.main_chain, expected: main_chain });
        }
        Ok(())
    }

    pub(crate) fn read_mark(&self) -> Result<Mark, Error> {
        let path = self.dir.join(MARK);
        let bytes = read_small(&path)?
            .ok_or_else(|| Error::Missing { file: path.clone(), why: "every log has one" })?;
        Mark::decode(&bytes, &self.key).map_err(|flaw| Error::damaged(&path, 0, Part::File, flaw))
    }

    pub(crate) fn write_mark(&self, medium: &dyn Medium, mark: Mark) -> Result<(), Error> {
        self.replace(medium, MARK, &mark.encode(&self.key))
    }

    /// The lowest segment of the log, and what is kept of the blocks before it.
    pub(crate) fn read_base(&self) -> Result<(u64, Base), Error> {
        let path = self.dir.join(BASE);
        let Some(bytes) = read_up_to(&path, 1 << 30)? else { return Ok((1, Base::default())) };
        format::decode_base(&bytes, &self.key).map_err(|flaw| Error::damaged(&path, 0, Part::File, flaw))
    }

    pub(crate) fn write_base(&self, medium: &dyn Medium, segment: u64, base: &Base) -> Result<(), Error> {
        self.replace(medium, BASE, &format::encode_base(&self.key, segment, base))
    }

    /// The operations of all blocks, and of one whose record a crash kept from the log.
    pub(crate) fn read_operations(&self) -> Result<Operations, Error> {
        let path = self.operations_path();
        let Some(bytes) = read_up_to(&path, operations::MAX_BYTES)? else { return Ok(Operations::default()) };
        operations::decode(&bytes, &self.key).map_err(|flaw| Error::damaged(&path, 0, Part::File, flaw))
    }

    pub(crate) fn write_operations(
        &self,
        medium: &dyn Medium,
        operations: &[(Height, Operation)],
    ) -> Result<(), Error> {
        self.replace(medium, OPERATIONS, &operations::encode(&self.key, operations))
    }

    /// Makes the empty segment `number`, durable under its name, and opens it for writing: of a spare file if there
    /// is one, which it also says. A full disk shows here.
    pub(crate) fn create_segment(
        &self,
        medium: &dyn Medium,
        number: u64,
    ) -> Result<(Box<dyn MediumFile>, bool), Error> {
        if let Some(spare) = self.spares.files().pop() {
            return Ok((self.recycle(medium, &spare, number)?, true));
        }
        let file = self.new_segment_file(medium, number)?;
        self.finish_segment_file(medium, number, &*file)?;
        Ok((file, false))
    }

    /// Makes the file of segment `number` under its unfinished name: header and reserved space, not synced.
    pub(crate) fn new_segment_file(
        &self,
        medium: &dyn Medium,
        number: u64,
    ) -> Result<Box<dyn MediumFile>, Error> {
        let path = self.segment_path(number);
        let unfinished = path.with_added_extension(UNFINISHED);
        let make = || {
            let file = medium.create(&unfinished)?;
            file.allocate(self.segment_bytes)?;
            file.write_at(&SegmentHeader::encode(&self.key, number, self.segment_bytes, false), 0)?;
            Ok(file)
        };
        make().map_err(|source: std::io::Error| {
            // Give back what was reserved; if that fails too, the next opening does it.
            let _ = medium.remove(&unfinished);
            if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
                return Error::DiskFull { file: path.clone(), bytes: self.segment_bytes, source };
            }
            Error::io("create", &unfinished)(source)
        })
    }

    /// Gives the unfinished file of segment `number` its name, replacing what had it. Both are durable then.
    pub(crate) fn finish_segment_file(
        &self,
        medium: &dyn Medium,
        number: u64,
        file: &dyn MediumFile,
    ) -> Result<(), Error> {
        let path = self.segment_path(number);
        let unfinished = path.with_added_extension(UNFINISHED);
        file.sync().map_err(Error::io("sync", &unfinished))?;
        medium.rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
        self.sync_dir(medium)
    }

    /// Makes segment `number` of a spare file. The place of its first record and that of its trailer are cleared;
    /// what is left of old records cannot pass for new ones, by their checksums and generations.
    fn recycle(&self, medium: &dyn Medium, spare: &Path, number: u64) -> Result<Box<dyn MediumFile>, Error> {
        let write = || {
            let file = medium.open(spare)?;
            file.write_at(&[0; RecordHeader::BYTES], FIRST_RECORD.into())?;
            file.write_at(&[0; Trailer::BYTES], self.trailer_offset())?;
            file.write_at(&SegmentHeader::encode(&self.key, number, self.segment_bytes, true), 0)?;
            file.sync()?;
            medium.rename(spare, &self.segment_path(number))?;
            Ok(file)
        };
        let file = write().map_err(Error::io("use again", spare))?;
        self.sync_dir(medium)?;
        Ok(file)
    }

    /// Takes the segment `number` out of the log: its file becomes a spare one if `reuse`, there is room for it, and
    /// nobody in this process has it mapped; it is removed otherwise. For `reuse` the caller holds the whole of the
    /// readers' lock. No error if the file is gone already.
    pub(crate) fn retire(&self, medium: &dyn Medium, number: u64, reuse: bool) -> Result<(), Error> {
        let path = self.segment_path(number);
        if !path.exists() {
            return Ok(());
        }
        let mut spares = self.spares.files();
        if reuse && spares.len() < self.spares.most && is_ours_alone(&path)? {
            let spare = path.with_extension(SPARE);
            medium.rename(&path, &spare).map_err(Error::io("rename", &path))?;
            spares.push(spare);
            return Ok(());
        }
        medium.remove(&path).map_err(Error::io("remove", &path))
    }

    /// Finds the spare files; removes those that are too many.
    pub(crate) fn find_spares(&self, medium: &dyn Medium) -> Result<(), Error> {
        let mut spares = self.spares.files();
        spares.clear();
        for name in names(&self.dir)? {
            let stem = name.strip_suffix(SPARE).and_then(|stem| stem.strip_suffix('.'));
            if stem.and_then(number_of).is_none() {
                continue;
            }
            let path = self.dir.join(name);
            let bytes = std::fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
            if spares.len() < self.spares.most && bytes == self.segment_bytes && is_ours_alone(&path)? {
                spares.push(path);
            } else {
                medium.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Opens segment `number` for writing.
    pub(crate) fn open_segment(
        &self,
        medium: &dyn Medium,
        number: u64,
    ) -> Result<Box<dyn MediumFile>, Error> {
        let path = self.segment_path(number);
        medium.open(&path).map_err(Error::io("open", &path))
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.{SEGMENT}"))
    }

    /// Where the trailer of a segment stands.
    pub(crate) fn trailer_offset(&self) -> u64 {
        self.segment_bytes - Trailer::BYTES as u64
    }

    /// Whether anything was ever written where the first record of a segment goes. A segment that is too short for
    /// a record holds none.
    pub(crate) fn holds_records(&self, number: u64) -> Result<bool, Error> {
        holds_records(&self.segment_path(number))
    }

    /// The numbers of all segment files, ascending.
    pub(crate) fn segment_numbers(&self) -> Result<Vec<u64>, Error> {
        let mut numbers: Vec<u64> =
            names(&self.dir)?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What a crash left unfinished.
    pub(crate) fn unfinished(&self) -> Result<Vec<PathBuf>, Error> {
        let mut names = names(&self.dir)?;
        names.retain(|name| {
            let stem = name.strip_suffix(".tmp").unwrap_or_default();
            [LOG, MARK, BASE, OPERATIONS].contains(&stem) || segment_number(stem).is_some()
        });
        Ok(names.into_iter().map(|name| self.dir.join(name)).collect())
    }

    /// Removes what a crash left unfinished.
    pub(crate) fn sweep(&self, medium: &dyn Medium) -> Result<(), Error> {
        for path in self.unfinished()? {
            medium.remove(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    pub(crate) fn operations_path(&self) -> PathBuf {
        self.dir.join(OPERATIONS)
    }

    pub(crate) fn mark_path(&self) -> PathBuf {
        self.dir.join(MARK)
    }

    /// Replaces a small file so that a crash leaves the old one or the new one.
    fn replace(&self, medium: &dyn Medium, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        let unfinished = path.with_added_extension(UNFINISHED);
        let file = medium.create(&unfinished).map_err(Error::io("create", &unfinished))?;
        file.write_at(bytes, 0).map_err(Error::io("write", &unfinished))?;
        file.sync().map_err(Error::io("sync", &unfinished))?;
        medium.rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
        self.sync_dir(medium)
    }

    pub(crate) fn sync_dir(&self, medium: &dyn Medium) -> Result<(), Error> {
        medium.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }
}

impl Spares {
    /// Keeps up to `most` of them.
    pub(crate) fn up_to(most: usize) -> Self {
        Self { most, files: Mutex::default() }
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write a log. It ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// A promise of the readers in other processes and of the writer to each other, by a lock on the file `LOG`: while
/// readers share it, no file that they may have mapped is written again.
#[derive(Debug)]
pub(crate) struct ReadersLock {
    _file: File,
}

impl ReadersLock {
    /// A reader's share.
    pub(crate) fn share(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(LOG);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        loop {
            // The writer holds it for a few renames only.
            match rustix::fs::flock(&file, FlockOperation::LockShared) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("lock", &path)(error.into())),
            }
        }
    }

    /// The whole of it, if no other process reads the log now.
    pub(crate) fn whole(dir: &Path) -> Option<Self> {
        let file = File::open(dir.join(LOG)).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _file: file })
    }
}

impl Lock {
    /// Keeps writers from a log that nobody writes now, together with others who do the same; changes nothing.
    pub(crate) fn if_free(dir: &Path) -> Option<Self> {
        let file = File::open(dir.join(LOCK)).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Self { _file: file })
    }

    /// Makes the directory where it is absent, and takes the lock in it.
    pub(crate) fn take(dir: &Path, medium: &dyn Medium) -> Result<Self, Error> {
        if !dir.exists() {
            let made: Vec<&Path> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(Error::io("create", dir))?;
            for made in made {
                let parent = match made.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                medium.sync_dir(parent).map_err(Error::io("sync", parent))?;
            }
        }
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        // A check holds it for a moment, and so does a program that another thread of this process has just started,
        // until it has become that program.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path }),
                Err(error) => return Err(Error::io("lock", &path)(error.into())),
            }
        }
    }
}

/// Whether the file has one name only, and no map in this process. Another name is a backup's, say, which must stay
/// as it is.
fn is_ours_alone(path: &Path) -> Result<bool, Error> {
    let look = || {
        let file = File::open(path)?;
        Ok(file.metadata()?.nlink() == 1 && !is_mapped(&file)?)
    };
    look().map_err(Error::io("look at", path))
}

/// The whole of a file that should be a few hundred bytes; `None` when it is absent.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    read_up_to(path, 4096)
}

/// The first `most` bytes of a file; `None` when it is absent.
fn read_up_to(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.is_empty() {
        return Err(Error::damaged(path, 0, Part::File, Flaw::Empty));
    }
    Ok(Some(bytes))
}

fn holds_records(segment: &Path) -> Result<bool, Error> {
    use std::os::unix::fs::FileExt;
    let file = File::open(segment).map_err(Error::io("open", segment))?;
    let mut first = [0; 64];
    match file.read_exact_at(&mut first, FIRST_RECORD.into()) {
        Ok(()) => Ok(first != [0; 64]),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io("read", segment)(error)),
    }
}

/// Whether a directory without the file `LOG` was a log once. A creation that was cut short leaves an empty first segment;
/// anything else was one.
fn was_log(dir: &Path) -> Result<bool, Error> {
    if !dir.is_dir() {
        return Ok(false);
    }
    for name in names(dir)? {
        if segment_number(&name).is_some_and(|number| number != 1)
            || (segment_number(&name) == Some(1) && holds_records(&dir.join(&name))?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        // A name that is no UTF-8 is none of ours.
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn segment_number(name: &str) -> Option<u64> {
    number_of(name.strip_suffix(".seg")?)
}

fn number_of(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number > 0 && format!("{number:010}") == digits).then_some(number)
}
