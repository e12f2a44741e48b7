//! Which files this process has mapped: one that is may not be written again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::files::ReadersLock;

/// Device and inode of a file: what stays the same when it gets another name.
type FileId = (u64, u64);

static MAPPED: LazyLock<Mutex<HashMap<FileId, usize>>> = LazyLock::new(Mutex::default);

fn mapped() -> MutexGuard<'static, HashMap<FileId, usize>> {
    MAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a map of the file lives in this process.
pub(crate) fn is_mapped(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(mapped().contains_key(&(metadata.dev(), metadata.ino())))
}

/// A map's claim that its file stays as it is, while it lives: on this process, and by a share of the readers' lock
/// on the writer in another one.
#[derive(Debug)]
pub(super) struct User {
    file: FileId,
    _share: Option<Arc<ReadersLock>>,
}

impl User {
    pub(super) fn new(file: &File, share: Option<Arc<ReadersLock>>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let file = (metadata.dev(), metadata.ino());
        *mapped().entry(file).or_default() += 1;
        Ok(Self { file, _share: share })
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut mapped = mapped();
        if let Some(count) = mapped.get_mut(&self.file) {
            *count -= 1;
            if *count == 0 {
                mapped.remove(&self.file);
            }
        }
    }
}
