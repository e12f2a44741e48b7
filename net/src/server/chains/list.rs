//! What people, and the herald, want to know of a session's chains.

use engine::chain::{ChainId, Height};

use super::{Chain, Chains, State};
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
    /// All chains, ascending.
    pub(in super::super) fn list(&self) -> Vec<PeerChain> {
        self.table.iter().map(Chain::listed).collect()
    }

    /// All chains, ascending, without where their lanes stand: no lane is asked.
    pub(in super::super) fn seats(&self, out: &mut Vec<Seat>) {
        out.extend(self.table.iter().map(|chain| Seat {
            chain: chain.id,
            state: chain.state.shown(),
            tip: Some(chain.tip).filter(|tip| tip.0 > 0),
        }));
    }

    /// How many chains are refused.
    pub(in super::super) fn refused(&self) -> usize {
        self.table.iter().filter(|chain| matches!(chain.state, State::Refused(_))).count()
    }

    /// How many blocks the sources of the chains that the session speaks for are ahead of what is durable, as far as
    /// tips were told; `None` if none was.
    pub(in super::super) fn behind(&self) -> Option<u64> {
        let speaking = self.table.iter().filter(|chain| chain.state == State::Speaking && chain.tip.0 > 0);
        let behind = speaking.filter_map(|chain| {
            let durable = chain.lane.as_ref()?.position().durable;
            Some(chain.tip.0.saturating_sub(durable.0))
        });
        behind.fold(None, |sum, behind| Some(sum.unwrap_or(0_u64).saturating_add(behind)))
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
                        State::Refused(_) | State::Left => false,
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

impl Chain {
    fn listed(&self) -> PeerChain {
        let position = self.lane.as_ref().map(|lane| lane.position());
        let none = Height(0);
        let (received, durable, limit) =
            position.map_or((none, none, none), |at| (at.received, at.durable, at.limit));
        PeerChain {
            chain: self.id,
            state: self.state.shown(),
            received,
            durable,
            limit,
            tip: Some(self.tip).filter(|tip| tip.0 > 0),
        }
    }
}
