//! How values stand in the vector files: hashes and bytes in hex without 0x, chains by number or name.

use engine::aelf::chain_id;
use engine::chain::{ChainId, Hash};
use engine::merkle::path::Step;
use mainstem_engine as engine;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Removes what only tells where a value is from or why.
pub(crate) fn strip_remarks(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for remark in ["source", "test", "kind", "note", "rule"] {
                fields.remove(remark);
            }
            fields.values_mut().for_each(strip_remarks);
        }
        Value::Array(values) => values.iter_mut().for_each(strip_remarks),
        _ => {}
    }
}

/// Reads a part of a file; anything unknown in it is an error.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    let shown = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| {
        panic!("unknown form: {error}: {}", shown.chars().take(2000).collect::<String>())
    })
}

/// Bytes in hex.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        const_hex::decode(&text).map(Self).map_err(|error| D::Error::custom(format!("{text}: {error}")))
    }
}

/// A hash in hex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HexHash(pub(crate) Hash);

impl<'de> Deserialize<'de> for HexHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Hex::deserialize(deserializer)?.0;
        let length = bytes.len();
        let bytes = bytes.try_into().map_err(|_| D::Error::custom(format!("a hash of {length} bytes")))?;
        Ok(Self(Hash(bytes)))
    }
}

pub(crate) fn hashes(all: &[HexHash]) -> Vec<Hash> {
    all.iter().map(|hash| hash.0).collect()
}

/// A step of a path.
#[derive(Clone, Copy, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathNode {
    hash: HexHash,
    is_left_child_node: bool,
}

pub(crate) fn steps(path: &[PathNode]) -> Vec<Step> {
    path.iter().map(|node| Step { hash: node.hash.0, left: node.is_left_child_node }).collect()
}

/// A chain, by its number or by AElf's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chain(pub(crate) ChainId);

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u32),
            Name(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(ChainId(number))),
            Form::Name(name) => {
                let id = chain_id::parse(&name).filter(|_| name.len() == 4);
                id.map(Self).ok_or_else(|| D::Error::custom(format!("{name} is no chain")))
            }
        }
    }
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The leaves 0.. of a tree by a rule in words.
pub(crate) fn leaves(rule: &str, count: u64) -> Vec<Hash> {
    match rule {
        "sha256(ascii decimal)" | "leaf[i] = sha256(ascii decimal of i)" => {
            (0..count).map(|index| sha256(index.to_string())).collect()
        }
        _ => panic!("unknown leaf rule: {rule}"),
    }
}

/// The number before `word` in a text such as "257 blocks each".
pub(crate) fn number_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<_> = text.split_whitespace().collect();
    let at = words.iter().position(|part| part.trim_end_matches(',') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

/// The chains in a text such as "... chains 2112,2113,2114, all ...".
pub(crate) fn chains_in(text: &str) -> Option<Vec<ChainId>> {
    let (_, list) = text
        .split_once("chains ")
        .filter(|(before, _)| !before.ends_with("three "))
        .or_else(|| text.split_once("three chains "))?;
    let list = list.split_whitespace().next()?.trim_end_matches(',');
    list.split(',').map(chain_id::parse).collect()
}

/// The status root that AElf's tests give to all blocks of the `index`-th of several chains.
pub(crate) fn fake_root(index: usize) -> Hash {
    sha256(format!("fakeMerkleTreeRoot{}", index + 1))
}
