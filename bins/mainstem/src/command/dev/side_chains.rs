//! The simulated side-chain nodes: each a QUIC client with a key of its own, all driven by one thread.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use engine::chain::{ChainId, NodeKey};
use engine::sim::{SimConfig, SimSource};
use net::client::{ChainState, Client, ClientConfig, ConnectionState};
use net::identity::Identity;
use net::reactor::Reactor;

use crate::clock::SystemClock;

/// The running nodes. They end with the value.
pub(super) struct SideChains {
    // Dropped in this order: clients need their reactor to the end.
    clients: Vec<Client>,
    _reactor: Reactor,
}

impl SideChains {
    /// Starts a client for each node; it speaks for its chains, which `sim` describes, to the main chain at `addr`.
    pub(super) fn start(
        nodes: Vec<(Identity, Vec<ChainId>)>,
        sim: &Arc<SimConfig>,
        addr: SocketAddr,
        main_key: NodeKey,
    ) -> Result<Self> {
        let reactor = Reactor::spawn_thread("side-chains").context("cannot start a thread")?;
        let clock = Arc::new(SystemClock::start());
        let mut clients = Vec::with_capacity(nodes.len());
        for (identity, chains) in nodes {
            let source = SimSource::new(SimConfig { chains, ..SimConfig::clone(sim) }, clock.clone());
            let mut config = ClientConfig::new(addr.to_string(), main_key, identity);
            config.software = concat!("mainstem dev ", env!("CARGO_PKG_VERSION")).into();
            config.reactor = Some(reactor.handle());
            config.give_up_on_refusal = true;
            clients.push(Client::start(config, Box::new(source)).context("a simulated node cannot start")?);
        }
        Ok(Self { clients, _reactor: reactor })
    }

    /// Why a node gave up, if one did. Here, where everything is made for each other, that is a defect.
    pub(super) fn failed(&self) -> Option<String> {
        self.clients.iter().find_map(|client| {
            let status = client.status();
            let chain = status.chains.into_iter().find(|chain| chain.state == ChainState::Stopped);
            match (status.connection, chain) {
                (ConnectionState::Stopped { reason }, _) => {
                    Some(format!("a simulated node gave up: {reason}"))
                }
                (_, Some(chain)) => {
                    let why = chain.error.unwrap_or_default();
                    Some(format!("simulated chain {} stopped: {why}", chain.chain))
                }
                _ => None,
            }
        })
    }

    /// Disconnects all nodes.
    pub(super) fn stop(self) {
        // Each waits for its source's thread; so all at once.
        std::thread::scope(|scope| {
            for client in self.clients {
                scope.spawn(|| client.stop(None));
            }
        });
    }
}
