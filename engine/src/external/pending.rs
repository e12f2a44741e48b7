//! Proposals that wait until our lanes have what they name.
//!
//! AElf validates a proposal once, when it hears of it; a node whose cache is behind at that moment never votes for it.
//! Here it is no refusal to be behind: the proposal is judged again.

use std::time::Duration;

use crate::chain::{ChainId, Height};

use super::{External, ExternalError, Proposal, Verdict};

/// Proposals that wait, each with whatever its owner needs to answer with. No thread of its own: whoever owns it waits at
/// the bell that came with the [`External`], or for a little while, and calls [`PendingProposals::judge_again`].
#[derive(Debug)]
pub struct PendingProposals<T> {
    most: usize,
    most_bytes: usize,
    waiting: Vec<Waiting<T>>,
    /// Of them all.
    bytes: usize,
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
    /// What it weighs.
    bytes: usize,
    /// When it is answered in any case, by the engine's monotonic clock.
    until: Duration,
}

impl<T> PendingProposals<T> {
    /// Room for `most` proposals of `most_bytes` bytes together, by what they weigh in memory.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, waiting: Vec::new(), bytes: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes they weigh.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Until when whoever waits longest is willing to wait: [`PendingProposals::judge_again`] answers it then.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Judges a proposal. The verdict comes back with the ticket, at once, unless it is that our lanes are behind: then
    /// the proposal waits until they are not, or to the time `until`. If there is no room for it, it is answered so, too,
    /// and not kept.
    pub fn judge(
        &mut self,
        external: &External,
        proposal: Proposal,
        ticket: T,
        until: Duration,
    ) -> Result<Option<(T, Verdict)>, ExternalError> {
        let changes = external.changes();
        let verdict = external.validate(&proposal)?;
        let bytes = size_of::<Waiting<T>>() + proposal.heap_bytes();
        let room = self.waiting.len() < self.most && bytes <= self.most_bytes - self.bytes;
        match verdict {
            Verdict::Behind { chain, wanted, .. } if room => {
                self.bytes += bytes;
                let waiting = Waiting { proposal, ticket, verdict, chain, wanted, changes, bytes, until };
                self.waiting.push(waiting);
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
                    let Waiting { ticket, verdict, bytes, .. } = self.waiting.swap_remove(index);
                    self.bytes -= bytes;
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
