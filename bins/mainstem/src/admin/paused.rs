//! `chains.toml` of the data directory: which side chains the operator has paused, over restarts.
//!
//! ```toml
//! paused = ["tDVV", 7]
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use engine::chain::ChainId;
use serde::{Deserialize, Serialize};

/// Far above what the ids of a million chains take.
const MAX_BYTES: u64 = 16 << 20;

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct PausedFile {
    path: PathBuf,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PausedError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {reason}; expected a line such as `paused = [\"tDVV\"]`, or no such file", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {source}; nothing was changed", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    paused: BTreeSet<ChainId>,
}

impl PausedFile {
    /// The file at `path`; it need not exist.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The paused chains; without a file, none.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(crate) fn read(&self) -> Result<BTreeSet<ChainId>, PausedError> {
        let unreadable = |source| PausedError::Read { path: self.path.clone(), source };
        let wrong = |reason: String| PausedError::Content { path: self.path.clone(), reason };
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let document: Document = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        Ok(document.paused)
    }

    /// Writes it, whole or not at all, also if the machine stops in between.
    ///
    /// # Errors
    /// The system refuses; then it is as it was.
    pub(crate) fn write(&self, paused: &BTreeSet<ChainId>) -> Result<(), PausedError> {
        let unfinished = self.path.with_extension("toml.tmp");
        let write = || {
            let text = toml::to_string(&Document { paused: paused.clone() }).map_err(io::Error::other)?;
            let mut file = File::create(&unfinished)?;
            file.write_all(
                b"# Side chains that are paused: `mainstem chains pause` and `resume` write this file.\n",
            )?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|source| {
            // Ours, and half a file: the next change would write it anew.
            let _ = fs::remove_file(&unfinished);
            PausedError::Write { path: self.path.clone(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_no_file_pauses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = PausedFile::at(&dir.path().join("chains.toml"));
        assert_eq!(file.read().unwrap(), BTreeSet::new());
        for paused in [BTreeSet::from([ChainId(7), "tDVV".parse().unwrap()]), BTreeSet::new()] {
            file.write(&paused).unwrap();
            assert_eq!(file.read().unwrap(), paused);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_wrong_file_is_refused_with_what_would_be_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chains.toml");
        for wrong in ["paused = 5", "pause = [5]", "paused = [\"not an id!\"]", "\0", "[["] {
            fs::write(&path, wrong).unwrap();
            let error = PausedFile::at(&path).read().unwrap_err().to_string();
            assert!(error.contains("expected a line such as `paused = [\"tDVV\"]`"), "{error}");
        }
    }
}
