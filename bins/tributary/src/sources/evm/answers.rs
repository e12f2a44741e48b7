//! Answers about single transactions: the way from one to its block's header, made of what the node says and checked
//! before it is told on.
//!
//! An id is a transaction hash. What is answered has the transaction and its receipt, both: the transaction's bytes hash
//! to the id, so that whoever reads the proof sees which receipt is proven.
//!
//! # What is checked
//! The header hashes to the block's hash, the transactions hash to its transactions root, the receipts to its receipts
//! root, the transaction to the id; and the block is irreversible by the same rule as for sending.

use alloy_consensus::transaction::TxEip4844;
use alloy_consensus::{EthereumTxEnvelope, Header};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, keccak256};
use engine::chain::{Hash, Height};
use engine::proof::{EvmPart, Transaction};
use engine::source::{Answer, Answers, NoAnswer, Question};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::header::{Block, quantity};
use super::receipts;
use super::rpc::{self, CallError, Rpc};
use super::{EvmConfig, Finality, Quantity, trie};
use crate::sources::shorten;

/// Receipts asked for in one request, where the node does not give those of a whole block.
const RECEIPTS_AT_ONCE: usize = 100;

/// Asks the node that the source reads. Each question takes some calls.
pub(super) struct EvmAnswers {
    rpc: Rpc,
    finality: Finality,
}

impl EvmAnswers {
    pub(super) fn new(config: &EvmConfig, rpc: Rpc) -> Self {
        Self { rpc, finality: config.finality }
    }

    fn transaction(&self, id: &[u8]) -> Result<Answer, NoAnswer> {
        let place = self.place(id)?;
        let newest = self.newest_final()?;
        let number = place.block_number;
        if number > newest {
            return Err(NoAnswer::NotYet(format!(
                "block {number} is not irreversible yet; the newest one that is, is {newest}"
            )));
        }
        let whole = self.call("eth_getBlockByNumber", &format!("[\"{number:#x}\",true]"))?;
        let whole =
            whole.ok_or_else(|| failed("the node has no block of the number that a receipt names"))?;
        let (block, header, list) = Block::parse(&whole, Some(number)).map_err(|error| failed(&error))?;
        if block.hash.0 != place.block_hash.0 {
            return Err(NoAnswer::NotYet(format!(
                "block {number} was reorganised while it was asked for; ask again"
            )));
        }
        let index = place.transaction_index;
        let transactions = transactions(list, &header)?;
        let here = usize::try_from(index).ok().and_then(|index| transactions.get(index));
        if here.is_none_or(|bytes| keccak256(bytes).as_slice() != id) {
            return Err(failed(&format!("transaction {index} of block {number} is another one")));
        }
        let hashes: Vec<B256> = transactions.iter().map(keccak256).collect();
        let receipts = self.receipts(&block, &hashes)?;
        // It is the place of one of them.
        let at = index as usize;
        let (root, transaction) = trie::proven(&transactions, at);
        debug_assert_eq!(root, header.transactions_root);
        let receipt = (at < receipts.len()).then(|| trie::proven(&receipts, at).1);
        let receipt = receipt.ok_or_else(|| failed("the block has fewer receipts than transactions"))?;
        let part = EvmPart {
            header: alloy_rlp::encode(&header),
            index: u32::try_from(index).map_err(|_| failed("a block with more than 2^32 transactions"))?,
            transaction: Some(transaction),
            receipt: Some(receipt),
        };
        Ok(Answer::Transaction { height: Height(number), part: Transaction::Evm(part) })
    }

    /// Where the node says that a transaction is.
    fn place(&self, id: &[u8]) -> Result<Place, NoAnswer> {
        // What has another length is the hash of nothing.
        let hash = B256::try_from(id).map_err(|_| NoAnswer::Unknown)?;
        let Some(receipt) = self.call("eth_getTransactionReceipt", &format!("[\"{hash}\"]"))? else {
            return match self.call("eth_getTransactionByHash", &format!("[\"{hash}\"]"))? {
                Some(_) => Err(NoAnswer::NotYet("the transaction is in no block yet".into())),
                None => Err(NoAnswer::Unknown),
            };
        };
        serde_json::from_str(receipt.get())
            .map_err(|error| failed(&format!("a receipt is malformed: {}", shorten(&error.to_string(), 200))))
    }

    fn newest_final(&self) -> Result<u64, NoAnswer> {
        match self.finality {
            Finality::Tag => {
                let block = self.call("eth_getBlockByNumber", r#"["finalized",false]"#)?;
                let none = || NoAnswer::NotYet("the node knows no finalized block".into());
                Ok(Block::check(&block.ok_or_else(none)?, None, false)
                    .map_err(|error| failed(&error))?
                    .number)
            }
            Finality::Confirmations(count) => {
                let latest = self.call("eth_blockNumber", "[]")?;
                let latest = latest.and_then(|latest| serde_json::from_str::<Quantity>(latest.get()).ok());
                Ok(latest.ok_or_else(|| failed("eth_blockNumber gives no number"))?.0.saturating_sub(count))
            }
        }
    }

    /// The bytes of a block's receipts, checked against its header.
    fn receipts(&self, block: &Block, hashes: &[B256]) -> Result<Vec<Vec<u8>>, NoAnswer> {
        let all = match self.rpc.call("eth_getBlockReceipts", &format!("[\"{:#x}\"]", block.number)) {
            Ok(list) => {
                let list = list.ok_or_else(|| failed("the node has pruned the receipts"))?;
                serde_json::from_str::<Vec<Box<RawValue>>>(list.get())
                    .map_err(|_| failed("eth_getBlockReceipts gives no list"))?
            }
            Err(CallError::Rpc(error)) if error.no_such_method() => self.receipts_one_by_one(hashes)?,
            Err(error) => return Err(failed(&error)),
        };
        let (encoded, _) = receipts::encoded(all.iter().map(AsRef::as_ref), block.receipts_root)
            .map_err(|error| failed(&error))?;
        Ok(encoded)
    }

    fn receipts_one_by_one(&self, hashes: &[B256]) -> Result<Vec<Box<RawValue>>, NoAnswer> {
        let mut all = Vec::with_capacity(hashes.len());
        for some in hashes.chunks(RECEIPTS_AT_ONCE) {
            let params = some.iter().map(|hash| format!("[\"{hash}\"]"));
            let body = self.rpc.post(&rpc::batch("eth_getTransactionReceipt", params));
            let body = body.map_err(|error| failed(&error))?;
            let replies = rpc::replies(&body, some.len()).map_err(|(_, error)| failed(&error))?;
            for reply in replies {
                all.push(reply.ok_or_else(|| failed("the node has pruned a receipt"))?.to_owned());
            }
        }
        Ok(all)
    }

    fn record(&self, id: &[u8]) -> Result<Answer, NoAnswer> {
        let hash = B256::try_from(id).map_err(|_| NoAnswer::Unknown)?;
        let record = self.call("eth_getTransactionByHash", &format!("[\"{hash}\"]"))?;
        Ok(Answer::Record(record.ok_or(NoAnswer::Unknown)?.get().as_bytes().to_vec()))
    }

    fn call(&self, method: &str, params: &str) -> Result<Option<Box<RawValue>>, NoAnswer> {
        self.rpc.call(method, params).map_err(|error| failed(&format!("{method}: {error}")))
    }
}

impl Answers for EvmAnswers {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        let now = Self { rpc: self.rpc.for_an_answer(), finality: self.finality };
        match question {
            Question::Transaction { id, .. } => now.transaction(id),
            Question::Record { id, .. } => now.record(id),
        }
    }
}

/// What is needed of a receipt before it is checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    block_hash: B256,
    #[serde(deserialize_with = "quantity")]
    block_number: u64,
    #[serde(deserialize_with = "quantity")]
    transaction_index: u64,
}

/// The bytes of a block's transactions, checked against its header.
fn transactions(list: Option<&RawValue>, header: &Header) -> Result<Vec<Vec<u8>>, NoAnswer> {
    let list = list.ok_or_else(|| failed("the block has no list of transactions"))?;
    let list = serde_json::from_str::<Vec<&RawValue>>(list.get());
    let list = list.map_err(|_| failed("the block has no list of transactions"))?;
    let encoded = list.iter().enumerate().map(|(index, transaction)| {
        let parsed = serde_json::from_str::<EthereumTxEnvelope<TxEip4844>>(transaction.get());
        let parsed = parsed.map_err(|error| {
            let why = shorten(&error.to_string(), 200);
            failed(&format!(
                "transaction {index} of the block is of a type that cannot be encoded here: {why}"
            ))
        })?;
        Ok(parsed.encoded_2718())
    });
    let encoded = encoded.collect::<Result<Vec<_>, NoAnswer>>()?;
    let root = alloy_trie::root::ordered_trie_root_encoded(&encoded);
    if root != header.transactions_root {
        let stated = Hash(header.transactions_root.0);
        return Err(failed(&format!(
            "the transactions hash to {}, but the header says {stated}",
            Hash(root.0)
        )));
    }
    Ok(encoded)
}

fn failed(why: &(impl ToString + ?Sized)) -> NoAnswer {
    NoAnswer::Failed(why.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::chain::ChainId;
    use engine::proof::{Claim, ProvenBlock};
    use serde_json::json;

    use super::super::EvmSource;
    use super::super::fake::FakeNode;
    use super::*;

    const CHAIN: ChainId = ChainId(9);

    fn ask(node: &FakeNode, change: impl FnOnce(&mut EvmConfig), id: &[u8]) -> Result<Answer, NoAnswer> {
        let mut config = EvmConfig { timeout: Duration::from_secs(20), ..EvmConfig::new(CHAIN, node.url()) };
        change(&mut config);
        let answers = EvmSource::new(config).unwrap().answers();
        answers.answer(&Question::Transaction { chain: CHAIN, id: id.to_vec() })
    }

    fn id(node: &FakeNode, block: usize, position: usize) -> B256 {
        *node.state().blocks[block].transactions[position].tx_hash()
    }

    fn why(asked: Result<Answer, NoAnswer>) -> String {
        match asked {
            Err(NoAnswer::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_transaction_is_proven_with_its_receipt_whichever_way_the_node_gives_them() {
        let node = FakeNode::new(8);
        for by_block in [true, false] {
            node.state().block_receipts = by_block;
            for (number, position) in [(1, 0), (3, 0), (3, 2), (6, 1)] {
                let id = id(&node, number, position);
                let answer = ask(&node, |_| (), id.as_slice()).unwrap();
                let Answer::Transaction { height, part } = answer else { panic!("{answer:?}") };
                assert_eq!(height, Height(number as u64));
                let tx_root = Hash(node.state().blocks[number].header.receipts_root.0);
                let block = ProvenBlock { height, hash: node.hash(height.0), tx_root };
                let claim = part.verify(CHAIN, &block).unwrap();
                let Claim::Evm { index, transaction, receipt } = claim else { panic!("{claim:?}") };
                assert_eq!(index as usize, position);
                assert_eq!(keccak256(transaction.unwrap()), id);
                let expected = node.state().blocks[number].receipts[position].encoded_2718();
                assert_eq!(receipt.unwrap(), expected);
                assert!(part.verify(CHAIN, &ProvenBlock { hash: Hash::ZERO, ..block }).is_err());
            }
        }
    }

    #[test]
    fn what_is_not_there_or_not_irreversible_is_said_so() {
        let node = FakeNode::new(8);
        assert_eq!(ask(&node, |_| (), &[7; 32]), Err(NoAnswer::Unknown));
        assert_eq!(ask(&node, |_| (), &[7; 31]), Err(NoAnswer::Unknown));
        let id = id(&node, 6, 0);
        node.state().finalized = Some(5);
        assert!(matches!(ask(&node, |_| (), id.as_slice()), Err(NoAnswer::NotYet(_))));
        let confirmed = |config: &mut EvmConfig| config.finality = Finality::Confirmations(2);
        assert!(ask(&node, confirmed, id.as_slice()).is_ok());
        let unconfirmed = |config: &mut EvmConfig| config.finality = Finality::Confirmations(3);
        assert!(matches!(ask(&node, unconfirmed, id.as_slice()), Err(NoAnswer::NotYet(_))));
    }

    #[test]
    fn what_the_node_forges_is_not_told_on() {
        let node = FakeNode::new(8);
        let id = id(&node, 3, 0);
        let asked = || ask(&node, |_| (), id.as_slice());
        node.state().edits.insert(3, |block| block["gasUsed"] = json!("0x1"));
        assert!(why(asked()).contains("header hashes to"));
        node.state().edits.insert(3, |block| {
            let list = block["transactions"].as_array_mut().unwrap();
            list.swap(0, 1);
        });
        assert!(why(asked()).contains("the transactions hash to"));
        node.state().edits.insert(3, |block| block["transactions"][1]["type"] = json!("0x7e"));
        assert!(why(asked()).contains("transaction 1 of the block is of a type"));
        node.state().edits.clear();
        let last = node.state().blocks[3].receipts.pop();
        assert!(why(asked()).contains("the receipts hash to"));
        node.state().blocks[3].receipts.extend(last);
        assert!(asked().is_ok());
    }
}
