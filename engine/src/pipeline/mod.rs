//! The stages between lanes and store, each on its own thread.
//!
//! ```text
//!   lanes -> [seal: gather, hash] -> bounded channel -> [persist: append, sync, publish, release] -> sinks
//!              ^ used blocks come back to be filled again                |
//!              +---------------------------------------------------------+
//! ```
//! While block N is made durable, N + 1 is gathered and hashed. Back-pressure runs the other way by itself: persist
//! behind -> the channel is full -> seal waits -> lanes fill -> senders get no more credit.
//!
//! Shutdown is in order: the sealing stage seals what is final and returns, which closes the channel; the
//! persisting stage drains it and returns.

mod config;
#[cfg(test)]
pub(crate) mod fixture;
mod head;
mod meter;
mod persist;
#[cfg(test)]
mod pruned;
mod recorder;
mod resume;
mod seal;
mod select;
mod stats;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::cache::Cache;
use crate::chain::{Columns, Hash, Height, MainBlock, MainHeader, Timestamp};
use crate::clock::Clock;
use crate::lane::{Drain, Lane, Outlet};
use crate::state::Genesis;
use crate::store::{BlockReader, BlockStore};
use crate::sync::{Doorbell, Waiter};

pub use config::{ConfigError, PipelineConfig};
pub use head::{Head, HeadSink};
pub use meter::Meter;
pub use resume::ResumeError;
pub use stats::{StageNow, Stats};

use persist::{Persister, Unsynced};
use seal::Sealer;
use select::fair_shares;
use stats::Figures;

/// Sealed blocks that may wait to be stored. They are stored with one sync, so this is also the group commit when no
/// sync interval is set.
const SEALED_WAITING: usize = 2;

/// How long the sealing stage looks away while blocks wait but are too few to seal.
const GLANCE: Duration = Duration::from_millis(1);

/// An engine that knows where it stands and has its lanes, but does not run yet.
pub struct Engine {
    config: PipelineConfig,
    cache: Cache,
    doorbell: Doorbell,
    waiter: Waiter,
    outlets: Vec<Outlet>,
    drains: Vec<Drain>,
    sealer: Sealer,
    store: Box<dyn BlockStore>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

/// What the stages and the outside see of each other.
struct Shared {
    /// The newest durable head. Written by the persisting stage.
    head: RwLock<Option<Head>>,
    /// Written by the stages, each its own part.
    figures: Figures,
    /// Why a stage gave up. Written once, by the stage that did.
    failure: OnceLock<String>,
    /// Set once, by whoever stops the engine; the sealing stage sees it at its next turn.
    stopping: AtomicBool,
}

impl Engine {
    /// Reads where `reader`'s store ends and prepares to continue there. `store` and `reader` are two sides of
    /// one store; `clock` is the only time the engine knows.
    pub fn resume<R: BlockReader>(
        config: PipelineConfig,
        genesis: &Genesis,
        store: impl BlockStore + 'static,
        reader: &R,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ResumeError> {
        config.validate(genesis.chains.len())?;
        let resumed = resume::resume(genesis, reader)?;
        let (doorbell, waiter) = Doorbell::new();
        let cache = Cache::default();
        let (mut outlets, mut drains) = (Vec::new(), Vec::new());
        for (side, chain) in genesis.chains.iter().zip(resumed.state.chains()) {
            let hash = (chain.indexed >= side.first_height).then_some(chain.hash);
            let (lane, ends) = Lane::new(side, chain.indexed, hash, config.lane_blocks, doorbell.clone());
            cache.insert(lane);
            outlets.push(ends.outlet);
            drains.push(ends.drain);
        }
        let sealer = Sealer::new(genesis, resumed.head.as_ref(), resumed.state, resumed.history);
        let shared = Arc::new(Shared {
            head: RwLock::new(resumed.head),
            figures: Figures::new(
                config.lane_blocks as u64 * genesis.chains.len() as u64,
                SEALED_WAITING as u64,
                persist::most_unsynced(config.sync_interval) as u64,
            ),
            failure: OnceLock::new(),
            stopping: AtomicBool::new(false),
        });
        let store = Box::new(store);
        Ok(Self { config, cache, doorbell, waiter, outlets, drains, sealer, store, shared, clock })
    }

    /// The lanes, for whoever takes blocks in.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// The newest durable head.
    pub fn head(&self) -> Option<Head> {
        self.shared.head()
    }

    /// Starts the stages. Every new head is announced to `sinks`, in order.
    pub fn start(self, sinks: Vec<Box<dyn HeadSink>>) -> Running {
        let Self { config, cache, doorbell, waiter, outlets, drains, sealer, store, shared, clock } = self;
        let (to_persist, sealed) = bounded(SEALED_WAITING);
        let (give_back, spare) = bounded(SEALED_WAITING + 2);
        let seal = SealStage {
            config,
            waiter,
            outlets,
            sealer,
            to_persist,
            spare,
            shared: Arc::clone(&shared),
            clock: Arc::clone(&clock),
        };
        let looked_at = Arc::clone(&clock);
        let unsynced = Unsynced::new(drains.len());
        let sync_interval = config.sync_interval;
        let persist = Persister {
            store,
            sync_interval,
            drains,
            sealed,
            give_back,
            sinks,
            shared: Arc::clone(&shared),
            clock,
            unsynced,
        };
        let spawn = |name: &'static str, run: Box<dyn FnOnce() + Send>| {
            let shared = Arc::clone(&shared);
            // A stage that panicked would leave a node that looks alive and indexes nothing. What the stage owned is
            // not used again.
            let run = move || {
                if catch_unwind(AssertUnwindSafe(run)).is_err() {
                    shared.fail(format!("the {name} stage panicked; please report it with the log output"));
                }
            };
            let thread = thread::Builder::new().name(name.into()).spawn(run);
            thread.expect("the machine can start one more thread")
        };
        let seal = spawn("seal", Box::new(move || seal.run()));
        let threads = vec![seal, spawn("persist", Box::new(move || persist.run()))];
        Running { shared, cache, doorbell, clock: looked_at, threads }
    }
}

/// A running engine. Dropping it stops it, too.
pub struct Running {
    shared: Arc<Shared>,
    cache: Cache,
    doorbell: Doorbell,
    clock: Arc<dyn Clock>,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The lanes.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// The newest durable head.
    pub fn head(&self) -> Option<Head> {
        self.shared.head()
    }

    /// What the stages did so far. No stage waits for it; the caller takes some ten microseconds.
    pub fn stats(&self) -> Stats {
        self.shared.figures.stats()
    }

    /// What the stages do now: seal, append, sync. Cheap: it may be asked a hundred times a second. What waits to be
    /// sealed is as the sealing stage saw it last, a turn ago at most.
    pub fn stages(&self) -> [StageNow; 3] {
        self.shared.figures.stages(self.clock.monotonic())
    }

    /// Why a stage gave up, if one did: nothing is indexed any more, and the process should end.
    pub fn failed(&self) -> Option<String> {
        self.shared.failure.get().cloned()
    }

    /// Seals what is final, makes it durable, and ends. The error is that of [`Running::failed`].
    pub fn stop(mut self) -> Result<Stats, String> {
        self.join();
        self.failed().map_or_else(|| Ok(self.stats()), Err)
    }

    fn join(&mut self) {
        // Release: pairs with the Acquire load in `SealStage::run`; the ring makes it look.
        self.shared.stopping.store(true, Ordering::Release);
        self.doorbell.ring();
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
    fn head(&self) -> Option<Head> {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        tracing::error!("{why}");
        // The first failure is the cause; later ones follow from it.
        let _ = self.failure.set(why);
    }
}

/// The sealing stage.
struct SealStage {
    config: PipelineConfig,
    waiter: Waiter,
    outlets: Vec<Outlet>,
    sealer: Sealer,
    to_persist: Sender<Box<MainBlock>>,
    spare: Receiver<Box<MainBlock>>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

impl SealStage {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let figures = &shared.figures.seal;
        let (mut counts, mut sorted, mut turn) = (Vec::new(), Vec::new(), 0_u64);
        let mut last = self.clock.monotonic();
        loop {
            // Acquire: pairs with the Release store in `Running::join`.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let (waiting, most) = self.look(&mut counts);
            if waiting == 0 {
                if stopping {
                    return;
                }
                self.waiter.wait(Duration::from_secs(1));
                continue;
            }
            let now = self.clock.monotonic();
            let left = (last + self.config.seal_interval).saturating_sub(now);
            let backlog = self.config.catch_up && self.is_backlog(most);
            if !(stopping || backlog || left.is_zero() || waiting >= self.config.seal_leaves) {
                thread::sleep(left.min(GLANCE));
                continue;
            }
            figures.meter.begin(now);
            if !backlog {
                counts.iter_mut().for_each(|count| *count = self.config.max_per_chain.min(*count));
            }
            fair_shares(&mut counts, self.config.max_leaves, turn, &mut sorted);
            turn += 1;
            last = now;
            let mut block = self.spare.try_recv().unwrap_or_else(|_| Box::new(empty_block()));
            self.sealer.seal(&mut self.outlets, &counts, self.clock.wall(), &mut block);
            figures.waiting.set(waiting - block.header.leaf_count);
            let sealed = self.clock.monotonic();
            figures.took.record(sealed.saturating_sub(now), 1);
            figures.meter.end(sealed);
            if !self.hand_on(block, &mut counts) {
                return;
            }
            figures.sealed.add(1);
        }
    }

    /// Waits while the store is behind. False when the persisting stage has given up.
    fn hand_on(&mut self, block: Box<MainBlock>, counts: &mut Vec<u64>) -> bool {
        match self.to_persist.try_send(block) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(block)) => {
                // For whoever looks: meanwhile lanes fill.
                self.look(counts);
                self.to_persist.send(block).is_ok()
            }
        }
    }

    /// How many final blocks wait in each lane; returns how many in all, and in the fullest.
    fn look(&self, counts: &mut Vec<u64>) -> (u64, u64) {
        counts.clear();
        counts.extend(self.outlets.iter().map(Outlet::available));
        let (waiting, most) = counts.iter().fold((0, 0), |(sum, most), &n| (sum + n, n.max(most)));
        self.shared.figures.seal.waiting.set(waiting);
        (waiting, most)
    }

    /// Whether a chain with `most` blocks waiting is behind: more than a main block takes of it, or a lane so full
    /// that its sender may soon have to stop.
    fn is_backlog(&self, most: u64) -> bool {
        most > self.config.max_per_chain || 2 * most >= self.config.lane_blocks as u64
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
        sections: Vec::new(),
        columns: Columns::default(),
        chain_nodes: Vec::new(),
        side_nodes: Vec::new(),
        history_nodes: Vec::new(),
    }
}
