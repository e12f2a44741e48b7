//! `mainstem explain`: what an error code means, offline.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;

use crate::codes::{TABLE, WithCode, named};

const EXAMPLES: &str = "\
Examples:
  mainstem explain MS-1204        what it means, why it happens, what to do
  mainstem explain wrong-parent   the same by name: the pages of all that have it
  mainstem explain                all codes";

/// Print what an error code means, why it happens and what to do; without one, list all codes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The code, as MS-1204; its number or its name does, too
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(self) -> Result<()> {
        let mut out = stdout().lock();
        match self.code {
            Some(text) => {
                for (position, entry) in named(&text).code(7003)?.iter().enumerate() {
                    let gap = if position == 0 { "" } else { "\n" };
                    write!(out, "{gap}{}", entry.page)?;
                }
            }
            None => {
                for entry in TABLE {
                    writeln!(out, "{}  {:<22} {}", entry.code, entry.name, entry.title())?;
                }
            }
        }
        Ok(())
    }
}
