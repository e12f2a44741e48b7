//! Threads for what is asked for.
//!
//! A new thread stands back as far as the one that makes it, and those that serve the API stand back as far as they can: so
//! another one makes them.

use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Gives each job a thread of its own. Its own thread ends with it.
pub(super) struct Jobs(Option<Sender<Job>>);

impl Jobs {
    /// Starts the thread that makes the others; they stand back as far as the caller does.
    pub(super) fn start() -> Self {
        let (sender, jobs) = channel::<Job>();
        let make = move || {
            for job in jobs {
                if let Err(error) = thread::Builder::new().name("admin".into()).spawn(job) {
                    tracing::error!(target: "mainstem::admin", %error, "no thread can be had for a change");
                }
            }
        };
        match thread::Builder::new().name("admin-jobs".into()).spawn(make) {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                tracing::error!(target: "mainstem::admin", %error, "no thread can be had: nothing can be changed");
                Self(None)
            }
        }
    }

    /// Runs a job on a thread of its own; false if there is none. One that finds no thread is dropped.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.0.as_ref().is_some_and(|jobs| jobs.send(Box::new(job)).is_ok())
    }
}
