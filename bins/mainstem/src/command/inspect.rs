//! `mainstem inspect`: what a log holds and whether it is sound, from its files, whether or not a node writes it.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use engine::chain::{BlockView, ChainId, Height};
use engine::store::BlockReader;
use indicatif::{ProgressBar, ProgressStyle};
use storage::LogReader;

use crate::data_dir::DataDir;

const EXAMPLES: &str = "\
Examples:
  mainstem inspect log --data main             the segments of the log
  mainstem inspect block latest --data main    the newest main block
  mainstem inspect chain tDVV --data main      how far a side chain is indexed
  mainstem inspect check --deep --data main    read everything; exit code 1 and the places if anything is damaged";

/// Look into a log, or check it
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
    /// The segments, what they hold, and the head
    Log,
    /// A main block: its header and what it holds of each chain
    Block {
        /// Height of the main block, or `latest`
        #[arg(value_name = "HEIGHT")]
        height: Which,
    },
    /// A side chain: how far it is indexed, and where its newest block is
    Chain {
        /// The side chain, as a number or four base58 letters
        chain: ChainId,
    },
    /// Check the log: trailers and indexes, and the records of the last segment
    Check {
        /// Check every record of every segment, too
        #[arg(long)]
        deep: bool,
    },
}

#[derive(Clone, Copy)]
enum Which {
    Latest,
    At(Height),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            _ => text
                .parse()
                .map(|height| Self::At(Height(height)))
                .map_err(|_| "expected a height or `latest`".into()),
        }
    }
}

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let dir = DataDir::plain(&self.data).log;
        let open =
            || LogReader::open(&dir).with_context(|| format!("the log in {} cannot be read", dir.display()));
        match self.what {
            What::Log => log(&open()?)?,
            What::Block { height } => block(&open()?, height)?,
            What::Chain { chain } => side_chain(&open()?, chain)?,
            What::Check { deep } => return check(&dir, deep),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn log(reader: &LogReader) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "main chain     {}", reader.main_chain())?;
    writeln!(out, "genesis        {}", reader.genesis_hash())?;
    writeln!(out, "head           main block {}", reader.head())?;
    writeln!(out, "segment size   {} bytes", reader.segment_bytes())?;
    writeln!(out)?;
    writeln!(out, "segment           state       first block      blocks     side blocks   record bytes")?;
    for segment in reader.segments() {
        let name =
            segment.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let state = if segment.sealed { "sealed" } else { "active" };
        let (first, blocks, leaves) = (segment.first, segment.blocks, segment.leaves);
        writeln!(
            out,
            "{name:17} {state:6} {first:>16} {blocks:>11} {leaves:>15} {:>14}",
            segment.record_bytes
        )?;
    }
    Ok(())
}

fn block(reader: &LogReader, which: Which) -> Result<()> {
    let head = reader.head();
    let height = match which {
        Which::Latest => head,
        Which::At(height) => height,
    };
    let Some(block) = reader.block(height)? else {
        bail!("there is no main block {height}: the log has 1 to {head}");
    };
    let mut out = stdout().lock();
    let header = block.header();
    writeln!(out, "hash           {}", header.hash())?;
    writeln!(out, "header         {}", serde_json::to_string_pretty(&header)?)?;
    writeln!(out, "bytes          {}", block.record_bytes())?;
    writeln!(out)?;
    writeln!(out, "chain           first height  last height     blocks  chain root")?;
    for index in 0..block.section_count() {
        let section = block.section(index);
        let (chain, first, last) = (section.chain, section.first_height, section.last_height());
        writeln!(out, "{chain:12} {first:>15} {last:>12} {:>10}  {}", section.count, section.chain_root)?;
    }
    Ok(())
}

fn side_chain(reader: &LogReader, chain: ChainId) -> Result<()> {
    let Some(head) = reader.chain_head(chain)? else {
        bail!("no block of chain {chain} is indexed in this log");
    };
    let main = reader
        .locate(chain, head)?
        .context("the newest block of the chain is not in the index: check the log")?;
    let mut out = stdout().lock();
    writeln!(out, "chain          {chain} ({})", chain.0)?;
    writeln!(out, "indexed up to  {head}")?;
    writeln!(out, "in main block  {main}")?;
    Ok(())
}

/// Exit code 0: sound. 1: damaged, or not to be opened.
fn check(dir: &std::path::Path, deep: bool) -> Result<ExitCode> {
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = "checking [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
    let report = storage::check(dir, deep, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.with_context(|| format!("the log in {} cannot be opened", dir.display()))?;
    let mut out = stdout().lock();
    let (head, segments, records) = (report.head, report.segments, report.records);
    writeln!(
        out,
        "checked {segments} segments, {records} records, {} bytes, up to main block {head}",
        report.bytes
    )?;
    if report.damage.is_empty() {
        let unread =
            if deep { "" } else { " as far as it was read; --deep reads every record of sealed segments" };
        writeln!(out, "sound{unread}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for damage in &report.damage {
        writeln!(out, "damaged: {damage}")?;
    }
    Ok(ExitCode::FAILURE)
}
