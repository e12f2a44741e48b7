//! The thread that judges proposals again when our lanes have caught up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::chain::Hash;
use engine::clock::Clock;
use engine::external::{External, PendingProposals, Proposal};
use engine::sync::{Doorbell, Waiter};

use super::verdicts::Verdicts;
use super::{MOST_WAITING, MOST_WAITING_BYTES};

/// How long it looks away at most. What it is rung for does not wait so long; that time is up for a proposal does.
const LONGEST: Duration = Duration::from_millis(500);

/// How long it looks away at least: ingest rings for each section.
const GLANCE: Duration = Duration::from_millis(1);

/// Proposals on their way to the thread, which has one more in its hands: 8 beside those that wait.
const QUEUE: usize = 7;

pub(super) struct Judge {
    /// `None` once it is to end.
    queue: Option<SyncSender<(Proposal, Duration)>>,
    /// Wakes the thread.
    bell: Doorbell,
    /// Relaxed: shown to people.
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Judge {
    pub(super) fn start(
        external: Arc<External>,
        waiter: Waiter,
        clock: Arc<dyn Clock>,
        verdicts: Arc<Verdicts>,
    ) -> io::Result<Self> {
        let (queue, inbox) = sync_channel::<(Proposal, Duration)>(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, bell) = (Arc::clone(&waiting), external.doorbell());
        let thread = thread::Builder::new().name("judge".into()).spawn(move || {
            let mut pending: PendingProposals<Hash> = PendingProposals::new(MOST_WAITING, MOST_WAITING_BYTES);
            loop {
                // Before the look: what is rung for is seen now, and later rings are heard anew.
                waiter.hear();
                loop {
                    let (proposal, patience) = match inbox.try_recv() {
                        Ok(entry) => entry,
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => return,
                    };
                    let (hash, until) = (proposal.header.hash(), clock.monotonic() + patience);
                    match pending.judge(&external, proposal, hash, until) {
                        Ok(None) => {}
                        Ok(Some((hash, verdict))) => verdicts.tell(hash, verdict),
                        // The engine has failed, and says so to whoever asks next.
                        Err(_) => return,
                    }
                }
                match pending.judge_again(&external, clock.monotonic()) {
                    Ok(decided) => {
                        decided.into_iter().for_each(|(hash, verdict)| verdicts.tell(hash, verdict));
                    }
                    Err(_) => return,
                }
                count.store(pending.len(), Ordering::Relaxed);
                thread::sleep(GLANCE);
                waiter.wait(LONGEST);
            }
        })?;
        Ok(Self { queue: Some(queue), bell, waiting, thread: Some(thread) })
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Has a proposal judged again until it is decided or `patience` is over. False when there is no room: then whoever
    /// proposes it has to ask once more.
    pub(super) fn enter(&self, proposal: Proposal, patience: Duration) -> bool {
        let entered = self.queue.as_ref().is_some_and(|queue| queue.try_send((proposal, patience)).is_ok());
        self.bell.ring();
        entered
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.queue = None;
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
