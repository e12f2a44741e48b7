//! What `mainstem run` shows while it is far behind its side chains: how much is left, how fast it goes, and how long it
//! will take, if that can be said.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::node::Node;

/// So many blocks behind is far, at any speed.
const FAR: u64 = 100_000;

/// Far is also what takes so long: at full speed a node is always some hundred thousand blocks behind, and keeps up.
const FAR_TIME: f64 = 5.0;

/// Caught up is who has so few blocks to go, or what comes in a second.
const NEAR: u64 = 10_000;

/// How often it is looked: that goes through all sessions.
const LOOK: Duration = Duration::from_secs(1);

/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// Follows the node, and shows something while it is far behind.
pub(super) struct CatchUp {
    bar: ProgressBar,
    terminal: bool,
    looked: Option<Instant>,
    began: Instant,
    pace: Pace,
    state: State,
}

enum State {
    Near,
    /// With so many blocks durable at the beginning.
    Far {
        from: u64,
        since: Instant,
        told: Instant,
    },
}

impl CatchUp {
    /// Shows nothing yet.
    pub(super) fn new() -> Self {
        let style = "catching up {bar:20} {percent:>3} %  {msg}";
        let style = ProgressStyle::with_template(style).expect("our own template is well-formed");
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style),
            terminal: stderr().is_terminal(),
            looked: None,
            began: Instant::now(),
            pace: Pace::default(),
            state: State::Near,
        }
    }

    /// The bar, for log lines that must not run into it; `None` without a terminal.
    pub(super) fn bar(&self) -> Option<ProgressBar> {
        self.terminal.then(|| self.bar.clone())
    }

    /// To be called often: looks at the node now and then.
    pub(super) fn update(&mut self, node: &Node) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < LOOK) {
            return;
        }
        self.looked = Some(now);
        let durable = node.side_blocks();
        let Some(behind) = node.behind() else {
            if matches!(self.state, State::Far { .. }) {
                self.finish();
                tracing::info!("nobody is left who tells how much there is to catch up");
            }
            return;
        };
        self.pace.see(now - self.began, durable, behind);
        match &mut self.state {
            State::Near if self.pace.is_far(behind) => {
                self.state = State::Far { from: durable, since: now, told: now };
                if self.terminal {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr());
                } else {
                    tracing::info!(blocks = behind, "catching up");
                }
            }
            State::Far { since, .. } if self.pace.is_near(behind) => {
                let seconds = since.elapsed().as_secs();
                self.finish();
                tracing::info!(seconds, blocks_per_second = self.pace.rate(), "caught up");
            }
            _ => {}
        }
        self.show(now, durable, behind);
    }

    /// Removes the bar, if there is one.
    pub(super) fn finish(&mut self) {
        self.state = State::Near;
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn show(&mut self, now: Instant, durable: u64, behind: u64) {
        let State::Far { from, told, .. } = &mut self.state else { return };
        let left =
            self.pace.left(behind).map_or_else(|| "unknown".into(), |left| HumanDuration(left).to_string());
        let rate = self.pace.rate();
        if self.terminal {
            let done = durable.saturating_sub(*from);
            self.bar.set_length(done + behind);
            self.bar.set_position(done);
            self.bar.set_message(format!("{behind} blocks behind  {rate} blocks/s  time left {left}"));
        } else if now - *told >= LINE {
            *told = now;
            tracing::info!(blocks = behind, blocks_per_second = rate, time_left = left, "catching up");
        }
    }
}

/// How fast blocks become durable, and how fast side chains make new ones: both smoothed, as they come in bursts.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(Duration, u64, u64)>,
    /// Blocks a second that become durable, and that side chains add.
    rate: Smooth,
    growth: Smooth,
}

impl Pace {
    fn see(&mut self, at: Duration, durable: u64, behind: u64) {
        let tips = durable + behind;
        if let Some((then, before, tips_before)) = self.last.replace((at, durable, tips)) {
            let seconds = (at.saturating_sub(then)).as_secs_f64();
            self.rate.see(durable.saturating_sub(before) as f64, seconds);
            // A session that ends takes its tips with it, and one that begins brings what has long been there.
            let more = tips.saturating_sub(tips_before);
            let new = if self.is_far(more) { 0 } else { more };
            self.growth.see(new as f64, seconds);
        }
    }

    /// Blocks a second.
    #[allow(clippy::cast_sign_loss, reason = "counts are never negative, nor are their means")]
    fn rate(&self) -> u64 {
        self.rate.value() as u64
    }

    fn is_far(&self, behind: u64) -> bool {
        behind > FAR && behind as f64 > FAR_TIME * self.rate.value()
    }

    fn is_near(&self, behind: u64) -> bool {
        behind <= NEAR || behind as f64 <= self.rate.value()
    }

    /// How long it will take; `None` while that cannot be said: it was not looked for long enough, or side chains make
    /// blocks as fast as they are taken in.
    fn left(&self, behind: u64) -> Option<Duration> {
        let net = self.rate.value() - self.growth.value();
        let known = self.rate.seconds >= KNOWN && net > 0.01 * self.rate.value();
        known.then(|| Duration::try_from_secs_f64(behind as f64 / net).ok()).flatten()
    }
}

/// Of which time an estimate is made, in seconds.
const KNOWN: f64 = 5.0;

/// Over how many seconds a rate is smoothed.
const SMOOTH: f64 = 10.0;

/// An exponentially weighted mean, right from the first value on.
#[derive(Debug, Default)]
struct Smooth {
    sum: f64,
    weight: f64,
    seconds: f64,
}

impl Smooth {
    fn see(&mut self, count: f64, seconds: f64) {
        if seconds <= 0.0 {
            return;
        }
        let kept = (-seconds / SMOOTH).exp();
        self.sum = self.sum * kept + count / seconds * (1.0 - kept);
        self.weight = self.weight * kept + (1.0 - kept);
        self.seconds += seconds;
    }

    fn value(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_time_left_is_unknown_first_and_then_what_the_rate_and_the_growth_give() {
        let mut pace = Pace::default();
        let mut behind = 100_000_000;
        for second in 0..60 {
            // Four million in, one million new ones.
            pace.see(seconds(second), 4_000_000 * second, behind);
            let left = pace.left(behind);
            if second < 5 {
                assert_eq!(left, None, "after {second} s");
            } else {
                let exact = behind as f64 / 3e6;
                let error = (left.unwrap().as_secs_f64() - exact).abs();
                assert!(error < 1e-6 * exact + 1e-6, "{left:?} after {second} s, and it is {exact} s");
            }
            behind = behind.saturating_sub(3_000_000);
            if behind == 0 {
                break;
            }
        }
    }

    #[test]
    fn who_does_not_keep_up_is_told_no_time() {
        let mut pace = Pace::default();
        for second in 0..60 {
            pace.see(seconds(second), 1_000 * second, 500_000 + 10 * second);
        }
        assert_eq!(pace.left(500_600), None);
        // And nothing comes in at all.
        let mut pace = Pace::default();
        (0..60).for_each(|second| pace.see(seconds(second), 7, 500_000));
        assert_eq!((pace.left(500_000), pace.rate()), (None, 0));
    }

    #[test]
    fn what_a_session_brings_along_when_it_joins_is_more_to_do_and_no_growth() {
        let mut pace = Pace::default();
        (0..20).for_each(|second| pace.see(seconds(second), 1_000 * second, 500_000 - 1_000 * second));
        assert_eq!(pace.left(480_000).map(|left| left.as_secs()), Some(480));
        pace.see(seconds(20), 20_000, 10_480_000);
        assert_eq!(pace.left(10_480_000).map(|left| left.as_secs()), Some(10_480));
        // It ends again.
        pace.see(seconds(21), 21_000, 479_000);
        assert_eq!(pace.left(479_000).map(|left| left.as_secs()), Some(479));
    }

    #[test]
    fn far_behind_is_much_at_the_present_speed_only() {
        let mut pace = Pace::default();
        assert!(pace.is_far(FAR + 1) && !pace.is_far(FAR) && pace.is_near(NEAR) && !pace.is_near(NEAR + 1));
        (0..30).for_each(|second| pace.see(seconds(second), 4_000_000 * second, 1_000_000));
        assert!(!pace.is_far(1_000_000), "a quarter of a second");
        assert!(pace.is_far(30_000_000));
        assert!(pace.is_near(3_000_000) && !pace.is_near(5_000_000));
    }
}
