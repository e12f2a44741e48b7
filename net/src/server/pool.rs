//! Memory for frames that are being received: a budget over all sessions, and buffers that are used again.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::frame::{FrameBuffer, MAX_FRAME_BYTES};

/// How many buffers are kept for use again.
const KEPT: usize = 64;

/// What a session may have of the budget at a time, in bytes. It is reserved by what frames announce and kept until they
/// are complete, so without this a few peers that announce long frames and send nothing would hold all there is.
const SESSION_BYTES: usize = 2 << 20;

const _: () = assert!(SESSION_BYTES >= MAX_FRAME_BYTES, "the longest frame must fit, or it waits for ever");

/// What one session may still have; in bytes too.
#[derive(Debug)]
pub(super) struct Share(Semaphore);

impl Default for Share {
    fn default() -> Self {
        Self(Semaphore::new(SESSION_BYTES))
    }
}

#[derive(Debug)]
pub(super) struct FramePool {
    /// One permit a byte. Waiters are served in order, so a long frame is not passed over forever.
    budget: Semaphore,
    free: Mutex<Vec<FrameBuffer>>,
}

/// A buffer on loan; goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    pub(super) buffer: FrameBuffer,
    pool: &'a FramePool,
    _budget: [SemaphorePermit<'a>; 2],
}

impl FramePool {
    pub(super) fn new(bytes: usize) -> Self {
        Self { budget: Semaphore::new(bytes), free: Mutex::default() }
    }

    /// A buffer for a frame of `bytes`, once the session's share and the budget have room for it. It is not that long
    /// yet.
    pub(super) async fn lend<'a>(&'a self, share: &'a Share, bytes: usize) -> Loan<'a> {
        // The share first: who waits for it holds nothing of what others wait for.
        let share = share.0.acquire_many(bytes as u32).await.expect("a share is never closed");
        let budget = self.budget.acquire_many(bytes as u32).await.expect("the budget is never closed");
        let buffer = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Loan { buffer, pool: self, _budget: [share, budget] }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn frames_wait_for_the_budget_and_buffers_come_back() {
        let pool = FramePool::new(100);
        let share = Share::default();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(mut first) = pin!(pool.lend(&share, 60)).poll(&mut cx) else {
            panic!("there is room")
        };
        first.buffer.resize(60);
        let mut second = pin!(pool.lend(&share, 60));
        assert!(second.as_mut().poll(&mut cx).is_pending(), "60 of 100 are in use");
        drop(first);
        let Poll::Ready(second) = second.as_mut().poll(&mut cx) else { panic!("there is room again") };
        assert_eq!((second.buffer.len(), second.buffer.capacity()), (0, 64), "the same memory");
    }
}
