//! What the live view reads of the API's answers. Tolerant: what a node of another version leaves out is shown as not
//! known, and what it says besides is not looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// All that was asked for, at one moment.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct Sample {
    /// `GET /v1/status`
    pub status: Status,
    /// `GET /v1/stats`; `None` of a node that does not answer it.
    pub stats: Option<Stats>,
    /// `GET /v1/chains`, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chains: Option<Vec<Chain>>,
    /// `GET /v1/peers`, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
    /// `GET /v1/headers`, newest first, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<Block>>,
    /// `GET /v1/chains/{id}/history` of the chain that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<(u64, Vec<Change>)>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub version: String,
    pub main_chain: Value,
    pub head: Option<Head>,
    pub first_block: u64,
    pub chains: u64,
    pub side_blocks: u64,
    pub uptime_ms: u64,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    pub height: u64,
    pub hash: String,
    pub time: u64,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub time: u64,
    pub uptime_ms: u64,
    pub head: Option<Head>,
    pub side_blocks: u64,
    #[serde(deserialize_with = "or_default")]
    pub rate: Rate,
    #[serde(deserialize_with = "or_default")]
    pub latency: Latency,
    #[serde(deserialize_with = "or_default")]
    pub stages: Vec<Stage>,
    /// Chains by state.
    #[serde(deserialize_with = "or_default")]
    pub chains: BTreeMap<String, u64>,
    pub sessions: u64,
    pub memory_bytes: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub disk: Disk,
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<Second>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rate {
    pub side_blocks: f64,
    pub main_blocks: f64,
    pub bytes: f64,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "as the API names them")]
pub(super) struct Latency {
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stage {
    pub name: String,
    pub threads: u64,
    /// Share of the last ten seconds, 0 to 1.
    pub busy: f64,
    pub queue: u64,
    pub capacity: u64,
    pub unit: String,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Disk {
    pub used_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
}

/// What was in one second.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Second {
    pub time: u64,
    pub side_blocks: f64,
    pub main_blocks: f64,
    pub p99_ms: Option<f64>,
    pub waiting: Option<f64>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "as the API names them")]
pub(super) struct Chain {
    pub chain_id: u64,
    pub chain: String,
    pub name: String,
    pub received: u64,
    pub durable: u64,
    #[serde(deserialize_with = "or_default")]
    pub status: Why,
    pub tip: Option<u64>,
    pub lag_blocks: Option<u64>,
    pub lag_seconds: Option<f64>,
    pub rate: Option<f64>,
    pub last_block: Option<u64>,
    pub speaker: Option<String>,
    pub speaker_address: Option<String>,
    pub speaker_software: Option<String>,
}

/// How a chain is doing.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Why {
    pub state: String,
    pub reason: Option<String>,
    pub text: String,
    pub next: Option<String>,
    pub since: Option<u64>,
}

/// A change of a chain's status.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub time: u64,
    pub state: String,
    pub reason: Option<String>,
    pub text: String,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Peer {
    pub session: u64,
    pub key: String,
    pub address: String,
    pub software: String,
    pub since: u64,
    pub chains: u64,
    pub speaks_for: u64,
    pub blocks: u64,
    pub bytes: u64,
    pub behind: Option<u64>,
    pub rtt_us: u64,
    pub memory_bytes: u64,
}

/// A main header.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    pub height: u64,
    pub time: u64,
    pub chain_count: u64,
    pub leaf_count: u64,
    pub side_root: String,
    pub state_root: String,
}

/// A page of chains.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Chains {
    pub chains: Vec<Chain>,
    pub next: Option<u64>,
}

/// A page of sessions.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Peers {
    pub peers: Vec<Peer>,
    pub next: Option<u64>,
}

/// A page of headers.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Headers {
    pub headers: Vec<Block>,
}

/// What a chain was before.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    pub changes: Vec<Change>,
}

impl Sample {
    /// The newest durable main block.
    pub(super) fn head(&self) -> Option<&Head> {
        self.stats.as_ref().and_then(|stats| stats.head.as_ref()).or(self.status.head.as_ref())
    }
}

impl Stats {
    /// The stage that limits the others: the one that is busy for most of the time. `None` of a node that says nothing
    /// of its stages.
    pub(super) fn bottleneck(&self) -> Option<&Stage> {
        self.stages.iter().max_by(|a, b| a.busy.total_cmp(&b.busy))
    }
}

/// What is not known yet, as latency of a node that has just started, is `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}
