//! `cargo xtask fuzz`: the fuzz targets of the log, in `storage/fuzz`, of what peers send, in `net/fuzz`, and of proofs, in
//! `engine/verify/fuzz`.
//!
//! The layout is that of cargo-fuzz, which can run them too, but is not needed: building a target takes a few
//! flags ([`asan`]) and the crate `libfuzzer-sys`, which brings libFuzzer and compiles it with the C++
//! compiler. The folders are workspaces of their own; they build into one folder, so what they have in
//! common is built once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{asan, workspace};

pub(crate) const LONG: &str = "\
Fuzz the log, what peers send, and proofs, under AddressSanitizer.

Targets in storage/fuzz: open (files of a small log changed anyhow, their checksums mended or not, then opened, checked, \
read and written), record (any body behind a right checksum, in a sealed segment and in one that is not). Targets in \
net/fuzz: frame (blocks, as they come and behind a right checksum), client_message, server_message, main_message \
(the control stream, each way, and the stream of main blocks). What is accepted there must give the same bytes when it is \
written again. Targets in engine/verify/fuzz: proof_bytes, proof_json (any proof, in both forms), forgery (a proof that is right, \
with a few changes, which may not prove anything else).

First the inputs that once failed are run again (FOLDER/regressions), then new ones, from the small committed \
corpus (FOLDER/corpus) and from what earlier runs found interesting (target/fuzz). An input that fails is kept \
in FOLDER/artifacts, and the command that runs it again is printed; once the bug is mended, move it to \
FOLDER/regressions/TARGET and commit it.

Needs a C++ compiler. Builds into target/asan.";

/// A workspace with fuzz targets.
struct Suite {
    folder: &'static str,
    targets: &'static [&'static str],
    /// What `cargo xtask test` gives each target.
    brief: Duration,
    /// The longest input, in bytes.
    max_len: &'static str,
    /// The largest piece of memory that may be asked for, and all of it together, in MB.
    malloc_limit: &'static str,
    rss_limit: &'static str,
}

const SUITES: [Suite; 3] = [
    Suite {
        folder: "storage/fuzz",
        targets: &["open", "record"],
        brief: Duration::from_secs(10),
        max_len: "2048",
        // More than a log of 64 KiB segments and the sanitizer's own memory.
        malloc_limit: "64",
        rss_limit: "1024",
    },
    Suite {
        folder: "net/fuzz",
        targets: &["frame", "client_message", "server_message", "main_message"],
        // A hundred times as fast as a log.
        brief: Duration::from_secs(5),
        max_len: "4096",
        // Twice the longest frame or message, which a peer can make anyone hold; the rest is the sanitizer's,
        // which keeps what was freed for a while.
        malloc_limit: "2",
        rss_limit: "512",
    },
    Suite {
        folder: "engine/verify/fuzz",
        targets: &["proof_bytes", "proof_json", "forgery"],
        brief: Duration::from_secs(5),
        max_len: "8192",
        // The vectors, which a target reads first, are a megabyte of JSON.
        malloc_limit: "4",
        rss_limit: "512",
    },
];

/// What to fuzz, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Which target [default: each in turn]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(names()))]
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
    all(None, None, None)
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    // Relative to where the command was given, not to the root, where the program runs.
    let replay = options.replay.as_ref().map(std::path::absolute).transpose()?;
    all(options.target.as_deref(), Some(options.time), replay.as_deref())
}

/// Runs one target or all, for `time` each or briefly.
fn all(only: Option<&str>, time: Option<Duration>, replay: Option<&Path>) -> Result<()> {
    if let Some(missing) = asan::missing() {
        bail!("{missing}");
    }
    require_tools()?;
    for suite in &SUITES {
        let targets = suite.targets.iter().copied().filter(|target| only.is_none_or(|only| only == *target));
        let targets: Vec<_> = targets.collect();
        if targets.is_empty() {
            continue;
        }
        suite.build(&targets)?;
        for target in targets {
            match replay {
                Some(input) => suite.run_alone(target, input)?,
                None => suite.run(target, time)?,
            }
        }
    }
    Ok(())
}

fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().flat_map(|suite| suite.targets).copied()
}

/// An error that says what is missing.
pub(crate) fn require_tools() -> Result<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    workspace::require(&compiler, "install a C++ compiler (g++ or clang), which libFuzzer needs")?;
    Ok(())
}

impl Suite {
    fn build(&self, targets: &[&str]) -> Result<()> {
        let manifest = format!("{}/Cargo.toml", self.folder);
        let mut cargo = asan::cargo(&["build", "--manifest-path", &manifest]);
        for target in targets {
            cargo.args(["--bin", target]);
        }
        let status = cargo.status().context("cargo does not start")?;
        if !status.success() {
            bail!("the fuzz targets of {} do not build", self.folder);
        }
        Ok(())
    }

    /// The program of a target, in the root of the workspace.
    fn program(&self, target: &str) -> Command {
        let path = workspace::target("asan").join(asan::TARGET).join("debug").join(target);
        let mut command = workspace::program(&path, &workspace::root());
        asan::options(&mut command);
        command.arg(format!("-malloc_limit_mb={}", self.malloc_limit));
        command.arg(format!("-rss_limit_mb={}", self.rss_limit));
        // A quick hang is a hang.
        command.arg("-timeout=20");
        command
    }

    fn run_alone(&self, target: &str, input: &Path) -> Result<()> {
        let status = self.program(target).arg(input).status().context("the target does not start")?;
        if !status.success() {
            bail!("{} fails target {target} with {status}", input.display());
        }
        Ok(())
    }

    /// Fuzzes for `time`; or briefly, with the same seed every time, so that a change is judged by itself and
    /// not by chance.
    fn run(&self, target: &str, time: Option<Duration>) -> Result<()> {
        let seed = if time.is_some() { "-seed=0" } else { "-seed=1" };
        let time = time.unwrap_or(self.brief);
        for input in self.regressions(target)? {
            self.run_alone(target, &input)?;
        }
        let folder = workspace::root().join(self.folder);
        let artifacts = folder.join("artifacts").join(target);
        let found = workspace::target("fuzz").join(target);
        for folder in [&artifacts, &found] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let log = workspace::target("fuzz").join(format!("{target}.log"));
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut fuzzer = self.program(target);
        // What is new goes to the first folder of inputs; the others are read only.
        fuzzer.args([&found, &folder.join("corpus").join(target)]);
        // 0 is chance.
        fuzzer.arg(seed);
        fuzzer.arg(format!("-max_total_time={}", time.as_secs().max(1)));
        fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
        fuzzer.arg(format!("-max_len={}", self.max_len));
        fuzzer.arg("-print_final_stats=1");
        println!("     fuzzing {target} for {} s, see {}", time.as_secs(), log.display());
        fuzzer.stdout(output.try_clone()?).stderr(output);
        let status = fuzzer.status().context("the target does not start")?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        if !status.success() {
            eprint!("{}", excerpt(&text));
            let input =
                text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
            let Some(input) = input else {
                bail!("target {target} failed with {status}: see {}", log.display())
            };
            let input = Path::new(input);
            let short = input.strip_prefix(workspace::root()).unwrap_or(input).display();
            bail!("target {target} failed; look at it again: cargo xtask fuzz {target} --replay {short}");
        }
        println!("     {}", summary(target, &text));
        Ok(())
    }

    /// The inputs that once failed.
    fn regressions(&self, target: &str) -> Result<Vec<PathBuf>> {
        let folder = workspace::root().join(self.folder).join("regressions").join(target);
        let mut inputs = Vec::new();
        if let Ok(entries) = std::fs::read_dir(&folder) {
            for entry in entries {
                inputs.push(entry?.path());
            }
        }
        inputs.sort();
        Ok(inputs)
    }
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
        for suite in &SUITES {
            let folder = workspace::root().join(suite.folder);
            for target in suite.targets {
                assert!(std::fs::read_dir(folder.join("corpus").join(target)).unwrap().next().is_some());
                assert!(folder.join(format!("fuzz_targets/{target}.rs")).exists());
            }
        }
    }
}
