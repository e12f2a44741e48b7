//! Follows `keys.toml` while a node runs.
//!
//! Looking at a file's metadata four times a second costs nothing to speak of, and works on every file system and
//! through every way of replacing a file; a notification does not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::state::Genesis;

use super::{KeyState, KeysFile};

/// How often it looks.
const PACE: Duration = Duration::from_millis(250);

/// Looks at the file until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look. `state` is what holds now; `apply` gets every state that comes instead.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        file: KeysFile,
        genesis: Arc<Genesis>,
        state: KeyState,
        apply: impl FnMut(&KeyState) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let follower = Follower { file, genesis, state, apply, seen: None, settled: false, said: None };
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

struct Follower<F> {
    file: KeysFile,
    genesis: Arc<Genesis>,
    state: KeyState,
    apply: F,
    /// As it was when it was looked at last; `None`: it was not there.
    seen: Option<Stamp>,
    /// Whether it was read once more after it had been seen to change: clocks of file systems are coarse, and a second
    /// write within one tick leaves no trace.
    settled: bool,
    /// What was logged of the file as it is, if it is wrong.
    said: Option<String>,
}

impl<F: FnMut(&KeyState)> Follower<F> {
    fn run(mut self, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PACE) {
            self.look();
        }
    }

    fn look(&mut self) {
        // Before it is read: a change in between is seen at the next look.
        let stamp = fs::metadata(self.file.path()).ok().map(|found| Stamp {
            inode: (found.dev(), found.ino()),
            length: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
            modified: (found.mtime(), found.mtime_nsec()),
        });
        let same = self.seen == stamp;
        if same && self.settled {
            return;
        }
        (self.seen, self.settled) = (stamp, same);
        match self.file.read(&self.genesis) {
            Ok(state) => {
                self.said = None;
                if state != self.state {
                    tell(&self.state, &state);
                    (self.apply)(&state);
                    self.state = state;
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.said.as_ref() != Some(&text) {
                    tracing::error!("{text}; the keys stay as they were");
                    self.said = Some(text);
                }
            }
        }
    }
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
