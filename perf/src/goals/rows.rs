//! Rows for `perf/RESULTS.md`: what was promised, what it came to, and whether that keeps the promise.

use std::fmt::Write;

use super::results::{Results, Section, Shape};
use super::{Goal, Goals};
use crate::bench::{Outcome, Tick};
use crate::table::Spread;

/// Million side blocks a second that the shapes are to reach, in their order.
const RATES: [f64; 4] = [4.0, 3.0, 2.0, 1.0];
/// Of the roofline.
const ROOFLINE: f64 = 0.6;
/// Of the peer's rate.
const PEER: f64 = 10.0;
/// Milliseconds: p99 with interval sealing, p50 and p99 when sealing at once.
const INTERVAL_P99: f64 = 150.0;
const AT_ONCE: (f64, f64) = (5.0, 25.0);
/// The dearest block over the cheapest.
const FLAT: f64 = 1.2;
/// Catching up, of the rate flat out: what is the same but for chance.
const SAME_RATE: f64 = 0.9;
/// Memory of the second half over that of the first.
const BOUNDED: f64 = 1.1;
/// Blocks at the beginning and at the end that are compared.
const MILLION: f64 = 1e6;

/// All rows of what was wanted.
pub(super) fn markdown(goals: &Goals, results: &Results) -> String {
    let mut rows = Rows(String::from(
        "| goal | figure | limit | of it | met | command | commit | machine |\n|---|---|---|---|---|---|---|---|\n",
    ));
    if let Some(section) = results.shapes.as_ref().filter(|_| goals.shapes()) {
        shapes(goals, section, &mut rows);
    }
    if let Some(section) = results.latency.as_ref().filter(|_| goals.wants(Goal::Latency)) {
        latency(goals, section, &mut rows);
    }
    if let Some(section) = results.flat.as_ref().filter(|_| goals.wants(Goal::Flat)) {
        flat(goals, section, &mut rows);
    }
    if let Some(section) = results.catch_up.as_ref().filter(|_| goals.wants(Goal::CatchUp)) {
        let flat_out = results.shapes.as_ref().and_then(|shapes| shapes.data.first());
        catch_up(section, flat_out, &mut rows);
    }
    rows.0
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
        let ratio = shape.rare(|run| run.ratio);
        let narrowest = shape.runs.first().map(Outcome::narrowest).unwrap_or_default();
        let limit = format!("{}: {}", narrowest, or_none(limit));
        let name = name(shape);
        rows.add(
            section,
            Row {
                goal: format!("{name}: at least {rate} million side blocks/s"),
                figure: speed.to_string(),
                limit: limit.clone(),
                ratio: or_none(ratio),
                met: speed.median >= rate,
                command: command(shape),
            },
        );
        rows.add(
            section,
            Row {
                goal: format!("{name}: at least {ROOFLINE} of the roofline"),
                figure: or_none(ratio),
                limit,
                ratio: or_none(ratio),
                met: ratio.is_some_and(|ratio| ratio.median >= ROOFLINE),
                command: command(shape),
            },
        );
    }
    for shape in section.data.iter().filter(|_| goals.wants(Goal::Peer)) {
        let Some(ratio) = shape.over_peer() else { continue };
        let theirs = Spread::of(shape.peer.iter().map(|peer| peer.blocks_per_second / 1e6));
        rows.add(
            section,
            Row {
                goal: format!("{}: at least {PEER} times the peer", name(shape)),
                figure: format!("{ratio:.1} times"),
                limit: format!("peer: {theirs} million/s"),
                ratio: format!("{:.2}", ratio.median / PEER),
                met: ratio.median >= PEER,
                command: format!(
                    "mainstem-perf peer --chains {} --connections {} --seconds {}",
                    shape.chains, shape.connections, goals.seconds
                ),
            },
        );
    }
    for shape in section.data.iter().filter(|_| goals.wants(Goal::Allocations)) {
        let Some(count) = shape.rare(|run| Some(run.allocations.as_ref()?.per_side_block)) else { continue };
        let last = shape.runs.last().and_then(|run| run.allocations.as_ref());
        let threads =
            last.into_iter().flat_map(|counted| &counted.by_thread).filter(|thread| thread.count > 0);
        let threads: Vec<_> =
            threads.map(|thread| format!("{} {:.1}", thread.name, thread.per_main_block)).collect();
        rows.add(
            section,
            Row {
                goal: format!("{}: no heap allocation a side block", name(shape)),
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

fn latency(goals: &Goals, section: &Section<Vec<super::Latency>>, rows: &mut Rows) {
    for pace in &section.data {
        let of = |value: fn(&Outcome) -> f64| Spread::of(pace.runs.iter().map(value));
        let (p50, p99) = (of(|run| run.durable_p50_ms), of(|run| run.durable_p99_ms));
        let reached = of(|run| run.blocks_per_second / 1e6);
        let (goal, met, ratio) = if pace.interval_ms == 0 {
            let met = p50.median < AT_ONCE.0 && p99.median < AT_ONCE.1;
            let ratio = format!("{:.2}, {:.2}", p50.median / AT_ONCE.0, p99.median / AT_ONCE.1);
            (format!("sealing at once: p50 below {} ms, p99 below {} ms", AT_ONCE.0, AT_ONCE.1), met, ratio)
        } else {
            let ratio = format!("{:.2}", p99.median / INTERVAL_P99);
            let goal = format!("sealing every {} ms: p99 below {INTERVAL_P99} ms", pace.interval_ms);
            (goal, p99.median < INTERVAL_P99, ratio)
        };
        rows.add(
            section,
            Row {
                goal: format!("received to durable at half of the highest rate, {goal}"),
                figure: format!("p50 {p50:.1}, p99 {p99:.1} at {reached} million/s"),
                limit: format!(
                    "fdatasync alone: p50 {:.1}, p99 {:.1}",
                    of(|run| run.disk_sync_p50_ms),
                    of(|run| run.disk_sync_p99_ms)
                ),
                ratio,
                met,
                command: format!(
                    "mainstem bench --chains 100 --connections 1 --rate {} --seal-interval-ms {} --seconds {}",
                    pace.rate, pace.interval_ms, goals.seconds
                ),
            },
        );
    }
}

fn flat(goals: &Goals, section: &Section<Vec<Shape>>, rows: &mut Rows) {
    let costs: Vec<_> =
        section.data.iter().filter_map(|shape| Some((shape.chains, shape.rare(Outcome::node_ns)?))).collect();
    let medians = || costs.iter().map(|(_, cost)| cost.median);
    let (low, high) = (medians().fold(f64::NAN, f64::min), medians().fold(f64::NAN, f64::max));
    let figures: Vec<_> = costs.iter().map(|(chains, cost)| format!("{chains}: {cost:.0}")).collect();
    rows.add(
        section,
        Row {
            goal: format!(
                "cost of a block at most {FLAT} times as high, from 1 chain to 1,000 on one connection"
            ),
            figure: format!("{:.2} times; processor ns by chains: {}", high / low, figures.join(", ")),
            limit: "-".into(),
            ratio: format!("{:.2}", high / low / FLAT),
            met: high / low <= FLAT,
            command: format!("mainstem bench --chains N --connections 1 --seconds {}", goals.seconds),
        },
    );
}

fn catch_up(section: &Section<Outcome>, flat_out: Option<&Shape>, rows: &mut Rows) {
    let run = &section.data;
    let command = format!("mainstem bench --chains 100 --connections 1 --blocks {}", run.side_blocks);
    let millions = run.side_blocks as f64 / 1e6;
    let speed = run.blocks_per_second / 1e6;
    if let Some(flat_out) = flat_out.map(|shape| shape.of(|run| run.blocks_per_second / 1e6)) {
        rows.add(
            section,
            Row {
                goal: format!("catching up with {millions:.0} million blocks at the rate of flat out"),
                figure: format!("{speed:.2} million/s, {:.1} s", run.seconds),
                limit: format!("flat out: {flat_out}"),
                ratio: format!("{:.2}", speed / flat_out.median),
                met: speed / flat_out.median >= SAME_RATE,
                command: command.clone(),
            },
        );
    }
    let measured: Vec<_> = run.timeline.iter().filter(|tick| tick.at > 0.0).collect();
    let most = |ticks: &[&Tick]| ticks.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0) as f64 / 1e6;
    let (early, late) = measured.split_at(measured.len() / 2);
    let (first, second) = (most(early), most(late));
    rows.add(
        section,
        Row {
            goal: "memory bounded meanwhile: second half as the first".into(),
            figure: format!("{:.0} MB at most", first.max(second)),
            limit: format!("first half: {first:.0} MB"),
            ratio: format!("{:.2}", second / first),
            met: second / first <= BOUNDED,
            command: command.clone(),
        },
    );
    let (first, last) = (cost(run, measured.iter().copied()), cost(run, measured.iter().rev().copied()));
    rows.add(
        section,
        Row {
            goal: format!("cost of a block at most {FLAT} times as high in the last million as in the first"),
            figure: format!("first {first:.0}, last {last:.0} ns of busy stages"),
            limit: "-".into(),
            ratio: format!("{:.2}", last / first / FLAT),
            met: last / first <= FLAT,
            command,
        },
    );
}

/// Busy time of all stages a block, in ns, over the first million blocks or more of `ticks`.
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

fn or_none(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| spread.to_string())
}
