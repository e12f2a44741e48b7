//! The life of a node: stopped and started under load, steered while it runs, copied and restored, and refused where
//! something is of another version.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::support::node::{Chain, Data, Node};
use crate::support::{alone, http, indexed, key, mainstem, run, wait_for};
use crate::two_programs::sim;

const ROUNDS: usize = 5;
const CHAINS: [u32; 4] = [1_000_001, 1_000_002, 1_000_003, 1_000_004];

/// `mainstem ARGS --data DIR`: exit code, standard output and standard error.
fn at(data: &Path, args: &[&str]) -> (i32, String, String) {
    run(mainstem().args(args).arg("--data").arg(data))
}

/// The same, of which all must go well: what it prints.
fn done(data: &Path, args: &[&str]) -> String {
    let (code, out, error) = at(data, args);
    assert_eq!(code, 0, "{args:?}: {error}");
    out
}

fn total(api: &str) -> u64 {
    http::try_durable(api).unwrap().iter().map(|(_, height)| height).sum()
}

/// What was durable at some moment is in the log, contiguously, and as the simulated chains have it.
fn holds(reader: &storage::LogReader, seen: &BTreeMap<u32, u64>) {
    let chains = indexed::as_simulated(reader);
    for (id, height) in seen {
        let found = chains.iter().find(|(chain, _)| chain.0 == *id).map_or(0, |(_, chain)| chain.height().0);
        assert!(found >= *height, "chain {id}: {height} was durable, and the log has {found}");
    }
}

#[test]
fn a_node_stopped_and_started_again_and_again_under_load_loses_and_repeats_no_block() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let chains: Vec<_> =
        CHAINS.iter().map(|id| Chain { id: *id, first_height: 1, keys: vec![public.clone()] }).collect();
    let data = Data::new(&chains);
    // Small segments, so that stops and the snapshot fall between segments too.
    let more = ["--storage.segment-bytes", "1MiB", "--seal.max-leaves", "2048", "--seal.interval-ms", "20"];
    let mut node = Node::start(&data.path(), None, &more);
    let ingest = node.ingest.clone();
    let ids: Vec<_> = CHAINS.iter().map(ToString::to_string).collect();
    let mut tributary = sim(&node, &key_file, &ids.join(","), &["--rate", "0"]);

    let (mut seen, mut paused) = (BTreeMap::new(), 0);
    let copy = dir.path().join("copy");
    for round in 0..ROUNDS {
        let before = total(&node.api);
        wait_for("blocks to become durable", || (total(&node.api) > before + 500).then_some(()));
        match round {
            1 => {
                done(&data.path(), &["chains", "pause", &ids[0]]);
                // What was taken a moment before may still be sealed.
                paused = wait_for("the chain to rest", || {
                    let one = http::durable(&node.api, CHAINS[0]);
                    let others = total(&node.api);
                    wait_for("the others to go on", || (total(&node.api) > others + 500).then_some(()));
                    (http::durable(&node.api, CHAINS[0]) == one).then_some(one)
                });
            }
            2 => {
                assert_eq!(http::durable(&node.api, CHAINS[0]), paused, "it stays paused over restarts");
                done(&data.path(), &["chains", "resume", &ids[0]]);
                wait_for("the chain to go on", || {
                    (http::durable(&node.api, CHAINS[0]) > paused).then_some(())
                });
            }
            3 => {
                let before: BTreeMap<_, _> = http::try_durable(&node.api).unwrap().into_iter().collect();
                let out = done(&data.path(), &["snapshot", "--to", copy.to_str().unwrap()]);
                assert!(out.contains("private key is not in it"), "{out}");
                holds(&storage::LogReader::open(copy.join("log")).unwrap(), &before);
                seen = before;
            }
            _ => {}
        }
        let durable = http::try_durable(&node.api).unwrap();
        node.process.signal("TERM");
        assert!(node.process.wait().success(), "{}", node.process.output());
        assert!(node.process.output().contains("stopped in order"), "{}", node.process.output());
        assert!(!data.path().join("admin.sock").exists());
        node = Node::start(&data.path(), Some(&ingest), &more);
        let after: BTreeMap<_, _> = http::try_durable(&node.api).unwrap().into_iter().collect();
        for (chain, height) in durable {
            assert!(
                after[&chain] >= height,
                "chain {chain}: {height} was acknowledged, {} is there",
                after[&chain]
            );
        }
    }
    let durable: BTreeMap<_, _> = http::try_durable(&node.api).unwrap().into_iter().collect();
    tributary.signal("TERM");
    tributary.wait();
    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());
    holds(&storage::LogReader::open(data.log()).unwrap(), &durable);

    restored(&data, &copy, &seen);
}

/// A node starts from the snapshot; what is not what was written is refused.
fn restored(data: &Data, copy: &Path, seen: &BTreeMap<u32, u64>) {
    let new = copy.with_file_name("restored");
    let from = copy.to_str().unwrap();
    let out = done(&new, &["restore", "--from", from]);
    assert!(out.contains("The snapshot has no private key"), "{out}");
    fs::copy(data.path().join("node.key"), new.join("node.key")).unwrap();
    let mut node = Node::start(&new, None, &["--seal.max-leaves", "2048"]);
    let durable: BTreeMap<_, _> = http::try_durable(&node.api).unwrap().into_iter().collect();
    assert!(seen.iter().all(|(chain, height)| durable[chain] >= *height), "{durable:?}, {seen:?}");
    node.process.signal("TERM");
    assert!(node.process.wait().success());
    holds(&storage::LogReader::open(new.join("log")).unwrap(), seen);

    let (code, _, error) = at(&new, &["restore", "--from", from]);
    assert_eq!(code, 1, "{error}");
    assert!(error.starts_with("error[MS-5101]: "), "{error}");
    let other = copy.with_file_name("other");
    let manifest: Value = serde_json::from_slice(&fs::read(copy.join("MANIFEST.json")).unwrap()).unwrap();
    // A file that the operator wrote, one of the log, and the first of its segments.
    let names = manifest["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    let segment = names
        .clone()
        .find(|name| Path::new(name).extension().is_some_and(|extension| extension == "seg"))
        .unwrap();
    for name in names.filter(|name| ["genesis.toml", "log/LOG", segment].contains(name)) {
        let path = copy.join(name);
        let whole = fs::read(&path).unwrap();
        let mut bent = whole.clone();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        for (wrong, word) in [(&bent[..], "SHA-256"), (&whole[..middle], "bytes, expected")] {
            // Another file: that one has other names.
            fs::remove_file(&path).unwrap();
            fs::write(&path, wrong).unwrap();
            let (code, _, error) = at(&other, &["restore", "--from", from]);
            assert_eq!(code, 3, "{name}: {error}");
            assert!(error.starts_with("error[MS-5102]: ") && error.contains(word), "{name}: {error}");
            assert!(!other.exists(), "nothing is left behind");
        }
        fs::write(&path, whole).unwrap();
    }
    let newer = serde_json::to_string(&manifest).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(copy.join("MANIFEST.json"), newer).unwrap();
    let (code, _, error) = at(&other, &["restore", "--from", from]);
    assert_eq!(code, 4, "{error}");
    assert!(error.starts_with("error[MS-5103]: "), "{error}");
}

#[test]
fn a_running_node_is_steered_and_says_what_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let public = key(&dir.path().join("node.key"));
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec![public.clone()] }]);
    let config = data.path().join("mainstem.toml");

    let (code, _, error) = at(&data.path(), &["reload"]);
    assert_eq!(code, 5, "{error}");
    assert!(error.starts_with("error[MS-2101]: no node answers at "), "{error}");

    let mut node = Node::start(&data.path(), None, &[]);
    assert_eq!(done(&data.path(), &["reload"]), "nothing has changed\n");
    fs::write(&config, "[seal]\nintervall_ms = 5\n").unwrap();
    let (code, _, error) = at(&data.path(), &["reload"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.starts_with("error[MS-4013]: ") && error.contains("did you mean"), "{error}");
    let token = data.path().join("token");
    fs::write(&token, "0123456789abcdef0123").unwrap();
    let text = "[seal]\ninterval_ms = 5\n[api]\nadmin_token_file = \"token\"\n[run]\ndrain_ms = 1\n";
    fs::write(&config, text).unwrap();
    let out = done(&data.path(), &["reload"]);
    assert!(out.contains("api.admin_token_file: holds now\n"), "{out}");
    assert!(out.contains("run.drain_ms: holds now\n"), "{out}");
    assert!(out.contains("seal.interval_ms: has changed, and holds from the next start on\n"), "{out}");
    let pause = |token: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/v1/admin/chains/7/pause", node.api);
        let asked = agent.post(url).header("authorization", format!("Bearer {token}"));
        asked.send_empty().unwrap().status().as_u16()
    };
    assert_eq!((pause("wrong"), pause("0123456789abcdef0123")), (401, 200));

    // A filter that was set holds for a time; then the configured one does, without anybody saying so.
    done(&data.path(), &["log", "set", "admin=debug", "--for", "1s"]);
    let shown = || done(&data.path(), &["log", "show"]);
    wait_for("the configured filter", || (shown() == "info, as configured\n").then_some(()));
    node.process.line("the node to say so", |line| {
        line.contains("the log's filter is as configured again").then_some(())
    });
    let out = done(&data.path(), &["log", "set", "debug", "--for", "10m"]);
    assert!(out.starts_with("info,debug, for ") && out.ends_with("s, then info again\n"), "{out}");
    // Whoever is turned away is told of at debug alone.
    let stranger = dir.path().join("stranger.key");
    key(&stranger);
    let knocking = sim(&node, &stranger, "7", &["--rate", "1"]);
    node.process.line("a line that is written at debug alone", |line| {
        (line.contains("DEBUG") && line.contains("turned a key away")).then_some(())
    });
    drop(knocking);
    assert_eq!(done(&data.path(), &["log", "reset"]), "info, as configured\n");
    let text = "[api]\nadmin_token_file = \"token\"\ncors_origins = \"https://explorer.example\"\n[log]\nfilter = \"warn\"\n[watch]\nquiet_ms = 30000\n";
    fs::write(&config, text).unwrap();
    let out = done(&data.path(), &["reload"]);
    for setting in ["log.filter", "api.cors_origins", "watch.quiet_ms"] {
        assert!(out.contains(&format!("{setting}: holds now\n")), "{out}");
    }
    assert_eq!(shown(), "warn, as configured\n");
    let post = |origin: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let asked = agent.post(format!("{}/rpc", node.api)).header("origin", origin);
        asked.send("[]").unwrap().status().as_u16()
    };
    assert_eq!(post("https://evil.example"), 403);
    assert_ne!(post("https://explorer.example"), 403, "the reload has named it");

    fs::write(&config, "[run]\ndrain_ms = 2\n").unwrap();
    node.process.signal("HUP");
    node.process.line("the configuration to be read", |line| {
        line.contains("read the configuration again").then_some(())
    });
    assert_eq!(pause("0123456789abcdef0123"), 404, "without a secret there is nothing for the network");

    let added = done(&data.path(), &["chains", "add", "--id", "9", "--name", "nine", "--key", &public]);
    assert!(added.starts_with("chain ") && added.contains("\"nine\": registered by main block "), "{added}");
    let (code, _, error) = at(&data.path(), &["chains", "add", "--id", "9", "--key", &public]);
    assert_eq!(code, 1);
    assert!(error.starts_with("error[MS-4012]: ") && error.contains("taken"), "{error}");
    let listed = |count| {
        wait_for("the list of chains to follow", || {
            (http::try_durable(&node.api).unwrap().len() == count).then_some(())
        });
    };
    listed(2);
    let removed = done(&data.path(), &["chains", "remove", "9", "--yes"]);
    assert!(removed.contains("removed by main block "), "{removed}");
    listed(1);
    let (_, _, error) = at(&data.path(), &["chains", "pause", "9"]);
    assert!(error.starts_with("error[MS-4020]: "), "{error}");

    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());

    // A log of another version is left alone, and what to do is said.
    let log = data.log().join("LOG");
    fs::File::options().write(true).open(&log).unwrap().write_all_at(&[2], 16).unwrap();
    let before = fs::read(&log).unwrap();
    let (code, _, error) =
        at(&data.path(), &["run", "--api.addr", "127.0.0.1:0", "--ingest.addr", "127.0.0.1:0"]);
    assert_eq!(code, 4, "{error}");
    let line = error.lines().position(|line| line.starts_with("error[MS-5021]: "));
    let said = error.lines().skip(line.expect("the code")).collect::<String>();
    assert!(said.contains("format version 2, and this program knows 1; nothing was changed"), "{error}");
    assert_eq!(fs::read(&log).unwrap(), before);
}

#[test]
fn a_code_is_explained_offline_and_a_wrong_one_is_refused() {
    let (code, out, _) = run(mainstem().args(["explain", "ms-1204"]));
    assert_eq!(code, 0);
    assert!(out.starts_with("# MS-1204: The admin socket cannot be made\n"), "{out}");
    let (code, out, _) = run(mainstem().args(["explain"]));
    assert!(code == 0 && out.lines().count() > 120, "{out}");
    let (code, _, error) = run(mainstem().args(["explain", "MS-9999"]));
    assert_eq!(code, 2);
    assert!(error.starts_with("error[MS-7003]: \"MS-9999\" is no error code"), "{error}");
}

#[test]
fn operations_that_were_lost_are_named_by_all_who_look_and_put_back_by_a_snapshot() {
    let temp = tempfile::tempdir().unwrap();
    let public = key(&temp.path().join("k"));
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec![public.clone()] }]);
    let mut node = Node::start(&data.path(), None, &[]);
    done(&data.path(), &["chains", "add", "--id", "9", "--key", &public]);
    let copy = temp.path().join("copy");
    let to = copy.to_str().unwrap();
    done(&data.path(), &["snapshot", "--to", to]);
    // The same answer with a node running and without one.
    let again = at(&data.path(), &["snapshot", "--to", to]);
    assert!(again.0 == 1 && again.2.starts_with("error[MS-5101]: "), "{}", again.2);

    // Of what is asked in a wrong way, nothing is done.
    let file = temp.path().join("chains.toml");
    let one = |id, first| {
        format!("[[chain]]\nid = {id}\nname = \"x\"\nfirst_height = {first}\nnodes = [\"{public}\"]\n")
    };
    fs::write(&file, one(10, 1) + &one(11, 0)).unwrap();
    let (code, _, error) = at(&data.path(), &["chains", "add", file.to_str().unwrap()]);
    assert!(code == 1 && error.contains("none is added: [[chain]] 2 of 2: "), "{error}");
    let (code, _, error) = at(&data.path(), &["log", "set", "storrage=debug"]);
    assert!(code != 0 && error.contains("did you mean storage?"), "{error}");
    let (code, _, error) = run(mainstem().args(["why", "10", "--node", &node.api]));
    assert!(code == 1 && error.contains("`mainstem chains` lists those"), "{error}");
    let (code, _, error) = run(mainstem().args(["why", "9", "--node", "foo://x"]));
    assert!(code == 2 && error.starts_with("error[MS-7002]"), "{error}");

    node.process.signal("TERM");
    assert!(node.process.wait().success());
    assert_eq!(at(&data.path(), &["snapshot", "--to", to]), again);
    let operations = data.log().join("OPERATIONS");
    fs::remove_file(&operations).unwrap();
    let (code, out, _) = at(&data.path(), &["inspect", "check", "--deep"]);
    assert!(code == 1 && out.contains("OPERATIONS is missing") && out.contains("main block 1 "), "{out}");
    let (code, out, _) = at(&data.path(), &["inspect", "repair"]);
    assert!(code == 1 && out.contains("OPERATIONS is missing") && out.contains("--drop-from 1"), "{out}");
    let (_, out, _) = at(&data.path(), &["doctor"]);
    assert!(out.contains("OPERATIONS is missing") && out.contains("MS-5022"), "{out}");
    let (code, _, error) = at(&data.path(), &["run"]);
    assert!(code == 3 && error.contains("error[MS-5022]: "), "{error}");
    assert!(error.contains("OPERATIONS is missing") && error.contains("main block 1 "), "{error}");
    fs::copy(copy.join("log/OPERATIONS"), &operations).unwrap();
    done(&data.path(), &["inspect", "check", "--deep"]);
    drop(Node::start(&data.path(), None, &[]));
}
