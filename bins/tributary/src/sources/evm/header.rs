//! A block as a node sends it, checked: the header hashes to the block's hash.

use alloy_consensus::Header;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use engine::chain::{Hash, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::sources::shorten;

/// What is kept of a block whose header was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) hash: Hash,
    pub(super) parent: Hash,
    pub(super) receipts_root: Hash,
    pub(super) time: Timestamp,
    /// Hashes of its transactions; only when they were asked for.
    pub(super) transactions: Vec<B256>,
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockError {
    #[error("the block is malformed: {0}")]
    Malformed(String),
    #[error("asked for block {asked}, got block {got}")]
    Number { asked: u64, got: u64 },
    #[error("the timestamp {0} s does not fit")]
    Time(u64),
    #[error(
        "the header hashes to {computed}, but the node calls it {stated}: the node's data is damaged or forged"
    )]
    Hash { stated: Hash, computed: Hash },
    #[error(
        "the header hashes to {computed}, but the node calls it {stated}, and it has fields that this tributary does \
         not know ({unknown}): the node's fork is newer than this tributary"
    )]
    Newer { stated: Hash, computed: Hash, unknown: String },
}

impl Block {
    /// Reads a block from the JSON of `eth_getBlockByNumber` and checks its hash. `asked` is its number, if it was
    /// asked for by number.
    pub(super) fn check(json: &RawValue, asked: Option<u64>, transactions: bool) -> Result<Self, BlockError> {
        let (mut block, _, list) = Self::parse(json, asked)?;
        if let Some(list) = list.filter(|_| transactions) {
            block.transactions = serde_json::from_str(list.get()).map_err(malformed)?;
        }
        Ok(block)
    }

    /// The same, with the header itself and the list of transactions as it came.
    pub(super) fn parse(
        json: &RawValue,
        asked: Option<u64>,
    ) -> Result<(Self, Header, Option<&RawValue>), BlockError> {
        let block: RpcBlock<'_> = serde_json::from_str(json.get()).map_err(malformed)?;
        let number = block.number;
        if let Some(asked) = asked
            && asked != number
        {
            return Err(BlockError::Number { asked, got: number });
        }
        let millis = block.timestamp.checked_mul(1_000).ok_or(BlockError::Time(block.timestamp))?;
        let stated = Hash(block.hash.0);
        let parent = Hash(block.parent_hash.0);
        let receipts_root = Hash(block.receipts_root.0);
        let list = block.transactions;
        let header = block.into_header();
        let computed = Hash(header.hash_slow().0);
        if computed != stated {
            let unknown = unknown_fields(json);
            return Err(if unknown.is_empty() {
                BlockError::Hash { stated, computed }
            } else {
                BlockError::Newer { stated, computed, unknown: unknown.join(", ") }
            });
        }
        let time = Timestamp::from_millis(millis);
        let transactions = Vec::new();
        Ok((Self { number, hash: stated, parent, receipts_root, time, transactions }, header, list))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn malformed(error: serde_json::Error) -> BlockError {
    BlockError::Malformed(shorten(&error.to_string(), 200))
}

/// Every header field there is up to Amsterdam, and what else is used. Flat, so that a block is parsed in one go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpcBlock<'a> {
    hash: B256,
    parent_hash: B256,
    #[serde(rename = "sha3Uncles")]
    ommers_hash: B256,
    #[serde(rename = "miner")]
    beneficiary: Address,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    difficulty: U256,
    #[serde(deserialize_with = "quantity")]
    number: u64,
    #[serde(deserialize_with = "quantity")]
    gas_limit: u64,
    #[serde(deserialize_with = "quantity")]
    gas_used: u64,
    #[serde(deserialize_with = "quantity")]
    timestamp: u64,
    extra_data: Bytes,
    mix_hash: B256,
    nonce: B64,
    /// London.
    #[serde(default, deserialize_with = "maybe_quantity")]
    base_fee_per_gas: Option<u64>,
    /// Shanghai.
    withdrawals_root: Option<B256>,
    /// Cancun, with the next two.
    #[serde(default, deserialize_with = "maybe_quantity")]
    blob_gas_used: Option<u64>,
    #[serde(default, deserialize_with = "maybe_quantity")]
    excess_blob_gas: Option<u64>,
    parent_beacon_block_root: Option<B256>,
    /// Prague. Osaka adds no field.
    requests_hash: Option<B256>,
    /// Amsterdam, with the next one.
    block_access_list_hash: Option<B256>,
    #[serde(default, deserialize_with = "maybe_quantity")]
    slot_number: Option<u64>,
    #[serde(borrow)]
    transactions: Option<&'a RawValue>,
}

impl RpcBlock<'_> {
    fn into_header(self) -> Header {
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: self.ommers_hash,
            beneficiary: self.beneficiary,
            state_root: self.state_root,
            transactions_root: self.transactions_root,
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            difficulty: self.difficulty,
            number: self.number,
            gas_limit: self.gas_limit,
            gas_used: self.gas_used,
            timestamp: self.timestamp,
            extra_data: self.extra_data,
            mix_hash: self.mix_hash,
            nonce: self.nonce,
            base_fee_per_gas: self.base_fee_per_gas,
            withdrawals_root: self.withdrawals_root,
            blob_gas_used: self.blob_gas_used,
            excess_blob_gas: self.excess_blob_gas,
            parent_beacon_block_root: self.parent_beacon_block_root,
            requests_hash: self.requests_hash,
            block_access_list_hash: self.block_access_list_hash,
            slot_number: self.slot_number,
        }
    }
}

/// The names of fields that are neither of a known header nor known to stand beside one.
fn unknown_fields(json: &RawValue) -> Vec<String> {
    let Ok(fields) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json.get()) else {
        return Vec::new();
    };
    let unknown = fields.keys().filter(|name| !KNOWN.contains(&name.as_str()));
    unknown.take(8).map(|name| shorten(name, 40)).collect()
}

const KNOWN: [&str; 30] = [
    "hash",
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "blockAccessListHash",
    "slotNumber",
    // Beside the header, not in it.
    "size",
    "totalDifficulty",
    "transactions",
    "uncles",
    "withdrawals",
    "blockAccessList",
];

/// A number as JSON-RPC writes it: `0x` and hex digits.
pub(super) fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Quantity;
    impl serde::de::Visitor<'_> for Quantity {
        type Value = u64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("0x and up to 16 hex digits")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
            digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Quantity)
}

fn maybe_quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Wrapped(#[serde(deserialize_with = "quantity")] u64);
    Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Block 22,431,084 of Ethereum's main net carries every field up to Prague; here one of our own does.
    fn header() -> Header {
        Header {
            number: 7,
            gas_limit: 30_000_000,
            gas_used: 21_000,
            timestamp: 1_746_612_311,
            extra_data: Bytes::from_static(b"tributary"),
            mix_hash: B256::repeat_byte(7),
            parent_hash: B256::repeat_byte(6),
            base_fee_per_gas: Some(1_000_000_007),
            withdrawals_root: Some(B256::repeat_byte(5)),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(131_072),
            parent_beacon_block_root: Some(B256::repeat_byte(4)),
            requests_hash: Some(B256::repeat_byte(3)),
            ..Header::default()
        }
    }

    fn json(header: &Header) -> Value {
        let mut block = serde_json::to_value(header).unwrap();
        block["hash"] = json!(header.hash_slow());
        block["transactions"] = json!([B256::repeat_byte(1)]);
        block["size"] = json!("0x2ba");
        block
    }

    fn check(block: &Value) -> Result<Block, BlockError> {
        let raw = serde_json::value::to_raw_value(block).unwrap();
        Block::check(&raw, Some(7), true)
    }

    #[test]
    fn a_header_of_every_fork_hashes_to_its_hash() {
        let amsterdam = Header { block_access_list_hash: Some(B256::ZERO), slot_number: Some(9), ..header() };
        let cancun = Header { requests_hash: None, ..header() };
        let shanghai = Header {
            blob_gas_used: None,
            excess_blob_gas: None,
            parent_beacon_block_root: None,
            ..cancun.clone()
        };
        let london = Header { withdrawals_root: None, ..shanghai.clone() };
        let frontier = Header { base_fee_per_gas: None, difficulty: U256::from(17), ..london.clone() };
        for header in [amsterdam, header(), cancun, shanghai, london, frontier] {
            let block = check(&json(&header)).unwrap();
            assert_eq!(block.hash.0, header.hash_slow().0);
            assert_eq!(block.parent, Hash([6; 32]));
            assert_eq!(block.receipts_root.0, header.receipts_root.0);
            assert_eq!(block.time.as_millis(), 1_746_612_311_000);
            assert_eq!(block.transactions, [B256::repeat_byte(1)]);
        }
    }

    #[test]
    fn the_first_block_of_ethereum_hashes_to_the_hash_the_world_knows() {
        // Block 1 of Ethereum's main net, as any node serves it.
        let block = json!({
            "number": "0x1",
            "hash": "0x88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6",
            "parentHash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
            "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
            "miner": "0x05a56e2d52c817161883f50c441c3228cfe54d9f",
            "stateRoot": "0xd67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3",
            "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
            "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
            "logsBloom": format!("0x{}", "00".repeat(256)),
            "difficulty": "0x3ff800000",
            "gasLimit": "0x1388",
            "gasUsed": "0x0",
            "timestamp": "0x55ba4224",
            "extraData": "0x476574682f76312e302e302f6c696e75782f676f312e342e32",
            "mixHash": "0x969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59",
            "nonce": "0x539bd4979fef1ec4",
            "totalDifficulty": "0x7ff800000",
            "size": "0x219",
            "transactions": [],
            "uncles": []
        });
        let raw = serde_json::value::to_raw_value(&block).unwrap();
        let checked = Block::check(&raw, Some(1), false).unwrap();
        assert_eq!(checked.hash.to_string(), block["hash"]);
    }

    #[test]
    fn every_changed_header_field_is_noticed() {
        let good = json(&header());
        let names: Vec<String> = good.as_object().unwrap().keys().cloned().collect();
        for name in names.iter().filter(|name| !["transactions", "size"].contains(&name.as_str())) {
            let mut block = good.clone();
            let text = block[name].as_str().unwrap().to_owned();
            let last = if text.ends_with('1') { '2' } else { '1' };
            block[name] = json!(format!("{}{last}", &text[..text.len() - 1]));
            assert!(check(&block).is_err(), "{name}");
            block.as_object_mut().unwrap().remove(name);
            assert!(check(&block).is_err(), "{name} left out");
        }
    }

    #[test]
    fn a_header_of_a_newer_fork_is_told_by_its_unknown_fields() {
        let mut block = json(&header());
        block["fieldOfTheFuture"] = json!("0x1");
        assert!(check(&block).is_ok(), "a field beside the header does no harm");
        block["hash"] = json!(B256::repeat_byte(9));
        let error = check(&block).unwrap_err().to_string();
        assert!(error.contains("fieldOfTheFuture") && error.contains("newer than this tributary"), "{error}");
    }

    #[test]
    fn another_number_and_a_time_without_end_are_refused() {
        let other = json(&Header { number: 8, ..header() });
        assert!(matches!(check(&other), Err(BlockError::Number { asked: 7, got: 8 })));
        let late = json(&Header { timestamp: u64::MAX, ..header() });
        assert!(matches!(check(&late), Err(BlockError::Time(_))));
    }
}
