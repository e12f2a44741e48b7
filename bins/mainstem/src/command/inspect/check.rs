//! `mainstem inspect check`: whether a log is sound, and where it is not.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use engine::chain::Height;
use serde::Serialize;
use storage::{Error, Part};

use super::{Directory, print_json, progress_bar};
use crate::codes::is_closed_output;
use crate::command::words::{bytes, counted, grouped};

const NOTES: &str = "\
Exit code:
  0  sound, as far as it was read
  1  damaged, or not to be opened; the places are named, and what to do next

A log that a node writes is checked as far as it was durable when the check began.";

/// Check the log: its small files, trailers and indexes, and the records of the last segment
#[derive(Args)]
#[command(after_help = NOTES)]
pub(super) struct Check {
    /// Check every record of every segment, too
    #[arg(long)]
    deep: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    sound: bool,
    deep: bool,
    head: Height,
    segments: u64,
    records: u64,
    bytes: u64,
    damage: Vec<Damage>,
    /// The command that says what can be done.
    next: Option<String>,
}

/// A damaged place.
#[derive(Serialize)]
pub(super) struct Damage {
    /// All of it, as people read it.
    pub(super) text: String,
    pub(super) file: Option<PathBuf>,
    offset: Option<u64>,
    part: Option<String>,
    /// The main block that cannot be read because of it.
    record: Option<u64>,
}

impl From<&Error> for Damage {
    fn from(error: &Error) -> Self {
        let mut damage = Self { text: error.to_string(), file: None, offset: None, part: None, record: None };
        let cause = match error {
            Error::Lost { cause, .. } => &**cause,
            error => error,
        };
        match cause {
            Error::Damaged { file, offset, part, .. } => {
                damage.file = Some(file.clone());
                damage.offset = Some(*offset);
                damage.part = Some(part.to_string());
                if let Part::Record(number) = part {
                    damage.record = Some(*number);
                }
            }
            Error::Missing { file, .. }
            | Error::SegmentLength { file, .. }
            | Error::Shrunk { file, .. }
            | Error::Operations { file, .. } => {
                damage.file = Some(file.clone());
            }
            _ => {}
        }
        damage
    }
}

impl Check {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        let bar =
            progress_bar(true, "checking [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        let report = storage::check(data.log(), self.deep, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let (report, opened) = match report {
            Ok(report) => (report, true),
            // Nothing to mend where no log is.
            Err(error @ (Error::NoLog { .. } | Error::Io { .. })) => return Err(error.into()),
            Err(error) => (storage::Report { damage: vec![error], ..Default::default() }, false),
        };
        let sound = report.damage.is_empty();
        let next = (!sound).then(|| data.command("inspect repair"));
        let printed = if self.json {
            let damage = report.damage.iter().map(Damage::from).collect();
            let (head, segments, records) = (report.head, report.segments, report.records);
            let (deep, bytes) = (self.deep, report.bytes);
            print_json(&View { sound, deep, head, segments, records, bytes, damage, next })
        } else {
            self.print(&report, opened, next.as_deref())
        };
        match printed {
            Err(error) if !is_closed_output(&error) => return Err(error),
            // Whoever closed standard output still learns the outcome from the exit code.
            _ => {}
        }
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, report: &storage::Report, opened: bool, next: Option<&str>) -> Result<()> {
        let mut out = stdout().lock();
        if opened {
            let (segments, records) =
                (counted(report.segments, "segment"), counted(report.records, "record"));
            let (size, head) = (bytes(report.bytes), grouped(report.head.0));
            writeln!(out, "checked {segments}, {records}, {size}, up to main block {head}")?;
        }
        for damage in &report.damage {
            writeln!(out, "damaged: {damage}")?;
        }
        match next {
            Some(next) => writeln!(out, "\nWhat can be done about it, without doing it:\n  {next}")?,
            None if self.deep => writeln!(out, "sound")?,
            None => writeln!(out, "sound, as far as it was read; --deep reads every record")?,
        }
        Ok(())
    }
}
