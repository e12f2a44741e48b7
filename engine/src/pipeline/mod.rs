//! The stages between lanes and store, each on its own thread.
//!
//! ```text
//!   lanes -> [seal: gather, hash] -> hand-over -> [persist: append, sync, publish, release] -> sinks
//!              ^ used blocks come back to be filled again              |
//!              +-------------------------------------------------------+
//! ```
//! While block N is made durable, N + 1 is gathered and hashed. Back-pressure runs the other way by itself:
//! persist behind -> the hand-over is full -> seal waits -> lanes fill -> senders get no more credit.
//!
//! Shutdown is in order: the sealing stage seals what is final and returns, which closes the hand-over; the
//! persisting stage drains it and returns.
//!
//! # Threads
//! `seal` runs the sealing stage. It is the first thread of a pool, so it hashes too: `hash-1` and so on, the
//! others of the pool, take parts of large blocks from it. `persist` runs the other stage.

mod config;
#[cfg(test)]
pub(crate) mod fixture;
mod head;
mod meter;
mod operate;
mod persist;
#[cfg(test)]
mod pruned;
mod recorder;
mod resume;
mod seal;
mod sealing;
mod select;
mod stats;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::cache::Cache;
use crate::chain::{Columns, Hash, Height, MainBlock, MainHeader, Timestamp};
use crate::clock::Clock;
use crate::lane::{Drain, Lane, Outlet};
use crate::state::{Genesis, Operation, Registry};
use crate::store::{BlockReader, BlockStore, StoreFailure};
use crate::sync::{Depth, Doorbell, Published, Publisher, Stop, Waiter, handover, published};

pub use config::{ConfigError, PipelineConfig, SealRules};
pub use head::{Head, HeadSink};
pub use meter::Meter;
pub use operate::{OperateError, Operator};
pub use resume::{ResumeError, check};
pub use seal::Sealer;
pub use stats::{Durable, StageNow, Stats};
pub use trace::BlockTrace;

pub(crate) use resume::{Resumed, resume};
pub(crate) use seal::{Assembler, Below, Share};
pub(crate) use select::fair_shares;
pub(crate) use stats::Figures;

use operate::Desk;
use persist::{Persister, StoredBell, Unsynced};
use sealing::SealStage;

/// Sealed blocks that may wait to be stored. They are stored with one sync, so this is also the group commit
/// when no sync interval is set.
const SEALED_WAITING: usize = 2;

/// An engine that knows where it stands and has its lanes, but does not run yet.
pub struct Engine {
    config: PipelineConfig,
    cache: Cache,
    registry: Registry,
    doorbell: Doorbell,
    waiter: Waiter,
    /// What wakes the sealing stage when it looks away from the lanes.
    stored: (Doorbell, Waiter),
    outlets: Vec<Outlet>,
    drains: Vec<Drain>,
    sealer: Sealer,
    store: Box<dyn BlockStore>,
    publisher: Publisher<Option<Head>>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

/// What the stages and the outside see of each other.
struct Shared {
    /// The newest durable head. Written by the persisting stage.
    head: Published<Option<Head>>,
    /// Written by the stages, each its own part.
    figures: Figures,
    /// Why a stage gave up. Written once, by the stage that did.
    failure: OnceLock<String>,
    /// The store's error, if that was why. Written before `failure`.
    store_failure: StoreFailure,
    /// Asked for by whoever stops the engine; the sealing stage sees it at its next turn.
    stop: Stop,
    /// Operations for the sealing stage.
    desk: Desk,
}

impl Engine {
    /// Reads where `reader`'s store ends and prepares to continue there. `store` and `reader` are two sides
    /// of one store; `clock` is the only time the engine knows.
    pub fn resume<R: BlockReader>(
        config: PipelineConfig,
        genesis: &Genesis,
        store: impl BlockStore + 'static,
        reader: &R,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ResumeError> {
        let resumed = resume(genesis, reader)?;
        let sides = resumed.registry.chains();
        config.validate(sides.len())?;
        let (doorbell, waiter) = Doorbell::new();
        let cache = Cache::default();
        let (mut outlets, mut drains) = (Vec::new(), Vec::new());
        let mut registered = sides.iter();
        for chain in resumed.state.chains() {
            // Each chain of the state has a place among the outlets, one that was removed an empty one.
            let ends = if chain.active {
                let side = registered.next().expect("the registry holds the chains that are active");
                let (indexed, newest) = (chain.indexed, chain.newest());
                let (lane, ends) = Lane::new(side, indexed, newest, config.lane_blocks, doorbell.clone());
                cache.insert(lane);
                ends
            } else {
                Lane::nobodys(chain.id, doorbell.clone())
            };
            outlets.push(ends.outlet);
            drains.push(ends.drain);
        }
        let sealer = Sealer::new(genesis, resumed.head.as_ref(), resumed.state, resumed.history);
        let (publisher, head) = published(resumed.head);
        let shared = Arc::new(Shared {
            head,
            figures: Figures::new(
                config.lane_blocks as u64 * sides.len() as u64,
                SEALED_WAITING as u64,
                persist::most_unsynced(config.sync_interval) as u64,
            ),
            failure: OnceLock::new(),
            store_failure: StoreFailure::default(),
            stop: Stop::new(doorbell.clone()),
            desk: Desk::default(),
        });
        let (store, registry, stored) = (Box::new(store), resumed.registry, Doorbell::new());
        Ok(Self {
            config,
            cache,
            registry,
            doorbell,
            waiter,
            stored,
            outlets,
            drains,
            sealer,
            store,
            publisher,
            shared,
            clock,
        })
    }

    /// Who is registered.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// What changes the registry once the engine runs.
    pub fn operator(&self) -> Operator {
        Operator {
            config: self.config,
            registry: self.registry.clone(),
            shared: Arc::clone(&self.shared),
            bells: [self.doorbell.clone(), self.stored.0.clone()],
        }
    }

    /// The lanes, for whoever takes blocks in.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// The newest durable head.
    pub fn head(&self) -> Option<Head> {
        self.shared.head.load()
    }

    /// Starts the stages. Every new head is announced to `sinks`, in order.
    pub fn start(self, sinks: Vec<Box<dyn HeadSink>>) -> Running {
        let operator = self.operator();
        let Self {
            config,
            cache,
            registry,
            doorbell,
            waiter,
            stored: (stored_bell, stored),
            outlets,
            drains,
            sealer,
            store,
            publisher,
            shared,
            clock,
        } = self;
        let (to_persist, sealed) = handover(SEALED_WAITING);
        let (give_back, spare) = handover(SEALED_WAITING + 2);
        let depth = sealed.depth();
        let seal = SealStage {
            config,
            doorbell,
            waiter,
            stored,
            cache: cache.clone(),
            outlets,
            sealer,
            to_persist,
            spare,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&clock),
        };
        let persist = Persister {
            store,
            sync_interval: config.sync_interval,
            unsynced: Unsynced::new(drains.iter().map(Drain::chain).collect()),
            drains,
            sealed,
            give_back,
            cache: cache.clone(),
            registry,
            lane_blocks: config.lane_blocks as u64,
            publisher,
            stored: StoredBell(stored_bell.clone()),
            sinks,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&clock),
        };
        let (pool, mut threads) = hashing_pool(config.hash_threads);
        let seal = Mutex::new(Some(guarded(move || seal.run())));
        // The stage has to run on the pool's first thread, which has its name, and a pool lets nobody choose
        // one: so all threads are asked, and the first one does it.
        pool.spawn_broadcast(move |thread| {
            let first = thread.index() == 0;
            let seal = first.then(|| seal.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
            if let Some(seal) = seal {
                seal();
            }
        });
        threads.push(spawn("persist".into(), guarded(move || persist.run())));
        Running {
            shared,
            cache,
            operator,
            clock,
            sealed: depth,
            stored: stored_bell,
            pool: Some(pool),
            threads,
        }
    }
}

/// Held by a stage while it runs, and dropped before anything else that the stage owns, however it ends: what has become
/// of it is known by then to all who find a hand-over closed or an answer missing.
///
/// A stage that panicked would leave a node that looks alive and indexes nothing; so it is a failure.
struct Alive {
    stage: &'static str,
    shared: Arc<Shared>,
}

impl Alive {
    fn new(stage: &'static str, shared: &Arc<Shared>) -> Self {
        Self { stage, shared: Arc::clone(shared) }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let Self { stage, shared } = self;
        if thread::panicking() {
            shared.fail(format!("the {stage} stage panicked; please report it with the log output"));
        }
        // Whichever stage has ended, no operation becomes durable any more.
        shared.desk.close();
    }
}

/// Runs a stage, which holds [`Alive`]. What it owned is not used again after a panic.
fn guarded(run: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    move || {
        // Told by `Alive`.
        let _ = catch_unwind(AssertUnwindSafe(run));
    }
}

/// The threads that hash. The first one is for the sealing stage; what it splits up, all of them share.
fn hashing_pool(count: usize) -> (ThreadPool, Vec<JoinHandle<()>>) {
    let mut threads = Vec::with_capacity(count + 1);
    let pool = ThreadPoolBuilder::new().num_threads(count).spawn_handler(|thread| {
        let name = match thread.index() {
            0 => "seal".to_owned(),
            index => format!("hash-{index}"),
        };
        threads.push(spawn(name, || thread.run()));
        Ok(())
    });
    let pool = pool.build().expect("threads were started");
    (pool, threads)
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name).spawn(run).expect("the machine can start one more thread")
}

/// A running engine. Dropping it stops it, too.
pub struct Running {
    shared: Arc<Shared>,
    cache: Cache,
    operator: Operator,
    clock: Arc<dyn Clock>,
    /// Main blocks on their way to the persisting stage.
    sealed: Depth,
    /// Wakes a sealing stage that looks away from the lanes.
    stored: Doorbell,
    /// Of the first of the threads.
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The lanes.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// Who is registered now.
    pub fn registry(&self) -> Registry {
        self.operator.registry()
    }

    /// What changes the registry, for those who do not own the engine.
    pub fn operator(&self) -> Operator {
        self.operator.clone()
    }

    /// Changes the registry and blocks until the main block with the operation is durable; returns that one's height.
    ///
    /// # Errors
    /// As [`Operator::operate`].
    pub fn operate(&self, operation: Operation) -> Result<Height, OperateError> {
        self.operator.operate(operation)
    }

    /// The newest durable head.
    pub fn head(&self) -> Option<Head> {
        self.shared.head.load()
    }

    /// What the stages did so far. No stage waits for it; but the caller reads a few ten thousand counters
    /// for each of the four histograms and allocates these anew, so it is for now and then.
    /// [`Running::durable`] and [`Running::stages`] are for those who ask often.
    pub fn stats(&self) -> Stats {
        self.shared.figures.stats()
    }

    /// How much was made durable since the start. Two loads: it may be asked as often as one likes.
    pub fn durable(&self) -> Durable {
        self.shared.figures.durable()
    }

    /// What the stages do now: seal, append, sync. Cheap: it may be asked a hundred times a second. What
    /// waits to be sealed is as the sealing stage saw it last, a turn ago at most.
    pub fn stages(&self) -> [StageNow; 3] {
        self.shared.figures.stages(self.clock.monotonic(), self.sealed.get() as u64)
    }

    /// What a main block went through, and when, if it is one of the newest 4,096 that were made since the start.
    pub fn trace(&self, height: Height) -> Option<BlockTrace> {
        let Figures { seal, persist, .. } = &self.shared.figures;
        trace::trace(&seal.trace, &persist.trace, height)
    }

    /// Why a stage gave up, if one did: nothing is indexed any more, and the process should end.
    pub fn failed(&self) -> Option<String> {
        self.shared.failure.get().cloned()
    }

    /// The store's error, if [`Running::failed`] says that it failed: for those who know what store it is.
    pub fn store_failure(&self) -> StoreFailure {
        Arc::clone(&self.shared.store_failure)
    }

    /// Seals what is final, makes it durable, and ends. The error is that of [`Running::failed`].
    pub fn stop(mut self) -> Result<Stats, String> {
        self.join();
        self.failed().map_or_else(|| Ok(self.stats()), Err)
    }

    fn join(&mut self) {
        self.shared.stop.request();
        // After the request, which is seen by whoever hears this.
        self.stored.ring();
        // Its threads end when the sealing stage has.
        self.pool = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("a stage catches its panics");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn fail(&self, why: String) {
        tracing::error!("{why}");
        // The first failure is the cause; later ones follow from it.
        let _ = self.failure.set(why);
    }
}

fn empty_block() -> MainBlock {
    let header = MainHeader {
        version: MainHeader::VERSION,
        chain_id: crate::chain::ChainId(0),
        height: Height(0),
        time: Timestamp::default(),
        parent: Hash::ZERO,
        side_root: Hash::ZERO,
        chain_count: 0,
        leaf_count: 0,
        ops_root: Hash::ZERO,
        state_root: Hash::ZERO,
        history_root: Hash::ZERO,
        aelf_root: Hash::ZERO,
    };
    MainBlock {
        header,
        hash: Hash::ZERO,
        operations: Vec::new(),
        sections: Vec::new(),
        columns: Columns::default(),
        chain_nodes: Vec::new(),
        side_nodes: Vec::new(),
        history_nodes: Vec::new(),
    }
}
