//! The persisting stage: append, sync, publish, release. Several waiting blocks share one sync.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};

use crate::chain::MainBlock;
use crate::clock::Clock;
use crate::lane::Drain;
use crate::store::{BlockStore, StoreError};

use super::head::{Head, HeadSink};
use super::stats::record;
use super::{SEALED_WAITING, Sealed, Shared};

pub(super) struct Persister {
    pub(super) store: Box<dyn BlockStore>,
    /// By ascending chain id, as the sections of a block.
    pub(super) drains: Vec<Drain>,
    pub(super) sealed: Receiver<Sealed>,
    pub(super) give_back: Sender<Box<MainBlock>>,
    pub(super) sinks: Vec<Box<dyn HeadSink>>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
}

/// One block of a group that is about to be synced.
struct Appended {
    block: Box<MainBlock>,
    seal: Duration,
    append: Duration,
}

impl Persister {
    /// Runs until the sealing stage has ended, or the store has failed: then nothing more is stored, published or
    /// released, because a failed sync says nothing about what is on the disk.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while let Ok(first) = self.sealed.recv() {
            if let Err(error) = self.persist(first, &mut group) {
                self.shared.fail(format!("the log cannot be written: {error}"));
                return;
            }
            for appended in group.drain(..) {
                // No room means that enough are in use: this one is dropped.
                let _ = self.give_back.try_send(appended.block);
            }
        }
    }

    fn persist(&mut self, first: Sealed, group: &mut Vec<Appended>) -> Result<(), StoreError> {
        let mut next = Some(first);
        let mut before = self.clock.monotonic();
        while let Some(Sealed { block, took }) = next {
            self.store.append(&block)?;
            let now = self.clock.monotonic();
            group.push(Appended { block, seal: took, append: now.saturating_sub(before) });
            before = now;
            // No more than may wait: a store that is slower than sealing must not put the sync off for ever.
            next = if group.len() < SEALED_WAITING { self.sealed.try_recv().ok() } else { None };
        }
        self.store.sync()?;
        let now = self.clock.monotonic();
        {
            let mut stats = self.shared.stats();
            record(&mut stats.sync, now.saturating_sub(before), 1);
            for Appended { block, seal, append } in group.iter() {
                stats.main_blocks += 1;
                stats.side_blocks += block.header.leaf_count;
                record(&mut stats.seal, *seal, 1);
                record(&mut stats.append, *append, 1);
                let mut drains = self.drains.iter_mut();
                for section in &block.sections {
                    let drain = drains.find(|drain| drain.chain() == section.chain);
                    let drain = drain.expect("every section comes from a lane, in the same order");
                    drain.release(section.last_height(), now, |took, count| {
                        record(&mut stats.durable, took, count);
                    });
                }
            }
        }
        for Appended { block, .. } in group.iter() {
            let head = Head { header: block.header, hash: block.hash };
            *self.shared.head.write().unwrap_or_else(PoisonError::into_inner) = Some(head);
            for sink in &mut self.sinks {
                sink.publish(&head);
            }
        }
        Ok(())
    }
}
