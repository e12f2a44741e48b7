//! Follows `keys.toml` while a node runs.
//!
//! Looking at a file's metadata four times a second costs nothing to speak of, and works on every file system and
//! through every way of replacing a file; a notification does not.
//!
//! # Invariants
//! What is applied stood in the file, whole, at two looks in a row: whoever writes it in several steps is waited for. A
//! file that is gone or says nothing is never applied, since that would let every revoked key back in.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::state::SideChain;

use super::{KeyState, KeysFile};

/// How often it looks. A change is applied at the second look that finds it, after twice that at most.
const PACE: Duration = Duration::from_millis(250);

/// Tells all chains that were ever registered.
pub(crate) type Known = Box<dyn Fn() -> Vec<SideChain> + Send>;

/// Looks at the file until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look. `known` tells all chains that were ever registered; `state` is what holds now; `apply` gets every
    /// state that comes instead.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        file: KeysFile,
        known: Known,
        state: KeyState,
        apply: impl FnMut(&KeyState) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let follower = Follower::new(file, known, state, apply);
        let thread = thread::Builder::new().name("keys".into()).spawn(move || follower.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread waits for this end of the channel to go.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked only if `apply` did, which has said so.
            let _ = thread.join();
        }
    }
}

/// What tells a file from what it was: another inode, length or time of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

pub(super) struct Follower<F> {
    file: KeysFile,
    known: Known,
    state: KeyState,
    apply: F,
    /// As it was when it was looked at last; `None`: it was not there.
    seen: Option<Stamp>,
    /// Whether it was read as it is.
    settled: bool,
    /// What was logged of the file as it is, if it is wrong.
    said: Option<String>,
}

impl<F: FnMut(&KeyState)> Follower<F> {
    pub(super) fn new(file: KeysFile, known: Known, state: KeyState, apply: F) -> Self {
        Self { file, known, state, apply, seen: None, settled: false, said: None }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PACE) {
            self.look();
        }
    }

    pub(super) fn look(&mut self) {
        let stamp = self.stamp();
        if stamp != self.seen {
            // Whoever writes it may not be done.
            (self.seen, self.settled) = (stamp, false);
            return;
        }
        if self.settled {
            return;
        }
        let read = self.file.read_if_any(&(self.known)());
        let after = self.stamp();
        if after != stamp {
            // It changed under the reading.
            self.seen = after;
            return;
        }
        self.settled = true;
        match read {
            Ok(Some(state)) => {
                if self.said.take().is_some() {
                    tracing::info!("{} is right again", self.file.path().display());
                }
                if state != self.state {
                    tell(&self.state, &state);
                    (self.apply)(&state);
                    self.state = state;
                }
            }
            // Nothing was changed, and nothing is.
            Ok(None) if self.state == KeyState::default() => self.said = None,
            Ok(None) => self.complain(gone(&self.file, &self.state, stamp.is_some())),
            Err(error) => self.complain(format!("{error}; the keys stay as they were")),
        }
    }

    /// What is wrong with the file, if it was said.
    #[cfg(test)]
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    fn stamp(&self) -> Option<Stamp> {
        fs::metadata(self.file.path()).ok().map(|found| Stamp {
            inode: (found.dev(), found.ino()),
            length: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }

    fn complain(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            tracing::error!("{text}");
            self.said = Some(text);
        }
    }
}

/// What to say of a file that is gone or empty although it has changed keys.
fn gone(file: &KeysFile, state: &KeyState, exists: bool) -> String {
    let path = file.path().display();
    let what = if exists { "is empty" } else { "is gone" };
    let (revoked, new) = (state.revoked.len(), state.stands_for.len());
    format!(
        "{path} {what}, and {revoked} keys were revoked and {new} new by it; the keys stay as they were, until the node \
         is started again. Put the file back before that, and before `mainstem keys` changes it, which would begin \
         with no changes. To take changes back then, use `mainstem keys restore`; a file with `revoked = []` takes \
         back all"
    )
}

/// Logs each change.
fn tell(before: &KeyState, after: &KeyState) {
    for key in after.revoked.difference(&before.revoked) {
        tracing::info!(%key, "a key was revoked");
    }
    for key in before.revoked.difference(&after.revoked) {
        tracing::info!(%key, "a revoked key was restored");
    }
    for (key, registered) in &after.stands_for {
        if before.stands_for.get(key) != Some(registered) {
            tracing::info!(%key, %registered, "a new key stands for a registered one");
        }
    }
    for (key, registered) in &before.stands_for {
        if !after.stands_for.contains_key(key) {
            tracing::info!(%key, %registered, "a key no longer stands for a registered one");
        }
    }
}
