//! The meter: looks at the node while it runs, tick by tick, and keeps what was seen.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use engine::pipeline::{StageNow, Stats};
use hdrhistogram::Histogram;

use crate::alloc;
use crate::node::Node;
use crate::proc;
use crate::signals::Signals;

use super::bed::Bed;
use super::cpu::Cpu;
use super::limits::BLOCK_BYTES;
use super::load::Lateness;
use super::outcome::{Allocations, MAX_TICKS, Stage, ThreadAllocations, Tick, over};

/// Looks at a bed.
pub(super) struct Meter<'a> {
    bed: &'a Bed,
    /// When measuring began.
    zero: Instant,
    /// How much time a tick stands for. Doubles when there are too many.
    every: Duration,
    last: Point,
    ticks: Vec<(Instant, Tick)>,
    /// The most that was seen waiting for each stage, of what may wait: 0 to 1.
    most: Vec<f64>,
    /// Whether the load was let begin.
    begun: bool,
}

/// The node at one moment.
struct Point {
    at: Instant,
    side_blocks: u64,
    durable: Histogram<u64>,
    stages: Vec<StageNow>,
}

/// Everything that adds up, at one moment.
struct Totals {
    at: Instant,
    stats: Stats,
    stages: Vec<StageNow>,
    cpu: Cpu,
    load: Cpu,
    allocations: BTreeMap<String, u64>,
}

/// What was measured, from the end of the warm-up on.
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    pub(super) side_blocks: u64,
    pub(super) main_blocks: u64,
    pub(super) durable: Histogram<u64>,
    pub(super) seal: Histogram<u64>,
    /// One value a sync.
    pub(super) sync: Histogram<u64>,
    /// Processor time of the node by group of threads, and of the load, in nanoseconds.
    pub(super) cpu: BTreeMap<&'static str, u64>,
    pub(super) load_cpu: u64,
    pub(super) lateness: Lateness,
    pub(super) stages: Vec<Stage>,
    /// The warm-up included.
    pub(super) timeline: Vec<Tick>,
    pub(super) allocations: Allocations,
}

/// When a part of a run is over.
#[derive(Clone, Copy)]
pub(super) enum End {
    At(Instant),
    /// When so many blocks are durable.
    Blocks(u64),
}

impl End {
    /// The same, later by so long.
    fn later(self, by: Duration) -> Self {
        match self {
            Self::At(end) => Self::At(end + by),
            Self::Blocks(_) => self,
        }
    }

    fn is_reached(self, node: &Node) -> bool {
        match self {
            Self::At(end) => Instant::now() >= end,
            // The node began with none.
            Self::Blocks(all) => node.durable().side_blocks >= all,
        }
    }
}

/// How often queues are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How much time a tick stands for at first.
const TICK: Duration = Duration::from_millis(100);

impl<'a> Meter<'a> {
    pub(super) fn new(bed: &'a Bed) -> Self {
        let (now, last) = (Instant::now(), Point::of(bed.node()));
        let most = vec![0.0; last.stages.len()];
        Self { bed, zero: now, every: TICK, last, ticks: Vec::new(), most, begun: false }
    }

    /// Looks on until the end, or until something fails. `show` is told of each tick.
    fn run(&mut self, signals: &Signals, end: End, mut show: impl FnMut(u64)) -> Result<()> {
        let (mut over, mut queues) = (false, vec![(0, 0.0); self.last.stages.len()]);
        while !over {
            self.bed.wait(signals, LOOK)?;
            over = end.is_reached(self.bed.node());
            let stages = self.bed.node().stages();
            for (((times, sum), most), stage) in queues.iter_mut().zip(&mut self.most).zip(&stages) {
                let filled = fill(stage);
                *times += 1;
                *sum += filled;
                *most = most.max(filled);
            }
            if over || self.last.at.elapsed() >= self.every {
                let queue = queues
                    .iter_mut()
                    .map(|(times, sum)| std::mem::take(sum) / f64::from(std::mem::take(times)));
                let queue: Vec<f64> = queue.collect();
                self.tick(&queue);
                show(self.last.side_blocks);
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) { Ok(()) } else { self.bed.load().begin() }
    }

    /// Lets the load begin, and the node run before anything counts.
    pub(super) fn warm_up(&mut self, signals: &Signals, time: Duration, show: impl FnMut(u64)) -> Result<()> {
        self.begin()?;
        let end = Instant::now() + time;
        if time.is_zero() {
            return Ok(());
        }
        self.run(signals, End::At(end), show)
    }

    /// Measures until the end; the load begins now if it has not before.
    pub(super) fn measure(mut self, signals: &Signals, end: End, show: impl FnMut(u64)) -> Result<Measured> {
        let called = Instant::now();
        // What was late until now is not measured.
        self.bed.load().mark()?;
        let before = Totals::of(self.bed);
        // A look takes a while on a busy machine.
        let end = end.later(before.at.saturating_duration_since(called));
        self.zero = before.at;
        // Nor is what waited during the warm-up.
        self.most.fill(0.0);
        self.begin()?;
        self.run(signals, end, show)?;
        let after = Totals::of(self.bed);
        let lateness = self.bed.load().mark()?;
        let zero = self.zero;
        let timeline = self.ticks.into_iter().map(|(end, tick)| Tick { at: seconds(zero, end), ..tick });
        Ok(Measured::new(&before, &after, lateness, timeline.collect(), &self.most))
    }

    fn tick(&mut self, queues: &[f64]) {
        let now = Point::of(self.bed.node());
        let time = now.at.duration_since(self.last.at);
        let durable = since(&now.durable, &self.last.durable);
        let quantile = |quantile: f64| (!durable.is_empty()).then(|| millis(&durable, quantile));
        let stages = || now.stages.iter().zip(&self.last.stages);
        let tick = Tick {
            at: 0.0,
            blocks_per_second: over((now.side_blocks - self.last.side_blocks) as f64, time.as_secs_f64()),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            utilisation: stages()
                .map(|(now, last)| (now.name.into(), utilisation(now, last, time)))
                .collect(),
            queue: now.stages.iter().zip(queues).map(|(stage, queue)| (stage.name.into(), *queue)).collect(),
            memory_bytes: proc::resident_bytes().unwrap_or(0),
        };
        self.ticks.push((now.at, tick));
        self.last = now;
        if self.ticks.len() > MAX_TICKS {
            self.ticks = halved(std::mem::take(&mut self.ticks), self.zero);
            self.every *= 2;
        }
    }
}

impl Point {
    fn of(node: &Node) -> Self {
        let Stats { side_blocks, durable, .. } = node.stats();
        Self { at: Instant::now(), side_blocks, durable, stages: node.stages() }
    }
}

impl Totals {
    fn of(bed: &Bed) -> Self {
        let allocations = alloc::counts().into_iter().fold(BTreeMap::new(), |mut sum, thread| {
            *sum.entry(thread.name).or_default() += thread.allocations;
            sum
        });
        Self {
            stages: bed.node().stages(),
            stats: bed.node().stats(),
            cpu: Cpu::of_self(),
            load: Cpu::of_process(bed.load().id()),
            allocations,
            at: Instant::now(),
        }
    }
}

impl Measured {
    /// `most` is what waited for each stage at most, of what may wait.
    fn new(before: &Totals, after: &Totals, lateness: Lateness, timeline: Vec<Tick>, most: &[f64]) -> Self {
        let (elapsed, stats) = (after.at.duration_since(before.at), &after.stats);
        let (seal, append, sync) = (
            since(&stats.seal, &before.stats.seal),
            since(&stats.append, &before.stats.append),
            since(&stats.sync, &before.stats.sync),
        );
        let groups = ["ingest", "seal", "hash", "persist", "other"];
        let cpu = |name| after.cpu.since(&before.cpu, |thread| super::cpu::group(thread) == name);
        let stages = after.stages.iter().zip(&before.stages).zip(most).map(|((now, last), most)| {
            let took = match now.name {
                "seal" => Some(&seal),
                "append" => Some(&append),
                "sync" => Some(&sync),
                _ => None,
            };
            let queues =
                || timeline.iter().filter(|tick| tick.at > 0.0).filter_map(|tick| tick.queue.get(now.name));
            let (count, capacity) = (queues().count() as f64, now.capacity as f64);
            Stage {
                name: now.name.into(),
                threads: now.threads,
                utilisation: utilisation(now, last, elapsed),
                queue_mean: over(queues().sum(), count) * capacity,
                queue_max: most * capacity,
                capacity,
                unit: now.unit.into(),
                p50_ms: took.map(|took| millis(took, 0.5)),
                p99_ms: took.map(|took| millis(took, 0.99)),
            }
        });
        let main_blocks = stats.main_blocks - before.stats.main_blocks;
        let side_blocks = stats.side_blocks - before.stats.side_blocks;
        Self {
            elapsed,
            side_blocks,
            main_blocks,
            durable: since(&stats.durable, &before.stats.durable),
            cpu: groups.map(|name| (name, cpu(name))).into(),
            load_cpu: after.load.all_since(&before.load),
            lateness,
            stages: stages.collect(),
            allocations: allocations(&before.allocations, &after.allocations, side_blocks, main_blocks),
            seal,
            sync,
            timeline,
        }
    }

    /// Bytes of side blocks that a sync made durable, on average: those of one if there was none.
    pub(super) fn sync_bytes(&self) -> u64 {
        (self.side_blocks * BLOCK_BYTES).checked_div(self.sync.len()).unwrap_or(0).max(BLOCK_BYTES)
    }
}

/// What the node allocated, without the thread that measures.
fn allocations(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    side_blocks: u64,
    main_blocks: u64,
) -> Allocations {
    let by_thread: Vec<_> = after
        .iter()
        .filter(|(name, _)| Some(name.as_str()) != own_name().as_deref())
        .map(|(name, now)| {
            let count = now.saturating_sub(before.get(name).copied().unwrap_or(0));
            let per_main_block = over(count as f64, main_blocks as f64);
            ThreadAllocations { name: name.clone(), count, per_main_block }
        })
        .collect();
    let count: u64 = by_thread.iter().map(|thread| thread.count).sum();
    Allocations { per_side_block: over(count as f64, side_blocks as f64), by_thread }
}

fn own_name() -> Option<String> {
    let name = fs::read_to_string("/proc/thread-self/comm").ok()?;
    Some(name.trim_end().to_owned())
}

/// Half as many ticks, each of two. The mean of what is a rate or a share, the worst of what is a quantile.
fn halved(ticks: Vec<(Instant, Tick)>, zero: Instant) -> Vec<(Instant, Tick)> {
    let mut halved: Vec<(Instant, Tick)> = Vec::with_capacity(MAX_TICKS);
    let mut open = false;
    for (end, tick) in ticks {
        match halved.last_mut() {
            // Never across the end of the warm-up.
            Some((last_end, last)) if open && (*last_end <= zero) == (end <= zero) => {
                *last_end = end;
                let mean = |a: f64, b: f64| f64::midpoint(a, b);
                let worst = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(b.map_or(a, |b| a.max(b))));
                last.blocks_per_second = mean(last.blocks_per_second, tick.blocks_per_second);
                last.p50_ms = worst(last.p50_ms, tick.p50_ms);
                last.p99_ms = worst(last.p99_ms, tick.p99_ms);
                for (values, more) in
                    [(&mut last.utilisation, &tick.utilisation), (&mut last.queue, &tick.queue)]
                {
                    for (name, value) in values {
                        *value = mean(*value, more.get(name).copied().unwrap_or(0.0));
                    }
                }
                last.memory_bytes = last.memory_bytes.max(tick.memory_bytes);
                open = false;
            }
            _ => {
                halved.push((end, tick));
                open = true;
            }
        }
    }
    halved
}

fn utilisation(now: &StageNow, last: &StageNow, time: Duration) -> f64 {
    let busy = now.busy.saturating_sub(last.busy).as_secs_f64();
    // What is asked at two moments does not fit to the last digit.
    over(busy, time.as_secs_f64() * now.threads as f64).min(1.0)
}

fn fill(stage: &StageNow) -> f64 {
    over(stage.queue as f64, stage.capacity as f64).min(1.0)
}

/// Seconds from `zero` to `at`.
fn seconds(zero: Instant, at: Instant) -> f64 {
    let before = zero.saturating_duration_since(at).as_secs_f64();
    if before > 0.0 { -before } else { at.duration_since(zero).as_secs_f64() }
}

/// What was recorded after `before` was taken.
fn since(after: &Histogram<u64>, before: &Histogram<u64>) -> Histogram<u64> {
    let mut recorded = after.clone();
    recorded.subtract(before).expect("an earlier state of the same histogram");
    recorded
}

/// A quantile of microseconds, in milliseconds.
pub(super) fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(rate: f64, p99_ms: Option<f64>) -> Tick {
        Tick {
            at: 0.0,
            blocks_per_second: rate,
            p50_ms: None,
            p99_ms,
            utilisation: [("seal".to_owned(), rate / 10.0)].into(),
            queue: BTreeMap::new(),
            memory_bytes: super::super::shape::whole(rate),
        }
    }

    #[test]
    fn two_ticks_become_one_but_not_across_the_end_of_the_warm_up() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let ticks = vec![
            (at(1), tick(9.0, None)),
            (at(2), tick(2.0, Some(5.0))),
            (at(3), tick(4.0, Some(1.0))),
            (at(4), tick(6.0, None)),
        ];
        let halved = halved(ticks, at(1));
        let seen: Vec<_> =
            halved.iter().map(|(end, tick)| (*end, tick.blocks_per_second, tick.p99_ms)).collect();
        assert_eq!(seen, [(at(1), 9.0, None), (at(3), 3.0, Some(5.0)), (at(4), 6.0, None)]);
        assert!((halved[1].1.utilisation["seal"] - 0.3).abs() < 1e-9);
        assert_eq!(halved[1].1.memory_bytes, 4);
    }

    #[test]
    fn ticks_before_measuring_are_at_negative_times() {
        let start = Instant::now();
        let zero = start + Duration::from_secs(2);
        assert!((seconds(zero, start) + 2.0).abs() < 1e-9);
        assert!((seconds(zero, zero + Duration::from_secs(3)) - 3.0).abs() < 1e-9);
    }
}
