//! The figures that are compared, and which way each is better.

use super::{Group, Row, Verdict, relative_error};
use crate::command::bench::format::{bytes, count, percent, time};
use crate::command::bench::outcome::{Limit, Outcome, Tick, over};

/// Which way a figure is better.
#[derive(Clone, Copy)]
enum Good {
    More,
    Less,
    Neither,
}

/// Below this part of a figure a change is none.
const SAME: f64 = 0.005;

/// A figure without values over time has to change by this part of it, and by what throughput's spread explains, to be
/// called better or worse.
const UNKNOWN_SPREAD: f64 = 0.02;

/// Standard errors that two means have to be apart. At two, one comparison in twenty of equal runs is called a change.
const ERRORS: f64 = 2.0;

/// All of them; the first row is the main one.
pub(super) fn groups(a: &Outcome, b: &Outcome) -> Vec<Group> {
    let two = Two { a, b };
    let mut groups = vec![
        Group { title: "throughput", rows: throughput(&two) },
        Group { title: "latency", rows: latency(&two) },
        Group { title: "stages: busy", rows: stages(&two) },
        Group { title: "stages: queue, filled on average", rows: queues(&two) },
        Group { title: "processor time of a side block", rows: processor_time(&two) },
        Group { title: "limits of the machine", rows: limits(&two) },
        Group { title: "memory", rows: memory(&two) },
    ];
    groups.retain(|group| !group.rows.is_empty());
    groups
}

struct Two<'a> {
    a: &'a Outcome,
    b: &'a Outcome,
}

impl Two<'_> {
    /// Whether both runs have measured the limits of their machines.
    fn have_limits(&self) -> bool {
        self.a.has_limits() && self.b.has_limits()
    }

    /// A row of a figure, whose values over time are what `tick` gives.
    fn row(
        &self,
        name: impl Into<String>,
        good: Good,
        show: impl Fn(f64) -> String,
        figure: impl Fn(&Outcome) -> f64,
        tick: impl Fn(&Tick) -> Option<f64>,
    ) -> Row {
        let (a, b) = (figure(self.a), figure(self.b));
        let spread = |tick: &dyn Fn(&Tick) -> Option<f64>| {
            let (of_a, of_b) = (relative_error(self.a, tick)?, relative_error(self.b, tick)?);
            Some(ERRORS * (of_a * a).hypot(of_b * b))
        };
        let noise = spread(&tick).unwrap_or_else(|| {
            let rate = spread(&|tick| Some(tick.blocks_per_second)).unwrap_or(0.0);
            rate.max(UNKNOWN_SPREAD * a.max(b))
        });
        Row {
            name: name.into(),
            a: show(a),
            b: show(b),
            change: change(a, b),
            verdict: judge(a, b, good, noise),
            headline: false,
        }
    }

    /// A row of a figure of the whole run.
    fn plain(
        &self,
        name: impl Into<String>,
        good: Good,
        show: impl Fn(f64) -> String,
        figure: impl Fn(&Outcome) -> f64,
    ) -> Row {
        self.row(name, good, show, figure, |_| None)
    }
}

/// What a change of a figure means, if one below `noise` means nothing.
fn judge(a: f64, b: f64, good: Good, noise: f64) -> Verdict {
    let difference = (b - a).abs();
    match good {
        Good::Neither => Verdict::Neutral,
        _ if over(difference, a.max(b)) < SAME => Verdict::Same,
        _ if difference < noise => Verdict::Noise,
        Good::More if b > a => Verdict::Better,
        Good::Less if b < a => Verdict::Better,
        _ => Verdict::Worse,
    }
}

/// How much more B is than A, in per cent.
fn change(a: f64, b: f64) -> String {
    if a <= 0.0 {
        return if b > 0.0 { "from 0" } else { "0 %" }.to_owned();
    }
    let percent = 100.0 * (b - a) / a;
    match percent.abs() {
        change if change < 0.05 => "0 %".to_owned(),
        change if change < 9.95 => format!("{percent:+.1} %"),
        change if change < 1000.0 => format!("{percent:+.0} %"),
        _ => format!("x {}", count(b / a)),
    }
}

fn throughput(two: &Two<'_>) -> Vec<Row> {
    let rate = |tick: &Tick| Some(tick.blocks_per_second);
    let main = two.row("durable side blocks a second", Good::More, count, |run| run.blocks_per_second, rate);
    let mut rows = vec![Row { headline: true, ..main }];
    if two.have_limits() {
        let part = two.row("part of the roofline", Good::More, percent, |run| run.ratio, rate);
        rows.push(Row { headline: true, ..part });
    }
    rows.extend([
        two.plain("main blocks a second", Good::Neither, count, |run| {
            over(run.main_blocks as f64, run.seconds)
        }),
        two.plain("side blocks in a main block", Good::Neither, count, Outcome::side_blocks_in_main_block),
    ]);
    rows
}

fn latency(two: &Two<'_>) -> Vec<Row> {
    let show = |ms: f64| format!("{} ms", time(ms));
    let mut rows = vec![
        Row {
            headline: true,
            ..two.row(
                "received to durable, p50",
                Good::Less,
                show,
                |run| run.durable_p50_ms,
                |tick| tick.p50_ms,
            )
        },
        Row {
            headline: true,
            ..two.row(
                "received to durable, p99",
                Good::Less,
                show,
                |run| run.durable_p99_ms,
                |tick| tick.p99_ms,
            )
        },
    ];
    for quantile in [99.9, 99.99] {
        let of = |run: &Outcome| {
            let found = run.latency.iter().find(|entry| (entry.quantile - quantile).abs() < 1e-9);
            found.map(|entry| entry.ms)
        };
        if of(two.a).is_some() && of(two.b).is_some() {
            let name = format!("received to durable, p{quantile}");
            rows.push(two.plain(name, Good::Less, show, |run| of(run).unwrap_or(0.0)));
        }
    }
    rows.extend([
        two.plain("sealing a main block, p50", Good::Less, show, |run| run.seal_p50_ms),
        two.plain("sealing a main block, p99", Good::Less, show, |run| run.seal_p99_ms),
        two.plain("syncing, p50", Good::Less, show, |run| run.sync_p50_ms),
        two.plain("syncing, p99", Good::Less, show, |run| run.sync_p99_ms),
    ]);
    if two.have_limits() {
        rows.extend([
            two.plain("syncing, the disk alone, p50", Good::Neither, show, |run| run.disk_sync_p50_ms),
            two.plain("syncing, the disk alone, p99", Good::Neither, show, |run| run.disk_sync_p99_ms),
        ]);
    }
    rows
}

/// How busy the stages are, side by side: neither way is better, as a faster run is a busier one.
fn stages(two: &Two<'_>) -> Vec<Row> {
    let busy = |run: &Outcome, name: &str| {
        run.stages.iter().find(|stage| stage.name == name).map_or(0.0, |stage| stage.utilisation)
    };
    names(two).map(|name| two.plain(name, Good::Neither, percent, |run| busy(run, name))).collect()
}

fn queues(two: &Two<'_>) -> Vec<Row> {
    let filled = |run: &Outcome, name: &str| {
        let stage = run.stages.iter().find(|stage| stage.name == name);
        stage.map_or(0.0, |stage| over(stage.queue_mean, stage.capacity))
    };
    names(two).map(|name| two.plain(name, Good::Neither, percent, |run| filled(run, name))).collect()
}

/// The stages of A, and those that only B has.
fn names<'a>(two: &'a Two<'_>) -> impl Iterator<Item = &'a str> {
    let only_b = |name: &&str| !two.a.stages.iter().any(|stage| stage.name == *name);
    let of = |run: &'a Outcome| run.stages.iter().map(|stage| stage.name.as_str());
    of(two.a).chain(of(two.b).filter(only_b))
}

fn processor_time(two: &Two<'_>) -> Vec<Row> {
    if two.a.spent_ns.total <= 0.0 || two.b.spent_ns.total <= 0.0 {
        return Vec::new();
    }
    let show = |ns: f64| format!("{} ns", time(ns));
    let total = two.plain("all processor time", Good::Less, show, |run| run.spent_ns.total);
    let mut rows = vec![Row { headline: true, ..total }];
    for (index, (name, _)) in two.a.spent_ns.shown().into_iter().enumerate() {
        rows.push(two.plain(name, Good::Less, show, |run| run.spent_ns.shown()[index].1));
    }
    if two.a.costs_ns.total() > 0.0 && two.b.costs_ns.total() > 0.0 {
        rows.push(two.plain("what the limits need", Good::Neither, show, |run| run.costs_ns.total()));
    }
    rows
}

/// What the machine can do is measured in each run: if it differs, the machine was not the same, or not as idle.
fn limits(two: &Two<'_>) -> Vec<Row> {
    let row = |limit: Limit| two.plain(limit.title(), Good::Neither, count, move |run| run.limits.of(limit));
    two.a.limits.known().filter(|limit| two.b.limits.of(*limit) > 0.0).map(row).collect()
}

fn memory(two: &Two<'_>) -> Vec<Row> {
    let most = |run: &Outcome| run.timeline.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0) as f64;
    let mut rows = Vec::new();
    if most(two.a) > 0.0 && most(two.b) > 0.0 {
        rows.push(two.plain("resident, at most", Good::Less, bytes, most));
    }
    if two.a.allocations.is_some() && two.b.allocations.is_some() {
        let of = |run: &Outcome| run.allocations.as_ref().map_or(0.0, |counted| counted.per_side_block);
        rows.push(two.plain("heap allocations a side block", Good::Less, count, of));
    }
    rows
}
