//! Transactions, proven from what their chain's node says to a main header; and nodes that say what is not so.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Height, Timestamp};
use engine::clock::Clock;
use engine::proof::{AelfPart, Transaction};
use engine::sim::{SimConfig, SimSource, transaction_id};
use engine::source::{Answer, Answers, NoAnswer, Question};
use net::client::{Client, ClientConfig};
use net::identity::Identity;
use serde_json::{Value, json};

use crate::evm::{Indexing, Peer};
use crate::support::node::{Chain, Data, Node};
use crate::support::process::Process;
use crate::support::{alone, http, key, mainstem, run, tributary, wait_for};
use crate::two_programs::sim;

/// The id of a transaction of a simulated chain of the default seed, as in a path.
pub(crate) fn sim_id(chain: u32, height: u64, index: u32) -> String {
    let data = SimConfig::default().transaction(ChainId(chain), Height(height), index);
    transaction_id(&data).to_string()
}

/// Status, kind of problem and detail.
pub(crate) fn refused(node: &Node, path: &str) -> (u16, String, String) {
    let (status, body) = http::try_get(&node.api, path).unwrap();
    let kind = body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap().to_owned();
    (status, kind, body["detail"].as_str().unwrap_or_default().to_owned())
}

/// A proof of a transaction by the program, to the newest header; verified offline by trusting that one alone.
pub(crate) fn proven(node: &Node, dir: &Path, chain: &str, id: &str) -> Value {
    let head = http::get(&node.api, "/v1/blocks/latest");
    let height = head["header"]["height"].to_string();
    let (code, proof, error) = run(mainstem()
        .args(["proof", "--node", &node.api, "--chain", chain, "--tx", id])
        .args(["--head", &height]));
    assert_eq!(code, 0, "{error}");
    let file = dir.join("transaction.json");
    fs::write(&file, &proof).unwrap();
    let trusted = head["hash"].as_str().unwrap();
    let (code, _, error) = run(mainstem().args(["verify", "--trusted-header", trusted]).arg(&file));
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&proof).unwrap()
}

#[test]
fn a_simulated_transaction_is_proven_from_its_hash_to_a_later_head() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let chain = |id| Chain { id, first_height: 1, keys: vec![public.clone()] };
    let data = Data::new(&[chain(7), chain(8), chain(9)]);
    let node = Node::start(&data.path(), None, &[]);
    let _sim = sim(&node, &key_file, "7", &["--rate", "100"]);
    wait_for("some blocks", || (http::durable(&node.api, 7) >= 60).then_some(()));
    for (height, index) in [(1, 0), (20, 3), (60, 1)] {
        let proof = proven(&node, dir.path(), "7", &sim_id(7, height, index));
        assert_eq!(proof["kind"], "transaction");
        assert_eq!(proof["transaction"]["type"], "sim");
        assert_eq!(proof["block"]["block"]["height"], height);
    }

    let unknown = format!("/v1/proofs/tx/7/0x{}", "12".repeat(32));
    let (status, kind, _) = refused(&node, &unknown);
    assert_eq!((status, kind.as_str()), (404, "unknown-transaction"));
    let id = sim_id(7, 20, 3);
    let (status, kind, _) = refused(&node, &format!("/v1/proofs/tx/8/{id}"));
    assert_eq!((status, kind.as_str()), (503, "no-node-connected"));
    let (status, kind, _) = refused(&node, &format!("/v1/proofs/tx/77/{id}"));
    assert_eq!((status, kind.as_str()), (404, "unknown-chain"));
    for bad in ["7", "0x", "0xzz", &format!("0x{}", "00".repeat(65))] {
        let (status, kind, _) = refused(&node, &format!("/v1/proofs/tx/7/{bad}"));
        assert_eq!((status, kind.as_str()), (400, "invalid-parameter"), "{bad}");
    }
    // A file knows of no transactions.
    let blocks = dir.path().join("blocks.jsonl");
    let hash = |byte: &str| format!("0x{}", byte.repeat(32));
    let line =
        json!({ "height": 1, "hash": hash("01"), "tx_root": hash("02"), "time": 5, "parent": hash("00") });
    fs::write(&blocks, format!("{line}\n")).unwrap();
    let mut command = tributary();
    command.arg("file").arg(&blocks).args(["--chain", "9", "--follow", "--main", &node.ingest]);
    // A key of its own would have to be registered; a second session of this one is fine.
    let mut file =
        Process::start("tributary file", command.args(["--main-key", &node.key, "--key"]).arg(&key_file));
    let said = wait_for("the file's tributary", || {
        assert!(!file.ended(), "{}", file.output());
        Some(refused(&node, &format!("/v1/proofs/tx/9/{id}"))).filter(|(status, ..)| *status != 503)
    });
    assert_eq!((said.0, said.1.as_str()), (501, "unsupported"));
}

#[derive(Debug)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What is said in the place of what is right.
type Lie = fn(Answer) -> Answer;

/// Answers with what is right, changed.
struct Liar {
    honest: Arc<dyn Answers>,
    lie: Arc<Mutex<Lie>>,
    /// Asked for in the place of what is asked, if there is one.
    other: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Answers for Liar {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        let mut question = question.clone();
        if let (Some(other), Question::Transaction { id, .. }) =
            (self.other.lock().unwrap().clone(), &mut question)
        {
            *id = other;
        }
        let lie = *self.lie.lock().unwrap();
        self.honest.answer(&question).map(lie)
    }
}

#[test]
fn what_a_lying_node_answers_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let keys = vec![key(&key_file)];
    let data = Data::new(&[Chain { id: 7, first_height: 1, keys }]);
    let node = Node::start(&data.path(), None, &[]);
    let config = SimConfig { chains: vec![ChainId(7)], blocks_per_second: 100.0, ..SimConfig::default() };
    let source = SimSource::new(config, Arc::new(SystemClock(Instant::now())));
    let lie: Arc<Mutex<Lie>> = Arc::new(Mutex::new(|answer| answer));
    let other = Arc::new(Mutex::new(None));
    let liar = Liar { honest: source.answers(), lie: Arc::clone(&lie), other: Arc::clone(&other) };
    let mut config =
        ClientConfig::new(node.ingest.clone(), node.key.parse().unwrap(), Identity::load(&key_file).unwrap());
    config.answers = Some(Arc::new(liar));
    let _client = Client::start(config, Box::new(source)).unwrap();
    wait_for("some blocks", || (http::durable(&node.api, 7) >= 60).then_some(()));
    let path = format!("/v1/proofs/tx/7/{}", sim_id(7, 20, 3));
    assert_eq!(http::get(&node.api, &path)["block"]["block"]["height"], 20, "the truth is told");

    let lies: [Lie; 6] = [
        |answer| height(answer, |height| height - 1),
        |answer| data_of(answer, |data| data[0] ^= 1),
        |answer| data_of(answer, |data| data.push(0)),
        |answer| sim_part(answer, |part| part.path.truncate(1)),
        |answer| sim_part(answer, |part| part.path[0].left ^= true),
        |answer| match answer {
            Answer::Transaction { height, part: Transaction::Sim(part) } => {
                let id = transaction_id(&part.data);
                Answer::Transaction { height, part: Transaction::Aelf(AelfPart { id, path: part.path }) }
            }
            other => other,
        },
    ];
    for (number, told) in lies.into_iter().enumerate() {
        *lie.lock().unwrap() = told;
        let (status, kind, detail) = refused(&node, &path);
        assert_eq!((status, kind.as_str()), (502, "wrong-answer"), "{number}: {detail}");
    }
    // A proof that is right, of another transaction.
    *lie.lock().unwrap() = |answer| answer;
    let config = SimConfig::default();
    let elsewhere = transaction_id(&config.transaction(ChainId(7), Height(20), 2));
    *other.lock().unwrap() = Some(elsewhere.as_bytes().to_vec());
    let (status, kind, detail) = refused(&node, &path);
    assert_eq!((status, kind.as_str()), (502, "wrong-answer"), "{detail}");
    assert!(detail.contains("another transaction"), "{detail}");
    *other.lock().unwrap() = None;
    // A height that is not indexed.
    *lie.lock().unwrap() = |answer| height(answer, |height| height + 1_000_000);
    assert_eq!(refused(&node, &path).0, 404);
    *lie.lock().unwrap() = |answer| answer;
    assert_eq!(http::get(&node.api, &path)["block"]["block"]["height"], 20, "nothing of it has stuck");
}

fn height(answer: Answer, change: fn(u64) -> u64) -> Answer {
    match answer {
        Answer::Transaction { height, part } => {
            Answer::Transaction { height: Height(change(height.0)), part }
        }
        other @ Answer::Record(_) => other,
    }
}

fn sim_part(answer: Answer, change: fn(&mut engine::proof::SimPart)) -> Answer {
    match answer {
        Answer::Transaction { height, part: Transaction::Sim(mut part) } => {
            change(&mut part);
            Answer::Transaction { height, part: Transaction::Sim(part) }
        }
        other => other,
    }
}

fn data_of(answer: Answer, change: fn(&mut Vec<u8>)) -> Answer {
    match answer {
        Answer::Transaction { height, part: Transaction::Sim(mut part) } => {
            change(&mut part.data);
            Answer::Transaction { height, part: Transaction::Sim(part) }
        }
        other => other,
    }
}

#[test]
fn a_transaction_and_its_receipt_of_a_real_evm_chain_are_proven() {
    let _alone = alone();
    let options = ["--hardfork", "cancun", "--slots-in-an-epoch", "1"];
    let Some(peer) = Peer::start("anvil", &options) else { return };
    peer.transact(12);
    let mut indexing = Indexing::start(&peer);
    let finalized = peer.number("finalized");
    indexing.wait(finalized);
    let block = |height: u64| peer.call("eth_getBlockByNumber", &json!([format!("{height:#x}"), false]));
    for height in [1, 4, finalized] {
        let block = block(height);
        let id = block["transactions"][0].as_str().unwrap();
        let proof = proven(&indexing.node, indexing.dir.path(), "tDVV", id);
        assert_eq!(proof["transaction"]["type"], "evm");
        assert_eq!(proof["transaction"]["index"], 0);
        assert_eq!(proof["block"]["block"]["hash"], block["hash"]);
        assert!(proof["transaction"]["receipt"].is_array() && proof["transaction"]["transaction"].is_array());
    }
    // In a block, and not irreversible yet.
    let latest = peer.number("latest");
    assert!(latest > finalized);
    let id = block(latest)["transactions"][0].as_str().unwrap().to_owned();
    let (status, kind, detail) = refused(&indexing.node, &format!("/v1/proofs/tx/tDVV/{id}"));
    assert_eq!((status, kind.as_str()), (404, "not-yet"), "{detail}");
    let (status, kind, _) = refused(&indexing.node, &format!("/v1/proofs/tx/tDVV/0x{}", "12".repeat(32)));
    assert_eq!((status, kind.as_str()), (404, "unknown-transaction"));
}
