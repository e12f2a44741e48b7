//! `mainstem run --explain`: the plan of threads and memory.

use std::net::TcpListener;

use crate::support::node::{Chain, Data};
use crate::support::{mainstem, run};

fn explain(args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = mainstem();
    let (code, out, error) =
        run(command.args(["run", "--explain", "--data"]).arg(dir.path().join("none")).args(args));
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

/// How many threads of this kind there are, by the text.
fn threads(text: &str, kind: &str) -> usize {
    let line = text.lines().find(|line| line.trim_start().starts_with(kind));
    let line = line.unwrap_or_else(|| panic!("{kind} in {text}"));
    line.split("  ").map(str::trim).find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

#[test]
fn each_machine_gets_a_plan_with_reasons_and_settings() {
    for (cores, ingest, hashing) in [("1", 1, 1), ("2", 1, 1), ("16", 8, 8), ("64", 32, 16)] {
        let text = explain(&["--cores", cores]);
        assert_eq!((threads(&text, "ingest-0"), threads(&text, "seal")), (ingest, hashing), "{text}");
        assert_eq!((threads(&text, "persist"), threads(&text, "api-0")), (1, 2), "{text}");
        for said in
            ["rule: ", "ingest.reactors", "threads.hashing", "narrowest: ", "lanes", "frames", "windows"]
        {
            assert!(text.contains(said), "{said:?} in {text}");
        }
    }
    let here = explain(&[]);
    assert!(threads(&here, "all") >= 5, "{here}");
}

#[test]
fn what_is_set_is_shown_with_its_place() {
    let text = explain(&["--cores", "16", "--threads.hashing", "3", "--cache.lane_blocks=64"]);
    assert_eq!(threads(&text, "seal"), 3);
    assert!(text.contains("threads.hashing = 3 (flag --threads.hashing)"), "{text}");
    assert!(text.contains("cache.lane_blocks = 64 (flag --cache.lane-blocks)"), "{text}");
}

#[test]
fn it_counts_the_chains_of_the_data_directory_and_starts_nothing() {
    let chain = |id| Chain { id, first_height: 1, keys: vec!["ab".repeat(32)] };
    let data = Data::new(&[chain(7), chain(8)]);
    // A node would not get this port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, out, error) =
        run(mainstem().args(["run", "--explain", "--api.addr", &addr, "--data"]).arg(data.path()));
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("2 chains of "), "{out}");
    assert!(!data.path().join("log").exists());
}

#[test]
fn another_machine_can_only_be_explained() {
    let (code, _, error) = run(mainstem().args(["run", "--cores", "64"]));
    assert_eq!(code, 2);
    assert!(error.contains("--explain"), "{error}");
    let (code, _, error) = run(mainstem().args(["run", "--explain", "--cores", "0"]));
    assert_eq!(code, 2);
    assert!(error.contains("from 1 to 4096"), "{error}");
}
