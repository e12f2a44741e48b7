//! What is asked and said about proofs. The proofs themselves are those of the crate that verifies them.

use serde::{Deserialize, Serialize};
use verify::chain::{ChainId, Hash, Height};

#[cfg(feature = "openapi")]
use crate::schema;

/// Side blocks that one proof is to be of: the body of `POST /v1/proofs`.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Wanted {
    /// 1 to 4,096 of them, in any order.
    pub blocks: Vec<BlockName>,
    /// The main block that the proof shall end in; without it, the newest one that holds one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::Height>))]
    pub head: Option<Height>,
}

/// A side block by its name.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockName {
    /// Its chain, as a number or as people know it.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::ChainName))]
    pub chain: ChainId,
    /// Its height.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub height: Height,
}

/// Whether a proof is right, and of this main chain: `POST /v1/verify`.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ProofVerdict))]
pub struct Verdict {
    /// `block`, `transaction`, `blocks`, `consistency`, `chain` or `absence`.
    pub kind: String,
    /// Whether it is.
    pub verified: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The header that what is proven is under; null if the proof is wrong in itself.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<schema::Hash>))]
    pub header_hash: Option<Hash>,
    /// The newest header that the proof ends in; null if the proof is wrong in itself.
    pub trusted: Option<Trusted>,
}

/// The header that a proof ends in.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trusted {
    /// Its height.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Height))]
    pub height: Height,
    /// Its hash.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Hash))]
    pub hash: Hash,
}
