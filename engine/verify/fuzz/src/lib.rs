//! What the fuzz targets do with an input: read it as a proof that anyone may have written. Nothing may panic, and what is
//! read in binary gives the same bytes when it is written again. And no change of a proof that is right may make one
//! that proves anything else to the same reader.

#![forbid(unsafe_code)]

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use verify::proof::{Claim, Document, Inner, Transaction};
use verify::{ChainId, Hash, Height};

/// The longest text of an error, which may be served to whoever sent the proof.
const MAX_ERROR_BYTES: usize = 1024;

/// Reads a document, and a transaction part, in binary.
pub fn proof_bytes(input: &[u8]) {
    match Document::from_bytes(input) {
        Ok(document) => {
            assert!(document.to_bytes() == input, "a document was accepted that is not written like this");
            judge(&document);
            if document.verify().is_ok() {
                let json = serde_json::to_vec(&document).expect("a document can be written as JSON");
                assert_eq!(Document::parse(&json), Ok(document), "both forms say the same");
            }
        }
        Err(error) => assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
    }
    if let Ok(part) = Transaction::from_bytes(input) {
        assert!(part.to_bytes() == input, "a part was accepted that is not written like this");
        let block =
            verify::proof::ProvenBlock { height: Height(1), hash: Hash([1; 32]), tx_root: Hash([2; 32]) };
        assert!(part.verify(ChainId(1), &block).is_err(), "nothing leads to such a block");
    }
}

/// Reads a document in JSON.
pub fn proof_json(input: &[u8]) {
    let json = input.trim_ascii_start().first() == Some(&b'{');
    match Document::parse(input) {
        Ok(document) => {
            judge(&document);
            let again = serde_json::to_vec(&document).expect("a document can be written as JSON");
            assert_eq!(Document::parse(&again).as_ref(), Ok(&document), "it reads as what was read");
            // One that does not verify may have sides or numbers that the binary form has no room for.
            if document.verify().is_ok() {
                assert_eq!(
                    Document::from_bytes(&document.to_bytes()),
                    Ok(document),
                    "both forms say the same"
                );
            }
        }
        Err(error) => assert!(!json || error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
    }
}

/// Changes a proof that is right. The input: which one u8, then the changes, each a place u16, a kind u8, a value u8.
pub fn forgery(input: &[u8]) {
    let Some((which, changes)) = input.split_first() else { return };
    let right = &RIGHT[usize::from(*which) % RIGHT.len()];
    let mut bytes = right.binary.clone();
    for change in changes.chunks_exact(4).take(8) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        apply(&mut bytes, place, change[2], change[3]);
    }
    let Ok(document) = Document::from_bytes(&bytes) else { return };
    assert!(document.to_bytes() == bytes, "a document was accepted that is not written like this");
    if let Ok(outcome) = document.verify_trusting(right.trusted) {
        let original = right.document.verify_trusting(right.trusted).expect("it is right");
        let claims = match (&outcome.claim, &original.claim) {
            (None, None) => true,
            (Some(claim), Some(original)) => claims_no_more(claim, original),
            _ => false,
        };
        assert!(claims && says_no_more(&document, &right.document), "{}: forged {document:?}", right.name);
    }
}

fn apply(bytes: &mut Vec<u8>, place: usize, kind: u8, value: u8) {
    let Some(byte) = bytes.get_mut(place) else { return };
    match kind % 8 {
        0 => *byte ^= 1 << (value % 8),
        1 => *byte = value,
        2 => *byte = byte.wrapping_add(value),
        3 => drop(bytes.drain(place..(place + usize::from(value)).min(bytes.len()))),
        4 => drop(bytes.splice(place..place, [0; 32])),
        5 => {
            let hash: Vec<u8> = bytes.iter().skip(place).take(32).copied().collect();
            bytes.splice(place..place, hash);
        }
        6 => {
            let from = usize::from(value) * bytes.len() / 256;
            let length = 32.min(bytes.len() - from.max(place));
            bytes.copy_within(from..from + length, place);
        }
        _ => bytes.truncate(place),
    }
}

/// Whether all that a document states is stated by the original, or is as true: a chain that would stand between the same
/// neighbours is as absent.
fn says_no_more(document: &Document, original: &Document) -> bool {
    match (document, original) {
        (Document::Transaction(proof), Document::Transaction(original)) => proof.block == original.block,
        (Document::Blocks(proof), Document::Blocks(original)) => {
            proof.blocks().all(|stated| original.blocks().any(|other| other == stated))
        }
        (Document::Absence(proof), Document::Absence(original)) => {
            let mut same = proof.clone();
            same.chain_id = original.chain_id;
            same == *original
        }
        _ => document == original,
    }
}

fn claims_no_more(claim: &Claim, original: &Claim) -> bool {
    let no_more = |part: &Option<Vec<u8>>, original: &Option<Vec<u8>>| part.is_none() || part == original;
    match (claim, original) {
        (
            Claim::Evm { index, transaction, receipt },
            Claim::Evm { index: place, transaction: first, receipt: second },
        ) => index == place && no_more(transaction, first) && no_more(receipt, second),
        (Claim::Mainstem(inner), Claim::Mainstem(original)) => {
            let Inner { chain_id, block, verified, claim } = &**inner;
            (chain_id, block, verified) == (&original.chain_id, &original.block, &original.verified)
                && match (claim, &original.claim) {
                    (None, _) => true,
                    (Some(claim), Some(original)) => claims_no_more(claim, original),
                    (Some(_), None) => false,
                }
        }
        _ => claim == original,
    }
}

/// Nothing that is read may panic when it is verified, and an error stays short.
fn judge(document: &Document) {
    match document.verify() {
        Ok(outcome) => assert!(document.verify_trusting(outcome.verified.trusted_hash).is_ok()),
        Err(error) => assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
    }
}

/// A proof of the vectors.
pub struct Right {
    /// What it is.
    pub name: String,
    /// The proof.
    pub document: Document,
    /// Its binary form.
    pub binary: Vec<u8>,
    /// What its reader trusts.
    pub trusted: Hash,
}

/// The proofs of the vectors that are not long.
pub static RIGHT: LazyLock<Vec<Right>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Vectors {
        accepted: Vec<Accepted>,
    }
    #[derive(Deserialize)]
    struct Accepted {
        name: String,
        json: Value,
        trusted: Hash,
    }
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../vectors/proofs.json")).expect("the vectors are JSON");
    let read = |case: Accepted| {
        let document = Document::parse(case.json.to_string().as_bytes()).expect("the vectors are documents");
        Right { name: case.name, binary: document.to_bytes(), document, trusted: case.trusted }
    };
    vectors.accepted.into_iter().map(read).filter(|right| right.binary.len() <= MAX_BYTES).collect()
});

/// The longest of them.
pub const MAX_BYTES: usize = 4096;
