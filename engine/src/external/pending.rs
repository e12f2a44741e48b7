//! Proposals that wait until our lanes have what they name.
//!
//! AElf validates a proposal once, when it hears of it; a node whose cache is behind at that moment never votes for it.
//! Here it is no refusal to be behind: the proposal is judged again.

use std::time::Duration;

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
    /// The last verdict, [`Verdict::Behind`].
    verdict: Verdict,
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
            Verdict::Behind { .. } if room => {
                self.bytes += bytes;
                let waiting = Waiting { proposal, ticket, verdict, changes, bytes, until };
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
            let caught_up = waiting.is_there(external);
            let over = now >= waiting.until;
            // A commit changes nothing for a proposal that waits; a rollback may take its parent away.
            let orphan =
                waiting.changes != changes && !external.is_committed(waiting.proposal.header.parent)?;
            waiting.changes = changes;
            // When its time is over once more, to say how it stands then.
            if caught_up || orphan || over {
                waiting.verdict = external.validate(&waiting.proposal)?;
            }
            match waiting.verdict {
                Verdict::Behind { .. } if !over => index += 1,
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

impl<T> Waiting<T> {
    /// Whether our lanes have all that it names: before, to judge it again would give the same verdict.
    fn is_there(&self, external: &External) -> bool {
        self.proposal.sections.iter().all(|section| {
            let last = section.first_height.0.saturating_add(u64::from(section.count)).saturating_sub(1);
            external.cache.lane(section.chain).is_none_or(|lane| lane.cursors().finalized >= last)
        })
    }
}
