//! What the endpoint answers with, as it stands in JSON. `docs/tributary.md` describes it.

use engine::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
use engine::proof::ChainProof;
use net::client::{ChainState, ChainStatus, ConnectionState};
use serde::Serialize;

use crate::keep::{Evidence, Gap, Indexed};

/// `GET /v1/status`
#[derive(Serialize, Debug)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) connection: Connection,
    pub(super) main_chain: Option<MainChain>,
    /// The newest durable main block that the main chain has told of.
    pub(super) head: Option<Head>,
    pub(super) kept: Kept,
    pub(super) chains: Vec<SideChain>,
    /// What the main chain said against itself, newest last.
    pub(super) evidence: Vec<Evidence>,
}

#[derive(Serialize, Debug)]
pub(super) struct Connection {
    pub(super) state: &'static str,
    pub(super) address: Option<String>,
    pub(super) since_ms: Option<u64>,
    /// Why there is none.
    pub(super) reason: Option<String>,
}

impl From<&ConnectionState> for Connection {
    fn from(state: &ConnectionState) -> Self {
        let (name, address, since, reason) = match state {
            ConnectionState::Connecting => ("connecting", None, None, None),
            ConnectionState::Connected { address, since } => {
                ("connected", Some(address.to_string()), Some(since.elapsed().as_millis() as u64), None)
            }
            ConnectionState::Waiting { reason } => ("waiting", None, None, Some(reason.to_string())),
            ConnectionState::Stopped { reason } => ("stopped", None, None, Some(reason.clone())),
        };
        Self { state: name, address, since_ms: since, reason }
    }
}

#[derive(Serialize, Debug)]
pub(super) struct MainChain {
    pub(super) chain_id: ChainId,
    pub(super) chain: String,
    pub(super) genesis_hash: Hash,
}

impl From<(ChainId, Hash)> for MainChain {
    fn from((chain_id, genesis_hash): (ChainId, Hash)) -> Self {
        Self { chain_id, chain: chain_id.to_string(), genesis_hash }
    }
}

#[derive(Serialize, Debug)]
pub(super) struct Head {
    pub(super) height: Height,
    pub(super) hash: Hash,
    pub(super) time: Timestamp,
}

impl From<&MainHeader> for Head {
    fn from(header: &MainHeader) -> Self {
        Self { height: header.height, hash: header.hash(), time: header.time }
    }
}

/// Which headers there are.
#[derive(Serialize, Debug)]
pub(super) struct Kept {
    pub(super) first: Option<Height>,
    pub(super) last: Option<Height>,
    pub(super) headers: u64,
    /// Main blocks in between that were pruned before they came.
    pub(super) gaps: Vec<Gap>,
    /// Why the main chain's blocks do not come at the moment.
    pub(super) error: Option<String>,
}

#[derive(Serialize, Debug)]
pub(super) struct SideChain {
    pub(super) chain_id: ChainId,
    pub(super) chain: String,
    pub(super) state: &'static str,
    /// Newest height handed to the connection, or received by the main chain before.
    pub(super) sent: Height,
    /// Newest height that the main chain has stored for good.
    pub(super) durable: Height,
    /// Newest irreversible height that the source has, as far as it says.
    pub(super) tip: Option<Height>,
    /// Newest height of which is kept which main block indexed it.
    pub(super) indexed: Option<Height>,
    pub(super) error: Option<String>,
}

impl SideChain {
    pub(super) fn new(status: &ChainStatus, indexed: Option<Height>) -> Self {
        let state = match status.state {
            ChainState::Offline => "offline",
            ChainState::Speaking => "speaker",
            ChainState::Standby => "standby",
            ChainState::Refused(_) => "refused",
            ChainState::Stopped => "stopped",
        };
        Self {
            chain_id: status.chain,
            chain: status.chain.to_string(),
            state,
            sent: status.sent,
            durable: status.durable,
            tip: status.tip,
            indexed,
            error: status.error.clone(),
        }
    }
}

/// `GET /v1/headers/{height|latest}`
#[derive(Serialize, Debug)]
pub(super) struct Header {
    pub(super) hash: Hash,
    pub(super) header: MainHeader,
}

impl From<MainHeader> for Header {
    fn from(header: MainHeader) -> Self {
        Self { hash: header.hash(), header }
    }
}

/// `GET /v1/headers`
#[derive(Serialize, Debug)]
pub(super) struct Headers {
    pub(super) headers: Vec<Header>,
    /// What to pass as `from` for the next page.
    pub(super) next: Option<Height>,
}

/// `GET /v1/chains/{chain}/indexed/{height}`
#[derive(Serialize, Debug)]
pub(super) struct IndexedIn {
    pub(super) hash: Hash,
    pub(super) header: MainHeader,
    pub(super) proof: ChainProof,
}

/// `GET /v1/chains/{chain}/indexed`
#[derive(Serialize, Debug)]
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    /// What to pass as `from` for the next page.
    pub(super) next: Option<Height>,
}

#[derive(Serialize, Debug)]
pub(super) struct Part {
    pub(super) main_height: Height,
    pub(super) first_height: Height,
    pub(super) count: u32,
}

impl From<&Indexed> for Part {
    fn from(indexed: &Indexed) -> Self {
        let ChainProof { first_height, count, .. } = indexed.proof;
        Self { main_height: indexed.main_height, first_height, count }
    }
}

/// `POST /v1/verify`
#[derive(Serialize, Debug)]
pub(super) struct Verdict {
    pub(super) verified: bool,
    pub(super) reason: Option<String>,
    /// The header that the block is under.
    pub(super) header_hash: Option<Hash>,
    /// The kept header that the proof ends in.
    pub(super) trusted: Option<Trusted>,
}

#[derive(Serialize, Debug)]
pub(super) struct Trusted {
    pub(super) height: Height,
    pub(super) hash: Hash,
}
