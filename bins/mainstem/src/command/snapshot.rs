//! `mainstem snapshot`: a copy of a data directory that a node can start from, taken while it runs.

use std::io::{Write, stdout};
use std::path::{PathBuf, absolute};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::admin::{Client, ClientError};
use crate::data_dir::{AtDir, DataDir};
use crate::snapshot::{self, Manifest};

const NOTES: &str = "\
It holds every main block that was durable when it began, the configuration, genesis document, and lists of keys and \
paused chains. Full segments of the log are hard links where the file system allows it, so a snapshot on the same one \
takes little space at first; copy it elsewhere with any program. The node's private key is left out.

Without a node running, it is taken of the directory as it lies.

Examples:
  mainstem snapshot --data main --to /backup/main-1
  mainstem restore --from /backup/main-1 --data main2";

/// Write a snapshot of a data directory, while its node runs
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    dir: AtDir,
    /// The directory to write; it must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Put the node's private key into it too: who has it, is the node
    #[arg(long)]
    with_key: bool,
}

impl Snapshot {
    pub(crate) fn run(self) -> Result<()> {
        let dir = DataDir::plain(self.dir.path());
        let to = absolute(&self.to)?;
        // Also where a node writes it: the answer is the same then.
        snapshot::judge_target(&dir, &to)?;
        let body = json!({ "to": to, "with_key": self.with_key });
        let manifest: Manifest = match Client::at(&dir).post("/v1/admin/snapshot", &body) {
            Ok(answer) => serde_json::from_value(answer)?,
            Err(ClientError::NotReachable { .. }) => snapshot::write(&dir, &to, self.with_key)?,
            Err(error) => return Err(error.into()),
        };
        let Manifest { first_block, head, files, .. } = &manifest;
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let count = files.len();
        let mut out = stdout().lock();
        writeln!(out, "{}: main blocks {first_block} to {head}, {count} files, {bytes} bytes", to.display())?;
        if !self.with_key {
            writeln!(out, "The node's private key is not in it: keep a copy of it elsewhere.")?;
        }
        Ok(())
    }
}
