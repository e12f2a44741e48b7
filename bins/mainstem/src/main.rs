//! `mainstem`: the program of the main-chain operator. It takes in the irreversible blocks of side chains, seals
//! main blocks over them, stores them, and proves to outsiders what was indexed.
#![deny(unsafe_code)]

mod admin;
#[allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; it counts, and hands every call on to the system's"
)]
mod alloc;
mod api;
mod clock;
mod codes;
mod command;
mod data_dir;
mod external;
mod ingest;
mod keys;
mod listen;
mod logging;
mod node;
mod otel;
mod proc;
mod record;
mod registry;
mod settings;
mod signals;
mod snapshot;
mod threads;
mod watch;
mod web;

use std::io::Write as _;
use std::process::{ExitCode, Termination};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use command::{bench, config, dev, follow, init, inspect, peers, profile, proof, prune, run, verify};

const EXAMPLES: &str = "\
Examples:
  mainstem dev                                    try it: a main chain and 8 simulated side chains
  mainstem init --data main --id AELF             make a data directory
  mainstem run --data main                        run a node
  mainstem proof --chain tDVV --height 7 > p.json fetch a proof from the node on this machine
  mainstem verify p.json                          verify it, offline
  mainstem explain MS-1204                        what an error code means, and what to do

Exit codes of mainstem: 0 done, 1 failed, 2 wrong command line or configuration, 3 damaged data, 4 data of another version, \
5 no node answers; commands that answer a question with it (verify, follow, why, health, doctor, inspect, replay) say how in \
their help, and docs/errors/README.md has them all.";

/// The engine of a main chain: indexes side chains, seals main blocks, serves proofs.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::Dev),
    Bench(bench::Bench),
    #[command(name = "bench-load", hide = true)]
    BenchLoad(bench::BenchLoad),
    Profile(profile::Profile),
    Init(init::Init),
    Run(run::Run),
    Keys(command::keys::Keys),
    Config(config::Config),
    Chains(command::chains::Chains),
    Why(command::chains::Why),
    Peers(peers::Peers),
    Top(command::top::Top),
    Doctor(command::doctor::Doctor),
    Record(command::record::Record),
    Replay(command::replay::Replay),
    Inspect(inspect::Inspect),
    Proof(proof::Proof),
    Prune(prune::Prune),
    Verify(verify::Verify),
    Follow(follow::Follow),
    Health(command::health::Health),
    Completions(command::completions::Completions),
    Man(command::man::Man),
    Explain(command::explain::Explain),
    Reload(command::reload::Reload),
    Log(command::log::Log),
    Trace(command::trace::Trace),
    Snapshot(command::snapshot::Snapshot),
    Restore(command::restore::Restore),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    match cli.command {
        Command::Dev(dev) => ended(dev.run()),
        Command::Bench(bench) => ended(bench.run()),
        Command::BenchLoad(load) => ended(load.run()),
        Command::Profile(profile) => ended(profile.run()),
        Command::Init(init) => ended(init.run()),
        Command::Run(run) => ended(run.run()),
        Command::Keys(keys) => ended(keys.run()),
        Command::Config(config) => ended(config.run()),
        Command::Chains(chains) => ended(chains.run()),
        Command::Why(why) => ended(why.run()),
        Command::Peers(peers) => ended(peers.run()),
        Command::Top(top) => ended(top.run()),
        Command::Proof(proof) => ended(proof.run()),
        Command::Prune(prune) => ended(prune.run()),
        Command::Verify(verify) => verify.run(),
        Command::Follow(follow) => ended(follow.run()),
        Command::Completions(completions) => ended(completions.run(Cli::command())),
        Command::Man(man) => ended(man.run(Cli::command())),
        Command::Explain(explain) => ended(explain.run()),
        Command::Log(log) => ended(log.run()),
        Command::Trace(trace) => ended(trace.run()),
        Command::Reload(reload) => ended(reload.run()),
        Command::Snapshot(snapshot) => ended(snapshot.run()),
        Command::Restore(restore) => ended(restore.run()),
        Command::Health(health) => ended(health.run()),
        Command::Record(record) => ended(record.run()),
        Command::Replay(replay) => ended(replay.run()),
        Command::Doctor(doctor) => ended(doctor.run()),
        Command::Inspect(inspect) => ended(inspect.run()),
    }
}

/// Says what is wrong with the command line, with its code; or prints the help that was asked for.
fn not_run(error: &clap::Error) -> ExitCode {
    // Whoever closed the stream has the exit code.
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = error.render().ansi().to_string();
        let _ = write!(anstream::stderr(), "{}", text.replacen("error:", "error[MS-7002]:", 1));
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// How the process ends by what came of a command: those that answer a question with it say how.
fn ended(result: Result<impl Termination>) -> ExitCode {
    match result {
        Ok(done) => done.report(),
        // Whoever closed standard output wants to read no more, nor a complaint; that all went well is not known.
        Err(error) if codes::is_closed_output(&error) => ExitCode::FAILURE,
        Err(error) => ExitCode::from(codes::report(&error) as u8),
    }
}
