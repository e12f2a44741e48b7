//! `cargo xtask fuzz`: the fuzz targets of the log, in `storage/fuzz`.
//!
//! The layout is that of cargo-fuzz, which can run them too, but is not needed: building a target takes a few flags
//! ([`asan`]) and the crate `libfuzzer-sys`, which brings libFuzzer and compiles it with the C++ compiler.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{asan, workspace};

pub(crate) const LONG: &str = "\
Fuzz the log, under AddressSanitizer.

Targets: open (files of a small log changed anyhow, their checksums mended or not, then opened, checked, read and \
written), record (any body behind a right checksum, in a sealed segment and in one that is not).

First the inputs that once failed are run again (storage/fuzz/regressions), then new ones, from the small committed \
corpus (storage/fuzz/corpus) and from what earlier runs found interesting (target/fuzz). An input that fails is kept \
in storage/fuzz/artifacts, and the command that runs it again is printed; once the bug is mended, move it to \
storage/fuzz/regressions/TARGET and commit it.

Needs a C++ compiler. Builds into target/asan.";

const TARGETS: [&str; 2] = ["open", "record"];

/// What `cargo xtask test` gives each target.
const BRIEF: Duration = Duration::from_secs(20);

/// What to fuzz, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Which target [default: each in turn]
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// How long each: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// Run this input of the target alone, with all that it prints
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<()> {
    fuzz(&Options { target: None, time: BRIEF, replay: None })
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    if let Some(missing) = asan::missing() {
        bail!("{missing}");
    }
    require_tools()?;
    let targets: Vec<&str> = match &options.target {
        Some(target) => vec![target],
        None => TARGETS.to_vec(),
    };
    // Relative to where the command was given, not to the root, where the program runs.
    let replay = options.replay.as_ref().map(std::path::absolute).transpose()?;
    build(&targets)?;
    for target in targets {
        match &replay {
            Some(input) => run_alone(target, input)?,
            None => run(target, options.time)?,
        }
    }
    Ok(())
}

/// An error that says what is missing.
pub(crate) fn require_tools() -> Result<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    workspace::require(&compiler, "install a C++ compiler (g++ or clang), which libFuzzer needs")?;
    Ok(())
}

fn build(targets: &[&str]) -> Result<()> {
    let mut cargo = asan::cargo(&["build", "--manifest-path", "storage/fuzz/Cargo.toml"]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    let status = cargo.status().context("cargo does not start")?;
    if !status.success() {
        bail!("the fuzz targets do not build");
    }
    Ok(())
}

/// The program of a target, in the root of the workspace.
fn program(target: &str) -> Command {
    let path = workspace::target("asan").join(asan::TARGET).join("debug").join(target);
    let mut command = workspace::program(&path, &workspace::root());
    asan::options(&mut command);
    // More than a log of 64 KiB segments and the sanitizer's own memory; a quick hang is a hang.
    command.args(["-rss_limit_mb=1024", "-malloc_limit_mb=64", "-timeout=20"]);
    command
}

fn run_alone(target: &str, input: &Path) -> Result<()> {
    let status = program(target).arg(input).status().context("the target does not start")?;
    if !status.success() {
        bail!("{} fails target {target} with {status}", input.display());
    }
    Ok(())
}

fn run(target: &str, time: Duration) -> Result<()> {
    for input in regressions(target)? {
        run_alone(target, &input)?;
    }
    let folder = workspace::root().join("storage/fuzz");
    let artifacts = folder.join("artifacts").join(target);
    let found = workspace::target("fuzz").join(target);
    for folder in [&artifacts, &found] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let log = workspace::target("fuzz").join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut fuzzer = program(target);
    // What is new goes to the first folder of inputs; the others are read only.
    fuzzer.args([&found, &folder.join("corpus").join(target)]);
    fuzzer.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args(["-max_len=2048", "-print_final_stats=1"]);
    println!("     fuzzing {target} for {} s, see {}", time.as_secs(), log.display());
    fuzzer.stdout(output.try_clone()?).stderr(output);
    let status = fuzzer.status().context("the target does not start")?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if !status.success() {
        eprint!("{}", excerpt(&text));
        let input =
            text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
        let Some(input) = input else { bail!("target {target} failed with {status}: see {}", log.display()) };
        let input = Path::new(input);
        let short = input.strip_prefix(workspace::root()).unwrap_or(input).display();
        bail!("target {target} failed; look at it again: cargo xtask fuzz {target} --replay {short}");
    }
    println!("     {}", summary(target, &text));
    Ok(())
}

/// The inputs that once failed.
fn regressions(target: &str) -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join("storage/fuzz/regressions").join(target);
    let mut inputs = Vec::new();
    if let Ok(entries) = std::fs::read_dir(&folder) {
        for entry in entries {
            inputs.push(entry?.path());
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// One line of what libFuzzer reports at its end.
fn summary(target: &str, text: &str) -> String {
    let stat = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |rest| rest.trim_start_matches(':').trim()).to_owned()
    };
    let edges = text.lines().filter_map(|line| line.split_once(" cov: ")).next_back();
    let edges = edges.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("?");
    format!(
        "{target}: {} inputs, {} a second, {edges} edges, {} MB at most, no failure",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        stat("peak_rss_mb"),
    )
}

/// From the first sign of a failure on, not all of it.
fn excerpt(text: &str) -> String {
    let signs = ["panicked at", "ERROR: ", "==ERROR"];
    let lines = text.lines().skip_while(|line| !signs.iter().any(|sign| line.contains(sign)));
    lines.take(60).flat_map(|line| [line, "\n"]).collect()
}

/// A number with its unit: 90s, 10m, 2h.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: expected a number and s, m or h, like 90s");
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["90", "s", "", "1.5m", "-3s", "3d", "9999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn summary_tells_what_was_done() {
        let text = "#2\tINITED cov: 10 ft: 1\n#9\tDONE   cov: 4875 ft: 7505 corp: 8/363b\n\
                    stat::number_of_executed_units: 2715\nstat::average_exec_per_sec:     44\n\
                    stat::peak_rss_mb:              258\n";
        assert_eq!(
            summary("open", text),
            "open: 2715 inputs, 44 a second, 4875 edges, 258 MB at most, no failure"
        );
    }

    #[test]
    fn every_target_has_its_inputs() {
        for target in TARGETS {
            let corpus = workspace::root().join("storage/fuzz/corpus").join(target);
            assert!(std::fs::read_dir(corpus).unwrap().next().is_some());
            assert!(workspace::root().join(format!("storage/fuzz/fuzz_targets/{target}.rs")).exists());
        }
    }
}
