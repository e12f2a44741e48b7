//! Proofs of transactions: the side chain's own node is asked for the way from the transaction to its block, and the
//! block proof from this node's log is joined to it.
//!
//! # Architecture invariant
//! A node's answer is a claim of somebody who may lie. Nothing of it is served before the whole proof has verified here,
//! and before what it proves is what was asked for.

use std::sync::Arc;

use alloy_primitives::keccak256;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use engine::chain::ChainId;
use engine::proof::{self, Claim, CrossChainProof, Document, Inner};
use engine::sim;
use engine::source::{Answer as Found, NoAnswer, Question};
use engine::store::BlockReader;
use net::server::Unanswered;

use super::params::{self, Params};
use super::problem::Problem;
use super::proofs::Asked;
use super::routes::{Answer, Node};

/// The routes of this file.
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/proofs/tx/{chain}/{id}", get(transaction::<R>))
}

async fn transaction<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    params: Params<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let (chain, id) = params::path(params)?;
    let (chain, id) = (params::chain(&chain)?, transaction_id(&id)?);
    let asked = Asked::new(&uri, &headers, &["head"])?;
    node.registered(chain)?;
    let head = asked.height("head")?;
    let question = Question::Transaction { chain, id };
    let found = node.questions.ask(&question).await.map_err(|why| unanswered(&question, why))?;
    let Found::Transaction { height, part } = found else {
        return Err(wrong(chain, "it answered another question"));
    };
    let block = proof::build(&node.reader, chain, height, head).map_err(|error| node.refusal(error))?;
    let proof = CrossChainProof { version: CrossChainProof::VERSION, transaction: part, block };
    let (_, claim) = proof.verify_claim().map_err(|error| wrong(chain, &error.to_string()))?;
    names(&claim, question.id()).map_err(|why| wrong(chain, &why))?;
    asked.answers(&node).unchanging(&Document::Transaction(proof))
}

/// Whether what was proven is what `id` names.
fn names(claim: &Claim, id: &[u8]) -> Result<(), String> {
    let same = |what: &str, proven: &[u8]| {
        if proven == id {
            Ok(())
        } else {
            Err(format!("it proves another {what} than the one that was asked for"))
        }
    };
    match claim {
        Claim::Aelf { id } => same("transaction", id.as_bytes()),
        Claim::Evm { transaction: Some(transaction), .. } => {
            same("transaction", keccak256(transaction).as_slice())
        }
        Claim::Evm { .. } => Err("it proves a receipt without its transaction, which may be any".to_owned()),
        Claim::Sim { data } => same("transaction", sim::transaction_id(data).as_bytes()),
        Claim::Mainstem(inner) => {
            let Inner { chain_id, block, claim, .. } = &**inner;
            let (chain, rest) = id.split_first_chunk().ok_or("the id names no chain of that Mainstem")?;
            if u32::from_le_bytes(*chain) != chain_id.0 {
                return Err(format!("it proves something of chain {chain_id}, which was not asked for"));
            }
            match (rest.as_array::<8>(), claim) {
                // A height, and not a transaction.
                (Some(height), None) if u64::from_le_bytes(*height) == block.height.0 => Ok(()),
                (None, Some(claim)) => names(claim, rest),
                _ => Err("it proves another block than the one that was asked for".to_owned()),
            }
        }
    }
}

/// An id in the path: `0x` and hex digits.
fn transaction_id(text: &str) -> Answer<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let most = Question::MAX_ID_BYTES;
    // A second 0x would be read over.
    let right = digits.len() <= 2 * most && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = right.then(|| const_hex::decode(digits).ok()).flatten();
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
        let detail = format!("id: expected 0x and the hex digits of 1 to {most} bytes");
        Problem::parameter("id", text, detail)
    })
}

/// What is said where there is no answer.
fn unanswered(question: &Question, why: Unanswered) -> Problem {
    let chain = question.chain();
    let problem = |status, kind, title, detail: String| {
        Problem::new(status, kind, title, detail).with("chain_id", chain.0)
    };
    let text = why.to_string();
    match why {
        Unanswered::Node(NoAnswer::Unknown) => {
            let detail = format!("chain {chain}: its node knows no such transaction");
            problem(StatusCode::NOT_FOUND, "unknown-transaction", "No such transaction", detail)
        }
        Unanswered::Node(NoAnswer::NotYet(why)) => {
            let detail = format!("chain {chain}: {why}; ask again later");
            problem(StatusCode::NOT_FOUND, "not-yet", "The transaction is not irreversible yet", detail)
        }
        Unanswered::Node(NoAnswer::Unsupported) => {
            let detail = format!(
                "chain {chain}: the source of its node does not answer questions about transactions, or its tributary \
                 is too old to"
            );
            problem(StatusCode::NOT_IMPLEMENTED, "unsupported", "This source proves no transactions", detail)
        }
        Unanswered::NotConnected => {
            let detail = format!(
                "chain {chain}: no node of it is connected now; it has to be asked for the transaction"
            );
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-node-connected", "No node can be asked", detail)
        }
        Unanswered::Busy(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy", text),
        Unanswered::TooSlow(_) => {
            let detail = format!("chain {chain}: {text}");
            problem(StatusCode::GATEWAY_TIMEOUT, "source-too-slow", "The source took too long", detail)
        }
        Unanswered::Node(NoAnswer::Failed(_)) | Unanswered::Lost(_) => {
            let detail = format!("chain {chain}: {text}");
            problem(StatusCode::BAD_GATEWAY, "source-failed", "The source could not answer", detail)
        }
        Unanswered::Broken(_) => wrong(chain, &text),
        Unanswered::Bad(_) => Problem::parameter("id", &const_hex::encode_prefixed(question.id()), text),
    }
}

/// What a node said did not verify: nothing of it is shown.
fn wrong(chain: ChainId, why: &str) -> Problem {
    tracing::warn!(chain = chain.0, why, "a node answered a question about a transaction wrongly");
    let detail = format!("chain {chain}: what its node answered does not verify, and is not shown: {why}");
    Problem::new(StatusCode::BAD_GATEWAY, "wrong-answer", "The source's answer is wrong", detail)
        .with("chain_id", chain.0)
}

#[cfg(test)]
mod tests {
    use engine::chain::{Hash, Height, MainHeader};
    use engine::pipeline::Sealer;
    use engine::proof::{ProvenBlock, Verified};

    use super::*;

    fn inner(chain: u32, height: u64, claim: Option<Claim>) -> Claim {
        let header = MainHeader { chain_id: ChainId(5), height: Height(1), ..Sealer::blank().header };
        let verified = Verified { header_hash: Hash::ZERO, trusted: header, trusted_hash: Hash::ZERO };
        let block = ProvenBlock { height: Height(height), hash: Hash::ZERO, tx_root: Hash::ZERO };
        Claim::Mainstem(Box::new(Inner { chain_id: ChainId(chain), block, verified, claim }))
    }

    #[test]
    fn a_claim_is_what_was_asked_for_only_if_its_id_says_so() {
        let aelf = Claim::Aelf { id: Hash([7; 32]) };
        assert!(names(&aelf, &[7; 32]).is_ok());
        assert!(names(&aelf, &[8; 32]).is_err());
        let evm = |transaction: Option<&[u8]>| Claim::Evm {
            index: 0,
            transaction: transaction.map(<[u8]>::to_vec),
            receipt: Some(vec![1]),
        };
        assert!(names(&evm(Some(b"tx")), keccak256(b"tx").as_slice()).is_ok());
        assert!(names(&evm(Some(b"ty")), keccak256(b"tx").as_slice()).is_err());
        assert!(names(&evm(None), keccak256(b"tx").as_slice()).is_err(), "a receipt alone is anybody's");
        let sim = Claim::Sim { data: b"data".to_vec() };
        assert!(names(&sim, sim::transaction_id(b"data").as_bytes()).is_ok());
        assert!(names(&sim, &[1; 32]).is_err());
    }

    #[test]
    fn what_another_mainstem_proves_is_named_by_its_chain_and_a_height_or_an_id() {
        let block = |chain: u32, height: u64| [&chain.to_le_bytes()[..], &height.to_le_bytes()].concat();
        assert!(names(&inner(9, 3, None), &block(9, 3)).is_ok());
        assert!(names(&inner(9, 3, None), &block(9, 4)).is_err());
        assert!(names(&inner(9, 3, None), &block(8, 3)).is_err());
        assert!(names(&inner(9, 3, None), &[9, 0, 0]).is_err());
        let aelf = || Some(Claim::Aelf { id: Hash([7; 32]) });
        let id = [&9_u32.to_le_bytes()[..], &[7; 32]].concat();
        assert!(names(&inner(9, 3, aelf()), &id).is_ok());
        assert!(names(&inner(9, 3, None), &id).is_err(), "a block alone says nothing of a transaction");
        assert!(names(&inner(9, 3, aelf()), &block(9, 3)).is_err());
        let deeper = [&2_u32.to_le_bytes()[..], &id].concat();
        assert!(names(&inner(2, 8, Some(inner(9, 3, aelf()))), &deeper).is_ok());
        assert!(names(&inner(3, 8, Some(inner(9, 3, aelf()))), &deeper).is_err());
    }

    #[test]
    fn ids_are_hex_of_1_to_64_bytes() {
        assert_eq!(transaction_id("0x00ff").unwrap(), [0, 255]);
        assert_eq!(transaction_id(&format!("0x{}", "ab".repeat(64))).unwrap(), [0xab; 64]);
        let long = format!("0x{}", "ab".repeat(65));
        for bad in ["", "0x", "00ff", "0x0", "0xzz", "0x0x00", &long] {
            assert!(transaction_id(bad).is_err(), "{bad}");
        }
    }
}
