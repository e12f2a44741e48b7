//! Nodes that contradict what they sent: who is barred, which chain stops, over a restart too, and how it goes on.

#[path = "../../examples/contradict/liar.rs"]
mod liar;

use engine::chain::ChainId;
use net::identity::Identity;

use liar::Liar;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, mainstem, run, wait_for};

const LONELY: u32 = 7;
const SHARED: u32 = 8;
const TIMES: u64 = 3;

/// Sends four blocks of a chain, and then other ones for their heights, [`TIMES`] times.
fn contradict(node: &Node, identity: &Identity, chain: u32) {
    let (server, server_key) = (node.ingest.parse().unwrap(), node.key.parse().unwrap());
    Liar { identity, server, server_key, chain: ChainId(chain) }.contradict(TIMES).unwrap();
}

fn shown(node: &Node, chain: u32) -> serde_json::Value {
    http::get(&node.api, &format!("/v1/chains/{chain}"))
}

#[test]
fn a_chain_whose_only_node_contradicts_it_stops_until_it_is_resumed_and_one_of_several_nodes_is_barred() {
    let (liar, other) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let (key, others) = (liar.public().to_string(), other.public().to_string());
    let data = Data::new(&[
        Chain { id: LONELY, first_height: 1, keys: vec![key.clone()] },
        Chain { id: SHARED, first_height: 1, keys: vec![key, others] },
    ]);
    // By these rules so few blocks stay in their lanes: only with those can anything be contradicted.
    let settings = ["--seal.rules", "aelf"];
    let node = Node::start(&data.path(), None, &settings);
    contradict(&node, &liar, SHARED);
    let tried = wait_for("the node to be barred", || {
        let why = http::get(&node.api, &format!("/v1/chains/{SHARED}/why"));
        why["tried"][0]["text"].as_str().map(str::to_owned)
    });
    assert!(tried.starts_with("barred node ") && tried.contains("after 3 contradictions"), "{tried}");
    assert_ne!(shown(&node, SHARED)["status"]["state"], "quarantined");
    assert!(shown(&node, SHARED)["evidence"].is_string());

    let quarantined = |node: &Node| {
        let status = shown(node, LONELY)["status"].clone();
        (status["reason"] == "conflict-repeated").then(|| status["text"].as_str().unwrap().to_owned())
    };
    contradict(&node, &liar, LONELY);
    let text = wait_for("the quarantine", || quarantined(&node));
    assert!(text.contains("contradicted it 3 times"), "{text}");
    let file = std::fs::read_to_string(data.path().join("chains.toml")).unwrap();
    assert!(file.contains("[[quarantined]]") && file.contains("contradicted it 3 times"), "{file}");
    assert!(!file.contains(&format!("{}\"", ChainId(SHARED))), "{file}");

    drop(node);
    let node = Node::start(&data.path(), None, &settings);
    let text = wait_for("the quarantine after the restart", || quarantined(&node));
    assert!(text.contains("contradicted it 3 times"), "{text}");

    let (code, _, error) =
        run(mainstem().args(["chains", "resume", &LONELY.to_string(), "--data"]).arg(data.path()));
    assert_eq!(code, 0, "{error}");
    wait_for("the chain to go on", || quarantined(&node).is_none().then_some(()));
    let file = std::fs::read_to_string(data.path().join("chains.toml")).unwrap();
    assert!(!file.contains("quarantined"), "{file}");
    drop(node);

    std::fs::write(data.path().join("chains.toml"), "paused = 5").unwrap();
    let (code, out, error) = run(mainstem().arg("run").arg("--data").arg(data.path()).args([
        "--api.addr",
        "127.0.0.1:0",
        "--ingest.addr",
        "127.0.0.1:0",
    ]));
    assert_ne!(code, 0, "{error}");
    assert!(error.contains("MS-1106") && error.contains("expected a line such as"), "{error}");
    assert!(!out.contains("ingest "), "{out}");
}
