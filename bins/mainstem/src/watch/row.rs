//! What the watch remembers of one chain, and what it makes of it at a look.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use engine::aelf::lanes::{self, Indexed};
use engine::chain::NodeKey;
use engine::lane::{self, Lane};
use engine::pipeline::SealRules;
use engine::state::SideChain;
use net::control::RefusalCode;
use net::server::ChainRefusal;
use rest::status::{Change, Progress, Reason, Status, Tried};

use super::judge::{Gone, Limits, Observed, Who, judge};
use super::words;

/// One chain.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) side: SideChain,
    pub(super) lane: Arc<Lane>,
    pub(super) received: u64,
    pub(super) finalized: u64,
    pub(super) durable: u64,
    pub(super) limit: u64,
    /// The newest height of the source of the node that speaks, or spoke last.
    pub(super) tip: Option<u64>,
    /// When the watch has seen blocks arrive, by its own clock and by that of the wall.
    arrived: Option<(Duration, u64)>,
    /// When blocks became durable last, or none waited.
    moved: Duration,
    /// Since when the source has had more and there has been room.
    owed_since: Option<Duration>,
    full: Duration,
    pace: Pace,
    /// One a second, the oldest first.
    samples: VecDeque<Sample>,
    lag: Lag,
    looked: Duration,
    pub(super) seats: Seats,
    pub(super) refusal: Option<Refused>,
    /// The last time that it was refused to a key that is not registered for it: maybe that of a node of another chain.
    pub(super) stranger: Option<Refused>,
    /// The last evidence of equivocation in its lane, so that those who show it need not lock the lane.
    pub(super) evidence: Option<lane::Refusal>,
    pub(super) gone: Option<Absence>,
    /// The last session of one of its nodes that ended and had named other chains alone.
    pub(super) passed_by: Option<PassedBy>,
    /// Why the node has paused it, if it has.
    pub(super) quarantined: Option<Arc<str>>,
    /// The stage that stands still, and since when.
    pub(super) blamed: Option<(&'static str, Duration)>,
    pub(super) reason: Reason,
    /// Since when it is in this state for this reason.
    pub(super) since: Duration,
    since_wall: u64,
    history: VecDeque<Entry>,
    tried: VecDeque<Tried>,
    pub(super) remedy: Remedy,
}

/// Who has named the chain, as of the last survey.
#[derive(Debug, Default, Clone)]
pub(super) struct Seats {
    /// Of which survey this is.
    pub(super) survey: u64,
    pub(super) speaker: Option<Speaker>,
    /// Who spoke at the survey before, and since when.
    pub(super) was: Option<(u64, Duration)>,
    pub(super) standbys: u32,
    pub(super) left: u32,
    pub(super) refused: Option<RefusalCode>,
    /// If nobody has: a node of the chain that is connected and has named other chains alone.
    pub(super) passed_by: Option<PassedBy>,
}

impl Seats {
    /// Whether a node that is connected has named the chain, and has a right to.
    pub(super) fn is_named(&self) -> bool {
        self.speaker.is_some() || self.standbys + self.left > 0 || self.refused.is_some()
    }
}

/// A session of a node of the chain that has not named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassedBy {
    pub(super) key: NodeKey,
    /// When it began, in ms since 1970.
    pub(super) since: u64,
}

/// The session that speaks for a chain.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    pub(super) session: u64,
    pub(super) key: NodeKey,
    pub(super) peer: Arc<Peer>,
    /// Since when, by the watch's clock.
    pub(super) since: Duration,
    /// When anything came from it last.
    pub(super) heard: Duration,
    /// Whether it has told a tip.
    pub(super) told: bool,
}

/// What does not change of a session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) software: String,
}

/// The last refusal of a chain.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: RefusalCode,
    pub(super) detail: Arc<str>,
    pub(super) key: NodeKey,
    /// How many there were, and how many contradictions by which key.
    pub(super) count: u64,
    conflicts: Vec<(NodeKey, u64)>,
    /// What was received when the watch heard of it, and when.
    received: u64,
    at: Duration,
}

/// Why none of its nodes is connected.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    pub(super) why: Gone,
    pub(super) key: NodeKey,
    /// In ms since 1970.
    pub(super) time: u64,
    pub(super) detail: Arc<str>,
}

/// How often a remedy was tried since blocks came last, and when the last time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Remedy {
    pub(super) times: u32,
    pub(super) at: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    time: u64,
    reason: Reason,
    /// Of the newest ones only.
    text: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    durable: u64,
    lag: Option<u64>,
}

/// When a look takes place, and what holds for all chains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Duration,
    pub(super) wall: u64,
    pub(super) failed: bool,
    pub(super) driven: bool,
    pub(super) storing: bool,
    /// By which rules blocks are sealed.
    pub(super) rules: SealRules,
    /// The stage that stands still, and since when.
    pub(super) blamed: Option<(&'static str, Duration)>,
}

/// Changes that are kept of a chain.
const MAX_HISTORY: usize = 64;

/// How many of them keep their words: those of ten thousand chains would be a hundred MB.
const MAX_WORDS: usize = 8;

/// What was tried, that is kept of a chain.
const MAX_TRIED: usize = 8;

/// How long a node that was asked again may take to ask for its place, which it does after some seconds at most.
const MAX_ANSWER: Duration = Duration::from_secs(10);

/// Seconds over which rates are made.
const SAMPLES: usize = 11;

impl Row {
    pub(super) fn new(side: SideChain, lane: Arc<Lane>, now: &Now) -> Self {
        let mut row = Self {
            side,
            lane,
            received: 0,
            finalized: 0,
            durable: 0,
            limit: 0,
            tip: None,
            arrived: None,
            moved: now.at,
            owed_since: None,
            full: Duration::ZERO,
            pace: Pace::default(),
            samples: VecDeque::new(),
            lag: Lag::default(),
            looked: now.at,
            seats: Seats::default(),
            refusal: None,
            stranger: None,
            evidence: None,
            gone: None,
            passed_by: None,
            quarantined: None,
            blamed: None,
            reason: Reason::NeverConnected,
            since: now.at,
            since_wall: now.wall,
            history: VecDeque::new(),
            tried: VecDeque::new(),
            remedy: Remedy::default(),
        };
        let cursors = row.lane.cursors();
        (row.received, row.finalized, row.durable) = (cursors.received, cursors.finalized, cursors.indexed);
        row
    }

    /// Whether blocks have come or become durable since the last look.
    pub(super) fn has_moved(&self) -> bool {
        let cursors = self.lane.cursors();
        (cursors.received, cursors.indexed) != (self.received, self.durable)
    }

    /// Looks at the lane, and judges. Returns what the reason was, if it is another one now.
    pub(super) fn look(&mut self, now: &Now, limits: &Limits) -> Option<Reason> {
        self.observe(now, limits);
        let reason = judge(&self.observed(now), limits);
        // Asked again a moment ago: it does not speak until it has answered, and what was wrong still is.
        let asked = self.remedy.at.is_some_and(|at| now.at.saturating_sub(at) < MAX_ANSWER);
        if reason == self.reason || (asked && reason == Reason::NotSpeaker) {
            return None;
        }
        let before = std::mem::replace(&mut self.reason, reason);
        (self.since, self.since_wall) = (now.at, now.wall);
        Some(before)
    }

    fn observe(&mut self, now: &Now, limits: &Limits) {
        let cursors = self.lane.cursors();
        let since_look = now.at.saturating_sub(self.looked);
        self.looked = now.at;
        self.blamed = now.blamed;
        let nothing_waited = self.finalized <= self.durable;
        if cursors.indexed > self.durable || nothing_waited || self.lane.is_paused() {
            self.moved = now.at;
        }
        if cursors.received > self.received {
            let at_tip = self.tip.is_some_and(|tip| cursors.received >= tip);
            self.pace.arrived(now.at, at_tip);
            self.arrived = Some((now.at, now.wall));
            // Whatever helped.
            self.remedy = Remedy::default();
        }
        (self.received, self.finalized, self.durable) =
            (cursors.received, cursors.finalized, cursors.indexed);
        self.limit = self.lane.credit().1.0;
        let has_room = self.received < self.limit;
        let owes = has_room && self.tip.is_some_and(|tip| tip > self.received);
        self.owed_since = owes.then(|| self.owed_since.unwrap_or(now.at));
        // At about every look: in the moment after blocks became durable there is room.
        self.full = if has_room {
            self.full.saturating_sub(since_look * 2)
        } else {
            (self.full + since_look).min(limits.full * 2)
        };
        let target = self.tip.unwrap_or(0).max(self.received);
        self.lag.look(target, self.durable, now.at);
        if self.samples.back().is_none_or(|last| now.at.saturating_sub(last.at) >= Duration::from_secs(1)) {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(Sample { at: now.at, durable: self.durable, lag: self.lag_blocks() });
        }
    }

    fn observed(&self, now: &Now) -> Observed {
        let arrived = self.arrived.map_or(Duration::ZERO, |(at, _)| at);
        let owed = self.owed_since.map(|since| now.at.saturating_sub(since.max(arrived)));
        Observed {
            paused: self.lane.is_paused(),
            quarantined: self.quarantined.is_some() && self.lane.is_paused(),
            failed: now.failed,
            driven: now.driven,
            storing: now.storing,
            blamed: now.blamed.map(|(stage, _)| stage),
            held_by_rules: self.is_held_by(now.rules) && !now.driven,
            received: self.received,
            finalized: self.finalized,
            durable: self.durable,
            limit: self.limit,
            tip: self.tip,
            waiting: now.at.saturating_sub(self.moved),
            silent: self.silent(now.at),
            owed: owed.unwrap_or_default(),
            full: self.full,
            gaining: self.is_gaining(),
            was_behind: self.reason == Reason::Behind,
            pace: self.pace.usual(),
            who: self.who(now.at),
        }
    }

    /// Whether it has not begun, and the rules do not let it yet.
    fn is_held_by(&self, rules: SealRules) -> bool {
        let waiting = self.finalized.saturating_sub(self.durable);
        let begins = self.durable < self.side.first_height.0;
        rules == SealRules::Aelf && begins && waiting > 0 && lanes::places(Indexed::Nothing, waiting) == 0
    }

    fn who(&self, now: Duration) -> Who {
        let seats = &self.seats;
        if let Some(speaker) = &seats.speaker {
            if let Some(refusal) = &self.refusal
                && self.stands(refusal, now)
            {
                return Who::Refused(refusal.code);
            }
            let arrived = self.arrived.is_some_and(|(at, _)| at >= speaker.since);
            return Who::Speaker {
                since: now.saturating_sub(speaker.since),
                mute: now.saturating_sub(speaker.heard),
                has_said: speaker.told || arrived,
            };
        }
        match seats.refused {
            Some(code) if seats.standbys == 0 && seats.left == 0 => return Who::Refused(code),
            _ => {}
        }
        if seats.standbys + seats.left > 0 {
            return Who::Nobody;
        }
        let refusal = self.refusal.as_ref();
        match &self.gone {
            // Refused, and then gone: that it went is not the cause.
            Some(Absence { why: Gone::Left | Gone::Lost, .. }) | None => {
                match refusal.filter(|refusal| refusal.received == self.received) {
                    Some(refusal) if is_of_blocks(refusal.code) => Who::Refused(refusal.code),
                    Some(refusal) if self.gone.is_none() => Who::Refused(refusal.code),
                    // Nobody else came: it may well be its own node, with a wrong key.
                    None if self.gone.is_none() && self.stranger.is_some() => {
                        Who::Refused(RefusalCode::UnknownKey)
                    }
                    _ if self.passed_by().is_some() => Who::NotNamed,
                    _ => Who::Gone(self.gone.as_ref().map_or(Gone::Never, |gone| gone.why)),
                }
            }
            Some(_) if self.passed_by().is_some() => Who::NotNamed,
            Some(gone) => Who::Gone(gone.why),
        }
    }

    /// The session that has not named the chain, and whether it is there; unless another one had it and ended since, or
    /// another node did.
    pub(super) fn passed_by(&self) -> Option<(PassedBy, bool)> {
        let here = self.seats.passed_by.map(|session| (session, true));
        let session = here.or(self.passed_by.map(|session| (session, false)))?;
        let newer = |gone: &Absence| gone.key == session.0.key && gone.time <= session.0.since;
        self.gone.as_ref().is_none_or(newer).then_some(session)
    }

    /// Whether a refusal still says how things are, though somebody speaks: he asks anew each time.
    fn stands(&self, refusal: &Refused, now: Duration) -> bool {
        let fresh = now.saturating_sub(refusal.at) < Duration::from_secs(10);
        let missing = self.tip.is_none_or(|tip| tip > self.received);
        is_of_blocks(refusal.code) && refusal.received == self.received && (fresh || missing)
    }

    /// Hears of the last refusal of the chain. Returns the contradictions that were not heard of before, by key.
    pub(super) fn hear(&mut self, refusal: &ChainRefusal, now: Duration) -> Vec<(NodeKey, u64)> {
        let before = self.refusal.as_ref();
        if before.is_some_and(|before| before.count == refusal.count) {
            return Vec::new();
        }
        let known = before.map_or(&[][..], |before| &before.conflicts);
        let more = |(key, count): &(NodeKey, u64)| {
            let known = known.iter().find(|(other, _)| other == key).map_or(0, |(_, count)| *count);
            Some((*key, count.saturating_sub(known))).filter(|(_, more)| *more > 0)
        };
        let more = refusal.conflicts.iter().filter_map(more).collect();
        self.refusal = Some(Refused::new(refusal, self.lane.cursors().received, now));
        more
    }

    /// Hears of the last key that is not registered for the chain and named it.
    pub(super) fn hear_stranger(&mut self, refusal: &ChainRefusal, now: Duration) {
        if self.stranger.as_ref().is_none_or(|before| before.count != refusal.count) {
            self.stranger = Some(Refused::new(refusal, self.lane.cursors().received, now));
        }
    }

    /// Writes the change to what holds now down. Returns it.
    pub(super) fn remember(&mut self, now: &Now) -> Change {
        let text = self.text(now.at);
        if let Some(old) = self.history.iter_mut().nth_back(MAX_WORDS - 1) {
            old.text = None;
        }
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        let reason = self.reason;
        self.history.push_back(Entry { time: now.wall, reason, text: Some(text.clone().into()) });
        Change { time: now.wall, state: reason.state(), reason, text }
    }

    /// The last changes, newest first.
    pub(super) fn history(&self) -> Vec<Change> {
        let change = |entry: &Entry| Change {
            time: entry.time,
            state: entry.reason.state(),
            reason: entry.reason,
            text: entry.text.as_deref().unwrap_or(entry.reason.meaning()).to_owned(),
        };
        self.history.iter().rev().map(change).collect()
    }

    /// Writes down what was done about it.
    pub(super) fn try_out(&mut self, now: &Now, text: String) {
        if self.tried.len() == MAX_TRIED {
            self.tried.pop_back();
        }
        self.tried.push_front(Tried { time: now.wall, reason: self.reason, text });
        self.remedy.times += 1;
        self.remedy.at = Some(now.at);
    }

    pub(super) fn tried(&self) -> Vec<Tried> {
        self.tried.iter().cloned().collect()
    }

    pub(super) fn text(&self, now: Duration) -> String {
        words::text(self, now)
    }

    pub(super) fn status(&self, now: Duration) -> Status {
        Status {
            state: self.reason.state(),
            reason: self.reason,
            text: self.text(now),
            next: words::next(self),
            since: self.since_wall,
        }
    }

    pub(super) fn progress(&self, now: Duration) -> Progress {
        let speaker = self.seats.speaker.as_ref();
        Progress {
            status: self.status(now),
            tip: self.tip,
            lag_blocks: self.lag_blocks(),
            lag_seconds: self.lag_seconds(now),
            rate: self.rate(),
            last_block: self.last_block(),
            speaker_address: speaker.map(|speaker| speaker.peer.address.clone()),
            speaker_software: speaker
                .map(|speaker| speaker.peer.software.clone())
                .filter(|text| !text.is_empty()),
        }
    }

    /// From what is durable to the tip; what has come counts, whatever was told.
    pub(super) fn lag_blocks(&self) -> Option<u64> {
        self.tip.map(|tip| tip.max(self.received).saturating_sub(self.durable))
    }

    /// As far as it is known that something is missing, for how long it has been.
    pub(super) fn lag_seconds(&self, now: Duration) -> Option<f64> {
        let known = self.tip.is_some() || self.arrived.is_some() || self.received > self.durable;
        known.then(|| self.lag.now(now).as_millis() as f64 / 1e3)
    }

    /// Blocks made durable a second, over the last 10 s, to a tenth.
    pub(super) fn rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        let took = last.at.saturating_sub(first.at).as_secs_f64();
        let blocks = last.durable.saturating_sub(first.durable) as f64;
        if took > 0.0 { (blocks / took * 10.0).round() / 10.0 } else { 0.0 }
    }

    /// When blocks arrived last, in ms since 1970.
    pub(super) fn last_block(&self) -> Option<u64> {
        self.arrived.map(|(_, wall)| wall)
    }

    /// For how long nothing has arrived; since the watch began if nothing has.
    pub(super) fn silent(&self, now: Duration) -> Duration {
        now.saturating_sub(self.arrived.map_or(Duration::ZERO, |(at, _)| at))
    }

    /// For how long final blocks have waited and none has become durable.
    pub(super) fn waiting(&self, now: Duration) -> Duration {
        now.saturating_sub(self.moved)
    }

    /// The usual time between two arrivals at the tip.
    pub(super) fn usual_pace(&self) -> Option<Duration> {
        self.pace.usual()
    }

    /// Whether durable comes nearer to the tip.
    fn is_gaining(&self) -> bool {
        let lag = self.lag_blocks();
        let before = self.samples.front().and_then(|sample| sample.lag);
        lag.zip(before).is_some_and(|(lag, before)| lag + (lag / 128).max(8) < before)
    }
}

impl Refused {
    fn new(refusal: &ChainRefusal, received: u64, at: Duration) -> Self {
        Self {
            code: refusal.code,
            detail: clip(&refusal.detail),
            key: refusal.key,
            count: refusal.count,
            conflicts: refusal.conflicts.clone(),
            received,
            at,
        }
    }
}

/// Whether what is refused are blocks: by whoever spoke for the chain then.
fn is_of_blocks(code: RefusalCode) -> bool {
    use RefusalCode::{AboveLimit, Conflict, WrongHeight, WrongParent};
    matches!(code, WrongHeight | WrongParent | Conflict | AboveLimit)
}

/// Text of a peer, as long and as plain as may be kept for each chain.
pub(super) fn clip(text: &str) -> Arc<str> {
    text.chars().take(240).map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into()
}

/// How often blocks arrive while the source has no more.
#[derive(Debug, Default)]
struct Pace {
    usual: Duration,
    count: u32,
    last: Option<Duration>,
}

/// From so many on it is a habit.
const HABIT: u32 = 8;

impl Pace {
    fn arrived(&mut self, now: Duration, at_tip: bool) {
        let Some(last) = self.last.replace(now).filter(|_| at_tip) else {
            // Catching up says nothing of how often the chain makes blocks.
            self.last = at_tip.then_some(now);
            return;
        };
        let gap = now.saturating_sub(last);
        self.count = self.count.saturating_add(1);
        // One long pause does not make the next one usual.
        let gap = if self.count > HABIT { gap.min(self.usual * 4) } else { gap };
        self.usual = if self.count == 1 { gap } else { (self.usual * 7 + gap) / 8 };
    }

    fn usual(&self) -> Option<Duration> {
        (self.count >= HABIT).then_some(self.usual)
    }
}

/// How old the oldest block is that is not durable: the last one that was followed from its coming to its being durable,
/// or one that is followed now, whichever took longer.
#[derive(Debug, Default)]
struct Lag {
    followed: Option<(u64, Duration)>,
    last: Duration,
}

impl Lag {
    fn look(&mut self, target: u64, durable: u64, now: Duration) {
        if let Some((height, since)) = self.followed
            && durable >= height
        {
            self.last = now.saturating_sub(since);
            self.followed = None;
        }
        if target <= durable {
            (self.followed, self.last) = (None, Duration::ZERO);
        } else if self.followed.is_none() {
            self.followed = Some((target, now));
        }
    }

    fn now(&self, now: Duration) -> Duration {
        self.followed.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(since).max(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pace_is_learned_at_the_tip_only_and_a_long_pause_does_not_spoil_it() {
        let mut pace = Pace::default();
        for second in 0..100 {
            pace.arrived(s(second), false);
        }
        assert_eq!(pace.usual(), None);
        for turn in 0..20 {
            assert_eq!(pace.usual().is_some(), turn > 8, "{turn}");
            pace.arrived(s(100 + 2 * turn), true);
        }
        assert_eq!(pace.usual(), Some(s(2)));
        pace.arrived(s(10_000), true);
        assert!(pace.usual() < Some(s(3)), "{pace:?}");
    }

    #[test]
    fn a_lag_in_seconds_is_as_long_as_blocks_take() {
        let mut lag = Lag::default();
        // A block a second, each durable 3 s later.
        for second in 0..20 {
            lag.look(second, second.saturating_sub(3), s(second));
            if second > 8 {
                assert!((s(3)..=s(4)).contains(&lag.now(s(second))), "{second}: {lag:?}");
            }
        }
        lag.look(19, 19, s(20));
        assert_eq!(lag.now(s(30)), Duration::ZERO, "all is durable");
        lag.look(20, 19, s(30));
        assert_eq!(lag.now(s(90)), s(60));
    }
}
