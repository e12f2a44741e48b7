//! What people, and the herald, want to know of a session's chains.

use std::sync::Arc;

use engine::chain::{ChainId, Height};
use engine::lane::Lane;

use super::{Chains, State};
use crate::control::RefusalCode;
use crate::server::survey::Seat;

/// A chain of a session, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerChain {
    /// Which chain.
    pub chain: ChainId,
    /// What the session may do with it.
    pub state: PeerChainState,
    /// Newest height received, from whomever; 0 when the session may not know it, like the next two.
    pub received: Height,
    /// Newest height stored for good.
    pub durable: Height,
    /// Highest height that may be sent.
    pub limit: Height,
    /// Newest irreversible height of the peer's own source, if it has told one.
    pub tip: Option<Height>,
}

/// See [`PeerChain::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerChainState {
    /// It speaks for the chain.
    Speaker,
    /// Another session speaks.
    Standby,
    /// The chain was refused.
    Refused(RefusalCode),
    /// It gave the chain up for now.
    Left,
}

impl Chains {
    /// Copies chains, ascending, from the place `from` on, `most` at most. The table keeps its places once the hello
    /// has come.
    pub(in super::super) fn copy(&self, from: usize, most: usize, out: &mut Vec<Copied>) {
        out.extend(self.table.iter().skip(from).take(most).map(|chain| Copied {
            chain: chain.id,
            lane: chain.lane.clone(),
            state: chain.state.shown(),
            tip: Some(chain.tip).filter(|tip| tip.0 > 0),
        }));
    }

    /// All chains, ascending, without where their lanes stand: no lane is asked.
    pub(in super::super) fn seats(&self, out: &mut Vec<Seat>) {
        out.extend(self.table.iter().map(|chain| Seat {
            chain: chain.id,
            state: chain.state.shown(),
            tip: Some(chain.tip).filter(|tip| tip.0 > 0),
        }));
    }

    /// The chains that are served and that the key is registered for, as far as the session has named them, ascending.
    pub(in super::super) fn named_with_right(&self) -> Vec<ChainId> {
        let stranger = |state| {
            matches!(state, PeerChainState::Refused(RefusalCode::UnknownKey | RefusalCode::UnknownChain))
        };
        let known = self.table.iter().filter(|chain| !stranger(chain.state.shown()));
        known.map(|chain| chain.id).collect()
    }

    /// How many chains are refused.
    pub(in super::super) fn refused(&self) -> usize {
        self.table.iter().filter(|chain| matches!(chain.state, State::Refused(_))).count()
    }

    /// Whether there may be something to tell: `collect` would find something, or a place to take. Takes locks only if
    /// `claims` may have changed.
    pub(in super::super) fn stirred(&self, claims: bool) -> bool {
        self.table.iter().any(|chain| {
            if chain.refused.is_some() || chain.position {
                return true;
            }
            let Some(lane) = &chain.lane else { return false };
            chain.told != lane.credit()
                || (claims
                    && match chain.state {
                        State::Speaking => !chain.speaks(self.session),
                        State::Standby => lane.speaker().is_none(),
                        State::Refused(_) | State::Left => lane.is_closed(),
                    })
        })
    }
}

impl State {
    fn shown(self) -> PeerChainState {
        match self {
            Self::Speaking => PeerChainState::Speaker,
            Self::Standby => PeerChainState::Standby,
            Self::Refused(code) => PeerChainState::Refused(code),
            Self::Left => PeerChainState::Left,
        }
    }
}

/// A chain of a session as it was a moment ago, for those who look at its lane while nobody waits for them.
#[derive(Debug)]
pub(in super::super) struct Copied {
    chain: ChainId,
    lane: Option<Arc<Lane>>,
    state: PeerChainState,
    tip: Option<Height>,
}

impl Copied {
    /// For people. The lane is not locked: its cursors say it.
    pub(in super::super) fn listed(&self) -> PeerChain {
        let none = Height(0);
        let (received, durable, limit) = self.lane.as_ref().map_or((none, none, none), |lane| {
            let (durable, limit) = lane.credit();
            (Height(lane.cursors().received), durable, limit)
        });
        PeerChain { chain: self.chain, state: self.state, received, durable, limit, tip: self.tip }
    }

    /// How many blocks the source is ahead of what is durable, if the session speaks for the chain and has told a tip.
    pub(in super::super) fn behind(&self) -> Option<u64> {
        let (lane, tip) = self.lane.as_ref().zip(self.tip)?;
        (self.state == PeerChainState::Speaker).then(|| tip.0.saturating_sub(lane.credit().0.0))
    }
}
