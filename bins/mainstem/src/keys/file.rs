//! The file, read whole and replaced whole: whoever looks sees the former state or the new one, also after a crash.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use engine::state::SideChain;

use super::{KeyState, KeysError};

/// Far above what all keys of 10,000 chains take.
const MAX_BYTES: u64 = 16 << 20;

/// `keys.toml` of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct KeysFile {
    path: PathBuf,
}

impl KeysFile {
    /// The file at `path`; it need not exist.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; what is not there changes nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(crate) fn read(&self, known: &[SideChain]) -> Result<KeyState, FileError> {
        Ok(self.read_if_any(known)?.unwrap_or_default())
    }

    /// Reads it; `None` if it is not there or says nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(super) fn read_if_any(&self, known: &[SideChain]) -> Result<Option<KeyState>, FileError> {
        let read = |source| FileError::Read { path: self.path.clone(), source };
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(read)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        let wrong = |reason: &str| self.content(KeysError::Syntax { line: 1, reason: reason.to_owned() });
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong("it is longer than 16 MiB, more than any list of keys"));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no UTF-8 text"))?;
        KeyState::parse(&text, known).map_err(|error| self.content(error))
    }

    /// Changes it: nobody else who changes it this way comes between reading and writing.
    ///
    /// # Errors
    /// Those of `change`, and of reading and writing; then nothing is changed.
    pub(crate) fn change<T, E: From<FileError>>(
        &self,
        known: &[SideChain],
        change: impl FnOnce(&mut KeyState) -> Result<T, E>,
    ) -> Result<T, E> {
        let directory = self.directory();
        let open = || {
            let directory = File::open(directory)?;
            directory.lock()?;
            Ok(directory)
        };
        let directory = open().map_err(|source| self.write_error(source))?;
        let before = self.read(known)?;
        let mut state = before.clone();
        let result = change(&mut state)?;
        if state != before {
            self.replace(&directory, &state).map_err(|source| self.write_error(source))?;
        }
        Ok(result)
    }

    fn replace(&self, directory: &File, state: &KeyState) -> io::Result<()> {
        let unfinished = self.path.with_extension("toml.tmp");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(state.document().as_bytes())?;
            // The node may run as another user than the one who changes keys, and must be able to read it. Public keys
            // are no secret.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            directory.sync_all()
        };
        write().inspect_err(|_| {
            // Ours, and half a file: the next change would write it anew.
            let _ = fs::remove_file(&unfinished);
        })
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn content(&self, error: KeysError) -> FileError {
        FileError::Content { path: self.path.clone(), error }
    }

    fn write_error(&self, source: io::Error) -> FileError {
        FileError::Write { path: self.path.clone(), source }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {error}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: KeysError,
    },
}
