use std::collections::BTreeMap;

use clap::Parser;

use super::results::{Figures, Section};
use super::{Goals, Latency, Results, Shape, rows};
use crate::bench::{Outcome, Quantile, Tick};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    goals: Goals,
}

fn goals(flags: &[&str]) -> Goals {
    Cli::parse_from(["goals"].iter().chain(flags)).goals
}

fn run(speed: f64, node_ns: f64) -> Outcome {
    Outcome {
        side_blocks: 100_000_000,
        blocks_per_second: speed,
        durable_p50_ms: 4.0,
        durable_p99_ms: 140.0,
        limits: Some(BTreeMap::from([("quic".into(), 9e6), ("processors".into(), 8e6)])),
        roofline_blocks_per_second: Some(8e6),
        ratio: Some(speed / 8e6),
        bottleneck: Some("processors".into()),
        spent_ns: BTreeMap::from([("load".into(), 70.0), ("total".into(), 70.0 + node_ns)]),
        latency: vec![Quantile { quantile: 50.0, ms: 4.0 }, Quantile { quantile: 99.0, ms: 140.0 }],
        ..Outcome::default()
    }
}

/// A tick of a tenth of a second at six million blocks a second.
fn tick(tenth: u32, busy: f64, memory: u64) -> Tick {
    let utilisation = BTreeMap::from([("ingest".into(), busy)]);
    Tick { at: f64::from(tenth) / 10.0, blocks_per_second: 6e6, utilisation, memory_bytes: memory << 20 }
}

pub(crate) fn results() -> Results {
    let section = |data| Some(Section { commit: "abc".into(), machine: "M1".into(), data });
    let peer = Figures { blocks_per_second: 1e6, ..Figures::default() };
    let shape = |chains, connections, speed| {
        let mut shape = Shape { chains, connections, ..Shape::default() };
        for _ in 0..3 {
            shape.turn(Some(run(speed, 100.0)), Some(peer));
        }
        shape
    };
    let alone = |chains| Shape { chains, connections: 1, runs: vec![run(6e6, 100.0); 3], ..Shape::default() };
    let catch_up =
        Outcome { timeline: (1..=40).map(|tenth| tick(tenth, 0.5, 100)).collect(), ..run(6e6, 100.0) };
    Results {
        shapes: section(vec![
            shape(100, 1, 5e6),
            shape(10_000, 10, 2.9e6),
            shape(1_000, 100, 4e6),
            shape(10_000, 1_000, 11e6),
        ]),
        latency: Some(Section {
            commit: "abc".into(),
            machine: "M1".into(),
            data: [100, 0]
                .map(|interval_ms| Latency { interval_ms, rate: 2_500_000, runs: vec![run(2.5e6, 1.0)] })
                .into(),
        }),
        flat: section([1, 10, 100, 1_000].map(alone).into()),
        catch_up: Some(Section { commit: "abc".into(), machine: "M1".into(), data: catch_up }),
    }
}

/// Whether each goal is met, in the order of the rows.
fn met(flags: &[&str], results: &Results) -> Vec<bool> {
    met_with(flags, results, &Results::default())
}

fn met_with(flags: &[&str], now: &Results, kept: &Results) -> Vec<bool> {
    let text = rows::markdown(&goals(flags), now, kept);
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let met = |line: &str| line.split('|').nth(5).map(|cell| cell.trim() == "yes");
    text.lines().skip(2).filter_map(met).collect()
}

/// Every goal was tried, and no run succeeded.
fn failed() -> Results {
    let mut results = results();
    let none = |shape: &mut Shape| {
        *shape = Shape { chains: shape.chains, connections: shape.connections, ..Shape::default() };
    };
    results.shapes.as_mut().unwrap().data.iter_mut().for_each(none);
    results.flat.as_mut().unwrap().data.iter_mut().for_each(none);
    results.latency.as_mut().unwrap().data.iter_mut().for_each(|pace| pace.runs.clear());
    results.catch_up = None;
    results
}

#[test]
fn a_goal_is_met_only_by_what_was_promised() {
    let results = results();
    // Rate and share of the roofline, shape after shape.
    assert_eq!(met(&["--only", "shapes"], &results), [true, true, false, false, true, false, true, true]);
    assert_eq!(met(&["--only", "peer"], &results), [false, false, false, true]);
    // p99 of 140 ms is enough with an interval, and not when sealing at once.
    assert_eq!(met(&["--only", "latency"], &results), [true, false]);
}

#[test]
fn a_latency_counts_only_at_the_rate_it_was_promised_at() {
    let mut results = results();
    let pace = &mut results.latency.as_mut().unwrap().data[0];
    pace.rate = 2_552_000;
    assert!(!met(&["--only", "latency"], &results)[0]);
    results.latency.as_mut().unwrap().data[0].rate = 2_550_000;
    assert!(met(&["--only", "latency"], &results)[0]);
}

#[test]
fn how_late_a_paced_load_was_is_shown_where_it_is_told() {
    let mut results = results();
    let text = rows::markdown(&goals(&["--only", "latency"]), &results, &Results::default());
    assert!(!text.contains("late by"), "{text}");
    let run = &mut results.latency.as_mut().unwrap().data[0].runs[0];
    (run.late_p50_ms, run.late_p99_ms) = (Some(0.25), Some(7.5));
    let text = rows::markdown(&goals(&["--only", "latency"]), &results, &Results::default());
    assert!(text.contains("sent late by p50 0.2, p99 7.5"), "{text}");
}

#[test]
fn what_was_not_measured_has_its_rows_and_is_not_met() {
    let results = failed();
    // Two rows for each shape, one for the peer, one for allocations; two paces; flat; three of catching up.
    assert_eq!(met(&[], &results), [false; 16 + 2 + 1 + 3]);
    // Nor where nothing was even begun.
    assert_eq!(met(&[], &Results::default()), [false; 16 + 2 + 1 + 3]);
    let text = rows::markdown(&goals(&[]), &results, &Results::default());
    assert_eq!(text.lines().skip(2).filter(|line| !line.contains("not measured")).count(), 0, "{text}");
}

#[test]
fn a_peer_that_fails_takes_no_run_of_ours_with_it() {
    let peer = Figures { blocks_per_second: 1e6, ..Figures::default() };
    let mut shape = Shape::default();
    shape.turn(Some(run(8e6, 100.0)), None);
    shape.turn(Some(run(9e6, 100.0)), Some(peer));
    shape.turn(None, Some(peer));
    assert_eq!((shape.runs.len(), shape.peer.len()), (2, 2));
    // Only the turn in which both succeeded compares them.
    assert_eq!((shape.over_peer().unwrap().low, shape.over_peer().unwrap().high), (9.0, 9.0));
}

#[test]
fn a_run_without_limits_is_held_against_those_of_its_shape() {
    let mut shape = Shape::default();
    shape.turn(Some(run(4e6, 100.0)), None);
    let unlimited = Outcome { roofline_blocks_per_second: None, ratio: None, ..run(6e6, 100.0) };
    shape.turn(Some(unlimited), None);
    let ratio = shape.ratio().unwrap();
    assert_eq!((ratio.low, ratio.median, ratio.high), (0.5, 0.625, 0.75));
}

#[test]
fn the_dearest_block_is_held_against_the_cheapest() {
    let mut results = results();
    results.flat.as_mut().unwrap().data[3].runs = vec![run(6e6, 119.0)];
    assert_eq!(met(&["--only", "flat"], &results), [true]);
    results.flat.as_mut().unwrap().data[3].runs = vec![run(6e6, 121.0)];
    assert_eq!(met(&["--only", "flat"], &results), [false]);
    // Of three out of four nothing follows.
    results.flat.as_mut().unwrap().data[3].runs.clear();
    assert_eq!(met(&["--only", "flat"], &results), [false]);
}

#[test]
fn catching_up_is_held_against_what_was_kept_only_if_that_is_of_the_same_program() {
    let now = |commit: &str| {
        let mut now = Results { shapes: None, ..results() };
        now.catch_up.as_mut().unwrap().commit = commit.into();
        now
    };
    let kept = |commit: &str| {
        let mut kept = results();
        kept.shapes.as_mut().unwrap().commit = commit.into();
        kept
    };
    let met = |of: &str, before: &str| met_with(&["--only", "catch-up"], &now(of), &kept(before))[0];
    assert!(met("abc", "abc"));
    for (of, before) in
        [("abc", "abd"), ("abc with changes", "abc with changes"), ("given program", "given program")]
    {
        assert!(!met(of, before), "{of}, {before}");
    }
}

#[test]
fn catching_up_is_held_against_its_own_beginning() {
    let mut results = results();
    // Rate, memory, cost.
    assert_eq!(met(&["--only", "catch-up"], &results), [true, true, true]);
    let ticks = &mut results.catch_up.as_mut().unwrap().data.timeline;
    ticks[38] = tick(39, 0.7, 111);
    ticks[39] = tick(40, 0.7, 100);
    assert_eq!(met(&["--only", "catch-up"], &results), [true, false, false]);
}

#[test]
fn figures_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deep/goals.json");
    assert!(Results::read(&file).unwrap().shapes.is_none());
    results().write(&file).unwrap();
    let again = Results::read(&file).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&results()).unwrap());
}

#[test]
fn a_result_without_limits_is_read() {
    let text =
        r#"{"format": 1, "chains": 1, "blocks_per_second": 2.5, "limits": null, "ratio": null, "news": 3}"#;
    let outcome: Outcome = serde_json::from_str(text).unwrap();
    assert_eq!((outcome.blocks_per_second, outcome.ratio), (2.5, None));
}

#[test]
fn pictures_have_a_place_for_every_value() {
    let dir = tempfile::tempdir().unwrap();
    crate::plot::write(&results(), dir.path()).unwrap();
    for name in ["shapes", "peer", "latency", "catch-up"] {
        let text = std::fs::read_to_string(dir.path().join(format!("{name}.svg"))).unwrap();
        assert!(
            text.ends_with("</svg>\n") && !text.contains("NaN") && !text.contains("inf"),
            "{name}: {text}"
        );
    }
    // Nothing was measured: nothing is drawn, and nothing fails.
    for results in [Results::default(), Results { catch_up: Some(Section::default()), ..failed() }] {
        let empty = tempfile::tempdir().unwrap();
        crate::plot::write(&results, empty.path()).unwrap();
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }
    // One shape and one pace without runs are left out, the others drawn.
    let mut some = results();
    some.shapes.as_mut().unwrap().data[1].runs.clear();
    some.shapes.as_mut().unwrap().data[1].over_peer.clear();
    some.latency.as_mut().unwrap().data[0].runs.clear();
    crate::plot::write(&some, dir.path()).unwrap();
    for name in ["shapes", "peer", "latency"] {
        let text = std::fs::read_to_string(dir.path().join(format!("{name}.svg"))).unwrap();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}: {text}");
        assert!(text.matches("10,000 chains").count() <= 1, "{name}: {text}");
    }
}

#[test]
fn the_middle_of_an_even_number_lies_between_two() {
    let middle = |values: &[f64]| crate::table::Spread::of(values.iter().copied()).median;
    assert_eq!((middle(&[1.0, 2.0, 9.0]), middle(&[9.0, 1.0, 2.0, 4.0])), (2.0, 3.0));
    assert_eq!(crate::table::Spread::of([]).to_string(), "not measured");
}
