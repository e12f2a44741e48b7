use std::fs;
use std::path::Path;

use super::file::{MAX_BYTES, OutcomeError};
use super::*;

fn parse(json: &str) -> Result<Outcome, OutcomeError> {
    Outcome::parse(json.as_bytes(), Path::new("a.json"))
}

/// The sample as JSON, changed in one place.
fn with(pointer: &str, value: Value) -> String {
    let mut json = serde_json::to_value(Outcome::sample()).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    json.to_string()
}

fn refusal(json: &str) -> String {
    parse(json).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, sample) = (dir.path().join("a.json"), Outcome::sample());
    sample.write(&path).unwrap();
    assert!(Outcome::read(&path).unwrap() == sample);
}

#[test]
fn scripts_find_the_fields_they_rely_on() {
    let json = serde_json::to_value(Outcome::sample()).unwrap();
    for name in [
        "blocks_per_second",
        "durable_p50_ms",
        "durable_p99_ms",
        "seal_p99_ms",
        "sync_p99_ms",
        "roofline_blocks_per_second",
        "ratio",
    ] {
        assert!(json[name].as_f64() > Some(0.0), "{name}");
    }
    for name in ["quic", "hash", "write_and_sync", "processors"] {
        assert!(json["limits"][name].as_f64() > Some(0.0), "{name}");
    }
    assert_eq!(json["bottleneck"], "processors");
    assert_eq!(json["bottleneck_stage"], "ingest");
    assert_eq!(json["format"], 1);
}

#[test]
fn the_roofline_is_the_lowest_limit_and_a_stage_is_named_only_for_the_processors() {
    let mut outcome = Outcome::sample();
    outcome.limits = Limits { quic: 4e6, hash: 3e6, write_and_sync: 2e6, processors: 5e6 };
    outcome.blocks_per_second = 1e6;
    let outcome = outcome.judged();
    assert_eq!((outcome.bottleneck, outcome.roofline_blocks_per_second), (Limit::WriteAndSync, 2e6));
    assert!((outcome.ratio - 0.5).abs() < 1e-9);
    assert_eq!(outcome.bottleneck_stage, None);
}

#[test]
fn fields_of_a_newer_program_are_ignored() {
    let mut json = serde_json::to_value(Outcome::sample()).unwrap();
    json["novel"] = Value::from(1);
    json["timeline"][0]["novel"] = Value::from("x");
    assert!(parse(&json.to_string()).unwrap() == Outcome::sample());
}

#[test]
fn without_limits_nothing_is_written_that_follows_from_them() {
    let without = Outcome::sample_without_limits();
    assert!(!without.has_limits() && Outcome::sample().has_limits());
    assert!(parse(&without.to_json()).unwrap() == without);
    let json: Value = serde_json::from_str(&without.to_json()).unwrap();
    for name in
        ["limits", "ratio", "roofline_blocks_per_second", "bottleneck", "costs_ns", "disk_sync_p99_ms"]
    {
        assert_eq!(json.get(name), None, "{name}");
    }
    assert!(json.get("sync_p99_ms").is_some());
}

#[test]
fn a_limit_of_zero_is_not_known_and_so_not_the_lowest() {
    let mut outcome = Outcome::sample();
    outcome.limits.processors = 0.0;
    let outcome = outcome.judged();
    assert_eq!((outcome.bottleneck, outcome.roofline_blocks_per_second), (Limit::Quic, 15.2e6));
    assert_eq!(outcome.bottleneck_stage, None);
    assert!(outcome.has_limits() && parse(&outcome.to_json()).unwrap() == outcome);
    assert_eq!(Limits::default().lowest(), None);
}

#[test]
fn sealing_and_hashing_are_one_part_of_what_is_shown() {
    let mut outcome = Outcome::sample();
    // The pool hashes little, the thread that seals the rest.
    (outcome.spent_ns.seal, outcome.spent_ns.hash) = (60.0, 50.0);
    let outcome = outcome.judged();
    assert_eq!(outcome.bottleneck_stage.as_deref(), Some(SEAL_AND_HASH));
    assert_eq!(outcome.spent_ns.shown()[2], (SEAL_AND_HASH, 110.0));
    assert_eq!(outcome.costs_ns.of_group(SEAL_AND_HASH), Some(61.0));
}

#[test]
fn a_broken_file_is_refused_by_name_and_field() {
    assert!(refusal("nonsense").starts_with("a.json: field .: "), "{}", refusal("nonsense"));
    let cut = serde_json::to_string(&Outcome::sample()).unwrap();
    assert!(refusal(&cut[..cut.len() / 2]).contains("EOF"));
    assert!(refusal(&format!("{cut} {{}}")).contains("trailing"));
    let kind = refusal(&with("/timeline/3/at", "soon".into()));
    assert!(kind.starts_with("a.json: field timeline[3].at: invalid type: string"), "{kind}");
    let missing = refusal(r#"{"format": 1, "version": "0.1.0"}"#);
    assert!(missing.contains("missing field `processors`"), "{missing}");
    assert_eq!(refusal(r#"{"format": 2}"#), "a.json: field format: 2, and this program reads 1");
}

#[test]
fn values_that_no_run_gives_are_refused() {
    let cases = [
        ("/blocks_per_second", Value::from(-1.0), "field blocks_per_second: -1, and must be 0 to 1e18"),
        ("/stages/1/queue_max", Value::from(1e300), "field stages[1].queue_max"),
        ("/timeline/0/at", Value::from(-1e19), "field timeline[0].at"),
        ("/timeline/5/at", Value::from(-100), "field timeline[5].at: before"),
        ("/latency/2/quantile", Value::from(101), "field latency[2].quantile: 101, and must be 0 to 100"),
        ("/seconds", Value::from(0), "field seconds: 0, and must be above 0"),
        ("/machine/cpu", Value::from("x".repeat(5_000)), "field machine.cpu: 5000 bytes"),
    ];
    for (pointer, value, expected) in cases {
        let refusal = refusal(&with(pointer, value));
        assert!(refusal.contains(expected), "{pointer}: {refusal}");
    }
    let tick = serde_json::to_value(&Outcome::sample().timeline[0]).unwrap();
    let refusal = refusal(&with("/timeline", Value::Array(vec![tick; 601])));
    assert!(refusal.contains("field timeline: 601 entries, and at most 600 are read"), "{refusal}");
}

#[test]
fn a_file_that_is_too_long_or_not_there_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.json");
    fs::write(&path, vec![b' '; MAX_BYTES as usize + 1]).unwrap();
    assert!(Outcome::read(&path).unwrap_err().to_string().contains("longer than"));
    let missing = Outcome::read(&dir.path().join("missing.json")).unwrap_err().to_string();
    assert!(missing.contains("missing.json cannot be read"), "{missing}");
}
