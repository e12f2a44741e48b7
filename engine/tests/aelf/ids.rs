//! Chain ids and addresses.

use std::collections::BTreeMap;

use engine::aelf::address::Address;
use engine::aelf::{base58, chain_id};
use engine::chain::ChainId;
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::{Hex, HexHash, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    chain_ids: Vec<Id>,
    plain_base58: Vec<PlainBase58>,
    addresses_base58check: Vec<AddressCase>,
    invalid_addresses: InvalidAddresses,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Id {
    serial: Option<String>,
    base58: String,
    #[serde(rename = "chain_id")]
    number: i32,
    chain_id_hash: Option<HexHash>,
    little_endian_bytes: Option<Hex>,
    side_chain_serial_number: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainBase58 {
    bytes_hex: Hex,
    plain_base58: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressCase {
    address: String,
    bytes_hex: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvalidAddresses {
    values: Vec<String>,
}

impl Id {
    fn check(&self, parent: Option<ChainId>) {
        let id = ChainId(self.number.cast_unsigned());
        assert_eq!(chain_id::parse(&self.base58), Some(id), "{}", self.base58);
        assert_eq!(chain_id::text(id), self.base58);
        if !self.base58.bytes().all(|byte| byte.is_ascii_digit()) {
            assert_eq!(id.to_string(), self.base58, "our own text is the same");
            assert_eq!(self.base58.parse(), Ok(id));
        }
        if let Some(serial) = &self.serial {
            // "9992732", or "chain_id(AELF)+1 = 9992732".
            let number = serial.rsplit(" = ").next().unwrap();
            assert_eq!(chain_id::of_serial(number.parse().unwrap()), id, "{serial}");
        }
        if let Some(hash) = self.chain_id_hash {
            assert_eq!(chain_id::hash(id), hash.0);
        }
        if let Some(bytes) = &self.little_endian_bytes {
            assert_eq!(id.to_le_bytes()[..3], bytes.0);
            assert_eq!(base58::encode(&bytes.0), self.base58);
        }
        assert_eq!(self.side_chain_serial_number.is_some(), parent.is_some());
        if let (Some(serial), Some(parent)) = (self.side_chain_serial_number, parent) {
            assert_eq!(chain_id::of_side_chain(parent, serial), Some(id));
        }
    }
}

pub(crate) fn run(file: Value) -> usize {
    let file: File = read(file);
    file.chain_ids.iter().for_each(|id| id.check(None));
    for case in &file.plain_base58 {
        assert_eq!(base58::encode(&case.bytes_hex.0), case.plain_base58);
        assert_eq!(base58::decode(&case.plain_base58).as_ref(), Some(&case.bytes_hex.0));
    }
    for case in &file.addresses_base58check {
        let address = Address(case.bytes_hex.0[..].try_into().unwrap());
        assert_eq!(address.to_string(), case.address);
        assert_eq!(case.address.parse(), Ok(address));
    }
    for text in &file.invalid_addresses.values {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    file.chain_ids.len()
        + file.plain_base58.len()
        + file.addresses_base58check.len()
        + file.invalid_addresses.values.len()
}

#[derive(Deserialize)]
struct Generated {
    from_serial: Vec<Id>,
    names: Vec<Id>,
    #[serde(flatten)]
    sides: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    parent_chain_id: i32,
    chains: Vec<Id>,
}

pub(crate) fn run_generated(file: Value) -> usize {
    let file: Generated = read(file);
    file.from_serial.iter().chain(&file.names).for_each(|id| id.check(None));
    let mut checks = file.from_serial.len() + file.names.len();
    for (key, sides) in file.sides {
        let name = key.strip_prefix("sides_of_").unwrap_or_else(|| panic!("unknown part {key}"));
        let sides: Sides = read(sides);
        let parent = ChainId(sides.parent_chain_id.cast_unsigned());
        assert_eq!(chain_id::parse(name), Some(parent));
        sides.chains.iter().for_each(|id| id.check(Some(parent)));
        checks += sides.chains.len();
    }
    checks
}
