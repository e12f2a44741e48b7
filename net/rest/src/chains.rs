//! Side chains and their indexed blocks.

use serde::{Deserialize, Serialize};
use verify::chain::{ChainId, Hash, Height, Timestamp};

use crate::NodeKey;
#[cfg(feature = "openapi")]
use crate::schema;
use crate::status::Progress;

/// A page of side chains, by ascending id: `GET /v1/chains`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chains {
    /// The chains.
    pub chains: Vec<SideChain>,
    /// What to pass as `after` for the next page; null on the last one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::ChainId>))]
    pub next: Option<ChainId>,
}

/// A side chain: `GET /v1/chains/{id}`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SideChain {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainId))]
    pub chain_id: ChainId,
    /// Its id as people know it: four base58 letters, or the number where there are none.
    pub chain: String,
    /// Its name.
    pub name: String,
    /// The first height that is indexed.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub first_height: Height,
    /// When a block of it is final.
    pub finality: Finality,
    /// The keys of the nodes that may send its blocks.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<schema::NodeKey>))]
    pub nodes: Vec<NodeKey>,
    /// The newest height that was received.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub received: Height,
    /// The newest height that is final.
    #[serde(rename = "final")]
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub finalized: Height,
    /// The newest height that is indexed and stored for good.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub durable: Height,
    /// The node that speaks for the chain now, if one is connected.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::NodeKey>))]
    pub speaker: Option<NodeKey>,
    /// The last contradiction that a node of the chain sent.
    pub evidence: Option<String>,
    /// How it is doing; none of an older node.
    #[serde(flatten)]
    pub progress: Option<Progress>,
}

/// How many nodes of a chain must agree before a block counts as irreversible.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Finality {
    /// One node's word is final.
    Single,
}

/// An indexed side block: `GET /v1/chains/{id}/blocks/{height}`.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IndexedBlock {
    /// The id of its chain.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainId))]
    pub chain_id: ChainId,
    /// The same as people know it.
    pub chain: String,
    /// Its height.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub height: Height,
    /// Its hash, as its own chain makes it.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
    /// The root over its transactions.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub tx_root: Hash,
    /// When it was made, by its own chain.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
    /// The main block that holds it.
    pub indexed_in: IndexedIn,
}

/// The main block that holds a side block.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IndexedIn {
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
