//! How far each peer may send ahead of our reading: a budget over all connections.
//!
//! Every connection has a small window from its start, and the budget sets that aside for all that there may be. The rest
//! is shared by those who need more: a session that announces a frame may use a little of it, one that delivers valid
//! blocks fast doubles its window, up to an equal share. When more sessions come to need some, those who have more than
//! their share are lowered. A part always stays free for the next one: n sessions never have more than n of n + 4 parts.
//!
//! QUIC takes no credit back. So a window that is lowered stays lent until the peer has sent that much more (quinn calls
//! it debt: `StreamsState::add_read_credits` in quinn-proto 0.11). Until then it counts against the budget here, and
//! against what the session may have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::ServerConfig;

/// So many shares are kept for sessions that do not need any yet.
const SPARE_SHARES: usize = 4;

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
    /// How many sessions have some of that, or would like to.
    holders: AtomicUsize,
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
            holders: AtomicUsize::new(0),
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

    /// What a session may have above its start, when all that need some have the same.
    fn share(&self) -> usize {
        self.most / (self.holders.load(Ordering::Relaxed) + SPARE_SHARES)
    }

    /// Lends `more`, or what is left of what as many sessions as there are may have together.
    fn lend(&self, more: usize) -> usize {
        let mut lent = 0;
        let most = self.share() * self.holders.load(Ordering::Relaxed);
        let lend = |all: usize| {
            lent = more.min(most.saturating_sub(all));
            Some(all + lent)
        };
        let _ = self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lend);
        lent
    }

    fn take_back(&self, bytes: usize) {
        self.lent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A session `had` some of it or asked for it, and now `has` or asks.
    fn holds(&self, had: bool, has: bool) {
        match (had, has) {
            (false, true) => _ = self.holders.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.holders.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
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
    /// It has asked for more than it had from its start, and was not idle since. Who gets nothing counts as well, or
    /// those who have all would never be lowered.
    asks: bool,
    /// The session is over: what it still reads of what had come does not count.
    ended: bool,
}

impl Window {
    pub(super) fn new(windows: &Windows, now: Duration) -> Self {
        Self {
            bytes: windows.least,
            debt: 0,
            epoch: (now, 0),
            last: now,
            proven: false,
            asks: false,
            ended: false,
        }
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
        if self.ended {
            return None;
        }
        self.pay(windows, bytes as u64);
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
        let target = if now.saturating_sub(self.last) >= IDLE {
            let had = self.holds(windows);
            self.asks = false;
            windows.holds(had, self.holds(windows));
            windows.least
        } else {
            // A little more is let be: the number of those who need some goes up and down.
            let share = u32::try_from(windows.least as usize + windows.share()).unwrap_or(u32::MAX);
            if self.bytes - self.bytes / 8 > share { share } else { self.bytes }
        };
        if target >= self.bytes {
            return None;
        }
        // It stays lent, as debt.
        self.debt += u64::from(self.bytes - target);
        self.bytes = target;
        Some(target)
    }

    /// The session ends.
    pub(super) fn end(&mut self, windows: &Windows) {
        self.debt += u64::from(self.bytes - windows.least);
        self.bytes = windows.least;
        let had = self.holds(windows);
        self.asks = false;
        windows.holds(had, self.holds(windows));
        self.pay(windows, self.debt);
        self.ended = true;
    }

    /// The peer has used up so much of its credit.
    fn pay(&mut self, windows: &Windows, bytes: u64) {
        let (had, paid) = (self.holds(windows), self.debt.min(bytes));
        self.debt -= paid;
        windows.take_back(paid as usize);
        windows.holds(had, self.holds(windows));
    }

    fn holds(&self, windows: &Windows) -> bool {
        self.asks || self.granted() > u64::from(windows.least)
    }

    fn grow(&mut self, windows: &Windows, to: u64, most: u32) -> Option<u32> {
        let to = to.min(u64::from(most).saturating_sub(self.debt));
        if to <= u64::from(self.bytes) || self.ended {
            return None;
        }
        let had = self.holds(windows);
        self.asks = true;
        windows.holds(had, true);
        let share = u64::from(windows.least) + windows.share() as u64;
        let more = to.min(share.saturating_sub(self.debt)).saturating_sub(u64::from(self.bytes));
        let lent = windows.lend(more as usize);
        self.bytes += u32::try_from(lent).expect("no more than was asked for");
        (lent > 0).then_some(self.bytes)
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
        assert_eq!(window.announced(&windows, 20 << 10), Some(40 << 10));
        assert_eq!(window.announced(&windows, 1 << 20), Some(128 << 10));
        for _ in 0..100 {
            assert_eq!(window.delivered(&windows, 1 << 20, false, seconds(0)), None);
        }
        assert_eq!((window.granted(), window.is_proven()), (128 << 10, false));
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
        // The first ones come early and take what there is.
        for window in &mut sessions {
            fill(window, &windows, seconds(0));
        }
        assert_eq!(sessions[0].granted(), 8 << 20);
        // All go on, and what the first ones have too much is used up as they do.
        for _ in 0..100 {
            for window in &mut sessions {
                let _ = window.review(&windows, seconds(0));
                fill(window, &windows, seconds(0));
            }
        }
        let (least, share) = (u64::from(LEAST), windows.share() as u64);
        let fair = least + share / 2..=least + 2 * share;
        for window in &sessions {
            assert!(fair.contains(&window.granted()), "{window:?} of {fair:?}");
        }
        assert!(share > 128 << 10 && windows.lent() <= windows.most);
    }

    #[test]
    fn those_who_took_much_and_now_send_little_leave_something_for_the_next() {
        let windows = windows(|_| ());
        let mut holders = Vec::new();
        for _ in 0..60 {
            let mut window = Window::new(&windows, seconds(0));
            for _ in 0..20 {
                fill(&mut window, &windows, seconds(0));
            }
            assert!(window.granted() >= 128 << 10, "{} holders before it: {window:?}", holders.len());
            holders.push(window);
            // Not idle, and never using up what they were lent.
            for window in &mut holders {
                let _ =
                    (window.delivered(&windows, 136, true, seconds(1)), window.review(&windows, seconds(1)));
            }
        }
    }

    #[test]
    fn what_is_read_after_the_end_is_lent_nothing() {
        let windows = windows(|_| ());
        let mut window = Window::new(&windows, seconds(0));
        window.end(&windows);
        assert_eq!(window.announced(&windows, 1 << 20), None);
        assert_eq!(window.delivered(&windows, 8 << 20, true, seconds(0)), None);
        assert_eq!((windows.lent(), windows.share()), (0, windows.most / SPARE_SHARES));
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
        assert_eq!(window.granted(), 4 << 20);
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
            prop_assert_eq!((windows.lent(), windows.share()), (0, windows.most / SPARE_SHARES));
        }
    }
}
