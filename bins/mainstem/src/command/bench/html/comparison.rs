//! The page that sets two runs against each other.

use maud::{Markup, html};

use super::charts::{self, Run, section};
use super::{BUSY, MAY_WAIT, footer, origin, plots, processor_time, shell};
use crate::command::bench::compare::{ABOUT_NOISE, Comparison, Verdict};

/// The page of two runs.
pub(super) fn page(comparison: &Comparison<'_>) -> Markup {
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
            dl.cards {
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
                    p.muted { (ABOUT_NOISE) }
                }
                (plots(&runs))
                (section("Stages", BUSY, &charts::stage_bars(&runs)))
                (processor_time(&runs))
                @for (name, run) in &runs {
                    (section(&format!("{name}: stages"), BUSY, &charts::utilisation(run)))
                    (section(&format!("{name}: queues"), MAY_WAIT, &charts::queues(run)))
                }
                @if let Some(memory) = charts::memory(&runs) {
                    (section("Memory", "Resident, of the node.", &memory))
                }
            }
        }
        (footer(&runs))
    };
    shell(title, &body, &[("outcome-a", a), ("outcome-b", b)])
}

fn unlike(comparison: &Comparison<'_>) -> Markup {
    html! {
        @if !comparison.differences.is_empty() {
            div.differences.warning[comparison.unlike()] {
                strong {
                    @if comparison.unlike() { "These runs differ in more than their results" }
                    @else { "What else differs" }
                }
                ul {
                    @for difference in &comparison.differences {
                        li { (difference.name) ": A " code { (difference.a) } ", B " code { (difference.b) } }
                    }
                }
            }
        }
    }
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
