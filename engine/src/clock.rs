//! Time as an argument: whoever starts the engine says what time it is.

use std::time::Duration;

use crate::chain::Timestamp;

/// A clock. The engine never asks the machine for the time itself.
pub trait Clock: Send + Sync {
    /// The time of day, for block times.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed moment, never going back: for intervals and latencies.
    fn monotonic(&self) -> Duration;
}
