//! How far each peer may send ahead of our reading: a budget over all connections.
//!
//! Every connection has a small window from its start, and the budget sets that aside for all that there may be. The rest
//! is shared: a session that announces a frame may use a little of it, one that delivers valid blocks fast doubles its
//! window, as far as a share of what is free (dynamic thresholds, Choudhury and Hahne 1998): n greedy sessions get about
//! 1 / (n + 4) each, a part always stays free for those who come later, and nobody has to be asked to give way.
//!
//! QUIC takes no credit back. So a window that is lowered stays lent until the peer has sent that much more (quinn calls
//! it debt: `StreamsState::add_read_credits` in quinn-proto 0.11). Until then it counts against the budget here, and
//! against what the session may have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::ServerConfig;

/// A session gets at most this part of what is free.
const SHARE: usize = 4;

/// A window doubles when that much was delivered within this time, however long the way is: it is about what a second
/// brings, which is more than a round trip.
const EPOCH: Duration = Duration::from_secs(1);

/// A session that has delivered nothing for so long gives its window back.
const IDLE: Duration = Duration::from_secs(10);

/// The budget.
#[derive(Debug)]
pub(super) struct Windows {
    /// Lent to sessions above what they have from their start. Guards no memory: relaxed.
    lent: AtomicUsize,
    /// The most that may be lent.
    most: usize,
    least: u32,
    unproven: u32,
    greatest: u32,
}

impl Windows {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let least = config.transport.connection_window_bytes;
        let aside = (config.max_sessions + config.max_handshakes).saturating_mul(least as usize);
        Self {
            lent: AtomicUsize::new(0),
            // The configuration was checked.
            most: config.window_memory_bytes.saturating_sub(aside),
            least,
            unproven: config.unproven_window_bytes,
            greatest: config.max_window_bytes,
        }
    }

    /// Bytes lent now, above what every connection has from its start.
    pub(super) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// What every connection has from its start.
    pub(super) fn least(&self) -> u32 {
        self.least
    }

    /// Lends `more` for a window that is then `total`, if that is within a session's share.
    fn lend(&self, more: u32, total: u64) -> bool {
        let lend = |lent: usize| {
            let free = self.most.saturating_sub(lent);
            (total as usize <= free / SHARE && more as usize <= free).then_some(lent + more as usize)
        };
        self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lend).is_ok()
    }

    fn take_back(&self, bytes: usize) {
        self.lent.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The window of one session. What it has of the budget goes back when the session says so.
#[derive(Debug)]
pub(super) struct Window {
    bytes: u32,
    /// Credit of a window that was lowered and that the peer has not used up.
    debt: u64,
    /// Since when, and how much was delivered since then.
    epoch: (Duration, u64),
    /// When it delivered something last.
    last: Duration,
    proven: bool,
}

impl Window {
    pub(super) fn new(windows: &Windows, now: Duration) -> Self {
        Self { bytes: windows.least, debt: 0, epoch: (now, 0), last: now, proven: false }
    }

    /// Bytes that the peer may send ahead of our reading, at most.
    pub(super) fn granted(&self) -> u64 {
        u64::from(self.bytes) + self.debt
    }

    /// Whether valid blocks have come.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// A frame of `bytes` has begun. Returns the new window, if it changes.
    pub(super) fn announced(&mut self, windows: &Windows, bytes: usize) -> Option<u32> {
        // Twice a frame: the next one may be on its way while this one is read.
        self.grow(windows, (2 * bytes as u64).min(windows.unproven.into()), windows.unproven)
    }

    /// A frame of `bytes` has come, with or without blocks that went into lanes. Returns the new window, if it changes.
    pub(super) fn delivered(
        &mut self,
        windows: &Windows,
        bytes: usize,
        valid: bool,
        now: Duration,
    ) -> Option<u32> {
        let paid = self.debt.min(bytes as u64);
        self.debt -= paid;
        windows.take_back(paid as usize);
        if !valid {
            return None;
        }
        self.proven = true;
        self.last = now;
        if now.saturating_sub(self.epoch.0) > EPOCH {
            self.epoch = (now, 0);
        }
        self.epoch.1 += bytes as u64;
        if self.epoch.1 < u64::from(self.bytes) {
            return None;
        }
        self.epoch = (now, 0);
        self.grow(windows, 2 * u64::from(self.bytes), windows.greatest)
    }

    /// Gives back what a session that is idle, or has more than its share by now, does not need. Returns the new
    /// window, if it changes.
    pub(super) fn review(&mut self, windows: &Windows, now: Duration) -> Option<u32> {
        let free = windows.most.saturating_sub(windows.lent());
        let target = if now.saturating_sub(self.last) >= IDLE {
            windows.least
        } else if self.bytes as usize / 2 > free / SHARE {
            // As low as where it would have been let grow to, but gently: others are lowered at the same time.
            (self.bytes / 2).max(windows.least)
        } else {
            return None;
        };
        if target >= self.bytes || self.debt > 0 {
            return None;
        }
        // It stays lent, as debt.
        self.debt = u64::from(self.bytes - target);
        self.bytes = target;
        Some(target)
    }

    /// The session ends.
    pub(super) fn end(&mut self, windows: &Windows) {
        windows.take_back((self.granted() - u64::from(windows.least)) as usize);
        (self.bytes, self.debt) = (windows.least, 0);
    }

    fn grow(&mut self, windows: &Windows, to: u64, most: u32) -> Option<u32> {
        let to = u32::try_from(to.min(u64::from(most).saturating_sub(self.debt))).expect("most is a u32");
        if to <= self.bytes || !windows.lend(to - self.bytes, u64::from(to) + self.debt) {
            return None;
        }
        self.bytes = to;
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Identity;

    const LEAST: u32 = 8 << 10;

    fn windows(change: impl FnOnce(&mut ServerConfig)) -> Windows {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into(), Identity::from_seed([1; 32]));
        config.transport.connection_window_bytes = LEAST;
        change(&mut config);
        config.check().unwrap();
        Windows::new(&config)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Delivers until the window does not grow any more.
    fn fill(window: &mut Window, windows: &Windows, now: Duration) {
        while window.delivered(windows, window.bytes as usize, true, now).is_some() {}
    }

    #[test]
    fn who_delivers_nothing_valid_gets_no_more_than_the_unproven() {
        let windows = windows(|_| ());
        let mut window = Window::new(&windows, seconds(0));
        assert_eq!(window.announced(&windows, 100), None, "small frames fit as it is");
        assert_eq!(window.announced(&windows, 64 << 10), Some(128 << 10));
        assert_eq!(window.announced(&windows, 1 << 20), Some(192 << 10));
        for _ in 0..100 {
            assert_eq!(window.delivered(&windows, 1 << 20, false, seconds(0)), None);
        }
        assert_eq!((window.granted(), window.is_proven()), (192 << 10, false));
    }

    #[test]
    fn who_delivers_fast_gets_all_and_who_delivers_slowly_nothing_more() {
        let windows = windows(|_| ());
        let (mut fast, mut slow) = (Window::new(&windows, seconds(0)), Window::new(&windows, seconds(0)));
        fill(&mut fast, &windows, seconds(0));
        assert_eq!(fast.granted(), 8 << 20);
        for second in 1..1_000 {
            assert_eq!(slow.delivered(&windows, 2_000, true, seconds(second)), None, "2 kB a second");
        }
    }

    #[test]
    fn many_greedy_sessions_share_and_leave_something() {
        let windows = windows(|_| ());
        let mut sessions: Vec<_> = (0..1_000).map(|_| Window::new(&windows, seconds(0))).collect();
        for _ in 0..20 {
            for window in &mut sessions {
                fill(window, &windows, seconds(0));
                let lowered = window.review(&windows, seconds(0));
                assert!(lowered.is_none_or(|bytes| bytes >= LEAST));
            }
        }
        // What they keep as debt is paid as they go on.
        for _ in 0..50 {
            for window in &mut sessions {
                window.delivered(&windows, window.bytes as usize, true, seconds(0));
                window.review(&windows, seconds(0));
            }
        }
        assert!(windows.lent() <= windows.most);
        let least = sessions.iter().map(Window::granted).min().unwrap();
        assert!(least >= 64 << 10, "{least} bytes");
    }

    #[test]
    fn what_an_idle_session_had_is_lent_until_it_is_used_and_then_free() {
        let windows = windows(|_| ());
        let mut window = Window::new(&windows, seconds(0));
        fill(&mut window, &windows, seconds(0));
        assert_eq!(window.review(&windows, seconds(9)), None);
        assert_eq!(window.review(&windows, seconds(10)), Some(LEAST));
        assert_eq!(window.review(&windows, seconds(11)), None, "once");
        assert_eq!(window.granted(), 8 << 20, "the peer may still send that much");
        window.delivered(&windows, 4 << 20, false, seconds(12));
        assert_eq!(window.granted(), (4 << 20) + 0);
        window.delivered(&windows, 8 << 20, false, seconds(12));
        assert_eq!((window.granted(), windows.lent()), (LEAST.into(), 0));
    }

    proptest! {
        /// quinn's side of it, as `StreamsState` has it: what the peer may send is never more than what we have booked.
        #[test]
        fn the_budget_covers_what_peers_may_send(
            steps in prop::collection::vec((0_usize..4, 0_u8..4, 0_usize..2 << 20, 0_u64..8), 1..200),
        ) {
            let windows = windows(|config| config.window_memory_bytes = 112 << 20);
            let mut sessions: Vec<_> = (0..4).map(|_| Window::new(&windows, seconds(0))).collect();
            // Window, debt, credit that the peer has not used.
            let mut quinn = [(u64::from(LEAST), 0_u64, u64::from(LEAST)); 4];
            let mut now = seconds(0);
            for (which, what, bytes, pause) in steps {
                now += seconds(pause);
                let (window, (receive, debt, credit)) = (&mut sessions[which], &mut quinn[which]);
                let set = match what {
                    0 => window.announced(&windows, bytes),
                    1 => window.review(&windows, now),
                    _ => {
                        let bytes = (*credit as usize).min(bytes);
                        let paid = (*debt).min(bytes as u64);
                        *debt -= paid;
                        *credit -= paid;
                        window.delivered(&windows, bytes, what == 2, now)
                    }
                };
                if let Some(bytes) = set.map(u64::from) {
                    match bytes.checked_sub(*receive) {
                        Some(more) => *credit += more,
                        None => *debt += *receive - bytes,
                    }
                    *receive = bytes;
                }
                prop_assert!(*credit <= window.granted());
                prop_assert!(window.granted() <= 8 << 20);
                let lent: u64 = sessions.iter().map(|window| window.granted() - u64::from(LEAST)).sum();
                prop_assert_eq!(lent, windows.lent() as u64);
                prop_assert!(windows.lent() <= windows.most);
            }
            sessions.iter_mut().for_each(|window| window.end(&windows));
            prop_assert_eq!(windows.lent(), 0);
        }
    }
}
