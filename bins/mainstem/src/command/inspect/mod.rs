//! `mainstem inspect`: what a log holds and whether it is sound, from its files, whether or not a node writes it.

mod block;
mod chain;
mod check;
mod export;
pub(crate) mod heights;
mod log;
mod repair;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use engine::chain::{ChainId, Height};
use engine::store::BlockReader;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use storage::LogReader;

use crate::codes::is_closed_output;
use crate::data_dir::DataDir;

const EXAMPLES: &str = "\
Examples:
  mainstem inspect log --data main             segments, sizes, the head
  mainstem inspect block latest --data main    the newest main block
  mainstem inspect chain tDVV --data main      how far a side chain is indexed
  mainstem inspect check --deep --data main    read everything, name what is damaged
  mainstem inspect export --data main | head   side blocks as JSON lines
  mainstem inspect repair --data main          what can be mended, and what is lost

All of them but `repair` may run beside a node.";

/// Look into a log, check it, export it, repair it
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    #[command(subcommand)]
    what: What,
    /// The data directory
    #[arg(long, global = true, value_name = "DIR", default_value = "mainstem-data")]
    data: PathBuf,
}

#[derive(Subcommand)]
enum What {
    Log(log::Log),
    Block(block::Block),
    Chain(chain::Chain),
    Check(check::Check),
    Export(export::Export),
    Repair(repair::Repair),
}

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let data = Directory { data: self.data };
        let result = match self.what {
            What::Log(log) => log.run(&data),
            What::Block(block) => block.run(&data),
            What::Chain(chain) => chain.run(&data),
            What::Check(check) => return check.run(&data),
            What::Export(export) => export.run(&data),
            What::Repair(repair) => repair.run(&data),
        };
        match result {
            // Whoever closed the pipe has seen enough: `| head` is no failure.
            Err(error) if is_closed_output(&error) => Ok(ExitCode::SUCCESS),
            result => result,
        }
    }
}

/// A data directory whose log is looked into.
pub(crate) struct Directory {
    pub(crate) data: PathBuf,
}

impl Directory {
    pub(crate) fn log(&self) -> PathBuf {
        DataDir::plain(&self.data).log
    }

    pub(crate) fn open(&self) -> Result<LogReader> {
        let log = self.log();
        LogReader::open(&log).map_err(|error| match error {
            storage::Error::NoLog { .. } | storage::Error::Io { .. } => error.into(),
            error => {
                let next = self.command("inspect check");
                anyhow!(error).context(format!("the log in {} cannot be read; see `{next}`", log.display()))
            }
        })
    }

    /// A command line for this directory, to be copied.
    pub(crate) fn command(&self, command: &str) -> String {
        format!("mainstem {command} --data {}", quoted(&self.data))
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The oldest and the newest main block of a log.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) first: Height,
    pub(crate) head: Height,
}

impl Held {
    pub(crate) fn by(reader: &LogReader) -> Self {
        Self { first: reader.base().first, head: reader.head() }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.head < self.first
    }

    /// Why there is no main block at `height`.
    pub(crate) fn absent(self, height: Height) -> anyhow::Error {
        match self {
            Self { first, .. } if Height(0) < height && height < first => {
                anyhow!("main block {height} was pruned: {self}")
            }
            _ => anyhow!("there is no main block {height}: {self}"),
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            held if held.is_empty() => write!(f, "the log holds no main block"),
            Self { first, head } => write!(f, "the log has {first} to {head}"),
        }
    }
}

/// A chain as the API shows one.
#[derive(Serialize)]
struct ChainName {
    chain_id: ChainId,
    chain: String,
}

impl From<ChainId> for ChainName {
    fn from(id: ChainId) -> Self {
        Self { chain_id: id, chain: id.to_string() }
    }
}

/// One JSON document on standard output: what all of `--json` print.
fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// A bar on standard error, if that is a terminal and `wanted`.
fn progress_bar(wanted: bool, template: &str) -> ProgressBar {
    let bar = if wanted && stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.with_style(ProgressStyle::with_template(template).expect("our own templates are well-formed"))
}

/// A line on standard error, above the bar. Whoever closed standard error still learns the outcome from the exit code.
fn warn(bar: &ProgressBar, line: &str) {
    bar.suspend(|| {
        let _ = writeln!(stderr(), "{line}");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_when_a_shell_would_read_them_otherwise() {
        for (path, text) in [("main", "main"), ("/srv/a-b_c.d", "/srv/a-b_c.d"), ("my log", "'my log'")] {
            assert_eq!(quoted(Path::new(path)), text);
        }
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }

    #[test]
    fn a_missing_block_is_told_from_a_pruned_one() {
        let held = Held { first: Height(5), head: Height(9) };
        assert_eq!(held.absent(Height(4)).to_string(), "main block 4 was pruned: the log has 5 to 9");
        assert_eq!(held.absent(Height(10)).to_string(), "there is no main block 10: the log has 5 to 9");
        assert_eq!(held.absent(Height(0)).to_string(), "there is no main block 0: the log has 5 to 9");
        let empty = Held { first: Height(1), head: Height(0) };
        assert_eq!(
            empty.absent(Height(1)).to_string(),
            "there is no main block 1: the log holds no main block"
        );
    }
}
