use super::*;
use crate::command::bench::outcome::{Limits, Outcome};

/// The sample with throughput, its ticks and its main blocks multiplied.
fn faster(by: f64) -> Outcome {
    let mut outcome = Outcome::sample();
    outcome.blocks_per_second *= by;
    for tick in &mut outcome.timeline {
        tick.blocks_per_second *= by;
    }
    outcome.judged()
}

fn row<'a>(comparison: &'a Comparison<'_>, name: &str) -> &'a Row {
    let mut rows = comparison.groups.iter().flat_map(|group| &group.rows);
    rows.find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"))
}

/// The text without its colours.
fn plain_text(comparison: &Comparison<'_>) -> String {
    anstream::adapter::strip_str(&comparison.to_string()).to_string()
}

const RATE: &str = "durable side blocks a second";

#[test]
fn a_run_against_itself_has_no_change() {
    let run = Outcome::sample();
    let comparison = Comparison::of(&run, &run);
    assert!(comparison.differences.is_empty());
    for row in comparison.groups.iter().flat_map(|group| &group.rows) {
        assert_eq!(row.change, "0 %", "{}", row.name);
        assert!(matches!(row.verdict, Verdict::Same | Verdict::Neutral), "{}", row.name);
    }
    assert!(
        comparison
            .verdict
            .starts_with("B makes as many side blocks a second durable as A; the bottleneck is still")
    );
}

#[test]
fn more_blocks_are_better_and_more_latency_is_worse() {
    let (a, mut b) = (Outcome::sample(), faster(1.5));
    b.durable_p99_ms *= 2.0;
    b.seal_p50_ms /= 2.0;
    let comparison = Comparison::of(&a, &b);
    assert_eq!(
        (row(&comparison, RATE).verdict, row(&comparison, RATE).change.as_str()),
        (Verdict::Better, "+50 %")
    );
    assert_eq!(row(&comparison, "received to durable, p99").verdict, Verdict::Worse);
    assert_eq!(row(&comparison, "sealing a main block, p50").verdict, Verdict::Better);
    assert!(
        comparison.verdict.starts_with("B makes 50 % more side blocks a second durable than A"),
        "{}",
        comparison.verdict
    );
    let back = Comparison::of(&b, &a);
    assert_eq!((row(&back, RATE).verdict, row(&back, RATE).change.as_str()), (Verdict::Worse, "-33 %"));
}

#[test]
fn what_is_within_the_spread_of_the_runs_is_called_noise() {
    // Of 50 ticks 25 are half and 25 one and a half times as fast as the mean, in turns of five: batches differ.
    let uneven = |by: f64| {
        let mut outcome = faster(by);
        let measured = outcome.timeline.iter_mut().filter(|tick| tick.at > 0.0).enumerate();
        for (index, tick) in measured {
            tick.blocks_per_second = 6.33e6 * by * if index / 5 % 2 == 0 { 0.5 } else { 1.5 };
        }
        outcome
    };
    let (a, b) = (uneven(1.0), uneven(1.1));
    assert_eq!(row(&Comparison::of(&a, &b), RATE).verdict, Verdict::Noise);
    assert!(plain_text(&Comparison::of(&a, &b)).contains("within the runs' own spread"));
    // The same difference between runs that hold still is one.
    let even = |by: f64| {
        let mut outcome = faster(by);
        for tick in &mut outcome.timeline {
            tick.blocks_per_second = 6.33e6 * by;
        }
        outcome
    };
    assert_eq!(row(&Comparison::of(&even(1.0), &even(1.1)), RATE).verdict, Verdict::Better);
    // Runs too short to have a spread: small differences count for nothing, large ones do.
    let short = |by: f64| {
        let mut outcome = faster(by);
        outcome.timeline.truncate(12);
        outcome
    };
    assert_eq!(row(&Comparison::of(&short(1.0), &short(1.015)), RATE).verdict, Verdict::Noise);
    assert_eq!(row(&Comparison::of(&short(1.0), &short(1.1)), RATE).verdict, Verdict::Better);
}

#[test]
fn the_spread_is_that_of_batches_and_not_of_single_ticks() {
    // Ticks that differ within a batch as much as they like, and whose batches are all the same.
    let mut outcome = Outcome::sample();
    let last = outcome.timeline[59].clone();
    outcome.timeline = (1..=50)
        .map(|index| Tick {
            at: f64::from(index),
            blocks_per_second: f64::from(1 + index % 5),
            ..last.clone()
        })
        .collect();
    let error = relative_error(&outcome, |tick| Some(tick.blocks_per_second)).unwrap();
    assert!(error.abs() < 1e-12, "{error}");
    // Five batches of 1 and five of 3: a mean of 2, a deviation of sqrt(10 / 9), an error of a third.
    for (index, tick) in outcome.timeline.iter_mut().enumerate() {
        tick.blocks_per_second = if index / 5 % 2 == 0 { 1.0 } else { 3.0 };
    }
    let error = relative_error(&outcome, |tick| Some(tick.blocks_per_second)).unwrap();
    assert!((error - 1.0 / 3.0 / 2.0).abs() < 1e-12, "{error}");
}

#[test]
fn unlike_runs_are_pointed_out_before_their_figures() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.chains = 1_000;
    b.options.insert("chains".into(), 1_000.into());
    b.options.insert("skew".into(), "zipf".into());
    b.options.insert("data".into(), "elsewhere".into());
    b.machine.cpu = "another\u{1b}[31m".into();
    let comparison = Comparison::of(&a, &b);
    let names: Vec<&str> = comparison.differences.iter().map(|difference| difference.name.as_str()).collect();
    assert_eq!(names, ["chains", "--skew", "processor"], "each once, and not where the data lay");
    let text = plain_text(&comparison);
    let warning = text.find("warning: these runs differ").expect("a warning");
    assert!(warning < text.find(RATE).unwrap(), "{text}");
    assert!(text.contains("--skew     uniform -> zipf"), "{text}");
    assert!(text.contains("another\u{fffd}[31m"), "a file cannot steer the terminal: {text}");
}

#[test]
fn an_option_that_one_program_did_not_know_is_told_without_a_warning() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.options.insert("hashing".into(), 0.into());
    for (a, b) in [(&a, &b), (&b, &a)] {
        let text = plain_text(&Comparison::of(a, b));
        assert!(text.contains("--hashing") && text.contains("not known"), "{text}");
        assert!(!text.contains("warning"), "{text}");
    }
}

#[test]
fn a_machine_that_could_do_much_less_is_pointed_out() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.limits.hash *= 0.9;
    b.limits.quic *= 0.7;
    let text = plain_text(&Comparison::of(&a, &b));
    assert!(text.contains("warning") && text.contains("limit of QUIC  15.2 M -> 10.6 M"), "{text}");
    assert!(!text.contains("limit of hashing"), "a tenth is usual: {text}");
}

#[test]
fn another_version_or_duration_is_told_without_a_warning() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.version = "0.2.0".into();
    b.options.insert("seconds".into(), 30.into());
    let text = plain_text(&Comparison::of(&a, &b));
    assert!(text.contains("version    0.1.0 -> 0.2.0") && text.contains("--seconds  10 -> 30"), "{text}");
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn a_bottleneck_that_moves_is_told() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.limits = Limits { write_and_sync: 5e6, ..b.limits };
    let b = b.judged();
    let verdict = Comparison::of(&a, &b).verdict;
    assert!(
        verdict.contains("moves from processors, all shared (most: ingest) to write and sync"),
        "{verdict}"
    );
}

#[test]
fn what_follows_from_limits_is_compared_only_where_both_runs_have_them() {
    let (a, b) = (Outcome::sample(), Outcome::sample_without_limits());
    for text in [plain_text(&Comparison::of(&a, &b)), plain_text(&Comparison::of(&b, &a))] {
        assert!(text.contains(RATE) && text.contains("all processor time"), "{text}");
        for absent in ["roofline", "limits", "the disk alone", "bottleneck"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }
    assert!(plain_text(&Comparison::of(&a, &a)).contains("limits of the machine"));
}

#[test]
fn stages_stand_side_by_side_even_if_only_one_run_has_them() {
    let (a, mut b) = (Outcome::sample(), Outcome::sample());
    b.stages[0].name = "receive".into();
    let comparison = Comparison::of(&a, &b);
    let busy = comparison.groups.iter().find(|group| group.title == "stages: busy").unwrap();
    let names: Vec<&str> = busy.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["ingest", "seal", "append", "sync", "receive"]);
    assert_eq!((busy.rows[0].b.as_str(), busy.rows[4].change.as_str()), ("0.0 %", "from 0"));
}

#[test]
fn colours_are_there_to_be_taken_out() {
    let (a, b) = (Outcome::sample(), faster(2.0));
    let comparison = Comparison::of(&a, &b);
    assert!(comparison.to_string().contains("\u{1b}[32m+100 %  better"), "{comparison}");
    assert!(!plain_text(&comparison).contains('\u{1b}'));
}

#[test]
fn files_are_read_and_a_page_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    Outcome::sample().write(&path("a.json")).unwrap();
    faster(1.2).write(&path("b.json")).unwrap();
    run(&path("a.json"), &path("b.json"), Some(&path("c.html"))).unwrap();
    assert!(std::fs::read_to_string(path("c.html")).unwrap().contains("Two runs of mainstem bench"));

    std::fs::write(path("broken.json"), "{\"format\": 1, \"version\": 7}").unwrap();
    let error = run(&path("a.json"), &path("broken.json"), None).unwrap_err().to_string();
    assert!(error.contains("broken.json: field version: invalid type: integer `7`"), "{error}");
}
