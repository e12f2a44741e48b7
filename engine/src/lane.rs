//! A lane: the cache of one side chain, from the moment a block is received until it is stored for good.
//!
//! Only the next height is accepted, linked to the block before. Reading does not remove: slots come back when
//! the block is durable, so a lane that is full stops its sender, and nothing is ever dropped. A lane in which nothing
//! is left gives its memory back.
//!
//! # Ownership
//! The ingest side holds the lane and takes a lock once a section (never once a block). The sealing and the
//! persisting stage own the ring's other two ends and take no lock to read blocks.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use crate::chain::{ChainId, ColumnsRef, Hash, Height, NodeKey, Timestamp};
use crate::quorum::FinalityRule;
use crate::state::SideChain;
use crate::sync::Doorbell;
use crate::sync::facade::{Arc, Mutex, MutexGuard};
use crate::sync::ring::{self, Consumer, Observer, Producer, Releaser};

/// What a slot of a lane holds: a side block without its height.
#[derive(Clone, Copy, Default, Debug)]
pub struct Slot {
    /// Block hash.
    pub hash: Hash,
    /// Transaction root.
    pub tx_root: Hash,
    /// Block time.
    pub time: Timestamp,
}

/// The ingest side of a lane; shared by every session that speaks for the chain.
#[derive(Debug)]
pub struct Lane {
    chain: ChainId,
    nodes: Vec<NodeKey>,
    rule: FinalityRule,
    observer: Observer<Slot>,
    doorbell: Doorbell,
    tail: Mutex<Tail>,
}

/// The stages' side of a lane.
#[derive(Debug)]
pub struct LaneEnds {
    /// For the sealing stage.
    pub outlet: Outlet,
    /// For the persisting stage.
    pub drain: Drain,
}

/// Which connection speaks. The network layer counts them up from 1 and never uses one twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SessionId(pub u64);

/// Where a lane stands, as a sender must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Newest height stored for good: what may be acknowledged.
    pub durable: Height,
    /// Newest height received; the next one wanted is the one after it.
    pub received: Height,
    /// Hash of the block at `received`; `None` before the first block of a chain.
    pub hash: Option<Hash>,
    /// Highest height that may be sent.
    pub limit: Height,
}

/// What a session may do after [`Lane::claim`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It speaks for the chain from here on.
    Speaker(Position),
    /// Another node of the chain speaks; this one stands by and claims again later.
    Standby(Position),
}

/// Why a section, or a claim, was refused. The peer's fault, always: it never stops another session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The key is not registered for the chain.
    #[error(
        "chain {chain}: key {key} is not registered for it; the operator must add it to the genesis document"
    )]
    UnknownKey {
        /// Which chain.
        chain: ChainId,
        /// Whose key.
        key: NodeKey,
    },
    /// Another session speaks for the chain.
    #[error("chain {chain}: this session does not speak for it (another one of its nodes does)")]
    NotSpeaker {
        /// Which chain.
        chain: ChainId,
    },
    /// Not the next height.
    #[error("chain {chain}: height {got} is not the next one; expected {expected}")]
    WrongHeight {
        /// Which chain.
        chain: ChainId,
        /// The next height.
        expected: Height,
        /// What the section starts with.
        got: Height,
    },
    /// Not linked to the block before.
    #[error(
        "chain {chain}: the block at height {height} names parent {got}; expected {expected}, the block received before it"
    )]
    WrongParent {
        /// Which chain.
        chain: ChainId,
        /// Height of the block whose parent is wrong.
        height: Height,
        /// Hash of the block received before.
        expected: Hash,
        /// What the section says.
        got: Hash,
    },
    /// Two hashes for one height: evidence of equivocation.
    #[error("chain {chain}: height {height} was received as {have} and now comes as {got}")]
    Conflict {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The hash received first, which stands.
        have: Hash,
        /// The other one.
        got: Hash,
    },
    /// Above the limit that the sender was given.
    #[error("chain {chain}: height {got} is above the limit {limit} that was granted")]
    AboveLimit {
        /// Which chain.
        chain: ChainId,
        /// Highest height that may be sent.
        limit: Height,
        /// Last height of the section.
        got: Height,
    },
}

#[derive(Debug)]
struct Tail {
    producer: Producer<Slot>,
    hash: Option<Hash>,
    speaker: Option<(SessionId, NodeKey)>,
    /// When the last section of the speaker came; `None` of one that is new.
    heard: Option<Duration>,
    /// The last conflicting hash, kept and shown.
    evidence: Option<Refusal>,
    /// What was received when it was last looked whether memory can be given back.
    rests_at: u64,
    /// When the blocks up to a height arrived, oldest first; at most one entry a section, so at most one a slot.
    arrivals: VecDeque<Arrival>,
}

#[derive(Debug, Clone, Copy)]
struct Arrival {
    last: u64,
    count: u32,
    at: Duration,
}

impl Lane {
    /// A lane for `side` that continues after the block `start` (height, and hash if there is such a block),
    /// holding `capacity` blocks at most.
    pub fn new(
        side: &SideChain,
        start: Height,
        hash: Option<Hash>,
        capacity: usize,
        doorbell: Doorbell,
    ) -> (Arc<Self>, LaneEnds) {
        let (producer, consumer, releaser) = ring::ring(capacity, start.0);
        let lane = Arc::new(Self {
            chain: side.id,
            nodes: side.nodes.clone(),
            rule: side.finality,
            observer: producer.observer(),
            doorbell,
            tail: Mutex::new(Tail {
                producer,
                hash,
                speaker: None,
                heard: None,
                evidence: None,
                rests_at: start.0,
                arrivals: VecDeque::new(),
            }),
        });
        let outlet = Outlet { chain: side.id, parent: hash.unwrap_or(Hash::ZERO), consumer };
        let drain = Drain { lane: Arc::clone(&lane), releaser };
        (lane, LaneEnds { outlet, drain })
    }

    /// Whose lane it is.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Where it stands. For senders: see [`Lane::claim`] and [`Lane::position`].
    pub fn cursors(&self) -> ring::Cursors {
        self.observer.cursors()
    }

    /// Newest height stored for good and highest height that may be sent, as in [`Position`]. Takes no lock.
    pub fn credit(&self) -> (Height, Height) {
        let (indexed, limit) = self.observer.room();
        (Height(indexed), Height(limit.min(Height::MAX.0)))
    }

    /// To be called now and then: a lane in which nothing is left, and to which nothing new has come since the last
    /// time, gives its memory back.
    pub fn rest(&self) {
        let mut tail = self.tail();
        let received = tail.producer.received();
        if std::mem::replace(&mut tail.rests_at, received) == received {
            tail.give_back();
        }
    }

    /// Asks to speak for the chain, as a session does when it begins. A node that connects again takes over from its own
    /// older session, never the other way round; while a newer session or another node of the chain speaks, the claim
    /// stands by.
    ///
    /// # Errors
    /// The key is not registered.
    pub fn claim(&self, key: NodeKey, session: SessionId) -> Result<Claim, Refusal> {
        self.ask(key, session, |(other, speaker)| speaker == key && other.0 <= session.0)
    }

    /// Asks to speak for the chain again, as a session does later on. It takes the place of nobody, its own key's older
    /// session included: or that one, having taken over from a session that was silent, would be replaced by it at once,
    /// and so on for ever.
    ///
    /// # Errors
    /// The key is not registered.
    pub fn reclaim(&self, key: NodeKey, session: SessionId) -> Result<Claim, Refusal> {
        self.ask(key, session, |(other, _)| other == session)
    }

    /// Appoints the session, if nobody speaks or one whom it `replaces`.
    fn ask(
        &self,
        key: NodeKey,
        session: SessionId,
        replaces: impl Fn((SessionId, NodeKey)) -> bool,
    ) -> Result<Claim, Refusal> {
        if !self.nodes.contains(&key) {
            return Err(Refusal::UnknownKey { chain: self.chain, key });
        }
        let mut tail = self.tail();
        if tail.speaker.is_some_and(|speaker| !replaces(speaker)) {
            return Ok(Claim::Standby(self.position_in(&mut tail)));
        }
        tail.appoint(session, key);
        Ok(Claim::Speaker(self.position_in(&mut tail)))
    }

    /// Takes the place of a speaker that is silent: another session, newer or older, of whatever key, of which nothing has come for `patience` though the
    /// block at `tip`, which the claimant has, could be sent. A speaker that is new counts as heard when this is asked
    /// for the first time. `None` when there is nothing to take over.
    ///
    /// # Errors
    /// The key is not registered.
    pub fn take_over(
        &self,
        key: NodeKey,
        session: SessionId,
        tip: Height,
        now: Duration,
        patience: Duration,
    ) -> Result<Option<Position>, Refusal> {
        if !self.nodes.contains(&key) {
            return Err(Refusal::UnknownKey { chain: self.chain, key });
        }
        let mut tail = self.tail();
        let received = tail.producer.received();
        let own = tail.speaker.is_some_and(|(speaker, _)| speaker == session);
        if tip.0 <= received || tail.producer.limit() == received || own {
            return Ok(None);
        }
        let heard = *tail.heard.get_or_insert(now);
        if tail.speaker.is_some() && now.saturating_sub(heard) < patience {
            return Ok(None);
        }
        tail.appoint(session, key);
        Ok(Some(self.position_in(&mut tail)))
    }

    /// Whether this session speaks for the chain.
    pub fn is_speaker(&self, session: SessionId) -> bool {
        self.tail().speaker.is_some_and(|(speaker, _)| speaker == session)
    }

    /// Ends a session's claim, if it still holds one.
    pub fn release(&self, session: SessionId) {
        let mut tail = self.tail();
        if tail.speaker.is_some_and(|(speaker, _)| speaker == session) {
            tail.speaker = None;
            tail.give_back();
        }
    }

    /// Who speaks for the chain now.
    pub fn speaker(&self) -> Option<NodeKey> {
        self.tail().speaker.map(|(_, key)| key)
    }

    /// The last evidence of equivocation.
    pub fn evidence(&self) -> Option<Refusal> {
        self.tail().evidence
    }

    /// Where the lane stands.
    pub fn position(&self) -> Position {
        self.position_in(&mut self.tail())
    }

    /// Takes a section of consecutive blocks that starts at `first` and follows the block with hash `parent`:
    /// all of it or nothing. `now` is the engine's monotonic clock. Returns the newest height received.
    pub fn push(
        &self,
        session: SessionId,
        first: Height,
        parent: Hash,
        blocks: ColumnsRef<'_>,
        now: Duration,
    ) -> Result<Height, Refusal> {
        let chain = self.chain;
        let mut tail = self.tail();
        if tail.speaker.is_none_or(|(speaker, _)| speaker != session) {
            return Err(Refusal::NotSpeaker { chain });
        }
        let received = tail.producer.received();
        let Some(newest) = blocks.hashes.last() else { return Ok(Height(received)) };
        if first.0 != received + 1 {
            let refusal = tail.conflict(chain, first, blocks).unwrap_or(Refusal::WrongHeight {
                chain,
                expected: Height(received + 1),
                got: first,
            });
            return Err(refusal);
        }
        if let Some(expected) = tail.hash
            && expected != parent
        {
            let refusal = Refusal::WrongParent { chain, height: first, expected, got: parent };
            tail.evidence = Some(refusal);
            return Err(refusal);
        }
        let limit = tail.producer.limit().min(Height::MAX.0);
        let last = received + blocks.len() as u64;
        if last > limit {
            return Err(Refusal::AboveLimit { chain, limit: Height(limit), got: Height(last) });
        }
        let slots = blocks.hashes.iter().zip(blocks.tx_roots).zip(blocks.times);
        tail.producer.push(slots.map(|((hash, tx_root), time)| Slot {
            hash: *hash,
            tx_root: *tx_root,
            time: *time,
        }));
        tail.hash = Some(*newest);
        tail.heard = Some(now);
        tail.arrivals.push_back(Arrival { last, count: blocks.len() as u32, at: now });
        let finalized = self.rule.final_height(Height(last));
        tail.producer.finalize(finalized.0);
        drop(tail);
        self.doorbell.ring();
        Ok(Height(last))
    }

    fn position_in(&self, tail: &mut Tail) -> Position {
        Position {
            durable: Height(self.cursors().indexed),
            received: Height(tail.producer.received()),
            hash: tail.hash,
            limit: Height(tail.producer.limit().min(Height::MAX.0)),
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A panic under the lock would be a bug in this file; the cursors stay consistent whatever happened.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn appoint(&mut self, session: SessionId, key: NodeKey) {
        if self.speaker != Some((session, key)) {
            self.heard = None;
        }
        self.speaker = Some((session, key));
    }

    /// Gives memory back, if nothing is left.
    fn give_back(&mut self) {
        self.producer.trim();
        if self.arrivals.is_empty() {
            self.arrivals = VecDeque::new();
        }
    }

    /// Evidence that a section contradicts blocks that are still in the ring.
    fn conflict(&mut self, chain: ChainId, first: Height, blocks: ColumnsRef<'_>) -> Option<Refusal> {
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

/// Where the sealing stage takes final blocks from.
#[derive(Debug)]
pub struct Outlet {
    chain: ChainId,
    /// Hash of the newest block taken; zero before the first block of a chain.
    parent: Hash,
    consumer: Consumer<Slot>,
}

impl Outlet {
    /// Whose blocks they are.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// How many final blocks wait.
    pub fn available(&self) -> u64 {
        self.consumer.available()
    }

    /// Height of the next block to take.
    pub fn next_height(&self) -> Height {
        Height(self.consumer.taken() + 1)
    }

    /// Hash of the newest block taken; zero before the first block of a chain.
    pub fn parent(&self) -> Hash {
        self.parent
    }

    /// Hands the `count` blocks from the `offset`-th waiting one on to `each`, oldest first. Takes nothing, so several threads
    /// may read at once.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn read(&self, offset: u64, count: u64, each: impl FnMut(&Slot)) {
        self.consumer.read(offset, count, each);
    }

    /// Takes the next `count` blocks, the last of which has the hash `newest`. Without any, nothing changes.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn advance(&mut self, count: u64, newest: Hash) {
        if count > 0 {
            self.parent = newest;
        }
        self.consumer.advance(count);
    }

    /// Takes the next `count` blocks, which must be available.
    pub fn take(&mut self, count: u64, mut each: impl FnMut(&Slot)) {
        let mut newest = self.parent;
        self.read(0, count, |slot| {
            newest = slot.hash;
            each(slot);
        });
        self.advance(count, newest);
    }
}

/// Where the persisting stage gives slots back.
#[derive(Debug)]
pub struct Drain {
    lane: Arc<Lane>,
    releaser: Releaser<Slot>,
}

impl Drain {
    /// Whose slots they are.
    pub fn chain(&self) -> ChainId {
        self.lane.chain
    }

    /// Gives back every slot up to `height`, whose blocks are durable, and tells `latency` how long they took
    /// since they were received and how many they were.
    pub fn release(&mut self, height: Height, now: Duration, mut latency: impl FnMut(Duration, u64)) {
        self.releaser.release(height.0);
        let mut tail = self.lane.tail();
        while let Some(arrival) = tail.arrivals.front_mut() {
            let first = arrival.last - u64::from(arrival.count) + 1;
            if height.0 < first {
                break;
            }
            let stored = height.0.min(arrival.last) - first + 1;
            latency(now.saturating_sub(arrival.at), stored);
            if stored == u64::from(arrival.count) {
                tail.arrivals.pop_front();
            } else {
                arrival.count -= stored as u32;
                break;
            }
        }
        if tail.speaker.is_none() {
            // Nobody will ask where it stands.
            tail.give_back();
        }
    }
}
