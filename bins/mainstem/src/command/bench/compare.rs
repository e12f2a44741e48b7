//! `mainstem bench --compare`: what is different between two runs.
//!
//! A difference means little if the runs were unlike, so that is said first; and nothing if it is within what either
//! run differs from itself over time. The latter is estimated by batch means: a run's ticks, which depend on their
//! neighbours, are put together into [`BATCHES`] longer pieces, which hardly do, and the standard error of the run's
//! mean follows from how these differ (Law and Kelton, Simulation Modeling and Analysis, 9.5.3).

mod figures;
mod terminal;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::format::{bytes, count};
use super::html;
use super::outcome::{Limit, Outcome, Tick};
use figures::groups;

/// Prints what changed from the run in file `a` to the one in file `b`, and writes a page of it.
pub(super) fn run(a: &Path, b: &Path, page: Option<&Path>) -> Result<()> {
    let (a, b) = (Outcome::read(a)?, Outcome::read(b)?);
    let comparison = Comparison::of(&a, &b);
    // Colours go only to a terminal that wants them: see NO_COLOR and CLICOLOR.
    anstream::print!("{comparison}");
    page.map_or(Ok(()), |page| html::write_comparison(page, &comparison))
}

/// Two runs against each other.
pub(super) struct Comparison<'a> {
    pub(super) a: &'a Outcome,
    pub(super) b: &'a Outcome,
    /// In what else than their results the runs differ.
    pub(super) differences: Vec<Difference>,
    pub(super) groups: Vec<Group>,
    /// The main figure and the bottleneck, in words.
    pub(super) verdict: String,
}

/// Something that is not a result and is not the same.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) a: String,
    pub(super) b: String,
    /// Whether figures cannot be set against each other for it.
    pub(super) unlike: bool,
}

/// Figures of a kind.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// A figure of both runs.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) a: String,
    pub(super) b: String,
    /// In per cent of A, as text.
    pub(super) change: String,
    pub(super) verdict: Verdict,
    /// Whether it is one of those that are shown first.
    pub(super) headline: bool,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    /// Within what the runs differ from themselves.
    Noise,
    /// Less than half a per cent.
    Same,
    /// Neither direction is a better one.
    Neutral,
}

/// What the word "noise" means, for the foot of a table.
pub(super) const ABOUT_NOISE: &str = "\
noise: within twice the standard error that the runs' own spread over time gives (that of throughput, where a figure
has no values over time). Runs differ from each other by more than a run from itself, so repeat what matters.";

/// Pieces that a run is cut into to see how it differs from itself.
const BATCHES: usize = 10;

/// The part of a limit by which it may differ between runs of one machine at rest. If it differs by more, the machine was
/// another one, or had other things to do.
const UNLIKE_LIMITS: f64 = 0.15;

impl<'a> Comparison<'a> {
    pub(super) fn of(a: &'a Outcome, b: &'a Outcome) -> Self {
        let groups = groups(a, b);
        let verdict = verdict(a, b, &groups);
        Self { a, b, differences: differences(a, b), groups, verdict }
    }

    /// The figures that are shown first.
    pub(super) fn headline(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|group| &group.rows).filter(|row| row.headline)
    }

    /// Whether the runs were of different kinds, or on different machines.
    pub(super) fn unlike(&self) -> bool {
        self.differences.iter().any(|difference| difference.unlike)
    }
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Noise => "noise",
            Self::Same => "same",
            Self::Neutral => "",
        }
    }
}

/// The standard error of a figure's mean over the measured time, relative to that mean. Nothing if the run is too
/// short for it.
fn relative_error(outcome: &Outcome, pick: impl Fn(&Tick) -> Option<f64>) -> Option<f64> {
    let samples: Vec<f64> = outcome.measured().filter_map(pick).collect();
    let each = samples.len() / BATCHES;
    if each == 0 {
        return None;
    }
    // What does not fill a batch is left out at the beginning, where the run has had least time to settle.
    let samples = &samples[samples.len() - each * BATCHES..];
    let batches: Vec<f64> = samples.chunks_exact(each).map(|batch| mean(batch.iter().copied())).collect();
    let mean = mean(batches.iter().copied());
    let squares: f64 = batches.iter().map(|batch| (batch - mean).powi(2)).sum();
    let error = (squares / (BATCHES - 1) as f64 / BATCHES as f64).sqrt();
    (mean > 0.0).then(|| error / mean)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// All but the results in which the runs differ: what they were asked to do, with what, and where.
fn differences(a: &Outcome, b: &Outcome) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |name: &str, a: String, b: String, unlike: bool| {
        if a != b {
            found.push(Difference { name: name.to_owned(), a, b, unlike });
        }
    };
    note("chains", a.chains.to_string(), b.chains.to_string(), true);
    note("connections", a.connections.to_string(), b.connections.to_string(), true);
    let names = a.options.keys().chain(b.options.keys().filter(|name| !a.options.contains_key(*name)));
    for name in names.filter(|name| !["chains", "connections"].contains(&name.as_str())) {
        let value = |run: &Outcome| run.options.get(name).map_or_else(|| "not known".to_owned(), plain);
        // A program that knows no such option ran as one that does runs without it, or so it may be.
        let known = a.options.contains_key(name) && b.options.contains_key(name);
        // Where the result goes and how long it took says nothing about what was measured.
        match name.as_str() {
            "data" | "json" | "html" | "no-limits" => {}
            "seconds" | "warm-up" => note(&format!("--{name}"), value(a), value(b), false),
            _ => note(&format!("--{name}"), value(a), value(b), known),
        }
    }
    let machine = |run: &Outcome| {
        let machine = &run.machine;
        let memory = bytes(machine.memory_bytes as f64);
        [machine.cpu.clone(), memory, machine.kernel.clone(), machine.disk.clone()]
    };
    note("processors", a.processors.to_string(), b.processors.to_string(), true);
    for ((name, a), b) in
        ["processor", "memory", "kernel", "disk"].into_iter().zip(machine(a)).zip(machine(b))
    {
        note(name, a, b, true);
    }
    if a.has_limits() && b.has_limits() {
        for limit in [Limit::Quic, Limit::Hash, Limit::WriteAndSync] {
            let (of_a, of_b) = (a.limits.of(limit), b.limits.of(limit));
            if of_a.min(of_b) > 0.0 && (of_a - of_b).abs() > UNLIKE_LIMITS * of_a.max(of_b) {
                note(&format!("limit of {}", limit.title()), count(of_a), count(of_b), true);
            }
        }
    }
    note("version", a.version.clone(), b.version.clone(), false);
    found
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "not given".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn verdict(a: &Outcome, b: &Outcome, groups: &[Group]) -> String {
    let main = &groups[0].rows[0];
    let what = match main.verdict {
        Verdict::Better => {
            format!(
                "B makes {} more side blocks a second durable than A",
                main.change.trim_start_matches('+')
            )
        }
        Verdict::Worse => {
            format!(
                "B makes {} fewer side blocks a second durable than A",
                main.change.trim_start_matches('-')
            )
        }
        Verdict::Noise => {
            "B makes as many side blocks a second durable as A, within the runs' own spread".to_owned()
        }
        Verdict::Same | Verdict::Neutral => "B makes as many side blocks a second durable as A".to_owned(),
    };
    if !a.has_limits() || !b.has_limits() {
        return format!("{what}.");
    }
    let (from, to) = (bottleneck(a), bottleneck(b));
    let place = if from == to {
        format!("the bottleneck is still {to}")
    } else {
        format!("the bottleneck moves from {from} to {to}")
    };
    format!("{what}; {place}.")
}

/// The bottleneck with the stage that takes most of it.
fn bottleneck(outcome: &Outcome) -> String {
    let limit = outcome.bottleneck.title();
    match &outcome.bottleneck_stage {
        Some(stage) => format!("{limit} (most: {})", super::summary::printable(stage)),
        None => limit.to_owned(),
    }
}
