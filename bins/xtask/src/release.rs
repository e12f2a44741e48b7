//! What a release needs beside its package: what it is made of, and that anyone can make it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::package::succeed;
use crate::tool::Tool;
use crate::workspace;

pub(crate) const SBOM: &str = "\
Write what each program is made of, as CycloneDX 1.5: target/sbom/mainstem.cdx.json and tributary.cdx.json.

By cargo-cyclonedx, which is built into target/tools the first time: every package with version, licence, checksum and \
who depends on whom, for the machine that it runs on. The same Cargo.lock gives the same bytes.";

pub(crate) const REPRODUCIBLE: &str = "\
Build both programs twice, in two folders of different names, and compare the bytes.

As docs/release.md says: what git has of this tree (as it is now, changes included) is copied to target/reproducible, and built with \
--locked, paths remapped and the time of the last commit. Twice a whole release build: half an hour on two cores. --dev \
compares builds of the dev profile without optimisation instead, which shows less in less time.";

const CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.9" };
const PROGRAMS: [&str; 2] = ["mainstem", "tributary"];

/// How to build.
#[derive(Args)]
pub(crate) struct Options {
    /// The dev profile without optimisation, instead of releases
    #[arg(long)]
    dev: bool,
    /// Programs to build [default: mainstem and tributary]; xtask, which is small, differs by the path that it knows
    #[arg(long = "program", value_name = "NAME")]
    programs: Vec<String>,
}

/// `cargo xtask sbom`
pub(crate) fn sbom() -> Result<()> {
    CYCLONEDX.install()?;
    // It writes one file for each package of the workspace, beside its manifest.
    let stem = format!("sbom-{}", std::process::id());
    let mut command =
        CYCLONEDX.command(&["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
    command.args(["--override-filename", &stem]).env("SOURCE_DATE_EPOCH", last_commit()?);
    let made = succeed(&mut command);
    let file = format!("{stem}.json");
    let folder = workspace::target("sbom");
    fs::create_dir_all(&folder)?;
    for name in PROGRAMS {
        let Ok(text) = fs::read_to_string(workspace::root().join("bins").join(name).join(&file)) else {
            continue;
        };
        // Where it was made is nobody's business, and differs from one machine to the next.
        let text = text.replace(workspace::root().to_str().context("the path of the tree is not UTF-8")?, "");
        let path = folder.join(format!("{name}.cdx.json"));
        fs::write(&path, &text)?;
        println!("{}: {} packages", path.display(), text.matches("\"purl\"").count());
    }
    for manifest in tracked()?.iter().filter(|path| path.ends_with("Cargo.toml")) {
        let _ = fs::remove_file(workspace::root().join(manifest).with_file_name(&file));
    }
    made
}

/// `cargo xtask reproducible`
pub(crate) fn reproducible(options: &Options) -> Result<()> {
    let mut programs: Vec<&str> = options.programs.iter().map(String::as_str).collect();
    if programs.is_empty() {
        programs.extend(PROGRAMS);
    }
    let base = workspace::target("reproducible");
    let folders = ["a", "another-and-longer-one"].map(|name| base.join(name));
    for folder in &folders {
        copy_tree(folder)?;
        build(folder, &programs, options.dev)?;
    }
    for program in programs {
        let built = |folder: &Path| {
            let path =
                folder.join("target").join(if options.dev { "debug" } else { "release" }).join(program);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        let [one, other] = [built(&folders[0])?, built(&folders[1])?];
        if let Some(at) = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at)) {
            bail!(
                "{program} differs from byte {at} on ({} and {} bytes); both are kept in {}",
                one.len(),
                other.len(),
                base.display()
            );
        }
        println!("{program}: {} bytes, the same twice", one.len());
    }
    fs::remove_dir_all(&base)?;
    Ok(())
}

/// A copy of what git has of the tree, with the changes that are not committed.
fn copy_tree(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for file in tracked()? {
        let from = workspace::root().join(&file);
        // A file that was removed and not committed yet.
        if !from.is_file() {
            continue;
        }
        let to = folder.join(&file);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(&from, &to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

fn build(folder: &Path, programs: &[&str], dev: bool) -> Result<()> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let remap = |flag: &str| {
        let (tree, home) = (folder.display(), cargo_home.display());
        format!("{flag}={tree}=/mainstem {flag}={home}=/cargo")
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = workspace::program(cargo.as_ref(), folder);
    command.args(["build", "--locked", "--profile", if dev { "dev" } else { "release" }]);
    command.args(programs.iter().flat_map(|program| ["-p", program]));
    if dev {
        command.args(["--config", "profile.dev.opt-level=0"]);
    }
    command.env("RUSTFLAGS", remap("--remap-path-prefix")).env("CFLAGS", remap("-ffile-prefix-map"));
    command.env("SOURCE_DATE_EPOCH", last_commit()?).env("CARGO_TARGET_DIR", folder.join("target"));
    // For the metric `mainstem_build_info`.
    command.env("MAINSTEM_COMMIT", git(&["rev-parse", "HEAD"])?.trim());
    command.env("CARGO_INCREMENTAL", "0");
    succeed(&mut command)
}

fn last_commit() -> Result<String> {
    git(&["log", "-1", "--format=%ct"]).map(|text| text.trim().to_owned())
}

/// The files of the tree that git knows, by their paths from the root.
pub(crate) fn tracked() -> Result<Vec<String>> {
    Ok(git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?
        .split_terminator('\0')
        .map(str::to_owned)
        .collect())
}

fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).current_dir(workspace::root()).output();
    let output = output.context("git does not start")?;
    ensure!(output.status.success(), "git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("git names a file that is not UTF-8")
}
