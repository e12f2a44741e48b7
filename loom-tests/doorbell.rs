//! Every interleaving of ringers, of a request to stop, and of the one who waits. In a model a wait never times out, so a
//! wake-up that is lost is a deadlock, which loom reports.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use engine::sync::{Doorbell, Stop};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::Duration;

/// Catches: Relaxed in `Doorbell::ring` or `Waiter::hear` (the waiter hears a ring and does not see the work, and
/// nobody rings again: loom reports a model that never ends), and hearing after looking instead of before.
#[test]
fn work_published_before_a_ring_is_seen_after_it_is_heard() {
    bounded(3, || {
        let (bell, waiter) = Doorbell::new();
        let (ringers, work) = two_ringers(&bell);
        let mut seen = 0;
        while seen < 2 {
            if waiter.hear() {
                seen = work.iter().map(|work| work.load(Ordering::Relaxed)).sum();
            } else {
                thread::yield_now();
            }
        }
        for ringer in ringers {
            ringer.join().unwrap();
        }
    });
}

/// Catches: Relaxed in `Doorbell::ring` or `Waiter::hear` (the second of two ringers wakes nobody, so only its exchange
/// shows its work, and the waiter sleeps for ever).
#[test]
fn a_waiter_that_sleeps_is_woken_by_whoever_rings_first_and_misses_no_work() {
    bounded(3, || {
        let (bell, waiter) = Doorbell::new();
        let (ringers, work) = two_ringers(&bell);
        while work.iter().map(|work| work.load(Ordering::Relaxed)).sum::<usize>() < 2 {
            waiter.wait(Duration::MAX);
        }
        for ringer in ringers {
            ringer.join().unwrap();
        }
    });
}

/// Catches: Relaxed in `Stop::request` or `Stop::is_requested` (the stage ends and leaves work behind), a request that
/// does not ring, or rings before it is made (the stage sleeps for ever).
#[test]
fn a_stage_that_sleeps_sees_the_request_to_stop_and_all_work_before_it() {
    loom::model(|| {
        let (bell, waiter) = Doorbell::new();
        let stop = Stop::new(bell);
        let work = Arc::new(AtomicUsize::new(0));
        let stopping = {
            let (stop, work) = (stop.clone(), Arc::clone(&work));
            thread::spawn(move || {
                work.store(1, Ordering::Relaxed);
                stop.request();
            })
        };
        loop {
            let requested = stop.is_requested();
            let seen = work.load(Ordering::Relaxed);
            if requested {
                assert_eq!(seen, 1);
                break;
            }
            waiter.wait(Duration::MAX);
        }
        stopping.join().unwrap();
    });
}

/// Two threads, each of which does its work and rings.
fn two_ringers(bell: &Doorbell) -> (Vec<thread::JoinHandle<()>>, Arc<[AtomicUsize; 2]>) {
    let work = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let ringer = |ringer: usize| {
        let (bell, work) = (bell.clone(), Arc::clone(&work));
        thread::spawn(move || {
            work[ringer].store(1, Ordering::Relaxed);
            bell.ring();
        })
    };
    (vec![ringer(0), ringer(1)], work)
}

/// Interleavings with at most so many preemptions: without a bound there are too many.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
