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
    let shape = |chains, connections, speed| Shape {
        chains,
        connections,
        runs: vec![run(speed, 100.0); 3],
        peer: vec![peer; 3],
    };
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
        flat: section(vec![Shape { peer: Vec::new(), ..shape(1, 1, 6e6) }]),
        catch_up: Some(Section { commit: "abc".into(), machine: "M1".into(), data: catch_up }),
    }
}

/// Whether each goal is met, in the order of the rows.
fn met(flags: &[&str], results: &Results) -> Vec<bool> {
    let text = rows::markdown(&goals(flags), results);
    let met = |line: &str| line.split('|').nth(5).map(|cell| cell.trim() == "yes");
    text.lines().skip(2).filter_map(met).collect()
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
fn the_dearest_block_is_held_against_the_cheapest() {
    let mut results = results();
    let flat = &mut results.flat.as_mut().unwrap().data;
    flat.push(Shape { chains: 1_000, runs: vec![run(6e6, 119.0)], ..Shape::default() });
    assert_eq!(met(&["--only", "flat"], &results), [true]);
    results.flat.as_mut().unwrap().data[1].runs = vec![run(6e6, 121.0)];
    assert_eq!(met(&["--only", "flat"], &results), [false]);
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
    crate::plot::write(&Results::default(), dir.path()).unwrap();
}
