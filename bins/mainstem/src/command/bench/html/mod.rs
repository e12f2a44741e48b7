//! The result of a bench as a page: one file that needs nothing else, neither network nor scripts.
//!
//! Texts come from options, machines and files, so all of them go through a template that escapes; a content security
//! policy forbids the page to fetch or to run anything even so. The result itself lies in the page as JSON, in the
//! element `outcome`, for programs.

mod bars;
mod canvas;
mod charts;
mod comparison;
mod lines;
mod palette;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::compare::Comparison;
use super::format::count;
use super::outcome::Outcome;
use charts::{Run, section};

/// Writes the page of a run.
pub(super) fn write(path: &Path, outcome: &Outcome) -> Result<()> {
    save(path, &page(outcome))
}

/// Writes the page that sets two runs against each other.
pub(super) fn write_comparison(path: &Path, comparison: &Comparison<'_>) -> Result<()> {
    save(path, &comparison::page(comparison))
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
            (tables::headline(outcome))
            p.verdict { (outcome.verdict()) }
            div.grid {
                (plots(&runs))
                (section("Stages", BUSY, &charts::utilisation(outcome)))
                (section("Queues", MAY_WAIT, &charts::queues(outcome)))
                (processor_time(&runs))
                @if let Some(memory) = charts::memory(&runs) {
                    (section("Memory", "Resident, of the node.", &memory))
                }
                (tables::stages(outcome))
                (tables::percentiles(outcome))
                (tables::latencies(outcome))
                (tables::machine(outcome))
                (tables::options(outcome))
                (tables::allocations(outcome))
            }
        }
        (footer(&runs))
    };
    shell(&title, &body, &[("outcome", outcome)])
}

/// What a plot of the stages' busy shares shows.
const BUSY: &str = "Busy share of each stage's threads.";

/// What a plot of the queues shows.
const MAY_WAIT: &str = "What waits for each stage, of what may wait.";

/// The plots of what was achieved, of one run or of two.
fn plots(runs: &[Run<'_>]) -> Markup {
    let throughput = "Side blocks made durable each second. The warm-up is shaded.";
    let roofline = "Side blocks a second achieved, of what each part carries alone.";
    let quantiles = "From received to durable; every nine takes as much place.";
    let latency = match runs {
        [_] => "From received to durable.",
        _ => "99th percentile from received to durable.",
    };
    html! {
        (section("Throughput", throughput, &charts::throughput(runs)))
        @if let Some(plot) = charts::roofline(runs) { (section("Roofline", roofline, &plot)) }
        (section("Latency by percentile", quantiles, &charts::quantiles(runs)))
        (section("Latency over time", latency, &charts::latency(runs)))
    }
}

/// What a side block cost.
fn processor_time(runs: &[Run<'_>]) -> Markup {
    let note = if runs.iter().any(|(_, run)| run.costs_ns.total() > 0.0) {
        "Of a side block, by thread group, above what the parts need alone."
    } else {
        "Of a side block, by thread group."
    };
    section("Processor time", note, &charts::processor_time(runs))
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

fn footer(runs: &[Run<'_>]) -> Markup {
    html! {
        footer {
            @if runs.iter().any(|(_, run)| run.has_limits()) { p {
                "Every limit was measured in the same run: QUIC is a bulk transfer of the same bytes to a receiver \
                 that discards them, hashing is leaves and nodes on all processors, write and sync is the log's \
                 bytes. “Processors” is what all of it together could carry if it shared the processors perfectly."
            } }
            p { "The figures of this page lie in it as JSON, in its script elements." }
        }
    }
}

/// Where a run comes from: time, program, machine.
fn origin(outcome: &Outcome) -> String {
    [outcome.started.clone(), format!("mainstem {}", outcome.version), outcome.machine.cpu.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}
