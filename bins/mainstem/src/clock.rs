//! The machine's clock, for an engine that never looks at one itself.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::chain::Timestamp;
use engine::clock::Clock;

/// Time of day from the system; intervals since it was made.
#[derive(Debug)]
pub(crate) struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(unix_millis())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The time of day, in milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    // A clock before 1970 is not set at all; block times are data and order nothing.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
