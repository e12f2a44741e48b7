//! `GET /v1/stats`: how the node is doing now, for dashboards and `mainstem top`.
//!
//! One thread looks once a second and keeps what percentiles, rates and the picture of the last five minutes need, so that
//! it costs the same however many ask.
//!
//! # Capacity
//! 300 entries of 40 bytes; 60 seconds of differences of histograms, each as long as values differed in that second.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::cache::Cache;
use engine::chain::{BlockView, Timestamp};
use engine::pipeline::StageNow;
use engine::store::BlockReader;
use hdrhistogram::Histogram;
use net::server::{Load, PeerList};

use crate::clock::unix_millis;
use crate::node::EngineSlot;
use crate::proc;

use super::params;
use super::problem::Problem;
use super::routes::{Answer, Node};

/// How often it is looked.
const PACE: Duration = Duration::from_secs(1);

/// How much of the past is kept.
const HISTORY: usize = 300;

/// Seconds of which percentiles are told.
const PERCENTILES: usize = 60;

/// Seconds over which rates and shares are told.
const RATES: usize = 10;

/// For so long an answer is given again.
const KEPT: Duration = Duration::from_millis(200);

/// For so long streams are told the same. Less than their pace, so that none is told the same twice.
const TOLD: Duration = Duration::from_millis(900);

/// How often the files of the log are counted, in looks.
const COUNT_FILES: u64 = 10;

/// Where the figures come from.
pub(crate) struct Sources {
    /// The stages.
    pub engine: EngineSlot,
    /// How busy ingest is.
    pub ingest: Load,
    /// The lanes.
    pub cache: Cache,
    /// Who is connected.
    pub peers: PeerList,
    /// The newest durable main block.
    pub head: Box<dyn Fn() -> Option<rest::Head> + Send + Sync>,
    /// How many chains are in each state.
    pub chains: Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>,
    /// Durable side blocks of all chains when the node started.
    pub side_blocks: u64,
    /// The folder of the log.
    pub log: PathBuf,
    /// When the node started.
    pub started: Instant,
}

/// Looks once a second, for as long as someone holds it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sampler(Arc<Inner>);

struct Inner {
    sources: Sources,
    past: Mutex<Past>,
    answer: Mutex<Option<(Instant, Bytes)>>,
    event: Mutex<Option<(Instant, Arc<str>)>>,
}

/// What earlier looks saw.
#[derive(Default)]
struct Past {
    looks: u64,
    /// The newest [`RATES`] + 1 looks.
    seen: VecDeque<Seen>,
    /// All values up to the newest look.
    values: Option<[Histogram<u64>; KINDS]>,
    /// What was added in each of the newest [`PERCENTILES`] seconds.
    added: VecDeque<[Vec<(u64, u64)>; KINDS]>,
    /// Of those seconds together.
    percentiles: [Option<rest::Latency>; KINDS],
    history: VecDeque<rest::Sample>,
    disk: Option<DiskNow>,
    used: u64,
    /// Since when nothing has become durable although something waits.
    stuck: Option<Instant>,
}

/// Received to durable, and turns of seal, append and sync.
const KINDS: usize = 4;

struct Seen {
    at: Instant,
    side_blocks: u64,
    main_blocks: u64,
    bytes: u64,
    busy: Vec<Duration>,
}

/// The file system of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit")]
pub(crate) struct DiskNow {
    /// What the files of the log take.
    pub used_bytes: u64,
    /// What is free for this process.
    pub free_bytes: u64,
    /// All there is.
    pub size_bytes: u64,
}

impl Sampler {
    /// Begins to look. The thread ends soon after the last clone is gone.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(sources: Sources) -> io::Result<Self> {
        let past = Past { used: used_bytes(&sources.log), ..Past::default() };
        let inner =
            Inner { sources, past: Mutex::new(past), answer: Mutex::default(), event: Mutex::default() };
        let sampler = Self(Arc::new(inner));
        sampler.0.look();
        let inner = Arc::downgrade(&sampler.0);
        thread::Builder::new().name("stats".into()).spawn(move || look_on(&inner))?;
        Ok(sampler)
    }

    /// What `GET /v1/stats` says without its history, as the text of an event. Made about once a second, however many
    /// streams there are.
    pub(crate) fn event(&self, render: impl FnOnce(&rest::Stats) -> String) -> Arc<str> {
        let mut newest = self.0.event.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((at, text)) if at.elapsed() < TOLD => Arc::clone(text),
            _ => {
                let text: Arc<str> = render(&self.0.stats(false)).into();
                *newest = Some((Instant::now(), Arc::clone(&text)));
                text
            }
        }
    }

    /// The file system of the log, as it was seen last.
    pub(crate) fn disk(&self) -> Option<DiskNow> {
        self.0.past().disk
    }

    /// For how long nothing has become durable although blocks wait for a stage.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        self.0.past().stuck.map(|since| since.elapsed())
    }

    fn answer(&self) -> Answer<Bytes> {
        let mut newest = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((at, bytes)) if at.elapsed() < KEPT => Ok(bytes.clone()),
            _ => {
                let bytes = serde_json::to_vec(&self.0.stats(true)).map_err(Problem::internal)?;
                let bytes = Bytes::from(bytes);
                *newest = Some((Instant::now(), bytes.clone()));
                Ok(bytes)
            }
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

fn look_on(inner: &Weak<Inner>) {
    let mut next = Instant::now() + PACE;
    loop {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let Some(inner) = inner.upgrade() else { return };
        inner.look();
        // A machine that slept does not make up for it.
        next = (next + PACE).max(Instant::now());
    }
}

impl Inner {
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let Sources { engine, ingest, peers, log, .. } = &self.sources;
        let durable = engine.durable().unwrap_or_default();
        let stages = engine.stages(ingest).unwrap_or_default();
        let values = engine.stats().map(|stats| [stats.durable, stats.seal, stats.append, stats.sync]);
        let seen = Seen {
            at: Instant::now(),
            side_blocks: durable.side_blocks,
            main_blocks: durable.main_blocks,
            bytes: peers.counters().bytes,
            busy: stages.iter().map(|stage| stage.busy).collect(),
        };
        let waiting = waiting(&self.sources.cache);
        let queued = stages.iter().skip(1).any(|stage| stage.queue > 0);
        let count = self.past().looks.is_multiple_of(COUNT_FILES);
        let used = count.then(|| used_bytes(log));
        let space = space(log);

        let mut past = self.past();
        past.looks += 1;
        past.used = used.unwrap_or(past.used);
        past.disk =
            space.map(|(free_bytes, size_bytes)| DiskNow { used_bytes: past.used, free_bytes, size_bytes });
        past.look(seen, values, waiting, queued);
    }

    fn stats(&self, history: bool) -> rest::Stats {
        let Sources { engine, ingest, peers, head, chains, side_blocks, started, .. } = &self.sources;
        let now = engine.stages(ingest).unwrap_or_default();
        let durable = engine.durable().unwrap_or_default();
        let past = self.past();
        let [latency, turns @ ..] = past.percentiles;
        let busy = past.busy();
        let stage = |(index, now): (usize, StageNow)| {
            // Ingest comes first, and has no turns.
            let turns = index.checked_sub(1).and_then(|index| *turns.get(index)?);
            rest::Stage {
                name: now.name.to_owned(),
                threads: now.threads as u64,
                busy: busy.get(index).map_or(0.0, |busy| busy / now.threads.max(1) as f64).clamp(0.0, 1.0),
                queue: now.queue,
                capacity: now.capacity,
                unit: now.unit.to_owned(),
                p50_ms: turns.map(|turns| turns.p50_ms),
                p99_ms: turns.map(|turns| turns.p99_ms),
            }
        };
        rest::Stats {
            time: Timestamp::from_millis(unix_millis()),
            uptime_ms: started.elapsed().as_millis() as u64,
            head: head(),
            side_blocks: side_blocks + durable.side_blocks,
            rate: past.rates(),
            latency,
            stages: now.into_iter().enumerate().map(stage).collect(),
            chains: chains(),
            sessions: peers.counters().sessions,
            memory_bytes: proc::resident_bytes().unwrap_or(0),
            disk: past.disk.map_or(rest::Disk { used_bytes: 0, free_bytes: 0 }, |disk| rest::Disk {
                used_bytes: disk.used_bytes,
                free_bytes: disk.free_bytes,
            }),
            history: if history { past.history.iter().copied().collect() } else { Vec::new() },
        }
    }
}

impl Past {
    fn look(&mut self, seen: Seen, values: Option<[Histogram<u64>; KINDS]>, waiting: u64, queued: bool) {
        let second = values.and_then(|values| self.added(values));
        let before = self.seen.back().map_or((0, 0), |seen| (seen.side_blocks, seen.main_blocks));
        let (side_blocks, main_blocks) =
            (seen.side_blocks.saturating_sub(before.0), seen.main_blocks.saturating_sub(before.1));
        if self.looks > 1 {
            self.history.push_back(rest::Sample {
                time: Timestamp::from_millis(unix_millis()),
                side_blocks,
                main_blocks,
                p99_ms: second.map(|latency| latency.p99_ms),
                waiting,
            });
        }
        keep(&mut self.history, HISTORY);
        self.stuck = match self.stuck {
            _ if main_blocks > 0 || !queued => None,
            None => Some(seen.at),
            since => since,
        };
        self.seen.push_back(seen);
        keep(&mut self.seen, RATES + 1);
    }

    /// Takes the newest values in; gives what the first of them says of this second alone.
    fn added(&mut self, values: [Histogram<u64>; KINDS]) -> Option<rest::Latency> {
        let Some(before) = self.values.take() else {
            // What there is at the first look was not made in this second.
            self.values = Some(values);
            return None;
        };
        let mut added = [const { Vec::new() }; KINDS];
        for ((added, now), before) in added.iter_mut().zip(&values).zip(&before) {
            if now.len() > before.len() {
                let more = |step: hdrhistogram::iterators::IterationValue<u64>| {
                    let value = step.value_iterated_to();
                    let more = step.count_at_value().saturating_sub(before.count_at(value));
                    (more > 0).then_some((value, more))
                };
                added.extend(now.iter_recorded().filter_map(more));
            }
        }
        let second = latency([&added[0]].into_iter());
        self.values = Some(values);
        self.added.push_back(added);
        keep(&mut self.added, PERCENTILES);
        self.percentiles = std::array::from_fn(|kind| latency(self.added.iter().map(|second| &second[kind])));
        second
    }

    /// How much it was a second, over the newest looks.
    fn rates(&self) -> rest::Rates {
        let Some((first, last, seconds)) = self.span() else {
            return rest::Rates { side_blocks: 0.0, main_blocks: 0.0, bytes: 0.0 };
        };
        let rate = |value: fn(&Seen) -> u64| value(last).saturating_sub(value(first)) as f64 / seconds;
        rest::Rates {
            side_blocks: rate(|seen| seen.side_blocks),
            main_blocks: rate(|seen| seen.main_blocks),
            bytes: rate(|seen| seen.bytes),
        }
    }

    /// Which share of that time the threads of each stage worked, in threads.
    fn busy(&self) -> Vec<f64> {
        let Some((first, last, seconds)) = self.span() else { return Vec::new() };
        let share =
            |(before, now): (&Duration, &Duration)| now.saturating_sub(*before).as_secs_f64() / seconds;
        first.busy.iter().zip(&last.busy).map(share).collect()
    }

    fn span(&self) -> Option<(&Seen, &Seen, f64)> {
        let (first, last) = (self.seen.front()?, self.seen.back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then_some((first, last, seconds))
    }
}

fn keep<T>(values: &mut VecDeque<T>, most: usize) {
    while values.len() > most {
        values.pop_front();
    }
}

/// Quantiles of values in microseconds with how many there are of each; `None` if there are none.
fn latency<'a>(seconds: impl Iterator<Item = &'a Vec<(u64, u64)>>) -> Option<rest::Latency> {
    let mut counts: Vec<(u64, u64)> = seconds.flatten().copied().collect();
    counts.sort_unstable_by_key(|(value, _)| *value);
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        #[expect(clippy::cast_sign_loss, reason = "a share of a count is not negative")]
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = |(value, count): &&(u64, u64)| {
            let _ = value;
            seen += *count;
            seen >= wanted
        };
        counts.iter().find(reached).map(|(value, _)| *value as f64 / 1e3)
    };
    let max_ms = counts.last()?.0 as f64 / 1e3;
    Some(rest::Latency { p50_ms: at(0.5)?, p99_ms: at(0.99)?, p999_ms: at(0.999)?, max_ms })
}

/// Side blocks that were received and are not durable.
fn waiting(cache: &Cache) -> u64 {
    let of = |lane: &Arc<engine::lane::Lane>| {
        let cursors = lane.cursors();
        cursors.received.saturating_sub(cursors.indexed)
    };
    cache.lanes().iter().map(of).sum()
}

/// What is free for this process, and all there is; nothing where the system does not tell.
fn space(dir: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// What the files of the log take on the disk.
fn used_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

/// The newest durable main block of a log; `None` before the first, and when it cannot be read.
pub(crate) fn head<R: BlockReader>(reader: &R) -> Option<rest::Head> {
    let block = reader.block(reader.head()).ok()??;
    let header = block.header();
    block.intact().ok()?;
    Some(rest::Head { height: header.height, hash: header.hash(), time: header.time })
}

/// `GET /v1/stats`
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/stats", get(stats::<R>))
}

async fn stats<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Response> {
    params::query(&uri, &[])?;
    let bytes = node.stats.answer()?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        for (value, count) in values {
            histogram.record_n(*value, *count).unwrap();
        }
        histogram
    }

    fn seen(at: Instant, side_blocks: u64) -> Seen {
        let busy = vec![Duration::from_millis(side_blocks)];
        Seen { at, side_blocks, main_blocks: side_blocks / 10, bytes: 100 * side_blocks, busy }
    }

    #[test]
    fn percentiles_are_those_of_the_last_minute_alone() {
        let mut past = Past::default();
        let mut look = |values: &[(u64, u64)]| {
            let of = || histogram(values);
            past.added([of(), of(), of(), of()]);
            past.percentiles[0].map(|latency| (latency.p50_ms, latency.p99_ms, latency.max_ms))
        };
        // What there was before the first look is not of the last minute.
        assert_eq!(look(&[(50_000, 1_000)]), None);
        let found = look(&[(50_000, 1_000), (1_000, 98), (2_000, 2)]).unwrap();
        assert_eq!((found.0, found.1, found.2), (1.0, 2.0, 2.0));
        for _ in 1..PERCENTILES {
            assert!(look(&[(50_000, 1_000), (1_000, 98), (2_000, 2)]).is_some());
        }
        assert_eq!(look(&[(50_000, 1_000), (1_000, 98), (2_000, 2)]), None);
    }

    #[test]
    fn rates_and_shares_are_those_of_the_last_ten_looks() {
        let (mut past, start) = (Past::default(), Instant::now());
        for second in 0..30 {
            past.looks += 1;
            // Nothing at first, then 500 a second.
            past.look(
                seen(start + Duration::from_secs(second), 500 * second.saturating_sub(15)),
                None,
                0,
                false,
            );
        }
        let rates = past.rates();
        assert!((rates.side_blocks - 500.0).abs() < 1e-6 && (rates.main_blocks - 50.0).abs() < 1e-6);
        assert!((past.busy()[0] - 0.5).abs() < 1e-6, "{:?}", past.busy());
        assert_eq!(past.history.len(), 29);
        assert_eq!(past.history.iter().map(|second| second.side_blocks).sum::<u64>(), 7_000);
    }

    #[test]
    fn it_is_stuck_when_something_waits_and_nothing_becomes_durable() {
        let (mut past, start) = (Past::default(), Instant::now());
        let mut look = |second, blocks, queued| {
            past.look(seen(start + Duration::from_secs(second), blocks), None, 0, queued);
            past.stuck.map(|since| since.duration_since(start).as_secs())
        };
        assert_eq!((look(0, 10, false), look(1, 20, true), look(2, 20, true)), (None, None, Some(2)));
        assert_eq!((look(3, 20, true), look(4, 30, true), look(5, 30, false)), (Some(2), None, None));
    }
}
