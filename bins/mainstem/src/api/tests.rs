mod events;
mod figures;
mod openapi;
mod proofs;
mod rpc;
mod waiting;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::cache::Cache;
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey};
use engine::lane::{Claim, SessionId};
use engine::pipeline::{Engine, PipelineConfig};
use engine::proof::Proof;
use engine::sim::{SimChain, SimConfig};
use engine::state::Genesis;
use engine::store::BlockReader as _;
use engine::store::memory::{MemoryReader, MemoryStore};
use net::identity::Identity;
use net::server::{NodeKeys, Parts, ServerConfig};
use serde_json::Value;

use super::*;
use crate::clock::SystemClock;
use crate::node::{Chain, EngineSlot};
use crate::settings::Origins;

const CHAIN: ChainId = ChainId(1_866_392);
const BLOCKS: u64 = 40;

/// Streams and requests that wait, at a time.
const STREAMS: usize = 4;

/// A node on a memory store: the real engine sealed the 40 blocks of `tDVV`, in several main blocks.
pub(super) struct Fixture {
    server: Option<Server>,
    /// Somewhere, listening.
    _ingest: net::server::Server,
    pub(super) reader: MemoryReader,
    pub(super) health: health::Health,
    cache: Cache,
    heads: Heads,
    busy: Mutex<SimChain>,
    /// The paths of all routes.
    paths: Vec<String>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(64, Duration::from_secs(10))
    }

    fn with(max_connections: usize, timeout: Duration) -> Self {
        let key = "ab".repeat(32);
        let text = format!(
            "[main]\nid = \"AELF\"\nname = \"test\"\naelf_root = true\n\
             [[chain]]\nid = \"tDVV\"\nname = \"busy\"\nnodes = [\"{key}\"]\n\
             [[chain]]\nid = 7\nname = \"quiet\"\nfirst_height = 5\nnodes = [\"{key}\"]\n"
        );
        let genesis = Arc::new(Genesis::parse(&text).unwrap());
        let store = MemoryStore::default();
        let reader = store.reader();
        let config = PipelineConfig { seal_interval: Duration::ZERO, ..PipelineConfig::default() };
        let clock = Arc::new(SystemClock::start());
        let engine = Engine::resume(config, &genesis, store, &reader, clock.clone()).unwrap();
        let cache = engine.cache();
        let parts = Parts {
            cache: cache.clone(),
            clock,
            main_chain: genesis.main.id,
            genesis_hash: genesis.hash,
            keys: NodeKeys::new(&genesis.chains),
            blocks: Arc::new(reader.clone()),
            head: engine.head(),
        };
        let config = ServerConfig::new((Ipv4Addr::LOCALHOST, 0).into(), Identity::from_seed([1; 32]));
        let ingest = net::server::Server::start(config, parts).unwrap();
        let slot = EngineSlot::default();
        let heads = Heads::new(STREAMS, None);
        slot.put(Chain::Solo(Box::new(engine.start(vec![heads.sink()]))));

        let lane = cache.lane(CHAIN).unwrap();
        let key: NodeKey = key.parse().unwrap();
        assert!(matches!(lane.claim(key, SessionId(1)), Ok(Claim::Speaker(_))));
        let mut chain = SimChain::new(CHAIN, Arc::new(SimConfig::default()));
        for _ in (1..=BLOCKS).step_by(4) {
            push(&cache, &mut chain, 4);
        }

        // Lanes say so first.
        while slot.durable().is_none_or(|durable| durable.side_blocks < BLOCKS) {
            std::thread::yield_now();
        }
        let stats = stats::Sampler::start(stats::Sources {
            engine: slot.clone(),
            ingest: ingest.load(),
            cache: cache.clone(),
            peers: ingest.peer_list(),
            head: Box::new({
                let reader = reader.clone();
                move || stats::head(&reader)
            }),
            chains: Box::new(std::collections::BTreeMap::new),
            side_blocks: 0,
            log: std::env::temp_dir(),
            started: Instant::now(),
        });
        let stats = stats.unwrap();
        let bounds = health::Bounds { min_free: 0, max_head_age: timeout };
        let health = health::Health::new(health::Sources {
            engine: slot.clone(),
            stats: stats.clone(),
            log: std::env::temp_dir(),
            damage: Box::new(|| 0),
            driven: false,
            bounds,
        });
        health.started();
        let registry = engine::state::Registry::new(&genesis, []);
        let node = Node {
            board: crate::watch::Board::new(
                cache.clone(),
                registry.clone(),
                &crate::settings::Watch::default(),
            ),
            reader: reader.clone(),
            stats,
            health: health.clone(),
            requests: Requests::default(),
            max_chains: Arc::new(1.into()),
            cache: cache.clone(),
            genesis,
            registry,
            key,
            ingest_addr: (Ipv4Addr::LOCALHOST, 1).into(),
            started: Instant::now(),
            peers: ingest.peer_list(),
            ingest: ingest.load(),
            engine: slot,
            scraped: Scraped::default(),
            answers: Budget::default(),
            questions: ingest.questions(),
            heads: heads.clone(),
        };
        let origins = Origins::of("https://explorer.example").unwrap();
        let pages = Pages::new((Ipv4Addr::LOCALHOST, 0).into(), origins);
        let routes = router(Arc::new(node), Limits { max_body: 64 << 10, timeout }, pages.clone());
        let paths = paths(&format!("{routes:?}"));
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let config = Config { addr, threads: 2, nice: 0, max_connections, head_timeout: timeout };
        let server = Some(Server::start(config, pages.guard(routes)).unwrap());
        Self { server, _ingest: ingest, reader, health, cache, heads, busy: Mutex::new(chain), paths }
    }

    /// Indexes more blocks of `tDVV`, in one main block or in several.
    fn grow(&self, blocks: u64) {
        push(&self.cache, &mut self.busy.lock().unwrap(), blocks);
    }

    /// Opens a connection, and sends a request without a body.
    fn open(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
            .write_all(format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
            .unwrap();
        stream
    }

    /// The same with more headers; gives status, headers and body.
    fn get_with(&self, path: &str, headers: &str) -> (u16, String, String) {
        read_answer(self.open(&format!("GET {path} HTTP/1.1\r\n{headers}")))
    }

    fn addr(&self) -> SocketAddr {
        self.server.as_ref().unwrap().addr()
    }

    /// Sends a request; gives status, headers and body.
    pub(super) fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a body does not read it to its end.
        let _ = stream.write_all(body);
        read_answer(stream)
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let (status, head, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}: {body}");
        assert!(head.contains("application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    }

    /// Sends a request that must fail, with a problem in the form of RFC 9457.
    fn problem(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, head, body) = self.ask(method, path, body);
        assert!(head.contains("content-type: application/problem+json"), "{path}: {status} {head}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].is_string(), "{path}: {member} of {problem}");
        }
        assert!(problem["type"].as_str().unwrap().starts_with("urn:mainstem:problem:"));
        assert_eq!(problem["instance"], path.split('?').next().unwrap());
        (status, problem)
    }

    fn detail(&self, path: &str) -> (u16, String) {
        let (status, problem) = self.problem("GET", path, b"");
        (status, problem["detail"].as_str().unwrap().to_owned())
    }

    fn proof(&self, path: &str) -> Proof {
        serde_json::from_value(self.get(path)).unwrap()
    }

    fn verdict(&self, proof: &Proof) -> Value {
        let (status, _, body) = self.ask("POST", "/v1/verify", &serde_json::to_vec(proof).unwrap());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// What a router shows of itself has its paths in quotes.
fn paths(shown: &str) -> Vec<String> {
    let mut paths: Vec<_> =
        shown.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Waits until they are indexed.
fn push(cache: &Cache, chain: &mut SimChain, blocks: u64) {
    let lane = cache.lane(CHAIN).unwrap();
    let (first, parent) = (lane.cursors().received + 1, chain.hash());
    let mut columns = Columns::default();
    for _ in 0..blocks {
        let (hash, tx_root, time) = chain.step();
        columns.push(hash, tx_root, time);
    }
    lane.push(SessionId(1), Height(first), parent, columns.as_ref(), Duration::ZERO).unwrap();
    while lane.cursors().indexed < first + blocks - 1 {
        std::thread::yield_now();
    }
}

fn read_answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A proof in its binary form is no text.
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn status_says_who_and_where_the_node_is() {
    let node = Fixture::new();
    let status = node.get("/v1/status");
    assert_eq!(status["main_chain"]["chain_id"], 9_992_731);
    assert_eq!(status["main_chain"]["chain"], "AELF");
    assert_eq!(status["chains"], 2);
    assert_eq!(status["side_blocks"], BLOCKS);
    assert_eq!(status["node_key"], "ab".repeat(32));
    let head = node.reader.head();
    assert_eq!(status["head"]["height"], head.0);
    assert_eq!(status["head"]["hash"], node.get("/v1/blocks/latest")["hash"]);
    assert_eq!(status["first_block"], 1);
}

#[test]
fn a_chain_is_found_by_number_and_by_base58() {
    let node = Fixture::new();
    let chain = node.get("/v1/chains/tDVV");
    assert_eq!(chain, node.get("/v1/chains/1866392"));
    assert_eq!(chain["chain_id"], CHAIN.0);
    assert_eq!(chain["chain"], "tDVV");
    for cursor in ["received", "final", "durable"] {
        assert_eq!(chain[cursor], BLOCKS, "{cursor}");
    }
    let quiet = node.get("/v1/chains/7");
    assert_eq!((&quiet["durable"], &quiet["first_height"]), (&4.into(), &5.into()));
}

#[test]
fn chains_come_in_pages() {
    let node = Fixture::new();
    let all = node.get("/v1/chains");
    assert_eq!(all["chains"].as_array().unwrap().len(), 2);
    assert_eq!(all["next"], Value::Null);
    let first = node.get("/v1/chains?limit=1");
    assert_eq!((&first["chains"][0]["chain_id"], &first["next"]), (&7.into(), &7.into()));
    let second = node.get("/v1/chains?limit=1&after=7");
    assert_eq!((&second["chains"][0]["chain"], &second["next"]), (&"tDVV".into(), &Value::Null));
}

#[test]
fn every_indexed_block_is_served_with_a_proof_that_verifies() {
    let node = Fixture::new();
    let mut chain = SimChain::new(CHAIN, Arc::new(SimConfig::default()));
    let head = node.reader.head();
    for height in 1..=BLOCKS {
        let (hash, tx_root, time) = chain.step();
        let block = node.get(&format!("/v1/chains/tDVV/blocks/{height}"));
        assert_eq!(block["hash"], hash.to_string());
        assert_eq!(block["tx_root"], tx_root.to_string());
        assert_eq!(block["time"], time.as_millis());
        let main = node.get(&format!("/v1/blocks/{}", block["indexed_in"]["height"]));
        assert_eq!(main["hash"], block["indexed_in"]["hash"]);
        assert_eq!(main["chains"][0]["chain"], "tDVV");

        let proof = node.proof(&format!("/v1/proofs/tDVV/{height}"));
        assert_eq!((proof.block.hash, proof.block.tx_root), (hash, tx_root));
        assert_eq!(proof.verify().unwrap().header_hash.to_string(), main["hash"].as_str().unwrap());
        let proof = node.proof(&format!("/v1/proofs/{}/{height}?head={head}", CHAIN.0));
        assert_eq!(proof.verify().unwrap().trusted.height, head);
    }
}

#[test]
fn what_never_changes_may_be_kept_and_the_newest_may_not() {
    let node = Fixture::new();
    for (path, kept) in [("/v1/proofs/tDVV/1", true), ("/v1/blocks/1", true), ("/v1/blocks/latest", false)] {
        assert_eq!(node.ask("GET", path, b"").1.contains("immutable"), kept, "{path}");
    }
}

#[test]
fn verify_accepts_its_own_proofs_and_says_why_it_refuses_others() {
    let node = Fixture::new();
    let proof = node.proof(&format!("/v1/proofs/tDVV/3?head={}", node.reader.head()));
    let verdict = node.verdict(&proof);
    assert_eq!((&verdict["verified"], &verdict["reason"]), (&true.into(), &Value::Null));
    assert_eq!(verdict["header_hash"], proof.header.hash().to_string());

    let mut wrong = proof.clone();
    wrong.block.tx_root = Hash([1; 32]);
    let verdict = node.verdict(&wrong);
    assert_eq!(verdict["verified"], false);
    assert!(verdict["reason"].as_str().unwrap().contains("header.side_root"), "{verdict}");

    // Right in itself, under a header that nobody sealed.
    let mut foreign = node.proof("/v1/proofs/tDVV/3");
    foreign.header.parent = Hash([1; 32]);
    foreign.verify().unwrap();
    let verdict = node.verdict(&foreign);
    assert_eq!(verdict["verified"], false);
    assert!(verdict["reason"].as_str().unwrap().contains("on this main chain"), "{verdict}");
    foreign.header.height = Height(1 << 40);
    assert!(node.verdict(&foreign)["reason"].as_str().unwrap().contains("does not have"));
}

#[test]
fn verify_takes_the_binary_form_too() {
    let node = Fixture::new();
    let body = node.proof("/v1/proofs/tDVV/3").to_bytes();
    let mut stream = TcpStream::connect(node.addr()).unwrap();
    let head = format!(
        "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let (status, _, body) = read_answer(stream);
    assert_eq!(status, 200);
    assert!(body.contains("\"verified\":true"), "{body}");
}

#[test]
fn what_is_not_a_proof_is_a_bad_request() {
    let node = Fixture::new();
    let mut surplus = serde_json::to_value(node.proof("/v1/proofs/tDVV/3")).unwrap();
    surplus["extra"] = 1.into();
    for body in ["", "{}", "[]", "\u{0}", "{\"version\":1", &surplus.to_string()] {
        let (status, problem) = node.problem("POST", "/v1/verify", body.as_bytes());
        assert_eq!(status, 400, "{body}");
        assert_eq!(problem["type"], "urn:mainstem:problem:not-a-proof");
    }
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let node = Fixture::new();
    let (status, problem) = node.problem("POST", "/v1/verify", &vec![b' '; (64 << 10) + 1]);
    assert_eq!((status, &problem["type"]), (413, &"urn:mainstem:problem:body-too-large".into()));
    let (status, _) = node.problem("POST", "/v1/verify", &vec![b' '; 64 << 10]);
    assert_eq!(status, 400);
}

#[test]
fn a_length_that_cannot_be_is_refused_before_anything_arrives() {
    // Whoever waits for the body waits for an hour.
    let node = Fixture::with(64, Duration::from_secs(3_600));
    for length in ["65537", "9223372036854775807", "18446744073709551613"] {
        let mut stream = TcpStream::connect(node.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head =
            format!("POST /v1/verify HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{{");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 2048];
        let read = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        assert!(answer.contains("urn:mainstem:problem:body-too-large"), "{length}: {answer}");
    }
}

#[test]
fn where_nobody_is_connected_the_lists_are_empty() {
    let node = Fixture::new();
    let peers = node.get("/v1/peers?limit=5&after=3");
    assert_eq!((peers["peers"].as_array().unwrap().len(), &peers["next"]), (0, &Value::Null));
    assert_eq!(node.get("/v1/refusals")["refusals"].as_array().unwrap().len(), 0);
    let (status, problem) = node.problem("GET", "/v1/peers/1", b"");
    assert_eq!((status, &problem["type"]), (404, &"urn:mainstem:problem:no-such-session".into()));
}

#[test]
fn metrics_count_what_the_engine_did() {
    let node = Fixture::new();
    let (status, head, body) = node.ask("GET", "/metrics", b"");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    let head = node.reader.head();
    for line in [
        format!("mainstem_side_blocks_indexed_total {BLOCKS}"),
        format!("mainstem_durable_seconds_count {BLOCKS}"),
        format!("mainstem_durable_seconds_bucket{{le=\"+Inf\"}} {BLOCKS}"),
        format!("mainstem_main_block_height {head}"),
        "mainstem_side_chains 2".into(),
        "mainstem_ingest_refused_total{limit=\"max_handshakes\"} 0".into(),
        "mainstem_stage_threads{stage=\"ingest\"} 1".into(),
        "mainstem_stage_queue{stage=\"seal\",unit=\"side blocks\"} 0".into(),
        "mainstem_stage_queue_capacity{stage=\"seal\",unit=\"side blocks\"} 2048".into(),
        "mainstem_stage_queue{stage=\"sync\",unit=\"main blocks\"} 0".into(),
        "# EOF".into(),
    ] {
        assert!(body.lines().any(|found| found == line), "{line:?} in {body}");
    }
    for stage in ["ingest", "seal", "append", "sync"] {
        let start = format!("mainstem_stage_busy_seconds_total{{stage=\"{stage}\"}} ");
        let busy = body.lines().find_map(|line| line.strip_prefix(&start));
        assert!(busy.is_some_and(|busy| busy.parse::<f64>().unwrap() > 0.0), "{stage}: {body}");
    }
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            (name.starts_with("mainstem_") || name.starts_with("process_")) && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[test]
fn every_route_is_in_the_documentation_with_its_parameters() {
    // In a table a bar ends a cell.
    let documentation = include_str!("../../../../docs/api.md").replace("\\|", "|");
    for path in crate::api::openapi::routes_in_words() {
        assert!(documentation.contains(&format!("`{path}`")), "{path}");
    }
}

#[test]
fn every_kind_of_problem_is_in_the_documentation() {
    let table = include_str!("../../../../docs/api.md").split("## Errors").nth(1).unwrap();
    let sources = [
        include_str!("answer.rs"),
        include_str!("chains.rs"),
        include_str!("events.rs"),
        include_str!("headers.rs"),
        include_str!("params.rs"),
        include_str!("peers.rs"),
        include_str!("problem.rs"),
        include_str!("proofs.rs"),
        include_str!("routes.rs"),
        include_str!("transactions.rs"),
        include_str!("aelf/parents.rs"),
    ];
    // Where a status is written, the kind is what follows.
    let after_status = sources.iter().flat_map(|source| source.split("StatusCode::").skip(1));
    let kinds: Vec<_> = after_status
        .filter_map(|rest| {
            let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_uppercase() || letter == '_');
            rest.strip_prefix(',')?.trim_start().strip_prefix('"')?.split('"').next()
        })
        .collect();
    assert!(kinds.len() > 15 && kinds.contains(&"too-many-blocks"), "{kinds:?}");
    for kind in kinds {
        assert!(table.contains(&format!("`{kind}`")), "{kind}");
    }
}

#[test]
fn what_is_not_there_is_said_to_be_missing_and_why() {
    let node = Fixture::new();
    let newest = node.reader.head();
    let next = newest.next();
    for (path, detail) in [
        ("/v1/nothing".into(), "there is nothing at /v1/nothing; docs/api.md lists the routes".into()),
        ("/".into(), "there is nothing at /; docs/api.md lists the routes".into()),
        (
            "/v1/chains/8".into(),
            "chain 3grT is not registered here; GET /v1/chains lists those that are".to_owned(),
        ),
        ("/v1/proofs/tDVV/41".into(), "chain tDVV: height 41 was not received yet; received up to 40".into()),
        (
            "/v1/chains/7/blocks/5".into(),
            "chain 3MNX: height 5 was not received yet; received up to 4".into(),
        ),
        ("/v1/proofs/7/4".into(), "chain 3MNX: height 4 is below 5, the first height that is indexed".into()),
        (
            format!("/v1/blocks/{next}"),
            format!("main block {next} does not exist yet; the newest is {newest}"),
        ),
        (
            format!("/v1/proofs/tDVV/1?head={next}"),
            format!(
                "head: {next} is not a main block from 1, the newest one that is proven, to {newest}, the newest"
            ),
        ),
    ] {
        assert_eq!(node.detail(&path), (404, detail), "{path}");
    }
    let (_, problem) = node.problem("GET", "/v1/proofs/tDVV/41", b"");
    assert_eq!(
        (&problem["received"], &problem["durable"], &problem["height"]),
        (&40.into(), &40.into(), &41.into())
    );
}

#[test]
fn what_was_pruned_is_gone_and_the_rest_is_served_as_before() {
    let node = Fixture::new();
    let head = node.reader.head();
    let last = node.get("/v1/chains/tDVV/blocks/20")["indexed_in"]["height"].as_u64().unwrap();
    let first = Height(last + 1);
    let paths = |height: u64| {
        [format!("/v1/chains/tDVV/blocks/{height}"), format!("/v1/proofs/tDVV/{height}?head={head}")]
    };
    let kept = paths(40).map(|path| (node.get(&path), path));
    let old = node.proof("/v1/proofs/tDVV/20");
    let led_on = node.proof(&format!("/v1/proofs/tDVV/20?head={head}"));
    MemoryStore::reopen(&node.reader).prune(first).unwrap();

    assert_eq!(node.get("/v1/status")["first_block"], first.0);
    for (answer, path) in kept {
        assert_eq!(node.get(&path), answer);
    }
    let text = format!(
        "chain tDVV: height 20 was indexed by a main block before {first}, and those were pruned from this log; \
         ask an archive, or a node that keeps them"
    );
    for path in paths(20) {
        let (status, problem) = node.problem("GET", &path, b"");
        assert_eq!((status, &problem["type"]), (410, &"urn:mainstem:problem:pruned".into()), "{path}");
        assert_eq!(problem["detail"], text);
        assert_eq!((&problem["field"], &problem["value"]), (&"height".into(), &20.into()));
        assert_eq!((&problem["first_block"], &problem["chain_id"]), (&first.0.into(), &CHAIN.0.into()));
    }
    let (status, problem) = node.problem("GET", &format!("/v1/blocks/{last}"), b"");
    assert_eq!((status, &problem["type"]), (410, &"urn:mainstem:problem:pruned".into()));
    assert_eq!(
        (&problem["field"], &problem["value"], &problem["first_block"]),
        (&"height".into(), &last.into(), &first.0.into())
    );
    node.get(&format!("/v1/blocks/{first}"));
    // What is not there for another reason is not said to be pruned.
    assert_eq!(node.problem("GET", "/v1/proofs/tDVV/41", b"").0, 404);
    assert_eq!(node.problem("GET", "/v1/proofs/7/5", b"").0, 404);
    assert_eq!(node.problem("GET", "/v1/chains/7/blocks/4", b"").0, 404);
    assert_eq!(node.problem("GET", &format!("/v1/blocks/{}", head.next()), b"").0, 404);

    // Of an old proof the node can only say what it still knows.
    let verdict = node.verdict(&old);
    assert_eq!(verdict["verified"], false);
    let reason = verdict["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("cannot compare: it keeps main blocks from {first} on")), "{reason}");
    assert_eq!(node.verdict(&led_on)["verified"], true);
}

#[test]
fn a_parameter_that_cannot_be_is_named_with_its_value() {
    let node = Fixture::new();
    for (path, field, value) in [
        ("/v1/chains/tDV", "chain", "tDV"),
        ("/v1/chains/4294967296", "chain", "4294967296"),
        ("/v1/proofs/0OIl/1", "chain", "0OIl"),
        ("/v1/proofs/tDVV/0", "height", "0"),
        ("/v1/proofs/tDVV/+1", "height", "+1"),
        ("/v1/proofs/tDVV/-1", "height", "-1"),
        ("/v1/proofs/tDVV/9223372036854775808", "height", "9223372036854775808"),
        ("/v1/proofs/tDVV/18446744073709551616", "height", "18446744073709551616"),
        ("/v1/proofs/tDVV/1?head=x", "head", "x"),
        ("/v1/proofs/tDVV/1?heed=2", "heed", "2"),
        ("/v1/proofs/tDVV/1?head=2&head=2", "head", "2"),
        ("/v1/blocks/newest", "height", "newest"),
        ("/v1/chains?limit=0", "limit", "0"),
        ("/v1/chains?limit=1001", "limit", "1001"),
        ("/v1/chains?after=?", "after", "?"),
        ("/v1/status?x=1", "x", "1"),
        ("/v1/peers?after=x", "after", "x"),
        ("/v1/peers?limit=0", "limit", "0"),
        ("/v1/peers/x", "session", "x"),
        ("/v1/peers/1?after=?", "after", "?"),
        ("/v1/refusals?after=1", "after", "1"),
        ("/metrics?x=1", "x", "1"),
        ("/v1/chains?q=%FF", "q", "%FF"),
        ("/v1/chains?limit=1&q=%zz", "q", "%zz"),
        ("/v1/chains?q=a%2", "q", "a%2"),
        ("/v1/chains?%C3=x", "%C3", "x"),
    ] {
        let (status, problem) = node.problem("GET", path, b"");
        assert_eq!(
            (status, &problem["type"]),
            (400, &"urn:mainstem:problem:invalid-parameter".into()),
            "{path}"
        );
        assert_eq!((&problem["field"], &problem["value"]), (&field.into(), &value.into()), "{path}");
    }
    assert_eq!(node.ask("GET", "/v1/chains?q=%c3%A9%25", b"").0, 200);
    for path in ["/v1/blocks/LATEST", "/v1/blocks/0", "/v1/headers/last", "/v1/trace/blocks/0"] {
        let (status, problem) = node.problem("GET", path, b"");
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 400 && detail.ends_with(", or latest, in small letters"), "{path}: {detail}");
    }
    // Not UTF-8 once decoded.
    assert_eq!(node.problem("GET", "/v1/chains/%ff", b"").0, 400);
}

#[test]
fn a_body_that_is_compressed_is_refused_as_such() {
    let node = Fixture::new();
    for (encoding, expected) in [("gzip", 415), ("identity, br", 415), ("identity", 400), ("Identity", 400)] {
        let request = format!(
            "POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-encoding: {encoding}\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        let mut stream = TcpStream::connect(node.addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (status, _, body) = read_answer(stream);
        assert_eq!(status, expected, "{encoding}: {body}");
        assert_eq!(body.contains("MS-4016") && body.contains(encoding), expected == 415, "{body}");
    }
    let (status, _, body) = node.get_with("/v1/status", "content-encoding: gzip");
    assert_eq!(status, 200, "there is no body: {body}");
}

#[test]
fn metrics_come_in_the_older_text_format_to_who_asks_for_that() {
    let node = Fixture::new();
    let open = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, text) in [
        ("text/plain;version=0.0.4", true),
        ("application/openmetrics-text;q=0.2, text/plain", true),
        (open, false),
        ("*/*", false),
    ] {
        let (status, head, body) = node.get_with("/metrics", &format!("accept: {accept}"));
        assert_eq!(status, 200);
        let kind =
            if text { "text/plain; version=0.0.4;" } else { "application/openmetrics-text; version=1.0.0;" };
        assert!(head.contains(kind), "{accept}: {head}");
        assert_eq!(body.ends_with("# EOF\n"), !text, "{accept}");
        let counter = if text { "mainstem_main_blocks_total" } else { "mainstem_main_blocks" };
        assert!(body.contains(&format!("\n# TYPE {counter} counter\nmainstem_main_blocks_total ")), "{body}");
        assert!(body.contains(&format!("\n# HELP {counter} ")), "{body}");
        assert!(body.contains("\n# TYPE mainstem_side_chains gauge\nmainstem_side_chains "), "{body}");
    }
}

#[test]
fn another_method_is_told_which_ones_work() {
    let node = Fixture::new();
    let (status, head, _) = node.ask("DELETE", "/v1/status", b"");
    assert_eq!(status, 405);
    assert!(head.contains("allow: get,head"), "{head}");
    let (status, problem) = node.problem("GET", "/v1/verify", b"");
    assert_eq!(
        (status, problem["detail"].as_str().unwrap()),
        (405, "GET is not possible here; the header Allow says what is")
    );
}

#[test]
fn a_request_that_does_not_arrive_is_given_up() {
    let node = Fixture::with(64, Duration::from_millis(200));
    let mut stream = TcpStream::connect(node.addr()).unwrap();
    stream
        .write_all(b"POST /v1/verify HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc")
        .unwrap();
    let (status, head, body) = read_answer(stream);
    assert_eq!(status, 408);
    assert!(head.contains("problem+json") && body.contains("urn:mainstem:problem:timeout"), "{body}");

    let mut silent = TcpStream::connect(node.addr()).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    silent.write_all(b"GET /v1/sta").unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap_or(0), 0, "the connection is closed without an answer");
}

#[test]
fn connections_above_the_cap_wait_their_turn() {
    let node = Fixture::with(2, Duration::from_secs(20));
    let held: Vec<_> = (0..2).map(|_| TcpStream::connect(node.addr()).unwrap()).collect();
    let addr = node.addr();
    let third = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        read_answer(stream).0
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!third.is_finished());
    drop(held);
    assert_eq!(third.join().unwrap(), 200);
}

#[test]
fn stopping_lets_a_request_finish_and_takes_no_new_one() {
    let mut node = Fixture::new();
    let addr = node.addr();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"POST /v1/verify HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{").unwrap();
    // The request must be in work before the server is told to stop.
    std::thread::sleep(Duration::from_millis(100));
    let server = node.server.take().unwrap();
    let stop = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    std::thread::sleep(Duration::from_millis(100));
    stream.write_all(b"}").unwrap();
    assert_eq!(read_answer(stream).0, 400);
    stop.join().unwrap();
    assert!(TcpStream::connect(addr).is_err());
}
