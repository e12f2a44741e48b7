//! `mainstem keys`: the key that other nodes know this one by.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use net::identity::Identity;

/// Make or show the key of a node
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a new ed25519 key in a file that only its owner can read, and print the public key
    ///
    /// The file is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. An existing file is never
    /// overwritten.
    New {
        /// Where to write the key
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
    /// Print the public key that belongs to a key file
    Show {
        /// The key file
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
}

impl Keys {
    pub(crate) fn run(self) -> Result<()> {
        let identity = match &self.action {
            Action::New { file } => Identity::create(file)?,
            Action::Show { file } => Identity::load(file)?,
        };
        writeln!(stdout(), "{}", identity.public())?;
        Ok(())
    }
}
