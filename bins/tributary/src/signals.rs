//! SIGINT and SIGTERM: the first asks to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Whether a first signal has come.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<AtomicBool>);

impl Signals {
    /// Takes over the handling of both signals. Once in a process.
    pub(crate) fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&asked);
        let handler = move || {
            // Nothing else is read because of it: Relaxed.
            if shared.swap(true, Ordering::Relaxed) {
                // As a shell reports a process that SIGINT ended. There is nothing here to lose.
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(handler).context("cannot handle signals")?;
        Ok(Self(asked))
    }

    /// Whether somebody has asked to stop.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
