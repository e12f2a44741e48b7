//! `GET /v1/trace/blocks/{height}`: what a main block went through, and when.

use serde::{Deserialize, Serialize};

/// The way of one main block through the node, in microseconds since its first side block was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockTrace {
    /// Height of the main block.
    pub height: u64,
    /// Side blocks in it.
    pub leaf_count: u64,
    /// Side chains that have blocks in it.
    pub chain_count: u64,
    /// Main blocks that were made durable with the same sync.
    pub synced_with: u64,
    /// From the first side block received to published.
    pub total_us: u64,
    /// The phases, in order; each begins where the one before ended.
    pub phases: Vec<Phase>,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Phase {
    /// What it ended with: `gathered` (waited in its lanes until a main block was begun), `hashed`, `handed-on` (taken by
    /// the stage that stores), `appended`, `synced` (with those that shared the sync) or `published`.
    pub name: String,
    /// When it began, in microseconds since the first side block was received.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
}
