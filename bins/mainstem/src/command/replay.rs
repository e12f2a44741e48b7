//! `mainstem replay`: makes the main blocks of a recording again, and says whether they are the same.

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::words::{counted, grouped};
use crate::codes::is_closed_output;
use crate::record::{Outcome, Replay as Replaying, Sealed, Speed};
use crate::threads;

const NOTES: &str = "\
Each line is a main block: when it was durable, how many side blocks it has, how old the oldest of them was by then, how \
many stayed in lanes, how long gathering and hashing took here; `same` says that its header, and so every root in it, is \
the same to the bit.

Exit code:
  0  all main blocks are the same
  1  one is not, or the file is damaged

Examples:
  mainstem replay stall.rec                as fast as it was
  mainstem replay stall.rec --speed max    as fast as this machine can
  mainstem replay stall.rec --json | jq 'select(.oldest_ms > 1000)'";

/// Make the main blocks of a recording again, and compare
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Replay {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many times as fast as it was recorded, or `max`
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Threads that hash [default: as a node on this machine has]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print JSON, one document a line: each main block, then the outcome
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print only main blocks that differ, and the outcome
    #[arg(long)]
    quiet: bool,
}

#[derive(Serialize)]
struct Last<'a> {
    outcome: &'a Outcome,
}

impl Replay {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.replay() {
            // Whoever closed the pipe has seen enough, but not that all is the same.
            Err(error) if is_closed_output(&error) => Ok(ExitCode::FAILURE),
            result => result,
        }
    }

    fn replay(&self) -> Result<ExitCode> {
        let settings = crate::settings::Settings::default();
        let threads =
            self.threads.unwrap_or_else(|| threads::Plan::of(threads::cores(), &settings).hashing.threads);
        let replaying = Replaying::open(&self.file, threads.get())?;
        if !self.json && !self.quiet {
            let mut out = stdout().lock();
            writeln!(
                out,
                "{:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>9}",
                "BLOCK", "AT", "BLOCKS", "OLDEST", "WAITING", "SEAL"
            )?;
        }
        let outcome = replaying
            .run(self.speed, |sealed| self.tell(sealed))
            .with_context(|| self.file.display().to_string())?;
        let mut out = stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &Last { outcome: &outcome })?;
            writeln!(out)?;
        } else {
            conclude(&mut out, &outcome)?;
        }
        Ok(if outcome.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn tell(&self, sealed: &Sealed) -> Result<()> {
        let mut out = stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, sealed)?;
            writeln!(out)?;
            return Ok(());
        }
        let Sealed { height, same, recorded, replayed, side_blocks, at_ms, oldest_ms, waiting, seal_ms } =
            sealed;
        if self.quiet && *same {
            return Ok(());
        }
        let verdict =
            if *same { "same".to_owned() } else { format!("DIFFERENT: {replayed}, was {recorded}") };
        writeln!(
            out,
            "{:>10}  {:>8.1} s  {:>10}  {oldest_ms:>7.1} ms  {:>10}  {seal_ms:>6.2} ms  {verdict}",
            grouped(height.0),
            at_ms / 1e3,
            grouped(*side_blocks),
            grouped(*waiting)
        )?;
        Ok(())
    }
}

fn conclude(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    let Outcome { main_blocks, side_blocks, different, frames, held_up, ended, .. } = outcome;
    writeln!(
        out,
        "{} of {} and {}: {:.1} s recorded, {:.1} s replayed; into lanes {:.1} ms, sealing {:.1} ms",
        counted(*main_blocks, "main block"),
        counted(*side_blocks, "side block"),
        counted(*frames, "frame"),
        outcome.recorded_ms / 1e3,
        outcome.replayed_ms / 1e3,
        outcome.ingest_ms,
        outcome.seal_ms
    )?;
    if *held_up > 0 {
        writeln!(out, "{} came while their lane had no room", counted(*held_up, "block"))?;
    }
    writeln!(out, "the recording ended because {ended}")?;
    match different {
        0 => writeln!(out, "all are the same, to the bit")?,
        _ => writeln!(out, "{} NOT the same", counted(*different, "main block"))?,
    }
    Ok(())
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| (0.001..=10_000.0).contains(times));
    times.map(Speed::Times).ok_or_else(|| "expected max, or a number from 0.001 to 10000".into())
}
