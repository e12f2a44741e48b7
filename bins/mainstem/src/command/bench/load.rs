//! The load of a bench: clients that send flat out, in a process of their own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::source::{Source, SourceError};
use net::client::{Client, ClientConfig, ConnectionState};
use net::identity::Identity;
use net::reactor::Reactor;

/// Sends blocks flat out; started by `mainstem bench`.
#[derive(Args)]
pub(crate) struct BenchLoad {
    #[arg(long)]
    main: String,
    #[arg(long)]
    main_key: NodeKey,
    #[arg(long)]
    chains: u32,
    #[arg(long)]
    connections: u32,
}

impl BenchLoad {
    /// Name of the command.
    pub(super) const NAME: &str = "bench-load";

    /// Runs until it is killed, or a client gives up.
    pub(crate) fn run(self) -> Result<()> {
        let reactor = Reactor::spawn_thread("load").context("cannot start a thread")?;
        let mut clients = Vec::new();
        for connection in 0..self.connections {
            let chains = (1..=self.chains).filter(|chain| (chain - 1) % self.connections == connection);
            let chains = chains.map(|chain| Counter { chain: ChainId(chain), height: 0 }).collect();
            let mut config = ClientConfig::new(&self.main, self.main_key, identity(connection));
            config.reactor = Some(reactor.handle());
            config.give_up_on_refusal = true;
            clients
                .push(Client::start(config, Box::new(FlatOut { chains })).context("a client cannot start")?);
        }
        loop {
            std::thread::sleep(Duration::from_millis(200));
            for client in &clients {
                if let ConnectionState::Stopped { reason } = client.status().connection {
                    bail!("the load stopped: {reason}");
                }
            }
        }
    }
}

/// The key of a connection: made from its number, because a bench keeps no secrets.
pub(super) fn identity(connection: u32) -> Identity {
    let mut seed = [0xb3; 32];
    seed[..4].copy_from_slice(&connection.to_le_bytes());
    Identity::from_seed(seed)
}

/// Chains whose every block can be made from its height alone, for a few nanoseconds.
struct FlatOut {
    /// By ascending chain id.
    chains: Vec<Counter>,
}

struct Counter {
    chain: ChainId,
    height: u64,
}

impl FlatOut {
    fn chain(&mut self, chain: ChainId) -> Result<&mut Counter, SourceError> {
        let position = self.chains.binary_search_by_key(&chain, |counter| counter.chain);
        let position = position.map_err(|_| SourceError::Fatal(format!("chain {chain} is not sent here")))?;
        Ok(&mut self.chains[position])
    }
}

impl Source for FlatOut {
    fn chains(&self) -> Vec<ChainId> {
        self.chains.iter().map(|counter| counter.chain).collect()
    }

    fn resume(&mut self, chain: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        self.chain(chain)?.height = next.previous().0;
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let counter = self.chain(chain)?;
        let parent = block_hash(chain, counter.height);
        for _ in 0..max {
            counter.height += 1;
            let hash = block_hash(chain, counter.height);
            let mut tx_root = hash;
            tx_root.0[0] ^= 0xff;
            out.push(hash, tx_root, Timestamp::from_millis(counter.height));
        }
        Ok(parent)
    }
}

/// 32 bytes that differ for each block: not a hash of anything, which the main chain neither knows nor minds.
fn block_hash(chain: ChainId, height: u64) -> Hash {
    let mut word = (u64::from(chain.0) << 40) ^ height;
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ height;
        part.copy_from_slice(&word.to_le_bytes());
    }
    Hash(bytes)
}
