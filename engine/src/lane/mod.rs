//! A lane: the cache of one side chain, from the moment a block is received until it is stored for good.
//!
//! Only the next height is accepted, linked to the block before. Reading does not remove: slots come back
//! when the block is durable, so a lane that is full stops its sender, and nothing is ever dropped. A lane in
//! which nothing is left gives its memory back.
//!
//! # Ownership
//! The ingest side holds the lane and takes a lock once a section (never once a block). The sealing and the
//! persisting stage own the ring's other two ends and take no lock.
//!
//! # Memory
//! A session that speaks calls [`Lane::rest`] now and then. When it leaves, it gives back what is not in use;
//! if blocks are still there, the drain does so as it gives the last one back, the only time that it takes
//! the lock.

mod arrivals;
mod ends;
mod refusal;
mod tail;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::chain::{ChainId, ColumnsRef, Hash, Height, NodeKey, Timestamp};
use crate::quorum::FinalityRule;
use crate::state::SideChain;
use crate::sync::Doorbell;
use crate::sync::facade::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::sync::ring::{self, Observer};

pub use ends::{Drain, LaneEnds, Outlet};
pub use refusal::Refusal;

use tail::Tail;

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
    /// Whether the last speaker left and no other one came: then nobody calls [`Lane::rest`], and the drain
    /// has to see to the memory. Written under the lock; read by the drain without it, which then looks again
    /// under it.
    left: AtomicBool,
    tail: Mutex<Tail>,
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
        let (arrivals, departures) = arrivals::arrivals(capacity, start.0);
        let durable = producer.observer();
        let lane = Arc::new(Self {
            chain: side.id,
            nodes: side.nodes.clone(),
            rule: side.finality,
            observer: producer.observer(),
            doorbell,
            left: AtomicBool::new(false),
            tail: Mutex::new(Tail::new(producer, arrivals, hash)),
        });
        let outlet = Outlet {
            chain: side.id,
            parent: hash.unwrap_or(Hash::ZERO),
            consumer,
            observer: durable,
            first: if hash.is_some() { Height(0) } else { start.next() },
        };
        let drain = Drain { lane: Arc::clone(&lane), releaser, departures };
        (lane, LaneEnds { outlet, drain })
    }

    /// The two ends of a lane for a chain that is not registered any more, into which nobody can push: they keep its
    /// place among the others.
    pub(crate) fn nobodys(chain: ChainId, doorbell: Doorbell) -> LaneEnds {
        let side = SideChain {
            id: chain,
            name: String::new(),
            first_height: Height(1),
            nodes: Vec::new(),
            finality: FinalityRule::default(),
        };
        Self::new(&side, Height(0), None, 1, doorbell).1
    }

    /// Memory that a lane of `capacity` blocks takes at most, in bytes: its slots, as many arrivals when each
    /// section is one block, and where their pages are found.
    pub fn most_bytes(capacity: usize) -> u64 {
        ring::most_bytes::<Slot>(capacity).saturating_add(arrivals::most_bytes(capacity))
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

    /// For how many blocks, and for the arrival of how many sections, memory is held now.
    pub fn held(&self) -> (usize, usize) {
        self.tail().held()
    }

    /// To be called now and then: a lane in which nothing is left, and to which nothing new has come since
    /// the last time, gives its memory back.
    pub fn rest(&self) {
        self.tail().rest();
    }

    /// Pauses the lane, or goes on. What is in a paused lane is not sealed: it fills, and its sender waits for credit.
    /// Nothing is lost, and no other chain notices. Blocks that the sealing stage takes at this moment may still go
    /// into a main block.
    pub fn pause(&self, paused: bool) {
        self.observer.hold(paused);
        // What was just stored is seen by the sealing stage after it has heard this: the ring is a Release that pairs with
        // the Acquire in `Waiter::hear`, and the stage looks at all lanes after that.
        self.doorbell.ring();
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.observer.is_held()
    }

    /// Ends the lane, as its chain is not registered any more: it takes nothing from here on, and nobody speaks for it. If
    /// nothing is left in it, or once that is durable, it gives its memory back; what is never sealed goes with the lane.
    pub fn close(&self) {
        let mut tail = self.tail();
        (tail.closed, tail.speaker) = (true, None);
        // AcqRel: as in `Lane::release`. The speaker, if there was one, does not do it when it leaves: it is none any more.
        self.left.swap(true, Ordering::AcqRel);
        tail.give_back();
    }

    /// Whether it was ended: all that is asked of it is refused then. A chain that was registered again has another lane.
    pub fn is_closed(&self) -> bool {
        self.tail().closed
    }

    /// Asks to speak for the chain, as a session does when it begins. A node that connects again takes over
    /// from its own older session, never the other way round; while a newer session or another node of the
    /// chain speaks, the claim stands by.
    ///
    /// # Errors
    /// The key is not registered.
    pub fn claim(&self, key: NodeKey, session: SessionId) -> Result<Claim, Refusal> {
        self.ask(key, session, |(other, speaker)| speaker == key && other.0 <= session.0)
    }

    /// Asks to speak for the chain again, as a session does later on. It takes the place of nobody, its own
    /// key's older session included: or that one, having taken over from a session that was silent, would be
    /// replaced by it at once, and so on for ever.
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
        if tail.closed {
            return Err(Refusal::Removed { chain: self.chain });
        }
        if tail.speaker.is_some_and(|speaker| !replaces(speaker)) {
            return Ok(Claim::Standby(self.position_in(&mut tail)));
        }
        self.appoint(&mut tail, session, key);
        Ok(Claim::Speaker(self.position_in(&mut tail)))
    }

    /// Takes the place of a speaker that is silent: another session, newer or older, of whatever key, of
    /// which nothing has come for `patience` though the block at `tip`, which the claimant has, could be
    /// sent. A speaker that is new counts as heard when this is asked for the first time. `None` when there
    /// is nothing to take over.
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
        if tail.closed {
            return Err(Refusal::Removed { chain: self.chain });
        }
        let received = tail.producer.received();
        if tip.0 <= received || tail.producer.limit() == received || tail.is_speaker(session) {
            return Ok(None);
        }
        let heard = *tail.heard.get_or_insert(now);
        if tail.speaker.is_some() && now.saturating_sub(heard) < patience {
            return Ok(None);
        }
        self.appoint(&mut tail, session, key);
        Ok(Some(self.position_in(&mut tail)))
    }

    /// Whether this session speaks for the chain.
    pub fn is_speaker(&self, session: SessionId) -> bool {
        self.tail().is_speaker(session)
    }

    /// Ends a session's claim, if it still holds one.
    pub fn release(&self, session: SessionId) {
        let mut tail = self.tail();
        if tail.is_speaker(session) {
            tail.speaker = None;
            // AcqRel: pairs with `Drain::give_back`, where it is explained. A plain store would not do: this
            // end would not see what the drain gave back just before it looked.
            self.left.swap(true, Ordering::AcqRel);
            tail.give_back();
        }
    }

    /// Who speaks for the chain now.
    pub fn speaker(&self) -> Option<NodeKey> {
        self.tail().speaker.map(|(_, key)| key)
    }

    /// The session that speaks for the chain now.
    pub fn speaker_session(&self) -> Option<SessionId> {
        self.tail().speaker.map(|(session, _)| session)
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
        if !tail.is_speaker(session) {
            return Err(if tail.closed { Refusal::Removed { chain } } else { Refusal::NotSpeaker { chain } });
        }
        let received = tail.producer.received();
        if blocks.hashes.is_empty() {
            return Ok(Height(received));
        }
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
        tail.take_in(blocks, self.rule, now);
        drop(tail);
        self.doorbell.ring();
        Ok(Height(last))
    }

    /// Puts back the blocks after the newest one received, which were received before a restart, as the store holds
    /// them. Nobody speaks for the chain yet.
    ///
    /// # Panics
    /// When there is no room for them.
    pub(crate) fn refill(&self, blocks: ColumnsRef<'_>, now: Duration) {
        let mut tail = self.tail();
        if blocks.is_empty() {
            return;
        }
        assert!(tail.producer.has_room(blocks.len() as u64), "the caller has made sure that there is room");
        tail.take_in(blocks, self.rule, now);
        // AcqRel: as in `Lane::release`. If nobody ever comes, the drain gives the memory back.
        self.left.swap(true, Ordering::AcqRel);
    }

    fn appoint(&self, tail: &mut Tail, session: SessionId, key: NodeKey) {
        // AcqRel: an exchange, though nobody asks what was there, because it goes between the two of
        // `Lane::release` and `Drain::give_back`: after a plain store, the speaker that leaves next would see
        // this and not what the drain gave back before.
        self.left.swap(false, Ordering::AcqRel);
        tail.appoint(session, key);
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
