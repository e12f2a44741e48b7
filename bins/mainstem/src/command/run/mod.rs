//! `mainstem run`: a node of the main chain.

mod catch_up;
mod explain;
mod steer;

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::admin::Actions as _;
use crate::codes::WithCode as _;
use crate::data_dir::DataDir;
use crate::logging;
use crate::node::{Node, PortFlags};
use crate::settings::{ConfigArgs, Loaded, Settings};
use crate::signals::{Asked, Signals};
use crate::threads;

use super::dev::above;
use catch_up::CatchUp;
use steer::Steer;
pub(in crate::command) use steer::Steering;
pub(crate) use steer::{exposed, secret};

const EXAMPLES: &str = "\
Every setting is a key of the configuration file, an environment variable and a flag; of several the later wins: \
default < file < environment < flag. `mainstem config show --origin` tells what holds and why.

Examples:
  mainstem run --data main
  mainstem run --config /etc/mainstem.toml --log.format json
  mainstem run --data main --explain         threads and memory on this machine, and why
  mainstem run --explain --cores 64          the same for another machine
  MAINSTEM_API_ADDR=0.0.0.0:9480 mainstem run --data main";

/// Run a node: take side blocks in, seal main blocks, store them, serve proofs
///
/// It continues where the log of its data directory ends. SIGINT or SIGTERM stops it in order, a second one at once;
/// SIGHUP has it read its configuration again, as `mainstem reload` does.
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
        let settings = loaded.settings;
        let mut catch_up = CatchUp::new();
        logging::start(&settings.log, catch_up.bar().map(above));
        let signals = Signals::listen_to_reload().code(1206)?;
        let flags = PortFlags { ingest: "--ingest.addr", api: "--api.addr" };
        let node = Steering::start(&settings, flags, self.config)?;
        node.look(|node| announce(node, &settings))?;

        loop {
            match signals.asked(Duration::from_millis(100)) {
                Some(Asked::Stop) => break,
                // Not here: whoever asks to stop is heard meanwhile.
                Some(Asked::Reload) => reload(node.steer()),
                None => {}
            }
            if let Some(failure) = node.look(Node::failure) {
                // It fails for the same reason, or one that follows from it.
                let _ = stop(node);
                return Err(failure);
            }
            node.look(|node| catch_up.update(node));
        }
        catch_up.finish();
        stop(node)
    }
}

/// Stops a node in order: others hear that it stops, then it takes no more, seals and stores what it has, and ends.
fn stop(node: Steering) -> Result<()> {
    node.refuse();
    let (started, settings) = (Instant::now(), node.steer().settings());
    let drain = Duration::from_millis(settings.run.drain_ms);
    let failed = node.look(|node| {
        node.health().drain();
        node.failed().is_some()
    });
    if !drain.is_zero() && !failed {
        tracing::info!(ms = settings.run.drain_ms, "stopping: /readyz says so, and everything goes on");
        // A second signal ends the process meanwhile.
        thread::sleep(drain);
    }
    deadline(Duration::from_millis(settings.run.stop_timeout_ms));
    node.end().stop()?;
    tracing::info!(ms = started.elapsed().as_millis() as u64, "stopped in order");
    Ok(())
}

/// Ends the process as it is, if it has not ended by then.
fn deadline(timeout: Duration) {
    let end = move || {
        thread::sleep(timeout);
        tracing::error!(
            after_ms = timeout.as_millis() as u64,
            "the node did not stop in time (run.stop_timeout_ms): it ends as it is; what is durable stays so"
        );
        std::process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("deadline".into()).spawn(end) {
        tracing::warn!(%error, "no thread can be had that watches how long stopping takes");
    }
}

/// Reads the configuration again, since a signal asked for it.
fn reload(steer: Arc<Steer>) {
    let reload = move || match steer.reload() {
        Ok(done) => tracing::info!(
            target: "mainstem::admin", who = "signal", applied = ?done.applied, needs_restart = ?done.needs_restart,
            "read the configuration again"
        ),
        Err(error) => tracing::error!(
            target: "mainstem::admin", who = "signal", %error, "the configuration is wrong; everything stays as it was"
        ),
    };
    if let Err(error) = thread::Builder::new().name("admin".into()).spawn(reload) {
        tracing::warn!(%error, "the configuration was not read again: no thread can be had");
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
    writeln!(out, "side chains {}, {} blocks indexed", node.registry().len(), node.side_blocks())?;
    writeln!(out, "ingest      quic {}", node.ingest_addr())?;
    writeln!(out, "api         http://{}", node.api_addr())?;
    writeln!(out, "dashboard   http://{}{}", node.api_addr(), crate::web::HOME)?;
    if let Some(addr) = node.external_addr() {
        writeln!(out, "driven by   calls to http://{addr}, gRPC or REST")?;
    }
    writeln!(out, "public key  {}", node.key())?;
    if node.registry().is_empty() {
        writeln!(
            out,
            "No side chain is registered: there is nothing to index. `mainstem chains add` registers one."
        )?;
    }
    out.flush()?;
    Ok(())
}
