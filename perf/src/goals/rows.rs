//! Rows for `perf/RESULTS.md`: what was promised, what it came to, and whether that keeps the promise.

use std::fmt::Write;

use super::measure::{FLAT as CHAINS, INTERVALS, SHAPES};
use super::results::{Latency, Results, Section, Shape};
use super::{Goal, Goals};
use crate::bench::{GIVEN, Outcome, Tick};
use crate::table::{NOT_MEASURED, Spread, WITH_CHANGES};

/// Million side blocks a second that the shapes are to reach, in their order.
const RATES: [f64; 4] = [4.0, 3.0, 2.0, 1.0];
/// Of the roofline.
const ROOFLINE: f64 = 0.6;
/// Of the peer's rate.
const PEER: f64 = 10.0;
/// Milliseconds: p99 with interval sealing, p50 and p99 when sealing at once.
const INTERVAL_P99: f64 = 150.0;
const AT_ONCE: (f64, f64) = (5.0, 25.0);
/// Of the rate that was asked for: below it a latency is that of another load.
const REACHED: f64 = 0.98;
/// The dearest block over the cheapest.
const FLAT: f64 = 1.2;
/// Catching up, of the rate flat out: what is the same but for chance.
const SAME_RATE: f64 = 0.9;
/// Memory of the second half over that of the first.
const BOUNDED: f64 = 1.1;
/// Blocks at the beginning and at the end that are compared.
const MILLION: f64 = 1e6;

/// All rows of what was wanted: `now` has what was measured of it, `kept` what was before.
pub(super) fn markdown(goals: &Goals, now: &Results, kept: &Results) -> String {
    let mut rows = Rows(String::from(
        "| goal | figure | limit | of it | met | command | commit | machine |\n|---|---|---|---|---|---|---|---|\n",
    ));
    if goals.shapes() {
        let section = or_none(goals, now.shapes.as_ref(), || Shape::none(SHAPES));
        shapes(goals, &section, &mut rows);
    }
    if goals.wants(Goal::Latency) {
        let section = or_none(goals, now.latency.as_ref(), || Latency::none(INTERVALS, 0));
        latency(goals, &section, &mut rows);
    }
    if goals.wants(Goal::Flat) {
        let section = or_none(goals, now.flat.as_ref(), Vec::new);
        flat(goals, &section, &mut rows);
    }
    if goals.wants(Goal::CatchUp) {
        let section = or_none(goals, now.catch_up.as_ref(), Outcome::default);
        let flat_out =
            now.shapes.as_ref().or_else(|| kept.shapes.as_ref().filter(|kept| alike(kept, &section)));
        let flat_out = flat_out.and_then(|shapes| shapes.data.first()?.speed());
        catch_up(goals, &section, flat_out, &mut rows);
    }
    rows.0
}

/// What was measured; or else `none`, for rows that say so.
fn or_none<T: Clone>(goals: &Goals, section: Option<&Section<T>>, none: impl FnOnce() -> T) -> Section<T> {
    section.cloned().unwrap_or_else(|| Section {
        commit: "-".into(),
        machine: goals.machine.clone(),
        data: none(),
    })
}

/// Whether two sections are certainly of the same program on the same machine.
fn alike<T, U>(a: &Section<T>, b: &Section<U>) -> bool {
    // Neither of these two names one program.
    let known = a.commit != GIVEN && !a.commit.ends_with(WITH_CHANGES);
    known && a.commit == b.commit && a.machine == b.machine
}

struct Rows(String);

/// A row but for what all rows of a section share.
struct Row {
    goal: String,
    figure: String,
    limit: String,
    ratio: String,
    met: bool,
    command: String,
}

impl Row {
    fn not_measured(goal: String, command: String) -> Self {
        let (figure, none) = (NOT_MEASURED.to_owned(), || "-".to_owned());
        Self { goal, figure, limit: none(), ratio: none(), met: false, command }
    }
}

impl Rows {
    fn add<T>(&mut self, section: &Section<T>, row: Row) {
        let Row { goal, figure, limit, ratio, met, command } = row;
        let (met, Section { commit, machine, .. }) = (if met { "yes" } else { "**no**" }, section);
        writeln!(
            self.0,
            "| {goal} | {figure} | {limit} | {ratio} | {met} | `{command}` | {commit} | {machine} |"
        )
        .expect("a text takes all that is written");
    }
}

fn shapes(goals: &Goals, section: &Section<Vec<Shape>>, rows: &mut Rows) {
    let command = |shape: &Shape| {
        format!(
            "mainstem bench --chains {} --connections {} --seconds {}",
            shape.chains, shape.connections, goals.seconds
        )
    };
    for (shape, rate) in section.data.iter().zip(RATES).filter(|_| goals.wants(Goal::Shapes)) {
        let speed = shape.of(|run| run.blocks_per_second / 1e6);
        let limit = shape.rare(|run| Some(run.roofline_blocks_per_second? / 1e6));
        let ratio = shape.ratio();
        let narrowest = shape.runs.iter().find(|run| run.bottleneck.is_some()).map(Outcome::narrowest);
        let limit = match (narrowest, limit) {
            (Some(narrowest), Some(limit)) => format!("{narrowest}: {limit}"),
            _ => NOT_MEASURED.into(),
        };
        let name = name(shape);
        rows.add(
            section,
            Row {
                goal: format!("{name}: at least {rate} million side blocks/s"),
                figure: speed.to_string(),
                limit: limit.clone(),
                ratio: shown(ratio),
                met: speed.median >= rate,
                command: command(shape),
            },
        );
        rows.add(
            section,
            Row {
                goal: format!("{name}: at least {ROOFLINE} of the roofline"),
                figure: shown(ratio),
                limit,
                ratio: shown(ratio),
                met: ratio.is_some_and(|ratio| ratio.median >= ROOFLINE),
                command: command(shape),
            },
        );
    }
    for shape in section.data.iter().filter(|_| goals.wants(Goal::Peer)) {
        let goal = format!("{}: at least {PEER} times the peer", name(shape));
        let command = format!(
            "mainstem-perf peer --chains {} --connections {} --seconds {}",
            shape.chains, shape.connections, goals.seconds
        );
        let Some(ratio) = shape.over_peer() else {
            rows.add(section, Row::not_measured(goal, command));
            continue;
        };
        let theirs = Spread::of(shape.peer.iter().map(|peer| peer.blocks_per_second / 1e6));
        rows.add(
            section,
            Row {
                goal,
                figure: format!("{ratio:.1} times"),
                limit: format!("peer: {theirs} million/s"),
                ratio: part(ratio.median / PEER),
                met: ratio.median >= PEER,
                command,
            },
        );
    }
    for shape in section.data.iter().filter(|_| goals.wants(Goal::Allocations)) {
        let goal = format!("{}: no heap allocation a side block", name(shape));
        let Some(count) = shape.rare(|run| Some(run.allocations.as_ref()?.per_side_block)) else {
            rows.add(section, Row::not_measured(goal, command(shape)));
            continue;
        };
        let last = shape.runs.last().and_then(|run| run.allocations.as_ref());
        let threads =
            last.into_iter().flat_map(|counted| &counted.by_thread).filter(|thread| thread.count > 0);
        let threads: Vec<_> =
            threads.map(|thread| format!("{} {:.1}", thread.name, thread.per_main_block)).collect();
        rows.add(
            section,
            Row {
                goal,
                figure: format!("{count:.5}"),
                limit: format!("a main block: {}", threads.join(", ")),
                ratio: "-".into(),
                // Those of a main block, spread over its thousands of side blocks.
                met: count.median < 0.001,
                command: command(shape),
            },
        );
    }
}

fn latency(goals: &Goals, section: &Section<Vec<Latency>>, rows: &mut Rows) {
    for pace in &section.data {
        let of = |value: fn(&Outcome) -> f64| Spread::of(pace.runs.iter().map(value));
        let rare = |value: fn(&Outcome) -> Option<f64>| Spread::of_any(pace.runs.iter().filter_map(value));
        let (p50, p99) = (of(|run| run.durable_p50_ms), of(|run| run.durable_p99_ms));
        let reached = of(|run| run.blocks_per_second);
        let (goal, soon, ratio) = if pace.interval_ms == 0 {
            let soon = p50.median < AT_ONCE.0 && p99.median < AT_ONCE.1;
            let ratio = format!("{}, {}", part(p50.median / AT_ONCE.0), part(p99.median / AT_ONCE.1));
            (format!("sealing at once: p50 below {} ms, p99 below {} ms", AT_ONCE.0, AT_ONCE.1), soon, ratio)
        } else {
            let goal = format!("sealing every {} ms: p99 below {INTERVAL_P99} ms", pace.interval_ms);
            (goal, p99.median < INTERVAL_P99, part(p99.median / INTERVAL_P99))
        };
        let goal = format!("received to durable at half of the highest rate, {goal}");
        let rate = pace.rate as f64;
        let command = format!(
            "mainstem bench --chains 100 --connections 1 --rate {} --seal-interval-ms {} --seconds {}",
            pace.rate, pace.interval_ms, goals.seconds
        );
        if pace.runs.is_empty() {
            rows.add(section, Row::not_measured(goal, command));
            continue;
        }
        let reached_million = of(|run| run.blocks_per_second / 1e6);
        let mut figure =
            format!("p50 {p50:.1}, p99 {p99:.1} at {reached_million} of {:.2} million/s", rate / 1e6);
        if let (Some(p50), Some(p99)) = (rare(|run| run.late_p50_ms), rare(|run| run.late_p99_ms)) {
            write!(figure, "; sent late by p50 {p50:.1}, p99 {p99:.1}")
                .expect("a text takes all that is written");
        }
        let disk =
            |value: fn(&Outcome) -> f64| Spread::of(pace.runs.iter().map(value).filter(|ms| *ms > 0.0));
        rows.add(
            section,
            Row {
                goal,
                figure,
                limit: format!(
                    "fdatasync alone: p50 {:.1}, p99 {:.1}",
                    disk(|run| run.disk_sync_p50_ms),
                    disk(|run| run.disk_sync_p99_ms)
                ),
                ratio,
                // A load that does not keep its pace asks less than was promised.
                met: soon && reached.median >= REACHED * rate,
                command,
            },
        );
    }
}

fn flat(goals: &Goals, section: &Section<Vec<Shape>>, rows: &mut Rows) {
    let goal =
        format!("cost of a block at most {FLAT} times as high, from 1 chain to 1,000 on one connection");
    let command = format!("mainstem bench --chains N --connections 1 --seconds {}", goals.seconds);
    let cost =
        |chains: &u32| section.data.iter().find(|shape| shape.chains == *chains)?.rare(Outcome::node_ns);
    let costs = CHAINS.map(|chains| (chains, cost(&chains)));
    if costs.iter().all(|(_, cost)| cost.is_none()) {
        return rows.add(section, Row::not_measured(goal, command));
    }
    let medians = || costs.iter().filter_map(|(_, cost)| Some(cost.as_ref()?.median));
    let (low, high) = (medians().fold(f64::NAN, f64::min), medians().fold(f64::NAN, f64::max));
    let figures: Vec<_> = costs
        .iter()
        .map(|(chains, cost)| match cost {
            Some(cost) => format!("{chains}: {cost:.0}"),
            None => format!("{chains}: {NOT_MEASURED}"),
        })
        .collect();
    let whole = costs.iter().all(|(_, cost)| cost.is_some());
    rows.add(
        section,
        Row {
            goal,
            figure: format!("{:.2} times; processor ns by chains: {}", high / low, figures.join(", ")),
            limit: "-".into(),
            ratio: part(high / low / FLAT),
            met: whole && high / low <= FLAT,
            command,
        },
    );
}

fn catch_up(goals: &Goals, section: &Section<Outcome>, flat_out: Option<Spread>, rows: &mut Rows) {
    let run = &section.data;
    let ran = run.side_blocks > 0;
    let blocks = if ran { run.side_blocks } else { goals.blocks };
    let command = format!("mainstem bench --chains 100 --connections 1 --blocks {blocks}");
    let speed = run.blocks_per_second / 1e6;
    let goal = format!("catching up with {:.0} million blocks at the rate of flat out", blocks as f64 / 1e6);
    let flat_out = Spread::of(flat_out.map(|rate| rate.median / 1e6));
    let row = if ran {
        Row {
            goal,
            figure: format!("{speed:.2} million/s, {:.1} s", run.seconds),
            limit: format!("flat out: {flat_out}"),
            ratio: part(speed / flat_out.median),
            met: speed / flat_out.median >= SAME_RATE,
            command: command.clone(),
        }
    } else {
        Row::not_measured(goal, command.clone())
    };
    rows.add(section, row);

    let measured: Vec<_> = run.timeline.iter().filter(|tick| tick.at > 0.0).collect();
    let most = |ticks: &[&Tick]| ticks.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0) as f64 / 1e6;
    let (early, late) = measured.split_at(measured.len() / 2);
    let (first, second) = (most(early), most(late));
    let goal = "memory bounded meanwhile: second half as the first".to_owned();
    let row = if first > 0.0 && second > 0.0 {
        Row {
            goal,
            figure: format!("{:.0} MB at most", first.max(second)),
            limit: format!("first half: {first:.0} MB"),
            ratio: part(second / first),
            met: second / first <= BOUNDED,
            command: command.clone(),
        }
    } else {
        Row::not_measured(goal, command.clone())
    };
    rows.add(section, row);

    let (first, last) = (cost(run, measured.iter().copied()), cost(run, measured.iter().rev().copied()));
    let goal = format!("cost of a block at most {FLAT} times as high in the last million as in the first");
    let row = if first > 0.0 && last > 0.0 {
        Row {
            goal,
            figure: format!("first {first:.0}, last {last:.0} ns of busy stages"),
            limit: "-".into(),
            ratio: part(last / first / FLAT),
            met: last / first <= FLAT,
            command,
        }
    } else {
        Row::not_measured(goal, command)
    };
    rows.add(section, row);
}

/// Busy time of all stages a block, in ns, over the first million blocks or more of `ticks`; NaN without any.
fn cost<'a>(run: &Outcome, ticks: impl Iterator<Item = &'a Tick>) -> f64 {
    let threads = |name: &str| {
        run.stages.iter().find(|stage| stage.name == name).map_or(1.0, |stage| stage.threads.max(1) as f64)
    };
    let step = run.timeline.windows(2).map(|pair| pair[1].at - pair[0].at).fold(0.0, f64::max);
    let (mut busy, mut blocks) = (0.0, 0.0);
    for tick in ticks.filter(|tick| tick.blocks_per_second > 0.0) {
        let threads = tick.utilisation.iter().map(|(name, part)| part * threads(name)).sum::<f64>();
        busy += threads * step * 1e9;
        blocks += tick.blocks_per_second * step;
        if blocks >= MILLION {
            break;
        }
    }
    busy / blocks
}

fn name(shape: &Shape) -> String {
    let connections = if shape.connections == 1 { "connection" } else { "connections" };
    let chains = if shape.chains == 1 { "chain" } else { "chains" };
    format!("{} {chains}, {} {connections}", shape.chains, shape.connections)
}

fn shown(spread: Option<Spread>) -> String {
    spread.map_or_else(|| NOT_MEASURED.to_owned(), |spread| spread.to_string())
}

/// A share; a dash where there is nothing to share.
fn part(share: f64) -> String {
    if share.is_finite() { format!("{share:.2}") } else { "-".into() }
}
