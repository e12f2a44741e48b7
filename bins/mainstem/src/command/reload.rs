//! `mainstem reload`: a running node reads its configuration again.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::admin::{Applied, Client};
use crate::data_dir::{AtDir, DataDir};

const EXAMPLES: &str = "\
docs/config.md says of each setting whether it can change while the node runs. SIGHUP does the same.

Examples:
  mainstem config check --data main && mainstem reload --data main";

/// Have the running node read its configuration again, and say what holds now and what needs a restart
///
/// An invalid configuration changes nothing.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reload {
    #[command(flatten)]
    dir: AtDir,
}

impl Reload {
    pub(crate) fn run(self) -> Result<()> {
        let client = Client::at(&DataDir::plain(self.dir.path()));
        let applied: Applied = serde_json::from_value(client.post("/v1/admin/reload", &Value::Null)?)?;
        let mut out = stdout().lock();
        let Applied { applied, needs_restart, notes } = applied;
        if applied.is_empty() && needs_restart.is_empty() {
            writeln!(out, "nothing has changed")?;
        }
        for setting in applied {
            writeln!(out, "{setting}: holds now")?;
        }
        for setting in needs_restart {
            writeln!(out, "{setting}: has changed, and holds from the next start on")?;
        }
        for note in notes {
            writeln!(out, "{note}")?;
        }
        Ok(())
    }
}
