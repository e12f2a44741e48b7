//! Proofs over HTTP: how many a node answers in a second, over connections that are kept.
//!
//! Plain sockets and as little as can be around them: on a machine of two processors the load's work counts as much as
//! the node's. Each thread sends one request on each of its connections, then reads all answers.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use engine::chain::{ChainId, Hash, Height};
use engine::proof::Document;
use hdrhistogram::Histogram;
use serde::Deserialize;

use crate::http::{Connection, Random};

/// One answer in so many is read as a proof and verified.
const VERIFIED: u64 = 1_000;

/// Ask a running node for proofs of side blocks at random, as fast as it answers.
#[derive(Args)]
pub(crate) struct Proofs {
    /// The node's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9480")]
    node: String,
    /// Threads that ask
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Connections of each thread
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    connections: u64,
    /// How long
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Ask for the binary form
    #[arg(long)]
    binary: bool,
    /// Let every proof end in the header that was the newest one at the start
    #[arg(long)]
    head: bool,
}

#[derive(Deserialize)]
struct Chains {
    chains: Vec<Chain>,
}

#[derive(Deserialize)]
struct Chain {
    #[serde(rename = "chain_id")]
    id: ChainId,
    first_height: Height,
    durable: Height,
}

#[derive(Deserialize)]
struct Latest {
    hash: Hash,
    header: Header,
}

#[derive(Deserialize)]
struct Header {
    height: Height,
}

impl Proofs {
    pub(crate) fn run(self) -> Result<()> {
        let mut connection = Connection::new(&self.node)?;
        let chains: Chains = serde_json::from_slice(connection.ask("/v1/chains", false)?)?;
        let chains: Vec<Chain> =
            chains.chains.into_iter().filter(|chain| chain.durable >= chain.first_height).collect();
        ensure!(!chains.is_empty(), "{}: nothing is indexed there yet", self.node);
        let latest: Latest = serde_json::from_slice(connection.ask("/v1/blocks/latest", false)?)?;
        let blocks: u64 = chains.iter().map(|chain| chain.durable.0 + 1 - chain.first_height.0).sum();
        let results: Vec<Result<Load>> = thread::scope(|scope| {
            let ask = |thread| {
                let (this, chains, latest) = (&self, &chains, &latest);
                scope.spawn(move || this.load(thread, chains, latest))
            };
            let threads: Vec<_> = (0..self.threads).map(ask).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
                .collect()
        });
        let (mut answers, mut bytes, mut verified, mut rate) = (0, 0, 0, 0.0);
        let mut times = histogram()?;
        for load in results {
            let load = load?;
            answers += load.answers;
            bytes += load.bytes;
            verified += load.verified;
            rate += load.answers as f64 / load.time.as_secs_f64();
            times.add(load.times)?;
        }
        let at = |quantile| Duration::from_nanos(times.value_at_quantile(quantile));
        println!(
            "{rate:.0} proofs/s: {answers} answers of {} bytes with their heads, {verified} of them verified; {} connections by {} threads, \
             {blocks} side blocks in {} main blocks; p50 {:.0?}, p99 {:.0?}",
            bytes / answers.max(1),
            self.threads * self.connections,
            self.threads,
            latest.header.height,
            at(0.5),
            at(0.99),
        );
        Ok(())
    }

    fn load(&self, thread: u64, chains: &[Chain], latest: &Latest) -> Result<Load> {
        let connections =
            (0..self.connections).map(|_| Connection::new(&self.node)).collect::<Result<Vec<_>>>();
        let mut connections = connections?;
        let head = if self.head { format!("?head={}", latest.header.height) } else { String::new() };
        let mut random = Random(thread);
        let mut load = Load { answers: 0, bytes: 0, verified: 0, time: Duration::ZERO, times: histogram()? };
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(self.seconds) {
            let sent = Instant::now();
            for connection in &mut connections {
                let chain = &chains[random.below(chains.len() as u64) as usize];
                let height = chain.first_height.0 + random.below(chain.durable.0 + 1 - chain.first_height.0);
                let path = format!("/v1/proofs/{}/{height}{head}", chain.id.0);
                connection.send(&path, self.binary)?;
            }
            for connection in &mut connections {
                let body = connection.receive()?;
                load.times.saturating_record(sent.elapsed().as_nanos() as u64);
                load.answers += 1;
                if load.answers % VERIFIED == 1 {
                    let outcome = Document::parse(body)?.verify()?;
                    let ends = outcome.verified.trusted_hash == latest.hash;
                    ensure!(ends || !self.head, "a proof ends in another header than was asked for");
                    load.verified += 1;
                }
                load.bytes += connection.answer.len() as u64;
            }
        }
        load.time = begin.elapsed();
        Ok(load)
    }
}

/// What one thread has got.
struct Load {
    answers: u64,
    /// Heads included.
    bytes: u64,
    verified: u64,
    time: Duration,
    /// From the first request of a round to each answer, in nanoseconds.
    times: Histogram<u64>,
}

/// Of nanoseconds, up to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
