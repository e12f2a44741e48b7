//! What real nodes are brought into, so that their alerts fire.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Node, Running, leashed, run, signal, until};
use crate::workspace;

/// A tributary that sends simulated chains, `rate` blocks a second of each; 0 is as fast as they are taken.
pub(super) fn sim(node: &Node, chains: &str, rate: &str, key: &Path) -> Result<Running> {
    let mut tributary = leashed("tributary")?;
    tributary.args(["sim", "--main", &node.ingest, "--main-key", &node.key, "--chain", chains]);
    tributary.args(["--keep-trying", "--rate", rate, "--key"]).arg(key);
    tributary.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Running(tributary.spawn().context("tributary does not start")?))
}

/// A node that was stopped, and in whose log a byte has changed meanwhile: the first segment's blocks cannot be read.
pub(super) fn damaged(data: &Path, chain: &str, key: &Path) -> Result<Node> {
    const SMALL: [&str; 4] = ["--storage.segment-bytes", "1MiB", "--seal.max-leaves", "4096"];
    let mut before = Node::start(data, &SMALL)?;
    let sender = sim(&before, chain, "0", key)?;
    let segments = || -> Result<Vec<PathBuf>> {
        let files = fs::read_dir(data.join("log"))?.flatten().map(|entry| entry.path());
        let mut segments: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
        segments.sort();
        Ok(segments)
    };
    // One of them may have been made beforehand.
    until("a log has some sealed segments", || Ok(segments()?.len() >= 5))?;
    drop(sender);
    signal(&before.running, "TERM")?;
    before.running.0.wait()?;
    let first = segments()?.into_iter().next().context("the log has no segment")?;
    let file = fs::File::options().read(true).write(true).open(&first)?;
    // Within the trailer, which says what is in the segment.
    let place = file.metadata()?.len() - 64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)?;
    file.write_all_at(&[!byte[0]], place)?;
    Node::start(data, &SMALL)
}

/// A node that takes blocks in for another chain's node, which never asks for them. It takes one connection at a time. A
/// second chain is contradicted by its only node.
pub(super) fn undriven(data: &Path, chains: [&str; 2], key: &Path) -> Result<(Node, Running)> {
    let external = ["--main.mode", "external", "--external.addr", "127.0.0.1:0"];
    let strict = ["--ingest.max-connections-per-address", "1", "--watch.late-ms", "1000"];
    let node = Node::start(data, &[external, strict].concat())?;
    let [chain, contradicted] = chains;
    let mut liar = super::program("examples/contradict")?;
    run(liar.args([&node.ingest, &node.key]).arg(key).args([contradicted, "3"]))?;
    let sender = sim(&node, chain, "5", key)?;
    Ok((node, sender))
}

/// A node on a disk that takes its time: its stage that waits for the disk does nothing else.
pub(super) fn on_a_slow_disk(folder: &Path, data: &Path, chain: &str, key: &Path) -> Result<(Node, Running)> {
    let (source, library) =
        (workspace::root().join("bins/xtask/src/monitoring/slow_disk.c"), folder.join("slow_disk.so"));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    run(Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"))?;
    let node = Node::start_with(data, &[], |command| command.env("LD_PRELOAD", &library))?;
    let sender = sim(&node, chain, "50", key)?;
    Ok((node, sender))
}

/// Tributaries that are turned away, and try again in vain.
pub(super) fn crowd(node: &Node, chain: &str, key: &Path) -> Result<Vec<Running>> {
    // Each tries some seven times within 10 s.
    (0..12).map(|_| sim(node, chain, "1", key)).collect()
}

/// Lowers how many files a node may have open to few more than it has.
pub(super) fn short_of_files(node: &Node) -> Result<()> {
    let id = node.running.0.id();
    let open = fs::read_dir(format!("/proc/{id}/fd"))?.count();
    let most = open + (open / 8).max(3);
    run(Command::new("prlimit").arg(format!("--pid={id}")).arg(format!("--nofile={most}:{most}"))).map(drop)
}

/// Fills the disk, slowly: on the way to nowhere near full, but it would be within three days. Ends with the value.
pub(super) struct Filling {
    stop: Arc<AtomicBool>,
    file: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        // 8 MiB a second are 2 TB in three days.
        const STEP: usize = 2 << 20;
        const MOST: usize = 400;
        let (stop, path) = (Arc::new(AtomicBool::new(false)), folder.join("filling"));
        let mut file = fs::File::create(&path)?;
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let step = vec![0x5a; STEP];
            for _ in 0..MOST {
                // Relaxed: it guards nothing. A disk that is full is not filled.
                if stopped.load(Ordering::Relaxed) || file.write_all(&step).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(250));
            }
        });
        Ok(Self { stop, file: path, thread: Some(thread) })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.file);
    }
}
