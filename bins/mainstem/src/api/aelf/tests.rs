use aelf::acs7::VerifyTransactionInput;
use aelf::{Address, MerklePath, MerklePathNode, Transaction};
use axum::http::HeaderMap;
use engine::chain::ChainId;
use prost::Message as _;
use serde_json::{Value, json};

use super::contracts::Contract;
use super::*;
use crate::api::tests::Fixture;

const MAIN: ChainId = ChainId(9_992_731);
const SIDE: ChainId = ChainId(1_866_392);

impl Fixture {
    /// A call that is refused: its code and details.
    fn refused(&self, method: &str, path: &str, body: &[u8]) -> (String, String) {
        let (status, head, body) = self.ask(method, path, body);
        assert_eq!(status, 403, "{path}: {body}");
        assert!(head.contains("content-type: application/json; charset=utf-8\r\n"), "{head}");
        let told: Value = serde_json::from_str(&body).unwrap();
        let error = &told["Error"];
        assert_eq!(told.as_object().unwrap().len(), 1);
        assert!(error["Message"].is_string() && error["ValidationErrors"].is_null(), "{body}");
        assert_eq!(error["Data"], json!({}));
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("Code"), text("Details"))
    }

    /// Executes a view of the main chain's contracts; gives status and body.
    fn execute(&self, contract: Contract, method: &str, params: Vec<u8>) -> (u16, String) {
        let transaction = Transaction {
            to: Some(Address { value: contract.address(MAIN, true).0.to_vec() }),
            method_name: method.into(),
            params,
            ..Transaction::default()
        };
        let raw = const_hex::encode(transaction.encode_to_vec());
        let body = json!({ "RawTransaction": raw }).to_string();
        let (status, _, body) = self.ask("POST", "/api/blockChain/executeTransaction", body.as_bytes());
        (status, body)
    }

    /// What `VerifyTransaction` says.
    fn verify(&self, id: &[u8], path: &[(Vec<u8>, bool)], height: i64, chain: i32) -> bool {
        let node = |(hash, left): &(Vec<u8>, bool)| MerklePathNode {
            hash: Some(aelf::Hash { value: hash.clone() }),
            is_left_child_node: *left,
        };
        let input = VerifyTransactionInput {
            transaction_id: Some(aelf::Hash { value: id.to_vec() }),
            path: Some(MerklePath { merkle_path_nodes: path.iter().map(node).collect() }),
            parent_chain_height: height,
            verified_chain_id: chain,
        };
        let told = self.execute(Contract::CrossChain, "VerifyTransaction", input.encode_to_vec());
        match (told.0, told.1.as_str()) {
            (200, "0801") => true,
            (200, "") => false,
            _ => panic!("{told:?}"),
        }
    }
}

#[test]
fn what_is_accepted_decides_between_plain_text_and_json() {
    let with =
        |accept: &'static str| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
    let kind = |answer: Answer| answer.unwrap().headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    for (accept, json_kind, text_kind) in [
        ("text/plain;v=1.0", "text/plain", "text/plain"),
        ("application/json", "application/json", "application/json"),
        ("application/json, text/plain", "text/plain", "text/plain"),
        ("*/*", "application/json", "text/plain"),
    ] {
        assert!(kind(json(&with(accept), &1)).starts_with(json_kind), "{accept}");
        assert!(
            kind(text(&with(accept), &Budget::default(), "0a".into())).starts_with(text_kind),
            "{accept}"
        );
    }
    assert!(kind(text(&HeaderMap::new(), &Budget::default(), "0a".into())).starts_with("text/plain"));
}

#[test]
fn parameters_are_read_as_aelf_reads_them() {
    let fixture = Fixture::new();
    let block = fixture.get("/api/blockChain/blockByHeight?BLOCKHEIGHT=1&IncludeTransactions=True&what=ever");
    assert_eq!((&block["Header"]["Height"], &block["Body"]["Transactions"]), (&json!(1), &json!([])));
    let without = fixture.get("/api/blockChain/blockByHeight?blockHeight=1");
    assert_eq!(without["Body"]["Transactions"], Value::Null);
    // Of the main chain itself by its own name, too.
    assert_eq!(fixture.get("/aelf/AELF/api/blockChain/blockByHeight?blockHeight=1"), without);

    let id = "ab".repeat(32);
    for (path, code) in [
        ("/api/blockChain/blockByHeight".to_owned(), "20001"),
        ("/api/blockChain/blockByHeight?blockHeight=-1".into(), "20001"),
        ("/api/blockChain/blockByHeight?blockHeight=9223372036854775807".into(), "20001"),
        ("/api/blockChain/blockByHeight?blockHeight=9223372036854775808".into(), "20012"),
        ("/api/blockChain/block".into(), "20003"),
        (format!("/api/blockChain/block?blockHash={id}00"), "20003"),
        (format!("/api/blockChain/block?blockHash=0x{id}"), "20001"),
        ("/api/blockChain/transactionResult".into(), "20004"),
        ("/api/blockChain/merklePathByTransactionId?transactionId=0x".into(), "20004"),
        // Nobody is connected who could know.
        (format!("/api/blockChain/transactionResult?transactionId={id}"), "20001"),
        (format!("/aelf/tDVV/api/blockChain/transactionResult?transactionId={id}"), "20001"),
        ("/api/blockChain/contractFileDescriptorSet".into(), "20001"),
        ("/aelf/tDVW/api/blockChain/blockHeight".into(), "20001"),
        ("/aelf/!/api/blockChain/blockHeight".into(), "20001"),
    ] {
        assert_eq!(fixture.refused("GET", &path, b"").0, code, "{path}");
    }
    let (code, details) = fixture.refused("POST", "/aelf/tDVV/api/blockChain/sendTransaction", b"{}");
    assert!(code == "20008" && details.contains("tDVV"), "{code} {details}");
}

#[test]
fn the_head_of_a_chain_is_its_last_indexed_height_and_zero_below_its_first() {
    let fixture = Fixture::new();
    let durable = fixture.get("/v1/chains/tDVV")["durable"].clone();
    assert_eq!(fixture.get("/aelf/tDVV/api/blockChain/blockHeight"), durable);
    assert_eq!(fixture.get("/aelf/tDVV/api/blockChain/chainStatus")["LastIrreversibleBlockHeight"], durable);
    // The first height of this one is 5, and it has no block.
    assert_eq!(fixture.get("/v1/chains/7")["durable"], 4);
    assert_eq!(fixture.get("/aelf/7/api/blockChain/blockHeight"), 0);
}

#[test]
fn a_long_record_counts_among_the_long_answers() {
    let budget = Budget::default();
    let record = "x".repeat(1 << 20);
    let answers: Vec<_> =
        (0..100).map_while(|_| long_json(&HeaderMap::new(), &budget, &record).ok()).collect();
    assert!((1..64).contains(&answers.len()), "{}", answers.len());
    assert!(long_json(&HeaderMap::new(), &budget, &"short").is_ok());
    drop(answers);
    assert!(long_json(&HeaderMap::new(), &budget, &record).is_ok());
}

#[test]
fn a_transaction_that_cannot_be_executed_is_refused() {
    let fixture = Fixture::new();
    let path = "/api/blockChain/executeTransaction";
    let huge = "00".repeat(40 << 10);
    for body in [
        "",
        "[]",
        "{}",
        "{\"rawTransaction\": 1}",
        "{\"rawTransaction\": \"0\"}",
        "{\"rawTransaction\": \"0x0g\"}",
        "{\"rawTransaction\": \"0a05\"}",
        &format!("{{\"rawTransaction\": \"{huge}\"}}"),
    ] {
        assert_eq!(
            fixture.refused("POST", path, body.as_bytes()).0,
            "20012",
            "{}",
            &body[..body.len().min(80)]
        );
    }
    for body in ["{\"rawTransaction\": \"\"}", "{\"rawTransaction\": \"12020a00\"}"] {
        let (code, details) = fixture.refused("POST", path, body.as_bytes());
        assert!(code == "20008" && details.starts_with("Invalid contract address"), "{details}");
    }
    for (contract, method, params) in [
        (Contract::CrossChain, "", vec![]),
        (Contract::CrossChain, "Initialize", vec![]),
        (Contract::CrossChain, "GetSideChainHeight", vec![0x08]),
        (Contract::CrossChain, "GetSideChainHeight", vec![0x08, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (Contract::Genesis, "GetContractAddressByName", vec![0xff]),
        (Contract::Token, "GetBalance", vec![]),
    ] {
        let (status, body) = fixture.execute(contract, method, params);
        assert!(status == 403 && body.contains("\"20008\""), "{method}: {body}");
    }
    // A name that no contract has.
    let nobody = aelf::Hash { value: vec![1; 32] }.encode_to_vec();
    let told = fixture.execute(Contract::Genesis, "GetContractAddressByName", nobody);
    assert_eq!(told, (200, String::new()));
}

#[test]
fn paths_that_are_none_lead_nowhere() {
    let fixture = Fixture::new();
    let chain = SIDE.0.cast_signed();
    let id = [1; 32];
    for (id, path) in [
        (&id[..], vec![]),
        (&id[..31], vec![]),
        (&[], vec![(vec![2; 32], true)]),
        (&id[..], vec![(vec![], true)]),
        (&id[..], vec![(vec![2; 33], false)]),
        (&id[..], vec![(vec![2; 32], false); 200]),
    ] {
        assert!(!fixture.verify(id, &path, 1, chain));
    }
}
