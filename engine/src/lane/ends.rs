//! The stages' side of a lane.

use std::sync::Arc;
use std::time::Duration;

use crate::aelf::lanes::Indexed;
use crate::chain::{ChainId, Hash, Height};
use crate::sync::facade::Ordering;
use crate::sync::ring::{Consumer, Observer, Releaser};

use super::arrivals::Departures;
use super::{Lane, Slot};

/// The two ends of a lane that stages own.
#[derive(Debug)]
pub struct LaneEnds {
    /// For the sealing stage.
    pub outlet: Outlet,
    /// For the persisting stage.
    pub drain: Drain,
}

/// Where the sealing stage takes final blocks from.
#[derive(Debug)]
pub struct Outlet {
    pub(super) chain: ChainId,
    /// Hash of the newest block taken; zero before the first block of a chain.
    pub(super) parent: Hash,
    pub(super) consumer: Consumer<Slot>,
    pub(super) observer: Observer<Slot>,
    /// The first height of a chain without a durable block, 0 of any other: once it is durable, the chain has one.
    pub(super) first: Height,
}

impl Outlet {
    /// Whether blocks of the chain are indexed, and durable.
    pub fn indexed(&self) -> Indexed {
        if self.parent == Hash::ZERO {
            Indexed::Nothing
        } else if self.observer.room().0 < self.first.0 {
            Indexed::Reversible
        } else {
            Indexed::Irreversible
        }
    }

    /// Whose blocks they are.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// How many final blocks wait.
    pub fn available(&self) -> u64 {
        self.consumer.available()
    }

    /// How many of them may be sealed now: none while the lane is paused.
    pub fn offered(&self) -> u64 {
        // The pause is seen, at the latest, after the ring that follows it: see `Lane::pause`.
        if self.consumer.is_held() { 0 } else { self.available() }
    }

    /// Height of the next block to take.
    pub fn next_height(&self) -> Height {
        Height(self.consumer.taken() + 1)
    }

    /// Hash of the newest block taken; zero before the first block of a chain.
    pub fn parent(&self) -> Hash {
        self.parent
    }

    /// Hands the `count` blocks from the `offset`-th waiting one on to `each`, oldest first. Takes nothing,
    /// so several threads may read at once.
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

    /// Takes the next `count` blocks, which must be available. For tests and measurements: the sealing stage
    /// reads and advances apart.
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
    pub(super) lane: Arc<Lane>,
    pub(super) releaser: Releaser<Slot>,
    pub(super) departures: Departures,
}

impl Drain {
    /// Whose slots they are.
    pub fn chain(&self) -> ChainId {
        self.lane.chain
    }

    /// Gives back every slot up to `height`, whose blocks are durable, and tells `latency` how long they took
    /// since they were received and how many they were. Takes no lock while anybody speaks for the chain.
    ///
    /// # Panics
    /// When the sealing stage has not taken up to `height`, or it was given back before.
    pub fn release(&mut self, height: Height, now: Duration, mut latency: impl FnMut(Duration, u64)) {
        // With this the entries of all that was taken are visible, too: they were written before the blocks
        // were final.
        assert!(height.0 <= self.releaser.taken(), "released what was not taken");
        // Before the slots: then there is an entry left for whatever section these make room for.
        self.departures.leave(height.0, |at, count| latency(now.saturating_sub(at), count));
        self.releaser.release(height.0);
        // If this is the last block, it is seen here that it is: `received` was written before the block was
        // final, and whatever came later would be a block after it.
        if self.lane.observer.received() == height.0 {
            self.give_back();
        }
    }

    /// Gives the memory of an empty lane back, if nobody is there to do so: see `Lane::left`.
    fn give_back(&mut self) {
        // AcqRel: pairs with the swap in `Lane::release`. Either that one comes first, and this one sees that
        // the speaker has left; or this one does, and the speaker sees, as it leaves, that all slots are
        // given back.
        if self.lane.left.fetch_or(false, Ordering::AcqRel) {
            let mut tail = self.lane.tail();
            if tail.speaker.is_none() {
                tail.give_back();
            }
        }
    }
}
