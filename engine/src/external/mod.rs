//! A main chain that is driven from outside: another chain's node decides which main block comes next, and when one can no
//! longer be taken back. [`crate::pipeline`] is the other way to run a main chain, in which this node decides.
//!
//! ```text
//!   irreversible block <- committed blocks, which may be taken back <- head
//!          |                             |
//!          |                             +-- candidate(parent), validate(proposal): on top of any of them
//!          +-- lanes give slots back, acks and heads go out: up to here only
//! ```
//!
//! A driver asks for a candidate where it wants to build a block, has proposals of others judged, commits what its chain
//! has agreed on, rolls back to where a fork begins, and finalizes what its chain calls irreversible. Candidates are what
//! `pipeline` would seal of the same blocks at the same time, byte by byte.
//!
//! # Lanes
//! A lane keeps every block above the irreversible main block. So nothing is taken out that a rollback would have to put
//! back, and a lane's limit is for what waits *and* for what may be taken back; a driver that never finalizes ends up with
//! full lanes and no candidates. After a restart lanes are filled again from the store, and senders go on after that.
//!
//! # Threads
//! None of its own but those that hash. Calls may come from any thread and exclude each other; [`External::status`] and the
//! lanes do not wait for them.
//!
//! # Durability
//! What [`External::commit`], [`External::rollback`] and [`External::finalize`] did is durable when they return. A failed
//! write is final: from then on everything is refused, because nobody knows what is on the disk.

mod branch;
mod error;
mod judge;
mod limits;
mod pending;
mod proposal;
mod start;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;

use crate::cache::Cache;
use crate::chain::{Hash, Height, MainBlock, MainHeader, Timestamp};
use crate::clock::Clock;
use crate::lane::{Drain, Outlet};
use crate::merkle::history::History;
use crate::pipeline::{
    Assembler, Durable, Figures, Head, HeadSink, PipelineConfig, Sealer, Share, StageNow, Stats,
};
use crate::state::{Genesis, State};
use crate::store::{ReversibleStore, StoreError, StoreFailure};
use crate::sync::Doorbell;

pub use error::{ExternalError, StartError};
pub use limits::Limits;
pub use pending::PendingProposals;
pub use proposal::{Proposal, ProposedSection, Verdict};

use branch::{Branch, Committed};

/// How a main chain that is driven from outside runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExternalConfig {
    /// Of these, `max_leaves`, `lane_blocks`, `cache_bytes` and `hash_threads` count. `max_leaves` must be the same on all
    /// nodes of the main chain: a proposal with more is not valid.
    pub pipeline: PipelineConfig,
    /// Main blocks above the irreversible one at most; about 1 KiB each, beside what [`PipelineConfig::cache_bytes`] bounds.
    pub max_reversible: u64,
}

impl Default for ExternalConfig {
    fn default() -> Self {
        Self { pipeline: PipelineConfig::default(), max_reversible: 4096 }
    }
}

/// Where an [`External`] stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The newest committed block. It may be taken back while it is above the irreversible one.
    pub head: Option<Head>,
    /// Height of the irreversible block; 0 if there is none yet.
    pub irreversible: Height,
    /// The irreversible block: the newest one that was announced.
    pub announced: Option<Head>,
    /// How often blocks were committed, taken back or finalized since the start.
    pub changes: u64,
    /// Why nothing is done any more, if so: the process should end.
    pub failed: Option<String>,
}

/// A main chain that is driven from outside. See the module.
pub struct External {
    inner: Mutex<Inner>,
    /// Written at the end of each change, so that whoever asks need not wait for the next one.
    status: Mutex<Status>,
    /// [`Status::changes`]. Relaxed: it says that there is something new, which is then read under a lock.
    changes: AtomicU64,
    cache: Cache,
    /// Rung by lanes, and here on each change.
    doorbell: Doorbell,
    figures: Arc<Figures>,
    clock: Arc<dyn Clock>,
    pool: ThreadPool,
    store_failure: StoreFailure,
}

/// What is behind the lock.
struct Inner {
    genesis: Genesis,
    genesis_parent: Hash,
    config: ExternalConfig,
    store: Box<dyn ReversibleStore>,
    outlets: Vec<Outlet>,
    drains: Vec<Drain>,
    sinks: Vec<Box<dyn HeadSink>>,
    assembler: Assembler,
    branch: Branch,
    /// With the head.
    state: State,
    /// Used again and again: the block that is judged, what of which chain is in a block, counts of blocks.
    block: MainBlock,
    shares: Vec<Share>,
    counts: Vec<u64>,
    sorted: Vec<u64>,
    failed: Option<String>,
}

impl External {
    /// The lanes, for whoever takes blocks in.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// Rings for the waiter that came with this, for whoever gives its owner more to do than lanes and changes do.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Announces every block that becomes irreversible to `sink`, too: in order, in the call that made it so. Those that
    /// are irreversible already are not announced again.
    pub fn announce_to(&self, sink: Box<dyn HeadSink>) -> Result<(), ExternalError> {
        self.lock()?.sinks.push(sink);
        Ok(())
    }

    /// Where it stands. Does not wait for calls that are under way.
    pub fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A call that panicked has left the lock so.
        let panicked = self.inner.is_poisoned().then(|| PANICKED.to_owned());
        Status { failed: status.failed.or(panicked), ..status }
    }

    /// The store's error, if [`Status::failed`] says that it failed: for those who know what store it is.
    pub fn store_failure(&self) -> StoreFailure {
        Arc::clone(&self.store_failure)
    }

    /// [`Status::changes`], at the cost of a load.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// What was done so far, as `Running::stats` of the pipeline: blocks count once they are irreversible, and the time
    /// from received to durable ends there; sealing is both candidates and judging.
    pub fn stats(&self) -> Stats {
        self.figures.stats()
    }

    /// How much became irreversible since the start. Two loads.
    pub fn durable(&self) -> Durable {
        self.figures.durable()
    }

    /// What is done now: seal (candidates and judging), append, sync.
    pub fn stages(&self) -> [StageNow; 3] {
        self.figures.stages(self.clock.monotonic(), 0)
    }

    /// Makes the main block that could follow `parent`: a committed block from the irreversible one to the head; before
    /// block 1, its parent or the zero hash. Takes nothing out of the lanes and commits nothing.
    pub fn candidate(&self, parent: Hash, limits: Limits) -> Result<MainBlock, ExternalError> {
        let inner = &mut *self.lock()?;
        limits.check(inner.config.pipeline.max_leaves)?;
        let parent = if parent == Hash::ZERO { inner.genesis_parent } else { parent };
        let point = inner.branch.find(parent).ok_or_else(|| inner.unknown_parent(parent))?;
        let now = self.clock.wall();
        let mut block = Sealer::blank();
        self.measured(|| {
            inner.at(point, |inner| {
                let waiting = inner.choose(&limits, point);
                self.figures.seal.waiting.set(waiting);
                if inner.shares.is_empty() {
                    return Err(ExternalError::NothingWaits { parent });
                }
                inner.assemble(point, now, &mut block);
                Ok(block)
            })
        })
    }

    /// Whether a block, by its hash, is one that a candidate or a proposal can follow: a committed one from the irreversible
    /// one to the head; before block 1, what stands for its parent.
    pub fn is_committed(&self, hash: Hash) -> Result<bool, ExternalError> {
        Ok(self.lock()?.branch.find(hash).is_some())
    }

    /// Judges a main block that could follow any committed block from the irreversible one to the head. One that is more
    /// than a minute ahead of this node's clock is not valid yet; what is committed, the main chain has agreed on.
    pub fn validate(&self, proposal: &Proposal) -> Result<Verdict, ExternalError> {
        let inner = &mut *self.lock()?;
        let judge = || inner.judge(proposal).and_then(|_| judge::now(&proposal.header, self.clock.wall()));
        Ok(self.measured(judge).map_or_else(|verdict| verdict, |()| Verdict::Valid))
    }

    /// Commits the block after the head, which is judged again. Durable when this returns. A block that is the head
    /// already is not committed again: a driver that missed the answer may ask once more.
    pub fn commit(&self, proposal: &Proposal) -> Result<Head, ExternalError> {
        let inner = &mut *self.lock()?;
        let head = inner.branch.head();
        if let Some(head) = head.filter(|head| head.hash == proposal.header.hash()) {
            return Ok(head);
        }
        let point = inner.branch.len();
        let parent = proposal.header.parent;
        let below = *inner.branch.below(point);
        if parent != below.parent {
            return Err(ExternalError::NotOnHead { parent, head: below.parent, height: below.height });
        }
        if point as u64 >= inner.config.max_reversible {
            return Err(ExternalError::TooDeep { most: inner.config.max_reversible });
        }
        let history = self.measured(|| inner.judge(proposal)).map_err(ExternalError::NotValid)?;
        self.stored(inner, |inner| {
            let figures = &self.figures.persist;
            let before = self.clock.monotonic();
            figures.appending.begin(before);
            inner.store.append(&inner.block)?;
            let appended = self.clock.monotonic();
            figures.append.record(appended.saturating_sub(before), 1);
            figures.appending.end(appended);
            figures.syncing.begin(appended);
            inner.store.sync()?;
            let now = self.clock.monotonic();
            figures.sync.record(now.saturating_sub(appended), 1);
            figures.syncing.end(now);
            Ok(())
        })?;
        let head = inner.push(history);
        self.changed(inner);
        Ok(head)
    }

    /// Takes back all blocks above `to`, which is not below the irreversible one, and returns what is the head then. Durable
    /// when this returns. Their side blocks are in the lanes still, and go into other main blocks.
    pub fn rollback(&self, to: Height) -> Result<Option<Head>, ExternalError> {
        let inner = &mut *self.lock()?;
        let point = inner.point(to)?;
        if point == inner.branch.len() {
            return Ok(inner.branch.head());
        }
        self.stored(inner, |inner| inner.store.rollback(to))?;
        let back = inner.branch.back_to(point);
        inner.state.take_back(back);
        inner.branch.truncate(point);
        self.changed(inner);
        Ok(inner.branch.head())
    }

    /// Says that the committed block `height` and all before it will never be taken back: durable when this returns. Their
    /// slots in the lanes are free then, senders may be told, and the blocks are announced. One that is irreversible
    /// already stays so.
    pub fn finalize(&self, height: Height) -> Result<(), ExternalError> {
        let inner = &mut *self.lock()?;
        if height <= inner.irreversible() {
            return Ok(());
        }
        let point = inner.point(height)?;
        self.stored(inner, |inner| inner.store.set_irreversible(height))?;
        let now = self.clock.monotonic();
        let Inner { outlets, drains, branch, sinks, .. } = inner;
        let figures = &self.figures.persist;
        for (position, last, newest) in branch.moved_up_to(point) {
            let outlet = &mut outlets[position];
            outlet.advance(last.0 + 1 - outlet.next_height().0, newest);
            drains[position].release(last, now, |took, count| figures.durable.record(took, count));
        }
        branch.finalize(point, |head| {
            figures.appended.add(1);
            figures.main_blocks.add(1);
            figures.side_blocks.add(head.header.leaf_count);
            sinks.iter_mut().for_each(|sink| sink.publish(head));
        });
        self.changed(inner);
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, ExternalError> {
        let failed = |cause: String| ExternalError::Failed { cause };
        let inner = self.inner.lock().map_err(|_| failed(PANICKED.to_owned()))?;
        match &inner.failed {
            Some(cause) => Err(failed(cause.clone())),
            None => Ok(inner),
        }
    }

    /// Runs what hashes, on the threads for it.
    fn measured<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let figures = &self.figures.seal;
        let before = self.clock.monotonic();
        figures.meter.begin(before);
        let done = self.pool.install(work);
        let now = self.clock.monotonic();
        figures.took.record(now.saturating_sub(before), 1);
        figures.meter.end(now);
        done
    }

    /// Does something to the store. That it fails is final.
    fn stored(
        &self,
        inner: &mut Inner,
        work: impl FnOnce(&mut Inner) -> Result<(), StoreError>,
    ) -> Result<(), ExternalError> {
        let Err(error) = work(inner) else { return Ok(()) };
        let cause = format!("the log cannot be written: {error}");
        tracing::error!("{cause}");
        // The first one is the cause.
        let _ = self.store_failure.set(error);
        inner.failed = Some(cause.clone());
        self.status.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(cause.clone());
        Err(ExternalError::Failed { cause })
    }

    /// Tells of a change.
    fn changed(&self, inner: &Inner) {
        let changes = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Status { changes, ..inner.status() };
        self.doorbell.ring();
    }
}

const PANICKED: &str = "the engine panicked; please report it with the log output";

impl std::fmt::Debug for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("External").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Inner {
    fn irreversible(&self) -> Height {
        self.branch.below(0).height
    }

    fn head_height(&self) -> Height {
        self.branch.below(self.branch.len()).height
    }

    fn status(&self) -> Status {
        Status {
            head: self.branch.head(),
            irreversible: self.irreversible(),
            announced: self.branch.irreversible(),
            changes: 0,
            failed: self.failed.clone(),
        }
    }

    fn unknown_parent(&self, parent: Hash) -> ExternalError {
        ExternalError::UnknownParent { parent, irreversible: self.irreversible(), head: self.head_height() }
    }

    /// Which point of the branch is at `height`.
    fn point(&self, height: Height) -> Result<usize, ExternalError> {
        let (first, last) = (self.irreversible(), self.head_height());
        if !(first..=last).contains(&height) {
            return Err(ExternalError::NoSuchBlock { height, first, last });
        }
        Ok((height.0 - first.0) as usize)
    }

    /// Does some work with the state as it is at a point of the branch.
    fn at<T>(&mut self, point: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let back = self.branch.back_to(point);
        self.state.take_back(back);
        let done = work(self);
        let forward = self.branch.forward_from(point);
        self.state.index(forward);
        done
    }

    /// Sets `shares` to what a candidate takes, with the state as it is at `point`; says how many blocks wait there.
    fn choose(&mut self, limits: &Limits, point: usize) -> u64 {
        let Self { genesis, outlets, state, counts, sorted, shares, branch, .. } = self;
        // As in the pipeline, whose turns are main blocks, too.
        let turn = branch.below(point).height.0;
        let waiting = limits.choose(&genesis.chains, outlets, state, turn, counts, sorted);
        let chosen = (0..).zip(state.chains().iter().zip(&*counts)).filter(|(_, (_, count))| **count > 0);
        shares.clear();
        shares.extend(chosen.map(|(position, (chain, &count)): (u32, _)| Share {
            outlet: position,
            chain: chain.id,
            offset: (chain.indexed.0 + 1 - outlets[position as usize].next_height().0) as u32,
            count: count as u32,
            first_height: chain.indexed.next(),
            parent: chain.hash,
        }));
        waiting
    }

    /// Makes the block with `shares` on top of a point, with the state as it is there, and leaves it so. Returns the
    /// history with the block.
    fn assemble(&mut self, point: usize, time: Timestamp, block: &mut MainBlock) -> History {
        let Self { assembler, outlets, shares, state, branch, .. } = self;
        let mut history = branch.history(point).clone();
        let below = branch.below(point);
        assembler.assemble(outlets, shares.iter().copied(), below, time, state, &mut history, block);
        state.take_back(branch::before(&branch::moves(shares, block)));
        history
    }

    /// Judges a proposal. If it is valid, the block is in `self.block`, its shares in `self.shares`, and the history with
    /// it is returned.
    fn judge(&mut self, proposal: &Proposal) -> Result<History, Verdict> {
        let header = &proposal.header;
        let ours = MainHeader {
            version: MainHeader::VERSION,
            chain_id: self.genesis.main.id,
            // Main blocks carry no operations yet.
            ops_root: Hash::ZERO,
            ..*header
        };
        judge::alone(proposal, &ours, self.config.pipeline.max_leaves)?;
        let parent = header.parent;
        let Some(point) = self.branch.find(parent) else {
            let (irreversible, head) = (self.irreversible(), self.head_height());
            return Err(Verdict::UnknownParent { parent, irreversible, head });
        };
        judge::after(header, self.branch.below(point))?;
        self.at(point, |inner| {
            judge::sections(proposal, &inner.state, &inner.outlets, &mut inner.shares)?;
            judge::blocks(proposal, &inner.outlets, &inner.shares)?;
            let mut block = std::mem::replace(&mut inner.block, Sealer::blank());
            let history = inner.assemble(point, header.time, &mut block);
            let verdict = judge::roots(header, &block.header);
            inner.block = block;
            verdict.map(|()| history)
        })
    }

    /// Puts the block that was judged last, which is stored, on top of the head.
    fn push(&mut self, history: History) -> Head {
        let Self { block, shares, state, branch, .. } = self;
        let head = Head { header: block.header, hash: block.hash };
        let sections = branch::moves(shares, block);
        state.index(branch::after(&sections));
        let below = crate::pipeline::Below::of(&head);
        branch.push(Committed { head, below, history, sections });
        head
    }
}
