//! Blocks of an EVM chain, made by alloy: transactions and receipts of all types, their tries, and the header.

use alloy_consensus::{
    Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, SignableTransaction as _, TxEip1559,
    TxEnvelope, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Log, LogData, Signature, TxKind, U256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::root::adjust_index_for_rlp;
use alloy_trie::{HashBuilder, Nibbles};
use verify::chain::Hash;
use verify::proof::{BlockContent, Document, EvmPart, Transaction};

use super::accepted::{EVM, MAIN};
use super::{Section, World};

pub struct EvmBlock {
    pub header: Header,
    pub transactions: Vec<Vec<u8>>,
    pub receipts: Vec<Vec<u8>>,
}

impl EvmBlock {
    /// A block of `count` transactions; a `modern` one has the fields that later forks added.
    pub fn new(number: u64, count: usize, modern: bool) -> Self {
        let transactions: Vec<_> = (0..count).map(transaction).collect();
        let receipts: Vec<_> = (0..count).map(receipt).collect();
        let header = Header {
            parent_hash: B256::repeat_byte(0x11),
            beneficiary: Address::repeat_byte(0x22),
            state_root: B256::repeat_byte(0x33),
            transactions_root: trie(&transactions, None).0,
            receipts_root: trie(&receipts, None).0,
            number,
            gas_limit: 30_000_000,
            gas_used: 21_000 * count as u64,
            timestamp: 1_700_000_000 + number,
            extra_data: Bytes::from_static(b"sample"),
            base_fee_per_gas: modern.then_some(7),
            withdrawals_root: modern.then_some(B256::repeat_byte(0x44)),
            blob_gas_used: modern.then_some(0),
            excess_blob_gas: modern.then_some(0),
            parent_beacon_block_root: modern.then_some(B256::repeat_byte(0x55)),
            requests_hash: modern.then_some(B256::repeat_byte(0x66)),
            ..Header::default()
        };
        Self { header, transactions, receipts }
    }

    pub fn content(&self) -> BlockContent {
        BlockContent { hash: Hash(self.header.hash_slow().0), tx_root: Hash(self.header.receipts_root.0) }
    }

    pub fn part(&self, index: usize, transaction: bool, receipt: bool) -> EvmPart {
        EvmPart {
            header: alloy_rlp::encode(&self.header),
            index: index as u32,
            transaction: transaction.then(|| trie(&self.transactions, Some(index)).1),
            receipt: receipt.then(|| trie(&self.receipts, Some(index)).1),
        }
    }

    pub fn transaction(&self, index: usize, transaction: bool, receipt: bool) -> Transaction {
        Transaction::Evm(self.part(index, transaction, receipt))
    }
}

/// A receipt's proof from nodes that someone made up, of a block that has their trie.
pub fn by_hand(index: u32, nodes: Vec<Vec<u8>>) -> Document {
    let root = alloy_primitives::keccak256(&nodes[0]);
    let header = Header { receipts_root: root, ..EvmBlock::new(103, 1, true).header };
    let content = BlockContent { hash: Hash(header.hash_slow().0), tx_root: Hash(root.0) };
    let mut world = World::new(MAIN);
    world.seal(&[(EVM, Section { first: 103, blocks: vec![content] })].into());
    let header = alloy_rlp::encode(&header);
    let part = EvmPart { header, index, transaction: None, receipt: Some(nodes) };
    Document::Transaction(super::transaction(&world, Transaction::Evm(part), (EVM, 103), None))
}

/// The RLP of a string.
pub fn rlp(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

/// The RLP of a list of items.
pub fn rlp_list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    out
}

/// A branch with what stands in some of its slots; 16 is that of the value.
pub fn branch(slots: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut items = vec![vec![0x80]; 17];
    for (place, item) in slots {
        items[*place].clone_from(item);
    }
    rlp_list(&items)
}

/// The root of the trie over `values`, and the nodes that lead to one of them.
fn trie(values: &[Vec<u8>], index: Option<usize>) -> (B256, Vec<Vec<u8>>) {
    let key = |index: usize| Nibbles::unpack(alloy_rlp::encode(index));
    let mut builder =
        HashBuilder::default().with_proof_retainer(ProofRetainer::new(index.map(key).into_iter().collect()));
    for place in 0..values.len() {
        let index = adjust_index_for_rlp(place, values.len());
        builder.add_leaf(key(index), &values[index]);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    (root, nodes.into_iter().map(|(_, node)| node.to_vec()).collect())
}

fn transaction(index: usize) -> Vec<u8> {
    let to = TxKind::Call(Address::repeat_byte(index as u8));
    let (nonce, value) = (index as u64, U256::from(1000 + index));
    let signature = Signature::new(U256::from(index + 1), U256::from(index + 2), index.is_multiple_of(3));
    let envelope: TxEnvelope = if index.is_multiple_of(2) {
        let fields = TxLegacy {
            chain_id: Some(1),
            nonce,
            gas_price: 9,
            gas_limit: 21_000,
            to,
            value,
            ..TxLegacy::default()
        };
        fields.into_signed(signature).into()
    } else {
        let fields = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 9,
            to,
            value,
            input: vec![index as u8; index % 80].into(),
            ..TxEip1559::default()
        };
        fields.into_signed(signature).into()
    };
    envelope.encoded_2718()
}

fn receipt(index: usize) -> Vec<u8> {
    let log = Log {
        address: Address::repeat_byte(index as u8),
        data: LogData::new_unchecked(vec![B256::repeat_byte(0xee)], vec![index as u8; index % 70].into()),
    };
    let receipt: ReceiptWithBloom<Receipt> = Receipt {
        status: Eip658Value::Eip658(!index.is_multiple_of(5)),
        cumulative_gas_used: 21_000 * (index as u64 + 1),
        logs: vec![log; index % 3],
    }
    .into();
    match index % 5 {
        0 => ReceiptEnvelope::Legacy(receipt),
        1 => ReceiptEnvelope::Eip1559(receipt),
        2 => ReceiptEnvelope::Eip2930(receipt),
        3 => ReceiptEnvelope::Eip4844(receipt),
        _ => ReceiptEnvelope::Eip7702(receipt),
    }
    .encoded_2718()
}
