//! One data stream as the pump sees it: the frame that is being built, and the one that waits for room.

use std::time::Instant;

use engine::chain::{ChainId, ColumnsRef, Hash, Height};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::shared::Shared;
use crate::frame::{FrameBuffer, FrameWriter};

#[derive(Debug, Default)]
pub(super) struct DataLane {
    /// To the task that writes the stream; none without a connection.
    sender: Option<mpsc::Sender<FrameBuffer>>,
    /// Places of the chains that travel on it, ascending.
    pub(super) chains: Vec<usize>,
    /// Where the next turn begins: in the middle, when the last one found no room.
    pub(super) cursor: usize,
    writer: Option<FrameWriter>,
    /// When the first section went into the writer.
    since: Option<Instant>,
    ready: Option<FrameBuffer>,
    /// Frames handed over on this connection.
    frames: u64,
    /// Blocks in the writer.
    blocks: u64,
}

impl DataLane {
    pub(super) fn new(chains: Vec<usize>) -> Self {
        Self { chains, ..Self::default() }
    }

    /// Starts anew on a connection, or without one.
    pub(super) fn begin(&mut self, shared: &Shared, sender: Option<mpsc::Sender<FrameBuffer>>) {
        let unsent = self.ready.take().into_iter().chain(self.writer.take().map(FrameWriter::abandon));
        for buffer in unsent {
            keep(shared, buffer);
        }
        *self = Self { sender, chains: std::mem::take(&mut self.chains), ..Self::default() };
    }

    pub(super) fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    /// Number of the frame that the next section would go into.
    pub(super) fn frame_number(&self) -> u64 {
        self.frames + u64::from(self.ready.is_some())
    }

    /// Number of the first frame after all that have been begun.
    pub(super) fn frames_begun(&self) -> u64 {
        self.frame_number() + u64::from(self.since.is_some())
    }

    /// When the frame that is being built was begun.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// How many blocks of `chain` fit into the frame that is being built.
    pub(super) fn room(&mut self, shared: &Shared, chain: ChainId) -> usize {
        self.writer(shared).room(chain)
    }

    pub(super) fn push(
        &mut self,
        shared: &Shared,
        chain: ChainId,
        first: Height,
        parent: Hash,
        blocks: ColumnsRef<'_>,
    ) {
        self.blocks += blocks.len() as u64;
        self.since.get_or_insert_with(Instant::now);
        self.writer(shared).push(chain, first, parent, blocks);
    }

    /// Ends the frame that is being built and hands it over. `false` while an earlier one still waits for room.
    pub(super) fn flush(&mut self, shared: &Shared) -> bool {
        if !self.hand_over(shared) {
            return false;
        }
        if self.since.take().is_some()
            && let Some(writer) = self.writer.take()
        {
            let frame = writer.finish();
            count(&shared.totals.bytes, frame.len() as u64);
            count(&shared.totals.blocks, std::mem::take(&mut self.blocks));
            self.ready = Some(frame);
            // Whether it goes now or waits: the next frame can be begun.
            self.hand_over(shared);
        }
        true
    }

    /// Hands over the frame that waits. `false` when it still has to.
    pub(super) fn hand_over(&mut self, shared: &Shared) -> bool {
        let Some(sender) = &self.sender else { return false };
        let Some(frame) = self.ready.take() else { return true };
        match sender.try_send(frame) {
            Ok(()) => {
                self.frames += 1;
                count(&shared.totals.frames, 1);
                true
            }
            Err(TrySendError::Full(frame)) => {
                self.ready = Some(frame);
                false
            }
            Err(TrySendError::Closed(frame)) => {
                // The connection is gone, or is closed because its stream is; the inbox will say so.
                keep(shared, frame);
                self.sender = None;
                false
            }
        }
    }

    fn writer(&mut self, shared: &Shared) -> &mut FrameWriter {
        self.writer.get_or_insert_with(|| {
            FrameWriter::new(shared.spare.pop().unwrap_or_default(), shared.config.batch_bytes)
        })
    }
}

/// Relaxed: figures for people.
fn count(total: &std::sync::atomic::AtomicU64, more: u64) {
    total.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
}

fn keep(shared: &Shared, buffer: FrameBuffer) {
    // Full: there are enough of them.
    drop(shared.spare.push(buffer));
}
