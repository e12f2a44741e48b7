//! `mainstem prune`: removes the oldest segments of a log that no node writes.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use engine::chain::{ChainId, Height};
use engine::store::BlockReader;
use storage::{Error, Log, LogReader, Options, SegmentInfo};

use super::inspect::heights::first_from;
use super::inspect::{Directory, Held, bytes, counted};

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
        plan.print(&mut out, &reader, self.apply)?;
        if !self.apply {
            let last = plan.kept.previous();
            let export =
                data.command(&format!("inspect export --to {last} --out before-{}.jsonl", plan.kept));
            writeln!(out, "\nTo keep a copy of them:\n  {export}")?;
            let prune = data.command(&format!("prune --before {before} --apply"));
            writeln!(out, "Nothing was changed. To do it:\n  {prune}")?;
            return Ok(());
        }
        let log = data.log();
        let options = Options::new(reader.genesis_hash(), reader.main_chain());
        // Its maps would keep the space of what is removed.
        drop(reader);
        let pruned = match Log::open(&log, options) {
            Err(Error::Locked { .. }) => bail!(
                "a node writes this log: set `storage.keep_blocks` and it prunes by itself, or stop it before you prune"
            ),
            opened => {
                let opened = opened.with_context(|| format!("the log in {} cannot be opened", log.display()));
                let (mut writer, reader, _) = opened?;
                drop(reader);
                let pruned = writer.prune(before).map_err(|error| anyhow!("{error}"))?;
                writer.close()?;
                pruned
            }
        };
        let (segments, size) = (counted(pruned.segments, "segment"), bytes(pruned.bytes));
        writeln!(out, "removed {segments} ({size}); the log begins with main block {}", pruned.first)?;
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

    fn print(&self, out: &mut impl Write, reader: &LogReader, apply: bool) -> Result<()> {
        let (first, last) = (self.first, self.kept.previous());
        let main = counted(self.kept.0 - first.0, "main block");
        writeln!(out, "{}", if apply { "removing:" } else { "would be removed:" })?;
        writeln!(out, "  segments     {} ({})", self.segments, bytes(self.bytes))?;
        writeln!(out, "  main blocks  {first} to {last} ({main})")?;
        writeln!(
            out,
            "  side blocks  {}, which cannot be proven any more:",
            super::inspect::grouped(self.side_blocks)
        )?;
        let gone: Vec<(ChainId, Height)> = reader
            .chain_heads()?
            .into_iter()
            .filter_map(|(chain, _)| {
                // Those up to a height that was pruned before are gone already.
                let already = reader.base().head(chain).map_or(Height(0), |head| head.height);
                let last = first_from(reader, chain, self.kept)?.previous();
                (already < last).then_some((chain, last))
            })
            .collect();
        for (chain, last) in gone.iter().take(MOST_CHAINS) {
            writeln!(out, "    chain {chain:>10}: up to {last}")?;
        }
        if gone.len() > MOST_CHAINS {
            writeln!(out, "    and blocks of {}", counted((gone.len() - MOST_CHAINS) as u64, "more chain"))?;
        }
        Ok(())
    }
}

/// Height of a segment's last main block.
fn last_block(segment: &SegmentInfo) -> Height {
    Height(segment.first.0 + segment.blocks).previous()
}
