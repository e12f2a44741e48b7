//! The figures of a run as cards and tables.

use maud::{Markup, html};
use serde_json::Value;

use crate::command::bench::format::{amount, bytes, count, percent, time};
use crate::command::bench::outcome::{Outcome, over};

/// The figures that are looked at first.
pub(super) fn headline(outcome: &Outcome) -> Markup {
    let card = |name: &str, value: &str, unit: &str| {
        html! { div { dt { (name) } dd { (value) " " small { (unit) } } } }
    };
    let roofline = count(outcome.roofline_blocks_per_second);
    let memory = outcome.timeline.iter().map(|tick| tick.memory_bytes).max().unwrap_or(0);
    html! {
        dl.cards {
            div.first {
                dt { "side blocks" }
                dd { (count(outcome.blocks_per_second)) " " small { "a second, durable" } }
            }
            @if outcome.has_limits() {
                (card("of the roofline", &percent(outcome.ratio), &format!("of {roofline}/s")))
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

/// What each stage did.
pub(super) fn stages(outcome: &Outcome) -> Markup {
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

/// The latency from received to durable.
pub(super) fn percentiles(outcome: &Outcome) -> Markup {
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

/// Latencies of the stages.
pub(super) fn latencies(outcome: &Outcome) -> Markup {
    html! {
        section {
            h2 { "Latencies" }
            table {
                thead { tr { th { "ms" } th.n { "p50" } th.n { "p99" } } }
                tbody {
                    @for (name, p50, p99) in outcome.latencies() {
                        tr { th { (name) } td.n { (time(p50)) } td.n { (time(p99)) } }
                    }
                }
            }
        }
    }
}

/// Where the run took place.
pub(super) fn machine(outcome: &Outcome) -> Markup {
    let machine = &outcome.machine;
    let rows = [
        ("processor", machine.cpu.clone()),
        ("processors", format!("{}, of them used {}", machine.processors, outcome.processors)),
        ("memory", bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("disk", machine.disk.clone()),
        ("mainstem", outcome.version.clone()),
        ("started", outcome.started.clone()),
    ];
    html! {
        section {
            h2 { "Machine" }
            table { tbody { @for (name, value) in rows { tr { th { (name) } td { (value) } } } } }
        }
    }
}

/// What the run was asked to do.
pub(super) fn options(outcome: &Outcome) -> Markup {
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

/// Heap allocations by thread.
pub(super) fn allocations(outcome: &Outcome) -> Markup {
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

/// The value of an option as it was given.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
