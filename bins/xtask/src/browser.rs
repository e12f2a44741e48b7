//! `cargo xtask browser`: the dashboard in a real browser, against real nodes.
//!
//! The tests are those of Node.js in `bins/mainstem/tests/browser`. They start `mainstem dev`, as it was built last, and
//! drive Chromium by puppeteer-core, which comes with the peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Unavailable;
use crate::{peers, workspace};

pub(crate) const LONG: &str = "\
Test the dashboard in headless Chromium, against real nodes with simulated side chains.

It loads, goes on by itself, is searched, and is used by keyboard and on a phone; proofs are verified in the browser, \
and a proof that was changed anywhere is shown broken; chains that are paused or lose their node are seen to be; ten \
thousand chains are scrolled by a handful of rows; axe-core finds nothing serious on any page; and all files together stay \
below 300 kB. How fast the first paint was, and how long the longest task of scrolling, is printed. Pictures of all pages \
are in target/browser.

Needs Node.js 20 or newer, what `cargo xtask peers` installs, and Chromium: /usr/bin/chromium, or the program that \
MAINSTEM_CHROMIUM names. Where there is none and this runs as root, the package `chromium` with what it depends on is \
INSTALLED ON THIS MACHINE by apt-get (to have the step left out instead: `--without-peers`, `--fast`). Where that fails, or \
this is not root, the step is left out, with the reason; where CI=true is set, an installation that fails is a failure.";

/// Tells which Chromium to use.
const CHROMIUM_VAR: &str = "MAINSTEM_CHROMIUM";
/// Where Debian has it.
const CHROMIUM: &str = "/usr/bin/chromium";
/// Below the root of the workspace.
const FOLDER: &str = "bins/mainstem/tests/browser";
/// One after the other: each has nodes and a browser of its own.
const TESTS: [&str; 2] = ["dashboard.test.mjs", "many.test.mjs"];

/// Why it cannot be done here, if so.
pub(crate) fn missing() -> Option<&'static str> {
    let possible = chromium().is_some() || (is_root() && workspace::require("apt-get", "").is_ok());
    (!possible).then_some("Chromium is not installed (apt-get install chromium)")
}

/// The step of `cargo xtask test`: runs after those that build `mainstem` and install the peers.
pub(crate) fn step() -> Result<()> {
    if chromium().is_none() {
        install()?;
    }
    let chromium = chromium().context("Chromium was installed and is not there")?;
    let programs = programs();
    for name in ["mainstem", "tributary"] {
        if !programs.join(name).is_file() {
            bail!("{} is not there; build it first: cargo build -p {name}", programs.join(name).display());
        }
    }
    let folder = workspace::root().join(FOLDER);
    let mut command = workspace::leashed("node".as_ref(), &folder);
    command
        .args(["--test", "--test-concurrency=1", "--test-reporter", "spec"])
        .args(TESTS)
        .env(peers::FOLDER_VAR, peers::folder())
        .env(CHROMIUM_VAR, chromium)
        .env("MAINSTEM_BIN", programs.join("mainstem"))
        .env("TRIBUTARY_BIN", programs.join("tributary"))
        .env("MAINSTEM_SHOTS", workspace::target("browser"));
    let status = command.status().context("node does not start")?;
    if !status.success() {
        bail!(
            "`node --test` failed with {status}; pictures are in {}",
            workspace::target("browser").display()
        );
    }
    println!("     pictures of all pages: {}", workspace::target("browser").display());
    Ok(())
}

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os(CHROMIUM_VAR).map(PathBuf::from);
    [named, Some(CHROMIUM.into())].into_iter().flatten().find(|path| path.is_file())
}

/// Where cargo puts what is built in the dev profile.
fn programs() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), PathBuf::from);
    target.join("debug")
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn install() -> Result<()> {
    println!("     installing Chromium: apt-get install chromium");
    apt_get(&["update", "--quiet"], &workspace::root())?;
    apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", "chromium"], &workspace::root())
}

/// Fetches by apt-get; an error is [`Unavailable`].
pub(crate) fn apt_get(args: &[&str], folder: &Path) -> Result<()> {
    let mut command = workspace::program("apt-get".as_ref(), folder);
    // Offline it says so soon.
    command.args([
        "-o",
        "Acquire::Retries=1",
        "-o",
        "Acquire::http::Timeout=30",
        "-o",
        "APT::Update::Error-Mode=any",
    ]);
    let status = command.args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
    let why = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Unavailable(format!("`apt-get {}` failed: {why}", args.join(" "))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_of_the_folder_runs() {
        let entries = std::fs::read_dir(workspace::root().join(FOLDER)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut tests: Vec<_> = names.filter(|name| name.ends_with(".test.mjs")).collect();
        tests.sort();
        assert_eq!(tests, TESTS);
    }

    #[test]
    fn what_apt_get_cannot_fetch_is_unavailable() {
        let error = apt_get(&["no-such-command-of-apt"], &workspace::root()).unwrap_err();
        assert!(error.is::<Unavailable>(), "{error:#}");
        assert!(error.to_string().contains("no-such-command-of-apt"));
    }
}
