//! Who is connected, as `mainstem peers`, the API and the metrics tell it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::chain::ChainId;
use serde_json::Value;

use crate::support::node::{Chain, Data, Node};
use crate::support::{alone, http, indexed, key, mainstem, run, wait_for};
use crate::two_programs::sim;

/// `mainstem peers ARGS`, which must go well.
fn peers(node: &Node, args: &[&str]) -> String {
    let (code, out, error) = run(mainstem().args(["peers", "--node", &node.api]).args(args));
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
    out
}

fn peers_json(node: &Node, args: &[&str]) -> Value {
    serde_json::from_str(&peers(node, &[&["--json"], args].concat())).unwrap()
}

#[test]
fn a_tributary_is_shown_with_what_arrives_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.key");
    let public = key(&file);
    let chain = |id| Chain { id, first_height: 1, keys: vec![public.clone()] };
    let data = Data::new(&[chain(1_866_392), chain(7)]);
    let node = Node::start(&data.path(), None, &[]);

    let nobody = peers(&node, &[]);
    assert!(nobody.starts_with("Nobody is connected."), "{nobody}");
    assert!(nobody.contains(&format!("--main {} --main-key {}", node.ingest, node.key)), "{nobody}");

    let tributary = sim(&node, &file, "tDVV,7", &["--rate", "50"]);
    let first = wait_for("blocks", || {
        let peer = peers_json(&node, &[])["peers"].get(0)?.clone();
        (peer["blocks"].as_u64() > Some(20)).then_some(peer)
    });
    assert_eq!((&first["key"], &first["presented"]), (&public.clone().into(), &public.clone().into()));
    assert_eq!((&first["chains"], &first["speaks_for"]), (&2.into(), &2.into()));
    assert!(first["software"].as_str().unwrap().starts_with("tributary "), "{first}");
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert!(first["last_frame"].as_u64() >= first["since"].as_u64(), "{first}");
    wait_for("more blocks", || {
        let page = http::get(&node.api, "/v1/peers?limit=1");
        assert_eq!(page["next"], Value::Null);
        (page["peers"][0]["blocks"].as_u64() > first["blocks"].as_u64()).then_some(())
    });
    let told = wait_for("its tips", || {
        let told = http::get(&node.api, "/v1/peers")["peers"][0].clone();
        told["behind"].is_u64().then_some(told)
    });

    let session = &told["session"];
    let path = format!("/v1/peers/{session}");
    let shown = http::get(&node.api, &path);
    let chains = shown["chains"].as_array().unwrap();
    assert_eq!((chains.len(), &chains[0]["chain_id"], &chains[1]["chain"]), (2, &7.into(), &"tDVV".into()));
    for chain in chains {
        assert_eq!(chain["state"], "speaker");
        let number = |name: &str| chain[name].as_u64().unwrap();
        assert!(number("durable") <= number("received") && number("received") <= number("limit"), "{chain}");
    }
    let page = http::get(&node.api, &format!("{path}?limit=1"));
    assert_eq!((page["chains"].as_array().unwrap().len(), &page["next"]), (1, &7.into()));
    assert_eq!(http::try_get(&node.api, "/v1/peers/999").unwrap().0, 404);

    let table = peers(&node, &[]);
    let line = table.lines().nth(1).unwrap();
    assert!(line.starts_with(&public[..8]) && line.contains(" 2/2 "), "{table}");
    println!("{table}");
    let one = peers(&node, &[&public[..6]]);
    assert!(one.contains("speaker") && one.contains("tDVV"), "{one}");
    println!("{one}");
    let other = if public.starts_with('0') { "1" } else { "0" };
    let nobody = peers(&node, &[other]);
    assert!(nobody.contains(&format!("No node whose key begins with {other} is connected.")), "{nobody}");

    drop(tributary);
    let (code, _, error) = run(mainstem().args(["peers", "--node", "http://127.0.0.1:1"]));
    assert_eq!(code, 5);
    assert!(error.contains("is the node running there?"), "{error}");
}

#[test]
fn the_pages_of_the_list_hold_each_session_once_and_each_is_found_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["a.key", "b.key", "c.key"].map(|name| dir.path().join(name));
    let keys: Vec<_> = files.iter().map(|file| key(file)).collect();
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: keys.clone() }]);
    let node = Node::start(&data.path(), None, &[]);
    let _tributaries: Vec<_> = files.iter().map(|file| sim(&node, file, "7", &["--rate", "10"])).collect();
    let all = wait_for("three sessions", || {
        let all = http::get(&node.api, "/v1/peers?limit=3");
        (all["peers"].as_array().unwrap().len() == 3).then_some(all)
    });
    assert_eq!(all["next"], Value::Null, "{all}");
    let numbers: Vec<_> =
        all["peers"].as_array().unwrap().iter().map(|peer| peer["session"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");

    let (mut after, mut seen) = (String::new(), Vec::new());
    for left in [2, 1, 0] {
        let page = http::get(&node.api, &format!("/v1/peers?limit=1{after}"));
        assert_eq!(page["peers"].as_array().unwrap().len(), 1, "{page}");
        seen.push(page["peers"][0]["key"].as_str().unwrap().to_owned());
        assert_eq!(page["next"].is_u64(), left > 0, "{page}");
        after = format!("&after={}", page["peers"][0]["session"]);
    }
    assert!(keys.iter().all(|key| seen.contains(key)), "{seen:?} of {keys:?}");
    let page = http::get(&node.api, &format!("/v1/peers?after={}", numbers[0]));
    assert_eq!(page["peers"].as_array().unwrap().len(), 2, "{page}");
    for after in [numbers[2], u64::MAX] {
        let page = http::get(&node.api, &format!("/v1/peers?after={after}"));
        assert_eq!((page["peers"].as_array().unwrap().len(), &page["next"]), (0, &Value::Null));
    }
    for (number, key) in numbers.iter().zip(&seen) {
        let shown = http::get(&node.api, &format!("/v1/peers/{number}"));
        assert_eq!(
            (&shown["peer"]["key"], shown["chains"].as_array().unwrap().len()),
            (&key.clone().into(), 1)
        );
    }
}

#[test]
fn a_key_that_is_not_registered_is_shown_with_the_reason_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.key");
    let public = key(&file);
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: vec!["ab".repeat(32)] }]);
    let node = Node::start(&data.path(), None, &[]);
    assert_eq!(peers(&node, &["--refused"]), "Nobody was refused since the node started.\n");
    for _ in 0..2 {
        assert_eq!(sim(&node, &file, "7", &[]).wait().code(), Some(3));
    }
    let all = http::get(&node.api, "/v1/refusals");
    let refusal = &all["refusals"][0];
    assert_eq!((&refusal["key"], &refusal["code"]), (&public.clone().into(), &"unknown-key".into()), "{all}");
    assert_eq!((&refusal["registered"], &refusal["count"]), (&false.into(), &2.into()), "{all}");
    for args in [&[] as &[&str], &["--refused"], &[&public[..10]]] {
        let shown = peers(&node, args);
        assert!(shown.contains(&format!("  {public}  unknown-key\n")), "{shown}");
        assert!(shown.contains("2 times, from 127.0.0.1:"), "{shown}");
        assert!(
            shown.contains("what to do: have the main chain's operator let this node's key stand for one"),
            "{shown}"
        );
        println!("{shown}");
    }
    let json = peers_json(&node, &["--refused"]);
    assert_eq!((&json["refusals"][0], json.get("peers")), (refusal, None));
}

#[test]
fn figures_for_machines_hold_together_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.key");
    let public = key(&file);
    let chain = |id| Chain { id, first_height: 1, keys: vec![public.clone()] };
    let data = Data::new(&[chain(7), chain(8)]);
    let node = Node::start(&data.path(), None, &[]);
    let before = scrape(&node);
    assert!(before["mainstem_ingest_blocks_total"] < 1.0 && before["mainstem_main_block_height"] < 1.0);

    let mut tributary = sim(&node, &file, "7,8", &["--rate", "0", "--stop-at", "20000"]);
    let mut last = before;
    while !tributary.ended() {
        let now = scrape(&node);
        for (name, value) in &last {
            let counts = ["_total", "_count", "_sum", "_bucket"];
            let family = name.split('{').next().unwrap();
            if counts.iter().any(|end| family.ends_with(end)) {
                assert!(now[name] >= *value, "{name}: {value}, then {}", now[name]);
            }
        }
        last = now;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(tributary.wait().success(), "{}", tributary.output());
    // What is answered may be some moments old.
    std::thread::sleep(Duration::from_millis(500));
    let last = scrape(&node);
    let indexed: u64 = http::try_durable(&node.api).unwrap().iter().map(|(_, height)| height).sum();
    assert!(last["mainstem_ingest_blocks_total"] >= indexed as f64);
    assert!(last["mainstem_resident_memory_bytes"] > 1e6);
    for (name, value) in [
        ("mainstem_durable_seconds_count", last["mainstem_side_blocks_indexed_total"]),
        ("mainstem_ingest_sessions_opened_total", 1.0),
        ("mainstem_ingest_closes_total{code=\"unknown-key\"}", 0.0),
    ] {
        assert!((last[name] - value).abs() < 0.5, "{name} is {}, expected {value}", last[name]);
    }
}

/// All names of labels.
const LABELS: [&str; 15] = [
    "chain", "check", "code", "commit", "le", "limit", "reason", "remedy", "route", "rustc", "stage",
    "state", "status", "unit", "version",
];

/// All samples of `GET /metrics`, by name with labels. Every line must be what the format allows.
fn scrape(node: &Node) -> BTreeMap<String, f64> {
    let (kind, text) = http::text(&node.api, "/metrics");
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (mut samples, mut family) = (BTreeMap::new(), (String::new(), String::new()));
    let mut families = Vec::new();
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !families.contains(&name.to_owned()), "{line}");
            families.push(name.to_owned());
            name.clone_into(&mut family.0);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family.0, "{line}");
            kind.clone_into(&mut family.1);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let rest = name.strip_prefix(&family.0).unwrap_or_else(|| panic!("{line} in {}", family.0));
            let (suffix, labels) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            let suffixes: &[&str] = match family.1.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_sum", "_count", "_bucket"],
                kind => panic!("{kind}: {line}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            if !labels.is_empty() {
                let inside = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}")).unwrap();
                for pair in inside.split("\",") {
                    let (label, value) = pair.split_once("=\"").unwrap();
                    assert!(LABELS.contains(&label), "{line}");
                    assert!(!value.contains(['"', '\\', '\n']), "{line}");
                }
            }
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            assert_eq!(samples.insert(name.to_owned(), value), None, "{line}: twice");
        }
    }
    assert!(
        families.iter().all(|name| name.starts_with("mainstem_") || name.starts_with("process_")),
        "{families:?}"
    );
    samples
}

#[test]
fn when_the_node_that_speaks_is_killed_the_one_that_stands_by_goes_on() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let files = ["a.key", "b.key"].map(|name| dir.path().join(name));
    let keys: Vec<_> = files.iter().map(|file| key(file)).collect();
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys: keys.clone() }]);
    let mut node = Node::start(&data.path(), None, &[]);
    // Of the newest session: one that died is known only after a while.
    let state = |key: &str| {
        let json = peers_json(&node, &[key]);
        let newest = json["sessions"].as_array()?.last()?.clone();
        Some(newest["chains"][0]["state"].as_str()?.to_owned())
    };
    let start = |index: usize| {
        let tributary = sim(&node, &files[index], "7", &["--rate", "100"]);
        wait_for("the session", || {
            state(&keys[index]).filter(|state| state == "speaker" || state == "standby")
        });
        tributary
    };
    let mut first = start(0);
    wait_for("blocks", || (http::durable(&node.api, 7) > 50).then_some(()));
    let second = start(1);
    assert_eq!((state(&keys[0]).as_deref(), state(&keys[1]).as_deref()), (Some("speaker"), Some("standby")));

    first.kill();
    let (killed, at) = (Instant::now(), http::durable(&node.api, 7));
    // What was on its way may still come; a hundred more can only be from the other one.
    wait_for("the chain to go on", || (http::durable(&node.api, 7) > at + 100).then_some(()));
    println!("went on after {:?}", killed.elapsed());
    assert_eq!(state(&keys[1]).as_deref(), Some("speaker"));

    // The first one comes back and stands by.
    let first = start(0);
    assert_eq!(state(&keys[0]).as_deref(), Some("standby"));
    let at = http::durable(&node.api, 7);
    wait_for("more", || (http::durable(&node.api, 7) > at + 50).then_some(()));
    drop((first, second));
    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());
    let reader = storage::LogReader::open(data.log()).unwrap();
    let chains = indexed::as_simulated(&reader);
    assert!(chains[&ChainId(7)].height().0 > at, "nothing lost or twice");
}
