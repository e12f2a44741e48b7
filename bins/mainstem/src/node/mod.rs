//! A node: log, engine, ingest and API, wired together, started in order and stopped in order.

mod begin;
mod check;
mod slot;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use axum::Router;
use engine::cache::Cache;
use engine::chain::{ChainId, Height, NodeKey};
use engine::pipeline::{Durable, StageNow, Stats};
use engine::state::{Genesis, Registry};
use engine::store::BlockReader;
use net::server::{Load, NodeKeys, Parts};
use storage::{Log, LogReader};

use crate::admin::{Held, PausedFile};
use crate::api::health::{self, Health};
use crate::api::stats::{self, Sampler};
use crate::api::{self, Limits, Pages};
use crate::clock::SystemClock;
use crate::codes::{self, WithCode as _};
use crate::data_dir::DataDir;
use crate::external::{self, Settled};
use crate::ingest;
use crate::keys::{KeysFile, Watch};
use crate::otel::{Exporting, Traces};
use crate::record::Recorder;
use crate::registry::{Chains, Room, ever_registered};
use crate::settings::{Mode, Settings};
use crate::threads::{self, Plan, pin};
use crate::watch::{self, Board, Watching};

pub(crate) use check::{check, pipeline};
pub(crate) use slot::{Chain, EngineSlot};

pub(crate) use begin::lost_operations;

use begin::{Begun, continuing, opening};
use check::wrong_setting;

/// How long peers may take to hear that the node stops.
const QUIC_GRACE: Duration = Duration::from_secs(2);

/// How long the last traces may take when the node stops.
const TRACES_GRACE: Duration = Duration::from_secs(2);

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
    chains: Chains,
    api: api::Server,
    quic: net::server::Server,
    ingest: Load,
    engine: EngineSlot,
    /// Where the main chain is driven from, if it is.
    external: Option<external::Server>,
    reader: Settled<LogReader>,
    health: Health,
    board: Board,
    paused: PausedFile,
    recorder: Recorder<Settled<LogReader>>,
    exporting: Exporting,
    pages: Pages,
    max_chains: Arc<AtomicUsize>,
    _watching: Watching,
    _watch: Watch,
}

impl Node {
    /// Opens the data directory, continues where its log ends, and starts to serve.
    ///
    /// # Errors
    /// Whatever is wrong with the data directory, its log, its genesis document or the settings, with what to do.
    pub(crate) fn start(settings: &Settings, flags: PortFlags) -> Result<Self> {
        Self::start_with(settings, flags, Router::new())
    }

    /// The same, with more routes at the API's address.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) fn start_with(settings: &Settings, flags: PortFlags, more: Router) -> Result<Self> {
        let dir = DataDir::of(settings);
        let genesis = Arc::new(dir.read_genesis()?);
        let identity = dir.read_key()?;
        let key = identity.public();
        // Before anything is written: a log keeps the genesis document and the segment size that it is made with.
        check(settings, &dir, &genesis).code(1005)?;
        let traces = Traces::of(settings, &dir).code(1005)?;
        let paused = PausedFile::at(&dir.chains);
        let held = paused.read()?;

        let file = KeysFile::at(&dir.keys);
        let mut options = storage::Options::new(genesis.hash, genesis.main.id);
        options.segment_bytes = settings.storage.segment_bytes.0;
        options.keep_blocks = NonZeroU64::new(settings.storage.keep_blocks);
        options.keep_bytes = NonZeroU64::new(settings.storage.keep_bytes.0);
        options.spare_segments = settings.storage.spare_segments;
        options.cached_bytes = settings.storage.cached.0;
        options.reversible = settings.main.mode == Mode::External;
        let (writer, reader, recovery) =
            Log::open(&dir.log, options).map_err(|error| codes::as_storage(&error, opening(&dir, &error)))?;
        let operations = reader.operations()?;
        let state = file.read(&ever_registered(&genesis, &operations))?;
        let ever = Registry::new(&genesis, operations.iter().map(|(_, operation)| operation)).ever();
        let room = Room::new(settings, recovery.segment_bytes);
        room.judge(ever).map_err(wrong_setting).code(1005)?;
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
        let whole = reader.clone();
        let begun = match settings.main.mode {
            Mode::Solo => Begun::solo(config, &genesis, writer, reader, clock.clone()),
            Mode::External => {
                Begun::external(settings, &dir, config, &genesis, writer, reader, clock.clone())
            }
        };
        let begun = begun.map_err(|error| continuing(&dir, &whole, error)).code(1207)?;
        let Begun { cache, registry, operator, head, reader, engine } = begun;
        // Before anything can be taken in or sealed.
        pause(&held, &registry, &cache);
        let keys = NodeKeys::new(&registry.chains());
        keys.set(state.changes());
        let chains = Chains::new(registry.clone(), cache.clone(), Arc::clone(&keys), operator, room);
        let heads = api::Heads::new(settings.api.max_streams, head);

        let config = ingest::config(&settings.ingest, identity);
        let parts = Parts {
            cache: cache.clone(),
            clock: clock.clone(),
            main_chain: genesis.main.id,
            genesis_hash: genesis.hash,
            keys: Arc::clone(&keys),
            head,
            blocks: Arc::new(reader.clone()),
        };
        let quic = net::server::Server::start(config, parts)
            .map_err(|error| anyhow!("{error}; {} moves this port", flags.ingest))
            .code(1201)?;

        let lane_blocks = settings.cache.lane_blocks;
        let recorder = Recorder::new(quic.tap(), reader.clone(), &dir.genesis, lane_blocks, clock.clone());

        let running = EngineSlot::default();
        let addr = settings.api.addr;
        let timeout = Duration::from_millis(settings.api.timeout_ms);
        let board = Board::new(cache.clone(), registry.clone(), &settings.watch);
        board.set_quarantined(&held.quarantined);
        let stats = Sampler::start(stats::Sources {
            engine: running.clone(),
            ingest: quic.load(),
            cache: cache.clone(),
            peers: quic.peer_list(),
            head: Box::new({
                let reader = reader.clone();
                move || stats::head(&reader)
            }),
            chains: Box::new({
                let board = board.clone();
                move || board.counts().map(|(state, count)| (state.name().to_owned(), count as u64)).into()
            }),
            side_blocks: api::side_blocks(&registry.chains(), &cache),
            log: dir.log.clone(),
            started: Instant::now(),
        })
        .context("no thread can be had that looks at the figures")
        .code(1205)?;
        let health = Health::new(health::Sources {
            engine: running.clone(),
            stats: stats.clone(),
            log: dir.log.clone(),
            damage: Box::new({
                let reader = whole.clone();
                move || reader.damage().len()
            }),
            driven: settings.main.mode == Mode::External,
            bounds: health::Bounds::of(&settings.health),
        });
        let max_chains = Arc::new(AtomicUsize::new(settings.metrics.max_chains));
        let node = api::Node {
            board: board.clone(),
            reader: reader.clone(),
            stats,
            health: health.clone(),
            requests: api::Requests::traced(traces.requests()),
            max_chains: Arc::clone(&max_chains),
            cache: cache.clone(),
            genesis: Arc::clone(&genesis),
            registry,
            key,
            ingest_addr: quic.local_addr(),
            started: Instant::now(),
            peers: quic.peer_list(),
            ingest: quic.load(),
            engine: running.clone(),
            scraped: api::Scraped::default(),
            answers: api::Budget::default(),
            questions: quic.questions(),
            heads: heads.clone(),
        };
        let limits = Limits { max_body: settings.api.max_body.0 as usize, timeout };
        let config = api::Config {
            addr,
            threads: plan.api.threads.get(),
            max_connections: settings.api.max_connections,
            nice: settings.api.nice as u8,
            head_timeout: timeout,
        };
        let pages = Pages::new(addr, settings.api.cors_origins.clone());
        let routes = pages.guard(api::router(Arc::new(node), limits, pages.clone()).merge(more));
        let api = api::Server::start(config, routes)
            .map_err(|error| {
                anyhow!("the API cannot listen on TCP {addr}: {error}; {} moves this port", flags.api)
            })
            .code(1202)?;

        let known = {
            let (genesis, reader) = (Arc::clone(&genesis), reader.clone());
            // Operations are in memory here: they can be read.
            move || ever_registered(&genesis, &reader.operations().unwrap_or_default())
        };
        let watch = Watch::start(file, Box::new(known), state, move |state| keys.set(state.changes()))
            .context("no thread can be had that watches the keys")
            .code(1205)?;
        let newest = {
            let reader = reader.clone();
            move || reader.head()
        };
        let exporting = traces.start(running.clone(), newest, clock, key).code(1205)?;
        let (chain, external) = engine.start(vec![Box::new(quic.head_sink()), heads.sink()], settings)?;
        running.put(chain);
        let watching = watch::Parts {
            board: board.clone(),
            peers: quic.peer_list(),
            ingest: quic.load(),
            engine: running.clone(),
            driven: settings.main.mode == Mode::External,
            rules: settings.seal.rules,
            paused: paused.clone(),
        };
        let watching = Watching::start(watching, &settings.watch)
            .context("no thread can be had that watches the chains")
            .code(1205)?;
        if settings.threads.pin {
            pin::pin(&plan)?;
        }
        let ingest = quic.load();
        health.started();
        Ok(Self {
            recorder,
            health,
            genesis,
            key,
            cache,
            chains,
            api,
            quic,
            ingest,
            engine: running,
            external,
            reader,
            board,
            paused,
            exporting,
            pages,
            max_chains,
            _watching: watching,
            _watch: watch,
        })
    }

    /// Who is registered now.
    pub(crate) fn registry(&self) -> &Registry {
        self.chains.registry()
    }

    /// What adds and removes chains, also for who does not hold the node meanwhile: it may be stopped then.
    pub(crate) fn chains(&self) -> Chains {
        self.chains.clone()
    }

    /// As [`Chains::pause`].
    pub(crate) fn pause_chain(&self, chain: ChainId, paused: bool) -> bool {
        self.chains.pause(chain, paused)
    }

    /// Where chains are written down that are paused.
    pub(crate) fn paused_file(&self) -> PausedFile {
        self.paused.clone()
    }

    /// Who the main chain is, and which chains it began with.
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

    /// The same as an error with its code.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        self.engine.failure()
    }

    /// Records what comes in and what is sealed.
    pub(crate) fn recorder(&self) -> Recorder<Settled<LogReader>> {
        self.recorder.clone()
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
        api::side_blocks(&self.registry().chains(), &self.cache)
    }

    /// How many blocks side chains have that are not durable here, as far as those who speak for them have told; `None`
    /// if nobody has. Goes through all sessions: not to be asked often.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.quic.peers().iter().filter_map(|peer| peer.behind).reduce(u64::saturating_add)
    }

    /// Takes over what can change while it runs, of settings that were checked ([`check()`]).
    pub(crate) fn reconfigure(&self, settings: &Settings) {
        self.board.set_settings(settings.watch.clone());
        self.health.set_bounds(health::Bounds::of(&settings.health));
        self.pages.set(settings.api.cors_origins.clone());
        // Relaxed: a bound of its own.
        self.max_chains.store(settings.metrics.max_chains, Ordering::Relaxed);
    }

    /// Whether it is well. Whoever is about to stop it calls its `drain` first.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Stops in order: no more blocks come in, what is final is sealed and stored, then the API ends. Fails if
    /// a stage of the engine had given up.
    pub(crate) fn stop(self) -> Result<Stats> {
        let Self { api, quic, engine, external, recorder, exporting, .. } = self;
        recorder.finish(RECORD_GRACE);
        if let Some(external) = external {
            phase("calls of the main chain's node", || external.stop(API_GRACE));
        }
        phase("ingest", || quic.shutdown(QUIC_GRACE));
        // What is sealed from now on is not traced: the stages end, and with them what they wrote down.
        exporting.stop(TRACES_GRACE);
        let engine = engine.take().expect("only this takes the engine");
        let stats = phase("sealing and storing what is final", || engine.stop());
        phase("API", || api.stop(API_GRACE));
        let stats = stats?;
        tracing::info!(main_blocks = stats.main_blocks, side_blocks = stats.side_blocks, "stopped");
        Ok(stats)
    }
}

/// How long a recording may take to end: it writes down what is on its way.
pub(crate) const RECORD_GRACE: Duration = Duration::from_secs(3);

/// Ends a part of the node, and says how long that took.
fn phase<T>(part: &'static str, end: impl FnOnce() -> T) -> T {
    tracing::info!("stopping: {part}");
    let began = Instant::now();
    let ended = end();
    tracing::info!(ms = began.elapsed().as_millis() as u64, "stopped: {part}");
    ended
}

/// Pauses what was paused when the node ran last.
fn pause(held: &Held, registry: &Registry, cache: &Cache) {
    for chain in held.chains() {
        let Some(lane) = registry.chain(chain).and_then(|_| cache.lane(chain)) else {
            tracing::warn!(%chain, "a chain is paused in chains.toml and is not registered: it is left out");
            continue;
        };
        lane.pause(true);
        let why = held.quarantined.get(&chain).map_or_else(String::new, |why| format!(" ({why})"));
        tracing::warn!(%chain, "the chain is paused, as it was{why}; `mainstem chains resume` lets it go on");
    }
}
