//! `mainstem bench`: that it measures what it says and leaves nothing behind, not how fast anything is.

use std::path::Path;

use serde_json::Value;

use crate::support::{alone, mainstem, run};

/// Runs a bench that must end well; gives its JSON and what it printed.
fn bench(dir: &Path, flags: &str) -> (Value, String) {
    let (data, json) = (dir.join("data"), dir.join("result.json"));
    let mut command = mainstem();
    command.arg("bench").args(flags.split_whitespace()).arg("--data").arg(&data).arg("--json").arg(&json);
    let (code, out, error) = run(&mut command);
    assert_eq!(code, 0, "{flags}: {out}{error}");
    assert!(!data.exists(), "the log of a bench is removed");
    (serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap(), out)
}

fn number(result: &Value, path: &str) -> f64 {
    result.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is missing: {result}"))
}

#[test]
fn bench_counts_durable_blocks_sets_them_against_the_machines_limits_and_cleans_up() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("result.html");
    let flags = format!("--chains 3 --connections 2 --blocks 200k --html {}", html.display());
    let (result, out) = bench(dir.path(), &flags);
    assert!(out.starts_with("3 chains over 2 connections"), "{out}");
    let of = |path: &str| number(&result, path);
    assert_eq!((of("/chains"), of("/connections"), of("/format")), (3.0, 2.0, 1.0));
    assert!(of("/blocks_per_second") > 0.0 && of("/main_blocks") > 0.0);
    assert!((of("/blocks_per_second") * of("/seconds") - of("/side_blocks")).abs() < 1.0);
    for name in ["durable", "seal", "sync", "disk_sync"] {
        let (p50, p99) = (of(&format!("/{name}_p50_ms")), of(&format!("/{name}_p99_ms")));
        // A disk that keeps what is synced in memory takes less than is counted.
        assert!(p50 >= 0.0 && p50 <= p99, "{name}: {p50} {p99}");
    }

    // The lowest limit that is known is the roofline and names the bottleneck.
    let limits =
        ["quic", "hash", "write_and_sync", "processors"].map(|name| (name, of(&format!("/limits/{name}"))));
    let lowest = limits.into_iter().filter(|limit| limit.1 > 0.0).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(result["bottleneck"], lowest.0);
    assert!((of("/roofline_blocks_per_second") - lowest.1).abs() < 1.0);
    assert!((of("/ratio") - of("/blocks_per_second") / lowest.1).abs() < 1e-6);
    assert_eq!(result["bottleneck_stage"].is_string(), lowest.0 == "processors");
    if cfg!(target_os = "linux") {
        let costs =
            ["quic_send", "quic_receive", "hash", "write"].map(|name| of(&format!("/costs_ns/{name}")));
        assert!(costs.iter().all(|ns| *ns > 0.0), "{costs:?}");
        let needs = of("/processors") * 1e9 / costs.iter().sum::<f64>();
        assert!((of("/limits/processors") / needs - 1.0).abs() < 1e-6);
        let groups = ["load", "ingest", "seal", "hash", "persist", "other"]
            .map(|name| of(&format!("/spent_ns/{name}")));
        assert!(groups[0] > 0.0 && groups[1] > 0.0 && groups[4] > 0.0, "{groups:?}");
        assert!((groups.iter().sum::<f64>() - of("/spent_ns/total")).abs() < 0.1);
        assert!(of("/machine/memory_bytes") > 0.0 && of("/machine/processors") > 0.0);
        assert!(of("/timeline/0/memory_bytes") > 0.0);
    }
    let stages: Vec<_> = result["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(stages, ["ingest", "seal", "append", "sync"]);
    let latency = result["latency"].as_array().unwrap();
    assert!(latency.is_sorted_by(|a, b| a["ms"].as_f64() <= b["ms"].as_f64()), "{latency:?}");
    let timeline = result["timeline"].as_array().unwrap();
    assert!((1..=600).contains(&timeline.len()));
    assert!(timeline.is_sorted_by(|a, b| a["at"].as_f64() < b["at"].as_f64()), "{timeline:?}");
    assert!(of("/timeline/0/at") > 0.0, "there was no warm-up");
    assert!(of("/timeline/0/utilisation/seal") >= 0.0 && of("/timeline/0/queue/ingest") >= 0.0);
    assert!(of("/allocations/per_side_block") >= 0.0);
    assert_eq!((&result["options"]["rate"], result.get("late_p99_ms")), (&Value::Null, None));
    assert_eq!(result["options"]["blocks"], 200_000);
    assert!(result["started"].as_str().unwrap().ends_with('Z'));

    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(
        page.matches("<svg").count() >= 4 && page.matches("<svg").count() == page.matches("</svg>").count()
    );

    let same = dir.path().join("result.json");
    let (code, out, error) = run(mainstem().args(["bench", "--compare"]).arg(&same).arg(&same));
    assert_eq!(code, 0, "{out}{error}");
}

#[test]
fn a_paced_bench_sends_no_faster_than_its_rate_and_says_how_late_it_was() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let flags = "--chains 10 --connections 2 --rate 2k --skew zipf --batch 50 --blocks 2k --no-limits";
    let (result, out) = bench(dir.path(), flags);
    // The last block of each chain is due in its last interval, of the rarest chain about 3 % of the second before its end.
    let seconds = number(&result, "/seconds");
    assert!(seconds > 0.9, "{seconds}");
    assert_eq!(result["options"]["skew"], "zipf");
    assert!(out.contains("after they were due") && out.contains("sent after it was due"), "{out}");
    assert!(number(&result, "/late_p50_ms") <= number(&result, "/late_p99_ms"));
    assert!(result.get("limits").is_none() && result.get("ratio").is_none(), "they were not measured");
}

#[test]
fn a_bench_of_some_seconds_lasts_so_long_and_shows_its_warm_up_apart() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (result, _) =
        bench(dir.path(), "--chains 5 --seconds 1 --warm-up 1 --seal-interval-ms 10 --no-limits");
    let of = |path: &str| number(&result, path);
    assert!(of("/seconds") >= 1.0);
    assert!((of("/blocks_per_second") * of("/seconds") - of("/side_blocks")).abs() < 1.0);
    let timeline = result["timeline"].as_array().unwrap();
    let times = || timeline.iter().map(|tick| number(tick, "/at"));
    assert!(times().any(|at| at < 0.0) && times().any(|at| at > 0.0), "{timeline:?}");
    assert_eq!((&result["options"]["warm-up"], &result["options"]["blocks"]), (&1.into(), &Value::Null));
}

#[test]
fn a_bench_that_catches_up_ends_with_the_last_block() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (result, _) =
        bench(dir.path(), "--chains 7 --skew giant --blocks 20_001 --seal-interval-ms 0 --no-limits");
    assert_eq!(result["side_blocks"], 20_001);
    assert_eq!(result["options"]["blocks"], 20_001);
    assert_eq!(result["options"]["seconds"], Value::Null);
}

#[test]
fn bench_machine_says_how_many_side_blocks_each_part_allows() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("machine.json"));
    let (code, out, error) =
        run(mainstem().args(["bench", "machine", "--data"]).arg(&data).arg("--json").arg(&json));
    assert_eq!(code, 0, "{out}{error}");
    assert!(!data.exists());
    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let measures = result["measures"].as_array().unwrap();
    assert_eq!(measures.len(), 8);
    for measure in measures {
        let value = number(measure, "/value");
        assert!(
            value > 0.0 && number(measure, "/low") <= value && value <= number(measure, "/high"),
            "{measure}"
        );
        let blocks = number(measure, "/blocks_per_second");
        assert!((blocks - value / number(measure, "/needs")).abs() < 1.0, "{measure}");
        assert!(out.contains(measure["name"].as_str().unwrap()), "{out}");
    }
    let narrowest = measures.iter().find(|measure| measure["name"] == result["narrowest"]).unwrap();
    assert_eq!(narrowest["blocks_per_second"], result["narrowest_blocks_per_second"]);
    let lower =
        |measure: &&Value| number(measure, "/blocks_per_second") < number(narrowest, "/blocks_per_second");
    // What one thread can do is no limit of a machine with several, nor what two can of one with more.
    let few =
        ["hashing, 1 thread", "memory, copied", "memory, read", "UDP, GSO and GRO", "QUIC, 1 connection"];
    let exempt = |measure: &Value| few.iter().any(|name| measure["name"] == *name);
    assert!(measures.iter().filter(lower).all(exempt), "{out}");
}

#[test]
fn a_bench_that_cannot_be_is_refused_with_what_is_wrong() {
    for (flags, named) in [
        ("--chains 0", "'0' for '--chains <N>': 0 is out of range: expected 1 to 10000"),
        ("--connections 1001", "'--connections <N>': 1001 is out of range: expected 1 to 1000"),
        ("--rate 1.5", "'--rate <N>': expected a number, such as 250000"),
        ("--skew lopsided", "'lopsided' for '--skew <SKEW>'"),
        ("--batch 5000", "'--batch <N>': 5000 is out of range: expected 1 to 4096"),
        ("--blocks 5 --seconds 3", "'--blocks <N>' cannot be used with '--seconds <S>'"),
        ("--lane-blocks 0", "'--lane-blocks <N>': 0 is out of range"),
        ("--compare a.json", "2 values required"),
        ("--compare a.json b.json --chains 5", "cannot be used with '--chains <N>'"),
        ("--compare a.json b.json --json c.json", "cannot be used with '--json <FILE>'"),
        ("machine --chains 5", "unexpected argument '--chains'"),
    ] {
        let (code, _, error) = run(mainstem().arg("bench").args(flags.split_whitespace()));
        assert_eq!(code, 2, "{flags}: {error}");
        assert!(error.contains(named), "{flags}: {error}");
    }
    let (code, _, error) = run(mainstem().args(["bench", "--chains", "2", "--connections", "5"]));
    assert_eq!(code, 1);
    assert!(error.contains("--connections is 5, and --chains 2"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let (code, _, error) = run(mainstem().arg("bench").arg("--data").arg(dir.path()));
    assert_eq!(code, 1);
    assert!(error.contains("exists; a bench makes its directory anew"), "{error}");
    assert!(dir.path().exists(), "what was there before stays");

    // A result that could not be written is refused before anything is measured.
    let (data, missing) = (dir.path().join("data"), dir.path().join("missing/result"));
    for flags in [&["bench", "--json"][..], &["bench", "--html"], &["bench", "machine", "--json"]] {
        let (code, out, error) = run(mainstem().args(flags).arg(&missing).arg("--data").arg(&data));
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        assert!(error.contains("missing/result cannot be written") && !data.exists(), "{error}");
    }
}
