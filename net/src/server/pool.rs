//! Memory for frames that are being received: a budget over all sessions, and buffers that are used again.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::ServerConfig;
use super::ingest::FRAME_STEP;
use crate::frame::FrameBuffer;

/// How many buffers are kept for use again, and how many bytes they may have together: about as many as are in use at a
/// time when a thousand peers are fast. Fresh memory costs more than all else that is done with a frame.
const KEPT: usize = 512;
const KEPT_BYTES: usize = 32 << 20;

/// How many of them are looked at for one that fits.
const LOOKS: usize = 16;

/// What one session may still have of the budget at a time, in bytes. It is reserved by what frames announce and kept
/// until they are complete, so without this a few peers that announce long frames and send nothing would hold all
/// there is. One frame of the longest fits always, or it would wait for ever.
#[derive(Debug)]
pub(super) struct Share {
    left: Semaphore,
    /// Of a session that has delivered nothing yet.
    first: usize,
}

impl Share {
    /// One frame of the longest.
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self { left: Semaphore::new(config.max_frame_bytes), first: config.max_frame_bytes }
    }

    /// The session has delivered valid blocks: it may have what there is for such. To be called once.
    pub(super) fn prove(&self, config: &ServerConfig) {
        self.left.add_permits(config.session_frame_bytes - self.first);
    }

    /// Bytes that the session has reserved of its share, which is that of one that is `proven` or not.
    pub(super) fn used(&self, config: &ServerConfig, proven: bool) -> usize {
        let all = if proven { config.session_frame_bytes } else { self.first };
        all.saturating_sub(self.left.available_permits())
    }
}

#[derive(Debug)]
pub(super) struct FramePool {
    /// One permit a byte. Waiters are served in order, so a long frame is not passed over for ever.
    budget: Semaphore,
    bytes: usize,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<FrameBuffer>,
    bytes: usize,
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
        Self { budget: Semaphore::new(bytes), bytes, free: Mutex::default() }
    }

    /// Bytes that are reserved.
    pub(super) fn used(&self) -> usize {
        self.bytes.saturating_sub(self.budget.available_permits())
    }

    /// A buffer for a frame of `bytes`, once the session's share and the budget have room for it. It is not that long
    /// yet.
    pub(super) async fn lend<'a>(&'a self, share: &'a Share, bytes: usize) -> Loan<'a> {
        // The share first: who waits for it holds nothing of what others wait for.
        let share = share.left.acquire_many(bytes as u32).await.expect("a share is never closed");
        let budget = self.budget.acquire_many(bytes as u32).await.expect("the budget is never closed");
        let buffer = self.recycled(bytes).unwrap_or_default();
        Loan { buffer, pool: self, _budget: [share, budget] }
    }
}

impl FramePool {
    /// A buffer that was used before and is not much longer than what is booked for it.
    fn recycled(&self, bytes: usize) -> Option<FrameBuffer> {
        let most = bytes.next_power_of_two().max(FRAME_STEP);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let last = free.buffers.len().saturating_sub(LOOKS);
        let place = (last..free.buffers.len()).rev().find(|at| free.buffers[*at].capacity() <= most)?;
        let buffer = free.buffers.swap_remove(place);
        free.bytes -= buffer.capacity();
        Some(buffer)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = free.bytes + buffer.capacity();
        if free.buffers.len() < KEPT && bytes <= KEPT_BYTES {
            free.bytes = bytes;
            free.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::identity::Identity;

    fn config() -> ServerConfig {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into(), Identity::from_seed([1; 32]));
        (config.max_frame_bytes, config.session_frame_bytes) = (200, 300);
        config
    }

    #[test]
    fn frames_wait_for_the_budget_and_buffers_come_back() {
        let pool = FramePool::new(100);
        let share = Share::new(&config());
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(mut first) = pin!(pool.lend(&share, 60)).poll(&mut cx) else {
            panic!("there is room")
        };
        first.buffer.resize(60);
        assert_eq!((pool.used(), share.used(&config(), false)), (60, 60));
        let mut second = pin!(pool.lend(&share, 60));
        assert!(second.as_mut().poll(&mut cx).is_pending(), "60 of 100 are in use");
        drop(first);
        let Poll::Ready(second) = second.as_mut().poll(&mut cx) else { panic!("there is room again") };
        assert_eq!((second.buffer.len(), second.buffer.capacity()), (0, 64), "the same memory");
    }

    #[test]
    fn a_short_frame_gets_no_long_buffer() {
        let (pool, config) = (
            FramePool::new(8 << 20),
            ServerConfig { max_frame_bytes: 1 << 20, session_frame_bytes: 2 << 20, ..config() },
        );
        let share = Share::new(&config);
        let mut cx = Context::from_waker(Waker::noop());
        for (bytes, most) in [(1 << 20, 0), (136, 0), (1 << 20, 1 << 20), (FRAME_STEP, FRAME_STEP)] {
            let Poll::Ready(mut loan) = pin!(pool.lend(&share, bytes)).poll(&mut cx) else { panic!("room") };
            assert!(loan.buffer.capacity() <= most, "{} for {bytes}", loan.buffer.capacity());
            loan.buffer.resize(bytes);
        }
    }

    #[test]
    fn a_session_never_holds_more_than_its_share_and_others_go_before_its_next_frame() {
        let (pool, config) = (FramePool::new(1_000), config());
        let (greedy, other) = (Share::new(&config), Share::new(&config));
        let mut cx = Context::from_waker(Waker::noop());
        let mut held = Vec::new();
        for _ in 0..2 {
            let Poll::Ready(loan) = pin!(pool.lend(&greedy, 100)).poll(&mut cx) else { panic!("its share") };
            held.push(loan);
        }
        let mut third = pin!(pool.lend(&greedy, 100));
        assert!(third.as_mut().poll(&mut cx).is_pending(), "it holds its share");
        assert!(pin!(pool.lend(&other, 200)).poll(&mut cx).is_ready(), "which is nothing to others");
        greedy.prove(&config);
        let Poll::Ready(third) = third.as_mut().poll(&mut cx) else { panic!("it has earned more") };
        assert_eq!(greedy.used(&config, true), 300);
        drop((held, third));
        assert_eq!((greedy.used(&config, true), pool.used()), (0, 0));
    }

    #[test]
    fn who_waits_for_the_budget_is_served_in_order() {
        let (pool, config) = (FramePool::new(100), config());
        let shares = [Share::new(&config), Share::new(&config), Share::new(&config)];
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(pool.lend(&shares[0], 60)).poll(&mut cx) else {
            panic!("there is room")
        };
        let mut long = pin!(pool.lend(&shares[1], 100));
        assert!(long.as_mut().poll(&mut cx).is_pending());
        let mut short = pin!(pool.lend(&shares[2], 10));
        assert!(short.as_mut().poll(&mut cx).is_pending(), "40 are free, but the long one came before");
        drop(first);
        let Poll::Ready(long) = long.as_mut().poll(&mut cx) else { panic!("its turn") };
        assert!(short.as_mut().poll(&mut cx).is_pending());
        drop(long);
        assert!(short.as_mut().poll(&mut cx).is_ready());
    }
}
