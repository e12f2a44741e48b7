//! The EVM source against real nodes, without a main chain: anvil (Rust) and ganache (JavaScript).
//!
//! `cargo xtask peers` installs both. They are looked for in `$MAINSTEM_PEERS` or in `target/peers`; where they are
//! missing the tests fail, unless `MAINSTEM_WITHOUT_PEERS=1` says that they are left out on purpose.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height};
use engine::source::{Source, SourceError};
use serde_json::{Value, json};
use tributary::sources::evm::{EvmConfig, EvmSource, Finality};

const CHAIN: ChainId = ChainId(1_866_392);

#[test]
fn blocks_of_anvil_with_transactions_hash_to_their_hashes() {
    let Some(anvil) = Node::anvil(&["--hardfork", "cancun"]) else { return };
    let from = anvil.accounts()[0].clone();
    anvil.send_of_every_kind(&from);
    let legacy = json!({"from": from, "to": from, "value": "0x1", "gasPrice": "0x77359400", "type": "0x0"});
    anvil.call("eth_sendTransaction", json!([legacy]));
    let access = json!({"from": from, "to": from, "gasPrice": "0x77359400", "type": "0x1",
        "accessList": [{"address": from, "storageKeys": [Hash([1; 32])]}]});
    anvil.call("eth_sendTransaction", json!([access]));
    // Several transactions in one block.
    anvil.call("evm_setAutomine", json!([false]));
    for _ in 0..140 {
        anvil.call("eth_sendTransaction", json!([{"from": from, "to": from, "value": "0x2"}]));
    }
    anvil.call("anvil_mine", json!(["0x5"]));
    let latest = anvil.number("eth_blockNumber");
    let last_final = latest - 2;

    let mut source = anvil.source(|config| {
        config.verify_receipts = true;
        config.expect_chain_id = Some(31_337);
    });
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, last_final).unwrap();
    anvil.assert_same(&read, 1, last_final);
    assert_eq!(source.tip_watch().get(), Some(Height(last_final)));
    let transactions = |height: u64| anvil.block(height)["transactions"].as_array().map_or(0, Vec::len);
    assert!(
        (1..=last_final).any(|height| transactions(height) == 140),
        "the large block is among those read"
    );
}

#[test]
fn headers_of_every_fork_that_anvil_knows_hash_to_their_hashes() {
    for (fork, field) in [
        ("berlin", None),
        ("london", Some("baseFeePerGas")),
        ("paris", None),
        ("shanghai", Some("withdrawalsRoot")),
        ("cancun", Some("parentBeaconBlockRoot")),
        ("prague", Some("requestsHash")),
        ("osaka", Some("requestsHash")),
    ] {
        let Some(anvil) = Node::anvil(&["--hardfork", fork]) else { return };
        let from = anvil.accounts()[0].clone();
        let transaction = json!({"from": from, "to": from, "value": "0x1", "gasPrice": "0x77359400"});
        anvil.call("eth_sendTransaction", json!([transaction]));
        anvil.call("anvil_mine", json!(["0x4"]));
        if let Some(field) = field {
            assert!(anvil.block(1)[field].is_string(), "{fork} has {field}");
        }
        let mut source = anvil.source(|config| config.verify_receipts = true);
        source.resume(CHAIN, Height(1), None).unwrap();
        let read = read_all(&mut source, 3).unwrap();
        anvil.assert_same(&read, 1, 3);
    }
}

#[test]
fn blocks_of_ganache_with_transactions_hash_to_their_hashes_and_receipts_come_one_by_one() {
    let Some(ganache) = Node::ganache() else { return };
    let from = ganache.accounts()[0].clone();
    ganache.send_of_every_kind(&from);
    let legacy = json!({"from": from, "to": from, "value": "0x1", "gasPrice": "0x77359400", "type": "0x0"});
    ganache.call("eth_sendTransaction", json!([legacy]));
    ganache.call("evm_mine", json!([{"blocks": 130}]));
    let latest = ganache.number("eth_blockNumber");

    // On ganache, finalized means latest.
    let mut source = ganache.source(|config| config.verify_receipts = true);
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, latest).unwrap();
    ganache.assert_same(&read, 1, latest);

    let mut confirmed = ganache.source(|config| config.finality = Finality::Confirmations(100));
    confirmed.resume(CHAIN, Height(5), Some(read.hashes[3])).unwrap();
    let some = read_all(&mut confirmed, latest - 100).unwrap();
    ganache.assert_same(&some, 5, latest - 100);
}

#[test]
fn a_reorganisation_of_anvil_below_its_finalized_block_is_reported_with_both_hashes() {
    let Some(anvil) = Node::anvil(&["--hardfork", "cancun"]) else { return };
    anvil.call("anvil_mine", json!(["0x1e"]));
    let mut source = anvil.source(|_| {});
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, 28).unwrap();
    assert_eq!(read.len(), 28);

    // Blocks 26 to 30 become others. The tag stays at 28, as if nothing had happened.
    anvil.call("anvil_reorg", json!([5, []]));
    let ours: Hash = anvil.block(26)["hash"].as_str().unwrap().parse().unwrap();
    let theirs = read.hashes[25];
    assert_ne!(ours, theirs, "anvil has reorganised");
    assert_eq!(anvil.block(25)["hash"], read.hashes[24].to_string());
    let fork = read_all(&mut source, 40);
    assert_fork(fork, 26, ours, theirs);

    // So it does for a source that starts again and knows only what the main chain says.
    let mut again = anvil.source(|_| {});
    let ours: Hash = anvil.block(28)["hash"].as_str().unwrap().parse().unwrap();
    assert_fork(again.resume(CHAIN, Height(29), Some(read.hashes[27])), 28, ours, read.hashes[27]);
}

#[test]
fn a_snapshot_of_ganache_reverted_below_what_was_read_is_reported_with_both_hashes() {
    let Some(ganache) = Node::ganache() else { return };
    ganache.call("evm_mine", json!([{"blocks": 10}]));
    let snapshot = ganache.call("evm_snapshot", json!([]));
    ganache.call("evm_mine", json!([{"blocks": 5}]));
    let mut source = ganache.source(|_| {});
    source.resume(CHAIN, Height(1), None).unwrap();
    let read = read_all(&mut source, 15).unwrap();
    ganache.call("evm_revert", json!([snapshot]));
    let account = ganache.accounts()[0].clone();
    ganache.call("eth_sendTransaction", json!([{"from": account, "to": account, "value": "0x1"}]));
    ganache.call("evm_mine", json!([{"blocks": 20}]));
    let ours: Hash = ganache.block(11)["hash"].as_str().unwrap().parse().unwrap();
    assert_fork(read_all(&mut source, 31), 11, ours, read.hashes[10]);
}

/// Prints the rate, too: `cargo test --release -p tributary --test nodes catching_up -- --nocapture`.
#[test]
fn catching_up_reads_every_block_of_a_long_chain_once() {
    const BLOCKS: u64 = 10_000;
    let Some(anvil) = Node::anvil(&["--hardfork", "cancun", "--prune-history"]) else { return };
    anvil.call("anvil_mine", json!([format!("{BLOCKS:#x}")]));
    for receipts in [false, true] {
        let mut source = anvil.source(|config| config.verify_receipts = receipts);
        source.resume(CHAIN, Height(1), None).unwrap();
        let start = Instant::now();
        let read = read_all(&mut source, BLOCKS - 2).unwrap();
        let rate = read.len() as f64 / start.elapsed().as_secs_f64();
        println!("{} blocks, {rate:.0} a second (receipts: {receipts})", read.len());
        assert_eq!(read.len() as u64, source.tip_watch().get().unwrap().0);
        let last = anvil.call("eth_getBlockByNumber", json!([format!("{:#x}", read.len()), false]));
        assert_eq!(read.hashes.last().unwrap().to_string(), last["hash"].as_str().unwrap());
    }
}

/// Reads until the node calls block `last` irreversible and there is no more.
fn read_all(source: &mut EvmSource, last: u64) -> Result<Columns, SourceError> {
    let start = Instant::now();
    let mut all = Columns::default();
    loop {
        let before = all.len();
        let why = match source.read(CHAIN, 10_000, &mut all) {
            Ok(_) if all.len() > before => continue,
            Ok(_) if source.tip_watch().get().is_some_and(|tip| tip.0 >= last) => return Ok(all),
            Ok(_) => "nothing more".to_owned(),
            Err(SourceError::Later(why)) => why,
            Err(error) => return Err(error),
        };
        assert!(start.elapsed() < Duration::from_secs(60), "block {last} has not come: {why}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn assert_fork<T: std::fmt::Debug>(result: Result<T, SourceError>, at: u64, new: Hash, old: Hash) {
    match result {
        Err(SourceError::Fork { chain, height, ours, theirs }) => {
            assert_eq!((chain, height, ours, theirs), (CHAIN, Height(at), new, old));
        }
        other => panic!("expected a fork, got {other:?}"),
    }
}

/// A node that runs until it is dropped.
struct Node {
    process: Child,
    url: String,
}

impl Node {
    fn anvil(options: &[&str]) -> Option<Self> {
        Self::start("anvil", &[&["--slots-in-an-epoch", "1"], options].concat())
    }

    fn ganache() -> Option<Self> {
        Self::start("ganache", &["--wallet.deterministic"])
    }

    /// `None` where peers are left out on purpose.
    fn start(name: &str, options: &[&str]) -> Option<Self> {
        let folder = env::var_os("MAINSTEM_PEERS").map_or_else(
            || {
                // Beside the folder that this program was built into: target/debug/deps/nodes-0123.
                let program = env::current_exe().unwrap();
                program.ancestors().nth(3).unwrap().join("peers")
            },
            PathBuf::from,
        );
        let program = folder.join("bin").join(name);
        if !program.exists() {
            assert!(
                env::var("MAINSTEM_WITHOUT_PEERS").is_ok_and(|value| value == "1"),
                "{} is missing: run `cargo xtask peers`, or set MAINSTEM_WITHOUT_PEERS=1 to go without",
                program.display()
            );
            eprintln!("{name} is left out (MAINSTEM_WITHOUT_PEERS=1): NOTHING WAS TESTED");
            return None;
        }
        let mut process = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on ").map(|address| address.trim().to_owned()));
        let url =
            format!("http://{}", address.unwrap_or_else(|| panic!("{name} did not say where it listens")));
        // A full pipe would stop it.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self { process, url })
    }

    fn source(&self, change: impl FnOnce(&mut EvmConfig)) -> EvmSource {
        let mut config =
            EvmConfig { poll: Duration::from_millis(20), ..EvmConfig::new(CHAIN, self.url.clone()) };
        change(&mut config);
        EvmSource::new(config).unwrap()
    }

    fn call(&self, method: &str, params: impl Into<Value>) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params.into()}).to_string();
        let mut response = ureq::post(&self.url).content_type("application/json").send(call).unwrap();
        let answer: Value = serde_json::from_slice(&response.body_mut().read_to_vec().unwrap()).unwrap();
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    fn number(&self, method: &str) -> u64 {
        let number = self.call(method, json!([]));
        u64::from_str_radix(number.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    fn accounts(&self) -> Vec<String> {
        serde_json::from_value(self.call("eth_accounts", json!([]))).unwrap()
    }

    fn block(&self, height: u64) -> Value {
        self.call("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
    }

    /// A payment, a contract that logs while it is made, and a call that fails.
    fn send_of_every_kind(&self, from: &str) {
        self.call("eth_sendTransaction", json!([{"from": from, "to": from, "value": "0x1"}]));
        // PUSH1 7 PUSH1 1 PUSH1 32 PUSH1 0 LOG2
        let logs = json!({"from": from, "data": "0x6007600160206000a2", "gas": "0x30d40"});
        self.call("eth_sendTransaction", json!([logs]));
        // PUSH1 0 PUSH1 0 REVERT. ganache tells of the failure in the place of the hash, and mines it all the same.
        let fails = json!({"from": from, "data": "0x60006000fd", "gas": "0x30d40"});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [fails]});
        ureq::post(&self.url).content_type("application/json").send(call.to_string()).unwrap();
    }

    /// What was read is what the node itself answers, for each height from `first` to `last`.
    fn assert_same(&self, read: &Columns, first: u64, last: u64) {
        assert_eq!(read.len() as u64, last - first + 1);
        for (position, height) in (first..=last).enumerate() {
            let block = self.block(height);
            assert_eq!(block["hash"], read.hashes[position].to_string(), "block {height}");
            assert_eq!(block["receiptsRoot"], read.tx_roots[position].to_string(), "block {height}");
            let millis = read.times[position].as_millis();
            assert_eq!(block["timestamp"], format!("{:#x}", millis / 1_000), "block {height}");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
