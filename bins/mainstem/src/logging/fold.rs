//! Folds equal lines: the first one is written at once, and those that come within ten seconds after it are counted.
//!
//! # Capacity
//! 256 different lines at a time of at most 512 bytes each; what comes beyond is written as it is, and so is what comes while
//! another thread looks for its own.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// For how long equal lines are one.
const WINDOW: Duration = Duration::from_secs(10);

/// Different lines that are remembered at a time.
const MOST_LINES: usize = 256;

/// How much of a line is kept, to be told with the count.
const MOST_BYTES: usize = 512;

/// Where the lines come from that tell of others; these are not folded.
const TARGET: &str = "mainstem::log";

/// The layer. It stops lines that are equal to one that was written a moment ago.
pub(super) struct Fold(Arc<Table>);

/// The lines of the last moments.
#[derive(Default)]
pub(super) struct Table {
    lines: Mutex<HashMap<u64, Line>>,
    hasher: RandomState,
}

struct Line {
    first: Instant,
    more: u64,
    of: &'static Metadata<'static>,
    text: String,
}

impl Fold {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self(table)
    }
}

impl<S: Subscriber> Layer<S> for Fold {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let of = event.metadata();
        if of.target() == TARGET {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.0.is_new(of, text.0, Instant::now())
    }
}

impl Table {
    /// Whether a line is to be written.
    fn is_new(&self, of: &'static Metadata<'static>, mut text: String, now: Instant) -> bool {
        let key = self.hasher.hash_one((of.callsite(), &text));
        let mut lines = match self.lines.try_lock() {
            Ok(lines) => lines,
            Err(TryLockError::Poisoned(lines)) => lines.into_inner(),
            // Another thread writes a line just now: nobody waits for that.
            Err(TryLockError::WouldBlock) => return true,
        };
        match lines.get_mut(&key) {
            // One whose time is over stays until it was told of.
            Some(line) if now.duration_since(line.first) < WINDOW || line.more > 0 => {
                line.more += 1;
                false
            }
            Some(line) => {
                line.first = now;
                true
            }
            None => {
                if lines.len() < MOST_LINES {
                    text.truncate(text.floor_char_boundary(MOST_BYTES));
                    lines.insert(key, Line { first: now, more: 0, of, text });
                }
                true
            }
        }
    }

    /// Tells how often lines came whose time is over, and forgets them.
    pub(super) fn tell(&self, now: Instant) {
        for Line { more, of, text, .. } in self.over(now) {
            let (from, line) = (of.target(), text.as_str());
            let seconds = WINDOW.as_secs();
            macro_rules! tell {
                ($level:ident) => {
                    tracing::event!(target: TARGET, Level::$level, more, seconds, from, line, "the same line came again")
                };
            }
            match *of.level() {
                Level::ERROR => tell!(ERROR),
                Level::WARN => tell!(WARN),
                Level::INFO => tell!(INFO),
                Level::DEBUG => tell!(DEBUG),
                Level::TRACE => tell!(TRACE),
            }
        }
    }

    /// Takes out those lines whose time is over; gives those that came again.
    fn over(&self, now: Instant) -> Vec<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let over = lines.extract_if(|_, line| now.duration_since(line.first) >= WINDOW);
        over.map(|(_, line)| line).filter(|line| line.more > 0).collect()
    }
}

/// What a line says, with its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // A text takes what is written to it.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry;

    use super::*;

    /// Counts lines that get through.
    struct Through(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Through {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }

    #[test]
    fn equal_lines_are_written_once_and_counted() {
        let (table, seen) = (Arc::new(Table::default()), Arc::new(Mutex::new(Vec::new())));
        let layers = registry().with(Fold::new(Arc::clone(&table))).with(Through(Arc::clone(&seen)));
        with_default(layers, || {
            for round in 0..50 {
                tracing::warn!(peer = 7, "no answer");
                if round == 0 {
                    tracing::warn!(peer = 8, "no answer");
                }
            }
            assert_eq!(*seen.lock().unwrap(), ["no answer peer=7", "no answer peer=8"]);
            table.tell(Instant::now());
            assert_eq!(seen.lock().unwrap().len(), 2);
            table.tell(Instant::now() + WINDOW);
            let told = seen.lock().unwrap().pop().unwrap();
            assert!(told.contains("more=49") && told.contains("no answer peer=7"), "{told}");
            tracing::warn!(peer = 8, "no answer");
            assert_eq!(seen.lock().unwrap().len(), 3);
        });
    }

    #[test]
    fn nobody_waits_for_the_table_and_what_cannot_be_folded_is_written() {
        let (table, seen) = (Arc::new(Table::default()), Arc::new(Mutex::new(Vec::new())));
        let layers = registry().with(Fold::new(Arc::clone(&table))).with(Through(Arc::clone(&seen)));
        with_default(layers, || {
            let mut taken = Some(table.lines.lock().unwrap());
            for line in 0..6 {
                if line == 3 {
                    taken = None;
                }
                tracing::warn!("the same");
            }
            assert!(taken.is_none());
        });
        assert_eq!(seen.lock().unwrap().len(), 4);
    }

    #[test]
    fn lines_beyond_those_that_are_remembered_are_written() {
        let (table, seen) = (Arc::new(Table::default()), Arc::new(Mutex::new(Vec::new())));
        let layers = registry().with(Fold::new(Arc::clone(&table))).with(Through(Arc::clone(&seen)));
        with_default(layers, || {
            for _ in 0..2 {
                for line in 0..MOST_LINES + 10 {
                    tracing::warn!(line, "different");
                }
            }
        });
        assert_eq!(seen.lock().unwrap().len(), MOST_LINES + 20);
        assert_eq!(table.lines.lock().unwrap().len(), MOST_LINES);
    }
}
