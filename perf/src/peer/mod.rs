//! A peer: the same job put together from common parts, as somebody who knows them would in a week.
//!
//! ```text
//!   load  ==QUIC, prost==>  stream tasks: decode, check, hash leaves  ->  seal: rs_merkle  ->  commit: redb
//!         <===== acks, credits =====  after the commit  <-------------------------------------------'
//! ```
//! tokio, quinn, prost, rs_merkle and redb, each as its documentation advises. It does what Mainstem does: every side
//! block is found by its chain and height and proved against a header, heights follow on each other and on their parents,
//! what a chain may send ahead is bounded, and nothing is acknowledged before it is durable (`tests` shows all of it).
//! What it leaves out would only slow it down: registered keys, operations, a history of headers, a state.
//!
//! It is given what took Mainstem measurements to find: its TLS suite, datagrams of 6,500 bytes, windows and socket buffers,
//! and a layout of the store that is kinder than a row for each block.
//!
//! # Tuning
//! prost's `Bytes` instead of vectors, buffers that go round, messages gathered into writes of 64 KiB, chains kept on four
//! streams with a task each; leaves hashed where they are decoded and trees over chains by rayon, neither committed to
//! a history (`uncommitted_root`); one transaction a main block on a thread of its own, while the next gathers.
//! Tried besides, single short runs on a busy machine, and all within its noise (420 to 590 ns a block of the receiver):
//! 1, 2 and 8 streams; messages of 64 and 512 blocks; 30 and 100 ms between main blocks; 2^18 and 2^22 blocks ahead;
//! main blocks of 2^16 and 2^20; caches of 64 MiB and 4 GiB.
//!
//! # Where its time goes
//! Samples of the receiver with 100 chains on one connection, same machine: reading, decoding and leaf hashes 47 % (sha2
//! alone 21 %, one hash at a time; a count up and down for each field that refers to a received buffer 8 %), trees 29 % (sha2
//! 15 %, a vector for each level 8 %), commits 24 %, four fifths of them in the kernel: a copy-on-write tree writes on new
//! pages. Its sender takes 114 ns a block where Mainstem's took 41. With 10,000 chains on 1,000 connections the receiver takes
//! twice as much a block and the sender seven times (single run; no profile says why).

mod chains;
pub(crate) mod command;
mod load;
mod message;
mod seal;
mod server;
mod store;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::child::{Child, Place, answer, setup, stopped, tell};
use crate::goals::Figures;

/// What was tuned.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tuning {
    /// Data streams of a connection, shared between all connections
    #[arg(long, default_value_t = Self::BEST.streams)]
    pub(crate) streams: usize,
    /// Blocks of a message
    #[arg(long, default_value_t = Self::BEST.batch)]
    pub(crate) batch: u32,
    /// Blocks that all chains together may be ahead of what is durable; at least 256 each
    #[arg(long, default_value_t = Self::BEST.ahead)]
    pub(crate) ahead: u64,
    /// Blocks of a main block, at most, about
    #[arg(long, default_value_t = Self::BEST.most_leaves)]
    pub(crate) most_leaves: usize,
    /// Least time from one main block to the next, in ms
    #[arg(long, default_value_t = Self::BEST.interval_ms)]
    pub(crate) interval_ms: u32,
    /// Cache of redb, in MiB
    #[arg(long, default_value_t = Self::BEST.cache_mib)]
    pub(crate) cache_mib: usize,
}

impl Tuning {
    pub(crate) const BEST: Self = Self {
        streams: 4,
        batch: 256,
        ahead: 1 << 20,
        most_leaves: 1 << 18,
        interval_ms: 0,
        cache_mib: 1024,
    };

    /// Blocks that a chain may be ahead of what is durable.
    fn window(&self, chains: u32) -> u64 {
        (self.ahead / u64::from(chains.max(1))).max(256)
    }

    fn streams(&self, connections: u32) -> usize {
        (self.streams / connections.max(1) as usize).max(1)
    }
}

/// A part of the peer, as a process of its own; started by the measurements.
#[derive(Args)]
pub(crate) struct Role {
    #[arg(long)]
    setup: String,
}

impl Role {
    pub(crate) fn serve(&self) -> Result<()> {
        let server = server::Server::start(&setup(&self.setup)?)?;
        tell(&(server.addr, server::Server::key()))?;
        answer(|question| match question {
            "sample" => Ok(serde_json::to_value(server.sample()?)?),
            other => bail!("a receiver has no answer to {other:?}"),
        })
    }

    pub(crate) fn load(&self) -> Result<()> {
        let setup: load::Setup = setup(&self.setup)?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(load::send(setup))
    }
}

/// Names of the commands.
const SERVER: &str = "peer-server";
const LOAD: &str = "peer-load";

/// How long the load may take to connect.
const CONNECT: Duration = Duration::from_secs(60);

/// Runs the peer flat out, with its file in the directory `dir`, which is made and removed.
pub(crate) fn run(
    chains: u32,
    connections: u32,
    warm_up: Duration,
    time: Duration,
    tuning: &Tuning,
    dir: &Path,
) -> Result<Figures> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let figures = run_in(chains, connections, warm_up, time, tuning, dir);
    let removed = fs::remove_dir_all(dir).with_context(|| format!("{} cannot be removed", dir.display()));
    // Why the run failed says more.
    figures.and_then(|figures| removed.map(|()| figures))
}

fn run_in(
    chains: u32,
    connections: u32,
    warm_up: Duration,
    time: Duration,
    tuning: &Tuning,
    dir: &Path,
) -> Result<Figures> {
    let path = dir.join("peer.redb");
    let tuning = tuning.clone();
    let setup = server::Setup { chains, connections, path, tuning: tuning.clone() };
    let mut server = Child::role(SERVER, &setup, &Place::default())?;
    let (addr, key) = server.hear()?;
    let setup = load::Setup { addr, key, chains, connections, tuning };
    let mut load = Child::role(LOAD, &setup, &Place::default())?;

    let start = std::time::Instant::now();
    while server.ask::<server::Sample>("sample")?.blocks == 0 {
        if start.elapsed() > CONNECT {
            bail!("the peer: no block became durable within {} s", CONNECT.as_secs());
        }
        wait(Duration::from_millis(100))?;
        alive(&mut load)?;
    }
    wait(warm_up)?;
    alive(&mut load)?;
    let before: server::Sample = server.ask("sample")?;
    let (server_before, load_before) = (server.cpu()?, load.cpu()?);
    wait(time)?;
    let after: server::Sample = server.ask("sample")?;
    let (server_after, load_after) = (server.cpu()?, load.cpu()?);
    alive(&mut load)?;
    if after.blocks == before.blocks {
        bail!("the peer: no block became durable in {} s", time.as_secs());
    }
    let blocks = (after.blocks - before.blocks) as f64;
    Ok(Figures {
        blocks_per_second: blocks / (after.at - before.at),
        durable_p50_ms: after.p50_ms,
        durable_p99_ms: after.p99_ms,
        server_ns: server_after.since(&server_before, "") as f64 / blocks,
        load_ns: load_after.since(&load_before, "") as f64 / blocks,
        disk_bytes_per_block: after.disk_bytes as f64 / after.blocks as f64,
        main_block: blocks / (after.main_blocks - before.main_blocks).max(1) as f64,
        memory_bytes: server.rss()?,
    })
}

/// An error once the load has ended, which it never does by itself: what is measured then is no load.
fn alive(load: &mut Child) -> Result<()> {
    match load.ended()? {
        Some(status) => bail!("the load of the peer ended ({status}): see above"),
        None => Ok(()),
    }
}

fn wait(time: Duration) -> Result<()> {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50).min(time));
        stopped()?;
    }
    Ok(())
}
