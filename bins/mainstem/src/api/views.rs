//! What the API answers with, as it stands in JSON. `docs/api.md` describes it.

use std::fmt::Display;

use engine::chain::{ChainId, Hash, Height, MainHeader, NodeKey, Timestamp};
use engine::lane::Lane;
use engine::quorum::FinalityRule;
use serde::Serialize;

/// `GET /v1/status`
#[derive(Serialize, Debug)]
pub(super) struct Status {
    pub version: &'static str,
    pub main_chain: MainChain,
    pub head: Option<Head>,
    /// The oldest main block that is kept.
    pub first_block: Height,
    pub chains: usize,
    pub side_blocks: u64,
    pub node_key: NodeKey,
    pub ingest_addr: String,
    pub uptime_ms: u64,
}

#[derive(Serialize, Debug)]
pub(super) struct MainChain {
    pub chain_id: ChainId,
    pub chain: String,
    pub name: String,
    pub genesis_hash: Hash,
}

#[derive(Serialize, Debug)]
pub(super) struct Head {
    pub height: Height,
    pub hash: Hash,
    pub time: Timestamp,
}

/// `GET /v1/chains`
#[derive(Serialize, Debug)]
pub(super) struct Chains {
    pub chains: Vec<SideChain>,
    /// What to pass as `after` for the next page.
    pub next: Option<ChainId>,
}

/// `GET /v1/chains/{id}`
#[derive(Serialize, Debug)]
pub(super) struct SideChain {
    pub chain_id: ChainId,
    pub chain: String,
    pub name: String,
    pub first_height: Height,
    pub finality: FinalityRule,
    pub nodes: Vec<NodeKey>,
    pub received: Height,
    #[serde(rename = "final")]
    pub finalized: Height,
    pub durable: Height,
    pub speaker: Option<NodeKey>,
    pub evidence: Option<String>,
}

impl SideChain {
    /// A side chain as the genesis names it and its lane stands.
    pub(super) fn new(side: &engine::state::SideChain, lane: &Lane) -> Self {
        let cursors = lane.cursors();
        Self {
            chain_id: side.id,
            chain: side.id.to_string(),
            name: side.name.clone(),
            first_height: side.first_height,
            finality: side.finality,
            nodes: side.nodes.clone(),
            received: Height(cursors.received),
            finalized: Height(cursors.finalized),
            durable: Height(cursors.indexed),
            speaker: lane.speaker(),
            evidence: lane.evidence().map(|refusal| refusal.to_string()),
        }
    }
}

/// `GET /v1/chains/{id}/blocks/{height}`
#[derive(Serialize, Debug)]
pub(super) struct IndexedBlock {
    pub chain_id: ChainId,
    pub chain: String,
    pub height: Height,
    pub hash: Hash,
    pub tx_root: Hash,
    pub time: Timestamp,
    pub indexed_in: IndexedIn,
}

/// The main block that holds a side block.
#[derive(Serialize, Debug)]
pub(super) struct IndexedIn {
    pub height: Height,
    pub hash: Hash,
    pub time: Timestamp,
}

/// `GET /v1/blocks/{height|latest}`
#[derive(Serialize, Debug)]
pub(super) struct MainBlock {
    pub hash: Hash,
    pub header: MainHeader,
    pub chains: Vec<ChainPart>,
}

/// A chain's part of a main block.
#[derive(Serialize, Debug)]
pub(super) struct ChainPart {
    pub chain_id: ChainId,
    pub chain: String,
    pub first_height: Height,
    pub count: u32,
    pub chain_root: Hash,
}

/// `POST /v1/verify`
#[derive(Serialize, Debug)]
pub(super) struct Verdict {
    pub kind: &'static str,
    pub verified: bool,
    pub reason: Option<String>,
    pub header_hash: Option<Hash>,
    pub trusted: Option<Trusted>,
}

impl Verdict {
    /// Of a proof that is wrong in itself.
    pub(super) fn refused(kind: &'static str, reason: impl Display) -> Self {
        Self { kind, verified: false, reason: Some(reason.to_string()), header_hash: None, trusted: None }
    }
}

/// The header that a proof ends in.
#[derive(Serialize, Debug)]
pub(super) struct Trusted {
    pub height: Height,
    pub hash: Hash,
}
