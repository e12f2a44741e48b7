//! Signals: the first SIGINT or SIGTERM asks to stop, the second one ends the process at once; SIGHUP asks a node to read
//! its configuration again, and any other command to stop, as when its terminal goes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// To stop.
    Stop,
    /// To read the configuration again.
    Reload,
}

/// Hears of signals.
#[derive(Debug)]
pub(crate) struct Signals(Receiver<Asked>);

impl Signals {
    /// Takes over the handling of all three signals, each of which asks to stop. Once in a process.
    pub(crate) fn listen() -> Result<Self> {
        Self::with(false)
    }

    /// The same, and SIGHUP asks to reload.
    pub(crate) fn listen_to_reload() -> Result<Self> {
        Self::with(true)
    }

    fn with(reloads: bool) -> Result<Self> {
        // Further ones that come before the first is heard ask for the same.
        let (sender, receiver) = sync_channel(4);
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("cannot handle signals")?;
        let follow = move || follow(signals.forever(), reloads, &sender);
        thread::Builder::new().name("signals".into()).spawn(follow).context("cannot handle signals")?;
        Ok(Self(receiver))
    }

    /// Waits to be asked to stop, at most so long. Whether it was.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.asked(timeout) == Some(Asked::Stop)
    }

    /// Waits for a signal, at most so long, and gives what it asks for.
    pub(crate) fn asked(&self, timeout: Duration) -> Option<Asked> {
        match self.0.recv_timeout(timeout) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // The thread that hears signals ended, which it never does by itself.
                thread::sleep(timeout);
                None
            }
        }
    }
}

fn follow(signals: impl IntoIterator<Item = i32>, reloads: bool, sender: &SyncSender<Asked>) {
    let mut stopping = false;
    for signal in signals {
        if reloads && signal == SIGHUP {
            let _ = sender.try_send(Asked::Reload);
        } else if stopping {
            // As a shell reports a process that SIGINT ended. What is durable stays so.
            std::process::exit(130);
        } else {
            stopping = true;
            eprintln!("stopping; once more to stop at once");
            let _ = sender.try_send(Asked::Stop);
        }
    }
}
