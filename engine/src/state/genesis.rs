//! The genesis document: who the main chain is and which side chains it indexes from the start.
//!
//! TOML, strict: unknown keys are refused. Its hash is SHA-256 of the file's bytes; it stands in the parent of
//! block 1 and in the data directory, so a log can never be continued under another document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::chain::{ChainId, Hash, Height, NodeKey};
use crate::quorum::FinalityRule;

/// A validated genesis document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The main chain.
    pub main: MainChain,
    /// The side chains, by ascending id.
    pub chains: Vec<SideChain>,
    /// SHA-256 of the document's bytes.
    pub hash: Hash,
}

/// `[main]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MainChain {
    /// Id of the main chain; no side chain may have it.
    pub id: ChainId,
    /// A name for people.
    pub name: String,
    /// Whether headers carry `aelf_root`.
    #[serde(default)]
    pub aelf_root: bool,
}

/// `[[chain]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideChain {
    /// Id of the side chain.
    pub id: ChainId,
    /// A name for people.
    pub name: String,
    /// The first height that is indexed; at least 1.
    #[serde(default = "first")]
    pub first_height: Height,
    /// Public keys of the nodes that may speak for it.
    pub nodes: Vec<NodeKey>,
    /// When a block is final.
    #[serde(default)]
    pub finality: FinalityRule,
}

const fn first() -> Height {
    Height(1)
}

/// What is wrong with a side chain.
pub(super) struct Wrong {
    /// Which field.
    pub(super) field: &'static str,
    /// What it says.
    pub(super) value: String,
    /// What would be right.
    pub(super) expected: &'static str,
}

impl SideChain {
    /// Whether it can be, whatever other chains there are.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let wrong = |field, value, expected| Err(Wrong { field, value, expected });
        if self.name.is_empty() {
            return wrong("name", "\"\"".into(), "is empty: give the chain a name");
        }
        if self.first_height == Height(0) || self.first_height > Height::MAX {
            let expected = "is no height: expected 1 (the first block of a chain) to 9223372036854775807";
            return wrong("first_height", self.first_height.to_string(), expected);
        }
        if self.nodes.is_empty() {
            let expected = "names no node: list at least one key, as `tributary keys show` prints it";
            return wrong("nodes", "[]".into(), expected);
        }
        let mut keys = BTreeSet::new();
        if let Some(twice) = self.nodes.iter().find(|node| !keys.insert(**node)) {
            return wrong("nodes", twice.to_string(), "is listed twice: list each key once");
        }
        Ok(())
    }
}

/// What is wrong with a genesis document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// It is not TOML of the right shape.
    #[error("{0}")]
    Syntax(String),
    /// A value cannot be.
    #[error("{key}: {value} {expected}")]
    Value {
        /// Which key.
        key: String,
        /// What it says.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    main: MainChain,
    #[serde(default)]
    chain: Vec<SideChain>,
}

impl Genesis {
    /// Reads and validates a document.
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        let document: Document = toml::from_str(text)
            .map_err(|error| GenesisError::Syntax(error.to_string().trim_end().to_owned()))?;
        let Document { main, mut chain } = document;
        let wrong = |key: String, value: String, expected| Err(GenesisError::Value { key, value, expected });
        if main.name.is_empty() {
            return wrong("main.name".into(), "\"\"".into(), "is empty: give the chain a name");
        }
        let mut seen = BTreeSet::from([main.id]);
        for (position, side) in chain.iter().enumerate() {
            let key = |field: &str| format!("chain[{position}].{field}");
            if !seen.insert(side.id) {
                return wrong(key("id"), side.id.to_string(), "is taken: every chain needs an id of its own");
            }
            if let Err(Wrong { field, value, expected }) = side.check() {
                return wrong(key(field), value, expected);
            }
        }
        chain.sort_by_key(|side| side.id);
        let hash = Hash(Sha256::digest(text.as_bytes()).into());
        Ok(Self { main, chains: chain, hash })
    }

    /// Writes a document that [`Genesis::parse`] reads back to the same chains.
    pub fn document(main: &MainChain, chains: &[SideChain]) -> String {
        let document = Document { main: main.clone(), chain: chains.to_vec() };
        toml::to_string(&document).expect("a genesis document has no map with keys that are not texts")
    }

    /// The side chain with this id.
    pub fn chain(&self, id: ChainId) -> Option<&SideChain> {
        self.chains.binary_search_by_key(&id, |side| side.id).ok().map(|position| &self.chains[position])
    }
}
