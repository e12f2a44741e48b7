//! `cargo xtask tsan`: the tests of several threads under ThreadSanitizer.
//!
//! As in [`asan`], the stable compiler has the flag. Its standard library comes built without the sanitizer,
//! and its sources do not come at all, so this sees what is compiled here: all of our code, and of the
//! library what is generic or inlined, atomics among them. What the library orders elsewhere (the slow paths
//! of its locks, what `Once` runs, fences) is not seen and shows as a race that is none. So it runs those
//! tests that need little of it, the lock-free parts, lanes and the whole pipeline, with
//! `tsan-suppressions.txt` for the rest; tests that wait for rayon from outside are not among them.
//!
//! Not a step of `cargo xtask test`: from nothing it takes over a minute on two cores, most of it for
//! packages that nothing else builds in this way.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{asan, workspace};

pub(crate) const LONG: &str = "\
Run tests of several threads under ThreadSanitizer: those of the lock-free parts, of lanes and of the whole pipeline.

loom sees every interleaving of small models; this sees what the machine does with the real thing. The standard library \
is not instrumented: bins/xtask/tsan-suppressions.txt lists what that hides, with the reasons. Not part of \
`cargo xtask test`, because building takes over a minute: run it after a change of engine::sync or of what uses it.

Builds into target/tsan, apart from all other artifacts. What follows `--` goes to the test programs.";

const FLAGS: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";

/// What runs: the target, and which tests of it.
const RUNS: [(&[&str], &[&str]); 2] = [
    (&["--lib"], &["sync::", "lane::"]),
    // Why a stage gave up is told by a `OnceLock`, whose writing half is the library's: the tests that read
    // it are left out.
    (
        &["--test", "pipeline"],
        &[
            "--skip",
            "a_stage_that_panics_is_a_failure_that_is_seen_at_once",
            "--skip",
            "after_a_failed_sync_nothing_is_published_released_or_tried_again",
            "--skip",
            "when_the_sync_of_an_interval_fails_none_of_its_blocks_is_told_of",
        ],
    ),
];

pub(crate) fn tsan(args: &[String]) -> Result<()> {
    if let Some(missing) = asan::missing() {
        bail!("{missing}");
    }
    for (target, tests) in RUNS {
        let mut command = cargo(&["test", "--package", "mainstem-engine"]);
        command.args(target).arg("--").args(tests).args(args);
        let status = command.status().context("cargo does not start")?;
        if !status.success() {
            bail!("the tests under ThreadSanitizer failed with {status}");
        }
    }
    Ok(())
}

/// A call of cargo that builds with the sanitizer; the first of `args` is its command.
fn cargo(args: &[&str]) -> Command {
    let (command, rest) = args.split_first().expect("a command of cargo");
    let mut cargo = workspace::cargo(&[command, "--target", asan::TARGET]);
    cargo.args(["--config", "profile.dev.opt-level=1"]);
    cargo.args(["--config", "profile.dev.package.mainstem-engine.opt-level=1"]);
    cargo.args(rest);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    cargo.env("CARGO_TARGET_DIR", workspace::target("tsan"));
    let suppressions = workspace::root().join("bins/xtask/tsan-suppressions.txt");
    cargo.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    cargo
}
