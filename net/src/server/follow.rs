//! The stream of main blocks: each durable main block from a height on, as far as it is of interest to the session.
//!
//! A cursor over the log, moved as fast as the peer reads. Nothing waits in memory but the messages of the moment,
//! 64 KiB or those of 512 chains, and what QUIC may keep until it is acknowledged.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::{BlockView, ChainId, Height};
use engine::proof::{ChainProof, ProofError};
use engine::store::{BlockReader, StoreError};
use quinn::{SendStream, WriteError};
use tokio::sync::Notify;

use super::Shared;
use super::session::{End, Session, too_slow};
use crate::control::{BlockStart, CLOSE_DONE, MAX_INDEXED, MainMessage, Message};
use crate::reactor::{Either, Handle, race};

/// The main chain's durable blocks, as the stream of main blocks needs them. Every [`BlockReader`] is one.
pub trait MainBlocks: Send + Sync {
    /// Height of the newest durable block; 0 of an empty store.
    fn newest(&self) -> Height;

    /// Height of the oldest block that is kept.
    fn oldest(&self) -> Height;

    /// The header of a block, and of how many of `chains` it has blocks; `None` if it is not there, or not any more.
    ///
    /// # Errors
    /// The store cannot be read.
    fn start(&self, height: Height, chains: &[ChainId]) -> Result<Option<BlockStart>, StoreError>;

    /// What a block has of `chains`, in their order; `None` if it is not there, or not any more.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    fn proofs(&self, height: Height, chains: &[ChainId]) -> Result<Option<Vec<ChainProof>>, ProofError>;
}

impl<R: BlockReader> MainBlocks for R {
    fn newest(&self) -> Height {
        self.head()
    }

    fn oldest(&self) -> Height {
        self.base().first
    }

    fn start(&self, height: Height, chains: &[ChainId]) -> Result<Option<BlockStart>, StoreError> {
        let Some(block) = self.block(height)? else { return Ok(None) };
        let header = block.header();
        let found = chains.iter().filter(|chain| block.find(**chain).is_some()).count();
        block.intact()?;
        Ok(Some(BlockStart { header, chains: found as u32 }))
    }

    fn proofs(&self, height: Height, chains: &[ChainId]) -> Result<Option<Vec<ChainProof>>, ProofError> {
        let Some(block) = self.block(height)? else { return Ok(None) };
        let found = chains.iter().filter_map(|chain| ChainProof::of(&block, *chain).transpose());
        let proofs: Result<Vec<_>, _> = found.collect();
        // When all has been read, and before anything is said of it.
        block.intact()?;
        proofs.map(Some)
    }
}

/// What a session has asked to follow.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    from: Mutex<Option<Height>>,
    asked: Notify,
    /// Rung when there may be a new head.
    pub(super) heads: Notify,
}

impl Wanted {
    /// The peer wants the blocks from this height on. The newest wish counts.
    pub(super) fn ask(&self, from: Height) {
        *self.from.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        self.asked.notify_one();
    }

    async fn next(&self) -> Height {
        loop {
            if let Some(from) = self.from.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return from;
            }
            self.asked.notified().await;
        }
    }
}

/// Serves what a session asks to follow, until its connection ends.
pub(super) async fn run(shared: &Arc<Shared>, session: &Arc<Session>, handle: &Handle) -> Result<(), End> {
    let mut from = session.wanted.next().await;
    loop {
        let begun = Instant::now();
        // A newer wish ends the stream of the older one. In memory of its own: most sessions follow nothing.
        let stream = Box::pin(stream(shared, session, handle, from));
        from = match race(session.wanted.next(), stream).await {
            Either::Left(newer) => newer,
            Either::Right(Err(end)) => return Err(end),
            Either::Right(Ok(())) => session.wanted.next().await,
        };
        // What a stream takes is kept until the peer has acknowledged its end: a flood of wishes must not make many.
        let mut pause = pin!(handle.sleep(STREAM_PACE.saturating_sub(begun.elapsed())));
        while let Either::Left(newer) = race(session.wanted.next(), pause.as_mut()).await {
            from = newer;
        }
    }
}

/// One stream. Ends when the peer stops it.
async fn stream(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    handle: &Handle,
    from: Height,
) -> Result<(), End> {
    let blocks = &*shared.parts.blocks;
    let mut next = if from.0 == 0 { blocks.newest().next() } else { from };
    let chains = session.chains().served();
    let stream = session.open_main().await.map_err(End::Gone)?;
    let mut stream = Writer { stream, handle, limit: shared.config.control_timeout, out: Vec::new() };
    let mut rested = Instant::now();
    loop {
        while next <= blocks.newest() {
            // A block that was pruned is passed over; the header's height tells.
            next = next.max(blocks.oldest());
            match stream.block(blocks, &chains, next).await {
                Ok(Sent::Yes) => next = next.next(),
                Ok(Sent::Pruned) if blocks.oldest() > next => {}
                // It is about to be there, or not to be there, for all that can be seen.
                Ok(Sent::Pruned) => handle.sleep(RETRY).await,
                Ok(Sent::Stopped) => return Ok(()),
                Err(Fault::End(end)) => return Err(end),
                Err(Fault::Log(error)) => {
                    tracing::error!(
                        session = session.id.0, height = next.0, %error,
                        "a main block cannot be read for a session that follows; it is tried again"
                    );
                    handle.sleep(RETRY).await;
                }
            }
            if rested.elapsed() > LONGEST_TURN {
                handle.yield_now().await;
                rested = Instant::now();
            }
        }
        if let Sent::Stopped = stream.flush().await? {
            return Ok(());
        }
        session.wanted.heads.notified().await;
    }
}

/// How soon a block that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The least time between the beginnings of two streams of a session.
const STREAM_PACE: Duration = Duration::from_secs(1);

/// So long blocks are gathered before other tasks of the reactor get their turn.
const LONGEST_TURN: Duration = Duration::from_micros(200);

/// So much is gathered before it is written.
const BATCH_BYTES: usize = 64 << 10;

/// What is kept between two blocks.
const KEPT_BYTES: usize = 4 << 10;

/// What became of a block, or of what was gathered.
enum Sent {
    Yes,
    /// It is not there any more.
    Pruned,
    /// The peer does not want the stream any more.
    Stopped,
}

enum Fault {
    End(End),
    Log(ProofError),
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

struct Writer<'a> {
    stream: SendStream,
    handle: &'a Handle,
    limit: Duration,
    out: Vec<u8>,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // Or quinn would finish it, and what is half said would look whole. Too late or not: it ends here.
        let _ = self.stream.reset(CLOSE_DONE);
    }
}

impl Writer<'_> {
    async fn block(
        &mut self,
        blocks: &dyn MainBlocks,
        chains: &[ChainId],
        height: Height,
    ) -> Result<Sent, Fault> {
        let log = |error: StoreError| Fault::Log(error.into());
        let Some(start) = blocks.start(height, chains).map_err(log)? else { return Ok(Sent::Pruned) };
        let mut left = start.chains as usize;
        // Where it begins among what is gathered; `None` once the peer has some of it.
        let mut begun = Some(self.out.len());
        MainMessage::Block(Box::new(start)).encode(&mut self.out);
        for some in chains.chunks(MAX_INDEXED) {
            if left == 0 {
                break;
            }
            let proofs = match (blocks.proofs(height, some), begun) {
                (Ok(Some(proofs)), _) => proofs,
                (Ok(None), Some(begun)) => {
                    self.out.truncate(begun);
                    return Ok(Sent::Pruned);
                }
                (Err(error), Some(begun)) => {
                    self.out.truncate(begun);
                    return Err(Fault::Log(error));
                }
                // Half of it is said: only another stream can begin it anew.
                (_, None) => return Ok(Sent::Stopped),
            };
            left = left.saturating_sub(proofs.len());
            if !proofs.is_empty() {
                MainMessage::Indexed(proofs).encode(&mut self.out);
            }
            if self.out.len() >= BATCH_BYTES {
                begun = None;
                if let Sent::Stopped = self.flush().await? {
                    return Ok(Sent::Stopped);
                }
            }
        }
        if self.out.len() >= BATCH_BYTES { Ok(self.flush().await?) } else { Ok(Sent::Yes) }
    }

    async fn flush(&mut self) -> Result<Sent, End> {
        if self.out.is_empty() {
            return Ok(Sent::Yes);
        }
        let written = self.handle.timeout(self.limit, self.stream.write_all(&self.out)).await;
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        match written {
            Ok(Ok(())) => {
                // A peer that reads as fast as we write must not keep the reactor to itself.
                self.handle.yield_now().await;
                Ok(Sent::Yes)
            }
            Ok(Err(WriteError::ConnectionLost(error))) => Err(End::Gone(error)),
            Ok(Err(_)) => Ok(Sent::Stopped),
            Err(_) => Err(too_slow(format!("the stream of main blocks was not read for {:?}", self.limit))),
        }
    }
}
