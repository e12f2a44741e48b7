//! Other programs that this one calls, and file systems that it mounts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;

const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// A file system to test on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    /// Has no disk: for what needs no crash.
    Tmpfs,
}

impl FileSystem {
    pub(crate) fn of(name: &str) -> Outcome<Self> {
        match name {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            "tmpfs" => Ok(Self::Tmpfs),
            _ => Err(format!("file system {name}: expected ext4, xfs or tmpfs").into()),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// The smallest image on which a recording has space, in MiB; XFS cannot be made smaller than this.
    pub(crate) fn recording_mib(self) -> u64 {
        if self == Self::Xfs { 300 } else { 48 }
    }

    /// Makes this file system on the file `image`, of `mib` MiB. Its journal is as small as may be, so that it
    /// wraps round while we look.
    pub(crate) fn make(self, image: &Path, mib: u64) -> Outcome {
        let file = std::fs::File::create(image)?;
        file.set_len(mib << 20)?;
        drop(file);
        let image = image.as_os_str();
        match self {
            Self::Ext4 => {
                let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                let small: [&str; 10] =
                    ["-q", "-F", "-b", "4096", "-J", "size=4", "-N", "256", "-E", options];
                run("mkfs.ext4", &[&small.map(OsStr::new)[..], &[image]].concat())
            }
            Self::Xfs => run("mkfs.xfs", &[OsStr::new("-q"), OsStr::new("-K"), OsStr::new("-f"), image]),
            Self::Tmpfs => Ok(()),
        }
    }
}

/// A mounted file system; gone when dropped.
pub(crate) struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts the file `image` by way of a loop device, which goes away with the mount.
    pub(crate) fn image(kind: FileSystem, image: &Path, at: &Path) -> Outcome<Self> {
        // XFS refuses a second file system with the id of a mounted one, and all states of a recording have one id.
        let options = if kind == FileSystem::Xfs { "loop,nouuid" } else { "loop" };
        let what = ["-t", kind.name(), "-o", options].map(OsStr::new);
        Self::make(&[&what[..], &[image.as_os_str()]].concat(), at)
    }

    /// A file system in memory of `mib` MiB.
    pub(crate) fn tmpfs(mib: u64, at: &Path) -> Outcome<Self> {
        let size = format!("size={mib}m");
        Self::make(&["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new), at)
    }

    fn make(what: &[&OsStr], at: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(at)?;
        run("mount", &[what, &[at.as_os_str()]].concat())?;
        Ok(Self { at: at.to_owned(), mounted: true })
    }

    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Leaves it mounted: it goes with the namespace.
    pub(crate) fn leave(mut self) {
        self.mounted = false;
    }

    /// Unmounts. Whoever still uses it is a mistake of ours, but for a program that another thread is just about to
    /// start: until it is one of its own, it holds our files.
    pub(crate) fn end(mut self) -> Outcome {
        self.unmount()
    }

    pub(crate) fn unmount(&mut self) -> Outcome {
        let start = Instant::now();
        loop {
            match run("umount", &[self.at.as_os_str()]) {
                Err(_) if start.elapsed() < UNMOUNT_TIMEOUT => std::thread::sleep(Duration::from_millis(20)),
                result => {
                    self.mounted = result.is_err();
                    return result;
                }
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            // After a failure already: detach it at least, and the namespace does the rest.
            let _ = run("umount", &[OsStr::new("-l"), self.at.as_os_str()]);
        }
    }
}

/// Runs a program to its end; its output is the error when it fails.
pub(crate) fn run(program: &str, args: &[&OsStr]) -> Outcome {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}: {}", args.join(OsStr::new(" ")).display(), output.status, said.trim())
        .into())
}
