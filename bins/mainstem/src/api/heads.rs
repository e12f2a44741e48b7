//! The newest main block, for those who wait: event streams, and requests for proofs of what is not indexed yet.
//!
//! # Capacity
//! `api.max_streams` of both together; each holds its connection. A new main block wakes all of them, and costs the
//! thread that tells of it no more than that.

use std::fmt;
use std::sync::Arc;

use engine::pipeline::{Head, HeadSink};
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
    pub(crate) fn new(most: usize, newest: Option<Head>) -> Self {
        Self { newest: watch::Sender::new(newest), slots: Arc::new(Semaphore::new(most)), most }
    }

    /// What has to be told of every new head that may be served.
    pub(crate) fn sink(&self) -> Box<dyn HeadSink> {
        Box::new(Sink(self.newest.clone()))
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

struct Sink(watch::Sender<Option<Head>>);

impl HeadSink for Sink {
    fn publish(&mut self, head: &Head) {
        self.0.send_replace(Some(*head));
    }
}
