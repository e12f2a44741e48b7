//! Programs that chores need and cargo can build: each with its version, built once into `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{Step, Work};
use crate::workspace;

/// A program from the registry.
pub(crate) struct Tool {
    /// Name of the package and of the program.
    pub(crate) name: &'static str,
    /// The version that is used, and no other.
    pub(crate) version: &'static str,
}

impl Tool {
    /// Where it is once it is installed.
    pub(crate) fn path(&self) -> PathBuf {
        workspace::target("tools").join("bin").join(self.name)
    }

    /// The step that installs it, by the function given, which calls [`Tool::install`].
    pub(crate) fn step(&self, install: fn() -> Result<()>) -> Step {
        let hint = "the tool comes from the registry that cargo is configured for";
        Step { name: self.name, about: "the tool itself", work: Work::Own(install), hint }
    }

    /// A step that runs it from the root of the workspace.
    pub(crate) fn run(&self, name: &'static str, about: &'static str, args: &[&str]) -> Step {
        Step { name, about, work: Work::Program(self.command(args)), hint: "" }
    }

    /// A call of it from the root of the workspace.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = workspace::program(&self.path(), &workspace::root());
        command.args(args);
        command
    }

    /// Builds it, unless it is there in this version.
    pub(crate) fn install(&self) -> Result<()> {
        let Tool { name, version } = self;
        if self.installed_version().is_some_and(|installed| installed == *version) {
            println!("     {} {version} is there", self.path().display());
            return Ok(());
        }
        println!("     building {name} {version} into target/tools, once: several minutes on two cores");
        let root = workspace::target("tools");
        let mut command =
            workspace::cargo(&["install", "--locked", "--force", "--version", version, "--root"]);
        let status = command.arg(root).arg(name).status().context("cargo does not start")?;
        if !status.success() {
            bail!("cargo install {name} failed with {status}");
        }
        Ok(())
    }

    /// As the tool tells it (`cargo-deny 0.20.2`, `mdbook v0.5.4`), or nothing where it is not there or does not run.
    fn installed_version(&self) -> Option<String> {
        // Where it is a subcommand of cargo, some want its name first.
        let said = |args: &[&str]| {
            let output = self.command(args).output().ok().filter(|output| output.status.success())?;
            let text = String::from_utf8(output.stdout).ok()?;
            Some(text.split_whitespace().last()?.trim_start_matches('v').to_owned())
        };
        said(&["--version"]).or_else(|| said(&[self.name.strip_prefix("cargo-")?, "--version"]))
    }
}
