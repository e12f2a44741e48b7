//! [`Medium`]: every file operation of the writer, so that tests can tear, lose and refuse them.
//!
//! Reading is not part of it: files are read through the real file system, by [`std::fs`] and by maps. A test that
//! wants a crash replays what was written into a directory of its own and opens that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

mod writeback;

/// Where a log is written.
pub trait Medium: Send + Sync + 'static {
    /// Creates the file, or empties it, for writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>>;

    /// Opens a file that exists, for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>>;

    /// Gives the file another name in its directory, replacing what had it. Durable after
    /// [`Medium::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file. Durable after [`Medium::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file of a [`Medium`].
pub trait MediumFile: Send {
    /// Makes the file `bytes` long, zeros, with space reserved, so that no later write of it finds the disk full.
    /// On an empty file only. Durable after [`MediumFile::sync`].
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable after [`MediumFile::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes contents and length durable. After an error nobody knows what is: the file must be read anew.
    fn sync(&self) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileMedium;

impl Medium for FileMedium {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

struct RealFile(File);

impl MediumFile for RealFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system without reserved space: zeros reserve it as well, only slower.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeros = vec![0; 1 << 20];
                let mut offset = 0;
                while offset < bytes {
                    let part = zeros.len().min((bytes - offset) as usize);
                    self.0.write_all_at(&zeros[..part], offset)?;
                    offset += part as u64;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // The disk works on one part while the next one is copied; the sync then waits for the last one only.
        const PART: usize = 1 << 20;
        let mut at = offset;
        for part in bytes.chunks(PART) {
            self.0.write_all_at(part, at)?;
            if bytes.len() > PART {
                writeback::begin(&self.0, at, part.len());
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: contents, and of the metadata what is needed to read them back, so the length too (POSIX,
        // "synchronized I/O data integrity completion").
        self.0.sync_data()
    }
}
