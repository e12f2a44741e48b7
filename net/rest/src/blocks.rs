//! Main blocks.

use serde::{Deserialize, Serialize};
use verify::chain::{ChainId, Hash, Height, MainHeader};

#[cfg(feature = "openapi")]
use crate::schema;

/// A main block: `GET /v1/blocks/{height|latest}`.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MainBlock {
    /// Hash of the header.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
    /// What the hash is made from.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::MainHeader))]
    pub header: MainHeader,
    /// One element a chain with blocks here, in the order of the chain leaves.
    pub chains: Vec<ChainPart>,
}

/// A chain's part of a main block.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainPart {
    /// The id of the chain.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainId))]
    pub chain_id: ChainId,
    /// The same as people know it.
    pub chain: String,
    /// Height of its first block here.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub first_height: Height,
    /// How many of its blocks are here.
    pub count: u32,
    /// The root over them.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub chain_root: Hash,
}

/// A main block without what it holds of the chains: `GET /v1/headers/{height|latest}`.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Header {
    /// Hash of the header.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
    /// What the hash is made from.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::MainHeader))]
    pub header: MainHeader,
}

/// The headers of main blocks, ascending, without gaps: `GET /v1/headers`.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Headers {
    /// By height, without gaps.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<schema::MainHeader>))]
    pub headers: Vec<MainHeader>,
    /// What to pass as `from` for the next page; null once the newest header was given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::Height>))]
    pub next: Option<Height>,
    /// Height of the newest main block, 0 before the first one.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub head: Height,
}
