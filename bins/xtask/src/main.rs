//! The chores of the project: everything that a person or CI does to this tree besides building it.
//!
//! One entry point, `cargo xtask COMMAND`, so that no shell script grows and so that what CI runs is what anyone
//! can run. It stays light (two dependencies), because it is compiled before every chore.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

mod asan;
mod audit;
mod book;
mod browser;
mod crash;
mod disk;
mod fuzz;
mod monitoring;
mod package;
mod peers;
mod probe;
mod release;
mod step;
mod test;
mod tool;
mod tsan;
mod verifiers;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The chores of the project.", long_about = LONG)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const LONG: &str = "The chores of the project.

New here? `cargo xtask test` checks everything that CI checks, and says at the end how long each step took.
While you work, `cargo xtask test --fast` leaves out the slow steps. Works from any folder of the tree.";

#[derive(Subcommand)]
enum Command {
    /// Check everything that CI checks, in order, and stop at the first failure
    #[command(long_about = test::LONG)]
    Test(test::Options),
    /// Check the formatting (to mend it: cargo fmt --all)
    Fmt,
    /// Lint every target of the workspace; a warning is an error
    Clippy,
    /// Build the documentation; a warning (a broken link, say) is an error
    Doc,
    /// Model-check the lock-free parts with loom
    #[command(long_about = test::LOOM)]
    Loom,
    /// Check all stages together in thousands of random schedules with shuttle
    #[command(long_about = test::SHUTTLE)]
    Shuttle,
    /// Run tests of several threads under ThreadSanitizer
    #[command(long_about = tsan::LONG)]
    Tsan {
        /// What follows `--` goes to the test programs
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run the tests of the log under AddressSanitizer
    #[command(long_about = asan::LONG)]
    Asan {
        /// What follows `--` goes to the test programs
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Fuzz the log and what peers send, under AddressSanitizer
    #[command(long_about = fuzz::LONG)]
    Fuzz(fuzz::Options),
    /// Crash the log in every way that a power loss can, and look for planted faults
    #[command(long_about = crash::LONG)]
    Crash(crash::Options),
    /// Run the end-to-end tests: real processes, real sockets, real EVM nodes
    #[command(long_about = test::E2E)]
    E2e(test::E2eOptions),
    /// Install the real EVM nodes that the end-to-end tests index, and check that they answer
    #[command(long_about = peers::LONG)]
    Peers,
    /// Test the verifiers of proofs in JavaScript and Solidity
    #[command(long_about = verifiers::LONG)]
    Verifiers,
    /// Try alert rules and dashboard against a real Prometheus and real nodes
    #[command(long_about = monitoring::LONG)]
    Monitoring,
    /// Test the dashboard in headless Chromium, against real nodes
    #[command(long_about = browser::LONG)]
    Browser,
    /// Test the log on real file systems: recorded crashes, failing and full disks
    #[command(long_about = disk::LONG)]
    Disk(disk::Options),
    /// Build the Debian package and try it: install, start, upgrade, remove
    #[command(long_about = package::LONG)]
    Package(package::Options),
    #[command(hide = true)]
    PackageBoot { folder: PathBuf },
    #[command(hide = true)]
    PackageTrial,
    /// Build the documentation as a book
    #[command(long_about = book::LONG)]
    Book,
    /// Write what the programs are made of, as CycloneDX
    #[command(long_about = release::SBOM)]
    Sbom,
    /// Build the programs twice, in different folders, and compare the bytes
    #[command(long_about = release::REPRODUCIBLE)]
    Reproducible(release::Options),
    /// Check licences, bans and sources of all dependencies, and known vulnerabilities
    #[command(long_about = audit::LONG)]
    Audit {
        /// Folder with a copy of the RustSec advisory database [default: ../shared/advisory-db, where it is there]
        #[arg(long, value_name = "DIR")]
        advisory_db: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(options) => test::all(&options),
        Command::Fmt => Ok(step::run(vec![test::fmt()])),
        Command::Clippy => Ok(step::run(vec![test::clippy()])),
        Command::Doc => Ok(step::run(vec![test::doc()])),
        Command::Loom => Ok(step::run(vec![test::loom()])),
        Command::Shuttle => Ok(step::run(vec![test::shuttle()])),
        Command::Tsan { args } => tsan::tsan(&args).map(|()| ExitCode::SUCCESS),
        Command::Asan { args } => asan::asan(&args).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(options) => fuzz::fuzz(&options).map(|()| ExitCode::SUCCESS),
        Command::Crash(options) => crash::crash(&options).map(|()| ExitCode::SUCCESS),
        Command::E2e(options) => test::e2e(&options),
        Command::Peers => Ok(step::run(vec![test::peers()])),
        Command::Verifiers => Ok(step::run(vec![test::peers(), test::verifiers()])),
        Command::Monitoring => Ok(step::run(vec![test::programs(), test::monitoring(monitoring::missing())])),
        Command::Browser => {
            Ok(step::run(vec![test::peers(), test::programs(), test::browser(browser::missing())]))
        }
        Command::Disk(options) => disk::disk(&options).map(|()| ExitCode::SUCCESS),
        Command::Package(options) => package::package(&options).map(|()| ExitCode::SUCCESS),
        Command::PackageBoot { folder } => package::boot(&folder).map(|()| ExitCode::SUCCESS),
        Command::PackageTrial => package::trial().map(|()| ExitCode::SUCCESS),
        Command::Book => book::book().map(|()| ExitCode::SUCCESS),
        Command::Sbom => release::sbom().map(|()| ExitCode::SUCCESS),
        Command::Reproducible(options) => release::reproducible(&options).map(|()| ExitCode::SUCCESS),
        Command::Audit { advisory_db } => audit::audit(advisory_db.as_deref()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
