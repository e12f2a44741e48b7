//! `tributary aelf` between a stand-in for an AElf side node and a main chain of this process: blocks go up, are indexed,
//! and come back to the side node with the paths that bind them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine::chain::{BlockView as _, ChainId, Hash, Height, Timestamp};
use engine::clock::Clock;
use engine::merkle::aelf::Tree;
use engine::merkle::node;
use engine::pipeline::{Engine, PipelineConfig};
use engine::quorum::FinalityRule;
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader as _;
use engine::store::memory::{MemoryReader, MemoryStore};
use net::identity::Identity;
use net::server::{NodeKeys, Parts, Server, ServerConfig};
use serde_json::{Value, json};
use tributary::sources::aelf::AELF;

#[allow(dead_code, reason = "what else it can do is for the tests of the source")]
#[path = "../src/sources/aelf/stand_in.rs"]
mod stand_in;

use stand_in::{Http, StandIn, hash};

const TDVV: ChainId = ChainId(1_866_392);
/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.elapsed().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `/v1/aelf/parent-blocks/{chain}` of a main chain's node.
fn parent_blocks(reader: &MemoryReader, path: &str) -> Value {
    let query = path.strip_prefix("/v1/aelf/parent-blocks/1866392?from=").unwrap();
    let (from, limit) = query.split_once("&limit=").unwrap();
    let (from, limit): (u64, u64) = (from.parse().unwrap(), limit.parse().unwrap());
    let last = reader.head().0.min(from.saturating_add(limit - 1));
    let block = |height| {
        let block = reader.block(Height(height)).unwrap().unwrap();
        let chain = block.find(TDVV).map(|(_, section)| {
            let tree = Tree::new(block.columns().tx_roots.to_vec());
            let path = |leaf| -> Value {
                let steps = tree.path(leaf).unwrap();
                steps.iter().map(|step| json!({ "hash": step.hash, "left": step.left })).collect()
            };
            json!({
                "first_height": section.first_height,
                "tx_roots": &block.columns().tx_roots[section.leaves()],
                "paths": section.leaves().map(path).collect::<Value>(),
            })
        });
        json!({ "header": block.header(), "chain": chain })
    };
    json!({ "blocks": (from..=last).map(block).collect::<Value>(), "next": null })
}

#[test]
fn a_side_nodes_blocks_come_back_to_it_bound_to_main_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("node.key");
    let identity = Identity::create(&key).unwrap();
    let side = SideChain {
        id: TDVV,
        name: "tDVV".into(),
        first_height: Height(1),
        nodes: vec![identity.public()],
        finality: FinalityRule::Single,
    };
    let main = MainChain { id: AELF, name: "main".into(), aelf_root: true };
    let genesis = Genesis::parse(&Genesis::document(&main, &[side])).unwrap();
    let store = MemoryStore::default();
    let reader = store.reader();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock(Instant::now()));
    let config = PipelineConfig { seal_interval: Duration::from_millis(20), ..PipelineConfig::default() };
    let engine = Engine::resume(config, &genesis, store, &reader, Arc::clone(&clock)).unwrap();
    let parts = Parts {
        cache: engine.cache(),
        clock,
        main_chain: genesis.main.id,
        genesis_hash: genesis.hash,
        keys: NodeKeys::new(&genesis.chains),
        head: None,
        blocks: Arc::new(reader.clone()),
    };
    let main_identity = Identity::from_seed([0xee; 32]);
    let main_key = main_identity.public().to_string();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::start(ServerConfig::new(local, main_identity), parts).unwrap();
    let _running = engine.start(vec![Box::new(server.head_sink())]);
    let api = {
        let reader = reader.clone();
        Http::start(move |path| (200, parent_blocks(&reader, path).to_string()))
    };

    let process = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["aelf", "--chain", "tDVV", "--listen", "127.0.0.1:0", "--poll", "50ms"])
        .args(["--main-api", &api.url, "--main", &server.local_addr().to_string()])
        .args(["--main-key", &main_key, "--log-format", "json"])
        .arg("--key")
        .arg(&key)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = Program(process);
    let lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
    let (sender, log) = mpsc::channel();
    // A full pipe would stop it.
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let parent: SocketAddr = loop {
        let line = log.recv_timeout(PATIENCE).expect("it says where it listens");
        if line.contains("listening for the AElf node") {
            let said: Value = serde_json::from_str(&line).unwrap();
            break said["addr"].as_str().unwrap().parse().unwrap();
        }
    };

    let mut side_node = StandIn::start(local, TDVV.0.cast_signed(), "a", 50, parent);
    let start = Instant::now();
    let mut lib = 50;
    let mut bound = 0;
    while bound < 200 {
        assert!(start.elapsed() < PATIENCE, "{bound} of 200 blocks are bound");
        let _ = side_node.round();
        bound = side_node.cache.blocks.values().map(|block| block.indexed_merkle_path.len() as u64).sum();
        if bound >= lib && lib < 200 {
            lib += 50;
            side_node.set_lib(lib);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut own = 1;
    for block in side_node.cache.blocks.values() {
        let root = block.cross_chain_extra_data.as_ref();
        let root = root.and_then(|extra| extra.transaction_status_merkle_tree_root.as_ref()?.bytes());
        for (height, path) in &block.indexed_merkle_path {
            assert_eq!(*height, own);
            let leaf = Hash(hash(TDVV.0.cast_signed(), "a", own.cast_unsigned(), "root"));
            let end = path.merkle_path_nodes.iter().fold(leaf, |below, step| {
                let sibling = Hash(step.hash.as_ref().unwrap().bytes().unwrap());
                if step.is_left_child_node { node(sibling, below) } else { node(below, sibling) }
            });
            assert_eq!(Some(end.0), root);
            own += 1;
        }
    }
    assert_eq!(own, 201);
}
