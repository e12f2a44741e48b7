//! A ring of slots addressed by height: the memory of one lane.
//!
//! ```text
//!   indexed <= taken <= finalized <= received <= indexed + capacity
//!   |  free   |  being stored  |  to be sealed  |  not final yet  |  free ...
//! ```
//!
//! # Ownership
//! [`Producer`] writes slots and moves `received` and `finalized`; [`Consumer`] reads final slots and moves
//! `taken`; [`Releaser`] moves `indexed` and so gives slots back. There is one of each, none can be cloned,
//! and each moves its own cursors only, of which it keeps copies (and a model would not try all orders of a
//! store that follows a load of its own): that is what makes the slots safe to share without a lock. Several
//! threads may read through one `&Consumer`; only its owner, with `&mut`, moves on, so all of them have ended
//! by then.
//!
//! # Memory
//! Slots lie in pages of [`PAGE`], found by a table. A producer that reaches the next page brings the oldest
//! one there if nothing of it is in use any more, and a new one if not: so a ring takes memory for what it
//! holds, and what it writes to is still in the cache. A small ring may end up with a page in every place:
//! each is then used again where it is, a turn later. [`Producer::trim`] gives all of it back when nothing is
//! in use.
//!
//! # Ordering
//! A cursor is stored with Release after the slots behind it were written (or read for the last time), and
//! loaded with Acquire before the slots up to it are read (or written again).

use crossbeam::utils::CachePadded;

use super::facade::{Arc, AtomicBool, AtomicU64, Ordering, UnsafeCell};

/// How many slots a page has. One for loom and shuttle, so that the ring of a model has few and uses them
/// again soon.
pub const PAGE: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// Memory that a ring of `capacity` items takes at most, in bytes.
pub fn most_bytes<T>(capacity: usize) -> u64 {
    let bytes = |count: usize, each: usize| (count as u64).saturating_mul(each as u64);
    bytes(most_pages(capacity), size_of::<[UnsafeCell<T>; PAGE]>())
        .saturating_add(bytes(places(capacity), size_of::<Option<Page<T>>>()))
        .saturating_add(size_of::<Shared<T>>() as u64)
}

/// How many pages the heights in use touch at most: they may begin and end in the middle of one, so one more
/// than they would fill.
fn most_pages(capacity: usize) -> usize {
    capacity.div_ceil(PAGE) + 1
}

/// How many places the table of pages has.
fn places(capacity: usize) -> usize {
    most_pages(capacity).next_power_of_two()
}

/// Makes a ring that holds `capacity` items at most, whose first item will have the height `start + 1`.
///
/// # Panics
/// When `capacity` is 0: a ring that can never hold anything is a mistake of the caller.
pub fn ring<T: Copy + Default>(capacity: usize, start: u64) -> (Producer<T>, Consumer<T>, Releaser<T>) {
    assert!(capacity > 0, "a ring holds at least one item");
    let shared = Arc::new(Shared {
        pages: (0..places(capacity)).map(|_| UnsafeCell::new(None)).collect(),
        capacity: capacity as u64,
        produced: CachePadded::new(Produced {
            received: AtomicU64::new(start),
            finalized: AtomicU64::new(start),
            held: AtomicBool::new(false),
        }),
        taken: CachePadded::new(AtomicU64::new(start)),
        indexed: CachePadded::new(AtomicU64::new(start)),
    });
    (
        Producer {
            shared: Arc::clone(&shared),
            received: start,
            finalized: start,
            indexed: start,
            pages: 0,
            oldest: 0,
        },
        Consumer { shared: Arc::clone(&shared), taken: start },
        Releaser { shared, indexed: start },
    )
}

#[derive(Debug)]
struct Shared<T> {
    /// A power of two of them, so that the page of a height is found by a mask. Two pages in use never share
    /// a place: there are more places than the heights in use can touch pages.
    pages: Box<[UnsafeCell<Option<Page<T>>>]>,
    /// How many slots may be in use.
    capacity: u64,
    produced: CachePadded<Produced>,
    /// Newest height that the consumer has read. Written by the consumer; seen too low at worst.
    taken: CachePadded<AtomicU64>,
    /// Newest height whose slot is free again. Written by the releaser; seen too low at worst, which makes
    /// the producer believe in less room than there is.
    indexed: CachePadded<AtomicU64>,
}

/// The producer's cursors, which it mostly moves at once.
#[derive(Debug)]
struct Produced {
    /// Newest height in a slot. Written by the producer; others may see it stale, that is, too low.
    received: AtomicU64,
    /// Newest height that the consumer may read. Written by the producer; seen too low at worst.
    finalized: AtomicU64,
    /// Whether the consumer should leave alone what it may read. Written by any observer; guards nothing. It stands
    /// here because whoever reads it reads `finalized` too: the line is there.
    held: AtomicBool,
}

// SAFETY: the slots are the only part that is not Sync by itself. A slot is written by the one producer only
// while its height is in (received, indexed + capacity], and read through the one consumer only while it is
// in (taken, finalized]; the cursors keep these ranges apart (module docs), so nobody reads a slot that is
// being written. A place in the table is written by the producer only while none of its heights is in
// (indexed, received as published], and read through the consumer only for a height in (taken, finalized],
// which is within that range. `T: Send` because an item written by one thread is read by another; `T: Sync`
// because several threads may read it at once, through `&Consumer`, and the producer beside them.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

// SAFETY: nothing in it is bound to a thread: atomics, and slots of a type that may move between threads.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

type Page<T> = Box<[UnsafeCell<T>; PAGE]>;

impl<T> Shared<T> {
    /// The place in the table of the page that `height` is in.
    fn place(&self, height: u64) -> &UnsafeCell<Option<Page<T>>> {
        &self.pages[(height / PAGE as u64) as usize & (self.pages.len() - 1)]
    }

    /// The slots from `height` to the end of its page.
    ///
    /// # Safety
    /// The caller is the producer, or the consumer with a `height` in (taken, finalized]; and the page is
    /// there. Then nobody writes the place: the producer only does so in `bring` and `trim`, which hold
    /// `&mut` of it.
    unsafe fn slots(&self, height: u64) -> &[UnsafeCell<T>] {
        self.place(height).with(|page| {
            // SAFETY: the caller's promise. The page is not freed while the caller's height is in use, and
            // slots have no other owner than their cells.
            let page = unsafe { &*page };
            let page = page.as_ref().expect("an item was put there before it is read");
            &page[(height % PAGE as u64) as usize..]
        })
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
    /// Newest height that is stored for good, and the newest one that there is room for.
    pub fn room(&self) -> (u64, u64) {
        // Relaxed: two numbers for a sender; no slot is touched by what they say.
        let indexed = self.0.indexed.load(Ordering::Relaxed);
        (indexed, indexed + self.0.capacity)
    }

    /// Asks the consumer to leave alone what it may read, or no longer to.
    pub fn hold(&self, held: bool) {
        // Relaxed: no slot is touched by what it says, and the slots stay what they are. Whoever must be seen at once
        // rings the consumer's doorbell afterwards.
        self.0.produced.held.store(held, Ordering::Relaxed);
    }

    /// What was asked for last.
    pub fn is_held(&self) -> bool {
        // Relaxed: as in `hold`.
        self.0.produced.held.load(Ordering::Relaxed)
    }

    /// Newest height received.
    pub fn received(&self) -> u64 {
        // Acquire: pairs with the Release store in `Producer::push`, as in `cursors`.
        self.0.produced.received.load(Ordering::Acquire)
    }

    /// The cursors, oldest first, so that `indexed <= finalized <= received` holds in the snapshot.
    pub fn cursors(&self) -> Cursors {
        // Acquire, each: pairs with the Release store of the cursor's owner, so that the cursors read
        // afterwards are at least as new as when this one was written.
        let indexed = self.0.indexed.load(Ordering::Acquire);
        let finalized = self.0.produced.finalized.load(Ordering::Acquire);
        let received = self.0.produced.received.load(Ordering::Acquire);
        Cursors { indexed, finalized, received }
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// This end's own copy of `received`, which nobody else moves.
    received: u64,
    /// And of `finalized`.
    finalized: u64,
    /// The last `indexed` seen: refreshed when room is asked for.
    indexed: u64,
    /// How many pages there are: one after the other, the last one with the newest height.
    pages: usize,
    /// Which is the first of them, counted from that of height 0. Of no meaning when there is none, nor once
    /// every place has one: none is brought then.
    oldest: u64,
}

impl<T: Copy + Default> Producer<T> {
    /// Newest height in the ring.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The newest height that there is room for now.
    pub fn limit(&mut self) -> u64 {
        // Acquire: pairs with the Release store in `Releaser::release`, so that the consumer's reads of a
        // slot have ended before it is written again.
        self.indexed = self.shared.indexed.load(Ordering::Acquire);
        self.indexed + self.shared.capacity
    }

    /// Whether there is room for `count` more items. Looks anew only if there was not when it last looked.
    pub fn has_room(&mut self, count: u64) -> bool {
        let last = self.received + count;
        last <= self.indexed + self.shared.capacity || last <= self.limit()
    }

    /// Puts `items` at the heights after [`Producer::received`] and publishes them as received, not yet
    /// final.
    ///
    /// # Panics
    /// When there is no room for all of them: the caller asks [`Producer::limit`] or [`Producer::has_room`]
    /// first.
    pub fn push(&mut self, items: impl ExactSizeIterator<Item = T>) {
        let last = self.received + items.len() as u64;
        assert!(last <= self.indexed + self.shared.capacity, "pushed above the limit");
        let mut items = items.peekable();
        while items.peek().is_some() {
            self.bring(self.received + 1);
            // SAFETY: this is the producer, and the page was just brought.
            let slots = unsafe { self.shared.slots(self.received + 1) };
            for (slot, item) in slots.iter().zip(&mut items) {
                // Checked again item by item, because a safe iterator may claim any length.
                assert!(self.received < last, "the iterator yields more than it promised");
                self.received += 1;
                // SAFETY: this height is in (received as published, indexed + capacity], so neither end reads
                // the slot: the consumer stays at or below `finalized`, which is at most the published
                // `received`.
                slot.with_mut(|slot| unsafe { *slot = item });
            }
        }
        // Release: pairs with the Acquire load in `Observer::cursors`.
        self.shared.produced.received.store(self.received, Ordering::Release);
    }

    /// Lets the consumer have everything up to `height`.
    ///
    /// # Panics
    /// When `height` was not received, or is below what is final already.
    pub fn finalize(&mut self, height: u64) {
        assert!(
            self.finalized <= height && height <= self.received,
            "finality moves forward, over what was received"
        );
        self.finalized = height;
        // Release: pairs with the Acquire load in `Consumer::available`, and makes the slots visible.
        self.shared.produced.finalized.store(height, Ordering::Release);
    }

    /// The item at `height`, while its slot has not been given back.
    pub fn get(&mut self, height: u64) -> Option<T> {
        self.limit();
        (self.indexed < height && height <= self.received).then(|| {
            // SAFETY: this is the producer, and a height that is in use has its page.
            let slots = unsafe { self.shared.slots(height) };
            // SAFETY: the slot was written by this end, which holds `&mut self` and so does not write now;
            // the consumer only ever reads.
            slots[0].with(|slot| unsafe { *slot })
        })
    }

    /// Gives all memory back, if nothing is in use.
    pub fn trim(&mut self) {
        self.limit();
        if self.indexed < self.received || self.pages == 0 {
            return;
        }
        for place in &self.shared.pages {
            // SAFETY: everything received is indexed (Acquire in `limit`), so the consumer has taken all of
            // it and its reads have ended; it looks at no place before something is received and final again.
            place.with_mut(|place| drop(unsafe { (*place).take() }));
        }
        self.pages = 0;
    }

    /// How many slots there is memory for.
    pub fn allocated(&self) -> usize {
        self.pages * PAGE
    }

    /// Makes sure that the page of `height`, the next one to be written, is there.
    fn bring(&mut self, height: u64) {
        // SAFETY: only this end writes places, and it holds `&mut self`.
        let there = self.shared.place(height).with(|place| unsafe { (*place).is_some() });
        if there {
            // Either it is the page of the height before, or every place has one and this one is from a turn
            // ago: then all its heights are indexed, because there are more places than the heights in use
            // can touch pages.
            return;
        }
        self.limit();
        let last_of_oldest = self.oldest * PAGE as u64 + (PAGE as u64 - 1);
        let page = if self.pages > 0 && last_of_oldest <= self.indexed {
            self.oldest += 1;
            // SAFETY: every height of this page is indexed (Acquire in `limit`), so the consumer has taken
            // them and its reads have ended; it looks at this place no more before a height a turn later is
            // final.
            self.shared.place(last_of_oldest).with_mut(|place| unsafe { (*place).take() })
        } else {
            if self.pages == 0 {
                self.oldest = height / PAGE as u64;
            }
            self.pages += 1;
            Some(Box::new(std::array::from_fn(|_| UnsafeCell::new(T::default()))))
        };
        // SAFETY: there is no page in this place, so no height of it is in use, and the consumer does not
        // look here: it stays at or below the published `received`, whose page is there.
        self.shared.place(height).with_mut(|place| unsafe { *place = page });
    }

    /// An observer of the cursors.
    pub fn observer(&self) -> Observer<T> {
        Observer(Arc::clone(&self.shared))
    }
}

/// The reading end. Threads that share it may read at once: nothing it can reach changes before its owner
/// moves on.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// This end's own copy of `taken`, which nobody else moves.
    taken: u64,
}

impl<T: Copy + Sync> Consumer<T> {
    /// Newest height taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many final items have not been taken yet.
    pub fn available(&self) -> u64 {
        // Acquire: pairs with the Release store in `Producer::finalize`; the slots up to it are written.
        self.shared.produced.finalized.load(Ordering::Acquire) - self.taken
    }

    /// Whether it was asked to leave them alone: [`Observer::hold`].
    pub fn is_held(&self) -> bool {
        // Relaxed: as in `Observer::hold`.
        self.shared.produced.held.load(Ordering::Relaxed)
    }

    /// Hands the `count` items from the `offset`-th not yet taken on to `each`, oldest first. Takes nothing.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn read(&self, offset: u64, count: u64, mut each: impl FnMut(&T)) {
        let left = self.available().checked_sub(offset);
        assert!(left.is_some_and(|left| count <= left), "read more than is final");
        let last = self.taken + offset + count;
        let mut height = self.taken + offset + 1;
        while height <= last {
            // SAFETY: the height is in (taken, finalized], so its page was brought before `finalized` was
            // published (Acquire in `available`, by this very thread).
            let slots = unsafe { self.shared.slots(height) };
            for slot in slots.iter().take((last - height + 1) as usize) {
                // SAFETY: the height is in (taken, finalized]: written before `finalized` was published, and
                // not written again before `taken` has passed it, which takes `&mut self`, and the releaser's
                // `indexed` has, too. Other threads at most read it.
                slot.with(|slot| each(unsafe { &*slot }));
                height += 1;
            }
        }
    }

    /// Takes the next `count` items, whoever read them. Their slots stay in use until they are released.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn advance(&mut self, count: u64) {
        assert!(count <= self.available(), "took more than is final");
        self.taken += count;
        // Release: pairs with the Acquire load in `Releaser::taken`: this thread's reads have ended, and
        // those of others too, who gave their `&Consumer` back to it.
        self.shared.taken.store(self.taken, Ordering::Release);
    }

    /// [`Consumer::read`] and [`Consumer::advance`] in one. For tests and measurements: the stages do the two
    /// apart.
    ///
    /// # Panics
    /// When fewer are available.
    pub fn take(&mut self, count: u64, each: impl FnMut(&T)) {
        self.read(0, count, each);
        self.advance(count);
    }
}

/// The end that gives slots back.
#[derive(Debug)]
pub struct Releaser<T> {
    shared: Arc<Shared<T>>,
    /// This end's own copy of `indexed`, which nobody else moves.
    indexed: u64,
}

impl<T> Releaser<T> {
    /// Newest height that the consumer has taken: the highest that may be released.
    pub fn taken(&self) -> u64 {
        // Acquire: pairs with the Release store in `Consumer::advance`: its reads happen before the slots are
        // offered again.
        self.shared.taken.load(Ordering::Acquire)
    }

    /// Gives back every slot up to `height`.
    ///
    /// # Panics
    /// When the consumer has not taken up to `height`, or `height` was given back before.
    pub fn release(&mut self, height: u64) {
        assert!(height <= self.taken(), "released what was not taken");
        assert!(height >= self.indexed, "released backwards");
        self.indexed = height;
        // Release: pairs with the Acquire load in `Producer::limit`.
        self.shared.indexed.store(height, Ordering::Release);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
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
    fn memory_is_taken_for_what_comes_and_given_back_when_nothing_is_in_use() {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1_000, 7);
        assert_eq!(producer.allocated(), 0);
        let mut last = 7;
        for count in [1, 63, 64, 65, 900, 1_000, 1] {
            producer.push((last + 1..=last + count).collect::<Vec<_>>().into_iter());
            last += count;
            producer.finalize(last);
            consumer.take(count, |_| ());
            producer.trim();
            assert!(producer.allocated() >= count as usize, "it is still in use");
            assert!(producer.allocated() <= count as usize + 2 * PAGE);
            assert_eq!(producer.get(last), Some(last));
            releaser.release(last);
            producer.trim();
            assert_eq!((producer.allocated(), producer.get(last)), (0, None));
        }
        // Without trimming, pages are used again and again, no more of them than what is held at a time.
        for _ in 0..100 {
            assert_eq!(producer.limit(), last + 1_000);
            producer.push((last + 1..=last + 700).collect::<Vec<_>>().into_iter());
            last += 700;
            producer.finalize(last);
            let mut next = last - 700;
            consumer.take(700, |item| {
                next += 1;
                assert_eq!(*item, next);
            });
            releaser.release(last);
        }
        assert!(producer.allocated() <= 700 + 2 * PAGE);
    }

    #[test]
    fn several_threads_read_what_is_final_at_any_offset_before_it_is_taken() {
        let (mut producer, mut consumer, _releaser) = ring::<u64>(1_000, 5);
        producer.push((6..=905).collect::<Vec<_>>().into_iter());
        producer.finalize(805);
        consumer.take(100, |_| ());
        let sum = |offset, count| {
            let mut sum = 0;
            consumer.read(offset, count, |item| sum += item);
            sum
        };
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let reading: Vec<_> = (0..7).map(|part| scope.spawn(move || sum(part * 100, 100))).collect();
            reading.into_iter().map(|reading| reading.join().unwrap()).collect()
        });
        assert_eq!(sums.iter().sum::<u64>(), (106..=805).sum::<u64>());
        assert_eq!((consumer.available(), consumer.taken()), (700, 105), "reading takes nothing");
        consumer.advance(700);
        assert_eq!((consumer.available(), consumer.taken()), (0, 805));
    }

    #[test]
    fn pages_of_a_small_ring_are_used_again_where_they_are_while_others_read() {
        // Two places: from height 64 on each has a page, and nothing is brought any more.
        const TURNS: u64 = 20;
        for capacity in [1, 10, PAGE] {
            let (mut producer, mut consumer, mut releaser) = ring::<u64>(capacity, 0);
            let last = TURNS * 2 * PAGE as u64;
            let producing = std::thread::spawn(move || {
                while producer.received() < last {
                    let next = producer.received() + 1;
                    let until = producer.limit().min(last);
                    producer.push((next..=until).collect::<Vec<_>>().into_iter());
                    producer.finalize(until);
                    assert!(producer.allocated() <= 2 * PAGE);
                    std::thread::yield_now();
                }
                producer.allocated()
            });
            let mut next = 1;
            while next <= last {
                let count = consumer.available();
                consumer.take(count, |item| {
                    assert_eq!(*item, next);
                    next += 1;
                });
                releaser.release(consumer.taken());
                std::thread::yield_now();
            }
            let allocated = producing.join().unwrap();
            assert!(allocated <= 2 * PAGE && most_bytes::<u64>(capacity) >= 8 * allocated as u64);
        }
    }

    #[test]
    fn a_page_a_turn_later_is_the_one_that_was_there() {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(10, 0);
        for height in 1..=1_000 {
            // Always nine in use, so that a page is still in use when the next one begins.
            producer.push([height].into_iter());
            producer.finalize(height);
            consumer.take(1, |item| assert_eq!(*item, height));
            releaser.release(height.saturating_sub(9));
            let pages = if height < PAGE as u64 { 1 } else { 2 };
            assert_eq!(producer.allocated(), pages * PAGE);
            for held in height.saturating_sub(8).max(1)..=height {
                assert_eq!(producer.get(held), Some(held));
            }
            producer.limit();
        }
        releaser.release(1_000);
        producer.trim();
        assert_eq!(producer.allocated(), 0);
        producer.push([1_001].into_iter());
        assert_eq!(producer.get(1_001), Some(1_001), "after all were given back, pages come anew");
    }

    #[test]
    #[should_panic(expected = "read more than is final")]
    fn what_is_not_final_is_not_read() {
        let (mut producer, consumer, _releaser) = ring::<u64>(3, 0);
        producer.push([1, 2].into_iter());
        producer.finalize(1);
        consumer.read(1, 1, |_| ());
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
