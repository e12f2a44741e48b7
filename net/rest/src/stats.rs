//! How the node is doing, in figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use verify::chain::Timestamp;

use crate::Head;
#[cfg(feature = "openapi")]
use crate::schema;

/// One look at the node: `GET /v1/stats`.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// The newest main block; null before the first one.
    pub head: Option<Head>,
    /// Durable side blocks of all chains.
    pub side_blocks: u64,
    /// A second, over the last 10 s.
    pub rate: Rates,
    /// From received to durable, of side blocks of the last 60 s; null if there were none.
    pub latency: Option<Latency>,
    /// From the first to the last.
    pub stages: Vec<Stage>,
    /// How many chains are in each state, by its name.
    pub chains: BTreeMap<String, u64>,
    /// Nodes that are connected.
    pub sessions: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Where the data directory is.
    pub disk: Disk,
    /// One element a second, oldest first, the last 300 s. Left out of the events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Sample>,
}

/// How much is made durable a second.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rates {
    /// Side blocks.
    pub side_blocks: f64,
    /// Main blocks.
    pub main_blocks: f64,
    /// Bytes of frames that arrive.
    pub bytes: f64,
}

/// A distribution, in milliseconds.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Latency {
    /// Half of all are below.
    pub p50_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// 999 of 1,000 are below.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// A stage of the pipeline.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stage {
    /// `ingest`, `seal`, `append` or `sync`.
    pub name: String,
    /// Threads that have turns of their own.
    pub threads: u64,
    /// Which share of the last 10 s they have worked, from 0 to 1.
    pub busy: f64,
    /// What waits for it.
    pub queue: u64,
    /// How much may wait.
    pub capacity: u64,
    /// In what these are counted.
    pub unit: String,
    /// Half of its turns are shorter; null where it is not measured.
    pub p50_ms: Option<f64>,
    /// 99 of 100 of its turns are shorter; null where it is not measured.
    pub p99_ms: Option<f64>,
}

/// The file system of the data directory.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disk {
    /// What the log takes.
    pub used_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

/// One second.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    /// Its end.
    #[cfg_attr(feature = "openapi", schema(value_type = schema::Timestamp))]
    pub time: Timestamp,
    /// Side blocks made durable in it.
    pub side_blocks: u64,
    /// Main blocks made durable in it.
    pub main_blocks: u64,
    /// From received to durable: 99 of 100 were below; null if there were none.
    pub p99_ms: Option<f64>,
    /// Side blocks that were received and not durable at its end.
    pub waiting: u64,
}
