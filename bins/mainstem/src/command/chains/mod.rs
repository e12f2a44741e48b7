//! `mainstem chains` and `mainstem why`: how each side chain is doing, and why.

mod change;
mod list;
mod why;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use list::Chains;
pub(crate) use why::Why;

/// Now, in ms since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago, in the two largest units. The clocks of two machines may differ: the future is now.
fn ago(time: u64, now: u64) -> String {
    let seconds = now.saturating_sub(time) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// What comes from elsewhere could hold anything, also what moves the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
