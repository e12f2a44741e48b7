//! Data streams: frames from the wire into lanes.
//!
//! A frame is copied once, from QUIC's buffers into an aligned one of the pool, checked whole, and its sections
//! are put into their lanes where they lie. Nothing is done block by block but the copy into the lane's slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{ReadError, RecvStream};

use super::Shared;
use super::calm::Calm;
use super::session::{End, Session, too_slow};
use crate::control::RefusalCode;
use crate::frame::{Frame, FrameHeader, HEADER_BYTES};
use crate::reactor::{Either, Handle, race};

/// How much memory a frame gets before any of its bytes is there; then as much as has come.
pub(super) const FRAME_STEP: usize = 64 << 10;

/// Accepts the data streams of a session. QUIC bounds how many there are at a time.
pub(super) async fn accept(shared: &Arc<Shared>, session: &Arc<Session>, handle: &Handle) -> Result<(), End> {
    let mut pace = Calm::default();
    loop {
        let stream = session.accept_data().await.map_err(End::Gone)?;
        pace.step(handle).await;
        let data = DataStream {
            shared: Arc::clone(shared),
            session: Arc::clone(session),
            handle: handle.clone(),
            number: stream.id().index(),
        };
        // In a box of its own: a task keeps the future that it is made of twice.
        handle.spawn(Box::pin(data.run(stream)));
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
            self.session.refuse(&self.shared, code, &detail);
        }
    }

    async fn read(&self, stream: &mut RecvStream) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let mut header = [0; HEADER_BYTES];
        let mut number = 0;
        loop {
            // A stream may rest before a frame, not within one.
            let Some(begun) = stream.read(&mut header).await.map_err(lost)? else { return Ok(()) };
            let mut pace = Pace { data: self, begun: Instant::now(), bytes: begun };
            pace.fill(stream, &mut header[begun..]).await?;
            let expected = FrameHeader::parse(&header).map_err(bad_frame)?.frame_bytes();
            let most = shared.config.max_frame_bytes;
            if expected > most {
                let detail = format!("a frame has {expected} bytes; this server takes {most} at most");
                return Err(End::Fault((RefusalCode::BadFrame, detail)));
            }
            session.announced(shared, expected);
            // Waiting for our own memory is not the peer's fault: the deadline stands still.
            let waits = Instant::now();
            let mut loan = match race(shared.pool.lend(&session.memory, expected), session.gone()).await {
                Either::Left(loan) => loan,
                Either::Right(gone) => return Err(gone),
            };
            pace.begun += waits.elapsed();
            loan.buffer.extend(&header);
            // The memory grows with what has come, not with what was promised.
            while loan.buffer.len() < expected {
                let from = loan.buffer.len();
                loan.buffer.resize(expected.min((2 * from).max(FRAME_STEP)));
                pace.fill(stream, &mut loan.buffer.as_mut_bytes()[from..]).await?;
            }
            self.take(loan.buffer.as_bytes(), number)?;
            drop(loan);
            number += 1;
            // A stream that always has more must not keep the reactor to itself.
            self.handle.yield_now().await;
        }
    }

    fn take(&self, bytes: &[u8], number: u64) -> Result<(), End> {
        let (shared, session) = (&self.shared, &self.session);
        let frame = Frame::parse(bytes).map_err(bad_frame)?;
        let now = shared.parts.clock.monotonic();
        let mut chains = session.chains();
        let taken = chains.take(&frame, self.number, number, now).map_err(End::Fault)?;
        drop(chains);
        if let Some(line) = shared.tap.get().filter(|_| taken.blocks > 0) {
            line.frame(now, bytes, taken.left_out);
        }
        session.delivered(shared, bytes.len(), taken.blocks, now);
        if taken.refused {
            session.settle(shared);
            session.news.notify_one();
            // Another node of the chain may speak now.
            shared.heralds.tell();
        }
        Ok(())
    }
}

/// How fast a frame has to come: whole within a time, and from the first second on at a least rate.
struct Pace<'a> {
    data: &'a DataStream,
    begun: Instant,
    bytes: usize,
}

impl Pace<'_> {
    /// Reads until `buffer` is full.
    async fn fill(&mut self, stream: &mut RecvStream, buffer: &mut [u8]) -> Result<(), End> {
        let mut at = 0;
        while at < buffer.len() {
            let left = self.allowed().saturating_sub(self.begun.elapsed());
            let read = self.data.handle.timeout(left, stream.read(&mut buffer[at..])).await;
            match read.map_err(|_| self.slow())? {
                Ok(Some(bytes)) => {
                    at += bytes;
                    self.bytes += bytes;
                }
                Ok(None) => return Err(cut("ended")),
                Err(ReadError::ConnectionLost(error)) => return Err(End::Gone(error)),
                Err(_) => return Err(cut("was reset")),
            }
        }
        Ok(())
    }

    /// When the next byte has to be there.
    fn allowed(&self) -> Duration {
        let config = &self.data.shared.config;
        let by_rate = match config.frame_least_rate {
            0 => config.frame_timeout,
            rate => GRACE + Duration::from_micros(self.bytes as u64 * 1_000_000 / u64::from(rate)),
        };
        by_rate.min(config.frame_timeout)
    }

    fn slow(&self) -> End {
        let config = &self.data.shared.config;
        too_slow(format!(
            "{} bytes of a frame came in {:?}; expected {} bytes a second, and all of it within {:?}",
            self.bytes,
            self.begun.elapsed(),
            config.frame_least_rate,
            config.frame_timeout
        ))
    }
}

/// A second in which a frame may come as slowly as it wants.
const GRACE: Duration = Duration::from_secs(1);

fn bad_frame(error: crate::frame::FrameError) -> End {
    End::Fault((RefusalCode::BadFrame, error.to_string()))
}

fn cut(how: &str) -> End {
    End::Fault((RefusalCode::BadFrame, format!("the data stream {how} within a frame")))
}

fn lost(error: ReadError) -> End {
    match error {
        ReadError::ConnectionLost(error) => End::Gone(error),
        // Reset between frames: nothing is missing.
        _ => End::Done,
    }
}
