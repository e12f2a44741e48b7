//! The persisting stage: append, sync, publish, release. Several blocks share one sync: those that wait
//! anyway, or, if a sync interval is set, all that come before it has passed.
//!
//! # Capacity
//! Of a block that is appended and not yet synced only its head is kept, and of each chain the newest height;
//! the block itself goes back to the sealing stage at once. At most [`MOST_UNSYNCED`] blocks wait for a sync,
//! and no more side blocks than the lanes hold, because slots are released after the sync. When the lanes are
//! full before the interval has passed, nothing more is sealed, the senders wait, and the sync comes when it
//! is due.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::chain::{ChainId, Height, MainBlock};
use crate::clock::Clock;
use crate::lane::Drain;
use crate::state::Registry;
use crate::store::{BlockStore, StoreError};
use crate::sync::{Doorbell, Publisher, Receiver, RecvTimeout, Sender};

use super::head::{Head, HeadSink};
use super::operate::Change;
use super::trace::Persisted;
use super::{Alive, SEALED_WAITING, Shared};

/// Main blocks that share a sync at most; 260 bytes each.
const MOST_UNSYNCED: usize = 4096;

/// Main blocks that share a sync at most, if they may wait for it so long.
pub(super) fn most_unsynced(sync_interval: Duration) -> usize {
    if sync_interval.is_zero() { SEALED_WAITING } else { MOST_UNSYNCED }
}

/// How long the stage waits at most before it looks at the clock again.
const GLANCE: Duration = Duration::from_millis(10);

pub(super) struct Persister {
    pub(super) store: Box<dyn BlockStore>,
    pub(super) sync_interval: Duration,
    /// By ascending chain id, as the sections of a block.
    pub(super) drains: Vec<Drain>,
    pub(super) sealed: Receiver<Handed>,
    pub(super) give_back: Sender<Box<MainBlock>>,
    /// Where lanes are shown once their registration is durable, and taken from.
    pub(super) cache: Cache,
    pub(super) registry: Registry,
    /// Blocks that one lane holds at most.
    pub(super) lane_blocks: u64,
    pub(super) publisher: Publisher<Option<Head>>,
    /// Rung after each sync. After `sealed`, which is closed by then when it is dropped.
    pub(super) stored: StoredBell,
    pub(super) sinks: Vec<Box<dyn HeadSink>>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) unsynced: Unsynced,
}

/// A block on its way from the sealing stage.
pub(super) struct Handed {
    pub(super) block: Box<MainBlock>,
    /// What the operation in it changes here, if it has one.
    pub(super) change: Option<Box<Change>>,
}

/// Rung after each sync, and when the stage ends, however it does: the sealing stage then finds the hand-over
/// closed.
pub(super) struct StoredBell(pub(super) Doorbell);

impl Drop for StoredBell {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// What is appended and waits for a sync: nobody hears of it before.
pub(super) struct Unsynced {
    heads: Vec<Head>,
    /// Of each head when it was taken and when it was appended.
    times: Vec<(Duration, Duration)>,
    /// Of each drain its chain and, if that has blocks here, the newest height.
    ends: Vec<(ChainId, Option<Height>)>,
    /// Those that have some.
    touched: Vec<usize>,
}

impl Unsynced {
    /// Nothing yet, of these chains, which ascend.
    pub(super) fn new(chains: Vec<ChainId>) -> Self {
        let touched = Vec::with_capacity(chains.len());
        Self {
            heads: Vec::new(),
            times: Vec::new(),
            ends: chains.into_iter().map(|chain| (chain, None)).collect(),
            touched,
        }
    }

    /// Makes room for a new chain. Nothing waits.
    fn insert(&mut self, position: usize, chain: ChainId) {
        assert!(self.touched.is_empty(), "positions move up");
        self.ends.insert(position, (chain, None));
        self.touched.reserve(self.ends.len());
    }

    fn add(&mut self, block: &MainBlock) {
        let mut next = 0;
        for section in &block.sections {
            let rest = &self.ends[next..];
            // Mostly the next one: a full block has all chains, and one that does not is small.
            let skip = match rest.first() {
                Some((chain, _)) if *chain == section.chain => 0,
                _ => rest.partition_point(|(chain, _)| *chain < section.chain),
            };
            next += skip;
            let (chain, end) = &mut self.ends[next];
            assert_eq!(*chain, section.chain, "every section comes from a lane, in the same order");
            if end.replace(section.last_height()).is_none() {
                self.touched.push(next);
            }
            next += 1;
        }
        self.heads.push(Head { header: block.header, hash: block.hash });
    }
}

impl Persister {
    /// Runs until the sealing stage has ended, or the store has failed: then nothing more is stored,
    /// published or released, because a failed sync says nothing about what is on the disk.
    pub(super) fn run(mut self) {
        let _alive = Alive::new("persist", &self.shared);
        if let Err(error) = self.persist() {
            let why = format!("the log cannot be written: {error}");
            // There is one persisting stage, and it ends here.
            let _ = self.shared.store_failure.set(error);
            self.shared.fail(why);
        }
    }

    fn persist(&mut self) -> Result<(), StoreError> {
        while let Some(first) = self.sealed.recv() {
            let due = self.clock.monotonic() + self.sync_interval;
            let mut next = Some(first);
            while let Some(sealed) = next {
                match sealed.change {
                    None => self.append(sealed.block)?,
                    Some(change) => self.change(sealed.block, *change)?,
                }
                next = self.next_before(due);
            }
            self.sync()?;
        }
        Ok(())
    }

    /// The next block that shares the sync which is due at `due`, if one comes before.
    fn next_before(&mut self, due: Duration) -> Option<Handed> {
        let waiting = self.unsynced.heads.len();
        if self.sync_interval.is_zero() {
            // No more than may wait: a store that is slower than sealing must not put the sync off for ever.
            return if waiting < SEALED_WAITING { self.sealed.try_recv() } else { None };
        }
        if waiting >= MOST_UNSYNCED {
            return None;
        }
        loop {
            let left = due.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return None;
            }
            match self.sealed.recv_timeout(left.min(GLANCE)) {
                Ok(sealed) => return Some(sealed),
                Err(RecvTimeout::Timeout) => {}
                // Nothing more will come: what waits is synced at once.
                Err(RecvTimeout::Closed) => return None,
            }
        }
    }

    fn append(&mut self, block: Box<MainBlock>) -> Result<(), StoreError> {
        let figures = &self.shared.figures.persist;
        let before = self.clock.monotonic();
        figures.appending.begin(before);
        self.store.append(&block)?;
        let appended = self.clock.monotonic();
        figures.append.record(appended.saturating_sub(before), 1);
        self.unsynced.times.push((before, appended));
        self.unsynced.add(&block);
        // No room means that enough are in use: this one is dropped.
        let _ = self.give_back.try_send(block);
        figures.appended.add(1);
        figures.appending.end(self.clock.monotonic());
        Ok(())
    }

    /// Stores a block that changes the registry, with a sync before and one after, so that nothing is waiting while the
    /// drains change; and then shows the change.
    fn change(&mut self, block: Box<MainBlock>, change: Change) -> Result<(), StoreError> {
        self.sync()?;
        let Change { operation, applied, drain, lane, reply } = change;
        let chain = operation.chain();
        if applied.inserted {
            self.drains.insert(applied.position, drain);
            self.unsynced.insert(applied.position, chain);
        } else {
            // What the one that was there still held was never sealed, or is durable.
            self.drains[applied.position] = drain;
        }
        let height = block.header.height;
        self.append(block)?;
        self.sync()?;
        match lane {
            Some(lane) => self.cache.insert(lane),
            None => self.cache.remove(chain),
        }
        self.registry.apply(&operation);
        self.shared.figures.places.set(self.lane_blocks * self.registry.len() as u64);
        tracing::info!(chain = %chain, height = height.0, "{}", operation.said());
        // Who asked may be gone.
        let _ = reply.send(Ok(height));
        Ok(())
    }

    /// Makes durable what is appended, gives its slots back, and tells of it.
    fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced.heads.is_empty() {
            return Ok(());
        }
        let figures = &self.shared.figures.persist;
        let before = self.clock.monotonic();
        figures.syncing.begin(before);
        self.store.sync()?;
        let now = self.clock.monotonic();
        figures.sync.record(now.saturating_sub(before), 1);
        let mut longest = Duration::ZERO;
        let Unsynced { heads, times, ends, touched } = &mut self.unsynced;
        for position in touched.drain(..) {
            if let Some(end) = ends[position].1.take() {
                self.drains[position].release(end, now, |took, count| {
                    longest = longest.max(took);
                    figures.durable.record(took, count);
                });
            }
        }
        figures.main_blocks.add(heads.len() as u64);
        figures.side_blocks.add(heads.iter().map(|head| head.header.leaf_count).sum());
        self.stored.0.ring();
        let synced_with = heads.len() as u64;
        for (head, (handed_on, appended)) in heads.drain(..).zip(times.drain(..)) {
            self.publisher.publish(&Some(head));
            for sink in &mut self.sinks {
                sink.publish(&head);
            }
            let block = Persisted {
                leaf_count: head.header.leaf_count,
                chain_count: head.header.chain_count.into(),
                synced_with,
                received: now.saturating_sub(longest),
                handed_on,
                appended,
                synced: now,
                published: self.clock.monotonic(),
            };
            figures.trace.record(head.header.height, &block);
        }
        figures.syncing.end(self.clock.monotonic());
        Ok(())
    }
}
