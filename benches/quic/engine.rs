//! What runs quinn: our reactor, or tokio.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use net::endpoint::{Bind, open};
use net::identity::Identity;
use net::reactor::Reactor;
use quinn::{Endpoint, ServerConfig};
use serde::{Deserialize, Serialize};

/// Spawns a future where its endpoint runs.
pub(crate) type Spawn = Arc<dyn Fn(BoxFuture) + Send + Sync>;
pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Engine {
    /// Ours
    Reactor,
    /// tokio, a runtime of one thread for each socket
    TokioCurrent,
    /// tokio, one runtime of as many threads as there are cores
    TokioMulti,
}

impl Engine {
    pub(crate) fn is_built(self) -> bool {
        self == Self::Reactor || cfg!(feature = "peers")
    }

    /// Whether a process needs no more than one core for each of its sockets.
    pub(crate) fn is_single(self) -> bool {
        self != Self::TokioMulti
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reactor => "reactor (ours)",
            Self::TokioCurrent => "tokio current-thread",
            Self::TokioMulti => "tokio multi-thread",
        })
    }
}

/// Threads that drive one socket.
pub(crate) struct Seat {
    pub(crate) spawn: Spawn,
    runner: Runner,
}

enum Runner {
    Reactor(Reactor),
    #[cfg(feature = "peers")]
    Tokio(tokio::runtime::Handle),
}

impl Seat {
    pub(crate) fn new(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Reactor => {
                let reactor = Reactor::spawn_thread("reactor")?;
                let handle = reactor.handle();
                let spawn: Spawn = Arc::new(move |future| drop(handle.spawn(future)));
                Ok(Self { spawn, runner: Runner::Reactor(reactor) })
            }
            #[cfg(feature = "peers")]
            Engine::TokioCurrent | Engine::TokioMulti => {
                let mut builder = if engine.is_single() {
                    tokio::runtime::Builder::new_current_thread()
                } else {
                    tokio::runtime::Builder::new_multi_thread()
                };
                let runtime = builder.enable_all().build()?;
                let handle = runtime.handle().clone();
                // Lives as long as the process, which is as long as the seat.
                std::thread::Builder::new()
                    .name("tokio".to_owned())
                    .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
                let spawner = handle.clone();
                let spawn: Spawn = Arc::new(move |future| drop(spawner.spawn(future)));
                Ok(Self { spawn, runner: Runner::Tokio(handle) })
            }
            #[cfg(not(feature = "peers"))]
            Engine::TokioCurrent | Engine::TokioMulti => anyhow::bail!("{engine} needs `--features peers`"),
        }
    }

    /// An endpoint with the same socket and the same settings, whatever drives it.
    pub(crate) fn open(
        &self,
        bind: &Bind,
        identity: &Identity,
        server: Option<ServerConfig>,
    ) -> Result<Endpoint> {
        match &self.runner {
            Runner::Reactor(reactor) => Ok(open(&reactor.handle(), bind, identity, server)?),
            #[cfg(feature = "peers")]
            Runner::Tokio(handle) => {
                let mut config = quinn::EndpointConfig::default();
                config.max_udp_payload_size(bind.max_udp_payload)?;
                let _context = handle.enter();
                let runtime = Arc::new(quinn::TokioRuntime);
                Ok(Endpoint::new(config, server, bind.socket()?, runtime)?)
            }
        }
    }
}
