//! The program itself, with a main chain of this process: it keeps what it is told, whatever happens to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use engine::chain::{BlockView as _, ChainId, Height, Timestamp};
use engine::clock::Clock;
use engine::pipeline::{Engine, PipelineConfig, Running};
use engine::proof::{self, ChainProof};
use engine::quorum::FinalityRule;
use engine::state::{Genesis, MainChain, SideChain};
use engine::store::BlockReader as _;
use engine::store::memory::{MemoryReader, MemoryStore};
use net::identity::Identity;
use net::server::{NodeKeys, Parts, Server, ServerConfig};
use serde_json::Value;
use tempfile::TempDir;
use tributary::keep::Store;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

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

/// A main chain with chains 7 and 8, in memory, and a directory for what a tributary needs.
struct Main {
    reader: MemoryReader,
    _running: Running,
    server: Server,
    dir: TempDir,
}

impl Main {
    fn new(id: u32) -> Self {
        let dir = TempDir::new().unwrap();
        let node = Identity::create(&dir.path().join("node.key")).unwrap();
        let second = Identity::create(&dir.path().join("second.key")).unwrap();
        let side = |id| SideChain {
            id: ChainId(id),
            name: id.to_string(),
            first_height: Height(1),
            nodes: vec![node.public(), second.public()],
            finality: FinalityRule::Single,
        };
        let main = MainChain { id: ChainId(id), name: "main".into(), aelf_root: false };
        let genesis = Genesis::parse(&Genesis::document(&main, &[side(7), side(8)])).unwrap();
        let store = MemoryStore::default();
        let reader = store.reader();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock(Instant::now()));
        let config = PipelineConfig { seal_interval: Duration::from_millis(5), ..PipelineConfig::default() };
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
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(ServerConfig::new(address, main_identity()), parts).unwrap();
        let running = engine.start(vec![Box::new(server.head_sink())]);
        Self { reader, _running: running, server, dir }
    }

    fn kept(&self) -> Store {
        Store::open(&self.dir.path().join("kept")).unwrap()
    }

    /// A tributary of both chains that keeps and serves.
    fn tributary(&self, key: &Path, kept: &Path) -> Tributary {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tributary"))
            .args(["sim", "--chain", "7,8", "--rate", "200", "--follow-from", "1", "--serve", "127.0.0.1:0"])
            .args(["--main", &self.server.local_addr().to_string()])
            .args(["--main-key", &main_identity().public().to_string(), "--log-format", "json"])
            .arg("--key")
            .arg(key)
            .arg("--keep")
            .arg(kept)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        // A full pipe would stop it.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Tributary { process, log }
    }

    fn own_tributary(&self) -> Tributary {
        self.tributary(&self.dir.path().join("node.key"), &self.dir.path().join("kept"))
    }
}

fn main_identity() -> Identity {
    Identity::from_seed([0xee; 32])
}

struct Tributary {
    process: Child,
    log: Receiver<String>,
}

impl Tributary {
    /// The first line of its log that says so.
    fn says(&self, what: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not say {what}"));
            if line.contains(what) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn url(&self) -> String {
        let said = self.says("serving what is kept");
        format!("http://{}", said["addr"].as_str().unwrap())
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Tributary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(url: &str) -> Option<Value> {
    let mut response = ureq::get(url).call().ok()?;
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).ok()
}

#[test]
fn a_tributary_that_is_killed_again_and_again_has_kept_all_that_it_served() {
    let main = Main::new(100);
    let mut served = 0;
    for round in 0..4 {
        let mut tributary = main.own_tributary();
        let url = tributary.url();
        let latest =
            || get(&format!("{url}/v1/headers/latest")).map(|one| one["header"]["height"].as_u64().unwrap());
        wait_until("it serves more", || latest().is_some_and(|height| height > served + 10 + 7 * round));
        served = latest().unwrap();
        tributary.kill();
        let newest = main.kept().newest_header().unwrap().height.0;
        assert!(newest >= served, "{newest} is kept, {served} was served");
    }
    let kept = main.kept();
    let contents = kept.contents().unwrap();
    let newest = kept.newest_header().unwrap().height;
    assert_eq!((contents.range, contents.headers), (Some((Height(1), newest)), newest.0), "no gap");
    assert!(contents.gaps.is_empty() && contents.evidence.is_empty());
    for height in 1..=newest.0 {
        let block = main.reader.block(Height(height)).unwrap().unwrap();
        assert_eq!(kept.header(Height(height)).unwrap(), Some(block.header()), "main block {height}");
        for chain in [7, 8].map(ChainId) {
            if let Some(proof) = ChainProof::of(&block, chain).unwrap() {
                let found = kept.find(chain, proof.first_height).unwrap().unwrap();
                assert_eq!((found.main_height, found.proof), (Height(height), proof));
            }
        }
    }
}

#[test]
fn a_side_chains_node_asks_what_was_indexed_and_brings_a_proof_of_another_chain() {
    let main = Main::new(100);
    let tributary = main.own_tributary();
    let url = tributary.url();
    let indexed = get(&format!("{url}/v1/chains/7/indexed/30?wait=60s")).expect("it is indexed in time");
    let proof: ChainProof = serde_json::from_value(indexed["proof"].clone()).unwrap();
    let header = serde_json::from_value(indexed["header"].clone()).unwrap();
    proof.verify(&header).unwrap();
    assert!(proof.first_height <= Height(30) && proof.last_height() >= Height(30));

    let brought = proof::build(&main.reader, ChainId(8), Height(1), Some(header.height)).unwrap();
    let body = serde_json::to_vec(&brought).unwrap();
    let mut answer =
        ureq::post(format!("{url}/v1/verify")).content_type("application/json").send(&body).unwrap();
    let verdict: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(verdict["verified"], true, "{verdict}");

    let status = get(&format!("{url}/v1/status")).unwrap();
    assert_eq!(status["connection"]["state"], "connected", "{status}");
    assert_eq!(status["chains"][0]["state"], "speaker", "{status}");
    wait_until("the tip of the source is shown", || {
        get(&format!("{url}/v1/status")).unwrap()["chains"][1]["tip"].as_u64() > Some(0)
    });
}

#[test]
fn what_is_kept_of_one_main_chain_is_not_mixed_with_another_one() {
    let (main, other) = (Main::new(100), Main::new(101));
    let mut first = main.own_tributary();
    let url = first.url();
    wait_until("something is kept", || get(&format!("{url}/v1/headers/latest")).is_some());
    first.kill();
    let before = main.kept().newest_header();

    let key = other.dir.path().join("node.key");
    let mut second = other.tributary(&key, &main.dir.path().join("kept"));
    let said = second.says("--keep another directory").to_string();
    assert!(said.contains("ERROR"), "{said}");
    assert_eq!(second.process.wait().unwrap().code(), Some(3));
    assert_eq!(main.kept().newest_header(), before);
}

#[test]
fn an_address_that_is_taken_is_an_error_of_usage() {
    let main = Main::new(100);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["sim", "--chain", "7", "--main-key", &main_identity().public().to_string()])
        .args(["--serve", &taken.local_addr().unwrap().to_string()])
        .arg("--key")
        .arg(main.dir.path().join("node.key"))
        .arg("--keep")
        .arg(main.dir.path().join("kept"))
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--serve") && said.contains("cannot listen"), "{said}");
}

#[test]
fn a_node_that_stands_by_takes_over_from_one_that_is_killed() {
    let main = Main::new(100);
    let state = |url: &str| {
        let status = get(&format!("{url}/v1/status")).unwrap();
        let chains = status["chains"].as_array().unwrap().iter();
        chains.map(|chain| chain["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut first = main.own_tributary();
    let url = first.url();
    wait_until("the first one speaks", || state(&url) == ["speaker", "speaker"]);
    let second =
        main.tributary(&main.dir.path().join("second.key"), &main.dir.path().join("kept by the second"));
    let url = second.url();
    wait_until("the second one stands by", || state(&url) == ["standby", "standby"]);

    first.kill();
    let killed = Instant::now();
    wait_until("the second one speaks", || state(&url) == ["speaker", "speaker"]);
    // By its word that it has more; the main chain gives the connection of a dead one up after a minute.
    assert!(killed.elapsed() < Duration::from_secs(45), "{:?}", killed.elapsed());
    let before = main.reader.chain_head(ChainId(7)).unwrap().unwrap();
    let next = Height(before.0 + 100);
    assert!(get(&format!("{url}/v1/chains/7/indexed/{next}?wait=60s")).is_some(), "blocks flow on");
}
