//! `cargo xtask crash`: the crash harness of the log, and the faults planted to see that it finds any.
//!
//! The harness is a module of `mainstem-storage`'s unit tests, and so are the planted faults: a variable of the environment
//! tells those tests which of them is at work. A log that people use has none, and knows no such variable.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace;

pub(crate) const LONG: &str = "\
Crash the log in every way a power loss can, and open what is left.

First the harness tries all states that a crash may leave of short histories, fails every call of them once in every \
way, and then does crash after crash in long histories drawn from a seed: writes lost, torn and reordered by the \
sector, lengths and names lost, syncs that fail. Each state is opened by the real code, which must hold every block \
that was acknowledged, find nothing more to do when opened again, and go on.

Then one fault after the other is planted in the log (storage/src/crash/bugs.txt lists them), and each must be \
found within a minute.

A broken promise prints the calls that led to it and, for a drawn history, its seed: \
`cargo xtask crash --replay SEED` does just that one again.";

/// What to try.
#[derive(Args)]
pub(crate) struct Options {
    /// Crash states of drawn histories to try, besides those of the short ones
    #[arg(long, default_value_t = STATES, value_parser = clap::value_parser!(u64).range(1..))]
    states: u64,
    /// What all histories are drawn from
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Do one drawn history again, by its own seed as a failed run printed it, and nothing else
    #[arg(long, value_name = "SEED", conflicts_with_all = ["states", "seed", "bugs_only", "bug"])]
    replay: Option<String>,
    /// Look for the planted faults only
    #[arg(long)]
    bugs_only: bool,
    /// Leave the planted faults out
    #[arg(long, conflicts_with_all = ["bugs_only", "bug"])]
    without_bugs: bool,
    /// Look for this planted fault only
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// What CI tries.
const STATES: u64 = 200_000;
const SEED: u64 = 1;
/// A planted fault that takes longer is not found.
const LIMIT: Duration = Duration::from_secs(60);
/// States of drawn histories when a planted fault is looked for.
const STATES_WITH_BUG: u64 = 20_000;
/// The tests of the harness, by a part of their names.
const PARTS: [&str; 3] = ["crash::random", "crash::short::every_state", "crash::short::no_call"];
/// What the harness says when it has found something.
const FOUND: &str = "BROKEN PROMISE";

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<()> {
    crash(&Options {
        states: STATES,
        seed: SEED,
        replay: None,
        bugs_only: false,
        without_bugs: false,
        bug: None,
    })
}

pub(crate) fn crash(options: &Options) -> Result<()> {
    let mut bugs = bugs()?;
    if let Some(only) = &options.bug {
        bugs.retain(|(name, _)| name == only);
        if bugs.is_empty() {
            bail!("--bug {only}: no such fault in {}", list().display());
        }
    }
    let program = build()?;
    if let Some(seed) = &options.replay {
        let mut harness = harness(&program, "crash::random");
        return judge(harness.arg("--test-threads=1").env("MAINSTEM_CRASH_REPLAY", seed).status());
    }
    if !options.bugs_only && options.bug.is_none() {
        explore(&program, options)?;
    }
    if options.without_bugs {
        return Ok(());
    }
    hunt(&program, &bugs, options.seed)
}

/// Runs the whole harness, a part of it on each core.
fn explore(program: &Path, options: &Options) -> Result<()> {
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let states = options.states.div_ceil(parts as u64);
    let mut running = Running(Vec::new());
    for part in 0..parts {
        let mut harness = harness(program, "crash::");
        harness.env("MAINSTEM_CRASH_STATES", states.to_string());
        harness.env("MAINSTEM_CRASH_SEED", options.seed.to_string());
        harness.env("MAINSTEM_CRASH_PART", format!("{part}/{parts}")).arg("--test-threads=1");
        running.0.push(harness.spawn().context("the harness does not start")?);
    }
    running.0.iter_mut().try_for_each(|child| judge(child.wait()))
}

/// Wants every one of these found.
fn hunt(program: &Path, bugs: &[(String, String)], seed: u64) -> Result<()> {
    println!("\n{:<26} {:>8}  found by", "planted fault", "seconds");
    let mut missed = Vec::new();
    for (name, about) in bugs {
        let mut harnesses = PARTS.map(|part| {
            let mut harness = harness(program, part);
            harness.env("MAINSTEM_CRASH_BUG", name);
            harness.env("MAINSTEM_CRASH_STATES", STATES_WITH_BUG.to_string());
            harness.env("MAINSTEM_CRASH_SEED", seed.to_string()).env_remove("MAINSTEM_CRASH_JSON");
            harness.arg("--test-threads=1");
            harness
        });
        let start = Instant::now();
        let by = found_by(&mut harnesses)?;
        let took = start.elapsed().as_secs_f64();
        println!("{name:<26} {took:>8.1}  {}", by.as_deref().unwrap_or("NOT FOUND"));
        if by.is_none() {
            missed.push(format!("{name} ({about})"));
        }
    }
    if !missed.is_empty() {
        bail!("the crash harness did not find: {}", missed.join(", "));
    }
    Ok(())
}

/// What the first of these harnesses that sees a broken promise within the limit says of it. They run side by side,
/// since no one knows which of them a fault shows itself to.
fn found_by(harnesses: &mut [Command]) -> Result<Option<String>> {
    let mut running = Running(Vec::new());
    let (line, lines) = mpsc::channel();
    for harness in harnesses {
        let harness = harness.env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = harness.spawn().context("the harness does not start")?;
        let errors = BufReader::new(child.stderr.take().context("stderr is piped")?);
        running.0.push(child);
        let line = line.clone();
        std::thread::spawn(move || {
            // Until nobody listens any more, or the harness has ended.
            errors.lines().map_while(Result::ok).try_for_each(|text| line.send(text)).ok()
        });
    }
    drop(line);
    let end = Instant::now() + LIMIT;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(text) if text.starts_with(FOUND) => return Ok(Some(seed_or_tally(&text))),
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
    }
}

/// Harnesses that end with this value: what they would still try does not matter.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Of the line that tells of a broken promise, what leads back to it.
fn seed_or_tally(line: &str) -> String {
    let tally =
        line.split_once('(').and_then(|(_, rest)| rest.split_once(", in ")).map_or("", |(tally, _)| tally);
    match line.split_once("seed 0x").and_then(|(_, rest)| rest.split_once(';')) {
        Some((seed, _)) => format!("{tally}, seed 0x{seed}"),
        None => tally.to_owned(),
    }
}

/// Builds the unit tests of the log, and says where they are.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo(&["rustc", "-p", "mainstem-storage", "--lib", "--profile", "test"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    // A few seconds of optimising are soon won back.
    cargo.args(["--config", "profile.dev.package.mainstem-storage.opt-level=1"]);
    let output = cargo.output().context("cargo rustc does not start")?;
    if !output.status.success() {
        bail!("the crash harness does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let messages = String::from_utf8(output.stdout).context("cargo rustc gives no UTF-8")?;
    let (_, rest) = messages.rsplit_once(r#""executable":""#).context("cargo rustc names no executable")?;
    let (path, _) = rest.split_once('"').context("cargo rustc is cut off")?;
    Ok(path.into())
}

fn harness(program: &Path, filter: &str) -> Command {
    let mut command = workspace::program(program, &workspace::root());
    command.args([filter, "--nocapture"]).env("MAINSTEM_CRASH_WHOLE", "1");
    command.env_remove("MAINSTEM_CRASH_BUG").env_remove("MAINSTEM_CRASH_PART");
    command
}

fn judge(status: io::Result<ExitStatus>) -> Result<()> {
    let status = status.context("the harness does not start")?;
    if !status.success() {
        bail!("the log broke a promise: {status}");
    }
    Ok(())
}

fn list() -> PathBuf {
    workspace::root().join("storage/src/crash/bugs.txt")
}

/// Name and meaning of each planted fault.
fn bugs() -> Result<Vec<(String, String)>> {
    let path = list();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let (name, about) =
                line.split_once(": ").with_context(|| format!("{line:?} is not NAME: ABOUT"))?;
            Ok((name.to_owned(), about.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn planted(folder: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                planted(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let sites = text.split("planted!(\"").skip(1);
                into.extend(sites.map(|site| site.split('"').next().unwrap().to_owned()));
            }
        }
    }

    #[test]
    fn every_fault_that_is_listed_is_planted_and_every_planted_one_is_listed() {
        let mut sites = BTreeSet::new();
        planted(&workspace::root().join("storage/src"), &mut sites);
        sites.remove("...");
        let listed: BTreeSet<String> = bugs().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(sites, listed);
    }

    #[test]
    fn seed_is_found_in_what_the_harness_says() {
        let line = "BROKEN PROMISE (random histories, 7 crash states of 2 histories, 3 kinds, in 0.0 s (1 states/s)): \
                    head 0 (seed 0xfe; again: cargo xtask crash --replay 0xfe)";
        assert_eq!(
            seed_or_tally(line),
            "random histories, 7 crash states of 2 histories, 3 kinds, seed 0xfe"
        );
    }
}
