//! `mainstem man`: the manual, a page for each command.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::pages;

const EXAMPLES: &str = "\
Examples:
  mainstem man ~/.local/share/man/man1      and then: man mainstem-proof
  mainstem man pages && man -l pages/mainstem.1";

/// Write the manual pages of this program and all its commands
///
/// The Debian package brings them.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// The directory, which is made if it is not there; pages in it are replaced
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, program: clap::Command) -> Result<()> {
        let dir = self.dir.display();
        let files =
            pages::man(program, &self.dir).with_context(|| format!("{dir}: pages cannot be written"))?;
        writeln!(stdout(), "{} pages in {dir}", files.len())?;
        Ok(())
    }
}
