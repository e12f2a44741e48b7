//! How many side blocks a candidate takes of which chain.

use crate::aelf::lanes::{self, Indexed};
use crate::lane::Outlet;
use crate::pipeline::{SealRules, fair_shares};
use crate::state::{SideChain, State};

use super::ExternalError;

/// How large a candidate may be, and by which rule blocks are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Side blocks at most; no more than [`crate::pipeline::PipelineConfig::max_leaves`].
    pub max_leaves: u64,
    /// Blocks of one chain at most (AElf: 256).
    pub max_per_chain: u64,
    /// The rule.
    pub rules: SealRules,
}

impl Limits {
    pub(super) fn check(&self, most_leaves: u64) -> Result<(), ExternalError> {
        for (key, value, most) in
            [("max_leaves", self.max_leaves, most_leaves), ("max_per_chain", self.max_per_chain, u64::MAX)]
        {
            if value == 0 || value > most {
                return Err(ExternalError::Limit { key, value, most });
            }
        }
        Ok(())
    }

    /// Sets `counts` to how many blocks of each chain go into a main block on top of `state`, and says how many wait.
    /// `turn` says who is first when there are more chains than places.
    pub(super) fn choose(
        &self,
        chains: &[SideChain],
        outlets: &[Outlet],
        state: &State,
        turn: u64,
        counts: &mut Vec<u64>,
        sorted: &mut Vec<u64>,
    ) -> u64 {
        counts.clear();
        let mut waiting = 0;
        counts.extend(outlets.iter().zip(state.chains()).zip(chains).map(|((outlet, chain), side)| {
            let irreversible = outlet.next_height().previous();
            let available = outlet.available() - (chain.indexed.0 - irreversible.0);
            waiting += available;
            let wanted = match self.rules {
                SealRules::Mainstem => available,
                SealRules::Aelf => {
                    let first = side.first_height;
                    let indexed = if irreversible >= first {
                        Indexed::Irreversible
                    } else if chain.indexed >= first {
                        Indexed::Reversible
                    } else {
                        Indexed::Nothing
                    };
                    lanes::places(indexed, available)
                }
            };
            // A paused lane gives nothing to a candidate; what others propose is judged by what it holds.
            if outlet.offered() == 0 { 0 } else { wanted.min(self.max_per_chain) }
        }));
        fair_shares(counts, self.max_leaves, turn, sorted);
        waiting
    }
}
