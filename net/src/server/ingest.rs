//! Data streams: frames from the wire into lanes.
//!
//! A frame is copied once, from QUIC's buffers into an aligned one of the pool, checked whole, and its sections
//! are put into their lanes where they lie. Nothing is done block by block but the copy into the lane's slots.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{ReadError, ReadExactError, RecvStream};

use super::Shared;
use super::session::{End, Session, too_slow};
use crate::control::RefusalCode;
use crate::frame::{Frame, FrameBuffer, FrameHeader, HEADER_BYTES};
use crate::reactor::Handle;

/// How much memory a frame gets before any of its bytes is there; then as much as has come.
const FRAME_STEP: usize = 64 << 10;

/// Accepts the data streams of a session. QUIC bounds how many there are at a time.
pub(super) async fn accept(shared: &Arc<Shared>, session: &Arc<Session>, handle: &Handle) -> Result<(), End> {
    loop {
        let stream = session.accept_data().await.map_err(End::Gone)?;
        let data = DataStream {
            shared: Arc::clone(shared),
            session: Arc::clone(session),
            handle: handle.clone(),
            number: stream.id().index(),
        };
        handle.spawn(data.run(stream));
    }
}

struct DataStream {
    shared: Arc<Shared>,
    session: Arc<Session>,
    handle: Handle,
    number: u64,
}

impl DataStream {
    async fn run(self, mut stream: RecvStream) {
        // Who closes the connection here ends the session's other tasks by that.
        if let Err(End::Fault((code, detail))) = self.read(&mut stream).await {
            self.session.refuse(code, &detail);
        }
    }

    async fn read(&self, stream: &mut RecvStream) -> Result<(), End> {
        let mut header = [0; HEADER_BYTES];
        let mut number = 0;
        let limit = self.shared.config.frame_timeout;
        let slow = |_| too_slow(format!("a frame was not complete within {limit:?}"));
        loop {
            // A stream may rest before a frame, not within one.
            let Some(begun) = stream.read(&mut header).await.map_err(lost)? else { return Ok(()) };
            if begun < HEADER_BYTES {
                let rest = stream.read_exact(&mut header[begun..]);
                self.handle.timeout(limit, rest).await.map_err(slow)?.map_err(cut)?;
            }
            let expected = FrameHeader::parse(&header).map_err(bad_frame)?;
            // Waiting for our own memory is not the peer's fault: the deadline stands still.
            let mut loan = self.shared.pool.lend(&self.session.memory, expected.frame_bytes()).await;
            loan.buffer.extend(&header);
            let body = fill(stream, &mut loan.buffer, expected.frame_bytes());
            self.handle.timeout(limit, body).await.map_err(slow)?.map_err(cut)?;
            self.take(loan.buffer.as_bytes(), number)?;
            drop(loan);
            number += 1;
            // A stream that always has more must not keep the reactor to itself.
            self.handle.yield_now().await;
        }
    }

    fn take(&self, bytes: &[u8], number: u64) -> Result<(), End> {
        let frame = Frame::parse(bytes).map_err(bad_frame)?;
        let now = self.shared.parts.clock.monotonic();
        let mut chains = self.session.chains();
        let taken = chains.take(&frame, self.number, number, now).map_err(End::Fault)?;
        let refusal = if taken.refused { chains.last_refusal().cloned() } else { None };
        drop(chains);
        // Relaxed, each: figures for people.
        self.session.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.session.frames.fetch_add(1, Ordering::Relaxed);
        self.session.blocks.fetch_add(taken.blocks, Ordering::Relaxed);
        if let Some(refusal) = refusal {
            tracing::info!(
                session = self.session.id.0, key = %self.session.key,
                code = %refusal.code, detail = refusal.detail, "refused a chain"
            );
            self.session.note(refusal);
            self.session.news.notify_one();
            // Another node of the chain may speak now.
            self.shared.heralds.tell();
        }
        Ok(())
    }
}

/// Reads until the buffer has `bytes`. Its memory grows with what has come, not with what was promised.
async fn fill(stream: &mut RecvStream, buffer: &mut FrameBuffer, bytes: usize) -> Result<(), ReadExactError> {
    while buffer.len() < bytes {
        let from = buffer.len();
        buffer.resize(bytes.min((2 * from).max(FRAME_STEP)));
        stream.read_exact(&mut buffer.as_mut_bytes()[from..]).await?;
    }
    Ok(())
}

fn bad_frame(error: crate::frame::FrameError) -> End {
    End::Fault((RefusalCode::BadFrame, error.to_string()))
}

fn cut(error: ReadExactError) -> End {
    match error {
        ReadExactError::FinishedEarly(_) => {
            End::Fault((RefusalCode::BadFrame, "the data stream ended within a frame".into()))
        }
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => End::Gone(error),
        ReadExactError::ReadError(_) => {
            End::Fault((RefusalCode::BadFrame, "the data stream was reset within a frame".into()))
        }
    }
}

fn lost(error: ReadError) -> End {
    match error {
        ReadError::ConnectionLost(error) => End::Gone(error),
        // Reset between frames: nothing is missing.
        _ => End::Done,
    }
}
