//! `mainstem run`: a node of the main chain.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::logging;
use crate::node::{Node, PortFlags};
use crate::settings::{ConfigArgs, Settings};
use crate::signals::Signals;

const EXAMPLES: &str = "\
Every setting is a key of the configuration file, an environment variable and a flag; of several the later wins:
default < file < environment < flag. `mainstem config show --origin` tells what holds and why.

Examples:
  mainstem run --data main
  mainstem run --config /etc/mainstem.toml --log.format json
  MAINSTEM_API_ADDR=0.0.0.0:9480 mainstem run --data main";

/// Run a node: take side blocks in, seal main blocks, store them, serve proofs
///
/// It continues where the log of its data directory ends. SIGINT or SIGTERM stops it in order, a second one at once.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        let loaded = self.config.load()?;
        logging::start(&loaded.settings.log, None);
        let signals = Signals::listen()?;
        let node = Node::start(&loaded.settings, PortFlags { ingest: "--ingest.addr", api: "--api.addr" })?;
        announce(&node, &loaded.settings)?;
        while !signals.wait(Duration::from_millis(100)) {
            if node.failed().is_some() {
                node.stop()?;
                bail!("a stage of the engine gave up");
            }
        }
        node.stop().map(drop)
    }
}

fn announce(node: &Node, settings: &Settings) -> Result<()> {
    let genesis = node.genesis();
    let mut out = stdout().lock();
    writeln!(out, "mainstem {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "main chain  {} {:?}, genesis {}", genesis.main.id, genesis.main.name, genesis.hash)?;
    writeln!(out, "data        {}, main block {}", settings.data.dir.display(), node.head())?;
    writeln!(out, "side chains {}, {} blocks indexed", genesis.chains.len(), node.side_blocks())?;
    writeln!(out, "ingest      quic {}", node.ingest_addr())?;
    writeln!(out, "api         http://{}", node.api_addr())?;
    writeln!(out, "public key  {}", node.key())?;
    if genesis.chains.is_empty() {
        writeln!(out, "The genesis document names no side chain: there is nothing to index.")?;
    }
    out.flush()?;
    Ok(())
}
