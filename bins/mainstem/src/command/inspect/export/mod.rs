//! `mainstem inspect export`: side blocks or headers of a log, for other programs.

mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod target;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use engine::chain::{BlockView, ChainId, ColumnsRef, Hash, Height, MainHeader};
use engine::store::BlockReader;
use indicatif::ProgressBar;
use storage::{Error, LogBlock, LogReader, Part};

use self::target::Target;
use self::walk::Walk;
use super::{Directory, Held, progress_bar, warn};
use crate::command::words::counted;

const NOTES: &str = "\
Side blocks, one a line, in the order of the main blocks that hold them:
  {\"main_height\":3,\"main_hash\":\"0x..\",\"leaf\":0,\"chain_id\":1866392,\"chain\":\"tDVV\",\"height\":7,
   \"hash\":\"0x..\",\"tx_root\":\"0x..\",\"time\":1700000000700}
`leaf` is the block's place among all side blocks of its main block; times are milliseconds since the Unix epoch. \
`--what headers` gives one object a main block: its hash and the fields of its header.

A main block that cannot be read is named on standard error and left out, and the exit code is 1.

Examples:
  mainstem inspect export --data main --chain tDVV | jq .hash
  mainstem inspect export --data main --from 1000 --to 1999 --out blocks.jsonl
  mainstem inspect export --data main --what headers --format parquet --out headers.parquet";

/// How often a log that is followed is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Write side blocks or headers as JSON lines or Parquet
#[derive(Args)]
#[command(after_help = NOTES)]
pub(super) struct Export {
    /// What to export
    #[arg(long, value_enum, default_value_t = What::SideBlocks)]
    what: What,
    /// The first main block [default: the oldest there is]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
    /// The last main block [default: the newest there is]
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// Only this side chain (or main blocks that hold some of its blocks); may be repeated
    #[arg(long = "chain", value_name = "CHAIN")]
    chains: Vec<ChainId>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Write to this file, which appears when it is whole [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "out")]
    force: bool,
    /// Go on with what the node writes from now on, until interrupted
    #[arg(long, conflicts_with_all = ["to", "out"])]
    follow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    SideBlocks,
    Headers,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines
    Json,
    /// Apache Parquet (if built with it)
    Parquet,
}

/// Writes rows in one format.
trait Rows {
    /// Side blocks that follow each other: those of one chain in one main block.
    fn side_blocks(&mut self, main: Main, run: &Run<'_>) -> Result<()>;

    /// The header of a main block.
    fn header(&mut self, hash: Hash, header: &MainHeader) -> Result<()>;

    /// Hands on what is still in memory.
    fn flush(&mut self) -> Result<()>;

    /// Ends the file.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The main block that holds side blocks.
#[derive(Clone, Copy)]
struct Main {
    height: Height,
    hash: Hash,
}

/// Side blocks of one chain, where they lie in the log.
struct Run<'a> {
    chain: ChainId,
    first_height: Height,
    first_leaf: u32,
    columns: ColumnsRef<'a>,
}

/// What was exported.
#[derive(Default)]
struct Count {
    main_blocks: u64,
    rows: u64,
    damaged: u64,
}

impl Export {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        if self.format == Format::Parquet && self.follow {
            bail!("--follow needs JSON lines: a Parquet file is of use only when it is whole");
        }
        let target = Target::new(self.out.as_deref(), self.force, self.format == Format::Parquet)?;
        let reader = data.open()?;
        let held = Held::by(&reader);
        let range = self.range(held)?;
        for &chain in &self.chains {
            if reader.chain_head(chain)?.is_none() {
                bail!("no block of chain {chain} is indexed in this log");
            }
        }
        let mut rows = self.rows(&target)?;
        let bar = progress_bar(
            self.out.is_some(),
            "exporting [{bar:30}] main block {human_pos} of {human_len}, {eta} left",
        );
        let mut count = Count::default();
        if let Some((from, to)) = range {
            bar.set_length(to.0 - from.0 + 1);
            self.blocks(&reader, from, to, &mut *rows, &bar, &mut count)?;
        }
        if self.follow {
            let next = range.map_or(held.first, |(_, to)| to.next());
            return self.go_on(&reader, next, &mut *rows);
        }
        rows.finish()?;
        bar.finish_and_clear();
        target.finish()?;
        let ends_too_soon = self.to.is_none() && tell_of_a_damaged_end(held.head, data)?;
        self.report(&count, data);
        Ok(if count.damaged == 0 && !ends_too_soon { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Exports what a node writes from now on. It ends with the process, or when nobody reads any more.
    fn go_on(&self, reader: &LogReader, mut next: Height, rows: &mut dyn Rows) -> Result<ExitCode> {
        loop {
            rows.flush()?;
            std::thread::sleep(FOLLOW_EVERY);
            let head = reader.refresh()?;
            if next <= head {
                self.blocks(reader, next, head, rows, &ProgressBar::hidden(), &mut Count::default())?;
                next = head.next();
            }
        }
    }

    /// The main blocks to export; `None` if the log is empty and nobody asked for certain ones.
    fn range(&self, held: Held) -> Result<Option<(Height, Height)>> {
        for height in [self.from, self.to].into_iter().flatten().map(Height) {
            if height < held.first || held.head < height {
                return Err(held.absent(height));
            }
        }
        let (from, to) = (self.from.map_or(held.first, Height), self.to.map_or(held.head, Height));
        if to < from && !held.is_empty() {
            bail!("--to {to} is below --from {from}");
        }
        Ok((!held.is_empty()).then_some((from, to)))
    }

    fn rows(&self, target: &Target) -> Result<Box<dyn Rows>> {
        Ok(match self.format {
            Format::Json => Box::new(json::JsonLines::new(target.writer()?)),
            #[cfg(feature = "parquet")]
            Format::Parquet => Box::new(parquet::ParquetFile::new(self.what, target.writer()?)?),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => bail!(
                "this program was built without Parquet: build it with `cargo build --release -p mainstem --features \
                 parquet`"
            ),
        })
    }

    fn blocks(
        &self,
        reader: &LogReader,
        from: Height,
        to: Height,
        rows: &mut dyn Rows,
        bar: &ProgressBar,
        count: &mut Count,
    ) -> Result<()> {
        let mut lost = Lost::default();
        let mut walk = Walk::new(reader, &self.chains, from, to);
        while let Some(height) = walk.next() {
            bar.set_position(height.0 - from.0);
            match reader.block(height) {
                Ok(Some(block)) => self.block(&block, rows, count)?,
                // Pruned by the node since we looked.
                Ok(None) => return Err(Held::by(reader).absent(height)),
                Err(error) => {
                    count.damaged += 1;
                    lost.add(height, error.to_string(), bar);
                }
            }
        }
        lost.tell(bar);
        Ok(())
    }

    fn block(&self, block: &LogBlock, rows: &mut dyn Rows, count: &mut Count) -> Result<()> {
        let (header, hash) = (block.header(), block.hash());
        let main = Main { height: header.height, hash };
        let mut wanted = self.chains.is_empty();
        for index in 0..block.section_count() {
            let section = block.section(index);
            if !self.chains.is_empty() && !self.chains.contains(&section.chain) {
                continue;
            }
            wanted = true;
            if self.what == What::SideBlocks {
                let leaves = section.leaves();
                rows.side_blocks(
                    main,
                    &Run {
                        chain: section.chain,
                        first_height: section.first_height,
                        first_leaf: section.first_leaf,
                        columns: block.columns().slice(leaves.start, leaves.end),
                    },
                )?;
                count.rows += u64::from(section.count);
            }
        }
        if wanted {
            count.main_blocks += 1;
            if self.what == What::Headers {
                rows.header(hash, &header)?;
                count.rows += 1;
            }
        }
        Ok(())
    }

    fn report(&self, count: &Count, data: &Directory) {
        let bar = ProgressBar::hidden();
        if count.damaged > 0 {
            let blocks = counted(count.damaged, "main block");
            let next = data.command("inspect repair");
            warn(&bar, &format!("{blocks} could not be read: see `{next}`"));
        }
        if let Some(out) = &self.out {
            let of = counted(count.main_blocks, "main block");
            let what = match self.what {
                What::SideBlocks => format!("{} of {of}", counted(count.rows, "side block")),
                What::Headers => counted(count.rows, "header"),
            };
            warn(&bar, &format!("wrote {what} to {}", out.display()));
        }
    }
}

/// Says so if a log that was read up to `head` had more blocks once: a reader stops at a damaged record of the last
/// segment as it does at one that is not written yet.
fn tell_of_a_damaged_end(head: Height, data: &Directory) -> Result<bool> {
    let report = storage::check(data.log(), false, &mut |_, _| {})?;
    let mut told = false;
    for error in &report.damage {
        let behind = match error {
            Error::Damaged { part: Part::Record(number), .. } => head < Height(*number),
            Error::Lost { first, .. } => head < *first,
            _ => false,
        };
        if behind {
            warn(
                &ProgressBar::hidden(),
                &format!("the export ends with main block {head} too soon: {error}"),
            );
            told = true;
        }
    }
    Ok(told)
}

/// Main blocks that follow each other and cannot be read for one reason: told in one line.
#[derive(Default)]
struct Lost {
    from: Height,
    to: Height,
    why: String,
}

impl Lost {
    fn add(&mut self, height: Height, why: String, bar: &ProgressBar) {
        if self.why == why && self.to.next() == height {
            self.to = height;
            return;
        }
        self.tell(bar);
        *self = Self { from: height, to: height, why };
    }

    fn tell(&self, bar: &ProgressBar) {
        let Self { from, to, why } = self;
        // A lost segment names its blocks itself.
        let again = format!("main blocks {from} to {to} cannot be read: ");
        let why = why.strip_prefix(&again).unwrap_or(why);
        match from.cmp(to) {
            _ if why.is_empty() => {}
            std::cmp::Ordering::Equal => warn(bar, &format!("left out main block {from}: {why}")),
            _ => warn(bar, &format!("left out main blocks {from} to {to}: {why}")),
        }
    }
}
