//! The ingest side of a lane behind its lock: who speaks, and where the next block goes.

use std::time::Duration;

use crate::chain::{ChainId, ColumnsRef, Hash, Height, NodeKey};
use crate::quorum::FinalityRule;
use crate::sync::ring::Producer;

use super::arrivals::{Arrival, Arrivals};
use super::{Refusal, SessionId, Slot};

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) producer: Producer<Slot>,
    /// Hash of the newest block received.
    pub(super) hash: Option<Hash>,
    pub(super) speaker: Option<(SessionId, NodeKey)>,
    /// When the last section of the speaker came; `None` of one that is new.
    pub(super) heard: Option<Duration>,
    /// Whether the chain was removed.
    pub(super) closed: bool,
    /// The last conflicting hash, kept and shown.
    pub(super) evidence: Option<Refusal>,
    /// What was received when it was last looked whether memory can be given back.
    rests_at: u64,
    arrivals: Arrivals,
}

impl Tail {
    pub(super) fn new(producer: Producer<Slot>, arrivals: Arrivals, hash: Option<Hash>) -> Self {
        let rests_at = producer.received();
        Self { producer, hash, speaker: None, heard: None, closed: false, evidence: None, rests_at, arrivals }
    }

    pub(super) fn appoint(&mut self, session: SessionId, key: NodeKey) {
        if self.speaker != Some((session, key)) {
            self.heard = None;
        }
        self.speaker = Some((session, key));
    }

    pub(super) fn is_speaker(&self, session: SessionId) -> bool {
        self.speaker.is_some_and(|(speaker, _)| speaker == session)
    }

    /// Takes a section that was checked: it fits, and follows what was received.
    pub(super) fn take_in(&mut self, blocks: ColumnsRef<'_>, rule: FinalityRule, now: Duration) {
        let slots = blocks.hashes.iter().zip(blocks.tx_roots).zip(blocks.times);
        self.producer.push(slots.map(|((hash, tx_root), time)| Slot {
            hash: *hash,
            tx_root: *tx_root,
            time: *time,
        }));
        let last = self.producer.received();
        self.hash = blocks.hashes.last().copied();
        self.heard = Some(now);
        // Before any of its blocks is final, and so before the drain can look for it.
        self.arrivals.push(Arrival { last, at: now });
        self.producer.finalize(rule.final_height(Height(last)).0);
    }

    /// Gives memory back, if nothing came since the last time, and nothing is left.
    pub(super) fn rest(&mut self) {
        let received = self.producer.received();
        if std::mem::replace(&mut self.rests_at, received) == received {
            self.give_back();
        }
    }

    /// Gives memory back, if nothing is left.
    pub(super) fn give_back(&mut self) {
        self.producer.trim();
        self.arrivals.trim();
    }

    /// For how many blocks, and for how many arrivals, there is memory.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.producer.allocated(), self.arrivals.allocated())
    }

    /// Evidence that a section contradicts blocks that are still in the ring.
    pub(super) fn conflict(
        &mut self,
        chain: ChainId,
        first: Height,
        blocks: ColumnsRef<'_>,
    ) -> Option<Refusal> {
        let received = self.producer.received();
        let found = blocks.hashes.iter().zip(first.0..=received).find_map(|(got, height)| {
            let have = self.producer.get(height)?.hash;
            let conflict = Refusal::Conflict { chain, height: Height(height), have, got: *got };
            (have != *got).then_some(conflict)
        });
        self.evidence = found.or(self.evidence);
        found
    }
}
