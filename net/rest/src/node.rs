//! The node itself.

use serde::{Deserialize, Serialize};
use verify::chain::{ChainId, Hash, Height, Timestamp};

use crate::NodeKey;
#[cfg(feature = "openapi")]
use crate::schema;

/// The main chain, its head, this node: `GET /v1/status`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = NodeStatus))]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// The main chain that the node keeps.
    pub main_chain: MainChain,
    /// The newest main block; null before the first one.
    pub head: Option<Head>,
    /// The oldest main block that is kept.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub first_block: Height,
    /// How many side chains are registered.
    pub chains: usize,
    /// Durable side blocks of all chains.
    pub side_blocks: u64,
    /// What nodes of side chains must know to connect.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::NodeKey))]
    pub node_key: NodeKey,
    /// Where the node takes side blocks in, over QUIC.
    pub ingest_addr: String,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
}

/// A main chain.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MainChain {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainId))]
    pub chain_id: ChainId,
    /// Its id as people know it: four base58 letters, or the number where there are none.
    pub chain: String,
    /// Its name.
    pub name: String,
    /// Hash of the genesis document.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub genesis_hash: Hash,
}

/// A main block, in short.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Head {
    /// Its height.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub height: Height,
    /// Hash of its header.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
    /// When it was sealed.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
}
