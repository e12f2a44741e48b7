//! A node: log, engine, ingest and API, wired together, started in order and stopped in order.

use std::fmt;
use std::iter;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use engine::cache::Cache;
use engine::chain::{Height, NodeKey};
use engine::external::{External, ExternalConfig};
use engine::pipeline::{
    ConfigError, Durable, Engine, Head, HeadSink, PipelineConfig, Running, StageNow, Stats,
};
use engine::state::Genesis;
use engine::store::BlockReader;
use net::server::{Load, NodeKeys, Parts};
use storage::{Log, LogReader, LogWriter};

use crate::api::{self, Limits};
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::external::{self, Driver, Settled};
use crate::ingest;
use crate::keys::{KeysFile, Watch};
use crate::settings::{Mode, Settings};
use crate::threads::{self, Plan, pin};

/// How long peers may take to hear that the node stops.
const QUIC_GRACE: Duration = Duration::from_secs(2);

/// How long requests may take to finish when the node stops.
const API_GRACE: Duration = Duration::from_secs(2);

/// Names of the flags that move a port, for errors about busy ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortFlags {
    /// Of the ingest port.
    pub ingest: &'static str,
    /// Of the API's port.
    pub api: &'static str,
}

/// A running node.
pub(crate) struct Node {
    genesis: Arc<Genesis>,
    key: NodeKey,
    cache: Cache,
    api: api::Server,
    quic: net::server::Server,
    ingest: Load,
    engine: EngineSlot,
    /// Where the main chain is driven from, if it is.
    external: Option<external::Server>,
    reader: Settled<LogReader>,
    _watch: Watch,
}

/// What makes main blocks.
pub(crate) enum Chain {
    /// This node's own stages.
    Solo(Running),
    /// Another chain's node, by calls.
    External(Arc<External>),
}

impl Chain {
    fn stats(&self) -> Stats {
        match self {
            Self::Solo(running) => running.stats(),
            Self::External(external) => external.stats(),
        }
    }

    fn stages(&self) -> [StageNow; 3] {
        match self {
            Self::Solo(running) => running.stages(),
            Self::External(external) => external.stages(),
        }
    }

    fn durable(&self) -> Durable {
        match self {
            Self::Solo(running) => running.durable(),
            Self::External(external) => external.durable(),
        }
    }

    fn failed(&self) -> Option<String> {
        match self {
            Self::Solo(running) => running.failed(),
            Self::External(external) => external.status().failed,
        }
    }

    /// Ends it: what is final is sealed and stored, if it is ours to seal.
    fn stop(self) -> Result<Stats, String> {
        match self {
            Self::Solo(running) => running.stop(),
            Self::External(external) => external.status().failed.map_or_else(|| Ok(external.stats()), Err),
        }
    }
}

/// The engine, also for those who only look at it. Empty before it starts and once it was stopped.
#[derive(Clone, Default)]
pub(crate) struct EngineSlot(Arc<RwLock<Option<Chain>>>);

impl EngineSlot {
    /// What the stages did so far.
    pub(crate) fn stats(&self) -> Option<Stats> {
        self.look(Chain::stats)
    }

    /// What ingest and the stages do now.
    pub(crate) fn stages(&self, ingest: &Load) -> Option<Vec<StageNow>> {
        let first = StageNow {
            name: "ingest",
            threads: ingest.threads(),
            busy: ingest.awake(),
            queue: ingest.frame_bytes(),
            capacity: ingest.most_frame_bytes(),
            unit: "bytes",
        };
        self.look(|chain| iter::once(first).chain(chain.stages()).collect())
    }

    /// How much was made durable since the start: for those who ask often.
    pub(crate) fn durable(&self) -> Option<Durable> {
        self.look(Chain::durable)
    }

    /// Why a stage gave up, if one did.
    pub(crate) fn failed(&self) -> Option<String> {
        self.look(Chain::failed).flatten()
    }

    fn look<T>(&self, look: impl FnOnce(&Chain) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// Shows an engine that was started.
    pub(crate) fn put(&self, engine: Chain) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    }

    fn take(&self) -> Option<Chain> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSlot").finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data directory, continues where its log ends, and starts to serve.
    ///
    /// # Errors
    /// Whatever is wrong with the data directory, its log, its genesis document or the settings, with what to do.
    pub(crate) fn start(settings: &Settings, flags: PortFlags) -> Result<Self> {
        let dir = DataDir::of(settings);
        let genesis = Arc::new(dir.read_genesis()?);
        let identity = dir.read_key()?;
        let key = identity.public();
        // Before anything is written: a log keeps the genesis document and the segment size that it is made with.
        check(settings, &dir, &genesis)?;

        let file = KeysFile::at(&dir.keys);
        let state = file.read(&genesis)?;
        let keys = NodeKeys::new(&genesis.chains);
        keys.set(state.changes());

        let mut options = storage::Options::new(genesis.hash, genesis.main.id);
        options.segment_bytes = settings.storage.segment_bytes.0;
        options.keep_blocks = NonZeroU64::new(settings.storage.keep_blocks);
        options.spare_segments = settings.storage.spare_segments;
        options.cached_bytes = settings.storage.cached.0;
        options.reversible = settings.main.mode == Mode::External;
        let (writer, reader, recovery) =
            Log::open(&dir.log, options).map_err(|error| opening(&dir, &error))?;
        check_fit(settings, &genesis, recovery.segment_bytes)?;
        for damage in &recovery.damage {
            tracing::error!(
                "{damage}; all other blocks are served. `mainstem inspect repair --data {}` says what can be done",
                settings.data.dir.display()
            );
        }
        tracing::info!(
            log = %dir.log.display(), head = recovery.head.0, segments = recovery.sealed_segments + 1,
            generation = recovery.generation, "opened the log"
        );

        let plan = Plan::of(threads::cores(), settings);
        let clock = Arc::new(SystemClock::start());
        let config = pipeline(settings, &plan);
        let begun = match settings.main.mode {
            Mode::Solo => Begun::solo(config, &genesis, writer, reader, clock.clone()),
            Mode::External => {
                Begun::external(settings, &dir, config, &genesis, writer, reader, clock.clone())
            }
        };
        let begun = begun.with_context(|| format!("cannot continue the log in {}", dir.log.display()))?;
        let Begun { cache, head, reader, engine } = begun;

        let config = ingest::config(&settings.ingest, identity);
        let parts = Parts {
            cache: cache.clone(),
            clock,
            main_chain: genesis.main.id,
            genesis_hash: genesis.hash,
            keys: Arc::clone(&keys),
            head,
            blocks: Arc::new(reader.clone()),
        };
        let quic = net::server::Server::start(config, parts)
            .map_err(|error| anyhow!("{error}; {} moves this port", flags.ingest))?;

        let running = EngineSlot::default();
        let addr = settings.api.addr;
        let timeout = Duration::from_millis(settings.api.timeout_ms);
        let node = api::Node {
            reader: reader.clone(),
            cache: cache.clone(),
            genesis: Arc::clone(&genesis),
            key,
            ingest_addr: quic.local_addr(),
            started: Instant::now(),
            peers: quic.peer_list(),
            ingest: quic.load(),
            engine: running.clone(),
            scraped: api::Scraped::default(),
            answers: api::Budget::default(),
            questions: quic.questions(),
        };
        let limits = Limits { max_body: settings.api.max_body.0 as usize, timeout };
        let config = api::Config {
            addr,
            threads: plan.api.threads.get(),
            max_connections: settings.api.max_connections,
            nice: settings.api.nice as u8,
            head_timeout: timeout,
        };
        let api = api::Server::start(config, api::router(Arc::new(node), limits)).map_err(|error| {
            anyhow!("the API cannot listen on TCP {addr}: {error}; {} moves this port", flags.api)
        })?;

        let watch = Watch::start(file, Arc::clone(&genesis), state, move |state| keys.set(state.changes()))
            .context("no thread can be had that watches the keys")?;
        let (chain, external) = engine.start(Box::new(quic.head_sink()), settings)?;
        running.put(chain);
        if settings.threads.pin {
            pin::pin(&plan)?;
        }
        let ingest = quic.load();
        Ok(Self { genesis, key, cache, api, quic, ingest, engine: running, external, reader, _watch: watch })
    }

    /// Who the chains are.
    pub(crate) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// This node's public key.
    pub(crate) fn key(&self) -> NodeKey {
        self.key
    }

    /// Where it takes blocks in.
    pub(crate) fn ingest_addr(&self) -> SocketAddr {
        self.quic.local_addr()
    }

    /// Where its API listens.
    pub(crate) fn api_addr(&self) -> SocketAddr {
        self.api.addr()
    }

    /// Where the main chain is driven from, if it is.
    pub(crate) fn external_addr(&self) -> Option<SocketAddr> {
        self.external.as_ref().map(external::Server::addr)
    }

    /// What the engine's stages did so far.
    pub(crate) fn stats(&self) -> Stats {
        self.engine.stats().expect("the engine runs as long as the node")
    }

    /// What its stages do now: ingest, seal, append, sync. Cheap: may be asked a hundred times a second.
    #[allow(dead_code, reason = "the bench looks at it")]
    pub(crate) fn stages(&self) -> Vec<StageNow> {
        self.engine.stages(&self.ingest).expect("the engine runs as long as the node")
    }

    /// How much the engine made durable since it started. Costs the same however many chains there are.
    pub(crate) fn durable(&self) -> Durable {
        self.engine.durable().expect("the engine runs as long as the node")
    }

    /// Why a stage of the engine gave up, if one did: nothing is indexed any more, and the process should end.
    pub(crate) fn failed(&self) -> Option<String> {
        self.engine.failed()
    }

    /// The lanes.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The height of the newest durable main block.
    pub(crate) fn head(&self) -> Height {
        self.reader.head()
    }

    /// How many side blocks are durable.
    pub(crate) fn side_blocks(&self) -> u64 {
        api::side_blocks(&self.genesis, &self.cache)
    }

    /// How many blocks side chains have that are not durable here, as far as those who speak for them have told; `None`
    /// if nobody has. Goes through all sessions: not to be asked often.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.quic.peers().iter().filter_map(|peer| peer.behind).reduce(u64::saturating_add)
    }

    /// Stops in order: no more blocks come in, what is final is sealed and stored, then the API ends. Fails if
    /// a stage of the engine had given up.
    pub(crate) fn stop(self) -> Result<Stats> {
        let Self { api, quic, engine, external, .. } = self;
        if let Some(external) = external {
            tracing::info!("stopping: calls of the main chain's node");
            external.stop(API_GRACE);
        }
        tracing::info!("stopping: ingest");
        quic.shutdown(QUIC_GRACE);
        tracing::info!("stopping: sealing and storing what is final");
        let stats = engine.take().expect("only this takes the engine").stop();
        tracing::info!("stopping: API");
        api.stop(API_GRACE);
        let stats = stats.map_err(|reason| anyhow!("{reason}"))?;
        tracing::info!(main_blocks = stats.main_blocks, side_blocks = stats.side_blocks, "stopped");
        Ok(stats)
    }
}

/// What is there before anything moves.
struct Begun {
    cache: Cache,
    /// The newest main block that will never be taken back.
    head: Option<Head>,
    reader: Settled<LogReader>,
    engine: Starting,
}

/// An engine about to start.
enum Starting {
    Solo(Box<Engine>),
    External { driver: Driver, external: Arc<External>, config: external::Config },
}

impl Begun {
    fn solo(
        config: PipelineConfig,
        genesis: &Genesis,
        writer: LogWriter,
        reader: LogReader,
        clock: Arc<SystemClock>,
    ) -> Result<Self> {
        if writer.reversible() {
            bail!("this log was made with main.mode = \"external\", and goes on with that mode only");
        }
        let engine = Engine::resume(config, genesis, writer, &reader, clock)?;
        let (cache, head) = (engine.cache(), engine.head());
        Ok(Self { cache, head, reader: Settled::whole(reader), engine: Starting::Solo(Box::new(engine)) })
    }

    fn external(
        settings: &Settings,
        dir: &DataDir,
        config: PipelineConfig,
        genesis: &Genesis,
        writer: LogWriter,
        reader: LogReader,
        clock: Arc<SystemClock>,
    ) -> Result<Self> {
        let max_leaves = config.max_leaves;
        let config = ExternalConfig { pipeline: config, max_reversible: settings.external.max_reversible };
        let (engine, waiter) = External::resume(config, genesis, writer, &reader, clock.clone())?;
        let status = engine.status();
        let (reader, announced) = Settled::up_to(reader, status.irreversible);
        engine.announce_to(Box::new(announced))?;
        let (cache, external) = (engine.cache(), Arc::new(engine));
        let limits = external::limits(&settings.seal);
        let driver = Driver::start(Arc::clone(&external), waiter, limits, clock)
            .context("no thread can be had that judges main blocks")?;
        let token = external::token(&settings.external, dir)?;
        let config = external::Config { addr: settings.external.addr, token, max_leaves };
        let engine = Starting::External { driver, external, config };
        Ok(Self { cache, head: status.announced, reader, engine })
    }
}

impl Starting {
    /// Begins to make main blocks, or to be told of them.
    fn start(
        self,
        sink: Box<dyn HeadSink>,
        settings: &Settings,
    ) -> Result<(Chain, Option<external::Server>)> {
        match self {
            Self::Solo(engine) => Ok((Chain::Solo(engine.start(vec![sink])), None)),
            Self::External { driver, external, config } => {
                external.announce_to(sink)?;
                let addr = settings.external.addr;
                let server = external::Server::start(&config, driver).map_err(|error| {
                    anyhow!("calls cannot be taken on TCP {addr}: {error}; --external.addr moves this port")
                })?;
                Ok((Chain::External(external), Some(server)))
            }
        }
    }
}

/// The settings as the engine takes them.
pub(crate) fn pipeline(settings: &Settings, plan: &Plan) -> PipelineConfig {
    let (seal, cache) = (&settings.seal, &settings.cache);
    PipelineConfig {
        seal_interval: Duration::from_millis(seal.interval_ms),
        seal_leaves: seal.leaves,
        max_leaves: seal.max_leaves,
        max_per_chain: seal.max_per_chain,
        catch_up: seal.catch_up,
        lane_blocks: cache.lane_blocks,
        cache_bytes: cache.bytes.0,
        sync_interval: Duration::from_millis(settings.storage.sync_interval_ms),
        rules: seal.rules,
        hash_threads: plan.hashing.threads.get(),
    }
}

/// What is wrong with the settings for this genesis document, as far as can be said without a log.
///
/// # Errors
/// Names the setting or the document, the value, and what would be right.
pub(crate) fn check(settings: &Settings, dir: &DataDir, genesis: &Genesis) -> Result<()> {
    let plan = Plan::of(threads::cores(), settings);
    pipeline(settings, &plan).validate(genesis.chains.len()).map_err(
        |ConfigError { key, value, expected }| {
            let setting = match key {
                "lane_blocks" => "cache.lane_blocks",
                "cache_bytes" => "cache.bytes",
                "seal_interval" => "seal.interval_ms",
                "seal_leaves" => "seal.leaves",
                "max_leaves" => "seal.max_leaves",
                "max_per_chain" => "seal.max_per_chain",
                "sync_interval" => "storage.sync_interval_ms",
                "hash_threads" => "threads.hashing",
                other => other,
            };
            anyhow!("{setting} = {value}: {expected}")
        },
    )?;
    ingest::check(&settings.ingest)?;
    if settings.main.mode == Mode::External {
        external::token(&settings.external, dir)?;
    }
    if settings.threads.pin {
        pin::check(&plan, plan.cores.get())?;
    }
    let segment = settings.storage.segment_bytes.0;
    if !segment.is_multiple_of(4096) {
        bail!(
            "storage.segment_bytes = {segment}: expected a multiple of 4096, such as {}",
            segment / 4096 * 4096
        );
    }
    // Of a log that is there already, its own size counts.
    if dir.log.exists() { Ok(()) } else { check_fit(settings, genesis, segment) }
}

/// A main block that fits no segment would stop the node in the middle of its work; so it does not start.
fn check_fit(settings: &Settings, genesis: &Genesis, segment_bytes: u64) -> Result<()> {
    // Three columns, and at most one stored node for each side block; a section and a node for each chain in it. The
    // index of a segment names every chain.
    let (per_leaf, per_chain) = (72 + 32, 128 + 32);
    let rest = (64 << 10) + 32 * genesis.chains.len() as u64;
    let max_leaves = settings.seal.max_leaves;
    let chains = (genesis.chains.len() as u64).min(max_leaves);
    let longest = max_leaves * per_leaf + chains * per_chain + rest;
    if longest > segment_bytes {
        let fits = segment_bytes.saturating_sub(chains * per_chain + rest) / per_leaf;
        let lower = if fits > 0 { format!("lower it to {fits}, or ") } else { String::new() };
        bail!(
            "seal.max_leaves = {max_leaves}: such a main block may take {longest} bytes, and a segment of this log \
             has {segment_bytes}; {lower}raise storage.segment_bytes of a new log"
        );
    }
    Ok(())
}

fn opening(dir: &DataDir, error: &storage::Error) -> anyhow::Error {
    let hint = match error {
        // A log that holds nothing binds nobody.
        storage::Error::WrongGenesis { .. }
            if LogReader::open(&dir.log).is_ok_and(|log| log.head() == Height(0)) =>
        {
            format!(
                "\nnothing is indexed in it yet: remove {} to start with this document",
                dir.log.display()
            )
        }
        storage::Error::WrongGenesis { .. } => format!(
            "\n{} is not the document that this data directory was made with; put that one back, or run with another \
             --data",
            dir.genesis.display()
        ),
        storage::Error::Damaged { .. }
        | storage::Error::Lost { .. }
        | storage::Error::Missing { .. }
        | storage::Error::SegmentLength { .. } => {
            "\n`mainstem inspect check` lists all damage, and `mainstem inspect repair` says what can be done"
                .into()
        }
        _ => String::new(),
    };
    anyhow!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn the_settings_and_the_engine_have_the_same_defaults() {
        let settings = Settings::default();
        let plan = Plan::of(NonZeroUsize::MIN, &settings);
        assert_eq!(pipeline(&settings, &plan), PipelineConfig::default());
    }

    #[test]
    fn a_main_block_that_fits_no_segment_is_refused_with_what_would_fit() {
        let genesis = Genesis::parse("[main]\nid = 1\nname = \"m\"\n").unwrap();
        let mut settings = Settings::default();
        check_fit(&settings, &genesis, settings.storage.segment_bytes.0).unwrap();
        settings.seal.max_leaves = 1 << 23;
        let error = check_fit(&settings, &genesis, 256 << 20).unwrap_err().to_string();
        assert!(error.starts_with("seal.max_leaves = 8388608: "), "{error}");
        let fits = error.split("lower it to ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        settings.seal.max_leaves = fits.parse().unwrap();
        check_fit(&settings, &genesis, 256 << 20).unwrap();
    }
}
