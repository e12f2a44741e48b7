//! What the API answers with is in the crate `rest`, for those who ask as well; here it is made from what the node has.

use std::fmt::Display;

use engine::quorum::FinalityRule;
use rest::Finality;
pub(super) use rest::{
    ChainPart, Chains, Head, IndexedBlock, IndexedIn, MainBlock, MainChain, SideChain, Status, Trusted,
    Verdict,
};

use crate::watch::Shown;

/// A side chain as the registry names it, its lane stands, and the watch has seen it. No lane is locked: those who
/// receive would wait for whoever asks, who has a lower priority.
pub(super) fn side_chain(shown: Shown) -> SideChain {
    let Shown { side, lane, speaker, evidence, progress } = shown;
    let cursors = lane.cursors();
    SideChain {
        chain_id: side.id,
        chain: side.id.to_string(),
        name: side.name,
        first_height: side.first_height,
        finality: match side.finality {
            FinalityRule::Single => Finality::Single,
        },
        nodes: side.nodes.iter().copied().map(key).collect(),
        received: rest::Height(cursors.received),
        finalized: rest::Height(cursors.finalized),
        durable: rest::Height(cursors.indexed),
        speaker: speaker.map(key),
        evidence: evidence.map(|refusal| refusal.to_string()),
        progress: Some(progress),
    }
}

/// A node's key.
pub(super) fn key(key: engine::chain::NodeKey) -> rest::NodeKey {
    rest::NodeKey(key.0)
}

/// Of a proof that is wrong in itself.
pub(super) fn refused(kind: &str, reason: impl Display) -> Verdict {
    Verdict {
        kind: kind.to_owned(),
        verified: false,
        reason: Some(reason.to_string()),
        header_hash: None,
        trusted: None,
    }
}
