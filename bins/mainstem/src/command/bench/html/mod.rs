//! The result of a bench as a page: one file that needs nothing else, neither network nor scripts.
//!
//! Texts come from options, machines and files, so all of them go through a template that escapes; a content security
//! policy forbids the page to fetch or to run anything even so. The result itself lies in the page as JSON, in the
//! element `outcome`, for programs.

mod bars;
mod canvas;
mod charts;
mod lines;
mod palette;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::compare::{Comparison, Verdict};
use super::format::{amount, bytes, count, percent, time};
use super::outcome::{Outcome, over};
use charts::{Run, section};

/// Writes the page of a run.
pub(super) fn write(path: &Path, outcome: &Outcome) -> Result<()> {
    save(path, &page(outcome))
}

/// Writes the page that sets two runs against each other.
pub(super) fn write_comparison(path: &Path, comparison: &Comparison<'_>) -> Result<()> {
    save(path, &comparison_page(comparison))
}

fn save(path: &Path, page: &Markup) -> Result<()> {
    std::fs::write(path, &page.0).with_context(|| format!("{} cannot be written", path.display()))
}

/// The page of a run.
fn page(outcome: &Outcome) -> Markup {
    let runs: [Run<'_>; 1] = [("", outcome)];
    let title = format!("{} side blocks a second, durably", count(outcome.blocks_per_second));
    let body = html! {
        header {
            h1 { (title) }
            p { (outcome.shape()) }
            p.muted { (origin(outcome)) }
        }
        main {
            (headline(outcome))
            p.verdict { (outcome.verdict()) }
            div.grid {
                (section("Throughput", "Side blocks made durable each second. The warm-up is shaded.", &charts::throughput(&runs)))
                @if let Some(roofline) = charts::roofline(&runs) {
                    (section("Roofline", "Side blocks a second achieved, of what each part carries alone.", &roofline))
                }
                (section("Latency by percentile", "From received to durable; every nine takes as much place.", &charts::quantiles(&runs)))
                (section("Latency over time", "From received to durable.", &charts::latency(&runs)))
                (section("Stages", "Busy share of each stage's threads.", &charts::utilisation(outcome)))
                (section("Queues", "What waits for each stage, of what may wait.", &charts::queues(outcome)))
                (section("Processor time", "Of a side block, by thread group, above what the parts need alone.", &charts::processor_time(&runs)))
                @if let Some(memory) = charts::memory(&runs) {
                    (section("Memory", "Resident, of the node.", &memory))
                }
                (stages(outcome))
                (percentiles(outcome))
                (latencies(outcome))
                (machine(outcome))
                (options(outcome))
                (allocations(outcome))
            }
        }
        (footer())
    };
    shell(&title, &body, &[("outcome", outcome)])
}

/// The page of two runs.
fn comparison_page(comparison: &Comparison<'_>) -> Markup {
    let (a, b) = (comparison.a, comparison.b);
    let runs: [Run<'_>; 2] = [("A", a), ("B", b)];
    let title = "Two runs of mainstem bench";
    let body = html! {
        header {
            h1 { (title) }
            @for (name, run) in &runs {
                p { strong { (name) ": " } (run.shape()) " " span.muted { (origin(run)) } }
            }
        }
        main {
            div.cards {
                @for row in comparison.headline() {
                    div {
                        dt { (row.name) }
                        dd { (row.b) " " small class=[class(row.verdict)] { (row.change) } }
                    }
                }
            }
            p.verdict { (comparison.verdict) }
            (unlike(comparison))
            div.grid {
                section.wide {
                    h2 { "Figures" }
                    div.scroll { table {
                        thead { tr { th {} th.n { "A" } th.n { "B" } th.n { "change" } th {} } }
                        tbody {
                            @for group in &comparison.groups {
                                tr.group { th colspan="5" { (group.title) } }
                                @for row in &group.rows {
                                    tr {
                                        th { (row.name) }
                                        td.n { (row.a) } td.n { (row.b) }
                                        td.n { span class=[class(row.verdict)] { (row.change) } }
                                        td.word { span class=[class(row.verdict)] { (row.verdict.word()) } }
                                    }
                                }
                            }
                        }
                    } }
                    p.muted { (super::compare::ABOUT_NOISE) }
                }
                (section("Throughput", "Side blocks made durable each second. The warm-up is shaded.", &charts::throughput(&runs)))
                @if let Some(roofline) = charts::roofline(&runs) {
                    (section("Roofline", "Side blocks a second achieved, of what each part carries alone.", &roofline))
                }
                (section("Latency by percentile", "From received to durable; every nine takes as much place.", &charts::quantiles(&runs)))
                (section("Latency over time", "99th percentile from received to durable.", &charts::latency(&runs)))
                (section("Stages", "Busy share of each stage's threads.", &charts::stage_bars(&runs)))
                (section("Processor time", "Of a side block, by thread group, above what the parts need alone.", &charts::processor_time(&runs)))
                @for (name, run) in &runs {
                    (section(&format!("{name}: stages"), "Busy share of each stage's threads.", &charts::utilisation(run)))
                    (section(&format!("{name}: queues"), "What waits for each stage, of what may wait.", &charts::queues(run)))
                }
                @if let Some(memory) = charts::memory(&runs) {
                    (section("Memory", "Resident, of the node.", &memory))
                }
            }
        }
        (footer())
    };
    shell(title, &body, &[("outcome-a", a), ("outcome-b", b)])
}

/// The document around a page, with the results as JSON.
fn shell(title: &str, body: &Markup, outcomes: &[(&str, &Outcome)]) -> Markup {
    // Within a script element nothing is an entity, so what could end it is written in JSON's own way.
    let json = |outcome: &Outcome| PreEscaped(outcome.to_json().replace('<', "\\u003c"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) " · mainstem bench" }
                style { (PreEscaped(palette::css())) (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (body)
                @for (id, outcome) in outcomes {
                    script type="application/json" id=(id) { (json(outcome)) }
                }
            }
        }
    }
}

fn headline(outcome: &Outcome) -> Markup {
    let card = |name: &str, value: &str, unit: &str| {
        html! { div { dt { (name) } dd { (value) " " small { (unit) } } } }
    };
    let memory = outcome.timeline.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0);
    html! {
        dl.cards {
            div.first { dt { "side blocks" } dd { (count(outcome.blocks_per_second)) " " small { "a second, durable" } } }
            @if outcome.has_limits() {
            (card("of the roofline", &percent(outcome.ratio), &format!("of {}/s", count(outcome.roofline_blocks_per_second))))
            }
            (card("latency, p50", &time(outcome.durable_p50_ms), "ms to durable"))
            (card("latency, p99", &time(outcome.durable_p99_ms), "ms to durable"))
            (card("main blocks", &count(over(outcome.main_blocks as f64, outcome.seconds)), "a second"))
            @if outcome.spent_ns.total > 0.0 {
                (card("processor time", &time(outcome.spent_ns.total), "ns a side block"))
            }
            @if memory > 0 {
                (card("memory", &bytes(memory as f64), "at most"))
            }
        }
    }
}

fn stages(outcome: &Outcome) -> Markup {
    let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), time);
    html! {
        section.wide {
            h2 { "Stages" }
            div.scroll { table {
                thead { tr {
                    th { "stage" } th.n { "threads" } th.n { "busy" } th.n { "queue, mean" } th.n { "queue, most" }
                    th.n { "may wait" } th.n { "p50, ms" } th.n { "p99, ms" }
                } }
                tbody {
                    @for stage in &outcome.stages {
                        tr {
                            th { (stage.name) }
                            td.n { (stage.threads) }
                            td.n { (percent(stage.utilisation)) }
                            td.n { (amount(stage.queue_mean, &stage.unit)) }
                            td.n { (amount(stage.queue_max, &stage.unit)) }
                            td.n { (amount(stage.capacity, &stage.unit)) }
                            td.n { (ms(stage.p50_ms)) }
                            td.n { (ms(stage.p99_ms)) }
                        }
                    }
                }
            } }
        }
    }
}

fn latencies(outcome: &Outcome) -> Markup {
    let rows = [
        ("sealing a main block", outcome.seal_p50_ms, outcome.seal_p99_ms),
        ("syncing", outcome.sync_p50_ms, outcome.sync_p99_ms),
        ("syncing, the disk alone", outcome.disk_sync_p50_ms, outcome.disk_sync_p99_ms),
    ];
    html! {
        section {
            h2 { "Latencies" }
            table {
                thead { tr { th { "ms" } th.n { "p50" } th.n { "p99" } } }
                tbody {
                    tr { th { "received to durable" } td.n { (time(outcome.durable_p50_ms)) } td.n { (time(outcome.durable_p99_ms)) } }
                    @for (name, p50, p99) in rows {
                        tr { th { (name) } td.n { (time(p50)) } td.n { (time(p99)) } }
                    }
                }
            }
        }
    }
}

fn percentiles(outcome: &Outcome) -> Markup {
    let name = |quantile: f64| if quantile >= 100.0 { "most".to_owned() } else { format!("{quantile} %") };
    html! {
        @if !outcome.latency.is_empty() {
            section.wide {
                h2 { "Latency percentiles" }
                p.muted { "From received to durable, ms." }
                div.scroll { table {
                    thead { tr { @for quantile in &outcome.latency { th.n { (name(quantile.quantile)) } } } }
                    tbody { tr { @for quantile in &outcome.latency { td.n { (time(quantile.ms)) } } } }
                } }
            }
        }
    }
}

fn machine(outcome: &Outcome) -> Markup {
    let machine = &outcome.machine;
    let rows = [
        ("processor", machine.cpu.clone()),
        ("processors", format!("{}, of them used {}", machine.processors, outcome.processors)),
        ("memory", bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("disk", machine.disk.clone()),
        ("mainstem", outcome.version.clone()),
        ("commit", outcome.commit.clone().unwrap_or_else(|| "–".into())),
        ("started", outcome.started.clone()),
    ];
    html! {
        section {
            h2 { "Machine" }
            table { tbody { @for (name, value) in rows { tr { th { (name) } td { (value) } } } } }
        }
    }
}

fn options(outcome: &Outcome) -> Markup {
    html! {
        section {
            h2 { "Options" }
            p.muted { code { (outcome.command) } }
            table { tbody {
                @for (name, value) in &outcome.options { tr { th { (name) } td { (plain(value)) } } }
            } }
        }
    }
}

fn allocations(outcome: &Outcome) -> Markup {
    let Some(counted) = &outcome.allocations else { return Markup::default() };
    html! {
        section {
            h2 { "Heap allocations" }
            p.muted { (count(counted.per_side_block)) " a side block" }
            table {
                thead { tr { th { "thread" } th.n { "allocations" } th.n { "a main block" } } }
                tbody {
                    @for thread in &counted.by_thread {
                        tr { th { (thread.name) } td.n { (thread.count) } td.n { (count(thread.per_main_block)) } }
                    }
                }
            }
        }
    }
}

fn unlike(comparison: &Comparison<'_>) -> Markup {
    html! {
        @if !comparison.differences.is_empty() {
            div.warning {
                strong { "These runs differ in more than their results" }
                ul {
                    @for difference in &comparison.differences {
                        li { (difference.name) ": A " code { (difference.a) } ", B " code { (difference.b) } }
                    }
                }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            p { "Every limit was measured in the same run: QUIC is a bulk transfer of the same bytes to a receiver that \
                 discards them, hashing is leaves and nodes on all processors, write and sync is the log's bytes. \
                 “Processors” is what all of it together could carry if it shared the processors perfectly." }
            p { "The figures of this page lie in it as JSON, in its script elements." }
        }
    }
}

/// Where a run comes from: time, program, machine.
fn origin(outcome: &Outcome) -> String {
    let commit = outcome.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    [outcome.started.clone(), format!("mainstem {}{commit}", outcome.version), outcome.machine.cpu.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}

/// The class of a change.
fn class(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Better => Some("better"),
        Verdict::Worse => Some("worse"),
        Verdict::Noise => Some("muted"),
        Verdict::Same | Verdict::Neutral => None,
    }
}

/// The value of an option as it was given.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
