//! `mainstem bench`: that it measures what it says and leaves nothing behind, not how fast anything is.

use serde_json::Value;

use crate::support::{alone, mainstem, run};

#[test]
fn bench_counts_durable_blocks_writes_its_result_and_cleans_up() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("result.json"));
    let mut command = mainstem();
    command.args(["bench", "--chains", "3", "--connections", "2", "--seconds", "1", "--warm-up", "0"]);
    command.arg("--data").arg(&data).arg("--json").arg(&json);
    let (code, out, error) = run(&mut command);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.starts_with("3 chains over 2 connections"), "{out}");
    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&result["chains"], &result["connections"]), (&3.into(), &2.into()));
    let of = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("{name} is missing: {result}"));
    assert!(of("blocks_per_second") > 0.0);
    assert!((of("blocks_per_second") * of("seconds") - of("side_blocks")).abs() < 1.0);
    assert!(of("durable_p50_ms") > 0.0 && of("durable_p50_ms") <= of("durable_p99_ms"));
    assert!(result["limits"]["hash"].as_f64() > Some(0.0));
    assert!(result["limits"]["write_and_sync"].as_f64() > Some(0.0));
    assert!(!data.exists(), "the log of a bench is removed");

    std::fs::create_dir(&data).unwrap();
    let (code, _, error) = run(mainstem().arg("bench").arg("--data").arg(&data));
    assert_eq!(code, 1);
    assert!(error.contains("exists; a bench makes its directory anew"), "{error}");
    assert!(data.exists(), "what was there before stays");
}
