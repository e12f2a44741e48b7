//! When the sources are asked how far they are, and what of it the main chain is told.

use std::time::{Duration, Instant};

use engine::chain::Height;

use super::backoff::{Backoff, jitter};

/// Between two rounds of questions: a second and up to a quarter more, so that many clients spread.
const PERIOD: Duration = Duration::from_secs(1);

/// The longest pause after a source that cannot say.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When the next round is due.
#[derive(Debug)]
pub(super) struct Rounds {
    due: Instant,
}

impl Rounds {
    /// The first round of a connection is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether a round is due; then the next one is set.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let due = self.due <= now;
        if due {
            self.due = now + PERIOD + jitter(PERIOD / 4);
        }
        due
    }
}

/// How far one chain's source is, as the main chain knows it.
#[derive(Debug)]
pub(super) struct SourceTip {
    told: Option<Height>,
    ask_at: Instant,
    backoff: Backoff,
    /// Whether the source could not say, the last time.
    pub(super) failed: bool,
}

impl SourceTip {
    pub(super) fn new(now: Instant) -> Self {
        Self { told: None, ask_at: now, backoff: Backoff::new(PERIOD, LONGEST_PAUSE), failed: false }
    }

    /// Nothing of it has been told on this connection.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.ask_at <= now
    }

    /// The source has answered; what is news for the main chain.
    pub(super) fn hear(&mut self, tip: Option<Height>) -> Option<Height> {
        self.failed = false;
        self.backoff.reset();
        // The main chain would break the connection over a height that is none.
        let tip = tip.filter(|tip| (Height(1)..=Height::MAX).contains(tip) && self.told != Some(*tip))?;
        self.told = Some(tip);
        Some(tip)
    }

    /// The source cannot say: not asked again for a while, since asking may take as long as its time-out.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.ask_at = Instant::now() + self.backoff.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_changed_is_told_once_a_connection() {
        let mut tip = SourceTip::new(Instant::now());
        assert_eq!(tip.hear(Some(Height(5))), Some(Height(5)));
        assert_eq!(tip.hear(Some(Height(5))), None);
        assert_eq!(tip.hear(None), None);
        assert_eq!(
            tip.hear(Some(Height(4))),
            Some(Height(4)),
            "a chain may be read from a node that is behind"
        );
        tip.forget();
        assert_eq!(tip.hear(Some(Height(4))), Some(Height(4)));
        assert_eq!(tip.hear(Some(Height(0))), None);
        assert_eq!(tip.hear(Some(Height(u64::MAX))), None);
    }

    #[test]
    fn a_round_comes_at_most_once_a_second() {
        let now = Instant::now();
        let mut rounds = Rounds::new(now);
        assert!(rounds.begin(now));
        assert!(!rounds.begin(now + PERIOD));
        assert!(rounds.begin(now + PERIOD * 2));
    }

    #[test]
    fn a_source_that_cannot_say_is_asked_less_and_less() {
        let mut tip = SourceTip::new(Instant::now());
        for _ in 0..10 {
            tip.fail();
        }
        assert!(!tip.is_due(Instant::now() + LONGEST_PAUSE / 3));
        assert!(tip.is_due(Instant::now() + LONGEST_PAUSE));
    }
}
