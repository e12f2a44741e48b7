//! Simulated chains: those of [`engine::sim`], by the clock of this machine.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::chain::{ChainId, Timestamp};
use engine::clock::Clock;
pub use engine::sim::{SimConfig, SimSource};

/// Simulated chains at the pace of this machine's clock.
pub fn open(config: SimConfig) -> SimSource {
    SimSource::new(config, Arc::new(SystemClock { start: Instant::now() }))
}

/// `count` chains with consecutive ids from `first` on; `None` when there are not so many ids.
pub fn chains(first: ChainId, count: u32) -> Option<Vec<ChainId>> {
    let last = first.0.checked_add(count.checked_sub(1)?)?;
    Some((first.0..=last).map(ChainId).collect())
}

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
