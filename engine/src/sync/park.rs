//! Waiting: one thread parks, others wake it. crossbeam's `Parker` in a build, a stand-in in a model check, so that
//! waiting is modelled like all else.
//!
//! # Ordering
//! Both give what their users rely on: whatever was written before `unpark` is seen by whoever returns from the
//! `park` that it ended, and a wake-up that comes before the park is kept for it.

use std::time::{Duration, Instant};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use crossbeam::sync::{Parker, Unparker};

#[cfg(any(loom, shuttle))]
pub(crate) use model::{Parker, Unparker};

/// When a wait ends at the latest. In a model, which has no time: when the first one ends.
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// `timeout` from now; never, if the clock cannot count so far.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// Parks until someone wakes this thread or the deadline comes; tells whether it has come.
    pub(crate) fn park(&self, parker: &Parker) -> bool {
        match self.0 {
            Some(deadline) => parker.park_deadline(deadline),
            None => parker.park(),
        }
        cfg!(any(loom, shuttle)) || self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use std::time::Instant;

    #[cfg(loom)]
    use loom::sync::{Arc, Condvar, Mutex};
    #[cfg(shuttle)]
    use shuttle::sync::{Arc, Condvar, Mutex};

    /// Waits without end: a wake-up that is lost becomes a deadlock, which the model reports.
    #[derive(Debug)]
    pub(crate) struct Parker(Unparker);

    #[derive(Clone, Debug)]
    pub(crate) struct Unparker(Arc<(Mutex<bool>, Condvar)>);

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Unparker(Arc::new((Mutex::new(false), Condvar::new()))))
        }

        pub(crate) fn unparker(&self) -> &Unparker {
            &self.0
        }

        pub(crate) fn park(&self) {
            let (token, woken) = &*self.0.0;
            let mut token = token.lock().expect("nothing panics under it");
            while !std::mem::take(&mut *token) {
                token = woken.wait(token).expect("nothing panics under it");
            }
        }

        pub(crate) fn park_deadline(&self, _: Instant) {
            self.park();
        }
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            let (token, woken) = &*self.0;
            *token.lock().expect("nothing panics under it") = true;
            woken.notify_one();
        }
    }
}
