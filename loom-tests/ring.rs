//! Every interleaving of the three ends of a lane's ring, at sizes that wrap around.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use engine::sync::ring::{Consumer, Producer, ring};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
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
    bounded(3, || {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        let producing = thread::spawn(move || produce(&mut producer, 4));
        consume(&mut consumer, 4, |taken| releaser.release(taken));
        producing.join().unwrap();
    });
}

/// Catches: loading the cursors of `Observer::cursors` newest first (then `indexed` can be seen above `received`).
#[test]
fn an_observer_never_sees_more_indexed_than_received() {
    loom::model(|| {
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

/// Catches: Relaxed in `Consumer::advance` or `Releaser::taken` (a slot is given back, and its page taken away, while the
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
    bounded(3, || {
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

/// Catches: Relaxed in `Producer::finalize` or `Consumer::available` (a thread reads an item before it is written), and
/// in `Releaser::release` or `Producer::limit` (an item is overwritten while one of them reads it).
#[test]
fn several_threads_read_beside_the_producer() {
    bounded(3, || {
        let (mut producer, consumer, mut releaser) = ring::<u64>(2, 0);
        let producing = thread::spawn(move || produce(&mut producer, 3));
        let mut consumer = std::sync::Arc::new(consumer);
        while consumer.available() < 2 {
            thread::yield_now();
        }
        let reading = std::sync::Arc::clone(&consumer);
        let reading = thread::spawn(move || reading.read(1, 1, |item| assert_eq!(*item, 2)));
        consumer.read(0, 1, |item| assert_eq!(*item, 1));
        reading.join().unwrap();
        std::sync::Arc::get_mut(&mut consumer).expect("the other one has ended").advance(2);
        releaser.release(2);
        producing.join().unwrap();
        consumer.read(0, 1, |item| assert_eq!(*item, 3));
    });
}

/// Catches: Relaxed in `Releaser::release` or `Producer::limit` (the look-up is what tells the producer of the room in which
/// it then writes, while the consumer still reads), and a look-up that trusts `indexed` as it was known before (it finds
/// the old item where it was overwritten).
#[test]
fn a_look_up_finds_its_item_until_it_is_given_back_and_never_another_one() {
    loom::model(|| {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        producer.push([1].into_iter());
        producer.finalize(1);
        let draining = thread::spawn(move || {
            consumer.take(1, |item| assert_eq!(*item, 1));
            releaser.release(1);
        });
        match producer.get(1) {
            Some(item) => assert_eq!(item, 1),
            None => {
                producer.push([2].into_iter());
                assert_eq!((producer.get(1), producer.get(2)), (None, Some(2)));
            }
        }
        draining.join().unwrap();
        assert_eq!(producer.get(1), None);
    });
}

/// Catches: Relaxed in `Releaser::release` or `Producer::limit` (who tells the sender of room does not order it for the
/// producer), and a `Producer::has_room` that does not look anew (blocks that were granted are refused).
#[test]
fn room_that_a_sender_was_told_of_is_there_when_its_blocks_come() {
    bounded(3, || {
        let (mut producer, mut consumer, mut releaser) = ring::<u64>(1, 0);
        let observer = producer.observer();
        producer.push([1].into_iter());
        producer.finalize(1);
        let draining = thread::spawn(move || {
            consumer.take(1, |item| assert_eq!(*item, 1));
            releaser.release(1);
        });
        let told = Arc::new(AtomicU64::new(0));
        let telling = {
            let told = Arc::clone(&told);
            thread::spawn(move || {
                let (indexed, limit) = observer.room();
                assert_eq!(limit, indexed + 1);
                told.store(limit, Ordering::Release);
            })
        };
        if told.load(Ordering::Acquire) == 2 {
            assert!(producer.has_room(1));
            producer.push([2].into_iter());
        }
        draining.join().unwrap();
        telling.join().unwrap();
    });
}

/// Interleavings with at most so many preemptions: without a bound there are too many.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
