//! When the blocks of a lane arrived: a ring of its own, so that the drain, which tells how long they took,
//! needs no lock.
//!
//! # Capacity
//! One entry a section, so at most one a block in the lane; 24 bytes each, in pages as those of the lane,
//! which a lane at rest gives back with them. There is always room for one more section that the lane has
//! room for: the drain gives an entry back before the last slot of its section.

use std::time::Duration;

use crate::sync::ring::{self, Consumer, Producer, Releaser};

/// When all blocks up to a height, and above that of the entry before, arrived.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Arrival {
    pub(super) last: u64,
    pub(super) at: Duration,
}

/// The ingest side.
#[derive(Debug)]
pub(super) struct Arrivals(Producer<Arrival>);

/// The drain's side.
#[derive(Debug)]
pub(super) struct Departures {
    consumer: Consumer<Arrival>,
    releaser: Releaser<Arrival>,
    /// Height up to which blocks have left.
    left: u64,
}

/// The arrivals of a lane of `capacity` blocks that continues after the height `start`.
pub(super) fn arrivals(capacity: usize, start: u64) -> (Arrivals, Departures) {
    let (producer, consumer, releaser) = ring::ring(capacity, 0);
    (Arrivals(producer), Departures { consumer, releaser, left: start })
}

/// Memory that they take at most, in bytes.
pub(super) fn most_bytes(capacity: usize) -> u64 {
    ring::most_bytes::<Arrival>(capacity)
}

impl Arrivals {
    pub(super) fn push(&mut self, arrival: Arrival) {
        assert!(self.0.has_room(1), "every section in the lane has a block there");
        self.0.push(std::iter::once(arrival));
        self.0.finalize(self.0.received());
    }

    /// Gives all memory back, if no entry is in use.
    pub(super) fn trim(&mut self) {
        self.0.trim();
    }

    /// For how many entries there is memory.
    pub(super) fn allocated(&self) -> usize {
        self.0.allocated()
    }
}

impl Departures {
    /// Tells `each` of all blocks that leave up to `height` when they arrived and how many they are, and
    /// gives entries back.
    pub(super) fn leave(&mut self, height: u64, mut each: impl FnMut(Duration, u64)) {
        let mut done = 0;
        while self.left < height {
            let mut arrival = Arrival::default();
            self.consumer.read(done, 1, |next| arrival = *next);
            each(arrival.at, height.min(arrival.last) - self.left);
            self.left = height.min(arrival.last);
            done += u64::from(arrival.last <= height);
        }
        self.consumer.advance(done);
        self.releaser.release(self.consumer.taken());
    }
}
