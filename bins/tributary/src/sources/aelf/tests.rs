//! With a stand-in for an AElf node on one side, and for the main chain's HTTP API on the other.

mod limits;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use aelf::hand_shake_reply::HandShakeStatus;
use aelf::tonic::{Code, Status};
use aelf::{CrossChainRequest, SideChainInitializationRequest};
use engine::chain::{ChainId, Columns, Hash, Height, MainHeader, Timestamp};
use engine::merkle::aelf::Tree;
use engine::merkle::node as join;
use engine::proof::{AelfPart, Transaction};
use engine::source::{Answer, NoAnswer, Question, Source as _, SourceError};
use serde_json::{Value, json};

use super::stand_in::{Fault, Http, StandIn, hash};
use super::{AELF, AelfConfig, AelfError, AelfSource, Problem};

const TDVV: ChainId = ChainId(1_866_392);
const ID: i32 = 1_866_392;

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// `count` main blocks, every second one with blocks of two chains: three each.
fn main_blocks(count: u64) -> Vec<Value> {
    let mut parent = Hash([1; 32]);
    let mut own = 1;
    (1..=count)
        .map(|height| {
            let has_blocks = height % 2 == 0;
            let roots: Vec<_> = (own..own + 3).map(|own| Hash(hash(ID, "a", own, "root"))).collect();
            let others = (0..3).map(|other| Hash(hash(7, "b", 3 * height + other, "root")));
            // By chain id: the other one comes first.
            let tree = Tree::new(others.chain(roots.iter().copied()).collect());
            let header = MainHeader {
                version: 1,
                chain_id: AELF,
                height: Height(height),
                time: Timestamp::from_millis(1_700_000_000_000 + height),
                parent,
                side_root: Hash::ZERO,
                chain_count: if has_blocks { 2 } else { 0 },
                leaf_count: if has_blocks { 6 } else { 0 },
                ops_root: Hash::ZERO,
                state_root: Hash::ZERO,
                history_root: Hash::ZERO,
                aelf_root: if has_blocks { tree.root() } else { Hash::ZERO },
            };
            parent = header.hash();
            let chain = has_blocks.then(|| {
                let paths: Vec<_> = (3..6).map(|index| tree.path(index).unwrap()).collect();
                let path = |path: &Vec<engine::merkle::path::Step>| -> Value {
                    path.iter().map(|step| json!({ "hash": step.hash, "left": step.left })).collect()
                };
                let part = json!({
                    "first_height": own,
                    "tx_roots": roots,
                    "paths": paths.iter().map(path).collect::<Value>(),
                });
                own += 3;
                part
            });
            json!({ "header": header, "chain": chain })
        })
        .collect()
}

/// The main chain's API, with blocks that a test may change.
fn main_api(blocks: Vec<Value>) -> (Http, Arc<Mutex<Vec<Value>>>) {
    let blocks = Arc::new(Mutex::new(blocks));
    let served = Arc::clone(&blocks);
    let http = Http::start(move |path| {
        let Some(query) = path.strip_prefix("/v1/aelf/parent-blocks/1866392?") else {
            return (404, "no such route".to_owned());
        };
        let number = |name: &str| -> usize {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap().parse().unwrap()
        };
        let (from, limit) = (number("from"), number("limit"));
        assert!((1..=32).contains(&limit));
        let blocks = served.lock().unwrap();
        let page: Vec<_> = blocks.iter().skip(from - 1).take(limit).collect();
        (200, json!({ "blocks": page, "next": null }).to_string())
    });
    (http, blocks)
}

fn config(listen: SocketAddr, api: &Http) -> AelfConfig {
    AelfConfig { poll: Duration::from_millis(20), ..AelfConfig::new(TDVV, listen, &*api.url) }
}

fn start(listen: SocketAddr, api: &Http) -> AelfSource {
    AelfSource::start(config(listen, api)).unwrap()
}

/// A side node of the source's chain.
fn side(source: &AelfSource, lib: u64) -> StandIn {
    StandIn::start(local(), ID, "a", lib, source.addr())
}

/// Until it holds. The time is for a machine that is busy with other things.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Until it is handed-shaken: as a node does, again and again.
fn greet(node: &mut StandIn) {
    let port = node.addr.port().into();
    until("the handshake is taken", || {
        node.greet(port).is_ok_and(|status| status == HandShakeStatus::Success)
    });
}

/// Reads the blocks `from` to `to`, each of which has to follow the one before.
fn read(source: &mut AelfSource, from: u64, to: u64) {
    let mut next = from;
    until("all blocks are read", || {
        let mut out = Columns::default();
        // What passes does pass.
        let follows = match source.read(TDVV, 100, &mut out) {
            Ok(follows) => follows,
            Err(SourceError::Later(_)) => return false,
            Err(error) => panic!("{error}"),
        };
        if !out.is_empty() {
            let before = if next == 1 { [0; 32] } else { hash(ID, "a", next - 1, "block") };
            assert_eq!(follows, Hash(before));
        }
        for (hash_, root) in out.hashes.iter().zip(&out.tx_roots) {
            assert_eq!(*hash_, Hash(hash(ID, "a", next, "block")));
            assert_eq!(*root, Hash(hash(ID, "a", next, "root")));
            next += 1;
        }
        assert!(next <= to + 1);
        next == to + 1
    });
}

/// Until what stands in the way has this in its text.
fn until_trouble(source: &AelfSource, part: &str) {
    until(part, || match &source.shared.state().trouble {
        Some(trouble) => matches!(&trouble.what, Problem::Passing(text) if text.contains(part)),
        None => false,
    });
}

fn request(node: &mut StandIn, chain_id: i32, next_height: i64) -> Result<Vec<i64>, Status> {
    node.call(async |mut client| {
        let request = CrossChainRequest { chain_id, next_height };
        let mut stream = client.request_indexing_from_parent_chain(request).await?.into_inner();
        let mut heights = Vec::new();
        while let Some(block) = stream.message().await? {
            heights.push(block.height);
        }
        Ok(heights)
    })
}

#[test]
fn a_side_node_indexes_the_main_chain_and_its_blocks_are_read() {
    let (api, _) = main_api(main_blocks(70));
    let mut source = start(local(), &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = side(&source, 100);
    until("the side node has all main blocks", || {
        // Deadlines of a busy machine: the next round goes on.
        let _ = node.round();
        node.cache.wanted() == Some(71)
    });
    let mut own = 1;
    for (height, block) in &node.cache.blocks {
        let root = block.cross_chain_extra_data.as_ref();
        let root =
            root.map(|extra| extra.transaction_status_merkle_tree_root.as_ref().unwrap().bytes().unwrap());
        assert_eq!(root.is_some(), height % 2 == 0, "{height}");
        assert_eq!(block.indexed_merkle_path.len(), if root.is_some() { 3 } else { 0 });
        for (side_height, path) in &block.indexed_merkle_path {
            assert_eq!(*side_height, own);
            let leaf = Hash(hash(ID, "a", own.cast_unsigned(), "root"));
            let end = path.merkle_path_nodes.iter().fold(leaf, |below, step| {
                let sibling = Hash(step.hash.as_ref().unwrap().bytes().unwrap());
                if step.is_left_child_node { join(sibling, below) } else { join(below, sibling) }
            });
            assert_eq!(Some(end.0), root);
            own += 1;
        }
    }
    read(&mut source, 1, 100);
    assert_eq!(source.tip(TDVV).unwrap(), Some(Height(100)));
    assert_eq!(source.tip_watch().get(), Some(Height(100)));
    node.set_lib(250);
    read(&mut source, 101, 250);
    // It was called back as the reference does: with a handshake first.
    assert!(node.chain.handshakes.load(Ordering::SeqCst) > 0);

    node.cache.clear(70);
    assert_eq!(node.cache.wanted(), Some(71));
}

#[test]
fn a_first_block_alone_is_not_irreversible_for_aelf() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = side(&source, 1);
    greet(&mut node);
    until("it was asked some times", || node.chain.requests.load(Ordering::SeqCst) > 3);
    let mut out = Columns::default();
    assert_eq!(source.read(TDVV, 9, &mut out).unwrap(), Hash::ZERO);
    assert!(out.is_empty());
    node.set_lib(2);
    read(&mut source, 1, 2);
}

#[test]
fn reading_goes_on_after_any_break_and_checks_where() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    let mut node = side(&source, 500);
    greet(&mut node);
    source.resume(TDVV, Height(400), Some(Hash(hash(ID, "a", 399, "block")))).unwrap();
    read(&mut source, 400, 500);
    source.resume(TDVV, Height(120), Some(Hash(hash(ID, "a", 119, "block")))).unwrap();
    read(&mut source, 120, 500);
    // The first height that the main chain wants may be any.
    source.resume(TDVV, Height(300), None).unwrap();
    read(&mut source, 300, 500);
    source.stand_by(TDVV, Height(450));
    node.set_lib(510);
    until("it knows how far the node is", || source.tip(TDVV).unwrap() == Some(Height(510)));
    source.resume(TDVV, Height(480), Some(Hash(hash(ID, "a", 479, "block")))).unwrap();
    read(&mut source, 480, 510);
}

#[test]
fn a_node_that_has_another_block_than_the_main_chain_is_a_fork() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    let mut node = side(&source, 50);
    greet(&mut node);
    source.resume(TDVV, Height(1), None).unwrap();
    read(&mut source, 1, 50);
    source.resume(TDVV, Height(50), Some(Hash([7; 32]))).unwrap();
    let mut fork = None;
    until("the fork is told", || {
        fork = source.read(TDVV, 10, &mut Columns::default()).err();
        fork.is_some()
    });
    let ours = Hash(hash(ID, "a", 49, "block"));
    assert!(
        matches!(fork, Some(SourceError::Fork { chain: TDVV, height: Height(49), ours: o, theirs: Hash(t) })
            if o == ours && t == [7; 32]),
        "{fork:?}"
    );
}

#[test]
fn a_node_that_moves_is_followed() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut old = side(&source, 40);
    greet(&mut old);
    read(&mut source, 1, 40);
    drop(old);
    let mut new = side(&source, 90);
    greet(&mut new);
    read(&mut source, 41, 90);
}

#[test]
fn a_node_that_dies_and_comes_back_goes_on() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = side(&source, 40);
    greet(&mut node);
    read(&mut source, 1, 40);
    let addr = node.addr;
    drop(node);
    until_trouble(&source, "node 127.0.0.1");
    // At its old place, without a handshake: it is tried again.
    let _node = StandIn::start(addr, ID, "a", 80, source.addr());
    read(&mut source, 41, 80);
}

#[test]
fn both_ways_work_over_ipv6_too() {
    let local = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let (api, _) = main_api(main_blocks(5));
    let mut source = start(local, &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = StandIn::start(local, ID, "a", 60, source.addr());
    until("the side node has all main blocks", || {
        let _ = node.round();
        node.cache.wanted() == Some(6)
    });
    read(&mut source, 1, 60);
}

#[test]
fn what_is_not_the_next_block_of_this_chain_is_refused() {
    let (api, _) = main_api(Vec::new());
    for (fault, part) in [
        (Fault::OtherChain(7), "expected tDVV"),
        (Fault::Gap(10), "block 10: height is 11; expected 10"),
        (Fault::NoRoot(10), "transaction_status_merkle_tree_root is 0 bytes"),
        (Fault::LongRoot(10), "transaction_status_merkle_tree_root is 33 bytes"),
        (Fault::Oversized(10), "OutOfRange"),
    ] {
        let mut source = start(local(), &api);
        source.resume(TDVV, Height(1), None).unwrap();
        let mut node = side(&source, 20);
        node.set_fault(fault);
        greet(&mut node);
        until_trouble(&source, part);
        let mut out = Columns::default();
        let _ = source.read(TDVV, 100, &mut out);
        assert_eq!(out.len(), if fault == Fault::OtherChain(7) { 0 } else { 9 }, "{fault:?}");
        if fault != Fault::OtherChain(7) {
            node.set_fault(Fault::None);
            read(&mut source, 10, 20);
        }
    }
}

#[test]
fn a_node_that_falls_silent_is_left_and_asked_again() {
    let (api, _) = main_api(Vec::new());
    let config = AelfConfig { timeout: Duration::from_millis(300), ..config(local(), &api) };
    let mut source = AelfSource::start(config).unwrap();
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = side(&source, 60);
    node.set_fault(Fault::Silent(45));
    greet(&mut node);
    read(&mut source, 1, 44);
    until_trouble(&source, "did not come within");
    node.set_fault(Fault::None);
    read(&mut source, 45, 60);
}

#[test]
fn a_stranger_does_not_take_a_chain_from_a_node_that_answers() {
    let (api, _) = main_api(Vec::new());
    let mut source = start(local(), &api);
    source.resume(TDVV, Height(1), None).unwrap();
    let mut node = side(&source, 40);
    greet(&mut node);
    read(&mut source, 1, 40);
    // It claims the chain, and has other blocks.
    let mut stranger = StandIn::start(local(), ID, "stranger", 1_000, source.addr());
    greet(&mut stranger);
    node.set_lib(200);
    read(&mut source, 41, 200);
    assert_eq!(stranger.chain.requests.load(Ordering::SeqCst), 0);
    // Not even when the node is away.
    let addr = node.addr;
    drop(node);
    until("the stranger is asked", || stranger.chain.requests.load(Ordering::SeqCst) > 0);
    let mut out = Columns::default();
    let _ = source.read(TDVV, 100, &mut out);
    assert!(out.is_empty());
    let mut node = StandIn::start(addr, ID, "a", 300, source.addr());
    greet(&mut node);
    read(&mut source, 201, 300);
}

#[test]
fn a_node_that_the_operator_names_is_asked_without_a_handshake_and_no_other() {
    let (api, _) = main_api(Vec::new());
    // The node needs its parent's address only to ask.
    let node = StandIn::start(local(), ID, "a", 30, local());
    let config = AelfConfig { node: Some(node.addr), ..config(local(), &api) };
    let mut source = AelfSource::start(config).unwrap();
    let mut stranger = StandIn::start(local(), ID, "stranger", 1_000, source.addr());
    greet(&mut stranger);
    source.resume(TDVV, Height(1), None).unwrap();
    read(&mut source, 1, 30);
    assert_eq!(stranger.chain.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn requests_are_answered_as_in_the_vectors() {
    let file: Value = serde_json::from_str(include_str!(
        "../../../../../engine/tests/vectors/aelf_from_tests_indexing.json"
    ))
    .unwrap();
    let (api, _) = main_api(main_blocks(100));
    let source = start(local(), &api);
    let mut node = side(&source, 2);
    greet(&mut node);
    for case in file["server"].as_array().unwrap() {
        assert_eq!(case["highest_served_height"], 100);
        let heights = request(&mut node, ID, case["next_height"].as_i64().unwrap()).unwrap();
        assert_eq!(heights.len() as u64, case["response_count"].as_u64().unwrap());
        assert_eq!(heights.first().copied(), case["first"].as_i64(), "{case}");
        assert_eq!(heights.last().copied(), case["last"].as_i64(), "{case}");
        assert!(heights.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}

#[test]
fn requests_that_cannot_be_answered_say_why() {
    let (api, _) = main_api(main_blocks(3));
    let source = start(local(), &api);
    let mut node = side(&source, 2);
    let refused = |answer: Result<Vec<i64>, Status>, code, part: &str| {
        let status = answer.unwrap_err();
        assert!(status.code() == code && status.message().contains(part), "{status}");
    };
    // As after a restart of ours: an error makes the node shake hands again.
    refused(request(&mut node, ID, 1), Code::Unavailable, "shake hands first");
    for port in [0, -1, 65_536, i32::MAX] {
        assert_eq!(node.greet(port).unwrap(), HandShakeStatus::InvalidHandshakeRequest, "{port}");
    }
    let mut other = StandIn::start(local(), 7, "a", 2, source.addr());
    assert_eq!(other.greet(1).unwrap(), HandShakeStatus::InvalidHandshakeRequest);
    refused(request(&mut node, ID, 1), Code::Unavailable, "shake hands first");
    greet(&mut node);
    assert_eq!(request(&mut node, ID, 1).unwrap(), [1, 2, 3]);
    for height in [0, -1, i64::MIN] {
        refused(request(&mut node, ID, height), Code::InvalidArgument, "heights begin at 1");
    }
    assert!(request(&mut node, ID, i64::MAX).unwrap().is_empty());
    refused(request(&mut node, 7, 1), Code::FailedPrecondition, "chain tDVV is served here, not");
}

#[test]
fn nothing_is_served_that_does_not_lead_to_the_main_header() {
    let (api, blocks) = main_api(main_blocks(6));
    let source = start(local(), &api);
    let mut node = side(&source, 2);
    greet(&mut node);
    let good = blocks.lock().unwrap().clone();
    for (pointer, value, part) in [
        ("/3/chain/paths/1/0/left", json!(true), "main block 4: chain.paths is a path from side block 5"),
        ("/3/chain/paths/1", json!([]), "main block 4: chain.paths is a path from side block 5"),
        (
            "/3/chain/tx_roots/2",
            json!(Hash([3; 32])),
            "main block 4: chain.paths is a path from side block 6",
        ),
        ("/3/chain/paths", json!([]), "chain.paths is 0; expected 3"),
        ("/3/chain/first_height", json!(5), "chain.first_height is 5; expected 4"),
        ("/1/chain/first_height", json!(0), "chain.first_height is 0; expected 1 to"),
        ("/1/chain/first_height", json!(u64::MAX), "chain.first_height is 18446744073709551615"),
        ("/2/header/height", json!(4), "main block 3: height is 4; expected 3"),
        ("/2/header/chain_id", json!(5), "; expected AELF"),
        ("/2/header/version", json!(2), "version is 2"),
        ("/2/header/time", json!(1), "main block 4: parent is"),
        ("/1/header/aelf_root", json!(Hash::ZERO), "has side blocks and no aelf_root"),
        ("/1/header", json!({}), "no page of blocks"),
    ] {
        let mut wrong = Value::Array(good.clone());
        *wrong.pointer_mut(pointer).unwrap() = value;
        *blocks.lock().unwrap() = wrong.as_array().unwrap().clone();
        let status = request(&mut node, ID, 1).unwrap_err();
        assert!(status.message().contains(part), "{pointer}: {status}");
    }
    *blocks.lock().unwrap() = good;
    assert_eq!(request(&mut node, ID, 1).unwrap(), [1, 2, 3, 4, 5, 6]);
    drop(api);
    let status = request(&mut node, ID, 1).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[test]
fn initialization_data_is_given_to_its_chain_alone() {
    let (api, _) = main_api(Vec::new());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tdvv.toml");
    let document = r#"
        chain = "tDVV"
        creator = "2DZER7qHVwv3PUMFsHuQaQbE4wDFsCRzJsxLwYEk8rgM3HVn1S"
        creation_time_ms = 1700000000000
        creation_height_on_parent_chain = 10
        initial_consensus_data = "0x0a0b"
        native_token_info = "0x0c"
    "#;
    std::fs::write(&path, document).unwrap();
    let ask = |node: &mut StandIn, chain_id| {
        node.call(async |mut client| {
            let request = SideChainInitializationRequest { chain_id };
            client.request_chain_initialization_data_from_parent_chain(request).await
        })
    };
    let with = AelfConfig { initialization: Some(path.clone()), ..config(local(), &api) };
    let source = AelfSource::start(with).unwrap();
    let mut node = side(&source, 2);
    let data = ask(&mut node, ID).unwrap().into_inner();
    assert_eq!((data.chain_id, data.creation_height_on_parent_chain), (ID, 10));
    assert_eq!(data.native_token_info_data, [12]);
    assert_eq!(ask(&mut node, 7).unwrap_err().code(), Code::FailedPrecondition);

    let without = start(local(), &api);
    let mut node = side(&without, 2);
    let status = ask(&mut node, ID).unwrap_err();
    assert!(status.message().contains("--initialization"), "{status}");

    std::fs::write(&path, document.replace("tDVV", "tDVW")).unwrap();
    let with = AelfConfig { initialization: Some(path), ..config(local(), &api) };
    assert!(matches!(AelfSource::start(with), Err(AelfError::Initialization(_))));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let (api, _) = main_api(Vec::new());
    let good = config(local(), &api);
    let refused = |config: AelfConfig, part: &str| {
        let error = AelfSource::start(config).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(AelfConfig { parent: TDVV, ..good.clone() }, "cannot be its own parent");
    refused(
        AelfConfig { main_api: "main:9480".into(), ..good.clone() },
        "--main-api \"main:9480\" is no URL",
    );
    refused(AelfConfig { http: Some("http://a:b@c".into()), ..good.clone() }, "--http");
    let taken = AelfSource::start(good.clone()).unwrap();
    refused(AelfConfig { listen: taken.addr(), ..good }, "--listen 127.0.0.1:");
}

#[test]
fn questions_about_transactions_are_answered_by_the_web_api() {
    const MINED: [u8; 32] = [1; 32];
    let record = |id: [u8; 32], status: &str| {
        json!({ "TransactionId": const_hex::encode(id), "Status": status, "BlockNumber": 77, "Logs": [] })
            .to_string()
    };
    let http = Http::start(move |path| {
        let Some((call, id)) = path.strip_prefix("/api/blockChain/").unwrap().split_once("?transactionId=")
        else {
            panic!("{path}")
        };
        let id: [u8; 32] = const_hex::decode_to_array(id).unwrap();
        let not_found = r#"{"Error":{"Code":"20001","Message":"Not found"}}"#.to_owned();
        match (call, id[0]) {
            ("merklePathByTransactionId", 1) => {
                let nodes = [(9, false), (8, true)].map(
                    |(byte, left)| json!({ "Hash": const_hex::encode([byte; 32]), "IsLeftChildNode": left }),
                );
                (200, json!({ "MerklePathNodes": nodes }).to_string())
            }
            ("transactionResult", 1) => (200, record(id, "MINED")),
            ("transactionResult", 2) => (200, record(id, "PENDING")),
            ("transactionResult", 3) => (200, record(id, "FAILED")),
            ("transactionResult", 4) => (200, record(id, "NOTEXISTED")),
            ("transactionResult", 5) => (200, record(MINED, "MINED")),
            ("transactionResult", 6) => (200, "<html>".to_owned()),
            ("transactionResult", 7) => (200, "x".repeat(Answer::MAX_RECORD_BYTES + 1)),
            ("transactionResult", 8) => (500, "down".to_owned()),
            _ => (403, not_found),
        }
    });
    let (api, _) = main_api(Vec::new());
    assert!(start(local(), &api).answers().is_none());
    let config = AelfConfig { http: Some(http.url.clone()), ..config(local(), &api) };
    let source = AelfSource::start(config).unwrap();
    let answers = source.answers().unwrap();
    let transaction = |chain, id: &[u8]| answers.answer(&Question::Transaction { chain, id: id.to_vec() });

    let step = |byte, left| engine::merkle::path::Step { hash: Hash([byte; 32]), left };
    let part = AelfPart { id: Hash(MINED), path: vec![step(9, false), step(8, true)] };
    let found = Answer::Transaction { height: Height(77), part: Transaction::Aelf(part) };
    assert_eq!(transaction(TDVV, &MINED), Ok(found));
    let got = answers.answer(&Question::Record { chain: TDVV, id: MINED.to_vec() });
    assert_eq!(got, Ok(Answer::Record(record(MINED, "MINED").into_bytes())));

    assert!(matches!(transaction(TDVV, &[2; 32]), Err(NoAnswer::NotYet(_))));
    for id in [3, 5, 6, 7, 8] {
        let got = transaction(TDVV, &[id; 32]);
        assert!(matches!(got, Err(NoAnswer::Failed(_))), "{id}: {got:?}");
    }
    assert_eq!(transaction(TDVV, &[4; 32]), Err(NoAnswer::Unknown));
    assert_eq!(transaction(TDVV, &[99; 32]), Err(NoAnswer::Unknown));
    assert_eq!(transaction(TDVV, &[1; 31]), Err(NoAnswer::Unknown));
    assert_eq!(transaction(ChainId(7), &MINED), Err(NoAnswer::Unsupported));
}
