//! Does again what was recorded: the same blocks into lanes at the same times, the same shares sealed. The headers say
//! whether what comes of it is the same, to the bit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use engine::chain::{ChainId, Columns, Hash, Height, MainBlock, NodeKey};
use engine::lane::{Drain, Lane, Outlet, SessionId};
use engine::pipeline::Sealer;
use engine::quorum::FinalityRule;
use engine::state::{Operation, Registry, SideChain};
use engine::sync::{Doorbell, Waiter};
use net::frame::{Frame, FrameBuffer};
use rayon::ThreadPool;
use serde::Serialize;

use super::format::{Chunk, Reader, Sealing};
use super::start::Restored;

/// How far ahead is read to put in order what was written a moment late.
const AHEAD: Duration = Duration::from_secs(1);

/// At what pace.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Speed {
    /// So many times as fast as it was.
    Times(f64),
    /// Nothing waits.
    Max,
}

/// A main block that was made again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sealed {
    pub height: Height,
    /// Whether it is the same, to the bit.
    pub same: bool,
    pub recorded: Hash,
    pub replayed: Hash,
    pub side_blocks: u64,
    /// When it was seen to be durable, in milliseconds since the start of the recording.
    pub at_ms: f64,
    /// How long the oldest of its side blocks had been received by then, at the recording.
    pub oldest_ms: f64,
    /// Blocks that stayed in lanes.
    pub waiting: u64,
    /// How long gathering and hashing took here.
    pub seal_ms: f64,
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub main_blocks: u64,
    pub side_blocks: u64,
    /// Main blocks that are not the same.
    pub different: u64,
    pub frames: u64,
    /// Putting blocks into lanes took so long, in all.
    pub ingest_ms: f64,
    pub seal_ms: f64,
    /// Blocks that came while their lane had no room.
    pub held_up: u64,
    /// Length of the recording, and of the replay.
    pub recorded_ms: f64,
    pub replayed_ms: f64,
    /// Why the recording ended.
    pub ended: String,
}

/// A recording that is done again.
pub(crate) struct Replay {
    reader: Reader,
    lane_blocks: usize,
    lanes: Vec<Seat>,
    outlets: Vec<Outlet>,
    sealer: Sealer,
    pool: ThreadPool,
    bell: (Doorbell, Waiter),
    outcome: Outcome,
}

/// A chain beside its outlet.
struct Seat {
    chain: ChainId,
    lane: Arc<Lane>,
    drain: Drain,
    /// What found no room: where it begins, and what it follows.
    late: VecDeque<(Height, Hash, Columns)>,
    /// When what is in the lane came: up to which height, in milliseconds of the recording.
    came: VecDeque<(Height, f64)>,
}

/// The session that speaks for all chains.
const SESSION: SessionId = SessionId(1);

impl Replay {
    /// Opens a recording; `threads` hash.
    pub(crate) fn open(file: &Path, threads: usize) -> Result<Self> {
        let named = || file.display().to_string();
        let mut reader = Reader::open(file).with_context(named)?;
        let Some((_, Chunk::Start(start))) = reader.next().with_context(named)? else {
            bail!("{}: it has no start", named());
        };
        let Restored { genesis, operations, state, history, head } =
            start.restore(threads).with_context(named)?;
        let registry = Registry::new(&genesis, &operations);
        let bell = Doorbell::new();
        let (mut lanes, mut outlets) = (Vec::new(), Vec::new());
        for chain in state.chains() {
            let side = if chain.active { registry.chain(chain.id) } else { None };
            let side = side.unwrap_or_else(|| nobody(chain.id));
            let (seat, outlet) = seat(&side, chain.indexed, chain.newest(), start.lane_blocks, &bell.0)?;
            lanes.push(seat);
            outlets.push(outlet);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let outcome = Outcome {
            main_blocks: 0,
            side_blocks: 0,
            different: 0,
            frames: 0,
            ingest_ms: 0.0,
            seal_ms: 0.0,
            held_up: 0,
            recorded_ms: 0.0,
            replayed_ms: 0.0,
            ended: String::new(),
        };
        let sealer = Sealer::new(&genesis, head.as_ref(), state, history);
        Ok(Self { reader, lane_blocks: start.lane_blocks, lanes, outlets, sealer, pool, bell, outcome })
    }

    /// Runs it to its end; `each` hears of each main block.
    ///
    /// # Errors
    /// The file is damaged, or contradicts itself. What is different is no error: the outcome says it.
    pub(crate) fn run(
        mut self,
        speed: Speed,
        mut each: impl FnMut(&Sealed) -> Result<()>,
    ) -> Result<Outcome> {
        let begun = Instant::now();
        let mut ordered = BinaryHeap::new();
        let mut held = BTreeMap::new();
        let (mut newest, mut number, mut more) = (Duration::ZERO, 0_u64, true);
        loop {
            // In the order in which it happened: main blocks are written down a moment after what came later.
            while more && ordered.peek().is_none_or(|Reverse((at, _))| *at + AHEAD > newest) {
                match self.reader.next()? {
                    Some((at, chunk)) => {
                        newest = newest.max(at);
                        ordered.push(Reverse((at, number)));
                        held.insert(number, chunk);
                        number += 1;
                    }
                    None => more = false,
                }
            }
            let Some(Reverse((at, number))) = ordered.pop() else { break };
            let chunk = held.remove(&number).expect("each place in the order has its chunk");
            if let Speed::Times(times) = speed {
                thread::sleep(at.div_f64(times).saturating_sub(begun.elapsed()));
            }
            match chunk {
                Chunk::Start(_) => bail!("the recording begins twice"),
                Chunk::Frame { left_out, frame } => {
                    self.outcome.frames += 1;
                    self.take(&frame, &left_out, at)?;
                }
                Chunk::Backlog(frame) => self.take(&frame, &[], at)?,
                Chunk::Block(sealing) => {
                    let sealed = self.seal(&sealing, at)?;
                    each(&sealed)?;
                }
                Chunk::End(why) => {
                    self.outcome.recorded_ms = millis(at);
                    self.outcome.ended = why;
                }
            }
        }
        self.outcome.replayed_ms = millis(begun.elapsed());
        Ok(self.outcome)
    }

    /// Puts the sections of a frame into their lanes.
    fn take(&mut self, frame: &FrameBuffer, left_out: &[u16], at: Duration) -> Result<()> {
        let begun = Instant::now();
        let parsed = Frame::parse(frame.as_bytes())?;
        for (index, section) in (0_u16..).zip(parsed.sections()) {
            if left_out.contains(&index) {
                continue;
            }
            let place = self.lanes.binary_search_by_key(&section.chain, |seat| seat.chain);
            // Of a chain that was registered since, or removed: nothing of it is sealed.
            let Ok(position) = place else { continue };
            let seat = &mut self.lanes[position];
            let mut columns = Columns::default();
            let times = section.columns.times.iter();
            for ((hash, tx_root), time) in
                section.columns.hashes.iter().zip(section.columns.tx_roots).zip(times)
            {
                columns.push(*hash, *tx_root, *time);
            }
            let last = Height(section.first.0 + columns.len() as u64 - 1);
            // One speaker after the other: nearly in order.
            let behind = seat.late.partition_point(|(first, ..)| *first <= section.first);
            seat.late.insert(behind, (section.first, section.parent, columns));
            seat.came.push_back((last, millis(at)));
            self.outcome.held_up += seat.settle(at)?;
        }
        self.outcome.ingest_ms += millis(begun.elapsed());
        Ok(())
    }

    /// Makes a main block again.
    fn seal(&mut self, sealing: &Sealing, at: Duration) -> Result<Sealed> {
        let mut block = Sealer::blank();
        for operation in &sealing.operations {
            self.apply(operation)?;
        }
        block.operations.clone_from(&sealing.operations);
        let mut counts = vec![0; self.outlets.len()];
        let mut oldest = f64::INFINITY;
        for (chain, first, count) in &sealing.shares {
            let place = self.lanes.binary_search_by_key(chain, |seat| seat.chain);
            let position = place.map_err(|_| {
                anyhow!("main block {} has chain {chain}, which nobody registered", sealing.height)
            })?;
            self.lanes[position].settle(at)?;
            let outlet = &self.outlets[position];
            let there = outlet.available();
            if outlet.next_height() != *first || there < u64::from(*count) {
                bail!(
                    "main block {}: {count} blocks of chain {chain} from {first} on were sealed, and the recording has {there} \
                     from {} on",
                    sealing.height,
                    outlet.next_height()
                );
            }
            if let Some((_, came)) = self.lanes[position].came.iter().find(|(last, _)| last >= first) {
                oldest = oldest.min(*came);
            }
            counts[position] = u64::from(*count);
        }
        let begun = Instant::now();
        let Self { pool, sealer, outlets, .. } = self;
        pool.install(|| sealer.seal_with_operations(outlets, &counts, sealing.time, &mut block));
        let took = millis(begun.elapsed());
        for (chain, first, count) in &sealing.shares {
            if let Ok(position) = self.lanes.binary_search_by_key(chain, |seat| seat.chain) {
                let last = Height(first.0 + u64::from(*count) - 1);
                let seat = &mut self.lanes[position];
                seat.drain.release(last, at, |_, _| ());
                seat.came.retain(|(until, _)| *until > last);
                seat.settle(at)?;
            }
        }
        Ok(self.told(sealing, &block, at, oldest, took))
    }

    fn told(&mut self, sealing: &Sealing, block: &MainBlock, at: Duration, oldest: f64, took: f64) -> Sealed {
        let same = block.hash == sealing.hash;
        let Outcome { main_blocks, side_blocks, different, seal_ms, .. } = &mut self.outcome;
        *main_blocks += 1;
        *side_blocks += block.header.leaf_count;
        *different += u64::from(!same);
        *seal_ms += took;
        Sealed {
            height: sealing.height,
            same,
            recorded: sealing.hash,
            replayed: block.hash,
            side_blocks: block.header.leaf_count,
            at_ms: millis(at),
            oldest_ms: if oldest.is_finite() { millis(at) - oldest } else { 0.0 },
            waiting: self.outlets.iter().map(Outlet::available).sum(),
            seal_ms: took,
        }
    }

    /// Changes the registry as the main block did.
    fn apply(&mut self, operation: &Operation) -> Result<()> {
        let (applied, chain) = self.sealer.apply(operation)?;
        let side = match operation {
            Operation::Register(side) => side.clone(),
            Operation::Remove(id) => nobody(*id),
        };
        let (seat, outlet) = seat(&side, chain.indexed, chain.newest(), self.lane_blocks, &self.bell.0)?;
        if applied.inserted {
            self.lanes.insert(applied.position, seat);
            self.outlets.insert(applied.position, outlet);
        } else {
            self.lanes[applied.position] = seat;
            self.outlets[applied.position] = outlet;
        }
        Ok(())
    }
}

impl Seat {
    /// Puts what waits into the lane, as far as there is room; says how many blocks found none.
    fn settle(&mut self, at: Duration) -> Result<u64> {
        let mut held_up = 0;
        while let Some((first, parent, columns)) = self.late.front_mut() {
            let position = self.lane.position();
            // What the log gave already.
            let known = position.received.0.saturating_add(1).saturating_sub(first.0) as usize;
            if known >= columns.len() {
                self.late.pop_front();
                continue;
            }
            let (from, follows) = match known {
                0 => (*first, *parent),
                _ => (Height(first.0 + known as u64), columns.hashes[known - 1]),
            };
            let room = position.limit.0.saturating_sub(position.received.0) as usize;
            let count = room.min(columns.len() - known);
            // Before it comes what was in the lane when the recording began.
            if from.0 > position.received.0 + 1 {
                break;
            }
            if count == 0 {
                held_up += (columns.len() - known) as u64;
                break;
            }
            let part = columns.as_ref().slice(known, known + count);
            self.lane.push(SESSION, from, follows, part, at)?;
        }
        Ok(held_up)
    }
}

fn seat(
    side: &SideChain,
    indexed: Height,
    newest: Option<Hash>,
    lane_blocks: usize,
    bell: &Doorbell,
) -> Result<(Seat, Outlet)> {
    let key = *side.nodes.first().with_context(|| format!("chain {} has no node", side.id))?;
    let (lane, ends) = Lane::new(side, indexed, newest, lane_blocks, bell.clone());
    lane.claim(key, SESSION)?;
    let seat = Seat { chain: side.id, lane, drain: ends.drain, late: VecDeque::new(), came: VecDeque::new() };
    Ok((seat, ends.outlet))
}

/// In the place of a chain that is not registered any more.
fn nobody(id: ChainId) -> SideChain {
    let nodes = vec![NodeKey([0; 32])];
    SideChain { id, name: String::new(), first_height: Height(1), nodes, finality: FinalityRule::default() }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
