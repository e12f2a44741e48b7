//! A ring of slots addressed by height: the memory of one lane.
//!
//! ```text
//!   indexed <= taken <= finalized <= received <= indexed + capacity
//!   |  free   |  being stored  |  to be sealed  |  not final yet  |  free ...
//! ```
//!
//! # Ownership
//! [`Producer`] writes slots and moves `received` and `finalized`; [`Consumer`] reads final slots and moves
//! `taken`; [`Releaser`] moves `indexed` and so gives slots back. There is one of each, none can be cloned, and
//! each moves its own cursors only: that is what makes the slots safe to share without a lock.
//!
//! # Ordering
//! A cursor is stored with Release after the slots behind it were written (or read for the last time), and
//! loaded with Acquire before the slots up to it are read (or written again).

use std::sync::OnceLock;

use crossbeam::utils::CachePadded;

use super::facade::{Arc, AtomicU64, Ordering, UnsafeCell};

/// Makes a ring that holds `capacity` items at most, whose first item will have the height `start + 1`.
///
/// # Panics
/// When `capacity` is 0: a ring that can never hold anything is a mistake of the caller.
pub fn ring<T: Copy + Default>(capacity: usize, start: u64) -> (Producer<T>, Consumer<T>, Releaser<T>) {
    assert!(capacity > 0, "a ring holds at least one item");
    let cursor = || CachePadded::new(AtomicU64::new(start));
    let shared = Arc::new(Shared {
        slots: OnceLock::new(),
        capacity: capacity as u64,
        received: cursor(),
        finalized: cursor(),
        taken: cursor(),
        indexed: cursor(),
    });
    (
        Producer { shared: Arc::clone(&shared), received: start, indexed: start },
        Consumer { shared: Arc::clone(&shared), taken: start },
        Releaser { shared },
    )
}

#[derive(Debug)]
struct Shared<T> {
    /// A power of two of them, so that a height is mapped by a mask. Made by the producer at its first push, so
    /// that a chain which never sends takes no memory.
    slots: OnceLock<Box<[UnsafeCell<T>]>>,
    /// How many of them may be in use.
    capacity: u64,
    /// Newest height in a slot. Written by the producer; others may see it stale, that is, too low.
    received: CachePadded<AtomicU64>,
    /// Newest height that the consumer may read. Written by the producer; seen too low at worst.
    finalized: CachePadded<AtomicU64>,
    /// Newest height that the consumer has read. Written by the consumer; seen too low at worst.
    taken: CachePadded<AtomicU64>,
    /// Newest height whose slot is free again. Written by the releaser; seen too low at worst, which makes the
    /// producer believe in less room than there is.
    indexed: CachePadded<AtomicU64>,
}

// SAFETY: the slots are the only part that is not Sync by itself. A slot is written by the one producer only
// while its height is in (received, indexed + capacity], and read by the one consumer only while it is in
// (taken, finalized]; the cursors keep these ranges apart (module docs), so no two threads touch one slot at
// once. `T: Send` because an item written by one thread is read by another.
unsafe impl<T: Send> Sync for Shared<T> {}

// SAFETY: nothing in it is bound to a thread: atomics, and slots of a type that may move between threads.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Default> Shared<T> {
    fn allocate(&self) -> Slots<'_, T> {
        let count = (self.capacity as usize).next_power_of_two();
        Slots(self.slots.get_or_init(|| (0..count).map(|_| UnsafeCell::new(T::default())).collect()))
    }
}

impl<T> Shared<T> {
    fn slots(&self) -> Slots<'_, T> {
        Slots(self.slots.get().expect("an item was pushed before any is read"))
    }
}

struct Slots<'a, T>(&'a [UnsafeCell<T>]);

impl<T> Slots<'_, T> {
    fn at(&self, height: u64) -> &UnsafeCell<T> {
        &self.0[(height & (self.0.len() as u64 - 1)) as usize]
    }
}

/// Where a ring's cursors stand: a snapshot, each at most a little behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// Newest height that is stored for good.
    pub indexed: u64,
    /// Newest final height.
    pub finalized: u64,
    /// Newest height received.
    pub received: u64,
}

/// Sees the cursors of a ring and nothing else.
#[derive(Debug)]
pub struct Observer<T>(Arc<Shared<T>>);

impl<T> Observer<T> {
    /// The cursors, oldest first, so that `indexed <= finalized <= received` holds in the snapshot.
    pub fn cursors(&self) -> Cursors {
        // Acquire, each: pairs with the Release store of the cursor's owner, so that the cursors read
        // afterwards are at least as new as when this one was written.
        let indexed = self.0.indexed.load(Ordering::Acquire);
        let finalized = self.0.finalized.load(Ordering::Acquire);
        let received = self.0.received.load(Ordering::Acquire);
        Cursors { indexed, finalized, received }
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// This end's own copy of `received`, which nobody else moves.
    received: u64,
    /// The last `indexed` seen: refreshed when room is asked for.
    indexed: u64,
}

impl<T: Copy + Default> Producer<T> {
    /// Newest height in the ring.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The newest height that there is room for now.
    pub fn limit(&mut self) -> u64 {
        // Acquire: pairs with the Release store in `Releaser::release`, so that the consumer's reads of a slot
        // have ended before it is written again.
        self.indexed = self.shared.indexed.load(Ordering::Acquire);
        self.indexed + self.shared.capacity
    }

    /// Puts `items` at the heights after [`Producer::received`] and publishes them as received, not yet final.
    ///
    /// # Panics
    /// When there is no room for all of them: the caller asks [`Producer::limit`] first.
    pub fn push(&mut self, items: impl ExactSizeIterator<Item = T>) {
        let last = self.received + items.len() as u64;
        assert!(last <= self.indexed + self.shared.capacity, "pushed above the limit");
        let slots = self.shared.allocate();
        for item in items {
            // Checked again item by item, because a safe iterator may claim any length.
            assert!(self.received < last, "the iterator yields more than it promised");
            self.received += 1;
            // SAFETY: this height is in (received as published, indexed + capacity], so neither end reads the
            // slot: the consumer stays at or below `finalized`, which is at most the published `received`.
            slots.at(self.received).with_mut(|slot| unsafe { *slot = item });
        }
        // Release: pairs with the Acquire load in `Observer::cursors`.
        self.shared.received.store(self.received, Ordering::Release);
    }

    /// Lets the consumer have everything up to `height`.
    ///
    /// # Panics
    /// When `height` was not received, or is below what is final already.
    pub fn finalize(&mut self, height: u64) {
        // Relaxed: only this end writes it.
        let before = self.shared.finalized.load(Ordering::Relaxed);
        assert!(
            before <= height && height <= self.received,
            "finality moves forward, over what was received"
        );
        // Release: pairs with the Acquire load in `Consumer::available`, and makes the slots visible.
        self.shared.finalized.store(height, Ordering::Release);
    }

    /// The item at `height`, while its slot has not been given back.
    pub fn get(&mut self, height: u64) -> Option<T> {
        self.limit();
        (self.indexed < height && height <= self.received).then(|| {
            // SAFETY: the slot was written by this end, which holds `&mut self` and so does not write now; the
            // consumer only ever reads.
            self.shared.slots().at(height).with(|slot| unsafe { *slot })
        })
    }

    /// An observer of the cursors.
    pub fn observer(&self) -> Observer<T> {
        Observer(Arc::clone(&self.shared))
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// This end's own copy of `taken`, which nobody else moves.
    taken: u64,
}

impl<T: Copy> Consumer<T> {
    /// Newest height taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many final items have not been taken yet.
    pub fn available(&self) -> u64 {
        // Acquire: pairs with the Release store in `Producer::finalize`; the slots up to it are written.
        self.shared.finalized.load(Ordering::Acquire) - self.taken
    }

    /// Hands the next `count` items to `each`, oldest first. Their slots stay in use until they are released.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn take(&mut self, count: u64, mut each: impl FnMut(&T)) {
        assert!(count <= self.available(), "took more than is final");
        if count == 0 {
            return;
        }
        let slots = self.shared.slots();
        for height in self.taken + 1..=self.taken + count {
            // SAFETY: the height is in (taken, finalized]: written before `finalized` was published (Acquire in
            // `available`), and not written again before this end has moved `taken` past it and the releaser
            // `indexed`.
            slots.at(height).with(|slot| each(unsafe { &*slot }));
        }
        self.taken += count;
        // Release: pairs with the Acquire load in `Releaser::release`: the reads above have ended.
        self.shared.taken.store(self.taken, Ordering::Release);
    }
}

/// The end that gives slots back.
#[derive(Debug)]
pub struct Releaser<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Releaser<T> {
    /// Newest height that the consumer has taken: the highest that may be released.
    pub fn taken(&self) -> u64 {
        // Acquire: pairs with the Release store in `Consumer::take`: its reads happen before the slots are offered
        // again.
        self.shared.taken.load(Ordering::Acquire)
    }

    /// Gives back every slot up to `height`.
    ///
    /// # Panics
    /// When the consumer has not taken up to `height`, or `height` was given back before.
    pub fn release(&mut self, height: u64) {
        assert!(height <= self.taken(), "released what was not taken");
        // Relaxed: only this end writes it.
        assert!(height >= self.shared.indexed.load(Ordering::Relaxed), "released backwards");
        // Release: pairs with the Acquire load in `Producer::limit`.
        self.shared.indexed.store(height, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_across_many_wraps_and_room_is_bounded() {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(3, 10);
        let (mut sent, mut seen) = (10, 10);
        for _ in 0..100 {
            let room = producer.limit() - producer.received();
            assert_eq!(room, 3, "everything was given back");
            producer.push((sent + 1..=sent + 3).collect::<Vec<_>>().into_iter());
            sent += 3;
            assert_eq!(producer.limit() - producer.received(), 0);
            assert_eq!(consumer.available(), 0, "received is not final");
            producer.finalize(sent);
            consumer.take(3, |item| {
                seen += 1;
                assert_eq!(*item, seen);
            });
            assert_eq!(producer.get(sent), Some(sent), "reading does not remove");
            releaser.release(sent);
            assert_eq!(producer.get(sent), None);
        }
        let cursors = producer.observer().cursors();
        assert_eq!((cursors.indexed, cursors.finalized, cursors.received), (310, 310, 310));
    }

    #[test]
    #[should_panic(expected = "above the limit")]
    fn more_than_the_capacity_is_never_held() {
        let (mut producer, _consumer, _releaser) = ring::<u64>(3, 0);
        producer.push([1, 2, 3, 4].into_iter());
    }

    #[test]
    #[should_panic(expected = "released what was not taken")]
    fn what_was_not_taken_cannot_be_released() {
        let (mut producer, _consumer, mut releaser) = ring::<u64>(3, 0);
        producer.push([1].into_iter());
        producer.finalize(1);
        releaser.release(1);
    }
}
