//! The newest main block, for those who wait: event streams, and requests for proofs of what is not indexed yet.
//!
//! # Capacity
//! `api.max_streams` of both together; each holds its connection. A new main block wakes all of them: a thread of its own
//! does that, for it shares a lock with the API's threads, which may have to wait for a processor. The one that made the
//! block durable only writes the head down and rings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::pipeline::{Head, HeadSink};
use engine::sync::{Doorbell, Published, Publisher, Waiter, published};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer;
use super::routes::Answer;

/// Tells who waits of new main blocks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Heads {
    newest: watch::Sender<Option<Head>>,
    slots: Arc<Semaphore>,
    most: usize,
}

/// The place of one who waits.
pub(super) type Slot = OwnedSemaphorePermit;

impl Heads {
    /// How many streams and requests that wait are open now, and how many may be.
    pub(super) fn open(&self) -> (usize, usize) {
        (self.most.saturating_sub(self.slots.available_permits()), self.most)
    }

    /// At most so many may wait at a time; `newest` is the main block that is there already.
    #[expect(clippy::large_types_passed_by_value, reason = "once, at the start")]
    pub(crate) fn new(most: usize, newest: Option<Head>) -> Self {
        Self { newest: watch::Sender::new(newest), slots: Arc::new(Semaphore::new(most)), most }
    }

    /// What has to be told of every new head that may be served. Its thread ends with it.
    pub(crate) fn sink(&self) -> Box<dyn HeadSink> {
        let (publisher, newest) = published(None);
        let (bell, waiter) = Doorbell::new();
        let ended = Arc::new(AtomicBool::new(false));
        let relay = Relay { newest, waiter, ended: Arc::clone(&ended), to: self.newest.clone() };
        match thread::Builder::new().name("heads".into()).spawn(move || relay.run()) {
            Ok(_) => Box::new(Sink { publisher, bell, ended }),
            Err(error) => {
                tracing::warn!(%error, "no thread can be had that tells of main blocks: the persisting one does it");
                Box::new(Direct(self.newest.clone()))
            }
        }
    }

    /// The newest main block now, and word of each later one; of several at once only of the last.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Head>> {
        self.newest.subscribe()
    }

    /// A place to wait in, unless all are taken.
    pub(super) fn slot(&self) -> Answer<Slot> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            answer::busy_because(format_args!(
                "{} streams and requests that wait are open, which is all that api.max_streams allows; ask again later",
                self.most
            ))
        })
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("most", &self.most).finish_non_exhaustive()
    }
}

struct Sink {
    publisher: Publisher<Option<Head>>,
    bell: Doorbell,
    ended: Arc<AtomicBool>,
}

impl HeadSink for Sink {
    fn publish(&mut self, head: &Head) {
        self.publisher.publish(&Some(*head));
        self.bell.ring();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Relaxed: the ring after it orders it.
        self.ended.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

/// Tells of what it hears.
struct Relay {
    newest: Published<Option<Head>>,
    waiter: Waiter,
    ended: Arc<AtomicBool>,
    to: watch::Sender<Option<Head>>,
}

impl Relay {
    fn run(self) {
        let mut told = None;
        loop {
            self.waiter.wait(Duration::MAX);
            // Before the newest head is read: what came before the end is told.
            let ended = self.ended.load(Ordering::Relaxed);
            let newest = self.newest.load();
            if newest.is_some() && newest != told {
                self.to.send_replace(newest);
                told = newest;
            }
            if ended {
                return;
            }
        }
    }
}

struct Direct(watch::Sender<Option<Head>>);

impl HeadSink for Direct {
    fn publish(&mut self, head: &Head) {
        self.0.send_replace(Some(*head));
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::{ChainId, Hash, Height, MainHeader, Timestamp};

    use super::*;

    fn head(height: u64) -> Head {
        let header = MainHeader {
            version: MainHeader::VERSION,
            chain_id: ChainId(1),
            height: Height(height),
            time: Timestamp::from_millis(height),
            parent: Hash::ZERO,
            side_root: Hash::ZERO,
            chain_count: 0,
            leaf_count: 0,
            ops_root: Hash::ZERO,
            state_root: Hash::ZERO,
            history_root: Hash::ZERO,
            aelf_root: Hash::ZERO,
        };
        Head { header, hash: header.hash() }
    }

    #[tokio::test]
    async fn the_newest_head_is_told_and_also_the_one_before_the_end() {
        let heads = Heads::new(1, None);
        let mut told = heads.watch();
        let mut sink = heads.sink();
        for height in 1..=100 {
            sink.publish(&head(height));
        }
        told.wait_for(|newest| *newest == Some(head(100))).await.unwrap();
        sink.publish(&head(101));
        drop(sink);
        told.wait_for(|newest| *newest == Some(head(101))).await.unwrap();
    }
}
