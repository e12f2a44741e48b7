//! Receipts, checked: those that the node serves hash to the receipts root of the header.
//!
//! The header's hash binds the receipts root already. This check shows that the node *has* the receipts, so that
//! transaction proofs can be made from it later.

use alloy_consensus::ReceiptEnvelope;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_trie::root::ordered_trie_root_encoded;
use engine::chain::Hash;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sources::shorten;

/// What is wrong with a block's receipts.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiptsError {
    #[error("a receipt is malformed: {0}")]
    Malformed(String),
    #[error("a receipt has type {0}, which this tributary cannot hash; run without --verify-receipts")]
    Type(String),
    #[error(
        "the receipts hash to {computed}, but the header says {stated}: transactions of the block cannot be proven"
    )]
    Root { stated: Hash, computed: Hash },
}

/// How a node writes the status of a failed transaction into the receipt that it hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailedStatus {
    /// As the number 0, `80`: as the yellow paper says, and everybody does but ganache.
    Number,
    /// As the byte 0, `00`: as ganache does.
    Byte,
}

/// Checks that the receipts, each the JSON of one, in the order of the block, hash to `stated`.
pub(super) fn check<'a>(
    receipts: impl Iterator<Item = &'a RawValue>,
    stated: Hash,
) -> Result<FailedStatus, ReceiptsError> {
    encoded(receipts, stated).map(|(_, status)| status)
}

/// The bytes of the receipts that hash to `stated`.
pub(super) fn encoded<'a>(
    receipts: impl Iterator<Item = &'a RawValue>,
    stated: Hash,
) -> Result<(Vec<Vec<u8>>, FailedStatus), ReceiptsError> {
    let mut encoded = receipts
        .map(|receipt| Ok(parse(receipt)?.encoded_2718()))
        .collect::<Result<Vec<_>, ReceiptsError>>()?;
    let computed = Hash(ordered_trie_root_encoded(&encoded).0);
    if computed == stated {
        return Ok((encoded, FailedStatus::Number));
    }
    encoded.iter_mut().for_each(|receipt| as_ganache_does(receipt));
    if ordered_trie_root_encoded(&encoded).0 == stated.0 {
        return Ok((encoded, FailedStatus::Byte));
    }
    Err(ReceiptsError::Root { stated, computed })
}

/// Rewrites the status of a failed transaction, the first item of the receipt's list.
fn as_ganache_does(receipt: &mut [u8]) {
    let typed = usize::from(receipt.first().is_some_and(|first| *first < 0x80));
    let status = match receipt.get(typed) {
        Some(0xc0..=0xf7) => typed + 1,
        Some(long @ 0xf8..) => typed + 1 + usize::from(long - 0xf7),
        _ => return,
    };
    if let Some(status @ 0x80) = receipt.get_mut(status) {
        *status = 0;
    }
}

fn parse(receipt: &RawValue) -> Result<ReceiptEnvelope, ReceiptsError> {
    serde_json::from_str(receipt.get()).map_err(|error| {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        match serde_json::from_str::<Typed>(receipt.get()) {
            Ok(Typed { kind }) if !["0x0", "0x1", "0x2", "0x3", "0x4"].contains(&kind.as_str()) => {
                ReceiptsError::Type(shorten(&kind, 20))
            }
            _ => ReceiptsError::Malformed(shorten(&error.to_string(), 200)),
        }
    })
}

#[cfg(test)]
mod tests {
    use alloy_consensus::proofs::calculate_receipt_root;
    use alloy_consensus::{Eip658Value, Receipt, TxType};
    use alloy_primitives::{B256, Log};

    use super::super::fake::receipt;
    use super::*;

    fn json(receipts: &[ReceiptEnvelope]) -> Vec<Box<RawValue>> {
        receipts.iter().map(|receipt| serde_json::value::to_raw_value(receipt).unwrap()).collect()
    }

    #[test]
    fn receipts_of_every_type_hash_to_their_root_and_no_other_does() {
        let types = [TxType::Legacy, TxType::Eip2930, TxType::Eip1559, TxType::Eip4844, TxType::Eip7702];
        // More than 128, where the order of the trie's keys is no longer that of the block.
        let mut receipts: Vec<_> = types
            .into_iter()
            .cycle()
            .take(131)
            .zip(1_u64..)
            .map(|(kind, position)| receipt(kind, position))
            .collect();
        let status = Eip658Value::PostState(B256::repeat_byte(8));
        receipts.push(ReceiptEnvelope::Legacy(
            Receipt { status, cumulative_gas_used: 7, logs: Vec::<Log>::new() }.with_bloom(),
        ));
        let root = Hash(calculate_receipt_root(&receipts).0);
        let json = json(&receipts);
        assert_eq!(check(json.iter().map(AsRef::as_ref), root).unwrap(), FailedStatus::Number);

        let short = check(json.iter().skip(1).map(AsRef::as_ref), root).unwrap_err();
        assert!(matches!(short, ReceiptsError::Root { stated, .. } if stated == root));
        check(std::iter::empty(), root).unwrap_err();
    }

    #[test]
    fn a_failed_transaction_of_ganache_is_known_by_its_status_byte() {
        // Block 1 of ganache 7.9.2 with one transaction, of type 2, that reverts. Its gas and its root.
        let root = "0x632c2c08e6343045fd6f66b4a11842bb2dd5872c4cd054a26c4baa0b92062fff".parse().unwrap();
        let failed = |gas| {
            let receipt = Receipt { status: false.into(), cumulative_gas_used: gas, logs: Vec::<Log>::new() };
            ReceiptEnvelope::from_typed(TxType::Eip1559, receipt)
        };
        let right = json(&[failed(0xcf48)]);
        assert_eq!(check(right.iter().map(AsRef::as_ref), root).unwrap(), FailedStatus::Byte);
        let wrong = json(&[failed(0xcf49)]);
        check(wrong.iter().map(AsRef::as_ref), root).unwrap_err();
    }

    #[test]
    fn a_type_of_another_family_of_chains_is_named() {
        let receipt = receipt(TxType::Eip1559, 1);
        let text = serde_json::to_string(&receipt).unwrap().replace("\"0x2\"", "\"0x7e\"");
        let raw = RawValue::from_string(text).unwrap();
        let error = check([&*raw].into_iter(), Hash::ZERO).unwrap_err();
        assert!(matches!(&error, ReceiptsError::Type(kind) if kind == "0x7e"), "{error}");
    }
}
