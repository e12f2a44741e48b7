//! A machine to try packages on: systemd as the first process of its own namespaces, on a throw-away layer over the
//! files of this machine.
//!
//! ```text
//! xtask package -> unshare (mounts, processes, network, ..) -> xtask package-boot: mounts, becomes systemd
//!                                                    -> trial.service: xtask package-trial
//! ```
//! All mounts and processes end with the namespaces, however the run ends. `/out` is the one folder that stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::succeed;
use crate::workspace;

/// Where the layer lies, in memory; only the namespaces see what is mounted there.
const ROOT: &str = "/mnt";

/// Result of the trial, in the folder that stays.
const RESULT: &str = "result";

/// Runs the trial of the packages in `folder` to its end.
pub(super) fn run(folder: &Path) -> Result<()> {
    let result = folder.join(RESULT);
    for old in [RESULT, "trial.log", "services.log"] {
        let _ = fs::remove_file(folder.join(old));
    }
    println!("     booting systemd over a throw-away layer of this machine's files");
    let mut command = workspace::program("/usr/bin/setpriv".as_ref(), &workspace::root());
    command.args(["--pdeathsig", "KILL", "timeout", "--kill-after=5", "300", "unshare"]);
    command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=KILL"]);
    command.arg(std::env::current_exe()?).arg("package-boot").arg(folder);
    // systemd's own exit code says how it went down, the file says how the trial went.
    let status = command.status().context("setpriv does not start")?;
    let log = fs::read_to_string(folder.join("trial.log")).unwrap_or_default();
    print!("{log}");
    match fs::read_to_string(&result).as_deref() {
        Ok("ok") => Ok(()),
        Ok(failure) => {
            let services = fs::read_to_string(folder.join("services.log")).unwrap_or_default();
            bail!("{failure}\nwhat the services said:\n{services}")
        }
        Err(_) => bail!("the trial did not come to its end: systemd ended with {status}"),
    }
}

/// Inside of the namespaces, as their first process: makes the machine and becomes its systemd.
pub(crate) fn boot(folder: &Path) -> Result<()> {
    let root = Path::new(ROOT);
    succeed(mount(&["--make-rprivate", "/"]))?;
    succeed(mount(&["-t", "tmpfs", "tmpfs", ROOT]))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| root.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    succeed(mount(&["-t", "overlay", "overlay", "-o", &options]).arg(&root))?;
    for (kind, options, at) in [
        ("proc", "rw", "proc"),
        ("sysfs", "ro", "sys"),
        ("cgroup2", "rw", "sys/fs/cgroup"),
        ("tmpfs", "mode=755", "run"),
        ("tmpfs", "mode=1777", "tmp"),
        ("tmpfs", "mode=755", "dev"),
    ] {
        succeed(mount(&["-t", kind, "-o", options, kind]).arg(root.join(at)))?;
    }
    devices(&root.join("dev"))?;
    fs::create_dir_all(root.join("out"))?;
    succeed(mount(&["--bind"]).arg(folder).arg(root.join("out")))?;
    // The program under test may lie in a folder that /tmp hides now.
    fs::copy(std::env::current_exe()?, root.join("xtask"))?;
    units(&root.join("etc/systemd/system"))?;
    // With it, each call of dpkg would index all manual pages of the machine.
    let _ = fs::remove_file(root.join("var/lib/man-db/auto-update"));
    let _ = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    // Not chroot: in one, services could have no users of their own.
    fs::create_dir(root.join("former"))?;
    succeed(Command::new("pivot_root").args([".", "former"]).current_dir(&root))?;
    std::env::set_current_dir("/")?;
    succeed(Command::new("umount").args(["--lazy", "/former"]))?;
    let mut systemd = Command::new("/lib/systemd/systemd");
    systemd.args(["--system", "--unit=trial.target", "--show-status=0"]);
    systemd.arg("--log-target=null").env_clear();
    systemd.env("container", "trial").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    systemd.env("SYSTEMD_PROC_CMDLINE", "systemd.unified_cgroup_hierarchy=1");
    Err(systemd.exec()).context("systemd does not start")
}

fn mount(args: &[&str]) -> &'static mut Command {
    // Lives as long as the process, which soon becomes another one.
    let command = Box::leak(Box::new(Command::new("mount")));
    command.args(args)
}

fn devices(dev: &Path) -> Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(dev.join(name), "")?;
        succeed(mount(&["--bind"]).arg(Path::new("/dev").join(name)).arg(dev.join(name)))?;
    }
    for (kind, options, name) in
        [("devpts", "newinstance,ptmxmode=666", "pts"), ("tmpfs", "mode=1777", "shm")]
    {
        fs::create_dir(dev.join(name))?;
        succeed(mount(&["-t", kind, "-o", options, kind]).arg(dev.join(name)))?;
    }
    symlink("pts/ptmx", dev.join("ptmx"))?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    Ok(())
}

fn units(folder: &Path) -> Result<()> {
    fs::write(folder.join("trial.target"), "[Unit]\nRequires=trial.service\nAllowIsolate=yes\n")?;
    fs::write(
        folder.join("trial.service"),
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nTimeoutStartSec=280\n\
         ExecStart=/xtask package-trial\nExecStopPost=/bin/systemctl exit\n\
         StandardOutput=append:/out/trial.log\nStandardError=append:/out/trial.log\n",
    )?;
    // There is no journal here.
    for unit in ["mainstem.service", "tributary@.service"] {
        let folder = folder.join(format!("{unit}.d"));
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join("trial.conf"),
            "[Service]\nStandardOutput=append:/out/services.log\nStandardError=append:/out/services.log\n",
        )?;
    }
    Ok(())
}
