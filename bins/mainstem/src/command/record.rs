//! `mainstem record`: writes down what a running node takes in and what it seals, so that it can be replayed.

use std::io::{Write, stdout};
use std::path::{PathBuf, absolute};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::dev::duration;
use super::words::{bytes, counted};
use crate::admin::Client;
use crate::data_dir::{AtDir, DataDir};
use crate::record::{Report, Wanted};

const NOTES: &str = "\
The node writes the file itself: side blocks as they came, with their times, and which of them it sealed. Its work is not \
held up: when the disk cannot follow, the recording ends and says so. In it are heights, hashes, roots and times of side \
blocks, the genesis document, and no secret.

Ctrl-C ends it early, and what was recorded up to then is whole.

Exit code:
  1  it could not be made, or ended before what was asked for

Examples:
  mainstem record --data main --out stall.rec --for 60s
  mainstem replay stall.rec";

/// Between two looks whether a signal came or the recording has ended.
const GLANCE: Duration = Duration::from_millis(50);

/// Record what a running node takes in and seals
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Record {
    #[command(flatten)]
    dir: AtDir,
    /// The file to write, on the node's machine; it must not exist yet
    #[arg(short, long, value_name = "FILE", required_unless_present = "stop")]
    out: Option<PathBuf>,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// The longest that the file may become, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 40))]
    max_bytes: u64,
    /// End the recording that another command has begun
    #[arg(long, conflicts_with = "out")]
    stop: bool,
}

impl Record {
    pub(crate) fn run(self) -> Result<()> {
        let client = Client::at(&DataDir::plain(self.dir.path()));
        let Some(out) = &self.out else {
            let ran = client.delete("/v1/admin/record")?.get("ran").and_then(Value::as_bool);
            let said = if ran == Some(false) { "no recording runs" } else { "the recording ends" };
            writeln!(stdout().lock(), "{said}")?;
            return Ok(());
        };
        let wanted =
            Wanted { to: absolute(out)?, for_ms: self.time.as_millis() as u64, max_bytes: self.max_bytes };
        let body = serde_json::to_value(&wanted)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&asked)).context("cannot handle signals")?;
        }
        let recording = {
            let client = client.clone();
            thread::spawn(move || client.post("/v1/admin/record", &body))
        };
        while !recording.is_finished() {
            thread::sleep(GLANCE);
            // Relaxed: the flag guards nothing.
            if asked.swap(false, Ordering::Relaxed) {
                client.delete("/v1/admin/record")?;
            }
        }
        let answer = recording.join().map_err(|_| anyhow!("the thread that asks the node panicked"))??;
        let report: Report = serde_json::from_value(answer).context("not what a node answers")?;
        print(&report)?;
        if !report.whole {
            bail!("the recording ended early: {}", report.ended);
        }
        Ok(())
    }
}

fn print(report: &Report) -> Result<()> {
    let Report { to, bytes: length, ms, frames, main_blocks, side_blocks, ended, .. } = report;
    let mut out = stdout().lock();
    writeln!(
        out,
        "{}: {}, {} s, {}, {}, {}; {ended}",
        to.display(),
        bytes(*length),
        ms / 1_000,
        counted(*frames, "frame"),
        counted(*main_blocks, "main block"),
        counted(*side_blocks, "side block")
    )?;
    Ok(())
}
