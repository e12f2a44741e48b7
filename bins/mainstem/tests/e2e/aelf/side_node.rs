//! A stand-in for an AElf side node with `tributary aelf` as its parent, and that with `mainstem run` behind it, each a
//! process of its own: blocks go up, are indexed, and come back with the paths that bind them.

use std::net::{Ipv4Addr, SocketAddr};

use aelf::CrossChainRequest;
use aelf::hand_shake_reply::HandShakeStatus;
use engine::chain::{ChainId, Hash};
use engine::merkle::node;
use serde_json::{Value, json};

use super::{TDVV, init};
use crate::support::node::Node;
use crate::support::process::Process;
use crate::support::{alone, http, key, tributary, wait_for};

#[allow(dead_code, reason = "what else it can do is for the tests of the source")]
#[path = "../../../../tributary/src/sources/aelf/stand_in.rs"]
mod stand_in;

use stand_in::{StandIn, hash};

/// The stand-in's parent chain.
const AELF: ChainId = ChainId(super::AELF);

/// Blocks of the side chain, of which a main block takes so many.
const BLOCKS: u64 = 200;
const PER_MAIN_BLOCK: &str = "4";

#[test]
fn a_side_nodes_blocks_come_back_to_it_from_a_node_that_has_indexed_them() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let document = format!(
        "[main]\nid = \"AELF\"\nname = \"main\"\naelf_root = true\n\
         [[chain]]\nid = \"tDVV\"\nname = \"one\"\nnodes = [\"{public}\"]\n\
         [[chain]]\nid = \"tDVW\"\nname = \"two\"\nnodes = [\"{public}\"]\n"
    );
    let settings =
        ["--seal.max_per_chain", PER_MAIN_BLOCK, "--seal.catch_up", "false", "--seal.interval_ms", "5"];
    let main = Node::start(&init(dir.path(), &document), None, &settings);
    let mut command = tributary();
    command.args(["aelf", "--chain", "tDVV", "--listen", "127.0.0.1:0", "--poll", "50ms"]);
    command.args(["--main-api", &main.api, "--main", &main.ingest, "--main-key", &main.key]);
    command.args(["--log-format", "json", "--key"]).arg(&key_file);
    let mut wrap = Process::start("tributary aelf", &mut command);
    let parent: SocketAddr = wrap.line("where it listens", |line| {
        let said: Value =
            line.contains("listening for the AElf node").then(|| serde_json::from_str(line).unwrap())?;
        Some(said["addr"].as_str().unwrap().parse().unwrap())
    });

    let id = TDVV.id.0.cast_signed();
    let mut side = StandIn::start((Ipv4Addr::LOCALHOST, 0).into(), id, "a", BLOCKS, parent);
    // Nobody is known here before he has shaken hands; a connection is made anew by who is told so.
    let port = side.addr.port();
    wait_for("a handshake", || {
        side.greet(port.into()).ok().filter(|status| *status == HandShakeStatus::Success)
    });
    wait_for("the side node's blocks to be indexed", || {
        (http::durable(&main.api, TDVV.id.0) == BLOCKS).then_some(())
    });
    assert!(side.chain.requests.load(std::sync::atomic::Ordering::SeqCst) > 0, "it was called back");

    // All main blocks, at most 32 in a round.
    wait_for("all blocks to be bound", || {
        let added = side.round().unwrap_or_default();
        assert!(added <= 32, "{added}");
        let paths = side.cache.blocks.values().map(|block| block.indexed_merkle_path.len() as u64);
        (paths.sum::<u64>() == BLOCKS).then_some(())
    });
    let mut own = 1;
    for (height, block) in &side.cache.blocks {
        let header = &http::get(&main.api, &format!("/v1/blocks/{height}"))["header"];
        assert_eq!((block.height, block.chain_id), (*height, AELF.0.cast_signed()));
        let root = block.cross_chain_extra_data.as_ref();
        let root = root.and_then(|extra| extra.transaction_status_merkle_tree_root.as_ref()?.bytes());
        let root = Hash(root.expect("each main block has some of the only chain that sends"));
        assert_eq!(header["aelf_root"], json!(root));
        for (height, path) in &block.indexed_merkle_path {
            assert_eq!(*height, own);
            let leaf = Hash(hash(id, "a", own.cast_unsigned(), "root"));
            let end = path.merkle_path_nodes.iter().fold(leaf, |below, step| {
                let sibling = Hash(step.hash.as_ref().unwrap().bytes().unwrap());
                if step.is_left_child_node { node(sibling, below) } else { node(below, sibling) }
            });
            assert_eq!(end, root, "{own}");
            own += 1;
        }
    }
    assert_eq!(own.cast_unsigned(), BLOCKS + 1);

    // There are more than one answer gives.
    assert!(side.cache.blocks.len() >= 50, "{}", side.cache.blocks.len());
    let ask = |side: &mut StandIn, next_height: i64| {
        side.call(async |mut client| {
            let request = CrossChainRequest { chain_id: id, next_height };
            let answer = client.request_indexing_from_parent_chain(request).await;
            let (mut stream, mut heights) = (answer.unwrap().into_inner(), Vec::new());
            while let Some(block) = stream.message().await.unwrap() {
                heights.push(block.height);
            }
            heights
        })
    };
    assert!(ask(&mut side, 1).into_iter().eq(1..=32));
    assert!(ask(&mut side, 8).into_iter().eq(8..=39));
    let newest = http::get(&main.api, "/v1/blocks/latest")["header"]["height"].as_i64().unwrap();
    assert!(ask(&mut side, newest).into_iter().eq([newest]));
    assert!(ask(&mut side, newest + 1).is_empty());
}
