//! Who is connected, and who was refused.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use verify::chain::{ChainId, Height, Timestamp};

use crate::NodeKey;
#[cfg(feature = "openapi")]
use crate::schema;

/// The nodes that are connected: `GET /v1/peers`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peers {
    /// The sessions, oldest first.
    pub peers: Vec<Peer>,
    /// What to pass as `after` for the next page; null on the last one.
    pub next: Option<u64>,
}

/// A session.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Its number, counted from 1 since the node started.
    pub session: u64,
    /// The registered key.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::NodeKey))]
    pub key: NodeKey,
    /// The key that it has shown: another one if that stands for the registered one.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::NodeKey))]
    pub presented: NodeKey,
    /// Where it comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: SocketAddr,
    /// What the node says of itself; empty before its hello.
    pub software: String,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub since: Timestamp,
    /// Chains that it named.
    pub chains: usize,
    /// Chains that it speaks for; for the others it stands by, or was refused.
    pub speaks_for: usize,
    /// Bytes of frames that it sent.
    pub bytes: u64,
    /// Frames that it sent.
    pub frames: u64,
    /// Side blocks that it sent.
    pub blocks: u64,
    /// When its last frame came.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::Timestamp>))]
    pub last_frame: Option<Timestamp>,
    /// Blocks that its sources have and that are not durable here, of the chains it speaks for; if it has told.
    pub behind: Option<u64>,
    /// Round-trip time of the connection, in microseconds.
    pub rtt_us: u64,
    /// What it may send ahead of our reading.
    pub window_bytes: u64,
    /// What is set aside for frames that it is sending.
    pub memory_bytes: u64,
    /// What was refused to it last.
    pub last_refusal: Option<Refused>,
}

/// What was refused to a session last.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refused {
    /// Of which chain; null: the whole connection.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::ChainId>))]
    pub chain_id: Option<ChainId>,
    /// The same as people know it.
    pub chain: Option<String>,
    /// Why, by its name in the protocol.
    pub code: String,
    /// Why, in words.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
}

/// A session and its chains: `GET /v1/peers/{session}`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeerChains {
    /// The session.
    pub peer: Peer,
    /// By ascending id.
    pub chains: Vec<ChainOfPeer>,
    /// What to pass as `after` for the next page; null on the last one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::ChainId>))]
    pub next: Option<ChainId>,
}

/// Where a chain stands in a session.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainOfPeer {
    /// The id of the chain.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainId))]
    pub chain_id: ChainId,
    /// The same as people know it.
    pub chain: String,
    /// `speaker`, `standby`, `left`, or the code of a refusal.
    pub state: String,
    /// The newest height that was received.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub received: Height,
    /// The newest height that is durable.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub durable: Height,
    /// The highest height that it may send.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub limit: Height,
    /// The newest height of its source, if it has told.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::Height>))]
    pub tip: Option<Height>,
    /// Blocks from `durable` to `tip`.
    pub behind: Option<u64>,
}

/// The last refusal of each key: `GET /v1/refusals`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusals {
    /// The last one of each key, newest first.
    pub refusals: Vec<Refusal>,
}

/// The last refusal of a key.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// The key that was shown.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::NodeKey))]
    pub key: NodeKey,
    /// Whether the operator knows the key: it is registered, stands for one that is, or was revoked.
    pub registered: bool,
    /// When it was refused last.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
    /// Where it came from.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: SocketAddr,
    /// How often the key was refused anything.
    pub count: u64,
    /// What was refused.
    #[serde(flatten)]
    pub last: Refused,
}
