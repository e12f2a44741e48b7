//! The sending half of a session.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use engine::chain::{Columns, Height};
use net::frame::{FrameBuffer, FrameWriter, MAX_SECTION_BLOCKS};
use net::reactor::race;
use quinn::SendStream;

use super::lag::Schedule;
use super::session::{Cursor, Session};
use super::world::{blocks, parent, phase};
use super::{Load, Shared, lock};

/// What clients aim at, too.
const FRAME_BYTES: usize = 64 << 10;

/// How long clients wait for a frame to fill.
const FLUSH_AFTER: Duration = Duration::from_millis(1);

/// Sends what the load says until the connection ends.
pub(super) async fn run(shared: &Shared, session: &Session) -> Result<()> {
    let mut go = shared.go.subscribe();
    go.wait_for(Option::is_some).await.context("the swarm is gone")?;
    match shared.setup.load {
        Load::Idle => Ok(()),
        Load::Flat | Load::Bulk => flat(shared, session).await,
        Load::Paced { .. } => {
            let schedule = shared.schedule().context("it was waited for")?;
            paced(shared, session, &schedule).await
        }
    }
}

async fn flat(shared: &Shared, session: &Session) -> Result<()> {
    let mut out = Out::open(shared, session).await?;
    let mut place = 0;
    loop {
        let mut frame = out.begin();
        {
            let table = &mut lock(&session.chains).table;
            // On to the end of the table: chains ascend within a frame.
            while place < table.len() {
                let cursor = &mut table[place];
                let credit = cursor.credit();
                let room = frame.room(cursor) as u64;
                if credit > 0 && room == 0 {
                    break;
                }
                frame.push(cursor, credit.min(room));
                if credit > room {
                    break;
                }
                place += 1;
            }
            if place == table.len() {
                place = 0;
            }
        }
        if frame.blocks > 0 {
            out.send(frame).await?;
        } else {
            out.abandon(frame);
            if place == 0 && !lock(&session.chains).table.iter().any(|cursor| cursor.credit() > 0) {
                session.news.notified().await;
            }
        }
        // A sender that always has more must not keep the reactor to itself.
        shared.handle.yield_now().await;
    }
}

async fn paced(shared: &Shared, session: &Session, schedule: &Schedule) -> Result<()> {
    let Schedule { begun, interval, batch, lasts } = *schedule;
    let mut out = Out::open(shared, session).await?;
    // When each chain has more blocks next; in microseconds, and which chain in the table.
    let mut due: BinaryHeap<_> = {
        let chains = lock(&session.chains);
        let first = |(place, cursor): (usize, &Cursor)| Reverse((phase(cursor.chain, interval), place));
        chains.table.iter().enumerate().map(first).collect()
    };
    // Chains with blocks that are due.
    let mut waiting = BTreeSet::new();
    loop {
        let now = begun.elapsed();
        while let Some(&Reverse((at, place))) = due.peek().filter(|next| next.0.0 <= now) {
            due.pop();
            waiting.insert(place);
            if at + interval < lasts {
                due.push(Reverse((at + interval, place)));
            }
        }
        loop {
            let mut frame = out.begin();
            let mut full = false;
            {
                let (table, now) = (&mut lock(&session.chains).table, Instant::now());
                waiting.retain(|&place| {
                    let cursor = &mut table[place];
                    let last = cursor.base + schedule.due(cursor.chain, now) * batch;
                    let room = frame.room(cursor) as u64;
                    full |= room == 0;
                    let most = last.min(cursor.limit);
                    frame.push(cursor, room.min((most + 1).saturating_sub(cursor.next)));
                    cursor.next <= last
                });
            }
            if frame.blocks == 0 {
                out.abandon(frame);
                break;
            }
            out.send(frame).await?;
            if !full && waiting.is_empty() {
                break;
            }
        }
        let next = due.peek().map_or(now + interval, |next| next.0.0);
        race(shared.handle.sleep_until(begun + next + FLUSH_AFTER), async {
            // Only who waits for credits is woken by acks.
            if waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            session.news.notified().await;
        })
        .await;
    }
}

/// The data stream of a session.
struct Out<'a> {
    shared: &'a Shared,
    stream: SendStream,
    columns: Columns,
}

impl<'a> Out<'a> {
    async fn open(shared: &'a Shared, session: &Session) -> Result<Self> {
        let stream = session.connection.open_uni().await?;
        Ok(Self { shared, stream, columns: Columns::default() })
    }

    fn begin(&mut self) -> Building {
        let buffer = lock(&self.shared.spare).pop().unwrap_or_default();
        let columns = std::mem::take(&mut self.columns);
        Building { writer: FrameWriter::new(buffer, FRAME_BYTES), columns, blocks: 0 }
    }

    /// Keeps the memory of a frame that stayed empty.
    fn abandon(&mut self, frame: Building) {
        self.columns = frame.columns;
        lock(&self.shared.spare).push(frame.writer.abandon());
    }

    async fn send(&mut self, frame: Building) -> Result<()> {
        self.columns = frame.columns;
        let owner = Recycled { buffer: frame.writer.finish(), spare: Arc::clone(&self.shared.spare) };
        let totals = &self.shared.totals;
        totals.blocks.fetch_add(frame.blocks, Ordering::Relaxed);
        totals.frames.fetch_add(1, Ordering::Relaxed);
        totals.bytes.fetch_add(owner.buffer.len() as u64, Ordering::Relaxed);
        Ok(self.stream.write_chunk(Bytes::from_owner(owner)).await?)
    }
}

/// A frame that is being built.
struct Building {
    writer: FrameWriter,
    columns: Columns,
    blocks: u64,
}

impl Building {
    fn room(&self, cursor: &Cursor) -> usize {
        self.writer.room(cursor.chain).min(MAX_SECTION_BLOCKS)
    }

    /// Adds the next `count` blocks of a chain, which must fit.
    fn push(&mut self, cursor: &mut Cursor, count: u64) {
        if count == 0 {
            return;
        }
        blocks(cursor.chain, cursor.next, count as usize, &mut self.columns);
        let parent = parent(cursor.chain, cursor.next);
        self.writer.push(cursor.chain, Height(cursor.next), parent, self.columns.as_ref());
        cursor.next += count;
        self.blocks += count;
    }
}

/// Gives its memory back when QUIC is done with it.
struct Recycled {
    buffer: FrameBuffer,
    spare: Arc<Mutex<Vec<FrameBuffer>>>,
}

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_bytes()
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        lock(&self.spare).push(std::mem::take(&mut self.buffer));
    }
}
