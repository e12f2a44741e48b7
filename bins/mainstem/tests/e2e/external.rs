//! Another chain's node drives the main chain, over gRPC and REST.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::support::indexed::as_simulated;
use crate::support::node::{Chain, Data, Node};
use crate::support::process::Process;
use crate::support::{Random, http, key, mainstem, run, tributary, wait_for};

use wire::main_chain_client::MainChainClient;
use wire::verdict::Verdict;

#[allow(clippy::pedantic, unreachable_pub, dead_code, unused_qualifications, reason = "generated")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/client/mainstem.external.v1.rs"));
}

const CHAINS: &str = "7,100,1866392";

/// Two nodes of one main chain, which index the same side chains, and the means to feed them.
struct World {
    dir: tempfile::TempDir,
    data: [Data; 2],
    runtime: Runtime,
}

/// A node that is driven by calls.
struct Driven {
    node: Node,
    /// `http://127.0.0.1:PORT`
    url: String,
    calls: MainChainClient<Channel>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let public = key(&dir.path().join("node.key"));
        let chains =
            || [7, 100, 1_866_392].map(|id| Chain { id, first_height: 1, keys: vec![public.clone()] });
        let data = [Data::new(&chains()), Data::new(&chains())];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, data, runtime }
    }

    fn start(&self, index: usize, more: &[&str]) -> Driven {
        let options =
            ["--main.mode", "external", "--external.addr", "127.0.0.1:0", "--cache.lane-blocks", "4096"];
        let mut node = Node::start(&self.data[index].path(), None, &[&options[..], more].concat());
        let url = node.process.line("driven by", |line| {
            let (_, after) = line.strip_prefix("driven by")?.split_once("http://")?;
            Some(format!("http://{}", after.split_once(',')?.0))
        });
        let endpoint = Endpoint::from_shared(url.clone()).unwrap().timeout(Duration::from_secs(60));
        let _inside = self.runtime.enter();
        Driven { node, url, calls: MainChainClient::new(endpoint.connect_lazy()) }
    }

    /// Sends the same simulated chains to a node, as fast as it takes them.
    fn feed(&self, node: &Driven) -> Process {
        self.feed_chains(node, CHAINS)
    }

    fn feed_chains(&self, node: &Driven, chains: &str) -> Process {
        let mut command = tributary();
        command.args(["sim", "--main", &node.node.ingest, "--main-key", &node.node.key, "--chain", chains]);
        command.args(["--rate", "0", "--key"]).arg(self.dir.path().join("node.key"));
        Process::start("tributary sim", &mut command)
    }

    fn candidate(&self, node: &mut Driven, max_per_chain: u64) -> wire::Block {
        wait_for("a side block that waits", || {
            let request = wire::CandidateRequest { parent: Vec::new(), max_leaves: 0, max_per_chain };
            let reply = self.runtime.block_on(node.calls.candidate(request)).unwrap().into_inner();
            reply.block
        })
    }

    fn validate(&self, node: &mut Driven, block: &wire::Block, wait_ms: u32) -> Verdict {
        let request = wire::ValidateRequest { block: Some(block.clone()), wait_ms };
        self.runtime.block_on(node.calls.validate(request)).unwrap().into_inner().verdict.unwrap()
    }

    fn commit(&self, node: &mut Driven, block: &wire::Block) -> Result<wire::Head, tonic::Status> {
        let request = wire::CommitRequest { block: Some(block.clone()) };
        Ok(self.runtime.block_on(node.calls.commit(request))?.into_inner())
    }

    fn rollback(&self, node: &mut Driven, height: u64) -> Result<wire::Status, tonic::Status> {
        Ok(self.runtime.block_on(node.calls.rollback(wire::HeightRequest { height }))?.into_inner())
    }

    fn finalize(&self, node: &mut Driven, height: u64) -> Result<wire::Status, tonic::Status> {
        Ok(self.runtime.block_on(node.calls.finalize(wire::HeightRequest { height }))?.into_inner())
    }

    fn status(&self, node: &mut Driven) -> wire::Status {
        self.runtime.block_on(node.calls.get_status(wire::GetStatusRequest {})).unwrap().into_inner()
    }

    /// Stops a node and reads its whole log.
    fn log(&self, index: usize, mut node: Driven) -> storage::LogReader {
        node.node.process.signal("TERM");
        assert!(node.node.process.wait().success(), "{}", node.node.process.output());
        storage::LogReader::open(self.data[index].log()).unwrap()
    }
}

fn height(head: Option<&wire::Head>) -> u64 {
    head.map_or(0, |head| head.header.as_ref().unwrap().height)
}

#[test]
fn forks_of_depth_1_to_100_under_load_lose_and_repeat_nothing_on_two_nodes() {
    let world = World::new();
    let (mut one, mut two) = (world.start(0, &[]), world.start(1, &[]));
    let mut feeds = vec![world.feed(&one), world.feed(&two)];
    let mut random = Random::seeded();
    for (round, depth) in [1, 100, 2, 31, 7].into_iter().enumerate() {
        let base = height(world.status(&mut one).head.as_ref());
        // Two branches from the same block: the first one is given up.
        for branch in 0..2 {
            for _ in 0..depth {
                let most = 1 + random.below(4);
                let block = world.candidate(&mut one, most);
                assert_eq!(world.validate(&mut two, &block, 30_000), Verdict::Valid(wire::Valid {}));
                let heads = [&mut one, &mut two].map(|node| world.commit(node, &block).unwrap());
                assert_eq!(heads[0], heads[1]);
            }
            if round == 1 && branch == 0 {
                // In the middle of it, one of them dies and comes back.
                one.node.process.kill();
                one = world.start(0, &[]);
                feeds[0] = world.feed(&one);
                let (here, there) = (world.status(&mut one), world.status(&mut two));
                assert_eq!(
                    (here.head, here.irreversible),
                    (there.head, there.irreversible),
                    "what was committed is there"
                );
            }
            if branch == 0 {
                for node in [&mut one, &mut two] {
                    assert_eq!(height(world.rollback(node, base).unwrap().head.as_ref()), base);
                }
            }
        }
        let head = height(world.status(&mut two).head.as_ref());
        assert_eq!(head, base + depth);
        assert_eq!(
            http::get(&one.node.api, "/v1/chains/7")["durable"],
            irreversible_blocks(&one, base),
            "nothing is acknowledged"
        );
        // The newest blocks may stay open over the next fork.
        let last = round == 4;
        let to = if last { head } else { head - random.below(depth.min(3)) };
        for node in [&mut one, &mut two] {
            assert_eq!(world.finalize(node, to).unwrap().irreversible, to);
            assert_eq!(world.rollback(node, to.saturating_sub(1)).unwrap_err().code(), Code::OutOfRange);
        }
        if !last {
            for node in [&mut one, &mut two] {
                world.rollback(node, to).unwrap();
            }
        }
    }
    for feed in &mut feeds {
        feed.kill();
    }
    let logs = [world.log(0, one), world.log(1, two)];
    let [first, second] = logs.each_ref().map(as_simulated);
    assert_eq!(first.len(), 3);
    for (id, chain) in &first {
        assert!(chain.height().0 > 100, "{id}");
        assert_eq!(chain.hash(), second[id].hash(), "{id}");
    }
}

/// How many blocks of chain 7 main blocks 1 to `height` have, by what the API serves of them.
fn irreversible_blocks(node: &Driven, height: u64) -> u64 {
    (1..=height)
        .map(|height| {
            let block = http::get(&node.node.api, &format!("/v1/blocks/{height}"));
            let chains = block["chains"].as_array().unwrap().clone();
            chains
                .iter()
                .find(|chain| chain["chain_id"] == 7)
                .map_or(0, |chain| chain["count"].as_u64().unwrap())
        })
        .sum()
}

#[test]
fn a_proposal_that_the_lanes_lag_behind_of_is_judged_again_when_they_catch_up() {
    let world = World::new();
    let (mut one, mut two) = (world.start(0, &[]), world.start(1, &[]));
    let _feed = world.feed(&one);
    let block = world.candidate(&mut one, 5);
    let verdict = world.validate(&mut two, &block, 0);
    let Verdict::Behind(behind) = verdict else { panic!("{verdict:?}") };
    assert_eq!((behind.received, behind.wanted > 0), (0, true));
    // Whoever commits it too early is told so.
    assert_eq!(world.commit(&mut two, &block).unwrap_err().code(), Code::Unavailable);
    wait_for("it to be counted", || (world.status(&mut two).waiting == 1).then_some(()));
    let mut watch =
        world.runtime.block_on(two.calls.watch_verdicts(wire::WatchVerdictsRequest {})).unwrap().into_inner();
    let (_, json) = rest(&one, "candidate", &json!({ "max_per_chain": 5 }));
    let hash = json["hash"].as_str().unwrap().to_owned();

    let _late = world.feed(&two);
    let told =
        world.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), watch.next()).await });
    let told = told.unwrap().unwrap().unwrap().verdict.unwrap();
    assert_eq!(told.verdict, Some(Verdict::Valid(wire::Valid {})));
    assert_eq!(world.validate(&mut two, &block, 30_000), Verdict::Valid(wire::Valid {}));
    world.commit(&mut two, &block).unwrap();
    world.commit(&mut one, &block).unwrap();
    assert_eq!(
        world.commit(&mut one, &block).unwrap(),
        world.status(&mut one).head.unwrap(),
        "asked once more"
    );
    // It never had to wait here.
    assert_eq!(rest_get(&one, &format!("verdicts/{hash}")).0, 404);
}

#[test]
fn calls_are_answered_while_more_validates_wait_for_lanes_than_there_are_places() {
    let world = World::new();
    let (mut one, mut two) = (world.start(0, &[]), world.start(1, &[]));
    // Two never hears of chain 100, and so is behind of each of these.
    let _feeds = [world.feed(&one), world.feed_chains(&two, "7")];
    wait_for("nine blocks of each chain", || {
        let block = world.candidate(&mut one, 9);
        (block.hashes.len() == 3 * 9 * 32).then_some(())
    });
    let (mut over_grpc, mut over_rest) = (Vec::new(), Vec::new());
    for most in 1..=9 {
        if most <= 5 {
            let (block, mut calls) = (world.candidate(&mut one, most), two.calls.clone());
            over_grpc.push(world.runtime.spawn(async move {
                let request = wire::ValidateRequest { block: Some(block), wait_ms: 60_000 };
                calls.validate(request).await.unwrap().into_inner().verdict.unwrap()
            }));
        } else {
            let (_, block) = rest(&one, "candidate", &json!({ "max_per_chain": most }));
            let url = format!("{}/v1/external/validate?wait_ms=60000", two.url);
            over_rest.push(std::thread::spawn(move || post(&url, block.to_string().as_bytes(), None)));
        }
        wait_for("it to wait", || (world.status(&mut two).waiting == most).then_some(()));
    }

    let block = world.candidate(&mut two, 3);
    assert_eq!(world.validate(&mut two, &block, 0), Verdict::Valid(wire::Valid {}));
    world.commit(&mut two, &block).unwrap();
    world.rollback(&mut two, 0).unwrap();
    world.commit(&mut two, &block).unwrap();
    assert_eq!(world.status(&mut two).waiting, 9, "they wait still");
    // What they stand on is no parent any more: now each is answered, too.
    assert_eq!(world.finalize(&mut two, 1).unwrap().irreversible, 1);
    for waiting in over_grpc {
        let verdict = world.runtime.block_on(waiting).unwrap();
        assert!(matches!(verdict, Verdict::UnknownParent(_)), "{verdict:?}");
    }
    for waiting in over_rest {
        let (status, verdict) = waiting.join().unwrap();
        assert_eq!((status, &verdict["verdict"]), (200, &json!("unknown-parent")));
    }
}

fn rest_get(node: &Driven, call: &str) -> (u16, Value) {
    http::try_get(&node.url, &format!("/v1/external/{call}")).unwrap()
}

fn rest(node: &Driven, call: &str, body: &Value) -> (u16, Value) {
    post(&format!("{}/v1/external/{call}", node.url), body.to_string().as_bytes(), None)
}

fn post(url: &str, body: &[u8], token: Option<&str>) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request.send(body).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[test]
fn over_rest_a_block_is_made_judged_committed_taken_back_and_made_final() {
    let world = World::new();
    let one = world.start(0, &[]);
    assert_eq!(rest(&one, "candidate", &json!({})).0, 204, "nothing waits yet");
    assert_eq!(rest_get(&one, "status").1, json!({ "head": null, "irreversible": 0, "waiting": 0 }));
    let _feed = world.feed(&one);
    let block = wait_for("a candidate of all chains", || {
        let (status, block) = rest(&one, "candidate", &json!({ "max_leaves": 9, "max_per_chain": 3 }));
        (status == 200 && block["header"]["leaf_count"] == 9).then_some(block)
    });
    assert_eq!(rest(&one, "validate", &block), (200, json!({ "verdict": "valid" })));

    let mut wrong = block.clone();
    wrong["header"]["state_root"] = format!("0x{}", "11".repeat(32)).into();
    let (status, verdict) = rest(&one, "validate", &wrong);
    assert_eq!(
        (status, &verdict["verdict"], &verdict["field"]),
        (200, &json!("invalid"), &json!("header.state_root"))
    );
    assert_eq!(verdict["expected"], block["header"]["state_root"]);
    let (status, problem) = rest(&one, "commit", &wrong);
    assert_eq!((status, &problem["field"]), (422, &json!("header.state_root")));
    assert_eq!(problem["type"], "urn:mainstem:problem:invalid-block");

    // A field is named as in the block that was sent.
    let mut wrong = block.clone();
    wrong["sections"][1]["chain_id"] = 8.into();
    assert_eq!(rest(&one, "validate", &wrong).1["field"], "sections[1].chain_id");

    let (status, head) = rest(&one, "commit", &block);
    assert_eq!((status, &head["header"], &head["hash"]), (200, &block["header"], &block["hash"]));
    // Committed is not irreversible: nobody else sees it yet.
    assert_eq!(http::get(&one.node.api, "/v1/status")["head"], Value::Null);
    assert_eq!(http::durable(&one.node.api, 7), 0);
    let proof = "/v1/proofs/7/1";
    assert_eq!(http::try_get(&one.node.api, proof).unwrap().0, 404);

    let (status, after) = rest(&one, "rollback", &json!({ "height": 0 }));
    assert_eq!((status, &after["head"]), (200, &Value::Null));
    let (_, again) = rest(&one, "candidate", &json!({ "max_leaves": 9, "max_per_chain": 3 }));
    assert_eq!(again["hashes"], block["hashes"], "the same side blocks");
    assert_eq!(rest(&one, "commit", &again).0, 200);
    assert_eq!(rest(&one, "finalize", &json!({ "height": 1 })).1["irreversible"], 1);
    wait_for("the API to show it", || (http::durable(&one.node.api, 7) == 3).then_some(()));
    http::get(&one.node.api, proof);

    // Without a secret, no web page that is open on this machine gets through.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for (name, value) in [("origin", "http://evil.example"), ("host", "evil.example:80")] {
        let request = agent.post(format!("{}/v1/external/finalize", one.url)).header(name, value);
        assert_eq!(request.send(&b"{\"height\":1}"[..]).unwrap().status(), 401, "{name}");
    }

    // What cannot be is refused with the field and what would be right.
    let (status, problem) = rest(&one, "rollback", &json!({ "height": 0 }));
    assert_eq!(
        (status, &problem["field"], &problem["first"], &problem["last"]),
        (400, &json!("height"), &json!(1), &json!(1))
    );
    let (status, problem) = rest(&one, "commit", &block);
    assert_eq!((status, &problem["type"]), (409, &json!("urn:mainstem:problem:not-on-head")));
    assert_eq!(rest(&one, "candidate", &json!({ "max_leaves": 0 })).1["field"], "max_leaves");
    let (status, problem) = rest(&one, "candidate", &json!({ "most": 1 }));
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("most")), (400, true), "{problem}");
    let kind = |(status, problem): (u16, Value)| (status, problem["type"].as_str().unwrap().to_owned());
    let is = |status, kind: &str| (status, format!("urn:mainstem:problem:{kind}"));
    assert_eq!(kind(rest(&one, "no-such-call", &json!({}))), is(404, "no-route"));
    assert_eq!(kind(rest_get(&one, "commit")), is(405, "method-not-allowed"));
    let unheard = format!("verdicts/0x{}", "77".repeat(32));
    assert_eq!(kind(rest_get(&one, &unheard)), is(404, "no-such-block"));
    // What carries no block is short.
    for call in ["candidate", "rollback", "finalize"] {
        let long = format!("{}/v1/external/{call}", one.url);
        assert_eq!(kind(post(&long, &[b' '; 4097], None)), is(413, "body-too-large"), "{call}");
    }
    let (status, problem) = post(&format!("{}/v1/external/commit", one.url), b"{\"header\": 7", None);
    assert_eq!((status, &problem["type"]), (400, &json!("urn:mainstem:problem:invalid-body")));
}

#[test]
fn calls_need_the_secret_and_an_open_address_needs_one() {
    let world = World::new();
    let token = world.dir.path().join("token");
    fs::write(&token, "a-secret-of-the-operator\n").unwrap();
    let mut one = world.start(0, &["--external.token-file", token.to_str().unwrap()]);
    let url = format!("{}/v1/external/candidate", one.url);
    for wrong in [None, Some("a-secret-of-the-operato"), Some("")] {
        let (status, problem) = post(&url, b"{}", wrong);
        assert_eq!(
            (status, &problem["type"]),
            (401, &json!("urn:mainstem:problem:unauthorized")),
            "{wrong:?}"
        );
    }
    assert_eq!(post(&url, b"{}", Some("a-secret-of-the-operator")).0, 204);
    let refused = world.runtime.block_on(one.calls.get_status(wire::GetStatusRequest {})).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let mut request = tonic::Request::new(wire::GetStatusRequest {});
    request.metadata_mut().insert("authorization", "Bearer a-secret-of-the-operator".parse().unwrap());
    world.runtime.block_on(one.calls.get_status(request)).unwrap();

    let refused = |more: &[&str], data: &Path| {
        let mut command = mainstem();
        command
            .args(["run", "--api.addr", "127.0.0.1:0", "--ingest.addr", "127.0.0.1:0", "--data"])
            .arg(data);
        let (code, _, error) = run(command.args(more));
        assert_ne!(code, 0);
        error
    };
    let open = ["--main.mode", "external", "--external.addr", "0.0.0.0:0"];
    assert!(refused(&open, &world.data[1].path()).contains("external.token_file"));
    // A log stays what it was made for.
    let mut node = one.node.process;
    node.signal("TERM");
    assert!(node.wait().success());
    assert!(refused(&[], &world.data[0].path()).contains("main.mode"));
}
