//! AElf's rules against the vector files `tests/vectors/aelf_*.json`, and what is weak about them.
//!
//! Files are read when the tests run, whole and by their form: whoever has other data of the same form puts it there.
//! A file without a runner, a case of unknown form, and a case that checks nothing fail. Each run prints how many checks
//! it made. `aelf_gen_protobuf.json` is run where the messages are, in `net/aelf`.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod cache;
mod fees;
mod form;
mod ids;
mod indexing;
mod merkle;
mod pipeline;
mod small;
mod twin;
mod validation;
mod verification;
mod weaknesses;
mod world;

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Runs a file, and returns how many checks it made.
type Run = fn(Value) -> usize;

/// What runs a file whose name goes on like this after `aelf_`.
const RUNNERS: [(&str, Run); 13] = [
    ("from_tests_bloom_txid", small::run_blooms_and_ids),
    ("from_tests_cache", cache::run),
    ("from_tests_chain_id", ids::run),
    ("from_tests_fees", fees::run),
    ("from_tests_indexing", indexing::run),
    ("from_tests_merkle", merkle::run_cases),
    ("from_tests_validation", validation::run),
    ("from_tests_verification", verification::run),
    ("gen_chain_id", ids::run_generated),
    ("gen_cross_chain_extra", small::run_extra_data),
    ("gen_merkle", merkle::run_generated),
    ("gen_merkle_edge", merkle::run_facts),
    ("gen_tx_status_leaf", small::run_status_leaves),
];

/// Files that are run elsewhere.
const ELSEWHERE: [&str; 1] = ["gen_protobuf"];

/// Which of the names a file has: the longest one that its own begins with, so that `gen_merkle_edge_2` is a
/// `gen_merkle_edge`.
fn kind(file: &str) -> Option<&'static str> {
    let name = file.strip_prefix("aelf_")?.strip_suffix(".json")?;
    let kinds = RUNNERS.iter().map(|(kind, _)| *kind).chain(ELSEWHERE);
    kinds.filter(|kind| name.starts_with(kind)).max_by_key(|kind| kind.len())
}

/// The vector files, by name.
fn files() -> Vec<(String, Value)> {
    // Cargo says it to the tests that it runs; a copy of this program can be run on another folder.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let folder = Path::new(&package).join("tests/vectors");
    let mut files: Vec<_> = (fs::read_dir(&folder).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("aelf_"))
        .map(|name| {
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            let content = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, content)
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    files
}

#[test]
fn every_vector_file_holds_and_has_a_runner() {
    let mut kinds = Vec::new();
    for (name, mut content) in files() {
        let kind = kind(&name).unwrap_or_else(|| panic!("{name} has no runner"));
        let Some((_, run)) = RUNNERS.iter().find(|(runs, _)| *runs == kind) else { continue };
        form::strip_remarks(&mut content);
        println!("{name}");
        let checks = run(content);
        assert!(checks > 0, "{name} checks nothing");
        println!("{name}: {checks} checks");
        kinds.push(kind);
    }
    for (kind, _) in RUNNERS {
        assert!(kinds.contains(&kind), "aelf_{kind}.json is there");
    }
}

#[test]
fn a_case_of_unknown_form_is_refused() {
    let unknown = |value: &str, run: Run| {
        let value = serde_json::from_str(value).unwrap();
        std::panic::catch_unwind(|| run(value)).is_err()
    };
    assert!(unknown(r#"{"cases": [{"type": "leaf"}]}"#, merkle::run_cases));
    let more = r#"{"cases": [{"type": "node_count", "leaf_count": 4, "node_count": 7, "more": 1}]}"#;
    assert!(unknown(more, merkle::run_cases));
    assert!(!unknown(&more.replace(r#", "more": 1"#, ""), merkle::run_cases), "without it, it is run");
    let op = |op: &str| {
        let constants = r#"{"capacity": 1024, "default_block_cache_entity_count": 256}"#;
        let script = format!(r#"{{"chain_id": 1, "initial_target": 1, "ops": [{op}]}}"#);
        format!(
            r#"{{"constants": {constants}, "scripts": [{script}], "concurrent": [], "registration": []}}"#
        )
    };
    assert!(unknown(&op(r#"{"op": "peek"}"#), cache::run));
    assert!(unknown(&op(r#"{"op": "target", "expect": 2}"#), cache::run), "a wrong expectation");
    assert!(!unknown(&op(r#"{"op": "target", "expect": 1}"#), cache::run));
    assert_eq!(kind("aelf_gen_merkle_edge_2.json"), Some("gen_merkle_edge"));
    assert_eq!(kind("aelf_gen_surprise.json"), None);
}
