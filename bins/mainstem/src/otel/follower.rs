//! The thread that follows the main chain and sends traces.
//!
//! # Capacity
//! It keeps a batch, and no queue of blocks: until it has sent them they wait in the ring of the stages, which keeps the
//! newest 4,096. Those that it comes too late for are counted.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use engine::chain::Height;
use engine::clock::Clock as _;
use engine::pipeline::BlockTrace;
use opentelemetry_sdk::trace::SpanData;

use super::collector::Collector;
use super::spans::{self, Answered, Sampling};
use super::traces::QUEUED;
use crate::clock::SystemClock;

/// How often it looks: the ring has the blocks of so long at 8,000 main blocks a second.
const LOOK: Duration = Duration::from_millis(500);
/// How often it tries while the collector takes nothing.
const AWAY: Duration = Duration::from_secs(5);
/// Spans in a request, about.
const BATCH: usize = 512;
/// As many main blocks are known of.
const KNOWN: u64 = 4096;

/// What it looks at.
pub(super) struct Sources {
    /// The newest durable main block.
    pub(super) head: Box<dyn Fn() -> Height + Send>,
    /// What a main block went through, if it is known.
    pub(super) trace: Box<dyn Fn(Height) -> Option<BlockTrace> + Send>,
    /// The clock of those times.
    pub(super) clock: Arc<SystemClock>,
    /// What the API answered.
    pub(super) requests: Receiver<Answered>,
    /// Traces that never come to the collector.
    pub(super) dropped: Arc<AtomicU64>,
}

/// Follows the main chain from where it is now.
pub(super) struct Follower {
    collector: Collector,
    sources: Sources,
    sampling: Sampling,
    next: Height,
    /// The block that was not known at the last look although it is durable: it is written down right after that.
    missed: Option<Height>,
    /// A batch, and how many traces are in it.
    batch: (Vec<SpanData>, u64),
    sent: u64,
    /// The collector took nothing when it was last asked.
    away: bool,
    /// It was said that traces are dropped.
    warned: bool,
}

impl Follower {
    pub(super) fn new(collector: Collector, sources: Sources, sampling: Sampling) -> Self {
        let next = Height((sources.head)().0 + 1);
        let (missed, batch, sent, away, warned) = (None, (Vec::new(), 0), 0, false, false);
        Self { collector, sources, sampling, next, missed, batch, sent, away, warned }
    }

    /// Until it is asked to end, or nobody can ask any more.
    pub(super) fn run(&mut self, asked: &Receiver<Sender<()>>) {
        tracing::info!(endpoint = self.collector.endpoint(), "traces go to an OpenTelemetry collector");
        let end = loop {
            match asked.recv_timeout(if self.away { AWAY } else { LOOK }) {
                Err(RecvTimeoutError::Timeout) => self.round(),
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(end) => break end,
            }
        };
        // Whoever stops waits for little.
        if !self.away {
            self.round();
        }
        tracing::info!(sent = self.sent, dropped = self.dropped(), "stopped: traces");
        // Who asked may not wait any more.
        let _ = end.send(());
    }

    /// Sends what there is, until the collector does not take it.
    fn round(&mut self) {
        let head = (self.sources.head)();
        let zero = SystemTime::now().checked_sub(self.sources.clock.monotonic());
        let Some(zero) = zero else { return };
        let mut taken = true;
        while taken && let Some(block) = self.block(head) {
            if let Some(trace) = self.sampling.trace() {
                taken = self.add(spans::main_block(trace, &block, zero));
            }
        }
        // More may come while these are sent: they wait for the next look.
        let mut left = QUEUED;
        while taken
            && left > 0
            && let Ok(answered) = self.sources.requests.try_recv()
        {
            left -= 1;
            taken = self.add(vec![spans::request(answered)]);
        }
        if taken {
            self.send();
        }
        self.warn();
    }

    /// The next block up to the head that something is known of.
    fn block(&mut self, head: Height) -> Option<BlockTrace> {
        let known = Height((head.0 + 1).saturating_sub(KNOWN));
        if self.next < known {
            self.drop(known.0 - self.next.0);
            self.next = known;
        }
        while self.next <= head {
            let found = (self.sources.trace)(self.next);
            if found.is_none() && self.missed != Some(self.next) {
                self.missed = Some(self.next);
                return None;
            }
            self.next.0 += 1;
            if found.is_some() {
                return found;
            }
            self.drop(1);
        }
        None
    }

    /// Takes a trace into the batch; false if that was full and is not taken.
    fn add(&mut self, spans: Vec<SpanData>) -> bool {
        self.batch.0.extend(spans);
        self.batch.1 += 1;
        self.batch.0.len() < BATCH || self.send()
    }

    /// Sends the batch; false if it is not taken, and it is gone then: traces are no ledger.
    fn send(&mut self) -> bool {
        let (spans, traces) = mem::take(&mut self.batch);
        if spans.is_empty() {
            return true;
        }
        match self.collector.send(spans) {
            Ok(()) => {
                self.sent += traces;
                if mem::take(&mut self.away) {
                    tracing::info!(
                        dropped = self.dropped(),
                        "the OpenTelemetry collector takes traces again"
                    );
                }
                true
            }
            Err(error) => {
                self.drop(traces);
                if !mem::replace(&mut self.away, true) {
                    tracing::warn!(
                        endpoint = self.collector.endpoint(),
                        error,
                        "the OpenTelemetry collector takes no traces: they are dropped until it does; the node goes on"
                    );
                    // That says it.
                    self.warned = true;
                }
                false
            }
        }
    }

    fn drop(&self, traces: u64) {
        self.sources.dropped.fetch_add(traces, Ordering::Relaxed);
    }

    fn dropped(&self) -> u64 {
        self.sources.dropped.load(Ordering::Relaxed)
    }

    /// Once: what is counted is told when it ends.
    fn warn(&mut self) {
        if !self.warned && self.dropped() > 0 {
            self.warned = true;
            tracing::warn!(
                "there are more traces than the OpenTelemetry collector takes in time: some are dropped; otel.sample_ratio \
                 makes them fewer"
            );
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("next", &self.next).finish_non_exhaustive()
    }
}
