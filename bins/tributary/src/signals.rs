//! SIGINT and SIGTERM: the first asks to stop, a later one ends the process at once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Whether a first signal has come.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<OnceLock<Instant>>);

impl Signals {
    /// Takes over the handling of both signals. Once in a process.
    pub(crate) fn listen() -> Result<Self> {
        let asked = Arc::new(OnceLock::new());
        let shared = Arc::clone(&asked);
        let handler = move || {
            let first = shared.get_or_init(Instant::now);
            if first.elapsed() > ONE_WISH {
                // As a shell reports a process that SIGINT ended. There is nothing here to lose.
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(handler).context("cannot handle signals")?;
        Ok(Self(asked))
    }

    /// Whether somebody has asked to stop.
    pub(crate) fn asked(&self) -> bool {
        self.0.get().is_some()
    }
}

/// Signals within this time are one wish: timeout(1) and some supervisors signal a process and then its group.
const ONE_WISH: Duration = Duration::from_millis(500);
