//! Transactions and receipts of EVM chains: the block's header, and the Merkle-Patricia tries that it commits to.

use alloc::vec::Vec;

use alloy_primitives::keccak256;
use alloy_rlp::{Decodable as _, EMPTY_LIST_CODE, EMPTY_STRING_CODE, Header};
use alloy_trie::Nibbles;
use alloy_trie::nodes::{RlpNode, TrieNode};

use crate::chain::Hash;
use crate::proof::{Claim, EvmPart, ProvenBlock, VerifyError};

/// Why a header or the nodes of a trie do not lead to what they should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrieError {
    /// No header of an EVM chain.
    #[error("no header of an EVM chain: {0}")]
    Header(alloy_rlp::Error),
    /// A node that does not follow from the one above it, or the first one from the root.
    #[error("node {node} is not the one that {} names", if *.node == 0 { "the root" } else { "the node above it" })]
    Node {
        /// Which node.
        node: usize,
    },
    /// No node of a trie.
    #[error("node {node}: {error}")]
    Rlp {
        /// Which node.
        node: usize,
        /// What is wrong with it.
        error: alloy_rlp::Error,
    },
    /// A node that has a shorter or another form: each has exactly one.
    #[error("node {node}: expected {expected}")]
    Form {
        /// Which node.
        node: usize,
        /// What would be right.
        expected: &'static str,
    },
    /// The trie has nothing under the key.
    #[error("node {node}: nothing stands at this index")]
    Nothing {
        /// Which node says so.
        node: usize,
    },
    /// The nodes end before the value.
    #[error("{given} nodes do not reach the value")]
    TooFew {
        /// How many are given.
        given: usize,
    },
    /// Nodes are left over.
    #[error("{given} nodes, of which {used} lead to the value; expected no other")]
    TooMany {
        /// How many are given.
        given: usize,
        /// How many are used.
        used: usize,
    },
}

impl EvmPart {
    /// Checks that this leads to `block`.
    pub(crate) fn verify(&self, block: &ProvenBlock) -> Result<Claim, VerifyError> {
        let (field, got) = ("header length", self.header.len() as u64);
        if self.header.len() > Self::MAX_HEADER_BYTES {
            return Err(VerifyError::Value { field, got, expected: "at most 4096 bytes" });
        }
        let same = |field, got, root, expected| {
            if got == expected { Ok(()) } else { Err(VerifyError::Root { field, got, root, expected }) }
        };
        same("header", Hash(keccak256(&self.header).0), "block.hash", block.hash)?;
        let header = BlockHeader::decode(&self.header)
            .map_err(|error| VerifyError::Evm { field: "header", error: TrieError::Header(error) })?;
        if header.number != block.height.0 {
            let (field, got, other) = ("header number", header.number, "block.height");
            return Err(VerifyError::Differs { field, got, other, expected: block.height.0 });
        }
        same("header receipts root", header.receipts_root, "block.tx_root", block.tx_root)?;
        if self.transaction.is_none() && self.receipt.is_none() {
            let (field, expected) = ("transaction and receipt", "at least one of them");
            return Err(VerifyError::Value { field, got: 0, expected });
        }
        let value = |field, nodes: &Option<Vec<Vec<u8>>>, root| {
            let Some(nodes) = nodes else { return Ok(None) };
            if !(1..=Self::MAX_NODES).contains(&nodes.len()) {
                let got = nodes.len() as u64;
                return Err(VerifyError::Value { field, got, expected: "1 to 32 nodes" });
            }
            walk(root, self.index, nodes).map(Some).map_err(|error| VerifyError::Evm { field, error })
        };
        Ok(Claim::Evm {
            index: self.index,
            transaction: value("transaction", &self.transaction, header.transactions_root)?,
            receipt: value("receipt", &self.receipt, header.receipts_root)?,
        })
    }
}

/// What is needed of a header.
struct BlockHeader {
    transactions_root: Hash,
    receipts_root: Hash,
    number: u64,
}

impl BlockHeader {
    /// Reads the RLP of a header. Strict about RLP and the first fifteen fields, which all forks have; what later forks have
    /// added may be anything: the hash commits to it.
    fn decode(mut bytes: &[u8]) -> alloy_rlp::Result<Self> {
        let header = Header::decode(&mut bytes)?;
        if !header.list {
            return Err(alloy_rlp::Error::UnexpectedString);
        }
        if header.payload_length != bytes.len() {
            return Err(alloy_rlp::Error::UnexpectedLength);
        }
        let mut fields = Fields(bytes);
        let _parent: [u8; 32] = fields.fixed()?;
        let _ommers: [u8; 32] = fields.fixed()?;
        let _beneficiary: [u8; 20] = fields.fixed()?;
        let _state_root: [u8; 32] = fields.fixed()?;
        let transactions_root = Hash(fields.fixed()?);
        let receipts_root = Hash(fields.fixed()?);
        let _bloom: [u8; 256] = fields.fixed()?;
        let _difficulty = fields.bytes()?;
        let number = u64::decode(&mut fields.0)?;
        let _gas_limit = fields.bytes()?;
        let _gas_used = fields.bytes()?;
        let _time = fields.bytes()?;
        let _extra = fields.bytes()?;
        let _mix: [u8; 32] = fields.fixed()?;
        let _nonce: [u8; 8] = fields.fixed()?;
        while !fields.0.is_empty() {
            let item = Header::decode(&mut fields.0)?;
            fields.0 = fields.0.get(item.payload_length..).ok_or(alloy_rlp::Error::InputTooShort)?;
        }
        Ok(Self { transactions_root, receipts_root, number })
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self) -> alloy_rlp::Result<&'a [u8]> {
        Header::decode_bytes(&mut self.0, false)
    }

    fn fixed<const N: usize>(&mut self) -> alloy_rlp::Result<[u8; N]> {
        self.bytes()?.try_into().map_err(|_| alloy_rlp::Error::UnexpectedLength)
    }
}

/// The value at `rlp(index)` in the trie under `root`. Each of `nodes`, root first, is used, and none is left over.
fn walk(root: Hash, index: u32, nodes: &[Vec<u8>]) -> Result<Vec<u8>, TrieError> {
    let mut key = Nibbles::unpack(alloy_rlp::encode(index));
    // What the next node must be: its hash as RLP, or, of less than 32 bytes, itself.
    let mut expected = RlpNode::word_rlp(&root.0.into());
    let mut used = 0;
    // Each turn but for an extension's shortens the key, which has at most 10 nibbles; and an extension of nothing is refused.
    loop {
        let embedded;
        let (number, bytes) = if expected.is_hash() {
            let Some(given) = nodes.get(used) else { return Err(TrieError::TooFew { given: nodes.len() }) };
            // The root is hashed whatever its length; of all others, what is shorter than a hash is embedded.
            let right = if used == 0 {
                RlpNode::word_rlp(&keccak256(given)) == expected
            } else {
                RlpNode::from_rlp(given) == expected
            };
            if !right {
                return Err(TrieError::Node { node: used });
            }
            used += 1;
            (used - 1, &given[..])
        } else {
            embedded = expected;
            (used.saturating_sub(1), &embedded[..])
        };
        let mut rest = bytes;
        let node = TrieNode::decode(&mut rest).map_err(|error| TrieError::Rlp { node: number, error })?;
        if !rest.is_empty() {
            return Err(TrieError::Rlp { node: number, error: alloy_rlp::Error::UnexpectedLength });
        }
        canonical(&node, bytes).map_err(|expected| TrieError::Form { node: number, expected })?;
        let nothing = TrieError::Nothing { node: number };
        expected = match node {
            TrieNode::EmptyRoot => return Err(nothing),
            TrieNode::Leaf(leaf) => {
                if leaf.key != key {
                    return Err(nothing);
                }
                if used != nodes.len() {
                    return Err(TrieError::TooMany { given: nodes.len(), used });
                }
                return Ok(leaf.value);
            }
            TrieNode::Extension(extension) => {
                if extension.key.is_empty() || !key.starts_with(&extension.key) {
                    return Err(nothing);
                }
                key = key.slice(extension.key.len()..);
                extension.child
            }
            TrieNode::Branch(branch) => {
                let Some(nibble) = key.first() else { return Err(nothing) };
                key = key.slice(1..);
                let branch = branch.as_ref();
                let child =
                    branch.children().find(|(place, _)| *place == nibble).and_then(|(_, child)| child);
                child.ok_or(nothing)?.clone()
            }
        };
    }
}

/// That a node is written as any trie has it, down to the slots beside the way: of two verifiers none may take what the other
/// refuses. What is wrong otherwise, as what would be right.
fn canonical(node: &TrieNode, bytes: &[u8]) -> Result<(), &'static str> {
    let right = match node {
        TrieNode::EmptyRoot => true,
        TrieNode::Leaf(leaf) => {
            if leaf.value.is_empty() {
                return Err("a leaf with a value");
            }
            true
        }
        TrieNode::Extension(extension) => is_named(&extension.child),
        TrieNode::Branch(branch) => branch.stack.iter().all(is_named),
    };
    if !right {
        return Err("each child by its hash of 32 bytes, or itself, a list of less than 32 bytes");
    }
    // What reading passes over, the padding of a hex-prefix for one, shows when it is written again.
    if alloy_rlp::encode(node) != bytes {
        return Err("its one canonical form");
    }
    Ok(())
}

/// Whether a child is its hash, or itself, shorter than that.
fn is_named(child: &RlpNode) -> bool {
    match child[..] {
        [first, ..] if first == EMPTY_STRING_CODE + 32 => child.len() == 33,
        [first, ..] => first >= EMPTY_LIST_CODE && child.len() < 32,
        [] => false,
    }
}
