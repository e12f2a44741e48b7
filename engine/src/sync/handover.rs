//! A hand-over: a short queue between two threads, for things that move from one stage to the next and for used ones
//! that come back. Each end waits for the other, and notices when it is gone.
//!
//! # Ownership
//! [`Sender`] writes places and moves `sent`; [`Receiver`] empties places and moves `taken`. There is one of each and
//! none can be cloned, so every place belongs to one of them at any time: to the receiver while its number is in
//! (taken, sent], else to the sender.
//!
//! # Waiting
//! An end that has done something wakes the other one, every time; an end that has nothing to do looks, then parks. A
//! wake-up between the two is kept by the parker, so none is lost. That costs one atomic exchange for each item: an item
//! is a whole main block.

use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::facade::{Arc, AtomicBool, AtomicU64, Ordering, UnsafeCell};
use super::park::{Deadline, Parker, Unparker};

/// Makes a hand-over that holds `capacity` items at most.
///
/// # Panics
/// When `capacity` is 0: then nothing could ever be handed over.
pub fn handover<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a hand-over holds at least one item");
    let cursors = Arc::new(Cursors {
        sent: CachePadded::new(AtomicU64::new(0)),
        taken: CachePadded::new(AtomicU64::new(0)),
        closed: AtomicBool::new(false),
    });
    let places = (0..capacity).map(|_| UnsafeCell::new(None)).collect();
    let shared = Arc::new(Shared { places, cursors });
    let (room, work) = (Parker::new(), Parker::new());
    let sender =
        Sender { shared: Arc::clone(&shared), receiver: work.unparker().clone(), sent: 0, parker: room };
    let receiver = Receiver { shared, sender: sender.parker.unparker().clone(), taken: 0, parker: work };
    (sender, receiver)
}

#[derive(Debug)]
struct Shared<T> {
    /// Item number n, counted from 0, is in place n modulo their number.
    places: Box<[UnsafeCell<Option<T>>]>,
    cursors: Arc<Cursors>,
}

#[derive(Debug)]
struct Cursors {
    /// How many items were ever put. Written by the sender; seen too low at worst.
    sent: CachePadded<AtomicU64>,
    /// How many items were ever taken out. Written by the receiver; seen too low at worst.
    taken: CachePadded<AtomicU64>,
    /// Whether an end is gone. Set by the one that goes, never cleared; seen too late at worst, but not by an end that
    /// its going has woken.
    closed: AtomicBool,
}

// SAFETY: the places are the only part that is not Sync by itself. The sender touches a place only while its number
// is in [sent, taken + capacity), the receiver only while it is in [taken, sent); the cursors keep these ranges apart
// (module docs) and there is one of each end, so no two threads touch one place at once. `T: Send` because an item is
// put by one thread and taken, or dropped, by another; no two threads ever see it at once.
unsafe impl<T: Send> Sync for Shared<T> {}

// SAFETY: nothing in it is bound to a thread: atomics, and items of a type that may move between threads.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn place(&self, number: u64) -> &UnsafeCell<Option<T>> {
        &self.places[(number % self.places.len() as u64) as usize]
    }
}

impl Cursors {
    fn close(&self) {
        // Release: pairs with the Acquire load in `is_closed`, so that the last items are seen by whoever sees this.
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        // Acquire: see `close`.
        self.closed.load(Ordering::Acquire)
    }

    /// How many items wait; a little behind.
    fn len(&self) -> usize {
        // Acquire: pairs with the Release store in `Receiver::try_recv`; whoever took an item had seen it sent, so
        // `sent` is not read lower than `taken`.
        let taken = self.taken.load(Ordering::Acquire);
        // Relaxed: a number to show.
        (self.sent.load(Ordering::Relaxed) - taken) as usize
    }
}

/// The putting end. Dropping it closes the hand-over: what was sent is still received.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    receiver: Unparker,
    /// This end's own copy of `sent`, which nobody else moves.
    sent: u64,
    parker: Parker,
}

impl<T> Sender<T> {
    /// Hands `item` over; waits while there is no room.
    ///
    /// # Errors
    /// The receiver is gone: gives the item back.
    pub fn send(&mut self, mut item: T) -> Result<(), T> {
        loop {
            item = match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(item) => item,
            };
            if self.is_closed() {
                return Err(item);
            }
            // Whatever the receiver did after the look above has left a wake-up.
            self.parker.park();
        }
    }

    /// Hands `item` over, if there is room.
    ///
    /// # Errors
    /// There is none, or the receiver is gone: gives the item back.
    pub fn try_send(&mut self, item: T) -> Result<(), T> {
        let Shared { places, cursors } = &*self.shared;
        // Acquire: pairs with the Release store in `Receiver::try_recv`: the place was emptied before it is filled again.
        let waiting = self.sent - cursors.taken.load(Ordering::Acquire);
        if waiting >= places.len() as u64 || cursors.is_closed() {
            return Err(item);
        }
        // SAFETY: the number `sent` is not in [taken, sent), so the receiver does not touch its place, and this is the
        // only sender.
        self.shared.place(self.sent).with_mut(|place| unsafe { *place = Some(item) });
        self.sent += 1;
        // Release: pairs with the Acquire load in `Receiver::try_recv`: the item is there before it is announced.
        cursors.sent.store(self.sent, Ordering::Release);
        self.receiver.unpark();
        Ok(())
    }

    /// How many items wait to be received; a little too many at worst.
    pub fn len(&self) -> usize {
        self.shared.cursors.len()
    }

    /// Whether nothing waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.cursors.is_closed()
    }

    /// Sees how many items wait, from any thread.
    pub fn depth(&self) -> Depth {
        Depth(Arc::clone(&self.shared.cursors))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.cursors.close();
        self.receiver.unpark();
    }
}

/// The taking end. Dropping it closes the hand-over; what it did not take is dropped with the last end.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    sender: Unparker,
    /// This end's own copy of `taken`, which nobody else moves.
    taken: u64,
    parker: Parker,
}

/// Why [`Receiver::recv_timeout`] gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecvTimeout {
    /// Nothing came in time.
    #[error("nothing was handed over in time")]
    Timeout,
    /// The sender is gone and all is taken.
    #[error("nothing will be handed over any more: the sender is gone")]
    Closed,
}

impl<T> Receiver<T> {
    /// The next item; waits for one. `None`: the sender is gone and all is taken.
    pub fn recv(&mut self) -> Option<T> {
        self.recv_until(|parker| {
            parker.park();
            false
        })
        .ok()
    }

    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let cursors = &self.shared.cursors;
        // Acquire: pairs with the Release store in `Sender::try_send`: the item is there before it is taken.
        if cursors.sent.load(Ordering::Acquire) == self.taken {
            return None;
        }
        // SAFETY: the number `taken` is in [taken, sent), so the sender does not touch its place, and this is the only
        // receiver.
        let item = self.shared.place(self.taken).with_mut(|place| unsafe { (*place).take() });
        self.taken += 1;
        // Release: pairs with the Acquire load in `Sender::try_send`: the place is empty before it is offered again.
        cursors.taken.store(self.taken, Ordering::Release);
        self.sender.unpark();
        Some(item.expect("an item was put there before it was announced"))
    }

    /// The next item; waits for one, but not longer than `timeout`.
    ///
    /// # Errors
    /// None came in time, or none will come any more.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeout> {
        let deadline = Deadline::after(timeout);
        self.recv_until(|parker| deadline.park(parker))
    }

    /// The next item; waits for one, as often as `wait` does not say that it is too late.
    fn recv_until(&mut self, wait: impl Fn(&Parker) -> bool) -> Result<T, RecvTimeout> {
        let mut late = false;
        loop {
            // Looked at first: what was sent before the closing is visible to whoever sees the closing.
            let closed = self.shared.cursors.is_closed();
            if let Some(item) = self.try_recv() {
                return Ok(item);
            }
            if closed {
                return Err(RecvTimeout::Closed);
            }
            if late {
                return Err(RecvTimeout::Timeout);
            }
            // Whatever the sender did after the looks above has left a wake-up.
            late = wait(&self.parker);
        }
    }

    /// How many items wait to be received; a little too few at worst.
    pub fn len(&self) -> usize {
        self.shared.cursors.len()
    }

    /// Whether nothing waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sees how many items wait, from any thread.
    pub fn depth(&self) -> Depth {
        Depth(Arc::clone(&self.shared.cursors))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.cursors.close();
        self.sender.unpark();
    }
}

/// Sees how many items wait in a hand-over, and nothing else. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Depth(Arc<Cursors>);

impl Depth {
    /// How many items wait; a little behind.
    pub fn get(&self) -> usize {
        self.0.len()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn items_arrive_in_order_and_no_more_wait_than_there_is_room_for() {
        let (mut sender, mut receiver) = handover(2);
        let depth = sender.depth();
        assert_eq!((sender.try_send(1), sender.try_send(2), sender.try_send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!((sender.len(), receiver.len(), depth.get()), (2, 2, 2));
        assert_eq!((receiver.recv(), receiver.try_recv(), receiver.try_recv()), (Some(1), Some(2), None));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeout::Timeout));
        let sending = thread::spawn(move || (0..10_000).for_each(|item| sender.send(item).unwrap()));
        for item in 0..10_000 {
            assert_eq!(receiver.recv(), Some(item));
        }
        assert_eq!(receiver.recv(), None, "the sender is gone");
        assert_eq!(depth.get(), 0);
        sending.join().unwrap();
    }

    #[test]
    fn what_was_sent_before_the_sender_went_is_received() {
        let (mut sender, mut receiver) = handover(2);
        sender.send("last").unwrap();
        drop(sender);
        assert_eq!(receiver.recv_timeout(Duration::MAX), Ok("last"));
        assert_eq!(receiver.recv_timeout(Duration::MAX), Err(RecvTimeout::Closed));
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn sender_gets_its_item_back_when_the_receiver_is_gone_and_nothing_leaks() {
        let (mut sender, receiver) = handover(1);
        let item = Arc::new(());
        sender.send(Arc::clone(&item)).unwrap();
        let dropping = thread::spawn(move || drop(receiver));
        // Waits for room, and is told instead that there will be none.
        assert!(sender.send(Arc::clone(&item)).is_err());
        assert!(sender.is_closed());
        dropping.join().unwrap();
        drop(sender);
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
