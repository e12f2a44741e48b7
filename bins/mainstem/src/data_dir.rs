//! The data directory of a node.
//!
//! ```text
//! mainstem.toml   configuration
//! genesis.toml    who the main chain is and which side chains it indexes
//! node.key        this node's private key
//! keys.toml       which keys of side-chain nodes were revoked or rotated, if any
//! chains.toml     which side chains are paused, if any
//! admin.sock      where a running node is steered
//! log/            the main blocks
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use engine::state::Genesis;
use net::identity::Identity;

use crate::codes::WithCode as _;
use crate::settings::Settings;

/// Name of the configuration file.
pub(crate) const CONFIG: &str = "mainstem.toml";

/// Where a node's files are.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    /// The directory itself.
    pub root: PathBuf,
    /// The genesis document.
    pub genesis: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The changes of registered keys.
    pub keys: PathBuf,
    /// Which side chains are paused.
    pub chains: PathBuf,
    /// The admin socket.
    pub admin: PathBuf,
    /// The directory of the log.
    pub log: PathBuf,
}

impl DataDir {
    /// The files that the settings name.
    pub(crate) fn of(settings: &Settings) -> Self {
        let data = &settings.data;
        Self::at(&data.dir, &data.genesis, &data.key)
    }

    /// The files of a directory where nothing says otherwise.
    pub(crate) fn plain(dir: &Path) -> Self {
        let data = crate::settings::Data::default();
        Self::at(dir, &data.genesis, &data.key)
    }

    fn at(dir: &Path, genesis: &Path, key: &Path) -> Self {
        Self {
            root: dir.to_owned(),
            genesis: dir.join(genesis),
            key: dir.join(key),
            keys: dir.join("keys.toml"),
            chains: dir.join("chains.toml"),
            admin: dir.join("admin.sock"),
            log: dir.join("log"),
        }
    }

    /// Reads and validates the genesis document.
    pub(crate) fn read_genesis(&self) -> Result<Genesis> {
        read_genesis(&self.genesis).map(|(genesis, _)| genesis)
    }

    /// Reads the node's key.
    pub(crate) fn read_key(&self) -> Result<Identity> {
        let missing = || "`mainstem keys new` makes a key, `mainstem init` a whole data directory";
        if self.key.exists() {
            Ok(Identity::load(&self.key)?)
        } else {
            Err(anyhow!("key file {} does not exist; {}", self.key.display(), missing())).code(1103)
        }
    }
}

/// Reads and validates a genesis document; gives its text too.
pub(crate) fn read_genesis(path: &Path) -> Result<(Genesis, String)> {
    let text = fs::read_to_string(path)
        .with_context(|| {
            let hint = if path.exists() { "" } else { " (`mainstem init` makes a data directory with one)" };
            format!("genesis document {} cannot be read{hint}", path.display())
        })
        .code(1101)?;
    let genesis = Genesis::parse(&text)
        .map_err(|error| anyhow!("genesis document {}: {error}", path.display()))
        .code(1102)?;
    Ok((genesis, text))
}

/// `--data DIR`, for commands that only want to know where the directory is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct AtDir {
    /// The data directory of the node
    #[arg(long, value_name = "DIR", default_value = "mainstem-data", env = "MAINSTEM_DATA_DIR")]
    data: PathBuf,
}

impl AtDir {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.data
    }
}
