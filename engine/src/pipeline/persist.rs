//! The persisting stage: append, sync, publish, release. Several blocks share one sync: those that wait anyway, or,
//! if a sync interval is set, all that come before it has passed.
//!
//! # Capacity
//! Of a block that is appended and not yet synced only its head is kept, and of each chain the newest height; the
//! block itself goes back to the sealing stage at once. At most [`MOST_UNSYNCED`] blocks wait for a sync, and no
//! more side blocks than the lanes hold, because slots are released after the sync. When the lanes are full before
//! the interval has passed, nothing more is sealed, the senders wait, and the sync comes when it is due.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use crate::chain::{Height, MainBlock};
use crate::clock::Clock;
use crate::lane::Drain;
use crate::store::{BlockStore, StoreError};

use super::head::{Head, HeadSink};
use super::{SEALED_WAITING, Shared};

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
    pub(super) sealed: Receiver<Box<MainBlock>>,
    pub(super) give_back: Sender<Box<MainBlock>>,
    pub(super) sinks: Vec<Box<dyn HeadSink>>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) unsynced: Unsynced,
}

/// What is appended and waits for a sync: nobody hears of it before.
pub(super) struct Unsynced {
    heads: Vec<Head>,
    /// The newest height of each drain's chain.
    ends: Vec<Option<Height>>,
}

impl Unsynced {
    /// Nothing yet, of so many chains.
    pub(super) fn new(chains: usize) -> Self {
        Self { heads: Vec::new(), ends: vec![None; chains] }
    }
}

impl Persister {
    /// Runs until the sealing stage has ended, or the store has failed: then nothing more is stored, published or
    /// released, because a failed sync says nothing about what is on the disk.
    pub(super) fn run(mut self) {
        if let Err(error) = self.persist() {
            self.shared.fail(format!("the log cannot be written: {error}"));
        }
    }

    fn persist(&mut self) -> Result<(), StoreError> {
        while let Ok(first) = self.sealed.recv() {
            let due = self.clock.monotonic() + self.sync_interval;
            let mut next = Some(first);
            while let Some(sealed) = next {
                self.append(sealed)?;
                next = self.next_before(due);
            }
            self.sync()?;
        }
        Ok(())
    }

    /// The next block that shares the sync which is due at `due`, if one comes before.
    fn next_before(&self, due: Duration) -> Option<Box<MainBlock>> {
        let waiting = self.unsynced.heads.len();
        if self.sync_interval.is_zero() {
            // No more than may wait: a store that is slower than sealing must not put the sync off for ever.
            return if waiting < SEALED_WAITING { self.sealed.try_recv().ok() } else { None };
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
                Err(RecvTimeoutError::Timeout) => {}
                // Nothing more will come: what waits is synced at once.
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn append(&mut self, block: Box<MainBlock>) -> Result<(), StoreError> {
        let figures = &self.shared.figures.persist;
        figures.taken.add(1);
        let before = self.clock.monotonic();
        figures.appending.begin(before);
        self.store.append(&block)?;
        figures.append.record(self.clock.monotonic().saturating_sub(before), 1);
        let mut ends = self.drains.iter().zip(&mut self.unsynced.ends);
        for section in &block.sections {
            let end = ends.find(|(drain, _)| drain.chain() == section.chain);
            let (_, end) = end.expect("every section comes from a lane, in the same order");
            *end = Some(section.last_height());
        }
        self.unsynced.heads.push(Head { header: block.header, hash: block.hash });
        // No room means that enough are in use: this one is dropped.
        let _ = self.give_back.try_send(block);
        figures.appended.add(1);
        figures.appending.end(self.clock.monotonic());
        Ok(())
    }

    /// Makes durable what is appended, gives its slots back, and tells of it.
    fn sync(&mut self) -> Result<(), StoreError> {
        let figures = &self.shared.figures.persist;
        let before = self.clock.monotonic();
        figures.syncing.begin(before);
        self.store.sync()?;
        let now = self.clock.monotonic();
        figures.sync.record(now.saturating_sub(before), 1);
        let Unsynced { heads, ends } = &mut self.unsynced;
        for (drain, end) in self.drains.iter_mut().zip(ends) {
            if let Some(end) = end.take() {
                drain.release(end, now, |took, count| figures.durable.record(took, count));
            }
        }
        figures.main_blocks.add(heads.len() as u64);
        figures.side_blocks.add(heads.iter().map(|head| head.header.leaf_count).sum());
        for head in heads.drain(..) {
            *self.shared.head.write().unwrap_or_else(PoisonError::into_inner) = Some(head);
            for sink in &mut self.sinks {
                sink.publish(&head);
            }
        }
        figures.syncing.end(self.clock.monotonic());
        Ok(())
    }
}
