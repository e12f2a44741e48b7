//! `mainstem run` and `tributary sim`, each a process of its own.

use std::fs;
use std::path::Path;

use crate::support::node::{Chain, Data, Node};
use crate::support::process::Process;
use crate::support::{http, key, mainstem, run, tributary, wait_for};

/// `tributary sim` for these chains.
pub(crate) fn sim(node: &Node, key: &Path, chains: &str, more: &[&str]) -> Process {
    let mut command = tributary();
    command.args(["sim", "--main", &node.ingest, "--main-key", &node.key, "--chain", chains, "--key"]);
    Process::start("tributary sim", command.arg(key).args(more))
}

#[test]
fn a_node_indexes_what_a_tributary_sends_and_proves_it() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let chain = |id, first_height| Chain { id, first_height, keys: vec![public.clone()] };
    let data = Data::new(&[chain(1_866_392, 1), chain(7, 1)]);
    let mut node = Node::start(&data.path(), None, &["--log.format", "json"]);
    let mut tributary = sim(&node, &key_file, "tDVV,7", &["--rate", "0", "--stop-at", "2000"]);
    assert!(tributary.wait().success(), "{}", tributary.output());
    let durable = http::try_durable(&node.api).unwrap();
    assert!(
        durable.iter().map(|(id, _)| *id).eq([7, 1_866_392])
            && durable.iter().all(|(_, height)| *height >= 2000)
    );

    // A proof from the running node, with and without a head, from its directory while it runs, and afterwards.
    let proof = |args: &[&str]| {
        let (code, out, error) =
            run(mainstem().args(["proof", "--chain", "tDVV", "--height", "1234"]).args(args));
        assert_eq!(code, 0, "{error}");
        out
    };
    let head = http::get(&node.api, "/v1/blocks/latest");
    let data_path = data.path();
    let data_path = data_path.to_str().unwrap();
    let plain = proof(&["--node", &node.api]);
    assert_eq!(proof(&["--data", data_path]), plain);
    let trusting = proof(&["--node", &node.api, "--head", &head["header"]["height"].to_string()]);
    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());
    assert_eq!(proof(&["--data", data_path]), plain);

    let (one, two) = (dir.path().join("1.json"), dir.path().join("2.json"));
    fs::write(&one, plain).unwrap();
    fs::write(&two, trusting).unwrap();
    let (code, _, error) = run(mainstem().arg("verify").args([&one, &two]));
    assert_eq!(code, 0, "{error}");
    let trusted = head["hash"].as_str().unwrap();
    let (code, _, error) = run(mainstem().args(["verify", "--trusted-header", trusted]).arg(&two));
    assert_eq!(code, 0, "{error}");

    // Its log is JSON from the first line to the last.
    for line in node.process.output().lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn what_is_missing_is_told_by_the_command_that_asks_for_it() {
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec!["ab".repeat(32)] }]);
    let node = Node::start(&data.path(), None, &[]);
    let proof = |args: &[&str]| run(mainstem().args(["proof", "--node", &node.api]).args(args));
    let (code, out, error) = proof(&["--chain", "7", "--height", "1"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(error, "error[MS-4023]: chain 3MNX: height 1 was not received yet; received up to 0\n");
    let (code, _, error) = proof(&["--chain", "8", "--height", "1"]);
    assert_eq!(code, 1);
    assert!(error.contains("is not registered here"), "{error}");
    let nowhere = ["proof", "--node", "http://127.0.0.1:1", "--chain", "7", "--height", "1"];
    let (code, _, error) = run(mainstem().args(nowhere));
    assert_eq!(code, 5);
    assert!(error.contains("is the node running there?"), "{error}");
    assert_eq!(proof(&["--chain", "7", "--height", "0"]).0, 2);
}

#[test]
fn a_node_that_cannot_store_any_more_says_why_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec![public] }]);
    let more = ["--storage.segment-bytes", "1MiB", "--seal.max-leaves", "2048"];
    let mut node = Node::start(&data.path(), None, &more);
    // Where segment 4 is to be made there is a directory.
    fs::create_dir(data.log().join("0000000004.seg.tmp")).unwrap();
    let _tributary = sim(&node, &key_file, "7", &["--rate", "0"]);
    assert_eq!(node.process.wait().code(), Some(1), "{}", node.process.output());
    let output = node.process.output();
    let reason = output.lines().rfind(|line| line.starts_with("error")).expect("a reason");
    assert!(reason.contains("0000000004.seg.tmp"), "{reason}");
}

#[test]
fn a_tributary_with_an_unknown_key_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    key(&key_file);
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec!["ab".repeat(32)] }]);
    let node = Node::start(&data.path(), None, &[]);
    let mut tributary = sim(&node, &key_file, "7", &[]);
    assert_eq!(tributary.wait().code(), Some(3), "{}", tributary.output());
}

#[test]
fn a_node_that_starts_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec![public] }]);
    let first = Node::start(&data.path(), None, &[]);
    let (ingest, main_key) = (first.ingest.clone(), first.key.clone());
    drop(first);
    let mut command = tributary();
    command.args([
        "sim",
        "--main",
        &ingest,
        "--main-key",
        &main_key,
        "--chain",
        "7",
        "--stop-at",
        "5",
        "--key",
    ]);
    let mut tributary = Process::start("tributary sim", command.arg(&key_file));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!tributary.ended(), "{}", tributary.output());
    let node = Node::start(&data.path(), Some(&ingest), &[]);
    assert!(tributary.wait().success(), "{}", tributary.output());
    wait_for("five blocks", || (http::durable(&node.api, 7) >= 5).then_some(()));
}
