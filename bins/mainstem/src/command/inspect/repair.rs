//! `mainstem inspect repair`: mends what can be mended of a damaged log, and says what is lost.

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use engine::chain::{ChainId, Height};
use engine::store::BlockReader;
use storage::{Error, LogReader, Mend, Part, RepairOptions};

use super::heights::within;
use super::{Directory, Held, progress_bar};
use crate::codes::is_closed_output;
use crate::command::words::{counted, grouped};

const NOTES: &str = "\
Without --apply nothing is changed. What is made again is made from what is left: unfinished files are removed, the file \
MARK, headers, indexes and trailers of segments are written anew from the records. A record that is damaged cannot be \
made again: stop here and look for a backup of its segment file.

Only --drop-from gives blocks up, and only those from there on: they may have been acknowledged to side chains and \
proven to others, so that the main chain then contradicts what it said. No node may write the log meanwhile.

Exit code:
  0  sound, or (with --apply) sound again
  1  there is something to mend, or damage is left";

/// Side chains that are listed with the main blocks that are lost.
const MOST_CHAINS: usize = 8;

/// Say what can be mended of a damaged log, and what is lost; mend it with --apply
#[derive(Args)]
#[command(after_help = NOTES)]
pub(super) struct Repair {
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Give up this main block and all after it
    #[arg(long, value_name = "HEIGHT")]
    drop_from: Option<u64>,
}

impl Repair {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        let log = data.log();
        // Before anything is changed: what it says of lost blocks is not there any more afterwards.
        let reader = LogReader::open(&log).ok();
        let bar =
            progress_bar(true, "reading [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        let options = RepairOptions { apply: self.apply, drop_from: self.drop_from.map(Height) };
        let repair = storage::repair(&log, options, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let repair = match repair {
            Err(Error::Locked { .. }) => {
                return Err(anyhow!("a node writes this log: stop it before it is repaired"));
            }
            // The one value that the user chose.
            Err(error @ Error::NoSuchBlock { .. }) if self.drop_from.is_some() => {
                let held = reader.as_ref().map(|reader| format!("; {}", Held::by(reader)));
                return Err(anyhow!("--{error}{}", held.unwrap_or_default()));
            }
            repair => repair.with_context(|| format!("the log in {} cannot be repaired", log.display()))?,
        };
        let left = !repair.remaining.is_empty();
        match self.print(&repair, reader.as_ref(), data) {
            Err(error) if !is_closed_output(&error) => return Err(error),
            // Whoever closed standard output still learns the outcome from the exit code.
            _ => {}
        }
        let done = self.apply || repair.mends.is_empty();
        Ok(if done && !left { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, repair: &storage::Repair, reader: Option<&LogReader>, data: &Directory) -> Result<()> {
        let mut out = stdout().lock();
        if repair.mends.is_empty() && repair.remaining.is_empty() {
            writeln!(out, "sound up to main block {}: there is nothing to mend", grouped(repair.head.0))?;
            return Ok(());
        }
        let (drops, mends): (Vec<_>, Vec<_>) =
            repair.mends.iter().partition(|mend| matches!(mend, Mend::Drop { .. }));
        let headings = if self.apply {
            ["mended:", "given up, as --drop-from says:"]
        } else {
            ["can be mended:", "would be given up, as --drop-from says:"]
        };
        for (heading, mends) in headings.into_iter().zip([mends, drops]) {
            if !mends.is_empty() {
                writeln!(out, "{heading}")?;
            }
            for mend in mends {
                writeln!(out, "  {}", text(mend))?;
            }
        }
        if !repair.remaining.is_empty() {
            writeln!(out, "cannot be mended:")?;
        }
        for error in &repair.remaining {
            writeln!(out, "  {error}")?;
        }
        let lost = Lost::of(&repair.remaining, reader);
        for range in &lost.blocks {
            lost.print(&mut out, *range, reader)?;
        }
        self.print_next(&mut out, repair, &lost, data)
    }

    fn print_next(
        &self,
        out: &mut impl Write,
        repair: &storage::Repair,
        lost: &Lost,
        data: &Directory,
    ) -> Result<()> {
        if self.drop_from.is_some() && !self.apply {
            writeln!(out, "They may have been acknowledged and proven. There is no way back.")?;
        }
        if !self.apply && !repair.mends.is_empty() {
            let drop = self.drop_from.map(|first| format!(" --drop-from {first}")).unwrap_or_default();
            let command = data.command(&format!("inspect repair{drop} --apply"));
            writeln!(out, "\nNothing was changed. To do it:\n  {command}")?;
        }
        if repair.remaining.is_empty() {
            if self.apply {
                writeln!(out, "sound up to main block {}", grouped(repair.head.0))?;
            }
            return Ok(());
        }
        writeln!(
            out,
            "\nWhat cannot be mended needs its file back from a backup. All the rest can be exported."
        )?;
        let unregistered = repair.remaining.iter().find_map(|error| match error {
            Error::Operations { height, .. } => Some(*height),
            _ => None,
        });
        let first = lost.blocks.first().map(|(first, _)| *first).into_iter().chain(unregistered).min();
        if let Some(first) = first {
            writeln!(out, "Without a backup, see what giving up main block {first} and all after it costs:")?;
            writeln!(out, "  {}", data.command(&format!("inspect repair --drop-from {first}")))?;
        }
        Ok(())
    }
}

fn text(mend: &Mend) -> String {
    let name = |file: &Path| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    match mend {
        Mend::RemoveUnfinished { file } => format!("{}: left unfinished by a crash, removed", name(file)),
        Mend::RewriteMark { file, head } => {
            format!("{}: made again from the newest records, up to main block {head}", name(file))
        }
        Mend::RewriteHeader { file } => format!("{}: header written again", name(file)),
        Mend::RewriteIndex { file, first, last } => {
            format!("{}: index and trailer made again from main blocks {first} to {last}", name(file))
        }
        Mend::Drop { first, last, side_blocks } => {
            let main = counted((last.0 + 1).saturating_sub(first.0), "main block");
            let side = counted(*side_blocks, "side block");
            format!("main blocks {first} to {last}: {main} with at least {side}")
        }
    }
}

/// What cannot be read for good.
struct Lost {
    /// Ranges of main blocks, ascending.
    blocks: Vec<(Height, Height)>,
    chains: Vec<ChainId>,
}

impl Lost {
    fn of(errors: &[Error], reader: Option<&LogReader>) -> Self {
        let segments = reader.map(LogReader::segments).unwrap_or_default();
        let of_file = |file: &Path| {
            let segment = segments.iter().find(|segment| segment.file == file)?;
            Some((segment.first, Height(segment.first.0 + segment.blocks).previous()))
        };
        let mut blocks: Vec<_> = errors
            .iter()
            .filter_map(|error| match error {
                Error::Damaged { part: Part::Record(number), .. } => Some((Height(*number), Height(*number))),
                Error::Lost { first, last, .. } => Some((*first, *last)),
                Error::Damaged { file, .. }
                | Error::Missing { file, .. }
                | Error::SegmentLength { file, .. }
                | Error::Shrunk { file, .. } => of_file(file),
                _ => None,
            })
            .filter(|(first, last)| first <= last)
            .collect();
        blocks.sort_unstable();
        blocks.dedup_by(|next, before| {
            let touches = next.0 <= before.1.next();
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        let heads = reader.and_then(|reader| reader.chain_heads().ok()).unwrap_or_default();
        Self { blocks, chains: heads.into_iter().map(|(chain, _)| chain).collect() }
    }

    /// What is lost with a range of main blocks.
    fn print(
        &self,
        out: &mut impl Write,
        (first, last): (Height, Height),
        reader: Option<&LogReader>,
    ) -> Result<()> {
        if reader.is_some_and(|reader| reader.head() < first) {
            // Where the next record begins is known from the one before only.
            writeln!(out, "lost: main block {first} and all after it")?;
            return Ok(());
        }
        if first == last {
            writeln!(out, "lost: main block {first}")?;
        } else {
            writeln!(out, "lost: main blocks {first} to {last}")?;
        }
        let Some(reader) = reader else { return Ok(()) };
        let (mut listed, mut left) = (0, 0);
        for &chain in &self.chains {
            let Some((from, to)) = within(reader, chain, (first, last)) else { continue };
            if listed == MOST_CHAINS {
                left += 1;
                continue;
            }
            listed += 1;
            let blocks = counted(to.0 + 1 - from.0, "side block");
            writeln!(out, "  {chain:10} {from} to {to}: {blocks} that cannot be proven")?;
        }
        if left > 0 {
            writeln!(out, "  and blocks of {} more", counted(left, "chain"))?;
        }
        Ok(())
    }
}
