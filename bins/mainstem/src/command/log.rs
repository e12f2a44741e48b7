//! `mainstem log`: which lines a running node writes to its log.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::Client;
use crate::data_dir::{AtDir, DataDir};

use super::dev::duration;

const EXAMPLES: &str = "\
Parts: net, engine, storage, aelf, api, admin, watch, keys, external, node. Levels: off, error, warn, info, debug, trace. \
What is set adds to the configured log.filter, holds for a time, and goes back by itself.

Examples:
  mainstem log show --data main
  mainstem log set net=debug --for 10m --data main
  mainstem log reset --data main";

/// Show or change which lines a running node writes to its log
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show which lines are written
    Show {
        #[command(flatten)]
        dir: AtDir,
    },
    /// Write more, or fewer, for a time
    Set {
        /// A level, or levels by part, such as net=debug,api=warn
        filter: String,
        /// For how long, such as 30s, 10m or 1h
        #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
        time: Duration,
        #[command(flatten)]
        dir: AtDir,
    },
    /// Go back to what is configured, at once
    Reset {
        #[command(flatten)]
        dir: AtDir,
    },
}

impl Log {
    pub(crate) fn run(self) -> Result<()> {
        const PATH: &str = "/v1/admin/log";
        let client = |dir: AtDir| Client::at(&DataDir::plain(dir.path()));
        let shown = match self.what {
            What::Show { dir } => client(dir).get(PATH)?,
            What::Set { filter, time, dir } => {
                let seconds = time.as_secs().max(1);
                client(dir).post(PATH, &json!({ "filter": filter, "for_s": seconds }))?
            }
            What::Reset { dir } => client(dir).delete(PATH)?,
        };
        let text = |name: &str| shown.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut out = stdout().lock();
        match shown.get("for_s").and_then(Value::as_u64) {
            None => writeln!(out, "{}, as configured", text("filter"))?,
            Some(left) => {
                writeln!(out, "{}, for {left} s, then {} again", text("filter"), text("configured"))?;
            }
        }
        Ok(())
    }
}
