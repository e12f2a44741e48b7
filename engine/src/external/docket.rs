//! Proposals that wait until our lanes have what they name.
//!
//! AElf validates a proposal once, when it hears of it; a node whose cache is behind at that moment never votes for it.
//! Here it is no refusal to be behind: the proposal is judged again.

use std::time::Duration;

use crate::chain::{ChainId, Height};

use super::{External, ExternalError, Proposal, Verdict};

/// Proposals that wait, each with whatever its owner needs to answer with. No thread of its own: whoever owns it waits at
/// the bell that came with the [`External`], or for a little while, and calls [`Docket::judge_again`].
#[derive(Debug)]
pub struct Docket<T> {
    most: usize,
    waiting: Vec<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    proposal: Proposal,
    ticket: T,
    /// The last verdict, [`Verdict::Behind`], and of what.
    verdict: Verdict,
    chain: ChainId,
    wanted: Height,
    /// [`External::changes`] just before it was last looked whether its parent is there.
    changes: u64,
    /// When it is answered in any case, by the engine's monotonic clock.
    until: Duration,
}

impl<T> Docket<T> {
    /// One with room for `most` proposals.
    pub fn new(most: usize) -> Self {
        Self { most, waiting: Vec::new() }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Until when whoever waits longest is willing to wait: [`Docket::judge_again`] answers it then.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Judges a proposal. The verdict comes back with the ticket, at once, unless it is that our lanes are behind: then
    /// the proposal waits until they are not, or to the time `until`. If there is no room for it, it is answered so, too.
    pub fn judge(
        &mut self,
        external: &External,
        proposal: Proposal,
        ticket: T,
        until: Duration,
    ) -> Result<Option<(T, Verdict)>, ExternalError> {
        let changes = external.changes();
        let verdict = external.validate(&proposal)?;
        match verdict {
            Verdict::Behind { chain, wanted, .. } if self.waiting.len() < self.most => {
                self.waiting.push(Waiting { proposal, ticket, verdict, chain, wanted, changes, until });
                Ok(None)
            }
            verdict => Ok(Some((ticket, verdict))),
        }
    }

    /// Judges those again for which something has changed, and returns the ones that are decided, and those whose time is
    /// over, which have the verdict that our lanes are behind. `now` is the engine's monotonic clock.
    pub fn judge_again(
        &mut self,
        external: &External,
        now: Duration,
    ) -> Result<Vec<(T, Verdict)>, ExternalError> {
        let mut decided = Vec::new();
        let mut index = 0;
        while let Some(waiting) = self.waiting.get_mut(index) {
            let changes = external.changes();
            let caught_up = received(external, waiting.chain) >= Some(waiting.wanted);
            // A commit changes nothing for a proposal that waits; a rollback may take its parent away.
            let orphan =
                waiting.changes != changes && !external.is_committed(waiting.proposal.header.parent)?;
            waiting.changes = changes;
            if caught_up || orphan {
                waiting.verdict = external.validate(&waiting.proposal)?;
            }
            match waiting.verdict {
                Verdict::Behind { chain, wanted, .. } if now < waiting.until => {
                    (waiting.chain, waiting.wanted) = (chain, wanted);
                    index += 1;
                }
                _ => {
                    let Waiting { ticket, verdict, .. } = self.waiting.swap_remove(index);
                    decided.push((ticket, verdict));
                }
            }
        }
        Ok(decided)
    }
}

/// The newest final block of a chain in our lanes.
fn received(external: &External, chain: ChainId) -> Option<Height> {
    external.cache.lane(chain).map(|lane| Height(lane.cursors().finalized))
}
