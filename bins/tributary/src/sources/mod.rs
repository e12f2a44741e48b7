//! Where side blocks come from. Each source implements [`engine::source::Source`] and keeps nothing on disk: what it
//! was at, the main chain says; the rest, the side chain's node or the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::chain::Height;

pub mod aelf;
pub mod evm;
pub mod file;
mod http;
pub mod mainstem;
pub mod sim;

/// How far a source could be read now: written by the source, read by whoever shows it or waits for it.
#[derive(Clone, Debug, Default)]
pub struct Tip(Arc<AtomicU64>);

impl Tip {
    /// The newest height that can be read, 0 where there is no block; `None` while it is not known.
    pub fn get(&self) -> Option<Height> {
        // A figure by itself: nothing else is read because of it.
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Height)
    }

    pub(crate) fn set(&self, height: u64) {
        self.0.store(height.saturating_add(1), Ordering::Relaxed);
    }
}

/// A text cut to `max` characters, on one line.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    let mut short: String =
        text.trim().chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.trim().len() {
        short.push('…');
    }
    short
}
