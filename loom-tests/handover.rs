//! Every interleaving of the two ends of a hand-over: full, empty, and closed by either while the other one waits. In a
//! model a wait never times out, so a wake-up that is lost is a deadlock, which loom reports; and items are loom's Arcs,
//! so that it reports those that leak.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use std::time::Duration;

use engine::sync::{Receiver, RecvTimeout, Sender, handover};
use loom::sync::Arc;
use loom::thread;

fn ends(capacity: usize) -> (Sender<Arc<u64>>, Receiver<Arc<u64>>) {
    handover(capacity)
}

/// Catches: Relaxed in the store of `sent` or its load in `Receiver::try_recv` (an item is taken before it is there), in
/// the store of `taken` or its load in `Sender::try_send` (an item is put where one is being taken), and an end that does
/// something and wakes nobody.
#[test]
fn items_pass_a_full_hand_over_in_order() {
    bounded(3, || {
        let (mut sender, mut receiver) = ends(1);
        let sending = thread::spawn(move || {
            for item in 1..=3 {
                assert!(sender.send(Arc::new(item)).is_ok());
            }
        });
        for item in 1..=3 {
            assert_eq!(receiver.recv().as_deref(), Some(&item));
        }
        sending.join().unwrap();
    });
}

/// Catches: Relaxed in the store or the load of `closed`, or looking at it after `sent` (the last item is missed), and a
/// sender that closes after it wakes, or wakes nobody (the receiver waits for ever).
#[test]
fn a_receiver_that_waits_gets_the_last_item_and_then_hears_of_the_end() {
    loom::model(|| {
        let (mut sender, mut receiver) = ends(2);
        let sending = thread::spawn(move || {
            assert!(sender.send(Arc::new(1)).is_ok());
            drop(sender);
        });
        assert_eq!(receiver.recv().as_deref(), Some(&1));
        assert!(receiver.recv().is_none());
        sending.join().unwrap();
    });
}

/// Catches: a receiver that closes after it wakes, or wakes nobody (the sender waits for ever), and items that are
/// lost, or dropped twice, with an end that goes.
#[test]
fn a_sender_that_waits_for_room_hears_that_there_will_be_none() {
    loom::model(|| {
        let (mut sender, receiver) = ends(1);
        assert!(sender.send(Arc::new(1)).is_ok());
        let dropping = thread::spawn(move || drop(receiver));
        assert_eq!(*sender.send(Arc::new(2)).unwrap_err(), 2);
        drop(sender);
        dropping.join().unwrap();
    });
}

/// Catches: looking at the clock before the places (the item has come in time and is not given), a closing that hides an
/// item, and a wait that does not end with the sender.
#[test]
fn a_wait_that_ends_gives_what_came_in_time_or_says_that_nothing_will() {
    loom::model(|| {
        let (mut sender, mut receiver) = ends(1);
        let sending = thread::spawn(move || {
            assert!(sender.send(Arc::new(1)).is_ok());
        });
        // Nothing has woken this end before, so it waits for the item.
        assert_eq!(receiver.recv_timeout(Duration::ZERO).as_deref(), Ok(&1));
        // The item may have left a wake-up, which looks like the end of the time.
        while let Err(end) = receiver.recv_timeout(Duration::ZERO) {
            if end == RecvTimeout::Closed {
                break;
            }
        }
        sending.join().unwrap();
    });
}

/// Two hand-overs in a circle, as between sealing and persisting: full things one way, empty ones back.
///
/// Catches: what the first two tests catch, in both directions.
#[test]
fn things_go_round_between_two_stages_until_the_first_one_ends() {
    bounded(3, || {
        let (mut full, mut to_store) = ends(1);
        let (mut give_back, mut spare) = ends(1);
        let storing = thread::spawn(move || {
            let mut stored = 0;
            while let Some(thing) = to_store.recv() {
                stored += *thing;
                let _ = give_back.try_send(thing);
            }
            stored
        });
        for _ in 0..2 {
            let thing = spare.try_recv().unwrap_or_else(|| Arc::new(1));
            assert!(full.send(thing).is_ok());
        }
        drop(full);
        assert_eq!(storing.join().unwrap(), 2);
        drop(spare);
    });
}

/// Catches: a depth whose cursors are read newest first (more would have been taken than sent).
#[test]
fn depth_is_never_more_than_there_is_room_for_nor_below_nothing() {
    loom::model(|| {
        let (mut sender, mut receiver) = ends(1);
        let depth = sender.depth();
        let sending = thread::spawn(move || {
            let _ = sender.try_send(Arc::new(1));
            receiver.try_recv();
            let _ = sender.try_send(Arc::new(2));
            receiver.try_recv();
        });
        let seen = depth.get();
        assert!(seen <= 2, "{seen}");
        sending.join().unwrap();
        assert_eq!(depth.get(), 0);
    });
}

/// Interleavings with at most so many preemptions: without a bound there are too many.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
