//! How an engine begins: from its log, by its own stages or driven by another chain's node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use engine::cache::Cache;
use engine::chain::Height;
use engine::external::{External, ExternalConfig};
use engine::pipeline::{Engine, Head, HeadSink, Operator, PipelineConfig, ResumeError};
use engine::state::{Genesis, Registry};
use engine::store::BlockReader;
use storage::{LogReader, LogWriter};

use super::Chain;
use crate::clock::SystemClock;
use crate::codes::{self, WithCode as _};
use crate::data_dir::DataDir;
use crate::external::{self, Driver, Settled};
use crate::settings::Settings;

/// What is there before anything moves.
pub(super) struct Begun {
    pub(super) cache: Cache,
    pub(super) registry: Registry,
    /// What changes the registry, if this node decides.
    pub(super) operator: Option<Operator>,
    /// The newest main block that will never be taken back.
    pub(super) head: Option<Head>,
    pub(super) reader: Settled<LogReader>,
    pub(super) engine: Starting,
}

/// An engine about to start.
pub(super) enum Starting {
    Solo(Box<Engine>),
    External { driver: Driver, external: Arc<External>, config: external::Config },
}

impl Begun {
    pub(super) fn solo(
        config: PipelineConfig,
        genesis: &Genesis,
        writer: LogWriter,
        reader: LogReader,
        clock: Arc<SystemClock>,
    ) -> Result<Self> {
        if writer.reversible() {
            return Err(anyhow!(
                "this log was made with main.mode = \"external\", and goes on with that mode only"
            ))
            .code(6001);
        }
        let engine = Engine::resume(config, genesis, writer, &reader, clock)?;
        Ok(Self {
            cache: engine.cache(),
            registry: engine.registry(),
            operator: Some(engine.operator()),
            head: engine.head(),
            reader: Settled::whole(reader),
            engine: Starting::Solo(Box::new(engine)),
        })
    }

    pub(super) fn external(
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
            .context("no thread can be had that judges main blocks")
            .code(1205)?;
        let token = external::token(&settings.external, dir)?;
        let config = external::Config { addr: settings.external.addr, token, max_leaves };
        let engine = Starting::External { driver, external, config };
        let registry = Registry::new(genesis, []);
        Ok(Self { cache, registry, operator: None, head: status.announced, reader, engine })
    }
}

impl Starting {
    /// Begins to make main blocks, or to be told of them.
    pub(super) fn start(
        self,
        sinks: Vec<Box<dyn HeadSink>>,
        settings: &Settings,
    ) -> Result<(Chain, Option<external::Server>)> {
        match self {
            Self::Solo(engine) => Ok((Chain::Solo(Box::new(engine.start(sinks))), None)),
            Self::External { driver, external, config } => {
                sinks.into_iter().try_for_each(|sink| external.announce_to(sink))?;
                let addr = settings.external.addr;
                let server = external::Server::start(&config, driver)
                    .map_err(|error| {
                        anyhow!(
                            "calls cannot be taken on TCP {addr}: {error}; --external.addr moves this port"
                        )
                    })
                    .code(1203)?;
                Ok((Chain::External(external), Some(server)))
            }
        }
    }
}

/// How long is looked for the block whose operations are not there: when nothing works, knowing why is worth some time.
const SEARCH: Duration = Duration::from_secs(10);

/// If a log does not give the roots of its newest header because operations are lost: which ones, and of which file.
pub(crate) fn lost_operations(reader: &LogReader, error: &ResumeError) -> Option<storage::Error> {
    let registry = matches!(
        error,
        ResumeError::Root { root: "ops_root" | "state_root", .. } | ResumeError::Operation { .. }
    );
    if registry { storage::lost_operations(reader, SEARCH) } else { None }
}

/// Why a log that was opened cannot be gone on with, with what to do.
pub(super) fn continuing(dir: &DataDir, reader: &LogReader, error: anyhow::Error) -> anyhow::Error {
    let cannot = format!("cannot continue the log in {}", dir.log.display());
    let resume = error.downcast_ref::<ResumeError>();
    if let Some(lost) = resume.and_then(|error| lost_operations(reader, error)) {
        let text = format!(
            "{cannot}: {lost}\nwithout one, see what giving up that block and all after it costs: `mainstem inspect repair \
             --data {}`",
            dir.root.display()
        );
        return codes::as_storage(&lost, anyhow!(text));
    }
    let hint = match resume {
        Some(ResumeError::Root { .. } | ResumeError::Operation { .. }) => {
            "\n`mainstem inspect check --deep` reads all of the log and names what is wrong with it; its file OPERATIONS and the \
             genesis document have to be those that belong to it"
        }
        _ => "",
    };
    if hint.is_empty() { error.context(cannot) } else { anyhow!("{cannot}: {error:#}{hint}") }
}

/// Why a log cannot be opened, with what to do.
pub(super) fn opening(dir: &DataDir, error: &storage::Error) -> anyhow::Error {
    if let Some((found, expected)) = error.other_version() {
        return anyhow!(
            "{error}\nthis log is of format version {found}, and this program knows {expected}; nothing was changed. Run the \
             version that wrote it, or see `mainstem explain MS-5021`"
        );
    }
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
