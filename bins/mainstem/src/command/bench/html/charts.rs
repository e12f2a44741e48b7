//! The plots of runs: of one, or of two side by side.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::bars::{Bar, Bars, Part};
use super::lines::{Lines, Series, legend, nines, seconds};
use super::palette::{Colour, SERIES, of_stage};
use crate::command::bench::format::{bytes, count, percent, plural, time, trimmed_count};
use crate::command::bench::outcome::{Limit, Outcome, SEAL_AND_HASH, Tick, over};

/// A run and what it is called where there is another one.
pub(super) type Run<'a> = (&'static str, &'a Outcome);

/// A plot under its title.
pub(super) fn section(title: &str, note: &str, plot: &Markup) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if !note.is_empty() { p.muted { (note) } }
            (plot)
        }
    }
}

/// Side blocks made durable over time.
pub(super) fn throughput(runs: &[Run<'_>]) -> Markup {
    let series = over_time(runs, "durable", |tick| Some(tick.blocks_per_second));
    plot_over_time("Side blocks made durable each second", series, &trimmed_count, None, 1.0)
}

/// Latencies over time: of one run two quantiles, of several the 99th percentile.
pub(super) fn latency(runs: &[Run<'_>]) -> Markup {
    let mut series = Vec::new();
    if runs.len() == 1 {
        series.extend(over_time(runs, "p50", |tick| tick.p50_ms));
    }
    series.extend(over_time(runs, "p99", |tick| tick.p99_ms));
    for (series, colour) in series.iter_mut().zip(&SERIES) {
        series.colour = colour;
    }
    plot_over_time("Latency from received to durable over time", series, &milliseconds, None, 1.0)
}

/// Latencies by quantile.
pub(super) fn quantiles(runs: &[Run<'_>]) -> Markup {
    let names: BTreeMap<u64, f64> = (runs.iter().flat_map(|(_, run)| &run.latency))
        .map(|quantile| (nines(quantile.quantile).to_bits(), quantile.quantile))
        .collect();
    let name = |x: f64| match names.get(&x.to_bits()) {
        Some(100.0) => "max".to_owned(),
        Some(quantile) => format!("{quantile} %"),
        None => String::new(),
    };
    let series = runs.iter().zip(&SERIES).map(|((run, outcome), colour)| {
        let point = |quantile: &crate::command::bench::outcome::Quantile| {
            (nines(quantile.quantile), Some(quantile.ms))
        };
        let mut points: Vec<_> = outcome.latency.iter().map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: named(run, "latency"), colour, points }
    });
    // What lies close together is left out, so that texts do not meet.
    let mut marks: Vec<(f64, String)> = Vec::new();
    for bits in names.keys() {
        let x = f64::from_bits(*bits);
        if marks.last().is_none_or(|(last, _)| x - last > 0.45) {
            marks.push((x, name(x)));
        }
    }
    let lines = Lines {
        label: "Latency from received to durable by percentile",
        series: series.collect(),
        marks,
        at: &name,
        value: &milliseconds,
        top: None,
        unit: 1.0,
        shade_below: None,
        dots: true,
    };
    with_legend(&lines)
}

/// Busy time of each stage over time.
pub(super) fn utilisation(run: &Outcome) -> Markup {
    plot_over_time(
        "Busy share of each stage over time",
        by_stage(run, |tick| &tick.utilisation),
        &whole_percent,
        Some(1.0),
        1.0,
    )
}

/// What waits for each stage over time.
pub(super) fn queues(run: &Outcome) -> Markup {
    plot_over_time(
        "Filled share of each queue over time",
        by_stage(run, |tick| &tick.queue),
        &whole_percent,
        Some(1.0),
        1.0,
    )
}

/// Memory of the node over time; nothing if it is not known.
pub(super) fn memory(runs: &[Run<'_>]) -> Option<Markup> {
    let most =
        runs.iter().flat_map(|(_, run)| &run.timeline).map(|tick| tick.memory_bytes).max().unwrap_or(0);
    let unit = if most < 2 << 30 { f64::from(1 << 20) } else { f64::from(1 << 30) };
    let series =
        || over_time(runs, "resident", |tick| (tick.memory_bytes > 0).then_some(tick.memory_bytes as f64));
    (most > 0).then(|| plot_over_time("Resident memory of the node over time", series(), &bytes, None, unit))
}

/// What was achieved of each limit; nothing if no run has measured them.
pub(super) fn roofline(runs: &[Run<'_>]) -> Option<Markup> {
    let mut bars = Vec::new();
    for limit in Limit::ALL {
        let knows = |run: &Outcome| run.limits.of(limit) > 0.0;
        for ((name, run), colour) in runs.iter().zip(&SERIES).filter(|((_, run), _)| knows(run)) {
            let (most, achieved) = (run.limits.of(limit), run.blocks_per_second);
            let lowest = if limit == run.bottleneck { " · lowest" } else { "" };
            bars.push(Bar {
                name: named(name, limit.title()),
                note: format!(
                    "{} of {} · {}{lowest}",
                    count(achieved),
                    count(most),
                    percent(over(achieved, most))
                ),
                strong: limit == run.bottleneck,
                parts: vec![Part {
                    colour,
                    value: achieved,
                    text: String::new(),
                    title: format!("achieved: {} side blocks a second", count(achieved)),
                }],
                up_to: most,
            });
        }
    }
    let label = "Side blocks a second achieved, and what each limit allows";
    (!bars.is_empty()).then(|| Bars { label, bars }.draw())
}

/// Processor time of a side block: what the run took, and what the limits needed.
pub(super) fn processor_time(runs: &[Run<'_>]) -> Markup {
    let bar = |name: String, parts: &[(&str, f64)]| Bar {
        name,
        note: format!("{} ns a side block", time(parts.iter().map(|(_, ns)| ns).sum())),
        parts: parts
            .iter()
            .filter(|(_, ns)| *ns > 0.0)
            .map(|(name, ns)| Part {
                colour: of_stage(name),
                value: *ns,
                text: format!("{ns:.0}"),
                title: format!("{}: {} ns", name.replace('_', " "), time(*ns)),
            })
            .collect(),
        up_to: 0.0,
        strong: false,
    };
    let mut bars = Vec::new();
    for (name, run) in runs {
        bars.push(bar(named(name, "the run, by thread group"), &run.spent_ns.shown()));
        if run.costs_ns.total() > 0.0 {
            bars.push(bar(named(name, "the limits, each alone"), &run.costs_ns.parts()));
        }
    }
    let groups = [
        ("load", "load / QUIC send"),
        ("ingest", "ingest / QUIC receive"),
        (SEAL_AND_HASH, "seal and hash / hash"),
        ("persist", "persist / write"),
        ("other", "other"),
    ];
    // Without limits there is nothing of theirs to be told apart.
    let limited = runs.iter().any(|(_, run)| run.costs_ns.total() > 0.0);
    let entry = |(name, title)| (if limited { title } else { name }, of_stage(name));
    html! {
        (legend(&groups.map(entry)))
        (Bars { label: "Processor time of a side block in nanoseconds", bars }.draw())
    }
}

/// Busy share of each stage, of several runs below each other.
pub(super) fn stage_bars(runs: &[Run<'_>]) -> Markup {
    let mut bars: Vec<Bar> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|(_, run)| &run.stages) {
        if seen.contains(&stage.name.as_str()) {
            continue;
        }
        seen.push(&stage.name);
        for ((name, run), colour) in runs.iter().zip(&SERIES) {
            let Some(stage) = run.stages.iter().find(|other| other.name == stage.name) else { continue };
            bars.push(Bar {
                name: named(name, &stage.name),
                note: format!("{} of {}", percent(stage.utilisation), plural(stage.threads as u64, "thread")),
                parts: vec![Part {
                    colour,
                    value: stage.utilisation,
                    text: String::new(),
                    title: percent(stage.utilisation),
                }],
                up_to: 1.0,
                strong: false,
            });
        }
    }
    if bars.is_empty() {
        return html! { p.none { "No stage was measured." } };
    }
    Bars { label: "Busy share of each stage", bars }.draw()
}

/// A line for each run.
fn over_time(runs: &[Run<'_>], what: &str, pick: impl Fn(&Tick) -> Option<f64>) -> Vec<Series> {
    let series = runs.iter().zip(&SERIES).map(|((run, outcome), colour)| Series {
        name: named(run, what),
        colour,
        points: outcome.timeline.iter().map(|tick| (tick.at, pick(tick))).collect(),
    });
    series.collect()
}

/// A line for each stage.
fn by_stage(run: &Outcome, pick: impl Fn(&Tick) -> &BTreeMap<String, f64>) -> Vec<Series> {
    let known = |name: &str| run.timeline.iter().any(|tick| pick(tick).contains_key(name));
    let line = |name: &str| Series {
        name: name.to_owned(),
        colour: of_stage(name),
        points: run.timeline.iter().map(|tick| (tick.at, pick(tick).get(name).copied())).collect(),
    };
    run.stages.iter().filter(|stage| known(&stage.name)).map(|stage| line(&stage.name)).collect()
}

fn plot_over_time(
    label: &str,
    series: Vec<Series>,
    value: &dyn Fn(f64) -> String,
    top: Option<f64>,
    unit: f64,
) -> Markup {
    let at = || series.iter().flat_map(|series| &series.points).map(|(x, _)| *x);
    let (from, to) = (at().fold(f64::INFINITY, f64::min), at().fold(f64::NEG_INFINITY, f64::max));
    with_legend(&Lines {
        label,
        series,
        marks: seconds(from, to),
        at: &|at| format!("{at:.2} s"),
        value,
        top,
        unit,
        shade_below: Some(0.0),
        dots: false,
    })
}

fn with_legend(lines: &Lines<'_>) -> Markup {
    let entries: Vec<(&str, &Colour)> =
        lines.series.iter().map(|series| (series.name.as_str(), series.colour)).collect();
    html! { (legend(&entries)) (lines.draw()) }
}

/// A name with that of its run in front of it, if it has one.
fn named(run: &str, what: &str) -> String {
    if run.is_empty() { what.to_owned() } else { format!("{run}: {what}") }
}

fn milliseconds(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{} ms", trimmed_count(ms))
    } else {
        format!("{} s", trimmed_count(ms / 1000.0))
    }
}

fn whole_percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}
