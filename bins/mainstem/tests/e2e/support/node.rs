//! A `mainstem run` process and its data directory.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::process::Process;
use super::{mainstem, run};

/// A side chain of a genesis document.
pub(crate) struct Chain {
    pub(crate) id: u32,
    pub(crate) first_height: u64,
    pub(crate) keys: Vec<String>,
}

/// A data directory that `mainstem init` made.
pub(crate) struct Data {
    pub(crate) dir: TempDir,
}

impl Data {
    /// Makes a data directory for these side chains.
    pub(crate) fn new(chains: &[Chain]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut genesis = "[main]\nid = \"AELF\"\nname = \"test\"\n".to_owned();
        for Chain { id, first_height, keys } in chains {
            let _ = write!(
                genesis,
                "[[chain]]\nid = {id}\nname = \"chain {id}\"\nfirst_height = {first_height}\nnodes = {keys:?}\n"
            );
        }
        let document = dir.path().join("given.toml");
        fs::write(&document, genesis).unwrap();
        let data = Self { dir };
        let (code, _, error) =
            run(mainstem().arg("init").arg("--data").arg(data.path()).arg("--genesis").arg(document));
        assert_eq!(code, 0, "{error}");
        data
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("log")
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) process: Process,
    /// `http://127.0.0.1:PORT`
    pub(crate) api: String,
    /// `127.0.0.1:PORT`
    pub(crate) ingest: String,
    pub(crate) key: String,
}

impl Node {
    /// Starts a node on any free ports, or on the ingest port of a node before it.
    pub(crate) fn start(data: &Path, ingest: Option<&str>, more: &[&str]) -> Self {
        let mut process = Self::launch(data, ingest, more);
        let mut after =
            |label: &str| process.line(label, |line| Some(line.strip_prefix(label)?.trim_start().to_owned()));
        let (ingest, api) = (after("ingest      quic "), after("api  "));
        let key = after("public key ");
        Self { process, api, ingest, key }
    }

    /// The same, without waiting for anything.
    pub(crate) fn launch(data: &Path, ingest: Option<&str>, more: &[&str]) -> Process {
        let mut command = mainstem();
        command.arg("run").arg("--data").arg(data).args(["--api.addr", "127.0.0.1:0"]);
        command.args(["--ingest.addr", ingest.unwrap_or("127.0.0.1:0")]).args(more);
        Process::start("mainstem run", &mut command)
    }
}
