//! `mainstem restore`: a data directory from a snapshot.

use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use engine::store::BlockReader;
use storage::{Log, Options};

use crate::codes::WithCode as _;
use crate::data_dir::{AtDir, DataDir, read_genesis};
use crate::snapshot::{self, Manifest, SnapshotError};

const NOTES: &str = "\
Every file is checked against the manifest, and the log is opened as a node opens it. Nothing is left behind if
something is wrong. Start the node then with `mainstem run --data DIR`; the configuration of the snapshot is taken over.

Two nodes must not run with the same key, nor write the same main chain: stop the one that the snapshot is of.";

/// Make a data directory of a snapshot, and check all of it
#[derive(Args)]
#[command(after_help = NOTES)]
pub(crate) struct Restore {
    /// The snapshot
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    dir: AtDir,
}

impl Restore {
    pub(crate) fn run(self) -> Result<()> {
        let to = self.dir.path();
        let manifest = snapshot::restore(&self.from, to)?;
        let dir = DataDir::plain(to);
        let opened = open(&dir, &manifest);
        if opened.is_err() {
            // It was empty before.
            let _ = fs::remove_dir_all(to);
        }
        opened?;
        let mut out = stdout().lock();
        let Manifest { first_block, head, .. } = &manifest;
        writeln!(out, "{}: main blocks {first_block} to {head}, all files as they were", to.display())?;
        if !dir.key.exists() {
            writeln!(
                out,
                "The snapshot has no private key: put the node's into {}, or make one with `mainstem keys new {}`",
                dir.key.display(),
                dir.key.display()
            )?;
        }
        Ok(())
    }
}

/// Opens the log as a node does, and holds it against the manifest.
fn open(dir: &DataDir, manifest: &Manifest) -> Result<()> {
    let genesis = read_genesis(&dir.genesis)?.0;
    let reader = storage::LogReader::open(&dir.log)?;
    let segment_bytes = reader.segment_bytes();
    drop(reader);
    let open = || -> Result<()> {
        let mut options = Options::new(genesis.hash, genesis.main.id);
        options.segment_bytes = segment_bytes;
        let (writer, reader, recovery) =
            Log::open(&dir.log, options).context("the log of the snapshot does not open")?;
        let damaged = |what: String| SnapshotError::Damaged { path: dir.log.clone(), what };
        if let Some(damage) = recovery.damage.first() {
            return Err(damaged(damage.to_string()).into());
        }
        let (first, head) = (reader.base().first, reader.head());
        if (first, head) != (manifest.first_block, manifest.head) {
            let (from, to) = (manifest.first_block, manifest.head);
            return Err(damaged(format!("has main blocks {first} to {head}, expected {from} to {to}")).into());
        }
        writer.close()?;
        Ok(())
    };
    open().code(5102)
}
