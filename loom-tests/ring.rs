//! Every interleaving of the three ends of a lane's ring, at sizes that wrap around.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use engine::sync::ring::{Consumer, Producer, ring};
use loom::thread;

/// Pushes `items` one by one, waiting for room.
fn produce(producer: &mut Producer<u64>, items: u64) {
    for item in 1..=items {
        while producer.limit() == producer.received() {
            thread::yield_now();
        }
        producer.push([item].into_iter());
        producer.finalize(item);
    }
}

/// Takes `items` items and checks that they come complete and in order.
fn consume(consumer: &mut Consumer<u64>, items: u64, mut taken: impl FnMut(u64)) {
    let mut next = 1;
    while next <= items {
        let available = consumer.available();
        if available == 0 {
            thread::yield_now();
            continue;
        }
        consumer.take(available, |item| {
            assert_eq!(*item, next);
            next += 1;
        });
        taken(consumer.taken());
    }
}

/// Catches: Relaxed in `Producer::finalize` or `Consumer::available` (an item is read before it is written), and in
/// `Releaser::release` or `Producer::limit` (a slot is written while it is read).
#[test]
fn items_arrive_once_and_in_order_through_a_ring_that_wraps() {
    loom::model(|| {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        let producing = thread::spawn(move || produce(&mut producer, 4));
        consume(&mut consumer, 4, |taken| releaser.release(taken));
        producing.join().unwrap();
    });
}

/// Catches: loading the cursors of `Observer::cursors` newest first (then `indexed` can be seen above `received`).
#[test]
fn an_observer_never_sees_more_indexed_than_received() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(2, 0);
        let observer = producer.observer();
        let working = thread::spawn(move || {
            for item in 1..=2 {
                producer.push([item].into_iter());
                producer.finalize(item);
                consumer.take(1, |_| ());
                releaser.release(item);
            }
        });
        let seen = observer.cursors();
        assert!(seen.indexed <= seen.finalized && seen.finalized <= seen.received, "{seen:?}");
        working.join().unwrap();
    });
}

/// Catches: Relaxed in `Consumer::take` or `Releaser::taken` (a slot is given back, and its page taken away, while the
/// consumer still reads it). Joining the releaser first orders its `indexed` for the producer, so that only the pair under
/// test orders the consumer's read.
#[test]
fn a_page_is_taken_back_only_after_all_of_it_was_read() {
    loom::model(|| {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        producer.push([1].into_iter());
        producer.finalize(1);
        let consuming = thread::spawn(move || consumer.take(1, |item| assert_eq!(*item, 1)));
        let releasing = thread::spawn(move || releaser.release(releaser.taken()));
        producer.trim();
        releasing.join().unwrap();
        producer.trim();
        if producer.limit() > producer.received() {
            producer.push([2].into_iter());
        }
        consuming.join().unwrap();
    });
}

/// Catches: Relaxed in `Producer::finalize` or `Consumer::available` (the consumer looks for a page before it is there),
/// and in `Releaser::release` or `Producer::limit` (a page is taken away while it is read).
#[test]
fn items_find_their_pages_though_these_come_and_go() {
    loom::model(|| {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        let producing = thread::spawn(move || {
            for item in 1..=3 {
                while producer.limit() == producer.received() {
                    thread::yield_now();
                }
                producer.trim();
                producer.push([item].into_iter());
                producer.finalize(item);
            }
        });
        consume(&mut consumer, 3, |taken| releaser.release(taken));
        producing.join().unwrap();
    });
}
