//! A tap on ingest: the frames that went into lanes, with the time they did, for whoever records them.
//!
//! Closed, it costs ingest a load a frame. Open, a copy of the frame's bytes: into a queue with a bound in bytes, for which
//! nobody waits. When it is full the tap closes, and says so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where it is opened. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether `line` holds one: what ingest looks at.
    open: AtomicBool,
    line: Mutex<Option<Arc<Line>>>,
}

/// From ingest to whoever records.
#[derive(Debug)]
pub(super) struct Line {
    sender: Sender<Tapped>,
    /// Bytes that wait.
    waiting: AtomicUsize,
    most: usize,
    overflowed: AtomicBool,
}

/// A frame, some of whose sections went into their lanes.
#[derive(Debug)]
pub struct Tapped {
    /// When, by the engine's monotonic clock.
    pub at: Duration,
    /// The whole frame, as it came.
    pub frame: Vec<u8>,
    /// Which of its sections did not go into their lanes, ascending from 0.
    pub left_out: Vec<u16>,
}

/// The open end of a tap. Dropping it closes the tap.
#[derive(Debug)]
pub struct TapReader {
    tap: Tap,
    line: Arc<Line>,
    receiver: Receiver<Tapped>,
}

impl Tap {
    /// Opens it, for at most so many bytes that wait; `None` if it is open already.
    pub fn open(&self, most_bytes: usize) -> Option<TapReader> {
        let mut place = self.line();
        if place.is_some() {
            return None;
        }
        let (sender, receiver) = channel();
        let line = Arc::new(Line {
            sender,
            waiting: AtomicUsize::new(0),
            most: most_bytes,
            overflowed: AtomicBool::new(false),
        });
        *place = Some(Arc::clone(&line));
        // Relaxed, as all here but the lock: a frame that goes by unseen at the start is one that came before.
        self.0.open.store(true, Ordering::Relaxed);
        Some(TapReader { tap: self.clone(), line, receiver })
    }

    /// The line, if somebody records.
    pub(super) fn get(&self) -> Option<Arc<Line>> {
        if self.0.open.load(Ordering::Relaxed) { self.line().clone() } else { None }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Option<Arc<Line>>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Hands a frame on, unless there is no room: then the tap has overflowed, and takes no more.
    pub(super) fn frame(&self, at: Duration, frame: &[u8], left_out: Vec<u16>) {
        if self.overflowed.load(Ordering::Relaxed) {
            return;
        }
        if self.waiting.fetch_add(frame.len(), Ordering::Relaxed) + frame.len() > self.most {
            self.overflowed.store(true, Ordering::Relaxed);
            return;
        }
        // Whoever records may have ended in this moment.
        let _ = self.sender.send(Tapped { at, frame: frame.to_vec(), left_out });
    }
}

impl TapReader {
    /// The next frame, if one comes within so long.
    pub fn next(&self, within: Duration) -> Option<Tapped> {
        let tapped = self.receiver.recv_timeout(within).ok()?;
        self.line.waiting.fetch_sub(tapped.frame.len(), Ordering::Relaxed);
        Some(tapped)
    }

    /// Whether frames are missing, because they came faster than they were taken.
    pub fn overflowed(&self) -> bool {
        self.line.overflowed.load(Ordering::Relaxed)
    }

    /// Closes the tap. What waits, and what is on its way at this moment, can still be taken.
    pub fn close(&self) {
        self.tap.0.open.store(false, Ordering::Relaxed);
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.close();
        *self.tap.line() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tapped_comes_in_order_and_once_at_a_time() {
        let tap = Tap::default();
        assert!(tap.get().is_none());
        let reader = tap.open(100).unwrap();
        assert!(tap.open(100).is_none(), "one at a time");
        let line = tap.get().unwrap();
        line.frame(Duration::from_secs(1), b"one", vec![]);
        line.frame(Duration::from_secs(2), b"two", vec![7]);
        let first = reader.next(Duration::ZERO).unwrap();
        assert_eq!((first.at, &first.frame[..]), (Duration::from_secs(1), &b"one"[..]));
        assert_eq!(reader.next(Duration::ZERO).unwrap().left_out, [7]);
        drop(reader);
        assert!(tap.get().is_none() && tap.open(1).is_some());
    }

    #[test]
    fn a_tap_that_is_not_emptied_overflows_and_holds_no_more_than_its_bound() {
        let tap = Tap::default();
        let reader = tap.open(10).unwrap();
        let line = tap.get().unwrap();
        for _ in 0..1_000 {
            line.frame(Duration::ZERO, b"1234", vec![]);
        }
        assert!(reader.overflowed());
        let held = std::iter::from_fn(|| reader.next(Duration::ZERO)).count();
        assert_eq!(held, 2);
    }
}
