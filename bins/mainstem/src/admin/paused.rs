//! `chains.toml` of the data directory: which side chains the operator has paused, and which ones the node itself, over
//! restarts.
//!
//! ```toml
//! paused = ["tDVV", 7]
//!
//! [[quarantined]]
//! chain = "tDVW"
//! reason = "node 1b2c3d4e contradicted it 3 times within 10 min 0 s"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use engine::chain::ChainId;
use serde::{Deserialize, Serialize};

/// Far above what the ids of a million chains take.
const MAX_BYTES: u64 = 16 << 20;

/// The file. Clones are of the same one, and change it one after the other.
#[derive(Clone, Debug)]
pub(crate) struct PausedFile {
    path: PathBuf,
    turn: Arc<Mutex<()>>,
}

/// What stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Chains that the operator has paused.
    pub paused: BTreeSet<ChainId>,
    /// Chains that the node has paused, and why.
    pub quarantined: BTreeMap<ChainId, String>,
}

impl Held {
    /// Lets a chain go on. Whether it was held.
    pub(crate) fn resume(&mut self, chain: ChainId) -> bool {
        self.paused.remove(&chain) | self.quarantined.remove(&chain).is_some()
    }

    /// The chains that are paused, by whomever.
    pub(crate) fn chains(&self) -> BTreeSet<ChainId> {
        self.paused.iter().chain(self.quarantined.keys()).copied().collect()
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.chains().len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.paused.is_empty() && self.quarantined.is_empty()
    }
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quarantined: Vec<Quarantined>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quarantined {
    chain: ChainId,
    #[serde(default)]
    reason: String,
}

impl PausedFile {
    /// The file at `path`; it need not exist.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), turn: Arc::default() }
    }

    /// What stands in it; without a file, nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub(crate) fn read(&self) -> Result<Held, PausedError> {
        let unreadable = |source| PausedError::Read { path: self.path.clone(), source };
        let wrong = |reason: String| PausedError::Content { path: self.path.clone(), reason };
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Held::default()),
            Err(error) => return Err(unreadable(error)),
        };
        let document: Document = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        let quarantined = document.quarantined.into_iter().map(|held| (held.chain, held.reason));
        Ok(Held { paused: document.paused, quarantined: quarantined.collect() })
    }

    /// Changes what stands in it, if `change` says that it has, and then does what follows from that: no other change
    /// comes in between. First what holds over a restart: who is told that a chain is paused finds it so.
    ///
    /// # Errors
    /// It cannot be read or written; then it is as it was, and nothing is done.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Held) -> bool,
        then: impl FnOnce() -> T,
    ) -> Result<T, PausedError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.read()?;
        if change(&mut held) {
            self.write(&held)?;
        }
        Ok(then())
    }

    /// Writes it, whole or not at all, also if the machine stops in between.
    fn write(&self, held: &Held) -> Result<(), PausedError> {
        let unfinished = self.path.with_extension("toml.tmp");
        let write = || {
            let quarantined = held.quarantined.iter();
            let quarantined =
                quarantined.map(|(chain, reason)| Quarantined { chain: *chain, reason: reason.clone() });
            let document = Document { paused: held.paused.clone(), quarantined: quarantined.collect() };
            let text = toml::to_string(&document).map_err(io::Error::other)?;
            let mut file = File::create(&unfinished)?;
            file.write_all(
                b"# Side chains that are paused: `mainstem chains pause` and `resume` write this file, and the node when it pauses one.\n",
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
        assert!(file.read().unwrap().is_empty());
        let set =
            |held: Held| file.change(|now| std::mem::replace(now, held.clone()) != held, || ()).unwrap();
        for held in [
            Held {
                paused: [ChainId(7), "tDVV".parse().unwrap()].into(),
                quarantined: [(ChainId(8), "a \"reason\"".to_owned())].into(),
            },
            Held { paused: [ChainId(7)].into(), ..Held::default() },
            Held { quarantined: [(ChainId(9), String::new())].into(), ..Held::default() },
            Held::default(),
        ] {
            set(held.clone());
            assert_eq!(file.read().unwrap(), held);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn resuming_a_chain_ends_its_pause_and_its_quarantine() {
        let one = ChainId(1);
        let mut held = Held { paused: [one].into(), quarantined: [(one, "it lied".to_owned())].into() };
        assert_eq!((held.len(), held.chains()), (1, [one].into()));
        assert!(held.resume(one) && !held.resume(one) && held.is_empty());
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
