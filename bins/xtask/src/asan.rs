//! `cargo xtask asan`: the tests of the log under AddressSanitizer; and how to build for it, which fuzzing does too.
//!
//! The sanitizer is an unstable flag that the stable compiler has and its standard library supports, so
//! `RUSTC_BOOTSTRAP` will do and no other toolchain is needed. The flags count edges as well, as fuzzing wants it:
//! the tests do not mind, and all that both need is built once. They are those that cargo-fuzz sets, without
//! `trace-compares`, which costs more than half of the speed: what would be compared is checksums.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

pub(crate) const LONG: &str = "\
Run the tests of the package storage under AddressSanitizer, with the debug checks for undefined behaviour.
What peers send is decoded under it by the fuzz targets in net/fuzz (`cargo xtask fuzz`).

Builds into target/asan, apart from all other artifacts. Left out are the tests of crashes and of a \
whole engine, which are slow. What follows `--` goes to the test programs: `cargo xtask asan -- map::` runs those of the maps.";

/// The one platform that this is done on.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &[&str] = &[
    "-Zsanitizer=address",
    "-Cunsafe-allow-abi-mismatch=sanitizer",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

/// Our own packages below the tests.
const OURS: [&str; 2] = ["mainstem-engine", "mainstem-storage"];

/// Slow under the sanitizer: crash states without number, and a whole engine. What they do to maps others do too.
const SKIPPED: &[&str] = &["crash::", "proofs_of_what_is_left_after_pruning_verify_and_the_engine_goes_on"];

/// Why it cannot be done here, if so.
pub(crate) fn missing() -> Option<&'static str> {
    let here = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));
    (!here).then_some("it is for x86-64 Linux with glibc")
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<()> {
    asan(&[])
}

pub(crate) fn asan(args: &[String]) -> Result<()> {
    if let Some(missing) = missing() {
        bail!("{missing}");
    }
    let mut tests = cargo(&["test", "--package", "mainstem-storage", "--lib", "--tests"]);
    for ours in OURS {
        tests.args(["--config", &format!("profile.dev.package.{ours}.opt-level=2")]);
    }
    tests.arg("--");
    for skipped in SKIPPED {
        tests.args(["--skip", skipped]);
    }
    tests.args(args);
    options(&mut tests);
    let status = tests.status().context("cargo does not start")?;
    if !status.success() {
        bail!("the tests under AddressSanitizer failed with {status}");
    }
    Ok(())
}

/// A call of cargo that builds with the sanitizer; the first of `args` is its command.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let (command, rest) = args.split_first().expect("a command of cargo");
    let mut cargo = workspace::cargo(&[command, "--target", TARGET]);
    // Most time goes into building what others wrote, most runs are of what we did: `OURS`, as the workspaces of the fuzz
    // targets have it.
    cargo.args(["--config", "profile.dev.opt-level=1"]);
    cargo.args(rest);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS.join(" "));
    cargo.env("CARGO_TARGET_DIR", workspace::target("asan"));
    cargo
}

/// Sets how the sanitizer runs.
pub(crate) fn options(command: &mut Command) {
    // SIGBUS is for the log's own handler, and those it passes on are to be seen as such. Leaks are no errors of
    // memory, and looking for them needs `ptrace`, which containers may forbid.
    command.env("ASAN_OPTIONS", "handle_sigbus=0:detect_leaks=0");
}
