//! `mainstem prune`: removes the oldest segments of a log that no node writes.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{ChainId, Height};
use engine::store::BlockReader;
use storage::{Error, Log, LogReader, Options, SegmentInfo};

use super::inspect::heights::first_from;
use super::inspect::{Directory, Held};
use super::words::{bytes, counted, grouped};
use crate::codes::is_closed_output;

const NOTES: &str = "\
Whole segments are removed: those whose main blocks are all before HEIGHT. The last sealed segment stays. What is left \
keeps its proofs; of what is removed nothing can be proven or served any more, and there is no way back. Without \
--apply nothing is changed.

A node that runs prunes by itself: set `storage.keep_blocks`.";

/// Side chains that are listed with what is removed.
const MOST_CHAINS: usize = 8;

/// Remove the oldest main blocks of a log; with --apply
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Prune {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "mainstem-data")]
    data: PathBuf,
    /// The first main block to keep
    #[arg(long, value_name = "HEIGHT")]
    before: u64,
    /// Do it
    #[arg(long)]
    apply: bool,
}

/// What would be removed.
struct Plan {
    segments: u64,
    /// Of their files.
    bytes: u64,
    first: Height,
    /// The first main block that stays.
    kept: Height,
    side_blocks: u64,
}

impl Prune {
    pub(crate) fn run(self) -> Result<()> {
        match self.prune() {
            // Whoever closed the pipe has seen enough.
            Err(error) if is_closed_output(&error) => Ok(()),
            result => result,
        }
    }

    fn prune(self) -> Result<()> {
        let data = Directory { data: self.data };
        let reader = data.open()?;
        let held = Held::by(&reader);
        let before = Height(self.before);
        if before > held.head {
            return Err(held.absent(before));
        }
        let mut out = stdout().lock();
        let Some(plan) = Plan::new(&reader, before) else {
            let oldest = reader.segments().first().map(last_block);
            let why = match oldest {
                Some(last) if before <= last => {
                    format!("the oldest segment has main blocks {} to {last}", held.first)
                }
                _ => "the last sealed segment stays".to_owned(),
            };
            writeln!(out, "nothing to prune: only whole segments are removed, and {why}")?;
            return Ok(());
        };
        let gone = plan.chains(&reader)?;
        if !self.apply {
            plan.print(&mut out, "would be removed:", &gone)?;
            let last = plan.kept.previous();
            let export =
                data.command(&format!("inspect export --to {last} --out before-{}.jsonl", plan.kept));
            writeln!(out, "\nTo keep a copy of them:\n  {export}")?;
            let prune = data.command(&format!("prune --before {before} --apply"));
            writeln!(out, "\nNothing was changed. To do it:\n  {prune}")?;
            return Ok(());
        }
        let log = data.log();
        // None of their files is kept to be written again: whoever prunes by hand wants the space.
        let options =
            Options { spare_segments: 0, ..Options::new(reader.genesis_hash(), reader.main_chain()) };
        // So would its maps.
        drop(reader);
        let (mut writer, ..) = match Log::open(&log, options) {
            Err(Error::Locked { .. }) => bail!(
                "a node writes this log: set `storage.keep_blocks` and it prunes by itself, or stop it before you prune"
            ),
            opened => opened.with_context(|| format!("the log in {} cannot be opened", log.display()))?,
        };
        let pruned = writer.prune(before)?;
        writer.close()?;
        if pruned.first == plan.kept {
            plan.print(&mut out, "removed:", &gone)?;
        } else {
            let (segments, size) = (counted(pruned.segments, "segment"), bytes(pruned.bytes));
            writeln!(out, "removed {segments} ({size}); blocks that may still be taken back stay")?;
        }
        writeln!(out, "The log begins with main block {}.", pruned.first)?;
        Ok(())
    }
}

impl Plan {
    /// As the log's writer does it. `None` if nothing would go.
    fn new(reader: &LogReader, before: Height) -> Option<Self> {
        let segments = reader.segments();
        let sealed: Vec<_> = segments.iter().filter(|segment| segment.sealed).collect();
        let count = sealed.partition_point(|segment| last_block(segment) < before);
        let (gone, kept) = sealed.split_at(count.min(sealed.len().saturating_sub(1)));
        Some(Self {
            segments: gone.len() as u64,
            bytes: gone.len() as u64 * reader.segment_bytes(),
            first: gone.first()?.first,
            kept: kept.first()?.first,
            side_blocks: gone.iter().map(|segment| segment.leaves).sum(),
        })
    }

    /// The side chains that lose blocks, each with the last of them.
    fn chains(&self, reader: &LogReader) -> Result<Vec<(ChainId, Height)>> {
        let last_gone = |(chain, _)| {
            // Those up to a height that was pruned before are gone already.
            let already = reader.base().head(chain).map_or(Height(0), |head| head.height);
            let last = first_from(reader, chain, self.kept)?.previous();
            (already < last).then_some((chain, last))
        };
        Ok(reader.chain_heads()?.into_iter().filter_map(last_gone).collect())
    }

    fn print(&self, out: &mut impl Write, heading: &str, gone: &[(ChainId, Height)]) -> Result<()> {
        let (first, last) = (self.first, self.kept.previous());
        writeln!(out, "{heading}")?;
        writeln!(out, "  segments     {} ({})", self.segments, bytes(self.bytes))?;
        writeln!(out, "  main blocks  {first} to {last}")?;
        writeln!(out, "  side blocks  {}, which cannot be proven any more:", grouped(self.side_blocks))?;
        for (chain, last) in gone.iter().take(MOST_CHAINS) {
            writeln!(out, "               {chain:10} up to {last}")?;
        }
        if gone.len() > MOST_CHAINS {
            let more = counted((gone.len() - MOST_CHAINS) as u64, "more chain");
            writeln!(out, "               and some of {more}")?;
        }
        Ok(())
    }
}

/// Height of a segment's last main block.
fn last_block(segment: &SegmentInfo) -> Height {
    Height(segment.first.0 + segment.blocks).previous()
}
