//! `mainstem explain`: what an error code means, offline.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;

use crate::codes::{Code, NoSuchCode, TABLE, WithCode};

const EXAMPLES: &str = "\
Examples:
  mainstem explain MS-1204        what it means, why it happens, what to do
  mainstem explain lane-full      the same by name, where several share one the first of them
  mainstem explain                all codes";

/// Print what an error code means, why it happens and what to do; without one, list all codes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The code, as MS-1204; its number or its name will do
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(self) -> Result<()> {
        let mut out = stdout().lock();
        match self.code {
            Some(text) => {
                let code = text.parse::<Code>().map_err(|error: NoSuchCode| error).code(7003)?;
                out.write_all(code.entry().page.as_bytes())?;
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
