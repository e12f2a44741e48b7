//! An AElf side node over gRPC, to which this program is its parent.
//!
//! AElf nodes of different chains index each other by requests in both directions. A side node that is pointed at this
//! program shakes hands, is called back at the port it names, and gives its irreversible blocks; for the main chain's
//! blocks it asks here. `docs/aelf.md` says how this is set up and where it differs from an AElf main node.
//!
//! ```text
//! server   what the side node asks: handshake, the main chain's blocks, initialization data
//! peers    which nodes have shaken hands, and which of them is asked for blocks
//! pull     asking it          window   the blocks that were received and not handed out yet
//! parent   the main chain's blocks, from its HTTP API          initialization   a side chain's first block
//! answers  transactions, from the side node's web API
//! ```
//!
//! # What is checked
//! Blocks come without a link to the block before. So all that holds them together is checked: heights without a gap,
//! the node's chain id, a root in each, and, after every break and for every other node, that the newest block that
//! was handed out is the same there.

mod answers;
mod incoming;
mod initialization;
mod parent;
mod peers;
mod pull;
mod server;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
mod web;
mod window;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height};
use engine::source::{Answers, Source, SourceError};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use self::answers::NodeAnswers;
use self::parent::ParentApi;
use self::peers::Peers;
use self::window::Window;
use super::Tip;

pub use initialization::InitializationError;

/// How to stand as an AElf side node's parent.
#[derive(Clone, Debug)]
pub struct AelfConfig {
    /// The side chain.
    pub chain: ChainId,
    /// The main chain's id, as the side node has it for its parent's.
    pub parent: ChainId,
    /// Where the side node's requests are taken.
    pub listen: SocketAddr,
    /// The one node that is asked for blocks; without, whichever shakes hands.
    pub node: Option<SocketAddr>,
    /// The HTTP API of a node of the main chain.
    pub main_api: String,
    /// What the side chain's first block is made of; without, such requests are refused.
    pub initialization: Option<PathBuf>,
    /// The side node's web API, for questions about transactions.
    pub http: Option<String>,
    /// How long a node may take to connect, and for each message.
    pub timeout: Duration,
    /// How often a node is asked for new blocks once all were read.
    pub poll: Duration,
}

impl AelfConfig {
    /// The defaults, for a chain of the main chain `AELF`.
    pub fn new(chain: ChainId, listen: SocketAddr, main_api: impl Into<String>) -> Self {
        Self {
            chain,
            parent: AELF,
            listen,
            node: None,
            main_api: main_api.into(),
            initialization: None,
            http: None,
            timeout: Duration::from_secs(5),
            poll: Duration::from_millis(500),
        }
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum AelfError {
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The address cannot be had.
    #[error("--listen {addr}: {error}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The initialization data is not as it has to be.
    #[error(transparent)]
    Initialization(#[from] InitializationError),
    /// The system gives no thread.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// A [`Source`] that reads an AElf side node, and serves it as its parent. Dropping it ends both.
#[derive(Debug)]
pub struct AelfSource {
    shared: Arc<Shared>,
    answers: Option<Arc<NodeAnswers>>,
    addr: SocketAddr,
    /// Whether it was said where it listens.
    told: bool,
    _running: Running,
}

impl AelfSource {
    /// Listens for the side node.
    ///
    /// # Errors
    /// See [`AelfError`]; all of it is for whoever started it to correct.
    pub fn start(config: AelfConfig) -> Result<Self, AelfError> {
        let setting = AelfError::Setting;
        if config.chain == config.parent {
            let text =
                format!("chain {} cannot be its own parent; correct --chain or --parent", config.chain);
            return Err(setting(text));
        }
        let parent = ParentApi::new(&config.main_api, config.chain, config.parent, config.timeout);
        let parent = parent.map_err(setting)?;
        let initialization = match &config.initialization {
            Some(path) => Some(initialization::read(path, config.chain)?),
            None => None,
        };
        let answers = match &config.http {
            Some(url) => {
                let answers = NodeAnswers::new(url, config.chain, config.timeout).map_err(setting)?;
                Some(Arc::new(answers))
            }
            None => None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(server::MAX_REQUESTS)
            .thread_name("aelf")
            .enable_all()
            .build()
            .map_err(AelfError::Start)?;
        let listen = |error| AelfError::Listen { addr: config.listen, error };
        let listener = runtime.block_on(tokio::net::TcpListener::bind(config.listen)).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let now = Instant::now();
        let state = State {
            window: Window::default(),
            peers: Peers::new(config.node, now),
            trouble: None,
            newest: None,
            started: now,
        };
        let tip = Tip::default();
        let shared = Arc::new(Shared { config, addr, state: Mutex::new(state), poke: Notify::new(), tip });
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(server::serve(listener, Arc::clone(&shared), parent, initialization, stopped));
        runtime.spawn(pull::run(Arc::clone(&shared)));
        let running = Running { runtime: Some(runtime), stop };
        Ok(Self { shared, answers, addr, told: false, _running: running })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The newest block of the node, to show and to wait for.
    pub fn tip_watch(&self) -> Tip {
        self.shared.tip.clone()
    }

    /// What answers questions about transactions, where the node's web API is known.
    pub fn answers(&self) -> Option<Arc<dyn Answers>> {
        self.answers.clone().map(|answers| answers as Arc<dyn Answers>)
    }
}

impl Source for AelfSource {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.shared.config.chain]
    }

    fn resume(&mut self, _: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError> {
        if next.0 == 0 || next > Height::MAX {
            return Err(SourceError::Fatal(format!(
                "the main chain wants height {next}, which no block has"
            )));
        }
        // Not before: at its start nobody hears it.
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!(addr = %self.addr, chain = %self.shared.config.chain, "listening for the AElf node");
        }
        let mut state = self.shared.state();
        state.window.resume(next.0, parent);
        // What was wrong with what was wanted before says nothing any more.
        state.trouble = None;
        drop(state);
        self.shared.poke.notify_one();
        Ok(())
    }

    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let before = out.len();
        let mut state = self.shared.state();
        let follows = state.window.take(max, out);
        if out.len() == before {
            return state.error(&self.shared).map_or(Ok(follows), Err);
        }
        drop(state);
        // There is room again.
        self.shared.poke.notify_one();
        Ok(follows)
    }

    fn stand_by(&mut self, _: ChainId, received: Height) {
        self.shared.state().window.stand_by(received.0);
        self.shared.poke.notify_one();
    }

    fn tip(&mut self, _: ChainId) -> Result<Option<Height>, SourceError> {
        let state = self.shared.state();
        match state.error(&self.shared) {
            Some(error) => Err(error),
            None => Ok(state.newest.map(Height)),
        }
    }
}

/// What the tasks and the reader of blocks have in common.
#[derive(Debug)]
struct Shared {
    config: AelfConfig,
    addr: SocketAddr,
    state: Mutex<State>,
    /// Something has changed that the puller may wait for.
    poke: Notify,
    tip: Tip,
}

#[derive(Debug)]
struct State {
    window: Window,
    peers: Peers,
    trouble: Option<Trouble>,
    /// The highest block that a node has given.
    newest: Option<u64>,
    started: Instant,
}

/// What stands between the node and the main chain now.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    what: Problem,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Problem {
    /// It may pass.
    Passing(String),
    Fork {
        height: Height,
        ours: Hash,
        theirs: Hash,
    },
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a reader is told who gets no block. Not at once: a node that restarts is soon back.
    fn error(&self, shared: &Shared) -> Option<SourceError> {
        let chain = shared.config.chain;
        match &self.trouble {
            Some(Trouble { what: Problem::Fork { height, ours, theirs }, .. }) => {
                Some(SourceError::Fork { chain, height: *height, ours: *ours, theirs: *theirs })
            }
            Some(Trouble { what: Problem::Passing(text), since }) if since.elapsed() >= GRACE => {
                Some(SourceError::Later(text.clone()))
            }
            None if self.peers.is_empty() && self.started.elapsed() >= GRACE => {
                Some(SourceError::Later(format!(
                    "no node of chain {chain} has shaken hands yet; ParentChainServerIp and ParentChainServerPort of \
                     the node have to lead to {}",
                    shared.addr
                )))
            }
            _ => None,
        }
    }
}

/// Ends what runs when it goes.
#[derive(Debug)]
struct Running {
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LAST_ANSWERS);
        }
    }
}

/// The id of the chain `AELF`.
pub const AELF: ChainId = ChainId(9_992_731);
const WORKERS: usize = 2;
/// How long a trouble may last before it is told.
const GRACE: Duration = Duration::from_secs(3);
/// For answers that are under way at the end.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
