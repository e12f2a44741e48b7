//! What a side chain's first block is made of: read from a file once, and given to side nodes that begin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aelf::acs7::{
    ChainInitializationConsensusInfo, ChainInitializationData, ChainPrimaryTokenInfo, ResourceTokenInfo,
    SideChainTokenInitialIssue,
};
use engine::chain::ChainId;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use sha2::{Digest as _, Sha256};

use crate::sources::shorten;

/// Why a file of initialization data is refused.
#[derive(Debug, thiserror::Error)]
#[error("--initialization {}: {why}", path.display())]
pub struct InitializationError {
    path: PathBuf,
    why: String,
}

/// The file: TOML, or JSON of the same form. Bytes are hex with `0x`, addresses AElf's text form or such bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The side chain.
    chain: ChainId,
    /// Who asked for it.
    creator: Address,
    /// When it was created, in milliseconds since 1970.
    creation_time_ms: u64,
    /// The first main block that the side chain indexes.
    creation_height_on_parent_chain: i64,
    /// Whether only its creator may deploy contracts.
    #[serde(default)]
    creator_privilege_preserved: bool,
    /// The main chain's token contract, as the side chain's contracts know it.
    parent_token_contract: Option<Address>,
    /// `MinerListWithRoundNumber` or the like, as the consensus contract reads it.
    initial_consensus_data: Bytes,
    /// `TokenInfo` of the native token, as the token contract reads it.
    native_token_info: Bytes,
    resource_tokens: Option<Resources>,
    primary_token: Option<PrimaryToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    /// As the token contract reads it.
    token_list: Bytes,
    /// Rented at first, by symbol.
    #[serde(default)]
    initial_amounts: BTreeMap<String, i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrimaryToken {
    /// As the token contract reads it.
    info: Bytes,
    #[serde(default)]
    initial_issues: Vec<Issue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issue {
    address: Address,
    amount: i64,
}

/// Reads and checks a file.
pub(super) fn read(path: &Path, chain: ChainId) -> Result<ChainInitializationData, InitializationError> {
    let refuse = |why: String| InitializationError { path: path.to_owned(), why };
    let length = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(refuse(format!("{length} bytes; expected at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    parse(&text, chain).map_err(refuse)
}

fn parse(text: &str, chain: ChainId) -> Result<ChainInitializationData, String> {
    let document: Document = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(text).map_err(|error| error.to_string())?
    };
    if document.chain != chain {
        return Err(format!("chain is {}; expected {chain}, as --chain says", document.chain));
    }
    let height = document.creation_height_on_parent_chain;
    if height < FIRST_CREATION_HEIGHT {
        return Err(format!(
            "creation_height_on_parent_chain is {height}; expected {FIRST_CREATION_HEIGHT} or more: AElf side chains \
             that were created earlier never register their parent"
        ));
    }
    if let Some((symbol, amount)) =
        document.resource_tokens.iter().flat_map(|all| &all.initial_amounts).find(|(_, amount)| **amount < 0)
    {
        return Err(format!("resource_tokens.initial_amounts.{symbol} is {amount}; expected 0 or more"));
    }
    let issues = document.primary_token.iter().flat_map(|token| &token.initial_issues);
    if let Some(issue) = issues.into_iter().find(|issue| issue.amount <= 0) {
        return Err(format!("primary_token.initial_issues: amount is {}; expected 1 or more", issue.amount));
    }
    let time = document.creation_time_ms;
    Ok(ChainInitializationData {
        chain_id: chain.0.cast_signed(),
        creator: Some(document.creator.into()),
        creation_timestamp: Some(aelf::Timestamp {
            seconds: (time / 1_000).cast_signed(),
            nanos: (time % 1_000) as i32 * 1_000_000,
        }),
        creation_height_on_parent_chain: height,
        chain_creator_privilege_preserved: document.creator_privilege_preserved,
        parent_chain_token_contract_address: document.parent_token_contract.map(Into::into),
        chain_initialization_consensus_info: Some(ChainInitializationConsensusInfo {
            initial_consensus_data: document.initial_consensus_data.0,
        }),
        native_token_info_data: document.native_token_info.0,
        resource_token_info: document.resource_tokens.map(|all| ResourceTokenInfo {
            resource_token_list_data: all.token_list.0,
            initial_resource_amount: all.initial_amounts,
        }),
        chain_primary_token_info: document.primary_token.map(|token| ChainPrimaryTokenInfo {
            chain_primary_token_data: token.info.0,
            side_chain_token_initial_issue_list: token.initial_issues.into_iter().map(Into::into).collect(),
        }),
    })
}

/// 32 bytes; as text, AElf's form: base58 of them and of the first 4 bytes of their double SHA-256.
struct Address([u8; 32]);

impl From<Address> for aelf::Address {
    fn from(address: Address) -> Self {
        Self { value: address.0.to_vec() }
    }
}

impl From<Issue> for SideChainTokenInitialIssue {
    fn from(issue: Issue) -> Self {
        Self { address: Some(issue.address.into()), amount: issue.amount }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        read_address(&text).map(Self).ok_or_else(|| {
            let text = shorten(&text, 100);
            D::Error::custom(format!(
                "{text:?} is no address; expected AElf's text form, or 0x and 64 hex digits"
            ))
        })
    }
}

fn read_address(text: &str) -> Option<[u8; 32]> {
    if text.starts_with("0x") {
        return const_hex::decode_to_array(text).ok();
    }
    // Longer ones cannot be right, and take quadratic time.
    let bytes = bs58::decode(Some(text).filter(|text| text.len() <= 64)?).into_vec().ok()?;
    let (address, check) = bytes.split_first_chunk::<32>()?;
    (Sha256::digest(Sha256::digest(address))[..4] == *check).then_some(*address)
}

/// As text, hex with `0x`.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.strip_prefix("0x").and_then(|digits| const_hex::decode(digits).ok());
        bytes.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{:?} is no bytes; expected 0x and hex digits", shorten(&text, 40)))
        })
    }
}

/// A side node takes no message above 4 MiB, and bytes have two digits each.
const MAX_BYTES: u64 = 4 << 20;
/// An AElf chain's view of all chains needs a parent height above 1, and begins one below the creation height.
const FIRST_CREATION_HEIGHT: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
chain = "tDVV"
creator = "2DZER7qHVwv3PUMFsHuQaQbE4wDFsCRzJsxLwYEk8rgM3HVn1S"
creation_time_ms = 1700000000123
creation_height_on_parent_chain = 10
initial_consensus_data = "0x0a0b"
native_token_info = "0x"

[resource_tokens]
token_list = "0x01"
initial_amounts = { CPU = 4, RAM = 8 }

[primary_token]
info = "0x02"
initial_issues = [{ address = "0xa0349382b89d5f207276f0983a041e5a113134b897888e39991c5b59de230d16", amount = 7 }]
"#;

    const TDVV: ChainId = ChainId(1_866_392);

    #[test]
    fn toml_and_json_mean_the_same() {
        let data = parse(TOML, TDVV).unwrap();
        let address =
            const_hex::decode("a0349382b89d5f207276f0983a041e5a113134b897888e39991c5b59de230d16").unwrap();
        assert_eq!(data.creator.as_ref().unwrap().value, address);
        let time = data.creation_timestamp.as_ref().unwrap();
        assert_eq!((time.seconds, time.nanos), (1_700_000_000, 123_000_000));
        assert_eq!(
            data.chain_initialization_consensus_info.as_ref().unwrap().initial_consensus_data,
            [10, 11]
        );
        assert_eq!(data.resource_token_info.as_ref().unwrap().initial_resource_amount["RAM"], 8);
        let token = data.chain_primary_token_info.as_ref().unwrap();
        let issue = &token.side_chain_token_initial_issue_list[0];
        assert_eq!((&issue.address.as_ref().unwrap().value, issue.amount), (&address, 7));

        let value: toml::Value = toml::from_str(TOML).unwrap();
        assert_eq!(parse(&serde_json::to_string(&value).unwrap(), TDVV).unwrap(), data);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, part) in [
            ("chain = \"tDVV\"", "chain = \"tDVW\"", "expected tDVV"),
            ("= 10", "= 2", "creation_height_on_parent_chain is 2"),
            ("\"0x0a0b\"", "\"0a0b\"", "is no bytes"),
            ("creator = \"2D", "creator = \"3D", "is no address"),
            ("RAM = 8", "RAM = -8", "initial_amounts.RAM is -8"),
            ("amount = 7", "amount = 0", "amount is 0"),
            ("[primary_token]", "[primary]", "primary"),
            ("native_token_info = \"0x\"", "", "native_token_info"),
        ] {
            let text = TOML.replacen(from, to, 1);
            assert_ne!(text, TOML);
            let error = parse(&text, TDVV).unwrap_err();
            assert!(error.contains(part), "{to}: {error}");
        }
    }

    #[test]
    fn addresses_are_those_of_aelf() {
        let file: serde_json::Value = serde_json::from_str(include_str!(
            "../../../../../engine/tests/vectors/aelf_from_tests_chain_id.json"
        ))
        .unwrap();
        for case in file["addresses_base58check"].as_array().unwrap() {
            let bytes = const_hex::decode(case["bytes_hex"].as_str().unwrap()).unwrap();
            assert_eq!(read_address(case["address"].as_str().unwrap()).unwrap(), *bytes);
        }
        for text in file["invalid_addresses"]["values"].as_array().unwrap() {
            assert_eq!(read_address(text.as_str().unwrap()), None, "{text}");
        }
    }
}
