//! Fetching receipts, by block or, where the node cannot do that, one by one.

use std::time::Instant;

use alloy_trie::EMPTY_ROOT_HASH;
use engine::source::SourceError;
use serde_json::value::RawValue;

use super::EvmSource;
use super::batch::BatchSize;
use super::header::Block;
use super::receipts::{self, FailedStatus};
use super::rpc::{self, CallError};

/// What is known about the node's receipts.
#[derive(Debug)]
pub(super) struct ReceiptCalls {
    /// Whether the node has `eth_getBlockReceipts`, as far as is known.
    by_block: bool,
    blocks: BatchSize,
    transactions: BatchSize,
    /// Whether it was said that the node writes the status of failed transactions in its own way.
    byte_status: bool,
}

impl ReceiptCalls {
    /// For batches of at most `max` calls. Receipts of a block can be many, so fewer blocks are asked for at once.
    pub(super) fn new(max: u64) -> Self {
        Self {
            by_block: true,
            blocks: BatchSize::new(max.min(16)),
            transactions: BatchSize::new(max),
            byte_status: false,
        }
    }
}

impl EvmSource {
    pub(super) fn check_receipts(&mut self, blocks: &[Block]) -> Result<(), SourceError> {
        // A block without transactions has no receipts to ask for.
        let mut blocks: Vec<&Block> =
            blocks.iter().filter(|block| block.receipts_root.0 != EMPTY_ROOT_HASH.0).collect();
        while self.receipts.by_block && !blocks.is_empty() {
            const METHOD: &str = "eth_getBlockReceipts";
            let count = (self.receipts.blocks.get() as usize).min(blocks.len());
            let params = blocks[..count].iter().map(|block| format!("[\"{:#x}\"]", block.number));
            let start = Instant::now();
            let body = self.rpc.post(&rpc::batch(METHOD, params));
            let replies = match &body {
                Ok(body) => rpc::replies(body, count),
                Err(_) => Ok(Vec::new()),
            };
            let fault = match (&body, &replies) {
                (Err(error), _) => Some((None, error)),
                (_, Err((position, error))) => Some((*position, error)),
                _ => None,
            };
            match fault {
                None => {}
                Some((_, CallError::Rpc(error))) if error.no_such_method() => {
                    tracing::info!(
                        node = %self.rpc.shown(),
                        "the node has no {METHOD}; receipts are fetched one by one (eth_getTransactionReceipt)"
                    );
                    self.receipts.by_block = false;
                    break;
                }
                Some((_, error)) if count > 1 && error.may_be_the_batch() => {
                    self.receipts.blocks.refused(count as u64);
                    continue;
                }
                Some((position, error)) => {
                    let height = blocks[position.unwrap_or(0).min(count - 1)].number;
                    return Err(self.failed(METHOD, Some(height), error));
                }
            }
            self.receipts.blocks.answered(count as u64, start.elapsed());
            for (block, reply) in blocks.iter().zip(replies.unwrap_or_default()) {
                let list = reply.map(|reply| serde_json::from_str::<Vec<&RawValue>>(reply.get()));
                let Some(Ok(list)) = list else {
                    let text = "no list of receipts: the node has pruned them or is damaged";
                    return Err(self.lasting(METHOD, Some(block.number), text));
                };
                self.check_root(METHOD, block, list.into_iter())?;
            }
            blocks.drain(..count);
        }
        for block in blocks {
            self.check_receipts_one_by_one(block)?;
        }
        Ok(())
    }

    fn check_receipts_one_by_one(&mut self, block: &Block) -> Result<(), SourceError> {
        const METHOD: &str = "eth_getTransactionReceipt";
        let mut receipts: Vec<Box<RawValue>> = Vec::with_capacity(block.transactions.len());
        while let Some(rest) = block.transactions.get(receipts.len()..).filter(|rest| !rest.is_empty()) {
            let count = (self.receipts.transactions.get() as usize).min(rest.len());
            let start = Instant::now();
            let params = rest[..count].iter().map(|hash| format!("[\"{hash}\"]"));
            let body = self.rpc.post(&rpc::batch(METHOD, params));
            let replies = match &body {
                Ok(body) => rpc::replies(body, count).map_err(|(_, error)| error),
                Err(_) => Ok(Vec::new()),
            };
            let fault = body.as_ref().err().or(replies.as_ref().err());
            if let Some(error) = fault {
                if count > 1 && error.may_be_the_batch() {
                    self.receipts.transactions.refused(count as u64);
                    continue;
                }
                return Err(self.failed(METHOD, Some(block.number), error));
            }
            self.receipts.transactions.answered(count as u64, start.elapsed());
            for reply in replies.unwrap_or_default() {
                let Some(reply) = reply else {
                    let text = "null: the node has pruned the receipt or is damaged";
                    return Err(self.lasting(METHOD, Some(block.number), text));
                };
                receipts.push(reply.to_owned());
            }
        }
        self.check_root(METHOD, block, receipts.iter().map(AsRef::as_ref))
    }

    fn check_root<'a>(
        &mut self,
        method: &str,
        block: &Block,
        receipts: impl Iterator<Item = &'a RawValue>,
    ) -> Result<(), SourceError> {
        let status = receipts::check(receipts, block.receipts_root)
            .map_err(|error| self.lasting(method, Some(block.number), &error.to_string()))?;
        if status == FailedStatus::Byte && !self.receipts.byte_status {
            self.receipts.byte_status = true;
            tracing::warn!(
                node = %self.rpc.shown(),
                block = block.number,
                "the node hashes the receipt of a failed transaction with status byte 00, as ganache does, instead \
                 of 80: a proof of such a receipt must use the same bytes"
            );
        }
        Ok(())
    }
}
