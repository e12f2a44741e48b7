//! What can be wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use engine::chain::{ChainId, Hash};

use super::store::VERSION;

/// Why there is no store, or why it does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The directory or the file cannot be had.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another program has it.
    #[error("{}: another program uses it; give each tributary a directory of its own with --keep", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A newer program wrote it, or something else did.
    #[error("{}: its version is {got}; expected {VERSION}: run the version of tributary that wrote it, or give --keep another directory", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        got: String,
    },
    /// What is kept is of another main chain.
    #[error("{}: it keeps main chain {} with genesis {}, but this is main chain {} with genesis {}; correct --main and --main-key, or give --keep another directory", path.display(), kept.0, kept.1, met.0, met.1)]
    OtherMainChain {
        /// Which file.
        path: PathBuf,
        /// What is kept.
        kept: (ChainId, Hash),
        /// What was met.
        met: (ChainId, Hash),
    },
    /// The store cannot be read or written.
    #[error("{}: {error}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What redb says.
        error: Box<redb::Error>,
    },
    /// What is kept is not what was written.
    #[error("{}: {what}; the file is damaged: move it away, and what the main chain still has is fetched again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
}

impl KeepError {
    /// What redb says about the file at `path`.
    pub(super) fn database(path: &Path, error: impl Into<redb::Error>) -> Self {
        Self::Database { path: path.to_owned(), error: Box::new(error.into()) }
    }
}
