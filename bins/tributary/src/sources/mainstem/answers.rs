//! Answers about what another Mainstem has indexed: its own proofs, which go on here.
//!
//! An id is `chain_id u32` of a chain that it indexes, little-endian, and then either a `height u64`, little-endian: the
//! block of that height; or, of any other length than eight bytes, what that chain knows a transaction by. If that chain is
//! a Mainstem too, that is again such an id; so 64 bytes reach eight levels down to a transaction of 32 bytes.
//!
//! The proof that is asked for ends in the header of the main block that has indexed the block, not in a later one: that
//! header is the block whose height is answered.

use engine::chain::{ChainId, Height};
use engine::proof::{Document, Nested, Transaction};
use engine::source::{Answer, Answers, NoAnswer, Question};

use super::api::{Api, ApiError};

/// Asks the node that the source reads.
pub(super) struct ChildAnswers {
    api: Api,
    chain: ChainId,
}

impl ChildAnswers {
    pub(super) fn new(api: Api, chain: ChainId) -> Self {
        Self { api, chain }
    }

    fn transaction(&self, id: &[u8]) -> Result<Answer, NoAnswer> {
        let (chain, rest) = id.split_first_chunk::<4>().ok_or(NoAnswer::Unknown)?;
        let chain = ChainId(u32::from_le_bytes(*chain));
        if rest.is_empty() {
            return Err(NoAnswer::Unknown);
        }
        let path = if let Some(height) = rest.as_array::<8>() {
            format!("/v1/proofs/{}/{}", chain.0, u64::from_le_bytes(*height))
        } else {
            format!("/v1/proofs/tx/{}/{}", chain.0, alloy_primitives::hex::encode_prefixed(rest))
        };
        let document = self.api.for_an_answer().proof(&path).map_err(none)?;
        // Whoever asks verifies again, and more. But a node that is wrong should be known here, where it can be mended.
        document.verify().map_err(|error| NoAnswer::Failed(format!("its proof does not verify: {error}")))?;
        let (nested, header) = match document {
            Document::Block(proof) => {
                let header = proof.header;
                (Nested::Block(proof), header)
            }
            Document::Transaction(proof) => {
                let header = proof.block.header;
                (Nested::Transaction(proof), header)
            }
            other => {
                return Err(NoAnswer::Failed(format!("the node answered with a {} proof", other.kind())));
            }
        };
        if header.chain_id != self.chain {
            let (got, expected) = (header.chain_id, self.chain);
            return Err(NoAnswer::Failed(format!("its proof is of main chain {got}, not of {expected}")));
        }
        let (height, part): (Height, _) = (header.height, Transaction::Mainstem(Box::new(nested)));
        Ok(Answer::Transaction { height, part })
    }
}

impl Answers for ChildAnswers {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        match question {
            Question::Transaction { id, .. } => self.transaction(id),
            Question::Record { .. } => Err(NoAnswer::Unsupported),
        }
    }
}

/// What the node's refusal is here.
fn none(error: ApiError) -> NoAnswer {
    match error {
        ApiError::Refused { kind, detail, .. } => match kind.as_str() {
            "unknown-chain" | "unknown-transaction" | "invalid-parameter" => NoAnswer::Unknown,
            "not-indexed" | "not-yet" => NoAnswer::NotYet(detail),
            "unsupported" => NoAnswer::Unsupported,
            _ => NoAnswer::Failed(detail),
        },
        other => NoAnswer::Failed(other.to_string()),
    }
}
