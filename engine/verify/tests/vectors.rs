//! The vectors: what is right verifies in both forms, what was forged does not, and the file is what the code says.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "samples are shared as source")]

#[path = "../samples/file.rs"]
mod file;
#[path = "../samples/mod.rs"]
mod samples;

use serde::Deserialize;
use serde_json::Value;
use verify::chain::Hash;
use verify::proof::{Claim, CrossChainProof, Document, ParseError, Transaction, VerifyError};

#[derive(Deserialize)]
struct Vectors {
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Accepted {
    name: String,
    kind: String,
    json: Value,
    binary: String,
    trusted: Hash,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    json: Option<Value>,
    binary: Option<String>,
    reason: String,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/proofs.json")).unwrap()
}

#[test]
fn the_file_is_up_to_date() {
    let same = file::text() == include_str!("../vectors/proofs.json");
    assert!(same, "run: cargo run -p mainstem-verify --example vectors");
}

#[test]
fn what_is_right_verifies_in_both_forms() {
    let mut kinds: Vec<String> = Vec::new();
    for case in vectors().accepted {
        let name = &case.name;
        let document = Document::parse(case.json.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = const_hex::decode(&case.binary).unwrap();
        assert_eq!(Document::parse(&bytes).as_ref(), Ok(&document), "{name}");
        assert_eq!(document.to_bytes(), bytes, "{name}");
        assert_eq!(serde_json::to_value(&document).unwrap(), case.json, "{name}");
        assert_eq!(document.kind(), case.kind, "{name}");
        let outcome =
            document.verify_trusting(case.trusted).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(outcome.verified.trusted_hash, case.trusted, "{name}");
        assert_eq!(document.verify(), Ok(outcome), "{name}");
        let other = Hash([7; 32]);
        assert!(matches!(document.verify_trusting(other), Err(VerifyError::NotTrusted { .. })), "{name}");
        for length in 0..bytes.len() {
            assert!(Document::parse(&bytes[..length]).is_err(), "{name} cut to {length}");
        }
        kinds.push(case.kind);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["absence", "block", "blocks", "chain", "consistency", "transaction"]);
}

#[test]
fn what_was_forged_is_refused() {
    for case in vectors().refused {
        let bytes = match (&case.json, &case.binary) {
            (Some(json), None) => json.to_string().into_bytes(),
            (None, Some(binary)) => const_hex::decode(binary).unwrap(),
            _ => panic!("{}: one form", case.name),
        };
        let Some(refused) = file::refusal(&bytes) else {
            panic!("{}: accepted, though {}", case.name, case.reason)
        };
        assert!(refused.len() <= 1024, "{}: {refused}", case.name);
        assert!(!case.error.is_empty() && refused.starts_with(&case.error), "{}: {refused}", case.name);
    }
}

#[test]
fn what_is_wrong_is_said_briefly_whatever_is_repeated() {
    let long = "\u{1f9ea}".repeat(100_000);
    for json in [
        format!(r#"{{"{long}": 1}}"#),
        format!(r#"{{"kind": "{long}"}}"#),
        format!(r#"{{"version": "{long}"}}"#),
        format!(r#"{{"kind": "absence", "version": 1, "{long}": 1}}"#),
        format!(r#"{{"kind": "transaction", "transaction": {{"type": "{long}"}}}}"#),
        format!(r#"{{"kind": "transaction", "transaction": {{"{long}": 1}}}}"#),
        format!(r#"{{"chain_id": "{long}"}}"#),
        format!(r#"{{"block": {{"hash": "{long}"}}}}"#),
    ] {
        let Err(ParseError::Json(error)) = Document::parse(json.as_bytes()) else {
            panic!("{}", &json[..40])
        };
        let place = error.contains(" at line 1 column ") || error.starts_with("kind: ");
        assert!(error.len() <= 512 && place, "{error}");
    }
}

#[test]
fn a_transaction_three_levels_deep_says_what_it_proves() {
    let Document::Transaction(proof) = samples::accepted::three_levels(&samples::accepted::worlds()) else {
        panic!("it is a transaction proof")
    };
    let (_, claim) = proof.verify_claim().unwrap();
    let Claim::Mainstem(inner) = claim else { panic!("{claim:?}") };
    assert_eq!(inner.chain_id.0, samples::accepted::INNERMOST);
    let Some(Claim::Mainstem(inner)) = &inner.claim else { panic!("{inner:?}") };
    assert_eq!((inner.chain_id.0, inner.block.height.0), (samples::accepted::SIM, 4));
    assert_eq!(inner.claim, Some(Claim::Sim { data: b"data 12 of 13".to_vec() }));
}

#[test]
fn the_value_of_a_trie_is_what_the_chain_put_there() {
    for (height, block) in (100..).zip(samples::accepted::evm_blocks()) {
        let content = block.content();
        let proven = verify::proof::ProvenBlock {
            height: verify::Height(height),
            hash: content.hash,
            tx_root: content.tx_root,
        };
        for index in 0..block.receipts.len() {
            let part = block.transaction(index, true, true);
            let claim = part.verify(verify::ChainId(1), &proven).unwrap();
            let expected = Claim::Evm {
                index: index as u32,
                transaction: Some(block.transactions[index].clone()),
                receipt: Some(block.receipts[index].clone()),
            };
            assert_eq!(claim, expected, "{index} of block {height}");
            assert_eq!(Transaction::from_bytes(&part.to_bytes()), Ok(part));
        }
    }
}

#[test]
fn proofs_inside_of_proofs_are_not_followed_beyond_their_bound() {
    let document = Document::Transaction(samples::accepted::levels(CrossChainProof::MAX_LEVELS.into()));
    assert_eq!(Document::parse(&document.to_bytes()).as_ref(), Ok(&document));
    // As deep as a document is long: neither form may be followed to the end of the stack.
    let deep: Vec<u8> = [1, 1, 4].repeat(Document::MAX_BYTES / 3);
    assert!(Document::parse(&deep).unwrap_err().to_string().contains("levels"));
    let piece = r#"{"transaction":{"type":"mainstem","proof":"#;
    let deep = piece.repeat(Document::MAX_BYTES / piece.len()).into_bytes();
    assert!(Document::parse(&deep).is_err());
    let deep = r#"{"kind":"transaction","transaction":{"proof":"#.to_owned() + &piece.repeat(20);
    assert!(
        serde_json::from_str::<CrossChainProof>(&deep).unwrap_err().to_string().contains("levels"),
        "{deep}"
    );
}
