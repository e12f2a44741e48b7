//! What the main chain asks about a transaction, answered by the side node's web API.

use std::time::Duration;

use engine::chain::{ChainId, Hash, Height};
use engine::merkle::path::Step;
use engine::proof::{AelfPart, Transaction};
use engine::source::{Answer, Answers, NoAnswer, Question};
use serde::Deserialize;

use super::web::{Web, WebError};
use crate::sources::shorten;

/// The web API of a side node.
#[derive(Debug)]
pub(super) struct NodeAnswers {
    web: Web,
    chain: ChainId,
}

/// `transactionResult`, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransactionResult {
    transaction_id: String,
    status: String,
    #[serde(default)]
    block_number: u64,
}

/// `merklePathByTransactionId`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MerklePath {
    merkle_path_nodes: Vec<MerklePathNode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MerklePathNode {
    hash: String,
    is_left_child_node: bool,
}

impl NodeAnswers {
    pub(super) fn new(url: &str, chain: ChainId, timeout: Duration) -> Result<Self, String> {
        Ok(Self { web: Web::new(url, "--http", timeout)?, chain })
    }

    /// The node's own record, and what is needed of it.
    fn result(&self, id: Hash) -> Result<(Vec<u8>, TransactionResult), NoAnswer> {
        let path = format!("/api/blockChain/transactionResult?transactionId={}", hex(id));
        let body = self.web.get(&path, Answer::MAX_RECORD_BYTES as u64).map_err(|error| failed(&error))?;
        let result: TransactionResult = parse(&body, "transactionResult")?;
        if read_hash(&result.transaction_id) != Some(id) {
            let got = shorten(&result.transaction_id, 80);
            return Err(NoAnswer::Failed(format!("transactionResult is of transaction {got:?}")));
        }
        // What the node does not know has a status, too.
        if result.status.eq_ignore_ascii_case("NOTEXISTED") {
            return Err(NoAnswer::Unknown);
        }
        Ok((body, result))
    }

    fn transaction(&self, id: Hash) -> Result<Answer, NoAnswer> {
        let (_, result) = self.result(id)?;
        let status = result.status.to_ascii_uppercase();
        match status.as_str() {
            "MINED" => {}
            "PENDING" | "PENDINGVALIDATION" => {
                return Err(NoAnswer::NotYet("it is in no block yet".to_owned()));
            }
            _ => {
                let status = shorten(&status, 40);
                let text = format!("its status is {status}; only of mined ones there is a proof");
                return Err(NoAnswer::Failed(text));
            }
        }
        let height = Some(result.block_number).filter(|height| (1..=Height::MAX.0).contains(height));
        let Some(height) = height else {
            let text = format!("transactionResult: BlockNumber is {}", result.block_number);
            return Err(NoAnswer::Failed(text));
        };
        let url = format!("/api/blockChain/merklePathByTransactionId?transactionId={}", hex(id));
        let body = self.web.get(&url, MAX_PATH_BYTES).map_err(|error| failed(&error))?;
        let path: MerklePath = parse(&body, "merklePathByTransactionId")?;
        let steps = path.merkle_path_nodes.len();
        if steps > MAX_STEPS {
            return Err(NoAnswer::Failed(format!("a path of {steps} steps; expected at most {MAX_STEPS}")));
        }
        let step = |node: &MerklePathNode| {
            let hash = read_hash(&node.hash)
                .ok_or_else(|| NoAnswer::Failed(format!("{:?} is no hash", shorten(&node.hash, 80))))?;
            Ok(Step { hash, left: node.is_left_child_node })
        };
        let path = path.merkle_path_nodes.iter().map(step).collect::<Result<_, NoAnswer>>()?;
        Ok(Answer::Transaction { height: Height(height), part: Transaction::Aelf(AelfPart { id, path }) })
    }
}

impl Answers for NodeAnswers {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        if question.chain() != self.chain {
            return Err(NoAnswer::Unsupported);
        }
        // No other length is an AElf transaction's.
        let id = Hash(question.id().try_into().map_err(|_| NoAnswer::Unknown)?);
        let now = Self { web: self.web.for_an_answer(), chain: self.chain };
        match question {
            Question::Transaction { .. } => now.transaction(id),
            Question::Record { .. } => now.result(id).map(|(body, _)| Answer::Record(body)),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, NoAnswer> {
    serde_json::from_slice(body).map_err(|error| NoAnswer::Failed(format!("{what}: {error}")))
}

fn failed(error: &WebError) -> NoAnswer {
    match error {
        // AElf: not found, and no transaction's id.
        WebError::Status { text, .. } if text.contains("\"20001\"") || text.contains("\"20004\"") => {
            NoAnswer::Unknown
        }
        _ => NoAnswer::Failed(error.to_string()),
    }
}

/// AElf's API has no `0x`.
fn hex(hash: Hash) -> String {
    hash.to_string().trim_start_matches("0x").to_owned()
}

fn read_hash(text: &str) -> Option<Hash> {
    format!("0x{}", text.trim_start_matches("0x")).parse().ok()
}

/// As many as a proof may have.
const MAX_STEPS: usize = 32;
const MAX_PATH_BYTES: u64 = 64 << 10;
