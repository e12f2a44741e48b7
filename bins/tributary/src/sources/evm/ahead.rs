//! One request ahead: while the blocks of one batch are checked, the node works on the next.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::rpc::{self, CallError, Rpc};

/// Fetches ranges of blocks, one of them in advance on a helper thread.
///
/// At most two answers are held: the one being checked and the one ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    rpc: Rpc,
    worker: Option<Worker>,
    /// The range that the worker was told to fetch.
    pending: Option<Range>,
}

/// Consecutive blocks: the first one's number, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// What came for a range.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) range: Range,
    pub(super) body: Result<Vec<u8>, CallError>,
    /// How long the node took.
    pub(super) time: Duration,
}

#[derive(Debug)]
struct Worker {
    ranges: SyncSender<Range>,
    answers: Receiver<Answer>,
}

impl Ahead {
    pub(super) fn new(rpc: Rpc) -> Self {
        Self { rpc, worker: None, pending: None }
    }

    /// Begins to fetch a range. Without effect if a request is under way.
    pub(super) fn start(&mut self, range: Range) {
        if self.pending.is_some() || range.count == 0 {
            return;
        }
        let worker = self.worker.get_or_insert_with(|| Worker::spawn(self.rpc.clone()));
        if worker.ranges.try_send(range).is_ok() {
            self.pending = Some(range);
        } else {
            // A thread could not be started or has ended: the next one may do better.
            self.worker = None;
        }
    }

    /// The answer for the range that was started, if it begins at `wanted.first` and ends within `limit`; else
    /// for `wanted`, asked for now.
    pub(super) fn take(&mut self, wanted: Range, limit: u64) -> Answer {
        if let Some(range) = self.pending.take() {
            if range.first == wanted.first
                && range.first + range.count - 1 <= limit
                && let Some(worker) = &self.worker
                && let Ok(answer) = worker.answers.recv()
            {
                return answer;
            }
            // Nobody wants it any more. Waiting for it could take as long as a time-out: leave it to its thread,
            // which ends with it.
            self.worker = None;
        }
        fetch(&self.rpc, wanted)
    }
}

impl Worker {
    fn spawn(rpc: Rpc) -> Self {
        let (ranges, wanted) = sync_channel::<Range>(1);
        let (done, answers) = sync_channel(1);
        let thread = thread::Builder::new().name("evm-ahead".to_owned());
        let spawned = thread.spawn(move || {
            for range in wanted {
                if done.send(fetch(&rpc, range)).is_err() {
                    break;
                }
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to fetch blocks ahead; going on without");
        }
        Self { ranges, answers }
    }
}

fn fetch(rpc: &Rpc, range: Range) -> Answer {
    let start = Instant::now();
    let heights = range.first..range.first + range.count;
    let body = rpc
        .post(&rpc::batch("eth_getBlockByNumber", heights.map(|height| format!("[\"{height:#x}\",false]"))));
    Answer { range, body, time: start.elapsed() }
}
