//! `mainstem run`: a node of the main chain.

mod catch_up;
mod explain;

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::data_dir::DataDir;
use crate::logging;
use crate::node::{Node, PortFlags};
use crate::settings::{ConfigArgs, Loaded, Settings};
use crate::signals::Signals;
use crate::threads;

use super::dev::above;
use catch_up::CatchUp;

const EXAMPLES: &str = "\
Every setting is a key of the configuration file, an environment variable and a flag; of several the later wins:
default < file < environment < flag. `mainstem config show --origin` tells what holds and why.

Examples:
  mainstem run --data main
  mainstem run --config /etc/mainstem.toml --log.format json
  mainstem run --data main --explain         threads and memory on this machine, and why
  mainstem run --explain --cores 64          the same for another machine
  MAINSTEM_API_ADDR=0.0.0.0:9480 mainstem run --data main";

/// Run a node: take side blocks in, seal main blocks, store them, serve proofs
///
/// It continues where the log of its data directory ends. SIGINT or SIGTERM stops it in order, a second one at once.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// Print how many threads and how much memory it would run with, why, and what changes it; start nothing
    #[arg(long)]
    explain: bool,
    /// Explain for a machine with so many processors [default: those that this process may use]
    #[arg(long, value_name = "N", requires = "explain", value_parser = cores)]
    cores: Option<NonZeroUsize>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        let loaded = self.config.load()?;
        if self.explain {
            return explain(&loaded, self.cores);
        }
        let mut catch_up = CatchUp::new();
        logging::start(&loaded.settings.log, catch_up.bar().map(above));
        let signals = Signals::listen()?;
        let node = Node::start(&loaded.settings, PortFlags { ingest: "--ingest.addr", api: "--api.addr" })?;
        announce(&node, &loaded.settings)?;
        while !signals.wait(Duration::from_millis(100)) {
            if node.failed().is_some() {
                node.stop()?;
                bail!("a stage of the engine gave up");
            }
            catch_up.update(&node);
        }
        catch_up.finish();
        node.stop().map(drop)
    }
}

fn explain(loaded: &Loaded, cores: Option<NonZeroUsize>) -> Result<()> {
    // Without a data directory the plan is the same, and memory is what it may be.
    let chains = DataDir::of(&loaded.settings).read_genesis().ok().map(|genesis| genesis.chains.len());
    let text = explain::explain(loaded, cores.unwrap_or_else(threads::cores), chains);
    Ok(stdout().write_all(text.as_bytes())?)
}

fn cores(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|cores: &NonZeroUsize| cores.get() <= 4096);
    number.ok_or_else(|| "expected a number, from 1 to 4096".to_owned())
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
    if let Some(addr) = node.external_addr() {
        writeln!(out, "driven by   calls to http://{addr}, gRPC or REST")?;
    }
    writeln!(out, "public key  {}", node.key())?;
    if genesis.chains.is_empty() {
        writeln!(out, "The genesis document names no side chain: there is nothing to index.")?;
    }
    out.flush()?;
    Ok(())
}
