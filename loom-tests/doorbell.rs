//! Every interleaving of two ringers and the one who waits.
#![cfg(loom)]

use engine::sync::Doorbell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Catches: Relaxed in `Doorbell::ring` or `Waiter::hear` (the waiter hears a ring and does not see the work, and
/// nobody rings again: loom reports a model that never ends), and hearing after looking instead of before.
#[test]
fn work_published_before_a_ring_is_seen_after_it_is_heard() {
    loom::model(|| {
        let (bell, waiter) = Doorbell::new();
        let work: Arc<[AtomicUsize; 2]> = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let ringers: Vec<_> = (0..2)
            .map(|ringer| {
                let (bell, work) = (bell.clone(), Arc::clone(&work));
                thread::spawn(move || {
                    work[ringer].store(1, Ordering::Relaxed);
                    bell.ring();
                })
            })
            .collect();
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
