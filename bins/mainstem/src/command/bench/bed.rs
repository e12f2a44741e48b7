//! The bed of a measurement: a whole node in this process, and its load in another one.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use engine::chain::{ChainId, Height};
use engine::pipeline::Stats;
use engine::quorum::FinalityRule;
use engine::state::{Genesis, MainChain, SideChain};
use net::identity::Identity;

use crate::data_dir::DataDir;
use crate::node::{Node, PortFlags};
use crate::settings::{ByteSize, Settings};
use crate::signals::Signals;

use super::load::{self, Load};
use super::shape::Shape;

/// A node under load. Dropping it ends the load and removes the log.
pub(crate) struct Bed {
    // In the order in which they are dropped.
    load: Load,
    node: Node,
    scratch: Scratch,
    settings: Settings,
}

/// Ports are chosen by the system, so none can be busy.
const PORTS: PortFlags = PortFlags { ingest: "nothing", api: "nothing" };

/// How long the load may take to connect.
const CONNECT: Duration = Duration::from_secs(120);

/// How often it is looked at how far things are.
const TICK: Duration = Duration::from_millis(50);

impl Bed {
    /// Makes the data directory, starts the node, and starts the load, which begins when all of it is connected: see
    /// [`Bed::wait_connected`].
    ///
    /// # Errors
    /// The directory exists or cannot be made, or node or load cannot start.
    pub(crate) fn start(shape: &Shape) -> Result<Self> {
        Self::start_with(shape, None)
    }

    /// The same, of a load that has so many blocks and no more, if a number is given.
    pub(super) fn start_with(shape: &Shape, blocks: Option<u64>) -> Result<Self> {
        shape.check().map_err(|wrong| anyhow!(wrong))?;
        let scratch = Scratch::make(&shape.data)?;
        let settings = settings(shape, scratch.path());
        write_world(&settings, &genesis(shape))?;
        let node = Node::start(&settings, PORTS)?;
        let load = Load::start(shape, blocks, node.ingest_addr(), node.key())?;
        Ok(Self { load, node, scratch, settings })
    }

    /// The node.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The load.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// What the node was started with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits until every connection of the load is welcome, and lets it begin.
    ///
    /// # Errors
    /// It takes too long, load or node has failed, or a signal came.
    pub(crate) fn wait_connected(&self, signals: &Signals) -> Result<()> {
        self.wait_welcome(signals)?;
        self.load.begin()
    }

    /// Waits until every connection of the load is welcome, and leaves it there.
    pub(super) fn wait_welcome(&self, signals: &Signals) -> Result<()> {
        let deadline = Instant::now() + CONNECT;
        while !self.load.is_connected()? {
            if Instant::now() > deadline {
                bail!("the load did not connect within {} s", CONNECT.as_secs());
            }
            Self::rest(&self.node, signals, TICK)?;
        }
        Ok(())
    }

    /// Waits for so long.
    ///
    /// # Errors
    /// Load or node has failed, or a signal came.
    pub(crate) fn wait(&self, signals: &Signals, time: Duration) -> Result<()> {
        Self::rest(&self.node, signals, time)?;
        self.load.check()
    }

    fn rest(node: &Node, signals: &Signals, time: Duration) -> Result<()> {
        stopped(signals, time)?;
        node.failed().map_or(Ok(()), |reason| bail!("{reason}"))
    }

    /// Ends the load, then the node in order, and removes the log.
    ///
    /// # Errors
    /// A stage of the node had failed.
    pub(crate) fn stop(self) -> Result<Stats> {
        Ok(self.end()?.0)
    }

    /// Ends the load, then the node in order; the directory stays for as long as it is held.
    pub(super) fn end(self) -> Result<(Stats, Scratch)> {
        let Self { load, node, scratch, .. } = self;
        drop(load);
        Ok((node.stop()?, scratch))
    }
}

/// Waits for so long; an error when a signal comes, or has come.
pub(super) fn stopped(signals: &Signals, time: Duration) -> Result<()> {
    if signals.wait(time) {
        bail!("stopped before the end");
    }
    Ok(())
}

fn settings(shape: &Shape, dir: &Path) -> Settings {
    let mut settings = Settings::default();
    dir.clone_into(&mut settings.data.dir);
    settings.ingest.addr = (Ipv4Addr::LOCALHOST, 0).into();
    settings.api.addr = shape.api.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
    // All nodes are at one address here.
    settings.ingest.handshakes_per_address = 1_000_000;
    settings.ingest.handshake_burst = 1_000_000;
    settings.cache.lane_blocks = shape.lane_blocks() as usize;
    // A bound of what lanes might hold, which the load does not fill when its chains are not alike.
    settings.cache.bytes = ByteSize::gib(1_024);
    settings.seal.interval_ms = shape.seal_interval_ms;
    settings.storage.sync_interval_ms = shape.sync_interval_ms;
    settings.threads.hashing = shape.hashing as usize;
    settings
}

fn genesis(shape: &Shape) -> String {
    let side = |chain: u32| SideChain {
        id: ChainId(chain),
        name: format!("chain {chain}"),
        first_height: Height(1),
        nodes: vec![load::identity(shape.connection(chain)).public()],
        finality: FinalityRule::Single,
    };
    let main = MainChain { id: ChainId(9_992_731), name: "mainstem bench".into(), aelf_root: false };
    Genesis::document(&main, &(1..=shape.chains).map(side).collect::<Vec<_>>())
}

fn write_world(settings: &Settings, genesis: &str) -> Result<()> {
    let dir = DataDir::of(settings);
    fs::write(&dir.genesis, genesis)
        .with_context(|| format!("{} cannot be written", dir.genesis.display()))?;
    Identity::create(&dir.key)?;
    Ok(())
}

/// The directory of a run, removed at its end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn make(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        match fs::create_dir(path) {
            Ok(()) => Ok(Self(path.to_owned())),
            // Told by the call that makes it, so that of two benches one is refused.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "{} exists; a bench makes its directory anew and removes it: name another with --data",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("{} cannot be made", path.display())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} cannot be removed: {error}", self.0.display());
        }
    }
}
