//! Measures Mainstem over real QUIC and prints rows for `perf/RESULTS.md`: medians and spreads, with the commit and the
//! command that they are of.
//!
//! ```text
//!   this process: starts, samples, reports
//!     ├── receiver  a server with real lanes, or an endpoint that discards, or `mainstem run`
//!     ├── swarm     thousands of sessions on one reactor: flat out, paced, or idle
//!     └── attack    a hostile peer
//! ```
//! Every side is a process of its own, so that its processor time and memory can be told apart; children are this
//! program again, told what to do by lines on their standard input.
#![forbid(unsafe_code)]

mod api;
mod bench;
mod child;
mod goals;
mod hostile;
mod http;
mod idle;
mod ingest;
mod network;
#[cfg(feature = "peer")]
mod peer;
mod plot;
mod proofs;
mod receiver;
mod soak;
mod swarm;
mod table;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure Mainstem over real QUIC and print rows for perf/RESULTS.md.
///
/// Takes a quiet machine and the release build.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Goals(goals::Goals),
    Plot(plot::Plot),
    Ingest(ingest::Ingest),
    Network(network::Network),
    Idle(idle::Idle),
    Soak(soak::Soak),
    Hostile(hostile::Hostile),
    Proofs(proofs::Proofs),
    Api(api::Api),
    #[cfg(feature = "peer")]
    Peer(peer::command::Peer),
    #[command(hide = true)]
    Receiver(receiver::Receiver),
    #[command(hide = true)]
    Swarm(swarm::role::Role),
    #[command(hide = true)]
    Attack(hostile::Role),
    #[command(hide = true)]
    Leash(child::Leash),
    #[cfg(feature = "peer")]
    #[command(hide = true)]
    PeerServer(peer::Role),
    #[cfg(feature = "peer")]
    #[command(hide = true)]
    PeerLoad(peer::Role),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Goals(goals) => goals.run(),
        Command::Plot(plot) => plot.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Network(network) => network.run(),
        Command::Idle(idle) => idle.run(),
        Command::Soak(soak) => soak.run(),
        Command::Hostile(hostile) => hostile.run(),
        Command::Proofs(proofs) => proofs.run(),
        Command::Api(api) => api.run(),
        #[cfg(feature = "peer")]
        Command::Peer(peer) => peer.run(),
        Command::Receiver(receiver) => receiver.run(),
        Command::Swarm(role) => role.run(),
        Command::Attack(role) => role.run(),
        Command::Leash(leash) => leash.run(),
        #[cfg(feature = "peer")]
        Command::PeerServer(role) => role.serve(),
        #[cfg(feature = "peer")]
        Command::PeerLoad(role) => role.load(),
    }
}
