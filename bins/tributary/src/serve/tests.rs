use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::chain::{ChainId, Hash, Height};
use net::client::{Contradiction, MainSink as _};
use serde_json::Value;
use tempfile::TempDir;

use super::{MAX_WAITING, Server, Serving};
use crate::keep::{Keeper, Store};
use crate::testing::{OURS, World};

struct Case {
    world: World,
    store: Arc<Store>,
    keeper: Keeper,
    server: Server,
    _dir: TempDir,
}

impl Case {
    /// A server of the main blocks `from` to `to` of a world.
    fn new(from: u64, to: u64) -> Self {
        let world = World::new(100, 12);
        let dir = TempDir::new().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let new = Self::serve(world, dir, store);
        new.follow(from, to);
        new
    }

    fn serve(world: World, dir: TempDir, store: Arc<Store>) -> Self {
        store.meet(world.main().0, world.main().1).unwrap();
        let keeper = Keeper::new(Arc::clone(&store), None);
        let serving = Serving {
            store: Arc::clone(&store),
            durable: keeper.durable(),
            client: Arc::new(OnceLock::new()),
            chains: Vec::new(),
        };
        let server = Server::start(([127, 0, 0, 1], 0).into(), serving).unwrap();
        Self { world, store, keeper, server, _dir: dir }
    }

    fn follow(&self, from: u64, to: u64) {
        for block in self.world.followed(from, to) {
            self.keeper.take(block).unwrap();
        }
        self.keeper.settle().unwrap();
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut response = agent().get(format!("http://{}{path}", self.server.addr())).call().unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(
            kind,
            if status == 200 { "application/json" } else { "application/problem+json" },
            "{path}"
        );
        (status, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
    }

    fn post(&self, body: &[u8], kind: &str) -> (u16, Value) {
        let url = format!("http://{}/v1/verify", self.server.addr());
        let mut response = agent().post(url).content_type(kind).send(body).unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
    }

    fn verify(&self, proof: &Value) -> Value {
        let (status, verdict) = self.post(proof.to_string().as_bytes(), "application/json");
        assert_eq!(status, 200, "{verdict}");
        verdict
    }

    /// That a request is refused as this kind of problem, which says these words.
    fn refuses(&self, path: &str, expected: u16, kind: &str, words: &[&str]) -> Value {
        let (status, problem) = self.get(path);
        assert_eq!(status, expected, "{path}: {problem}");
        assert_eq!(problem["type"], format!("urn:mainstem:problem:{kind}"), "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(words.iter().all(|word| detail.contains(word)), "{path}: {detail}");
        problem
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

#[test]
fn headers_are_served_one_by_one_and_in_pages() {
    let case = Case::new(2, 9);
    let header = case.store.header(Height(4)).unwrap().unwrap();
    let (status, answer) = case.get("/v1/headers/4");
    assert_eq!((status, &answer["hash"]), (200, &Value::from(header.hash().to_string())));
    assert_eq!(answer["header"], serde_json::to_value(header).unwrap());
    assert_eq!(case.get("/v1/headers/latest").1["header"]["height"], 9);

    let (mut from, mut heights) = (Value::from(1), Vec::new());
    while !from.is_null() {
        let (_, page) = case.get(&format!("/v1/headers?from={from}&limit=3"));
        heights.extend(page["headers"].as_array().unwrap().iter().map(|one| one["header"]["height"].clone()));
        from = page["next"].clone();
    }
    assert_eq!(heights, (2..=9).collect::<Vec<_>>());

    let problem = case.refuses("/v1/headers/1", 404, "no-such-block", &["from 2 to 9"]);
    assert_eq!((&problem["first"], &problem["last"]), (&Value::from(2), &Value::from(9)));
    case.refuses("/v1/headers/10", 404, "no-such-block", &["from 2 to 9"]);
    case.refuses("/v1/headers/0", 400, "invalid-parameter", &["no height"]);
    case.refuses("/v1/headers?limit=1001", 400, "invalid-parameter", &["1 to 1000"]);
    case.refuses("/v1/headers?form=1", 400, "invalid-parameter", &["form", "from, limit"]);
    case.refuses("/v1/headers?from=1&from=2", 400, "invalid-parameter", &["twice"]);
}

#[test]
fn nothing_kept_is_no_error_and_says_so() {
    let case = Case::new(1, 0);
    case.refuses("/v1/headers/latest", 404, "no-such-block", &["yet"]);
    case.refuses("/v1/headers/1", 404, "no-such-block", &["none is yet"]);
    assert_eq!(case.get("/v1/headers").1["headers"], Value::Array(Vec::new()));
    case.refuses("/v1/chains/1/indexed", 404, "unknown-chain", &["none of this node's"]);
    let (_, status) = case.get("/v1/status");
    assert_eq!(status["kept"]["last"], Value::Null);
    assert_eq!(status["main_chain"]["genesis_hash"], case.world.main().1.to_string());
}

#[test]
fn which_main_block_indexed_a_height_is_served_with_what_proves_it() {
    let case = Case::new(3, 9);
    let chain = OURS[1];
    let part = &case.world.followed(5, 5)[0].chains[1];
    for height in part.first_height.0..=part.last_height().0 {
        let (status, answer) = case.get(&format!("/v1/chains/2/indexed/{height}"));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["header"]["height"], 5);
        assert_eq!(answer["proof"], serde_json::to_value(part).unwrap());
        assert_eq!(answer["hash"], case.store.header(Height(5)).unwrap().unwrap().hash().to_string());
    }
    let newest = case.world.followed(9, 9)[0].chains[1].last_height().0;
    let problem = case.refuses(
        &format!("/v1/chains/2/indexed/{}", newest + 1),
        404,
        "not-indexed",
        &[&format!("up to {newest}")],
    );
    assert_eq!((&problem["newest_indexed"], &problem["main_height"]), (&newest.into(), &9.into()));
    case.refuses("/v1/chains/2/indexed/1", 404, "not-kept", &["--follow-from"]);
    case.refuses("/v1/chains/3/indexed/1", 404, "unknown-chain", &["POST /v1/verify"]);
    case.refuses("/v1/chains/nothing/indexed/1", 400, "invalid-parameter", &["not a chain id"]);
    case.refuses("/v1/chains/2/indexed/1?wait=61s", 400, "invalid-parameter", &["up to 60s"]);
    case.refuses("/v1/chains/2/indexed/1?wait=soon", 400, "invalid-parameter", &["500ms"]);

    let (mut from, mut parts) = (Value::from(1), Vec::new());
    while !from.is_null() {
        let (_, page) = case.get(&format!("/v1/chains/{chain}/indexed?from={from}&limit=2"));
        parts.extend(page["parts"].as_array().unwrap().clone());
        from = page["next"].clone();
    }
    let expected: Vec<_> = case.world.followed(3, 9).iter().flat_map(|block| block.chains.clone()).collect();
    let expected: Vec<_> = expected.iter().filter(|proof| proof.chain_id == chain).collect();
    assert_eq!(parts.len(), expected.len());
    for (part, proof) in parts.iter().zip(expected) {
        assert_eq!(
            (&part["first_height"], &part["count"]),
            (&proof.first_height.0.into(), &proof.count.into())
        );
    }
}

#[test]
fn who_waits_for_a_height_is_answered_when_it_is_indexed() {
    let case = Case::new(1, 4);
    let wanted = case.world.followed(6, 6)[0].chains[0].first_height;
    let url = format!("http://{}/v1/chains/1/indexed/{wanted}?wait=60s", case.server.addr());
    let waiting = std::thread::spawn(move || {
        let mut response = agent().get(url).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    });
    // Whether it asks before, between or after: what comes first is not it yet.
    case.follow(5, 5);
    case.follow(6, 6);
    let (status, answer) = waiting.join().unwrap();
    assert_eq!(status, 200, "{answer}");
    let never =
        case.refuses("/v1/chains/1/indexed/100000?wait=1ms", 404, "not-indexed", &["not indexed yet"]);
    assert_eq!(never["main_height"], 6);
}

#[test]
fn a_proof_of_another_chain_is_verified_against_what_is_kept() {
    let case = Case::new(4, 9);
    let json = |proof| serde_json::to_value::<engine::proof::Proof>(proof).unwrap();
    // Chain 3 is followed by nobody here: its user brings the proof.
    let other = ChainId(3);
    let height = case.world.followed(6, 6)[0].chains[0].first_height.0;
    assert_eq!(case.world.locate(other, height), 6, "all chains of a world go alike");
    let proof = case.world.proof(other, height, None);
    let verdict = case.verify(&json(proof.clone()));
    assert_eq!((&verdict["verified"], &verdict["trusted"]["height"]), (&true.into(), &6.into()), "{verdict}");
    let binary = case.post(&proof.to_bytes(), "application/octet-stream").1;
    assert_eq!(binary, verdict);

    // Of a block before what is kept: its head leads to what is.
    let old = case.verify(&json(case.world.proof(other, 1, None)));
    assert_eq!(old["verified"], false);
    assert!(old["reason"].as_str().unwrap().contains("a head from 4 on"), "{old}");
    let verdict = case.verify(&json(case.world.proof(other, 1, Some(8))));
    assert_eq!((&verdict["verified"], &verdict["trusted"]["height"]), (&true.into(), &8.into()), "{verdict}");
    // And one whose head is newer than what is kept, of a block that is.
    let verdict = case.verify(&json(case.world.proof(other, height, Some(11))));
    assert_eq!((&verdict["verified"], &verdict["trusted"]["height"]), (&true.into(), &6.into()), "{verdict}");
    let new = case.verify(&json(case.world.proof(other, case.world.newest(other), None)));
    assert!(new["reason"].as_str().unwrap().contains("cannot be compared yet"), "{new}");
}

#[test]
fn of_too_many_that_wait_some_are_refused_and_others_answered() {
    let case = Case::new(1, 4);
    let url = format!("http://{}/v1/chains/1/indexed/100000?wait=60s", case.server.addr());
    let (busy, refused) = std::sync::mpsc::channel();
    for _ in 0..MAX_WAITING + 3 {
        let (url, busy) = (url.clone(), busy.clone());
        // Those that wait go on when the test is over.
        std::thread::spawn(move || {
            let mut response = agent().get(url).call()?;
            let status = response.status().as_u16();
            let _ = busy.send((status, response.body_mut().read_to_string()?));
            Ok::<_, ureq::Error>(())
        });
    }
    // Three find no room, whichever they are; until they have said so, nobody is done.
    for _ in 0..3 {
        let (status, answer) = refused.recv().unwrap();
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("urn:mainstem:problem:busy"), "{answer}");
    }
    case.refuses("/v1/chains/1/indexed/100000", 404, "not-indexed", &["not indexed yet"]);
    assert_eq!(case.get("/v1/status").0, 200);
}

#[test]
fn a_height_whose_block_is_kept_no_more_was_indexed_all_the_same() {
    let world = World::new(100, 80);
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap().keep_blocks(NonZeroU64::new(4));
    let (gone, mut rest) = (world.followed(1, 1).remove(0), world.followed(2, world.head()));
    // The chain has nothing in what is kept.
    rest.iter_mut().for_each(|block| block.chains.clear());
    store.append(&[&[gone], &rest[..]].concat()).unwrap();
    let case = Case::serve(world, dir, Arc::new(store));
    let problem = case.refuses("/v1/chains/2/indexed/1", 404, "not-kept", &["--keep-blocks"]);
    assert_eq!(problem["newest_indexed"], 2);
    assert_eq!(problem["oldest_indexed"], Value::Null);
    case.refuses("/v1/chains/2/indexed/3", 404, "not-indexed", &["up to 2"]);
}

type Forge = fn(&mut engine::proof::Proof);

#[test]
fn forged_proofs_are_refused_with_the_reason() {
    let case = Case::new(1, 9);
    let right = case.world.proof(ChainId(3), 5, Some(8));
    let forged: [(&str, Forge); 7] = [
        ("side_path", |proof| proof.block.hash.0[0] ^= 1),
        ("side_path", |proof| proof.block.tx_root.0[31] ^= 1),
        ("side_path", |proof| proof.chain_id.0 = 2),
        ("side_path", |proof| proof.chain.index ^= 1),
        ("history_path", |proof| proof.header.time = engine::chain::Timestamp::from_millis(7)),
        ("version", |proof| proof.version = 2),
        ("history_path and head", |proof| proof.head = None),
    ];
    for (field, forge) in forged {
        let mut proof = right.clone();
        forge(&mut proof);
        let verdict = case.verify(&serde_json::to_value(&proof).unwrap());
        assert_eq!(verdict["verified"], false, "{field}");
        assert!(verdict["reason"].as_str().unwrap().contains(field), "{field}: {verdict}");
    }
    // Right in itself, and of a main chain that somebody made up.
    let made_up = World::new(100, 3);
    let header = made_up.proof(ChainId(3), 1, None);
    let mut other = serde_json::to_value(&header).unwrap();
    // The same world is made the same way; another clock gives another time, another hash.
    other["header"]["state_root"] = Hash([9; 32]).to_string().into();
    let verdict = case.verify(&other);
    assert_eq!(verdict["verified"], false);
    assert!(verdict["reason"].as_str().unwrap().contains("on the main chain"), "{verdict}");

    for (body, kind, status, name) in [
        (&b"{"[..], "application/json", 400, "not-a-proof"),
        (&[0; 40], "application/octet-stream", 400, "not-a-proof"),
        (&vec![b' '; 300 << 10], "application/json", 413, "body-too-large"),
    ] {
        let (got, problem) = case.post(body, kind);
        assert_eq!(
            (got, &problem["type"]),
            (status, &format!("urn:mainstem:problem:{name}").into()),
            "{problem}"
        );
    }
}

#[test]
fn other_paths_and_methods_are_refused_in_the_same_form() {
    let case = Case::new(1, 2);
    let problem = case.refuses("/v2/status", 404, "no-route", &["docs/tributary.md"]);
    assert_eq!(problem["routes"].as_array().unwrap().len(), 6);
    case.refuses("/v1/verify", 405, "method-not-allowed", &["GET"]);
    case.refuses("/v1/status?x=1", 400, "invalid-parameter", &["none"]);
}

#[test]
fn the_status_shows_what_is_kept_and_what_the_main_chain_said_against_itself() {
    let case = Case::new(2, 4);
    case.follow(7, 8);
    let header = case.store.newest_header().unwrap();
    let field = "parent";
    let contradiction = Contradiction { field, detail: "so".into(), header, before: None, proof: None };
    case.keeper.contradicted(&contradiction);
    let (_, status) = case.get("/v1/status");
    let kept = &status["kept"];
    assert_eq!((&kept["first"], &kept["last"], &kept["headers"]), (&2.into(), &8.into(), &5.into()));
    assert_eq!(kept["gaps"][0], serde_json::json!({ "first": 5, "last": 6 }));
    assert_eq!(status["evidence"][0]["field"], field);
    assert_eq!(status["connection"]["state"], "connecting");
    assert_eq!(status["main_chain"]["chain_id"], 100);
}
