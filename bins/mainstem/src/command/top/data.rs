//! What the live view has asked for, in the API's own types: a member that is named otherwise is an error, not a zero.

use rest::status::{Change, Progress, Status as State};
use rest::{ChainId, Head, MainHeader, Peer, SideChain, Stage, Stats, Status};
use serde::Serialize;

/// All that was asked for, at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// `GET /v1/status`
    pub status: Status,
    /// `GET /v1/stats`
    pub stats: Stats,
    /// `GET /v1/chains`, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chains: Option<Vec<SideChain>>,
    /// `GET /v1/peers`, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
    /// `GET /v1/headers`, newest first, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<MainHeader>>,
    /// `GET /v1/chains/{id}/history` of the chain that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<(ChainId, Vec<Change>)>,
}

impl Sample {
    /// The newest durable main block.
    pub(super) fn head(&self) -> Option<&Head> {
        self.stats.head.as_ref().or(self.status.head.as_ref())
    }
}

/// The stage that limits the others: the one that is busy for most of the time.
pub(super) fn bottleneck(stats: &Stats) -> Option<&Stage> {
    stats.stages.iter().max_by(|a, b| a.busy.total_cmp(&b.busy))
}

/// How a chain is doing, if the node says it.
pub(super) fn status(chain: &SideChain) -> Option<&State> {
    chain.progress.as_ref().map(|progress| &progress.status)
}

/// A figure of a chain's progress, if there is one.
pub(super) fn figure<T>(chain: &SideChain, of: impl FnOnce(&Progress) -> Option<T>) -> Option<T> {
    chain.progress.as_ref().and_then(of)
}
