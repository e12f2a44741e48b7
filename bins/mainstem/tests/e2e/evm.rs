//! Real EVM nodes: their finalized blocks are indexed, and proofs say what the nodes themselves say.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::node::{Chain, Data, Node};
use crate::support::process::Process;
use crate::support::{alone, http, key, mainstem, run, tributary, wait_for, workspace};

pub(crate) const CHAIN: &str = "tDVV";

/// An EVM node of another project. `None` where such nodes are left out on purpose.
pub(crate) struct Peer {
    name: &'static str,
    process: Process,
    pub(crate) url: String,
}

impl Peer {
    pub(crate) fn start(name: &'static str, options: &[&str]) -> Option<Self> {
        if std::env::var_os("MAINSTEM_WITHOUT_PEERS").is_some_and(|value| value == "1") {
            println!("{name}: left out (MAINSTEM_WITHOUT_PEERS=1)");
            return None;
        }
        let folder = std::env::var_os("MAINSTEM_PEERS")
            .map_or_else(|| workspace().join("target/peers"), PathBuf::from);
        let program = folder.join("bin").join(name);
        assert!(
            program.exists(),
            "{} is missing: `cargo xtask peers` installs it; MAINSTEM_WITHOUT_PEERS=1 leaves this test out",
            program.display()
        );
        let mut command = Command::new(program);
        let mut process =
            Process::start(name, command.args(["--host", "127.0.0.1", "--port", "0"]).args(options));
        let address =
            process.line("its port", |line| Some(line.split_once("Listening on ")?.1.trim().to_owned()));
        Some(Self { name, process, url: format!("http://{address}") })
    }

    pub(crate) fn call(&self, method: &str, params: &Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer: Value = {
            let mut response = ureq::post(&self.url)
                .header("content-type", "application/json")
                .send(request.to_string())
                .unwrap_or_else(|error| {
                    panic!("{}: {method}: {error}\n{}", self.name, self.process.output())
                });
            serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
        };
        assert!(answer["error"].is_null(), "{}: {method}: {}", self.name, answer["error"]);
        answer["result"].take()
    }

    pub(crate) fn number(&self, tag: &str) -> u64 {
        let block = self.call("eth_getBlockByNumber", &json!([tag, false]));
        hex(&block["number"])
    }

    /// Sends transactions, each of which makes a block: transfers, and a contract that logs when it is made.
    pub(crate) fn transact(&self, count: usize) {
        let accounts = self.call("eth_accounts", &json!([]));
        for index in 0..count {
            let mut transaction = json!({ "from": accounts[0], "gas": "0x186a0" });
            if index % 3 == 0 {
                // PUSH1 0, PUSH1 0, LOG0, STOP: a receipt with a log.
                transaction["data"] = "0x60006000a000".into();
            } else {
                transaction["to"] = accounts[1].clone();
                transaction["value"] = "0x1".into();
            }
            let hash = self.call("eth_sendTransaction", &json!([transaction]));
            // Some answer before they have made the block.
            wait_for("the transaction's block", || {
                let receipt = self.call("eth_getTransactionReceipt", &json!([hash]));
                (!receipt.is_null()).then_some(())
            });
        }
    }
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// A main chain, and a tributary that indexes a peer's blocks into it.
pub(crate) struct Indexing {
    pub(crate) node: Node,
    tributary: Process,
    pub(crate) dir: tempfile::TempDir,
    _data: Data,
}

impl Indexing {
    pub(crate) fn start(peer: &Peer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("node.key");
        let keys = vec![key(&key_file)];
        let data = Data::new(&[Chain { id: 1_866_392, first_height: 1, keys }]);
        let node = Node::start(&data.path(), None, &[]);
        let mut command = tributary();
        command.args([
            "evm",
            "--main",
            &node.ingest,
            "--main-key",
            &node.key,
            "--chain",
            CHAIN,
            "--rpc",
            &peer.url,
        ]);
        command.args(["--verify-receipts", "--poll", "50ms", "--key"]).arg(&key_file);
        let tributary = Process::start("tributary evm", &mut command);
        Self { node, tributary, dir, _data: data }
    }

    /// Waits until a height is durable.
    pub(crate) fn wait(&mut self, height: u64) {
        wait_for("the finalized blocks to be indexed", || {
            assert!(!self.tributary.ended(), "{}", self.tributary.output());
            (http::durable(&self.node.api, 1_866_392) >= height).then_some(())
        });
    }

    /// Proves a block, verifies the proof offline, and compares it with what the peer says of the block.
    fn prove(&self, peer: &Peer, height: u64) {
        let head = http::get(&self.node.api, "/v1/blocks/latest");
        let main = head["header"]["height"].to_string();
        let (code, proof, error) = run(mainstem()
            .args(["proof", "--node", &self.node.api, "--chain", CHAIN])
            .args(["--height", &height.to_string(), "--head", &main]));
        assert_eq!(code, 0, "{error}");
        let file = self.dir.path().join("p.json");
        fs::write(&file, &proof).unwrap();
        let trusted = head["hash"].as_str().unwrap();
        let (code, _, error) = run(mainstem().args(["verify", "--trusted-header", trusted]).arg(&file));
        assert_eq!(code, 0, "{error}");

        let proof: Value = serde_json::from_str(&proof).unwrap();
        let block = peer.call("eth_getBlockByNumber", &json!([format!("{height:#x}"), false]));
        assert_eq!(proof["block"]["height"], height);
        assert_eq!(proof["block"]["hash"], block["hash"], "{} block {height}", peer.name);
        assert_eq!(proof["block"]["tx_root"], block["receiptsRoot"], "{} block {height}", peer.name);
    }
}

#[test]
fn finalized_blocks_of_anvil_are_indexed_and_a_reorg_below_them_stops_the_tributary() {
    let _alone = alone();
    let options = ["--hardfork", "cancun", "--slots-in-an-epoch", "1"];
    let Some(peer) = Peer::start("anvil", &options) else { return };
    peer.transact(12);
    let mut indexing = Indexing::start(&peer);
    let finalized = peer.number("finalized");
    assert!(finalized >= 8 && finalized < peer.number("latest"), "finalized is {finalized}");
    indexing.wait(finalized);
    peer.transact(6);
    let finalized = peer.number("finalized");
    indexing.wait(finalized);
    for height in 1..=finalized {
        indexing.prove(&peer, height);
    }

    let hash = |height: u64| {
        let block = peer.call("eth_getBlockByNumber", &json!([format!("{height:#x}"), false]));
        block["hash"].as_str().unwrap().to_owned()
    };
    let before: Vec<_> = (0..=finalized).map(hash).collect();
    peer.call("anvil_reorg", &json!([8, []]));
    peer.transact(3);
    assert_eq!(indexing.tributary.wait().code(), Some(4), "{}", indexing.tributary.output());
    let after: Vec<_> = (0..=finalized).map(hash).collect();
    let fork =
        before.iter().zip(&after).position(|(before, after)| before != after).expect("a reorganisation");
    let output = indexing.tributary.output();
    for said in
        [&format!("height={fork} "), &format!("ours={}", after[fork]), &format!("theirs={}", before[fork])]
    {
        assert!(output.contains(said), "{said} in {output}");
    }
    // The main chain keeps what was indexed.
    let kept = http::get(&indexing.node.api, &format!("/v1/chains/{CHAIN}/blocks/{finalized}"));
    assert_eq!(kept["hash"], before[finalized as usize]);
}

#[test]
fn blocks_of_ganache_are_indexed() {
    let _alone = alone();
    let Some(peer) = Peer::start("ganache", &["--wallet.deterministic"]) else { return };
    peer.transact(6);
    let mut indexing = Indexing::start(&peer);
    indexing.wait(6);
    peer.transact(3);
    indexing.wait(9);
    for height in 1..=9 {
        indexing.prove(&peer, height);
    }
    assert!(
        indexing.tributary.output().contains("`finalized` means latest"),
        "{}",
        indexing.tributary.output()
    );
}
