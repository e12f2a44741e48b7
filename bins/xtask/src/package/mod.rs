//! `cargo xtask package`: the Debian package, and whether it can be installed, used, upgraded and removed.

mod boot;
mod trial;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::tool::Tool;
use crate::workspace;

pub(crate) use boot::boot;
pub(crate) use trial::trial;

pub(crate) const LONG: &str = "\
Build the Debian package, and try it: install, start, upgrade, remove, purge.

Both programs, their manual pages, completions, units and documentation go into target/package/mainstem_*.deb by \
cargo-deb, which is built into target/tools the first time. Release builds take some ten minutes on two cores; --dev \
packs the binaries of the dev profile, which shows the same of the package.

The trial boots systemd in namespaces of its own, on a throw-away layer over this machine's files: dpkg installs \
there, the services run there under their hardening, and nothing of it is left or seen outside. It needs root, overlayfs, \
systemd and dpkg; where one is missing it is LEFT OUT, and the run says so.";

const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// The packages of a run: this version, and a higher one to upgrade to.
const VERSIONS: [(&str, &str); 2] = [("first.deb", "0.0.1~trial1"), ("second.deb", "0.0.1~trial2")];

/// What to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Pack the binaries of the dev profile
    #[arg(long)]
    dev: bool,
    /// Take the binaries that are there; nothing is built
    #[arg(long)]
    no_build: bool,
    /// Build only, try nothing
    #[arg(long)]
    no_trial: bool,
}

/// Builds and tries.
pub(crate) fn package(options: &Options) -> Result<()> {
    DEB.install()?;
    let profile = if options.dev { "dev" } else { "release" };
    if !options.no_build {
        let mut build = workspace::cargo(&["build", "--locked", "--profile", profile]);
        build.args(["-p", "mainstem", "-p", "tributary"]);
        succeed(&mut build)?;
    }
    let programs = target_directory()?.join(if options.dev { "debug" } else { "release" });
    make_pages(&programs)?;
    let folder = workspace::target("package");
    let deb = build_deb(&folder, profile)?;
    println!("\n{} ({} bytes)", deb.display(), fs::metadata(&deb)?.len());
    if options.no_trial {
        return Ok(());
    }
    if let Some(missing) = missing() {
        println!("WARNING: the trial of the package was LEFT OUT: {missing}");
        return Ok(());
    }
    let trial = folder.join("trial");
    fs::create_dir_all(&trial)?;
    for (name, version) in VERSIONS {
        with_version(&deb, version, &trial.join(name))?;
    }
    boot::run(&trial)
}

/// Manual pages and completions, by the programs that are packed.
fn make_pages(programs: &Path) -> Result<()> {
    let folder = workspace::target("package");
    for made in ["man", "completions"] {
        match fs::remove_dir_all(folder.join(made)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    for name in ["mainstem", "tributary"] {
        let program = programs.join(name);
        ensure!(program.exists(), "{} is not there: build it, or leave --no-build away", program.display());
        succeed(Command::new(&program).arg("man").arg(folder.join("man")))?;
        for (shell, file) in
            [("bash", name.to_owned()), ("zsh", format!("_{name}")), ("fish", format!("{name}.fish"))]
        {
            let path = folder.join("completions").join(shell);
            fs::create_dir_all(&path)?;
            let out = File::create(path.join(file))?;
            succeed(Command::new(&program).args(["completions", shell]).stdout(out))?;
        }
    }
    Ok(())
}

fn build_deb(folder: &Path, profile: &str) -> Result<PathBuf> {
    let mut command = DEB.command(&["-p", "mainstem", "--no-build", "--quiet"]);
    if profile == "dev" {
        command.args(["--profile", "dev", "--no-strip", "--fast"]);
    }
    command.arg("--output").arg(folder);
    let output = command.stderr(Stdio::inherit()).output().context("cargo-deb does not start")?;
    ensure!(output.status.success(), "cargo-deb failed with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().last().context("cargo-deb names no package")?;
    Ok(path.trim().into())
}

/// The same package under another version, not compressed.
fn with_version(deb: &Path, version: &str, to: &Path) -> Result<()> {
    let folder = to.with_extension("content");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    succeed(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&folder))?;
    let control = folder.join("DEBIAN/control");
    let lines = fs::read_to_string(&control)?;
    let lines = lines.lines().map(|line| match line.strip_prefix("Version:") {
        Some(_) => format!("Version: {version}\n"),
        None => format!("{line}\n"),
    });
    fs::write(&control, lines.collect::<String>())?;
    succeed(Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&folder).arg(to))?;
    fs::remove_dir_all(&folder).context("the content of the package cannot be removed")
}

/// What this machine lacks for a trial.
fn missing() -> Option<String> {
    let mut missing = Vec::new();
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        missing.push("root");
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n")) {
        missing.push("overlayfs (modprobe overlay)");
    }
    for (path, what) in [
        ("/lib/systemd/systemd", "systemd"),
        ("/usr/bin/dpkg", "dpkg"),
        ("/usr/bin/setpriv", "setpriv (util-linux)"),
        ("/usr/bin/unshare", "unshare (util-linux)"),
    ] {
        if !Path::new(path).exists() {
            missing.push(what);
        }
    }
    (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")))
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let output = workspace::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let text = String::from_utf8(output.stdout).context("cargo metadata gives no UTF-8")?;
    let (_, rest) =
        text.split_once(r#""target_directory":""#).context("cargo metadata names no target_directory")?;
    let (path, _) = rest.split_once('"').context("cargo metadata is cut off")?;
    Ok(path.into())
}

/// Runs a program that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("{name} does not start"))?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|arg| arg.display().to_string()).collect();
        bail!("{name} {} failed with {status}", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The units, with programs that are there in place of ours, in a folder that the test removes.
    fn units() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mainstem-units-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["mainstem.service", "tributary@.service"] {
            let unit = workspace::root().join("bins/mainstem/packaging/systemd").join(name);
            let text = fs::read_to_string(unit).unwrap();
            let text =
                text.replace("/usr/bin/mainstem", "/bin/true").replace("/usr/bin/tributary", "/bin/true");
            fs::write(folder.join(name.replace('@', "@trial")), text).unwrap();
        }
        folder
    }

    #[test]
    fn units_are_right_and_leave_services_little_to_do_harm_with() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            println!("LEFT OUT: systemd-analyze is not here");
            return;
        }
        let folder = units();
        for name in ["mainstem.service", "tributary@trial.service"] {
            let unit = folder.join(name);
            let verify =
                Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
            let said = String::from_utf8_lossy(&verify.stderr).into_owned();
            // It looks at units of this machine, too: what it says of those is not ours.
            let ours: Vec<_> = said.lines().filter(|line| line.contains(name)).collect();
            assert!(verify.status.success() && ours.is_empty(), "{said}");
            // In tenths: 2.0 of 10, where 10 is a service that may do everything.
            let mut security = Command::new("systemd-analyze");
            security.args(["security", "--no-pager", "--offline=true", "--threshold=20"]).arg(&unit);
            let output = security.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn every_file_that_the_package_takes_is_there() {
        let package = workspace::root().join("bins/mainstem");
        let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let (_, assets) = manifest.split_once("\nassets = [\n").unwrap();
        let (assets, _) = assets.split_once("\n]").unwrap();
        let mut seen = 0;
        for line in assets.lines() {
            let source = line.split('"').nth(1).unwrap();
            // Those are built.
            if source.starts_with("target/") || source.starts_with("../../target/") {
                continue;
            }
            let named = source.split("/**").next().unwrap();
            assert!(package.join(named).exists(), "{source}");
            seen += 1;
        }
        assert!(seen > 10);
        for script in ["postinst", "prerm", "postrm"] {
            succeed(Command::new("sh").arg("-n").arg(package.join("packaging/debian").join(script))).unwrap();
        }
    }
}
