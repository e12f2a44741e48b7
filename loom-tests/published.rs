//! Every interleaving of a publisher and its readers, with values of two words, so that a torn one shows.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use engine::sync::{Published, published};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// The value, which must be whole.
fn load(published: &Published<[u64; 2]>) -> u64 {
    let [value, copy] = published.load();
    assert_eq!(value, copy, "torn");
    value
}

/// Catches: Relaxed in the store or the load of `published` (words older than the value), in the store or the load of a
/// word (words newer than it), and a reader that does not look at `begun`, or does so before it reads the words.
#[test]
fn a_reader_slower_than_several_values_gets_a_whole_one_and_never_goes_back() {
    bounded(3, || {
        let (mut publisher, published) = published([0; 2]);
        let publishing = thread::spawn(move || (1..=3).for_each(|value| publisher.publish(&[value; 2])));
        let first = load(&published);
        let second = load(&published);
        assert!(first <= second, "{second} after {first}");
        publishing.join().unwrap();
        assert_eq!(load(&published), 3);
    });
}

/// Catches: Relaxed in the store or the load of `begun` (the reader knows that its value is old and finds no newer one: a
/// model that never ends).
#[test]
fn a_reader_that_has_to_read_again_finds_a_newer_value_at_once() {
    loom::model(|| {
        let (mut publisher, published) = published([0; 2]);
        let publishing = thread::spawn(move || (1..=2).for_each(|value| publisher.publish(&[value; 2])));
        load(&published);
        publishing.join().unwrap();
    });
}

/// Catches: saying that a value is published before its words are there, or writing them into another copy than that of its
/// number.
#[test]
fn readers_that_come_late_see_what_they_were_told_of_or_newer() {
    loom::model(|| {
        let (mut publisher, published) = published([0; 2]);
        let told = Arc::new(AtomicBool::new(false));
        let reading = {
            let (published, told) = (published.clone(), Arc::clone(&told));
            thread::spawn(move || {
                let told = told.load(Ordering::Acquire);
                assert!(load(&published.clone()) >= u64::from(told));
            })
        };
        publisher.publish(&[1; 2]);
        told.store(true, Ordering::Release);
        publisher.publish(&[2; 2]);
        assert_eq!(load(&published), 2);
        reading.join().unwrap();
    });
}

/// Interleavings with at most so many preemptions: without a bound there are too many.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
