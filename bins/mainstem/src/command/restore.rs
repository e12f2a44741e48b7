//! `mainstem restore`: a data directory from a snapshot.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use engine::store::BlockReader;
use storage::{Log, Options};

use crate::codes::WithCode as _;
use crate::data_dir::{AtDir, DataDir, read_genesis};
use crate::node::lost_operations;
use crate::snapshot::{self, Manifest, SnapshotError};

const NOTES: &str = "\
Every file is checked against the manifest, and the log is opened and checked as a node does it. Nothing is left behind if \
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
        let manifest = restore(&self.from, to)?;
        let dir = DataDir::plain(to);
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

/// Makes the data directory `to`, and leaves nothing behind if something is wrong.
fn restore(from: &Path, to: &Path) -> Result<Manifest> {
    let manifest = snapshot::restore(from, to)?;
    let opened = open(&DataDir::plain(to), &manifest);
    if opened.is_err() {
        // It was empty before.
        let _ = fs::remove_dir_all(to);
    }
    opened.map(|()| manifest)
}

/// Opens the log as a node does, and holds it against the manifest; and the roots of its newest header against all that
/// they commit to, because a manifest says of files that they are whole, not that they belong together, nor that none is
/// missing.
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
        engine::pipeline::check(&genesis, &reader).map_err(|error| {
            let lost = lost_operations(&reader, &error);
            damaged(lost.map_or_else(|| error.to_string(), |lost| lost.to_string()))
        })?;
        writer.close()?;
        Ok(())
    };
    open().code(5102)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::chain::{ChainId, NodeKey};
    use engine::pipeline::{Engine, PipelineConfig};
    use engine::state::{Genesis, MainChain, Operation, SideChain};

    use super::*;

    fn side(id: u32) -> SideChain {
        SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: engine::chain::Height(1),
            nodes: vec![NodeKey([1; 32])],
            finality: engine::quorum::FinalityRule::Single,
        }
    }

    #[test]
    fn a_snapshot_whose_manifest_leaves_the_operations_out_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let [data, copy, new] = ["data", "copy", "new"].map(|name| temp.path().join(name));
        let dir = DataDir::plain(&data);
        fs::create_dir(&data).unwrap();
        let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
        let document = Genesis::document(&main, &[side(1)]);
        fs::write(&dir.genesis, &document).unwrap();
        let genesis = Genesis::parse(&document).unwrap();
        let mut options = Options::new(genesis.hash, genesis.main.id);
        options.segment_bytes = storage::MIN_SEGMENT_BYTES;
        let (writer, reader, _) = Log::open(&dir.log, options).unwrap();
        let config = PipelineConfig { max_leaves: 64, ..PipelineConfig::default() };
        let clock = Arc::new(crate::clock::SystemClock::start());
        let running = Engine::resume(config, &genesis, writer, &reader, clock).unwrap().start(Vec::new());
        running.operate(Operation::Register(side(2))).unwrap();
        running.stop().unwrap();
        drop(reader);

        snapshot::write(&dir, &copy, false).unwrap();
        assert_eq!(restore(&copy, &new).unwrap().head.0, 1);
        fs::remove_dir_all(&new).unwrap();
        let path = copy.join(snapshot::MANIFEST);
        let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let before = manifest.files.len();
        manifest.files.retain(|entry| entry.path != "log/OPERATIONS");
        assert_eq!(manifest.files.len(), before - 1);
        fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let error = format!("{:#}", restore(&copy, &new).unwrap_err());
        assert!(error.contains("OPERATIONS is missing") && error.contains("main block 1 "), "{error}");
        assert!(!new.exists(), "nothing is left behind");
    }
}
