//! [`Recorder`]: a disk whose writes and flushes are recorded, by `qemu-storage-daemon`.
//!
//! The daemon shows the recorded image as a file by FUSE; a loop device makes a disk of it. It takes one request at a
//! time and has written it down before it answers: what the list holds when a sync returns was done before that.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::program::{FileSystem, Mount, run};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A recorded disk with a mounted file system.
pub(crate) struct Recorder {
    // In the order in which they must go.
    mount: Mount,
    daemon: Daemon,
}

impl Recorder {
    /// Makes a file system, keeps its image as `base.img` in `dir`, mounts it at `dir/disk` and records all that is
    /// written to it from then on in `dir/writes`.
    pub(crate) fn start(kind: FileSystem, dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let (base, image) = (dir.join("base.img"), dir.join("recorded.img"));
        kind.make(&base, kind.recording_mib())?;
        std::fs::copy(&base, &image)?;
        std::fs::write(Self::writes(&dir), [])?;
        let nodes = [
            file("image", &image),
            file("writes", &Self::writes(&dir)),
            "driver=blklogwrites,node-name=top,file=image,log=writes".to_owned(),
        ];
        let daemon = Daemon::start(&nodes, &dir.join("export"))?;
        let mount = Mount::image(kind, &daemon.export, &dir.join("disk"))?;
        Ok(Self { mount, daemon })
    }

    /// The list of writes of a recording in `dir`.
    pub(crate) fn writes(dir: &Path) -> PathBuf {
        dir.join("writes")
    }

    /// The image before the first write.
    pub(crate) fn base(dir: &Path) -> PathBuf {
        dir.join("base.img")
    }

    /// Where the file system is.
    pub(crate) fn at(&self) -> &Path {
        self.mount.at()
    }

    /// Ends the recording; the list is whole then.
    pub(crate) fn end(self) -> Outcome {
        self.mount.end()?;
        self.daemon.end()
    }
}

/// Option of the daemon: its node `name` is the file `path`.
pub(crate) fn file(name: &str, path: &Path) -> String {
    format!("driver=file,node-name={name},filename={}", escaped(path))
}

fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// `qemu-storage-daemon`, which shows its node `top` as a file.
///
/// It has a mount namespace of its own. In ours it would hold the file system that lies on what it shows: when all is
/// killed and it happens to go last, it would have to unmount that, wait for its own answer, and never end. Only the
/// folder of what it shows is common to both.
pub(crate) struct Daemon {
    child: Child,
    /// Where the file is.
    pub(crate) export: PathBuf,
    /// Around it.
    shared: Mount,
}

impl Daemon {
    pub(crate) fn start(nodes: &[String], export: &Path) -> Outcome<Self> {
        let shared = Mount::tmpfs(1, export)?;
        run("mount", &["--make-shared".as_ref(), export.as_os_str()])?;
        let export = export.join("disk.img");
        std::fs::write(&export, [])?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "unchanged", "qemu-storage-daemon"]);
        for node in nodes {
            command.args(["--blockdev", node]);
        }
        let show = format!("type=fuse,id=export,node-name=top,writable=on,mountpoint={}", escaped(&export));
        command.args(["--export", &show]).stdin(Stdio::null());
        let child = command.spawn().map_err(|error| format!("qemu-storage-daemon: {error}"))?;
        let mut daemon = Self { child, export, shared };
        // The file is empty until the daemon stands in for it.
        let start = Instant::now();
        while std::fs::metadata(&daemon.export)?.len() == 0 {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(format!("qemu-storage-daemon ended at once: {status}").into());
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(format!("qemu-storage-daemon shows no disk within {START_TIMEOUT:?}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// Ends it in order, so that it finishes its files and takes its mount away.
    pub(crate) fn end(mut self) -> Outcome {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("qemu-storage-daemon: {status}").into());
        }
        self.shared.unmount()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nothing left to do about any other error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
