//! AElf's own clients, unmodified from npm, against a node of ours; and what is served to AElf's side nodes.

mod chain;
mod searches;
mod side_node;
mod transactions;

use std::fs;
use std::path::{self, PathBuf};
use std::process::Command;
use std::sync::Arc;

use engine::chain::{ChainId, NodeKey};
use engine::source::Answers;
use net::client::{Client, ClientConfig};
use net::identity::Identity;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::chain::{AelfChain, Blocks, Lies, Path, Transaction, tree};
use crate::support::node::Node;
use crate::support::{alone, http, mainstem, run, wait_for, workspace};

const TDVV: AelfChain = AelfChain { id: ChainId(1_866_392), blocks: 40 };
const TDVW: AelfChain = AelfChain { id: ChainId(1_931_928), blocks: 33 };
const AELF: u32 = 9_992_731;
const CROSS_CHAIN: &str = "AElf.ContractNames.CrossChain";
const TOKEN: &str = "AElf.ContractNames.Token";

/// The transaction that the clients ask about, and one whose source lies about it.
const ASKED: Transaction = Transaction { height: 17, index: 4 };
const LIED: Transaction = Transaction { height: 23, index: 0 };

/// The folder of AElf's packages. `None` where they are left out on purpose.
fn packages() -> Option<PathBuf> {
    if std::env::var_os("MAINSTEM_WITHOUT_PEERS").is_some_and(|value| value == "1") {
        println!("aelf-sdk: LEFT OUT (MAINSTEM_WITHOUT_PEERS=1)");
        return None;
    }
    let folder =
        std::env::var_os("MAINSTEM_PEERS").map_or_else(|| workspace().join("target/peers"), PathBuf::from);
    let packages = folder.join("node_modules");
    for name in ["aelf-sdk", "aelf-sdk-cross-chain"] {
        assert!(
            packages.join(name).join("package.json").exists(),
            "{} has no {name}: `cargo xtask peers` installs it; MAINSTEM_WITHOUT_PEERS=1 leaves this test out",
            packages.display()
        );
    }
    Some(packages)
}

/// A main chain with AElf roots, and two AElf chains that are indexed and answer.
struct World {
    dir: TempDir,
    node: Node,
    clients: Vec<Client>,
    /// The last height of `tDVV` is above this main block.
    head: u64,
}

impl World {
    fn start(aelf_root: bool) -> Self {
        let node = |chain, lies| Arc::new(chain::Node { chain, lies });
        Self::with(aelf_root, [node(TDVV, Lies::About(LIED)), node(TDVW, Lies::None)])
    }

    /// With these to answer for the two chains.
    fn with(aelf_root: bool, answers: [Arc<dyn Answers>; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = |seed: u8| Identity::from_seed([seed; 32]);
        let (first, second) = (identity(1).public(), identity(2).public());
        let document = format!(
            "[main]\nid = \"AELF\"\nname = \"main\"\naelf_root = {aelf_root}\n\
             [[chain]]\nid = \"tDVV\"\nname = \"one\"\nnodes = [\"{first}\"]\n\
             [[chain]]\nid = \"tDVW\"\nname = \"two\"\nnodes = [\"{second}\"]\n"
        );
        let data = init(dir.path(), &document);
        let node = Node::start(&data, None, &["--seal.max_per_chain", "8", "--seal.catch_up", "false"]);

        let mut clients = Vec::new();
        let key: NodeKey = node.key.parse().unwrap();
        for ((seed, chain), answers) in [(1, TDVV), (2, TDVW)].into_iter().zip(answers) {
            let mut config = ClientConfig::new(&*node.ingest, key, identity(seed));
            config.answers = Some(answers);
            clients.push(Client::start(config, Box::new(Blocks { chain, next: 1 })).unwrap());
        }
        wait_for("both chains to be indexed", || {
            let durable = |chain: AelfChain| http::durable(&node.api, chain.id.0) == chain.blocks;
            (durable(TDVV) && durable(TDVW)).then_some(())
        });
        let head = http::get(&node.api, "/v1/blocks/latest")["header"]["height"].as_u64().unwrap();
        Self { dir, node, clients, head }
    }

    /// `aelf-sdk`'s provider of one side chain.
    fn side(&self, chain: &str) -> String {
        format!("{}/aelf/{chain}", self.node.api)
    }

    /// Has the clients make these calls; gives what each answered.
    fn drive(&self, packages: &path::Path, calls: &[Value]) -> Vec<Value> {
        let script = self.dir.path().join("calls.json");
        fs::write(&script, json!(calls).to_string()).unwrap();
        let driver = workspace().join("bins/mainstem/tests/e2e/aelf/driver.js");
        let (code, out, error) = run(Command::new("node").arg(driver).arg(script).arg(packages));
        assert_eq!(code, 0, "{out}\n{error}");
        let answers = out.lines().filter_map(|line| line.strip_prefix("ANSWER "));
        let answers: Vec<Value> = answers.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), calls.len(), "{out}\n{error}");
        answers
    }

    /// The main block that indexed a height, and all side blocks that it indexed, by chain and height.
    fn indexed_with(&self, chain: AelfChain, height: u64) -> (u64, Vec<(AelfChain, u64)>) {
        let block = http::get(&self.node.api, &format!("/v1/chains/{}/blocks/{height}", chain.id));
        let main = block["indexed_in"]["height"].as_u64().unwrap();
        let mut all = Vec::new();
        for part in http::get(&self.node.api, &format!("/v1/blocks/{main}"))["chains"].as_array().unwrap() {
            let chain = if part["chain_id"] == TDVV.id.0 { TDVV } else { TDVW };
            let first = part["first_height"].as_u64().unwrap();
            all.extend((first..first + part["count"].as_u64().unwrap()).map(|height| (chain, height)));
        }
        (main, all)
    }

    /// The path from a side block's root to the root of the main block that indexed it, and that block.
    fn path_above(&self, chain: AelfChain, height: u64) -> (u64, [u8; 32], Path) {
        let (main, all) = self.indexed_with(chain, height);
        let at = all.iter().position(|(other, at)| other.id == chain.id && *at == height).unwrap();
        let (root, path) = tree(all.iter().map(|(chain, height)| chain.tx_root(*height)).collect(), at);
        (main, root, path)
    }
}

/// Makes a data directory with this genesis document.
fn init(dir: &path::Path, document: &str) -> PathBuf {
    let (given, data) = (dir.join("genesis.toml"), dir.join("data"));
    fs::write(&given, document).unwrap();
    let (code, _, error) = run(mainstem().arg("init").arg("--data").arg(&data).arg("--genesis").arg(given));
    assert_eq!(code, 0, "{error}");
    data
}

/// A call of a view of the cross-chain contract.
fn view(url: &str, method: &str, args: &Value) -> Value {
    json!({ "call": "view", "url": url, "contract": CROSS_CHAIN, "method": method, "args": args })
}

fn hex(bytes: [u8; 32]) -> String {
    const_hex::encode(bytes)
}

/// A path as the clients write one.
fn nodes(path: &Path) -> Value {
    let nodes = path.iter().map(|(hash, left)| json!({ "hash": hex(*hash), "isLeftChildNode": left }));
    json!({ "merklePathNodes": nodes.collect::<Vec<_>>() })
}

/// AElf's code and details of an error.
fn refused(answer: &Value) -> (String, String) {
    let error = &answer["error"]["Error"];
    assert!(error["Message"].is_string() && error["Data"].is_object(), "{answer}");
    assert!(error["ValidationErrors"].is_null(), "{answer}");
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("Code"), text("Details"))
}

#[test]
fn aelf_sdk_verifies_transactions_of_side_chains_against_a_main_chain() {
    let _alone = alone();
    let Some(packages) = packages() else { return };
    let world = World::start(true);
    let (api, side) = (&world.node.api, world.side("tDVV"));

    // One whole path, and what can be wrong with it.
    let (main, root, above) = world.path_above(TDVV, ASKED.height);
    let whole: Path = TDVV.path(ASKED).into_iter().chain(above.clone()).collect();
    let id = hex(TDVV.transaction_id(ASKED));
    let input = |id: &str, path: &Path, height: u64, chain: u32| {
        json!({
            "transactionId": id, "path": nodes(path), "parentChainHeight": height, "verifiedChainId": chain,
        })
    };
    let verify = |url: &str, input: &Value| view(url, "VerifyTransaction", &json!([input]));
    let good = input(&id, &whole, main, TDVV.id.0);
    let mut turned = whole.clone();
    turned[0].1 = !turned[0].1;
    let mut changed = whole.clone();
    changed[1].0[31] ^= 1;
    let failed = Transaction { height: ASKED.height, index: 3 };
    let failed_path: Path = TDVV.path(failed).into_iter().chain(above.clone()).collect();
    let invalid = [
        input(&hex(TDVV.transaction_id(LIED)), &whole, main, TDVV.id.0),
        input(&id, &whole[..whole.len() - 1].to_vec(), main, TDVV.id.0),
        input(&id, &turned, main, TDVV.id.0),
        input(&id, &changed, main, TDVV.id.0),
        input(&hex(TDVV.transaction_id(failed)), &failed_path, main, TDVV.id.0),
        input(&id, &whole, if main > 1 { main - 1 } else { main + 1 }, TDVV.id.0),
    ];
    let unknown = input(&id, &whole, 1_000_000, TDVV.id.0);
    let mut calls = vec![
        verify(api, &good),
        // AElf's chain id selects a root and proves nothing: another child's passes, too.
        verify(api, &input(&id, &whole, main, TDVW.id.0)),
        // The same as a cousin, or itself, would verify it.
        verify(&world.side("tDVW"), &good),
        verify(&side, &good),
        verify(api, &unknown),
        verify(api, &input(&id, &whole, main, 12_345)),
        verify(&side, &unknown),
        verify(&side, &input(&id, &whole, main, AELF)),
    ];
    calls.extend(invalid.iter().map(|input| verify(api, input)));
    let answers = world.drive(&packages, &calls);
    for answer in &answers[..4] {
        assert_eq!(answer["value"], json!({ "value": true }), "{answer}");
    }
    assert_eq!(refused(&answers[4]).0, "20008");
    for (answer, height) in answers[5..8].iter().zip([main, 1_000_000, main]) {
        let (code, details) = refused(answer);
        let said = format!("Parent chain block at height {height} is not recorded.");
        assert!(code == "20008" && details.ends_with(&said), "{answer}");
    }
    for (answer, input) in answers[8..].iter().zip(&invalid) {
        // False is the empty message, which the SDK makes `null` of.
        assert_eq!(answer, &json!({ "value": null }), "{input}");
    }

    // The header has the root that was recomputed here.
    let header = &http::get(api, &format!("/v1/blocks/{main}"))["header"];
    assert_eq!(header["aelf_root"], format!("0x{}", hex(root)));
}

#[test]
fn aelf_sdk_reads_heights_blocks_and_paths_of_both_kinds_of_chain() {
    let _alone = alone();
    let Some(packages) = packages() else { return };
    let world = World::start(true);
    let (api, side) = (world.node.api.clone(), world.side("tDVV"));
    let chain = |url: &str, method: &str, args: Value| json!({ "call": "chain", "url": url, "method": method, "args": args });
    let value = |number: u64| json!([{ "value": number }]);
    let (main, all) = world.indexed_with(TDVV, ASKED.height);
    let (_, root, above) = world.path_above(TDVV, ASKED.height);
    let bound = "GetBoundParentChainHeightAndMerklePathByHeight";
    let calls = [
        view(&api, "GetSideChainIdAndHeight", &json!([])),
        view(&api, "GetAllChainsIdAndHeight", &json!([])),
        view(&side, "GetAllChainsIdAndHeight", &json!([])),
        view(&api, "GetSideChainIndexingInformationList", &json!([])),
        view(&api, "GetSideChainHeight", &value(TDVV.id.0.into())),
        view(&side, "GetParentChainHeight", &json!([])),
        view(&side, "GetParentChainId", &json!([])),
        view(&api, "GetChainStatus", &value(TDVW.id.0.into())),
        view(&api, "GetIndexedSideChainBlockDataByHeight", &value(main)),
        view(&api, "GetIndexedSideChainBlockDataByHeight", &value(1_000_000)),
        view(&side, bound, &value(ASKED.height)),
        // Refused:
        view(&api, "GetSideChainHeight", &value(7)),
        view(&api, "GetParentChainHeight", &json!([])),
        view(&api, "GetParentChainId", &json!([])),
        view(&api, "GetChainStatus", &value(7)),
        view(&side, bound, &value(TDVV.blocks + 1)),
        view(&api, bound, &value(1)),
        view(&api, "GetSideChainCreator", &value(TDVV.id.0.into())),
    ];
    let answers = world.drive(&packages, &calls);
    let values: Vec<_> = answers.iter().map(|answer| answer["value"].clone()).collect();
    let heights = json!({ "1866392": "40", "1931928": "33" });
    assert_eq!(values[0], json!({ "idHeightDict": heights }));
    assert_eq!(values[1], values[0]);
    assert_eq!(values[2], json!({ "idHeightDict": { (AELF.to_string()): world.head.to_string() } }));
    let list = json!([
        { "chainId": TDVV.id.0, "indexedHeight": "40" }, { "chainId": TDVW.id.0, "indexedHeight": "33" },
    ]);
    assert_eq!(values[3], json!({ "indexingInformationList": list }));
    assert_eq!(values[4], json!({ "value": "40" }));
    assert_eq!(values[5], json!({ "value": world.head.to_string() }));
    assert_eq!(values[6], json!({ "value": AELF }));
    assert_eq!(values[7], json!({ "status": "ACTIVE" }));
    let data = all.iter().map(|(chain, height)| {
        json!({
            "height": height.to_string(), "blockHeaderHash": hex(chain.hash(*height)),
            "transactionStatusMerkleTreeRoot": hex(chain.tx_root(*height)), "chainId": chain.id.0,
        })
    });
    assert_eq!(values[8], json!({ "sideChainBlockDataList": data.collect::<Vec<_>>() }));
    assert!(all.len() > 1);
    // An empty message is `null` to the SDK.
    assert_eq!(values[9], Value::Null);
    let context =
        json!({ "boundParentChainHeight": main.to_string(), "merklePathFromParentChain": nodes(&above) });
    assert_eq!(values[10], context);
    let said = [
        "Side chain not found.",
        "Parent chain not exist.",
        "Parent chain not exist.",
        "Side chain not found.",
        "Assertion failed!",
        "Assertion failed!",
        "is not answered here: this node knows what it indexed, and no more",
    ];
    for (answer, said) in answers[11..].iter().zip(said) {
        let (code, details) = refused(answer);
        assert!(code == "20008" && details.ends_with(said), "{said}: {answer}");
    }

    // The calls that are no views.
    let latest = http::get(&api, "/v1/blocks/latest");
    let side_hash = hex(TDVV.hash(40));
    let main_hash = latest["hash"].as_str().unwrap()[2..].to_owned();
    let id = hex(TDVV.transaction_id(ASKED));
    let failed = hex(TDVV.transaction_id(Transaction { height: ASKED.height, index: 3 }));
    let nobody = "ab".repeat(32);
    let path = "getMerklePathByTxId";
    let calls = [
        chain(&api, "getChainStatus", json!([])),
        chain(&side, "getChainStatus", json!([])),
        json!({ "call": "sync", "url": side, "method": "getBlockHeight", "args": [] }),
        chain(&api, "getBlockHeight", json!([])),
        chain(&side, "getBlockByHeight", json!([17, true])),
        chain(&side, "getBlock", json!([hex(TDVV.hash(17)), true])),
        chain(&api, "getBlockByHeight", json!([main, false])),
        chain(&api, "getBlock", json!([main_hash, false])),
        chain(&side, "getTxResult", json!([id])),
        chain(&api, "getTxResult", json!([id])),
        chain(&side, path, json!([id])),
        chain(&api, path, json!([id])),
        chain(&side, "getTxResult", json!([nobody])),
        chain(&api, "getTxResult", json!([nobody])),
        chain(&side, "getTxResults", json!([side_hash, 0, 10])),
        json!({ "call": "address", "url": api, "contract": CROSS_CHAIN }),
        json!({ "call": "address", "url": side, "contract": TOKEN }),
        json!({ "call": "connected", "url": side }),
        // Refused:
        chain(&side, path, json!([failed])),
        chain(&side, path, json!([nobody])),
        chain(&side, path, json!([hex(TDVV.transaction_id(LIED))])),
        chain(&side, "getTxResult", json!([hex(TDVV.transaction_id(LIED))])),
        chain(&side, "getTxResult", json!(["xyz"])),
        chain(&side, "getBlockByHeight", json!([41, false])),
        chain(&side, "getBlock", json!([nobody, false])),
        chain(&side, "getBlock", json!(["12", false])),
        chain(&side, "getTxResults", json!([side_hash, 0, 101])),
        chain(&side, "getTxResults", json!([side_hash, -1, 1])),
        chain(&api, "sendTransaction", json!(["00"])),
        chain(&api, "callReadOnly", json!(["zz"])),
        chain(&format!("{api}/aelf/TELF"), "getBlockHeight", json!([])),
    ];
    let answers = world.drive(&packages, &calls);
    let values: Vec<_> = answers.iter().map(|answer| answer["value"].clone()).collect();
    for (status, chain, height, hash) in [(0, "AELF", world.head, &main_hash), (1, "tDVV", 40, &side_hash)] {
        let status = &values[status];
        assert_eq!(status["ChainId"], chain);
        for of in ["BestChain", "LastIrreversibleBlock", "LongestChain"] {
            assert_eq!(
                (&status[format!("{of}Height")], &status[format!("{of}Hash")]),
                (&json!(height), &json!(hash))
            );
        }
    }
    assert_eq!(values[0]["GenesisContractAddress"], "pykr77ft9UUKJZLVq15wCH8PinBSjVRQ12sD1Ayq92mKFsJ1i");
    assert_eq!(values[1]["GenesisContractAddress"], "2dtnkWDyJJXeDRcREhKSZHrYdDGMbn3eus5KYpXonfoTygFHZm");
    assert_eq!((&values[2], &values[3]), (&json!(40), &json!(world.head)));
    let block = &values[4];
    assert_eq!(block["BlockHash"], hex(TDVV.hash(17)));
    assert_eq!(block["Header"]["PreviousBlockHash"], hex(TDVV.hash(16)));
    assert_eq!(block["Header"]["MerkleTreeRootOfTransactionState"], hex(TDVV.tx_root(17)));
    assert_eq!(block["Header"]["Time"], "2023-11-14T22:13:28.500Z");
    assert_eq!((&block["Header"]["Height"], &block["Header"]["ChainId"]), (&json!(17), &json!("tDVV")));
    assert_eq!(&values[5], block);
    let extra: Value = serde_json::from_str(values[6]["Header"]["Extra"].as_str().unwrap()).unwrap();
    // CrossChainExtraData in base64: `0a220a20` and the root.
    assert!(extra["CrossChain"].as_str().unwrap().starts_with("CiIKI"), "{extra} {}", hex(root));
    assert_eq!(values[7]["Header"]["Height"], world.head);
    assert_eq!(values[8], TDVV.record(ASKED));
    assert_eq!(values[9], values[8]);
    let given = TDVV.path(ASKED);
    let given = given.iter().map(|(hash, left)| json!({ "Hash": hex(*hash), "IsLeftChildNode": left }));
    assert_eq!(values[10], json!({ "MerklePathNodes": given.collect::<Vec<_>>() }));
    assert_eq!(values[11], values[10]);
    for value in &values[12..14] {
        assert_eq!((&value["Status"], &value["TransactionId"]), (&json!("NOTEXISTED"), &json!(nobody)));
    }
    assert_eq!(values[14], json!([]));
    assert_eq!(values[15], "2SQ9LeGZYSWmfJcYuQkDQxgd3HzwjamAaaL4Tge2eFSXw2cseq");
    assert_eq!(values[16], "7RzVGiuVWkvL4VfVHdZfQF2Tri3sgLe9U991bohHFfSRZXuGX");
    assert_eq!(values[17], true);
    let codes: Vec<_> = answers[18..].iter().map(|answer| refused(answer).0).collect();
    let expected = [
        "20001", "20001", "20001", "20001", "20004", "20001", "20001", "20003", "20007", "20006", "20008",
        "20012", "20001",
    ];
    assert_eq!(codes, expected, "{answers:#?}");
    assert!(refused(&answers[20]).1.contains("does not lead to block 23"), "{}", answers[20]);
    assert!(refused(&answers[21]).1.contains("not the indexed one"), "{}", answers[21]);
}

#[test]
fn aelf_sdk_cross_chain_finds_a_transfer_from_a_side_chain_ready_to_be_received() {
    let _alone = alone();
    let Some(packages) = packages() else { return };
    let world = World::start(true);
    let id = hex(TDVV.transaction_id(ASKED));
    let ready = |from: &str, to: &str, id: &str| json!({ "call": "ready", "from": from, "to": to, "id": id });
    let (api, one, two) = (&world.node.api, world.side("tDVV"), world.side("tDVW"));
    let failed = hex(TDVV.transaction_id(Transaction { height: ASKED.height, index: 3 }));
    let answers =
        world.drive(&packages, &[ready(&one, api, &id), ready(&one, &two, &id), ready(&one, api, &failed)]);

    let (main, _, above) = world.path_above(TDVV, ASKED.height);
    let whole: Path = TDVV.path(ASKED).into_iter().chain(above).collect();
    for (answer, kind) in answers.iter().zip(["isToMainChain", "isSideToSide"]) {
        let ready = &answer["value"];
        assert_eq!((&ready["isReady"], &ready["type"]), (&json!(true), &json!(kind)), "{answer}");
        assert_eq!(ready["chainIdSend"], TDVV.id.0);
        assert_eq!(ready["crossTransferTxParentBlockHeight"], main.to_string());
        // Our part of the path is in base64, the other in hex, as the SDK has them.
        let path: Path =
            ready["merklePath"]["merklePathNodes"].as_array().unwrap().iter().map(step).collect();
        assert_eq!(path, whole);
        assert!(ready["crossTransferRawTx"].as_str().unwrap().len() > 200, "{ready}");
    }
    let message = answers[2]["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("is not MINED"), "{}", answers[2]);
}

/// A step as the SDK hands it on: `{ hash: { value: base64 } }` or `{ hash: hex }`.
fn step(step: &Value) -> ([u8; 32], bool) {
    let hash = match step["hash"].as_str() {
        Some(text) => const_hex::decode(text).unwrap(),
        None => base64(step["hash"]["value"].as_str().unwrap()),
    };
    (hash.try_into().unwrap(), step["isLeftChildNode"].as_bool().unwrap_or_default())
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn without_aelf_roots_proofs_are_refused_with_the_reason_and_heights_are_told() {
    let _alone = alone();
    let Some(packages) = packages() else { return };
    let world = World::start(false);
    let input = json!({ "parentChainHeight": 1, "verifiedChainId": TDVV.id.0 });
    let bound = "GetBoundParentChainHeightAndMerklePathByHeight";
    let answers = world.drive(
        &packages,
        &[
            view(&world.node.api, "VerifyTransaction", &json!([input])),
            view(&world.side("tDVV"), bound, &json!([{ "value": 1 }])),
            view(&world.node.api, "GetSideChainHeight", &json!([{ "value": TDVV.id.0 }])),
        ],
    );
    for answer in &answers[..2] {
        assert!(refused(answer).1.contains("aelf_root = true"), "{answer}");
    }
    assert_eq!(answers[2]["value"], json!({ "value": "40" }));
}

#[test]
fn parent_blocks_have_the_path_of_every_block_of_a_chain() {
    let _alone = alone();
    let world = World::start(true);
    let (mut from, mut seen) = (1, 0);
    loop {
        let answer = http::get(&world.node.api, &format!("/v1/aelf/parent-blocks/tDVV?from={from}&limit=3"));
        let blocks = answer["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 3);
        for block in blocks {
            let header = &block["header"];
            assert_eq!(
                header,
                &http::get(&world.node.api, &format!("/v1/blocks/{}", header["height"]))["header"]
            );
            let chain = &block["chain"];
            if chain.is_null() {
                continue;
            }
            assert_eq!(chain["first_height"], seen + 1);
            let (roots, paths) = (chain["tx_roots"].as_array().unwrap(), chain["paths"].as_array().unwrap());
            assert_eq!(roots.len(), paths.len());
            for (root, path) in roots.iter().zip(paths) {
                seen += 1;
                assert_eq!(*root, format!("0x{}", hex(TDVV.tx_root(seen))));
                let (main, aelf_root, expected) = world.path_above(TDVV, seen);
                assert_eq!(header["height"], main);
                assert_eq!(header["aelf_root"], format!("0x{}", hex(aelf_root)));
                let steps = expected
                    .iter()
                    .map(|(hash, left)| json!({ "hash": format!("0x{}", hex(*hash)), "left": left }));
                assert_eq!(*path, json!(steps.collect::<Vec<_>>()));
            }
        }
        match answer["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, TDVV.blocks);
    for (query, status) in [
        ("tDVV?limit=3", 400),
        ("tDVV?from=1&limit=33", 400),
        ("tDVV?from=0", 400),
        ("tDVV?from=1&to=2", 400),
        ("TELF?from=1", 404),
    ] {
        let (got, body) = http::try_get(&world.node.api, &format!("/v1/aelf/parent-blocks/{query}")).unwrap();
        assert_eq!(got, status, "{query}: {body}");
    }
    let ahead = http::get(&world.node.api, &format!("/v1/aelf/parent-blocks/tDVV?from={}", world.head + 1));
    assert_eq!(ahead, json!({ "blocks": [], "next": null }));
}
