//! The sender of the QUIC limit: bytes over as many connections, and nothing else.

use std::io::stdin;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::chain::NodeKey;
use net::client::ClientConfig;
use net::probe::Flood;
use serde::{Deserialize, Serialize};

use super::{identity, say};

#[derive(Args)]
pub(super) struct Bulk {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    key: NodeKey,
    #[arg(long)]
    connections: u32,
}

/// What a sender of bytes says, once: all connections are there and send.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Flooding {
    /// How many.
    pub(in super::super) connections: u32,
}

/// How often it is looked at how things are.
const LOOK: Duration = Duration::from_millis(20);

impl Bulk {
    pub(super) fn run(self) -> Result<()> {
        // As a client has them.
        let config = ClientConfig::new(self.to.to_string(), self.key, identity(0));
        let connections = self.connections as usize;
        let flood = Flood::start(self.to, self.key, connections, config.transport, config.batch_bytes)
            .context("the sender cannot start")?;
        let (over, ended) = channel::<()>();
        std::thread::Builder::new().name("input".into()).spawn(move || {
            // The bench says nothing; when it is gone, its end of the pipe is.
            for _ in stdin().lines() {}
            drop(over);
        })?;
        let mut said = false;
        loop {
            if let Some(failure) = flood.failure() {
                bail!("a connection of the QUIC limit failed: {failure}");
            }
            if !said && flood.connected() == connections {
                said = true;
                say(&Flooding { connections: self.connections })?;
            }
            match ended.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) | Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}
