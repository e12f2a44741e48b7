//! A copy of a log that may be written meanwhile: a consistent prefix, with every block that was durable when it began.
//!
//! Sealed segments never change, so they are linked, or copied where the file system has no links; of the active one what
//! is durable is copied. A share of the readers' lock keeps the writer from using removed segments again until they are
//! linked; what has another name it never uses again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use engine::chain::Height;
use engine::store::BlockReader;

use crate::error::Error;
use crate::files::Context;
use crate::format::{FIRST_RECORD, Mark};
use crate::reader::LogReader;

/// How often it begins anew when the writer prunes or takes blocks back under it.
const TRIES: usize = 8;

/// Files of a log that are no segments, and are copied if they are there. `LOG` comes last: without it nothing is a log.
const SMALL: [&str; 4] = ["MARK", "BASE", "OPERATIONS", "LOG"];

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its first main block.
    pub first: Height,
    /// Its newest main block: at least the newest durable one of when the copy began.
    pub head: Height,
    /// Its files, all in the one directory.
    pub files: Vec<PathBuf>,
    /// How many of them are links: they take no space as long as the log has them too.
    pub linked: usize,
}

/// Copies the log in `from` to the new directory `to`, whether or not it is being written. All is durable when this
/// returns.
///
/// # Errors
/// The log cannot be read, `to` exists or cannot be written, or the log changes too fast. What was written stays, for the
/// caller to remove.
pub fn copy(from: &Path, to: &Path) -> Result<Copied, Error> {
    DirBuilder::new().mode(0o700).create(to).map_err(Error::io("create", to))?;
    let mut tries = 1;
    loop {
        match try_copy(from, to) {
            Err(Try::Again) if tries < TRIES => {
                tries += 1;
                clear(to)?;
            }
            Err(Try::Again) => {
                let source = io::Error::other("it was pruned or rolled back each time; try again later");
                return Err(Error::io("copy", from)(source));
            }
            Err(Try::Failed(error)) => return Err(error),
            Ok(copied) => return Ok(copied),
        }
    }
}

enum Try {
    /// The log changed under the copy.
    Again,
    Failed(Error),
}

impl From<Error> for Try {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn try_copy(from: &Path, to: &Path) -> Result<Copied, Try> {
    let context = Context::read(from)?;
    let mark = context.read_mark()?;
    let small = read_small(from)?;
    let reader = LogReader::open(from)?;
    let (mut files, mut linked) = (Vec::new(), 0);
    for segment in reader.segments() {
        let name = segment.file.file_name().expect("a segment has a name");
        let copy = to.join(name);
        let done = if segment.sealed {
            link_or_copy(&segment.file, &copy).map(|link| linked += usize::from(link))
        } else {
            let end = u64::from(FIRST_RECORD) + segment.record_bytes;
            copy_start(&segment.file, &copy, end, reader.segment_bytes())
        };
        done.map_err(|source| match source.kind() {
            // Removed meanwhile.
            io::ErrorKind::NotFound => Try::Again,
            _ => Try::Failed(Error::io("copy", &segment.file)(source)),
        })?;
        files.push(copy);
    }
    // Of the operations there may be more than blocks by now; never less.
    let operations = read_small(from)?.swap_remove(2);
    // A finalized block changes neither of these, a rollback or another session both.
    let same = |a: &Mark, b: &Mark| {
        (a.generation, a.first_record, a.dropping) == (b.generation, b.first_record, b.dropping)
    };
    if mark.dropping || !same(&mark, &context.read_mark()?) || read_small(from)?[1] != small[1] {
        return Err(Try::Again);
    }
    for (name, bytes) in SMALL.iter().zip(small) {
        let bytes = if *name == "OPERATIONS" { operations.clone() } else { bytes };
        let Some(bytes) = bytes else { continue };
        let path = to.join(name);
        write(&path, &bytes).map_err(Error::io("write", &path))?;
        files.push(path);
    }
    File::open(to).and_then(|to| to.sync_all()).map_err(Error::io("sync", to))?;
    Ok(Copied { first: reader.base().first, head: reader.head(), files, linked })
}

/// The small files, in the order of [`SMALL`].
fn read_small(from: &Path) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let read = |name: &&str| {
        let path = from.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    };
    SMALL.iter().map(read).collect()
}

/// Gives `from` another name, or copies it where that cannot be. Whether it is a link.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()?;
            Ok(false)
        }
    }
}

/// Copies the first `end` bytes; zeros follow, up to `length`.
fn copy_start(from: &Path, to: &Path, end: u64, length: u64) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    let copied = io::copy(&mut File::open(from)?.take(end), &mut file)?;
    if copied < end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(length)?;
    file.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what an earlier try has written.
fn clear(to: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(to).map_err(Error::io("read", to))? {
        let path = entry.map_err(Error::io("read", to))?.path();
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}
