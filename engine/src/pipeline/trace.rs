//! What the newest main blocks went through, and when: two rings that the stages write as they go, for whoever looks.
//!
//! # Ordering
//! Each ring is written by one thread and read by any, and nobody waits. A place is emptied (height 0), filled word by word
//! with Release, and then named with its height, with Release. A reader that got a word of a later block loaded it with
//! Acquire, so it then sees that the place does not have the height any more that it asked for.
//!
//! # Capacity
//! The newest [`KEPT`] main blocks, 120 bytes each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::chain::Height;

/// For so many main blocks it is known.
const KEPT: usize = 4096;

/// What a main block went through. All times are of the engine's monotonic clock, to the microsecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockTrace {
    /// Its height.
    pub height: Height,
    /// Side blocks in it.
    pub leaf_count: u64,
    /// Side chains with blocks in it.
    pub chain_count: u64,
    /// Main blocks that were made durable with the same sync, this one included.
    pub synced_with: u64,
    /// The first of its side blocks was received; where several main blocks shared a sync, the first of all of them.
    pub received: Duration,
    /// Sealing began: it was decided which blocks go into it.
    pub gathered: Duration,
    /// They were read from their lanes and hashed.
    pub hashed: Duration,
    /// The persisting stage took it.
    pub handed_on: Duration,
    /// It was in the log's file.
    pub appended: Duration,
    /// It was on the disk.
    pub synced: Duration,
    /// Whoever waits for it was told.
    pub published: Duration,
}

/// What the sealing stage writes down of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) gathered: Duration,
    pub(super) hashed: Duration,
}

/// What the persisting stage writes down of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Persisted {
    pub(super) leaf_count: u64,
    pub(super) chain_count: u64,
    pub(super) synced_with: u64,
    pub(super) received: Duration,
    pub(super) handed_on: Duration,
    pub(super) appended: Duration,
    pub(super) synced: Duration,
    pub(super) published: Duration,
}

/// Written by the sealing stage.
#[derive(Debug)]
pub(crate) struct SealTrace(Ring<2>);

impl SealTrace {
    pub(crate) fn new() -> Self {
        Self(Ring::new())
    }

    pub(super) fn record(&self, height: Height, Sealed { gathered, hashed }: Sealed) {
        self.0.write(height, [micros(gathered), micros(hashed)]);
    }
}

/// Written by the persisting stage.
#[derive(Debug)]
pub(crate) struct PersistTrace(Ring<8>);

impl PersistTrace {
    pub(crate) fn new() -> Self {
        Self(Ring::new())
    }

    pub(super) fn record(&self, height: Height, block: &Persisted) {
        let Persisted { leaf_count, chain_count, synced_with, .. } = *block;
        let times = [block.received, block.handed_on, block.appended, block.synced, block.published];
        let [received, handed_on, appended, synced, published] = times.map(micros);
        self.0.write(
            height,
            [leaf_count, chain_count, synced_with, received, handed_on, appended, synced, published],
        );
    }
}

/// What both have of a block, if it is one of the newest.
pub(super) fn trace(seal: &SealTrace, persist: &PersistTrace, height: Height) -> Option<BlockTrace> {
    let [gathered, hashed] = seal.0.read(height)?.map(Duration::from_micros);
    let [leaf_count, chain_count, synced_with, times @ ..] = persist.0.read(height)?;
    let [received, handed_on, appended, synced, published] = times.map(Duration::from_micros);
    // A block may come to a lane while it is sealed, and shares its sync with this one.
    let received = received.min(gathered);
    Some(BlockTrace {
        height,
        leaf_count,
        chain_count,
        synced_with,
        received,
        gathered,
        hashed,
        handed_on,
        appended,
        synced,
        published,
    })
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[derive(Debug)]
struct Ring<const N: usize>(Box<[Place<N>]>);

#[derive(Debug)]
struct Place<const N: usize> {
    /// Whose words these are; 0: nobody's, they are being written.
    height: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Ring<N> {
    fn new() -> Self {
        let place =
            |_| Place { height: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) };
        Self((0..KEPT).map(place).collect())
    }

    fn place(&self, height: Height) -> &Place<N> {
        &self.0[(height.0 % KEPT as u64) as usize]
    }

    /// For one thread.
    fn write(&self, height: Height, words: [u64; N]) {
        let place = self.place(height);
        place.height.store(0, Ordering::Relaxed);
        for (place, word) in place.words.iter().zip(words) {
            // Pairs with the load of the words in `read`.
            place.store(word, Ordering::Release);
        }
        // Pairs with the first load of the height in `read`.
        place.height.store(height.0, Ordering::Release);
    }

    fn read(&self, height: Height) -> Option<[u64; N]> {
        let place = self.place(height);
        let named = || (height.0 > 0).then_some(height.0);
        if Some(place.height.load(Ordering::Acquire)) != named() {
            return None;
        }
        let words = std::array::from_fn(|index| place.words[index].load(Ordering::Acquire));
        (Some(place.height.load(Ordering::Relaxed)) == named()).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn the_newest_blocks_are_known_and_older_ones_are_not() {
        let ring = Ring::<2>::new();
        assert_eq!((ring.read(Height(0)), ring.read(Height(1))), (None, None));
        for height in 1..=KEPT as u64 + 5 {
            ring.write(Height(height), [height, 2 * height]);
        }
        assert_eq!((ring.read(Height(5)), ring.read(Height(6))), (None, Some([6, 12])));
        assert_eq!(ring.read(Height(KEPT as u64 + 5)), Some([KEPT as u64 + 5, 2 * (KEPT as u64 + 5)]));
    }

    #[test]
    fn what_is_read_is_of_one_block_while_it_is_written() {
        let (ring, done) = (Ring::<2>::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                // The same place, again and again.
                for round in 1..20_000_u64 {
                    let height = 1 + round * KEPT as u64;
                    ring.write(Height(height), [height, !height]);
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut round = 1;
            while !done.load(Ordering::Relaxed) {
                let height = 1 + round * KEPT as u64;
                if let Some([first, second]) = ring.read(Height(height)) {
                    assert_eq!((first, second), (height, !height));
                }
                round = if round > 20_000 { 1 } else { round + 1 };
            }
        });
    }
}
