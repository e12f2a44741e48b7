//! `cargo xtask test` and its single steps.
//!
//! Built to be quick from nothing on two cores. Which packages a command selects decides which features their
//! dependencies get, and every new set of features builds those again. So all steps but the documentation say
//! `--workspace`, build and test both take `--all-targets`' set (with the features of dev-dependencies), and
//! the benches run in the dev profile: what is shown is that they run, not how fast. Only loom, shuttle and
//! the sanitizers need their own artifacts.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::step::{self, Step, Work};
use crate::{asan, browser, crash, disk, fuzz, monitoring, peers, verifiers, workspace};

pub(crate) const LONG: &str = "\
Check everything that CI checks, in order, and stop at the first failure.

Steps: fmt (formatting), no_std (the verifier of proofs and all that it depends on link no std), peers (install real \
EVM nodes, AElf's clients and a Solidity compiler), clippy (lints; a warning is an error), build (all targets), test \
(unit, property, documentation and end-to-end tests), features (what only features bring: the export to Parquet, \
OpenTelemetry), verifiers (of proofs, in JavaScript and Solidity), browser (the dashboard in headless Chromium), monitoring (alert rules and the Grafana \
dashboard against a real Prometheus), crash (the log through simulated crashes, then with planted faults), disk (the \
log on real file systems), asan (the log's tests under AddressSanitizer), fuzz (the fuzz targets of the log, of what peers send and of proofs, briefly), bench (each bench \
once, not measured), doc (documentation without warnings), loom (model checks), shuttle (all stages in random \
schedules). A table of step, result and seconds ends the run; the exit code is that of the step that failed.

Needs: the Rust toolchain (rustup reads rust-toolchain.toml), a C and a C++ compiler, git (two tests of the book ask it \
which files there are), Python 3, Node.js 20 or newer with npm, and the registries of cargo and npm. From nothing on two \
cores it takes up to 25 minutes, afterwards a few.

Three steps need more, and are left out, with the reason, where it cannot be had: browser takes Chromium (run as root it \
INSTALLS the Debian package `chromium` by apt-get where there is none), monitoring takes Prometheus (where it is not \
installed, the Debian package is unpacked into target/tools, which installs nothing), disk takes root, FUSE and loop \
devices. With CI=true in the environment, a fetch by apt-get that fails is a failure.";

pub(crate) const LOOM: &str = "\
Model-check the lock-free parts with loom: every interleaving that the memory model allows, within loom's bounds.

What is modelled, and which weakened ordering each model catches: loom-tests/README.md. Builds with `--cfg loom` into \
target/loom, apart from all other artifacts.";

pub(crate) const SHUTTLE: &str = "\
Check all stages of a node together in thousands of random schedules with shuttle: what is too large for loom.

The schedules are the same every time (fixed seeds). Builds with `--cfg shuttle` into target/shuttle, apart from all \
other artifacts.";

pub(crate) const E2E: &str = "\
Run the end-to-end tests: real processes, real sockets, real EVM nodes.

They are the tests in bins/*/tests. They find the EVM nodes by MAINSTEM_PEERS (see `cargo xtask help peers`). To run \
one of them: `cargo xtask e2e NAME`.";

/// What `cargo xtask test` may leave out.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out loom and shuttle, the tests that need EVM nodes and those on real file systems, the slow
    /// parts
    #[arg(long)]
    fast: bool,
    /// Leave out the tests that need EVM nodes (for where npm or its registry cannot be reached)
    #[arg(long)]
    without_peers: bool,
}

/// Which end-to-end tests to run.
#[derive(Args)]
pub(crate) struct E2eOptions {
    /// Leave out the tests that need EVM nodes
    #[arg(long)]
    without_peers: bool,
    /// Only tests whose name contains this
    name: Option<String>,
    /// What follows `--` goes to the test programs, e.g. `-- --nocapture`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Why something is left out. Shown in the table, so that a shortened run is never taken for a whole one.
#[derive(Clone, Copy)]
enum Peers {
    Wanted,
    LeftOut(&'static str),
}

/// Why this machine cannot do some steps, if so.
struct Machine {
    browser: Option<&'static str>,
    monitoring: Option<&'static str>,
    disk: Option<&'static str>,
    sanitizers: Option<&'static str>,
}

impl Machine {
    fn this(options: &Options) -> Self {
        Self {
            browser: browser::missing(),
            monitoring: monitoring::missing(),
            disk: left_out_disk(options),
            sanitizers: asan::missing(),
        }
    }
}

/// All steps, in order: what fails soonest and cheapest comes first.
pub(crate) fn all(options: &Options) -> Result<ExitCode> {
    let peers = wanted_peers(options.without_peers, options.fast);
    require_tools(peers)?;
    if !options.fast && asan::missing().is_none() {
        fuzz::require_tools()?;
    }
    let machine = Machine::this(options);
    let code = step::run(plan(options, has_benches()?, &machine));
    warn_of_left_out(peers);
    if let Some(reason) = machine.disk {
        eprintln!(
            "WARNING: {reason}: the tests of the log on real file systems were LEFT OUT. CI runs them."
        );
    }
    Ok(code)
}

/// The end-to-end tests alone.
pub(crate) fn e2e(options: &E2eOptions) -> Result<ExitCode> {
    let peers = wanted_peers(options.without_peers, false);
    require_tools(peers)?;
    let mut steps = vec![peers_step(peers)];
    let packages = ["-p", "mainstem", "-p", "tributary"];
    steps.push(cargo_step(
        "build",
        "the programs that the tests start",
        &["build", "--all-targets"],
        &["-p", "mainstem", "-p", "tributary", "-p", "mainstem-client"],
    ));
    let mut tests = cargo_step("e2e", "end-to-end tests", &["test", "--test", "*"], &packages);
    if let Work::Program(command) = &mut tests.work {
        command.args(&options.name).arg("--").args(&options.args);
    }
    steps.push(with_peers(tests, peers));
    let code = step::run(steps);
    warn_of_left_out(peers);
    Ok(code)
}

fn plan(options: &Options, benches: bool, machine: &Machine) -> Vec<Step> {
    let peers = wanted_peers(options.without_peers, options.fast);
    let mut steps = vec![fmt(), no_std(), peers_step(peers), clippy()];
    let about = "all targets, among them the programs that end-to-end tests start";
    steps.push(cargo_step("build", about, &["build", "--workspace", "--all-targets"], &[]));
    let about = "unit, property, documentation and end-to-end tests";
    steps.push(with_peers(cargo_step("test", about, &["test", "--workspace", "--no-fail-fast"], &[]), peers));
    steps.push(verifiers_step(peers));
    steps.push(browser_step(peers, machine.browser));
    steps.push(monitoring(if options.fast { Some("--fast") } else { machine.monitoring }));
    let about = "what `mainstem` can only do with its features `parquet` and `otel`";
    let features = ["test", "--workspace", "--features", "mainstem/parquet,mainstem/otel"];
    let tests = ["--bin", "mainstem", "--test", "e2e", "--", "parquet", "otel"];
    steps.push(if options.fast {
        left_out("features", about, "--fast")
    } else {
        cargo_step("features", about, &features, &tests)
    });
    steps.push(if options.fast {
        left_out("crash", CRASH_ABOUT, "--fast")
    } else {
        Step { name: "crash", about: CRASH_ABOUT, work: Work::Own(crash::step), hint: CRASH_HINT }
    });
    steps.push(match machine.disk {
        Some(reason) => left_out("disk", DISK_ABOUT, reason),
        None => Step { name: "disk", about: DISK_ABOUT, work: Work::Own(disk::step), hint: DISK_HINT },
    });
    let why = if options.fast { Some("--fast") } else { machine.sanitizers };
    let own = |name, about, work, hint| match why {
        Some(reason) => left_out(name, about, reason),
        None => Step { name, about, work: Work::Own(work), hint },
    };
    steps.push(own("asan", "the log's tests under AddressSanitizer", asan::step, ""));
    steps.push(own(
        "fuzz",
        "the fuzz targets of the log, of what peers send and of proofs, briefly",
        fuzz::step,
        "`cargo xtask help fuzz` says how to go on",
    ));
    let about = "each bench runs once (its speed is not measured)";
    steps.push(if benches {
        cargo_step("bench", about, &["test", "--workspace", "--bench", "*"], &[])
    } else {
        left_out("bench", about, "the workspace has no bench target")
    });
    steps.push(doc());
    steps.push(if options.fast { left_out("loom", LOOM_ABOUT, "--fast") } else { loom() });
    steps.push(if options.fast { left_out("shuttle", SHUTTLE_ABOUT, "--fast") } else { shuttle() });
    steps
}

const CRASH_ABOUT: &str = "200,000 crash states of the log, and every planted fault found";
const CRASH_HINT: &str = "`cargo xtask help crash` says how to do one history again";
const DISK_ABOUT: &str = "the log on real file systems: recorded crashes, failing and full disks";
const DISK_HINT: &str =
    "the lines above name the crash state; `cargo xtask help disk` says how to look at it again";

/// Why the step `disk` is left out, if it is.
fn left_out_disk(options: &Options) -> Option<&'static str> {
    if options.fast {
        return Some("--fast");
    }
    // Steps show texts that live as long as the program.
    disk::missing().map(|missing| &*missing.leak())
}

pub(crate) fn fmt() -> Step {
    let step = cargo_step("fmt", "every file is formatted by rustfmt", &["fmt", "--all", "--check"], &[]);
    Step { hint: "`cargo fmt --all` formats the files", ..step }
}

/// Compiles a program without std that uses the crate `verify` with all its features. In a folder of its own: there the
/// dependencies have other features.
fn no_std() -> Step {
    let manifest = ["--manifest-path", "engine/verify/no_std/Cargo.toml", "--target-dir"];
    let about = "the verifier of proofs links no std";
    let mut step = cargo_step("no_std", about, &["check", "--locked"], &manifest);
    if let Work::Program(command) = &mut step.work {
        command.arg(workspace::target("no_std"));
    }
    Step { hint: "a dependency of engine/verify has std: look at its features", ..step }
}

pub(crate) fn clippy() -> Step {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "mainstem/parquet,mainstem/otel",
        "--",
        "-D",
        "warnings",
    ];
    cargo_step("clippy", "lints of every target; a warning is an error", &args, &[])
}

pub(crate) fn doc() -> Step {
    let about = "the documentation builds without a warning";
    let mut step = cargo_step("doc", about, &["doc", "--workspace", "--no-deps"], &[]);
    if let Work::Program(command) = &mut step.work {
        command.env("RUSTDOCFLAGS", "-Dwarnings");
    }
    step
}

const LOOM_ABOUT: &str = "model checks of the lock-free parts";

pub(crate) fn loom() -> Step {
    model("loom", LOOM_ABOUT, "--cfg loom")
}

const SHUTTLE_ABOUT: &str = "all stages together in random schedules";

pub(crate) fn shuttle() -> Step {
    model("shuttle", SHUTTLE_ABOUT, "--cfg shuttle")
}

/// The model checks that there are with `flags`.
fn model(name: &'static str, about: &'static str, flags: &str) -> Step {
    let mut step = cargo_step(name, about, &["test", "-p", "mainstem-loom-tests", "--release"], &[]);
    if let Work::Program(command) = &mut step.work {
        command
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", workspace::target(name))
            // Models need speed of search and all our assertions, not the last per cent that thin LTO brings.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    }
    step
}

pub(crate) fn peers() -> Step {
    Step {
        name: "peers",
        about: "real EVM nodes for the end-to-end tests",
        work: Work::Own(peers::install),
        hint: "the nodes come from the registry that npm is configured for; `--without-peers` of `cargo xtask test` \
               leaves out the tests that need them",
    }
}

fn peers_step(wanted: Peers) -> Step {
    match wanted {
        Peers::Wanted => peers(),
        Peers::LeftOut(reason) => Step { work: Work::LeftOut(reason), ..peers() },
    }
}

pub(crate) fn verifiers() -> Step {
    Step {
        name: "verifiers",
        about: "the verifiers of proofs in JavaScript and Solidity",
        work: Work::Own(verifiers::step),
        hint: "`cargo xtask verifiers` runs them alone",
    }
}

fn verifiers_step(wanted: Peers) -> Step {
    match wanted {
        Peers::Wanted => verifiers(),
        Peers::LeftOut(reason) => Step { work: Work::LeftOut(reason), ..verifiers() },
    }
}

pub(crate) fn monitoring(left_out: Option<&'static str>) -> Step {
    Step {
        name: "monitoring",
        about: "alert rules and dashboard against a real Prometheus; every alert fires",
        work: left_out.map_or(Work::Own(monitoring::step), Work::LeftOut),
        hint: "`cargo xtask monitoring` runs it alone; what the nodes logged is in target/monitoring",
    }
}

/// The programs that run beside each other.
pub(crate) fn programs() -> Step {
    let packages = ["-p", "mainstem", "-p", "tributary"];
    cargo_step("build", "the programs that are started", &["build", "--bins", "--examples"], &packages)
}

pub(crate) fn browser(left_out: Option<&'static str>) -> Step {
    Step {
        name: "browser",
        about: "the dashboard in headless Chromium, against real nodes",
        work: left_out.map_or(Work::Own(browser::step), Work::LeftOut),
        hint: "`cargo xtask browser` runs it alone; pictures of all pages are in target/browser",
    }
}

fn browser_step(wanted: Peers, missing: Option<&'static str>) -> Step {
    browser(match wanted {
        Peers::Wanted => missing,
        Peers::LeftOut(reason) => Some(reason),
    })
}

/// Tells the tests where the peers are, or that they are left out on purpose.
fn with_peers(mut step: Step, wanted: Peers) -> Step {
    if let Work::Program(command) = &mut step.work {
        match wanted {
            Peers::Wanted => command.env(peers::FOLDER_VAR, peers::folder()).env_remove(peers::WITHOUT_VAR),
            Peers::LeftOut(_) => command.env(peers::WITHOUT_VAR, "1"),
        };
    }
    step
}

fn wanted_peers(without_peers: bool, fast: bool) -> Peers {
    match (without_peers, fast) {
        (true, _) => Peers::LeftOut("--without-peers"),
        (false, true) => Peers::LeftOut("--fast"),
        (false, false) => Peers::Wanted,
    }
}

fn warn_of_left_out(peers: Peers) {
    if let Peers::LeftOut(reason) = peers {
        eprintln!("WARNING: {reason}: the tests against real EVM nodes were LEFT OUT. CI runs them.");
    }
}

/// Says at once what is missing, rather than after ten minutes of building.
fn require_tools(peers: Peers) -> Result<()> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    workspace::require(&compiler, "install a C compiler (gcc or clang), which the crate `ring` needs")?;
    match peers {
        Peers::Wanted => peers::require_tools(),
        Peers::LeftOut(_) => Ok(()),
    }
}

/// `--bench '*'` is an error where nothing matches, so ask first.
fn has_benches() -> Result<bool> {
    let mut metadata = workspace::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output().context("cargo metadata does not start")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).contains(r#""kind":["bench"]"#))
}

fn cargo_step(name: &'static str, about: &'static str, args: &[&str], more: &[&str]) -> Step {
    let mut command = workspace::cargo(args);
    command.args(more);
    Step { name, about, work: Work::Program(command), hint: "" }
}

fn left_out(name: &'static str, about: &'static str, reason: &'static str) -> Step {
    Step { name, about, work: Work::LeftOut(reason), hint: "" }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn names(steps: &[Step]) -> Vec<&str> {
        let runs = steps.iter().filter(|step| !matches!(step.work, Work::LeftOut(_)));
        runs.map(|step| step.name).collect()
    }

    fn env_of_test<'a>(steps: &'a [Step], name: &str) -> Option<&'a OsStr> {
        let step = steps.iter().find(|step| step.name == "test").unwrap();
        let Work::Program(command) = &step.work else { panic!("the tests are a program") };
        command.get_envs().find(|(env, _)| *env == name).and_then(|(_, value)| value)
    }

    const ABLE: Machine = Machine { browser: None, monitoring: None, disk: None, sanitizers: None };

    #[test]
    fn whole_run_leaves_nothing_out() {
        let steps = plan(&Options { fast: false, without_peers: false }, true, &ABLE);
        assert_eq!(
            names(&steps),
            [
                "fmt",
                "no_std",
                "peers",
                "clippy",
                "build",
                "test",
                "verifiers",
                "browser",
                "monitoring",
                "features",
                "crash",
                "disk",
                "asan",
                "fuzz",
                "bench",
                "doc",
                "loom",
                "shuttle"
            ]
        );
        assert_eq!(env_of_test(&steps, peers::FOLDER_VAR), Some(peers::folder().as_os_str()));
        assert_eq!(env_of_test(&steps, peers::WITHOUT_VAR), None);
    }

    #[test]
    fn fast_leaves_out_the_slow_parts_only() {
        let steps = plan(
            &Options { fast: true, without_peers: false },
            true,
            &Machine { disk: Some("--fast"), ..ABLE },
        );
        assert_eq!(names(&steps), ["fmt", "no_std", "clippy", "build", "test", "bench", "doc"]);
        assert_eq!(env_of_test(&steps, peers::WITHOUT_VAR), Some(OsStr::new("1")));
    }

    #[test]
    fn without_peers_still_runs_loom() {
        let steps = plan(&Options { fast: false, without_peers: true }, false, &ABLE);
        assert_eq!(
            names(&steps),
            [
                "fmt",
                "no_std",
                "clippy",
                "build",
                "test",
                "monitoring",
                "features",
                "crash",
                "disk",
                "asan",
                "fuzz",
                "doc",
                "loom",
                "shuttle"
            ]
        );
        assert_eq!(env_of_test(&steps, peers::WITHOUT_VAR), Some(OsStr::new("1")));
    }
    #[test]
    fn what_the_machine_cannot_do_is_left_out_and_nothing_else() {
        let machine = Machine {
            browser: Some("no browser"),
            monitoring: Some("no Prometheus"),
            disk: Some("no root"),
            sanitizers: Some("another processor"),
        };
        let options = Options { fast: false, without_peers: false };
        let (all, steps) = (plan(&options, true, &ABLE), plan(&options, true, &machine));
        let missing: Vec<_> = names(&all).into_iter().filter(|name| !names(&steps).contains(name)).collect();
        assert_eq!(missing, ["browser", "monitoring", "disk", "asan", "fuzz"]);
    }

    #[test]
    fn help_tells_every_step() {
        for step in plan(&Options { fast: false, without_peers: false }, true, &ABLE) {
            assert!(LONG.contains(&format!("{} (", step.name)), "{}", step.name);
        }
    }
}
