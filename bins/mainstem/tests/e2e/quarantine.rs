//! Nodes that contradict what they sent: who is barred, which chain stops, over a restart too, and how it goes on.

use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use net::control::{ClientMessage, EntryState, Hello, Message, RefusalCode, Resume, ServerMessage, receive};
use net::endpoint::{self, Bind, Limits};
use net::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};
use net::identity::Identity;
use net::reactor::Reactor;

use crate::support::node::{Chain, Data, Node};
use crate::support::{http, mainstem, run, wait_for};

const LONELY: u32 = 7;
const SHARED: u32 = 8;
const TIMES: u64 = 3;

/// A frame with blocks 2 to 4 of a chain after block 1, or all four.
fn frame(chain: u32, first: u64, lie: bool) -> Vec<u8> {
    let hash = |height: u64| Hash([height as u8; 32]);
    let mut blocks = Columns::default();
    for height in first..=4 {
        let hash = if lie { Hash([0xee; 32]) } else { hash(height) };
        blocks.push(hash, Hash::ZERO, Timestamp::from_millis(height));
    }
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    let parent = if first == 1 { Hash::ZERO } else { hash(first - 1) };
    writer.push(ChainId(chain), Height(first), parent, blocks.as_ref());
    writer.finish().as_bytes().to_vec()
}

/// Sends four blocks of a chain, and then other ones for their heights, [`TIMES`] times.
fn contradict(node: &Node, identity: &Identity, chain: u32) {
    let reactor = Reactor::spawn_thread("liar").unwrap();
    let (handle, server) = (reactor.handle(), node.ingest.parse().unwrap());
    let quic = endpoint::client_config(identity, node.key.parse().unwrap(), &Limits::default()).unwrap();
    let endpoint = endpoint::open(&handle, &Bind::new(([127, 0, 0, 1], 0).into()), identity, None).unwrap();
    let lies = async move {
        let connection = endpoint::connect(&endpoint, quic, server).unwrap().await.unwrap();
        let (mut send, mut control) = connection.open_bi().await.unwrap();
        let mut out = Vec::new();
        let id = ChainId(chain);
        ClientMessage::Hello(Hello { software: "liar 1".into(), chains: vec![id] }).encode(&mut out);
        send.write_all(&out).await.unwrap();
        let mut data = connection.open_uni().await.unwrap();
        data.write_all(&frame(chain, 1, false)).await.unwrap();
        for frames in 2..2 + TIMES {
            data.write_all(&frame(chain, 2, true)).await.unwrap();
            loop {
                if let ServerMessage::Refused(refused) =
                    receive(&mut control, &mut Vec::new()).await.unwrap().unwrap()
                {
                    assert_eq!(refused.code, RefusalCode::Conflict, "{refused:?}");
                    break;
                }
            }
            out.clear();
            ClientMessage::Resume(Resume { chain: id, frames }).encode(&mut out);
            send.write_all(&out).await.unwrap();
            loop {
                if let ServerMessage::Position(entry) =
                    receive(&mut control, &mut Vec::new()).await.unwrap().unwrap()
                {
                    // The last time it may be barred already.
                    let speaks = matches!(entry.state, EntryState::Speaker(_));
                    assert!(speaks || frames == 1 + TIMES, "{entry:?}");
                    break;
                }
            }
        }
    };
    let limit = handle.clone();
    let lied = handle.block_on(async move { limit.timeout(Duration::from_secs(60), lies).await });
    lied.unwrap().unwrap();
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
