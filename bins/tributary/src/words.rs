//! What happened and how it stands, in words: log lines and the live line.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Height};
use net::client::{ChainState, ConnectionState, Event, Status};
use net::control::RefusalCode;
use tracing::{debug, error, info, warn};

/// Tells events. What keeps happening is told once in a while only, with how often it happened.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: HashMap<(Option<ChainId>, String), Repeats>,
}

#[derive(Debug)]
struct Repeats {
    at: Instant,
    more: u64,
}

impl Teller {
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Connected { address, main_chain } => {
                info!(%address, %main_chain, "connected to the main chain");
                // A new connection: what went wrong before is news again.
                self.told.clear();
            }
            Event::Disconnected { reason, retry_in: Some(_) } => {
                if let Some(times) = self.news(None, &reason.to_string()) {
                    warn!(times, "not connected to the main chain: {reason}; trying again");
                }
            }
            Event::Disconnected { reason, retry_in: None } => {
                error!("not connected to the main chain: {reason}");
            }
            Event::Speaking { chain, next } => {
                info!(%chain, next = next.0, "this node speaks for the chain, from height {next} on");
            }
            Event::Standby { chain } => {
                info!(%chain, "another node speaks for the chain; standing by to take over");
            }
            Event::Refused { chain, code, text } => {
                if let Some(times) = self.news(Some(*chain), &format!("{code}: {text}")) {
                    let remedy = remedy(*code, text);
                    if code.is_lasting() {
                        error!(%chain, times, "refused by the main chain ({code}): {text}{remedy}");
                    } else {
                        warn!(%chain, times, "refused by the main chain ({code}): {text}{remedy}");
                    }
                }
            }
            Event::Fork { chain, height, ours, theirs } => error!(
                %chain,
                height = height.0,
                %ours,
                %theirs,
                "FORK: the side chain was reorganised below what was sent. At height {height} its node has {ours}, the \
                 main chain has {theirs}. What the main chain has indexed stays; see whether this node is on the \
                 right branch. Until both agree again, nothing can be sent"
            ),
            Event::SourceFailed { chain, error, retry: true } => {
                if let Some(times) = self.news(Some(*chain), error) {
                    warn!(%chain, times, "waiting for the source: {error}");
                }
            }
            Event::SourceFailed { chain, error, retry: false } => {
                error!(%chain, "the source cannot go on: {error}");
            }
            Event::Head(head) => debug!(height = head.height.0, "main block"),
        }
    }

    /// Whether something is to be told now, and how often it has happened since it was told last.
    fn news(&mut self, chain: Option<ChainId>, text: &str) -> Option<u64> {
        if self.told.len() > MAX_REMEMBERED {
            self.told.clear();
        }
        let now = Instant::now();
        let repeats = self.told.entry((chain, text.to_owned()));
        let mut first = false;
        let repeats = repeats.or_insert_with(|| {
            first = true;
            Repeats { at: now, more: 0 }
        });
        repeats.more += 1;
        if !first && now.duration_since(repeats.at) < REPEAT_AFTER {
            return None;
        }
        repeats.at = now;
        Some(std::mem::take(&mut repeats.more))
    }
}

/// What to do, if the text does not say it already.
fn remedy(code: RefusalCode, text: &str) -> String {
    let remedy = code.remedy();
    if text.contains(remedy) { String::new() } else { format!("; {remedy}") }
}

/// How it stands, in figures.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    connection: String,
    /// Of one chain, or of all of them together.
    name: String,
    states: Vec<(&'static str, usize)>,
    sent: u64,
    durable: u64,
    /// How far the main chain is behind the side chain's newest irreversible block, if that is known, or else
    /// behind what was sent.
    behind: u64,
    /// Blocks a second that became durable.
    rate: u64,
    main_height: Option<Height>,
    trouble: Option<String>,
}

/// Counts what becomes durable over time. Heights are the main chain's word, and it may say anything: sums saturate.
#[derive(Debug)]
pub(crate) struct Rate {
    /// (when, durable) at the ends of the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { samples: VecDeque::new() }
    }

    /// Takes note of how many blocks are durable now.
    pub(crate) fn sample(&mut self, status: &Status) {
        let now = Instant::now();
        let durable = status.chains.iter().fold(0, |sum: u64, chain| sum.saturating_add(chain.durable.0));
        self.samples.push_back((now, durable));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) >= RATE_WINDOW {
            self.samples.pop_front();
        }
    }

    fn per_second(&self) -> u64 {
        let (Some((since, before)), Some((now, after))) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let millis = now.duration_since(*since).as_millis() as u64;
        after.saturating_sub(*before).saturating_mul(1_000).checked_div(millis).unwrap_or(0)
    }
}

impl Figures {
    pub(crate) fn new(status: &Status, tip: Option<Height>, rate: &Rate) -> Self {
        let connection = match &status.connection {
            ConnectionState::Connecting => "connecting".to_owned(),
            ConnectionState::Connected { address, .. } => format!("connected to {address}"),
            ConnectionState::Waiting { .. } => "not connected".to_owned(),
            ConnectionState::Stopped { .. } => "stopped".to_owned(),
        };
        let reason = match &status.connection {
            ConnectionState::Waiting { reason } => Some(reason.to_string()),
            ConnectionState::Stopped { reason } => Some(reason.clone()),
            _ => None,
        };
        let name = match status.chains.as_slice() {
            [chain] => chain.chain.to_string(),
            chains => format!("{} chains", chains.len()),
        };
        let mut states: Vec<(&'static str, usize)> = Vec::new();
        // What the main chain says may be anything.
        let (mut sent, mut durable, mut behind) = (0_u64, 0_u64, 0_u64);
        for chain in &status.chains {
            let state = state_name(chain.state);
            match states.iter_mut().find(|(name, _)| *name == state) {
                Some((_, count)) => *count += 1,
                None => states.push((state, 1)),
            }
            sent = sent.saturating_add(chain.sent.0);
            durable = durable.saturating_add(chain.durable.0);
            let newest = tip.map_or(chain.sent.0, |tip| tip.0.max(chain.sent.0));
            behind = behind.saturating_add(newest.saturating_sub(chain.durable.0));
        }
        let trouble = reason.or_else(|| status.chains.iter().find_map(|chain| chain.error.clone()));
        let main_height = status.head.as_ref().map(|head| head.height);
        Self {
            connection,
            name,
            states,
            sent,
            durable,
            behind,
            rate: rate.per_second(),
            main_height,
            trouble,
        }
    }

    /// For the live line.
    pub(crate) fn line(&self) -> String {
        let states: Vec<_> = match self.states.as_slice() {
            [(state, _)] => vec![(*state).to_owned()],
            states => states.iter().map(|(state, count)| format!("{count} {state}")).collect(),
        };
        // What matters most comes first: a narrow terminal shows no more.
        let mut line = format!(
            "{} {}  behind {}  {}/s  durable {}  sent {}",
            self.name,
            states.join(", "),
            grouped(self.behind),
            grouped(self.rate),
            grouped(self.durable),
            grouped(self.sent),
        );
        if let Some(height) = self.main_height {
            let _ = write!(line, "  main block {}", grouped(height.0));
        }
        let _ = write!(line, "  {}", self.connection);
        if let Some(trouble) = &self.trouble {
            let _ = write!(line, "  ! {trouble}");
        }
        line
    }

    /// For the log.
    pub(crate) fn log(&self) {
        info!(
            chains = %self.name,
            connection = %self.connection,
            sent = self.sent,
            durable = self.durable,
            behind = self.behind,
            per_second = self.rate,
            main_height = self.main_height.map(|height| height.0),
            trouble = self.trouble.as_deref(),
            "status"
        );
    }

    /// For the log, as the last word.
    pub(crate) fn log_end(&self) {
        let main_height = self.main_height.map(|height| height.0);
        info!(chains = %self.name, sent = self.sent, durable = self.durable, main_height, "stopped");
    }
}

fn state_name(state: ChainState) -> &'static str {
    match state {
        ChainState::Offline => "waiting",
        ChainState::Speaking => "sending",
        ChainState::Standby => "standing by",
        ChainState::Refused(_) => "refused",
        ChainState::Stopped => "stopped",
    }
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const REPEAT_AFTER: Duration = Duration::from_secs(30);
const MAX_REMEMBERED: usize = 10_000;
const RATE_WINDOW: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use net::client::ChainStatus;

    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_repeats_is_told_once() {
        let mut teller = Teller::default();
        let chain = Some(ChainId(1));
        assert_eq!(teller.news(chain, "a"), Some(1));
        assert_eq!(teller.news(chain, "a"), None);
        assert_eq!(teller.news(chain, "b"), Some(1));
        assert_eq!(teller.news(None, "a"), Some(1));
        let earlier = Instant::now().checked_sub(REPEAT_AFTER).unwrap();
        teller.told.values_mut().for_each(|repeats| repeats.at = earlier);
        assert_eq!(teller.news(chain, "a"), Some(2), "this time and the one that was not told");
    }
    #[test]
    fn heights_that_a_main_chain_makes_up_are_shown_and_do_no_harm() {
        let status = |sent, durable| Status {
            connection: ConnectionState::Connecting,
            main: None,
            head: None,
            chains: (1..=3)
                .map(|chain| ChainStatus {
                    chain: ChainId(chain),
                    state: ChainState::Speaking,
                    sent: Height(sent),
                    durable: Height(durable),
                    limit: Height(0),
                    error: None,
                })
                .collect(),
            blocks: 0,
            frames: 0,
            bytes: 0,
            connections: 0,
        };
        let mut rate = Rate::new();
        for (sent, durable) in [(0, 0), (Height::MAX.0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            rate.sample(&status(sent, durable));
            let figures = Figures::new(&status(sent, durable), None, &rate);
            assert_eq!(figures.sent, sent.saturating_mul(3));
            assert_eq!(figures.durable, durable.saturating_mul(3));
            assert_eq!(figures.behind, (sent - durable).saturating_mul(3));
        }
    }
}
