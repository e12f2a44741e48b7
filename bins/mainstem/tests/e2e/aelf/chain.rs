//! A side chain of AElf, made up: its blocks follow from its id, and its node answers about their transactions as AElf's
//! HTTP API does. The tree is written down once more here, word for word as AElf has it.

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::proof::{AelfPart, Transaction as Part};
use engine::source::{Answer, Answers, NoAnswer, Question, Source, SourceError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A chain of so many blocks, the first at height 1.
#[derive(Clone, Copy)]
pub(super) struct AelfChain {
    pub(super) id: ChainId,
    pub(super) blocks: u64,
}

/// A transaction: in which block, and as the how many-th there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Transaction {
    pub(super) height: u64,
    pub(super) index: u64,
}

/// From the leaf up: sibling, and whether it stands on the left.
pub(super) type Path = Vec<([u8; 32], bool)>;

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

impl AelfChain {
    pub(super) fn transactions(height: u64) -> u64 {
        1 + height % 6
    }

    pub(super) fn hash(self, height: u64) -> [u8; 32] {
        sha256(&[b"block", &self.id.to_le_bytes(), &height.to_le_bytes()])
    }

    pub(super) fn transaction_id(self, Transaction { height, index }: Transaction) -> [u8; 32] {
        sha256(&[b"transaction", &self.id.to_le_bytes(), &height.to_le_bytes(), &index.to_le_bytes()])
    }

    /// The fourth transaction of a block fails.
    pub(super) fn is_mined(Transaction { index, .. }: Transaction) -> bool {
        index != 3
    }

    fn leaves(self, height: u64) -> Vec<[u8; 32]> {
        let leaf = |index| {
            let transaction = Transaction { height, index };
            let status = if Self::is_mined(transaction) { "Mined" } else { "Failed" };
            sha256(&[&self.transaction_id(transaction), status.as_bytes()])
        };
        (0..Self::transactions(height)).map(leaf).collect()
    }

    pub(super) fn tx_root(self, height: u64) -> [u8; 32] {
        tree(self.leaves(height), 0).0
    }

    pub(super) fn path(self, transaction: Transaction) -> Path {
        tree(self.leaves(transaction.height), transaction.index as usize).1
    }

    fn find(self, id: &[u8]) -> Option<Transaction> {
        let all = (1..=self.blocks).flat_map(|height| {
            (0..Self::transactions(height)).map(move |index| Transaction { height, index })
        });
        all.into_iter().find(|transaction| self.transaction_id(*transaction) == id)
    }

    /// What AElf's `transactionResult` says.
    pub(super) fn record(self, transaction: Transaction) -> Value {
        let Transaction { height, .. } = transaction;
        let params = json!({
            "to": "2n5aZW1uShDjDeBhGb2PYUQMnYMexGUVvDFz9WW8uq8MYd7yge", "symbol": "ELF", "amount": "100",
            "memo": "over", "toChainId": 9_992_731, "issueChainId": 9_992_731,
        });
        json!({
            "TransactionId": const_hex::encode(self.transaction_id(transaction)),
            "Status": if Self::is_mined(transaction) { "MINED" } else { "FAILED" },
            "Logs": [],
            "Bloom": "",
            "BlockNumber": height,
            "BlockHash": const_hex::encode(self.hash(height)),
            "Transaction": {
                "From": "2n5aZW1uShDjDeBhGb2PYUQMnYMexGUVvDFz9WW8uq8MYd7yge",
                "To": "7RzVGiuVWkvL4VfVHdZfQF2Tri3sgLe9U991bohHFfSRZXuGX",
                "RefBlockNumber": height - 1,
                "RefBlockPrefix": "",
                "MethodName": "CrossChainTransfer",
                "Params": params.to_string(),
                "Signature": "",
            },
            "ReturnValue": "",
            "Error": null,
            "TransactionSize": 0,
        })
    }
}

/// Root of a tree and the path of one of its leaves: append the last to an odd row, hash pairs.
pub(super) fn tree(mut row: Vec<[u8; 32]>, mut index: usize) -> ([u8; 32], Path) {
    let mut path = Vec::new();
    loop {
        if row.len() % 2 == 1 {
            row.push(row[row.len() - 1]);
        }
        path.push((row[index ^ 1], index % 2 == 1));
        row = row.chunks(2).map(|pair| sha256(&[&pair[0], &pair[1]])).collect();
        index /= 2;
        if row.len() == 1 {
            return (row[0], path);
        }
    }
}

/// The chain's blocks, to be sent.
pub(super) struct Blocks {
    pub(super) chain: AelfChain,
    pub(super) next: u64,
}

impl Source for Blocks {
    fn chains(&self) -> Vec<ChainId> {
        vec![self.chain.id]
    }

    fn resume(&mut self, _: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        self.next = next.0;
        Ok(())
    }

    fn read(&mut self, _: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let parent = Hash(self.chain.hash(self.next - 1));
        let end = self.chain.blocks.min(self.next - 1 + max as u64);
        for height in self.next..=end {
            let time = Timestamp::from_millis(1_700_000_000_000 + height * 500);
            out.push(Hash(self.chain.hash(height)), Hash(self.chain.tx_root(height)), time);
        }
        self.next = end + 1;
        Ok(parent)
    }
}

/// What a source may get wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    None,
    /// Paths lead elsewhere, and records name another block.
    About(Transaction),
}

/// The chain's node, to be asked.
pub(super) struct Node {
    pub(super) chain: AelfChain,
    pub(super) lies: Lies,
}

impl Answers for Node {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        if question.chain() != self.chain.id {
            return Err(NoAnswer::Unsupported);
        }
        let transaction = self.chain.find(question.id()).ok_or(NoAnswer::Unknown)?;
        let lie = self.lies == Lies::About(transaction);
        match question {
            Question::Record { .. } => {
                let mut record = self.chain.record(transaction);
                if lie {
                    record["BlockHash"] = const_hex::encode([7; 32]).into();
                }
                Ok(Answer::Record(record.to_string().into_bytes()))
            }
            // As a node says that has no path of a failed transaction.
            Question::Transaction { .. } if !AelfChain::is_mined(transaction) => Err(NoAnswer::Unknown),
            Question::Transaction { .. } => {
                let path = self
                    .chain
                    .path(transaction)
                    .into_iter()
                    .map(|(hash, left)| engine::merkle::path::Step { hash: Hash(hash), left: left != lie });
                let id = Hash(self.chain.transaction_id(transaction));
                let part = Part::Aelf(AelfPart { id, path: path.collect() });
                Ok(Answer::Transaction { height: Height(transaction.height), part })
            }
        }
    }
}
