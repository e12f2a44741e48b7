//! `cargo xtask disk`: the log on real file systems, through recorded crashes, failing and full disks.
//!
//! The work is done by `storage/examples/disk`, which knows the log. Here it is built and started in a mount and
//! process namespace of its own, so that however it or we end, ctrl-c and SIGKILL included, its mounts, its loop
//! devices, its images in memory and its processes go with it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::workspace;

pub(crate) const LONG: &str = "\
Test the log on real file systems: crashes of a recorded disk, disks that fail, disks without space.

A workload appends blocks to a log, is killed and starts again, on a file system over a disk whose every write and \
flush is recorded (by qemu-storage-daemon, through FUSE and a loop device). From the record come disks as a power \
loss may leave them: cut at any write, what was not flushed lost, kept, torn or reordered by the sector. Each is \
mounted, the log on it opened, and it must hold every block that was acknowledged by then, and go on. The same is done \
first with workloads that break their promises (no sync, some syncs, acknowledged too early): a run that does not see \
those lose blocks fails. Then disks fail while they are used, and small file systems are filled to the last byte.

On ext4, and on XFS too where mkfs.xfs is installed. Needs root, FUSE, loop devices, qemu-storage-daemon (Debian: \
apt-get install qemu-utils), util-linux and e2fsprogs. Nothing is left behind, however the run ends; the recording of a \
failure is kept in target/disk/failed.";

/// How much to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Crash states to judge on each file system, besides those with planted faults
    #[arg(long, default_value_t = STATES, value_parser = clap::value_parser!(u32).range(1..))]
    states: u32,
    /// Number that decides the workload and the crash states [default: another one each time, printed]
    #[arg(long)]
    seed: Option<u32>,
    /// File systems [default: ext4, and xfs where mkfs.xfs is installed]
    #[arg(long = "fs", value_name = "NAME", value_parser = ["ext4", "xfs"])]
    file_systems: Vec<String>,
    /// Judge one state of the kept recording again, as the failed run printed it, and keep its image
    #[arg(long, value_name = "STATE", conflicts_with_all = ["states", "seed", "file_systems"])]
    replay: Option<String>,
}

/// What CI judges.
const STATES: u32 = 300;

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<()> {
    disk(&Options { states: STATES, seed: None, file_systems: Vec::new(), replay: None })
}

pub(crate) fn disk(options: &Options) -> Result<()> {
    if let Some(missing) = missing() {
        bail!("{missing}");
    }
    let program = Program::build()?;
    let failed = workspace::target("disk").join("failed");
    let failed = failed.to_str().context("the path of the workspace is not UTF-8")?;
    if let Some(state) = &options.replay {
        return program.run(&["replay", failed, state]);
    }
    let seed = options.seed.unwrap_or_else(new_seed);
    println!("seed {seed}: the same choices again by `cargo xtask disk --seed {seed}`");
    let mut file_systems: Vec<&str> = options.file_systems.iter().map(String::as_str).collect();
    if file_systems.is_empty() {
        file_systems = vec!["ext4"];
        if found("mkfs.xfs") {
            file_systems.push("xfs");
        }
    }
    for name in &file_systems {
        program.run(&["crash", name, &options.states.to_string(), &seed.to_string(), failed])?;
    }
    for name in &file_systems {
        program.run(&["failing", name])?;
    }
    for name in file_systems.iter().chain(&["tmpfs"]) {
        program.run(&["full", name])?;
    }
    Ok(())
}

/// What this machine lacks, all of it, and how to get it.
pub(crate) fn missing() -> Option<String> {
    let mut missing = Vec::new();
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        missing.push("root (mounting takes it: run `sudo -E cargo xtask disk`)".to_owned());
    }
    for (program, package) in [
        ("qemu-storage-daemon", "qemu-utils, or qemu-system-common"),
        ("mkfs.ext4", "e2fsprogs"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("losetup", "mount or util-linux"),
        ("mount", "mount or util-linux"),
    ] {
        if !found(program) {
            missing.push(format!("{program} (Debian: apt-get install {package})"));
        }
    }
    for (device, remedy) in [
        ("/dev/fuse", "`modprobe fuse`; in a container: --device /dev/fuse"),
        ("/dev/loop-control", "`modprobe loop`; in a container: --privileged"),
    ] {
        if !Path::new(device).exists() {
            missing.push(format!("{device} ({remedy})"));
        }
    }
    if missing.is_empty() && !succeeds("unshare", &["--mount", "--pid", "--fork", "--mount-proc", "true"]) {
        missing.push("the right to mount (in a container: --privileged)".to_owned());
    }
    if missing.is_empty() && !succeeds("losetup", &["--find"]) {
        missing.push("a free loop device (in a container: --privileged)".to_owned());
    }
    (!missing.is_empty()).then(|| format!("missing: {}", missing.join("; ")))
}

/// The program that does the work.
struct Program {
    path: PathBuf,
    /// Over this, which stays empty, it mounts what it works in.
    work: PathBuf,
}

impl Program {
    fn build() -> Result<Self> {
        // With the whole workspace: it is built already when `cargo xtask test` comes to this step.
        let mut build = workspace::cargo(&["build", "--workspace", "--example", "disk"]);
        if !build.status().context("cargo build does not start")?.success() {
            bail!("storage/examples/disk does not build");
        }
        let path = target_directory()?.join("debug/examples/disk");
        let work = workspace::target("disk").join("work");
        std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        Ok(Self { path, work })
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        // Dies with us; what it starts dies with it; and with the last of them their namespaces.
        let mut command = workspace::program("setpriv".as_ref(), &workspace::root());
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]);
        command.args(["--mount-proc", "--"]).arg(&self.path).arg(&self.work).args(args);
        let status = command.status().context("setpriv does not start")?;
        if status.success() { Ok(()) } else { Err(anyhow!("disk {}: {status}", args.join(" "))) }
    }
}

/// Where cargo puts what it builds.
fn target_directory() -> Result<PathBuf> {
    let output = workspace::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let text = String::from_utf8(output.stdout).context("cargo metadata gives no UTF-8")?;
    let (_, rest) =
        text.split_once(r#""target_directory":""#).context("cargo metadata names no target_directory")?;
    let (path, _) = rest.split_once('"').context("cargo metadata is cut off")?;
    Ok(path.into())
}

/// Whether a program is there to be started.
fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn new_seed() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() ^ now.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_is_not_there_is_not_found() {
        assert!(found("sh"));
        assert!(!found("no-such-program-here"));
        assert!(!succeeds("no-such-program-here", &[]));
    }

    #[test]
    fn target_directory_is_where_this_test_runs() {
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        assert!(own.starts_with(target_directory().unwrap().canonicalize().unwrap()));
    }
}
