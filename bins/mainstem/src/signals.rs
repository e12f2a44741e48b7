//! SIGINT and SIGTERM: the first one asks to stop, the second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// Hears of the first signal.
#[derive(Debug)]
pub(crate) struct Signals(Receiver<()>);

impl Signals {
    /// Takes over the handling of both signals. Once in a process.
    pub(crate) fn listen() -> Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let again = AtomicBool::new(false);
        let handler = move || {
            // Relaxed: only this thread reads it.
            if again.swap(true, Ordering::Relaxed) {
                // As a shell reports a process that SIGINT ended. What is durable stays so.
                std::process::exit(130);
            }
            eprintln!("stopping; once more to stop at once");
            let _ = sender.try_send(());
        };
        ctrlc::set_handler(handler).context("cannot handle signals")?;
        Ok(Self(receiver))
    }

    /// Waits for a signal, at most so long. Whether one came.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout).is_ok()
    }
}
