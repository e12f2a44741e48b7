//! Records what a node takes in and what it seals, on the caller's thread: neither ingest nor the stages wait for it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::chain::{BlockView, ChainId, Hash, Height};
use engine::clock::Clock;
use engine::store::BlockReader;
use net::frame::{Frame, FrameBuffer, FrameWriter, MAX_FRAME_BYTES};
use net::server::{Tap, TapReader, Tapped};
use serde::{Deserialize, Serialize};

use super::format::{Sealing, Writer};
use super::start::Start;

/// Bytes of frames that may wait to be written: a second and a half of what a node takes in at its fastest.
const WAITING: usize = 256 << 20;

/// How long after a main block became durable it is written down: what was put into a lane just before it was sealed may
/// still be on its way here.
const GRACE: Duration = Duration::from_millis(200);

/// Between two looks at the log, at most.
const GLANCE: Duration = Duration::from_millis(2);

/// What is wanted of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The file to write, which must not exist.
    pub to: PathBuf,
    /// How long, in milliseconds.
    pub for_ms: u64,
    /// How long the file may become.
    pub max_bytes: u64,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub to: PathBuf,
    pub bytes: u64,
    pub ms: u64,
    pub frames: u64,
    pub main_blocks: u64,
    pub side_blocks: u64,
    /// Why it ended.
    pub ended: String,
    /// Whether it is all that was asked for.
    pub whole: bool,
}

/// Records a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder<R> {
    tap: Tap,
    reader: R,
    genesis: PathBuf,
    lane_blocks: usize,
    clock: Arc<dyn Clock>,
    stop: Arc<Stop>,
    /// Held while one runs.
    running: Arc<Mutex<()>>,
}

/// Asks recordings to end. Relaxed throughout: it guards nothing.
#[derive(Debug, Default)]
struct Stop {
    /// How often that was asked: a recording ends when it is more often than when the recording began, so no question is
    /// lost to one that begins at the same moment.
    asked: AtomicU64,
    /// There will be no more.
    finished: AtomicBool,
}

impl Stop {
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether a recording is to end that began when it had been asked so often.
    fn is_meant(&self, before: u64) -> bool {
        self.asked() != before || self.finished.load(Ordering::Relaxed)
    }
}

impl<R: BlockReader> Recorder<R> {
    /// Of the node with this tap, log and genesis document, whose lanes hold so many blocks.
    pub(crate) fn new(
        tap: Tap,
        reader: R,
        genesis: &Path,
        lane_blocks: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            tap,
            reader,
            genesis: genesis.to_owned(),
            lane_blocks,
            clock,
            stop: Arc::default(),
            running: Arc::default(),
        }
    }

    /// Ends the recording that runs, as if its time was over; tells whether one does.
    pub(crate) fn stop(&self) -> bool {
        self.stop.ask();
        self.running.try_lock().is_err()
    }

    /// The same, and waits until it has ended, at most so long. No other one begins.
    pub(crate) fn finish(&self, within: Duration) {
        self.stop.finish();
        let last = self.clock.monotonic() + within;
        while self.running.try_lock().is_err() && self.clock.monotonic() < last {
            thread::sleep(GLANCE);
        }
    }

    /// Records, until the time is over, the file is full, or somebody stops it.
    ///
    /// # Errors
    /// Another recording runs, or the file cannot be written; or the log cannot be read.
    pub(crate) fn record(&self, wanted: &Wanted) -> Result<Report> {
        let before = self.stop.asked();
        let Some(tap) = self.tap.open(WAITING) else {
            bail!("a recording runs already; `mainstem record --stop` ends it")
        };
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = Writer::create(&wanted.to).with_context(|| wanted.to.display().to_string())?;
        // Whatever comes from here on is tapped; all before it is in the log, or will be.
        let start = Start::read(&self.reader, &self.genesis, self.lane_blocks)?;
        file.start(&start)?;
        let head = start.head.map_or(Height(0), |head| head.height);
        let run = Run {
            recorder: self,
            before,
            wanted,
            tap,
            file,
            begun: self.clock.monotonic(),
            seen: head,
            durable: VecDeque::new(),
            tapped: HashMap::new(),
            report: Report {
                to: wanted.to.clone(),
                bytes: 0,
                ms: 0,
                frames: 0,
                main_blocks: 0,
                side_blocks: 0,
                ended: String::new(),
                whole: true,
            },
        };
        run.run().with_context(|| wanted.to.display().to_string())
    }
}

/// A recording that runs.
struct Run<'a, R> {
    recorder: &'a Recorder<R>,
    /// How often recordings had been asked to end when this one began.
    before: u64,
    wanted: &'a Wanted,
    tap: TapReader,
    file: Writer,
    begun: Duration,
    /// The newest main block that was seen.
    seen: Height,
    /// Main blocks that are to be written down, and when they were seen.
    durable: VecDeque<(Height, Duration)>,
    /// What was tapped and is not sealed yet: first height and count of each section, ascending.
    tapped: HashMap<ChainId, VecDeque<(u64, u64)>>,
    report: Report,
}

impl<R: BlockReader> Run<'_, R> {
    fn run(mut self) -> Result<Report> {
        let limit = Duration::from_millis(self.wanted.for_ms);
        // The rest is for the main blocks that are still to come.
        let full = self.wanted.max_bytes - self.wanted.max_bytes / 16;
        let ended = loop {
            let now = self.now();
            if self.recorder.stop.is_meant(self.before) {
                break "it was stopped".to_owned();
            }
            if now >= limit {
                break "its time was over".into();
            }
            if self.file.bytes >= full {
                self.report.whole = false;
                break format!("the file is full: {} bytes were allowed", self.wanted.max_bytes);
            }
            if self.tap.overflowed() {
                self.report.whole = false;
                break "frames came faster than they could be written, and ingest does not wait".into();
            }
            if let Some(tapped) = self.tap.next(GLANCE) {
                self.frame(tapped)?;
            }
            self.look();
            self.blocks(now.saturating_sub(GRACE))?;
        };
        self.tap.close();
        self.look();
        // What is on its way, and the main blocks that were made of it.
        let last = self.now() + GRACE;
        while self.now() < last {
            match self.tap.next(GLANCE) {
                Some(tapped) if !self.tap.overflowed() => self.frame(tapped)?,
                _ => {}
            }
        }
        self.blocks(Duration::MAX)?;
        let ms = self.now().as_millis() as u64;
        let bytes = self.file.end(self.recorder.clock.monotonic().saturating_sub(self.begun), &ended)?;
        Ok(Report { bytes, ms, ended, ..self.report })
    }

    fn now(&self) -> Duration {
        self.recorder.clock.monotonic().saturating_sub(self.begun)
    }

    fn frame(&mut self, tapped: Tapped) -> Result<()> {
        let Tapped { at, frame, left_out } = tapped;
        let mut buffer = FrameBuffer::with_capacity(frame.len());
        buffer.extend(&frame);
        let parsed = Frame::parse(buffer.as_bytes()).context("a frame that was taken in")?;
        for (index, section) in (0_u16..).zip(parsed.sections()) {
            if left_out.binary_search(&index).is_err() {
                let parts = self.tapped.entry(section.chain).or_default();
                parts.push_back((section.first.0, section.columns.len() as u64));
            }
        }
        self.file.frame(at.saturating_sub(self.begun), &left_out, &frame)?;
        self.report.frames += 1;
        Ok(())
    }

    /// Looks for new main blocks.
    fn look(&mut self) {
        let (head, now) = (self.recorder.reader.head(), self.now());
        while self.seen < head {
            self.seen = self.seen.next();
            self.durable.push_back((self.seen, now));
        }
    }

    /// Writes the main blocks down that were seen up to then.
    fn blocks(&mut self, until: Duration) -> Result<()> {
        while let Some(&(height, at)) = self.durable.front().filter(|(_, at)| *at <= until) {
            self.durable.pop_front();
            if self.file.bytes >= self.wanted.max_bytes {
                continue;
            }
            self.block(height, at)?;
        }
        Ok(())
    }

    fn block(&mut self, height: Height, at: Duration) -> Result<()> {
        let reader = &self.recorder.reader;
        let block = reader.block(height)?.with_context(|| format!("main block {height} was pruned"))?;
        let header = block.header();
        let mut backlog = Backlog::default();
        let mut shares = Vec::with_capacity(block.section_count());
        for section in (0..block.section_count()).map(|index| block.section(index)) {
            shares.push((section.chain, section.first_height, section.count));
            let columns = block.columns().slice(section.leaves().start, section.leaves().end);
            let known = self.tapped.entry(section.chain).or_default();
            for (from, to) in missing(known, section.first_height.0, section.last_height().0) {
                let offset = (from - section.first_height.0) as usize;
                let parent = if offset == 0 { section.parent } else { columns.hashes[offset - 1] };
                let part = columns.slice(offset, offset + (to + 1 - from) as usize);
                backlog.add(section.chain, from, parent, part);
            }
            self.report.side_blocks += u64::from(section.count);
        }
        block.intact()?;
        let operations = reader.operations()?;
        let first = operations.partition_point(|(of, _)| *of < header.height);
        let mine = operations[first..].iter().take_while(|(of, _)| *of == header.height);
        let operations = mine.map(|(_, operation)| operation.clone()).collect();
        for frame in backlog.frames() {
            self.file.backlog(at, frame.as_bytes())?;
        }
        let sealing = Sealing { height, time: header.time, hash: header.hash(), shares, operations };
        self.file.block(at, &sealing)?;
        self.report.main_blocks += 1;
        Ok(())
    }
}

/// Which of the heights `from` to `to` were not tapped. What was tapped up to `to` is forgotten.
fn missing(tapped: &mut VecDeque<(u64, u64)>, from: u64, to: u64) -> Vec<(u64, u64)> {
    // One speaker after the other: nearly sorted.
    tapped.make_contiguous().sort_unstable();
    let (mut next, mut gaps) = (from, Vec::new());
    while let Some(&(first, count)) = tapped.front().filter(|(first, _)| *first <= to) {
        let end = first + count;
        if first > next {
            gaps.push((next, first - 1));
        }
        next = next.max(end);
        if end > to + 1 {
            break;
        }
        tapped.pop_front();
    }
    if next <= to {
        gaps.push((next, to));
    }
    gaps
}

/// Frames of blocks from the log.
#[derive(Default)]
struct Backlog {
    done: Vec<FrameBuffer>,
    open: Option<FrameWriter>,
}

impl Backlog {
    fn add(&mut self, chain: ChainId, from: u64, mut parent: Hash, columns: engine::chain::ColumnsRef<'_>) {
        let mut at = 0;
        while at < columns.len() {
            let writer =
                self.open.take().unwrap_or_else(|| FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES));
            let room = writer.room(chain).min(columns.len() - at);
            if room == 0 {
                self.done.push(writer.finish());
                continue;
            }
            let mut writer = writer;
            writer.push(chain, Height(from + at as u64), parent, columns.slice(at, at + room));
            at += room;
            parent = columns.hashes[at - 1];
            self.open = Some(writer);
        }
    }

    fn frames(mut self) -> Vec<FrameBuffer> {
        self.done.extend(self.open.take().filter(|writer| !writer.is_empty()).map(FrameWriter::finish));
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_recording_that_has_begun_and_no_later_one_but_the_last_stop_ends_all() {
        let stop = Stop::default();
        let first = stop.asked();
        assert!(!stop.is_meant(first));
        stop.ask();
        let second = stop.asked();
        assert!(stop.is_meant(first), "also if it looks only after another one has begun");
        assert!(!stop.is_meant(second));
        stop.finish();
        assert!(stop.is_meant(second) && stop.is_meant(stop.asked()));
    }

    #[test]
    fn what_was_in_lanes_before_is_taken_from_the_log_and_nothing_twice() {
        let mut tapped = VecDeque::from([(11, 5), (16, 5), (21, 10)]);
        assert_eq!(missing(&mut tapped, 8, 17), [(8, 10)]);
        assert_eq!(missing(&mut tapped, 18, 25), []);
        assert_eq!(missing(&mut tapped, 26, 33), [(31, 33)]);
        assert_eq!(missing(&mut tapped, 34, 35), [(34, 35)]);
        let mut late = VecDeque::from([(5, 2), (1, 2)]);
        assert_eq!(missing(&mut late, 1, 6), [(3, 4)], "in whatever order, with a hole");
    }
}
