//! What happened and how it stands, in words: log lines and the live line.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Height};
use net::client::{ChainState, ChainStatus, ConnectionState, Event, Status};
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
                let reason = reason.to_string();
                if let Some(times) = self.news(None, &reason) {
                    warn!(times, "not connected to the main chain: {reason}; trying again");
                }
            }
            Event::Disconnected { reason, retry_in: None } => {
                error!("not connected to the main chain: {reason}");
            }
            Event::Speaking { chain, next } => {
                if let Some(times) = self.news(Some(*chain), "speaks") {
                    info!(%chain, next = next.0, times, "this node speaks for the chain, from height {next} on");
                }
            }
            Event::Standby { chain } => {
                if let Some(times) = self.news(Some(*chain), "stands by") {
                    info!(%chain, times, "another node speaks for the chain; standing by to take over");
                }
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
            Event::Pruned { first, last } => {
                if let Some(times) = self.news(None, "pruned") {
                    warn!(
                        first = first.0,
                        last = last.0,
                        times,
                        "the main chain has pruned main blocks {first} to {last} before they could be followed: they \
                         are missing in what is kept"
                    );
                }
            }
            Event::FollowFailed { error } => {
                if let Some(times) = self.news(None, error) {
                    warn!(times, "the main chain's blocks cannot be kept: {error}; trying again");
                }
            }
            Event::Contradicted(contradiction) => {
                error!(
                    height = contradiction.header.height.0,
                    field = contradiction.field,
                    "{contradiction}"
                );
            }
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

/// What to do, if there is anything to do and the text does not say it already. As of a [`Disconnect`].
fn remedy(code: RefusalCode, text: &str) -> String {
    let remedy = code.remedy();
    if remedy.starts_with("nothing") || text.contains(remedy) { String::new() } else { format!("; {remedy}") }
}

/// How it stands, in figures.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    connection: String,
    /// Of one chain, or of all of them together.
    name: String,
    states: Vec<(&'static str, usize)>,
    /// Blocks handed to the connection since this program started; those sent again count again.
    sent: u64,
    /// Of one chain only: the newest height that the main chain was sent, by whomever, and the newest durable one.
    heights: Option<(Height, Height)>,
    /// Blocks that were sent and are not durable yet.
    in_flight: u64,
    /// Blocks that the main chain is behind the side chain's newest irreversible one, if that is known, or else
    /// behind what was sent. `None` before the main chain says where it stands.
    behind: Option<u64>,
    /// Blocks a second that became durable.
    rate: u64,
    main_height: Option<Height>,
    /// The newest main block that is kept, where they are.
    kept: Option<Height>,
    trouble: Option<String>,
}

/// Counts what becomes durable over time. Heights are the main chain's word, and it may say anything: sums saturate.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The durable height of each chain at the last sample, once the main chain has said it.
    heights: Vec<Option<u64>>,
    /// Blocks that became durable since the first samples of their chains.
    blocks: u64,
    /// (when, blocks) at the ends of the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { heights: Vec::new(), blocks: 0, samples: VecDeque::new() }
    }

    /// Takes note of what is durable now.
    pub(crate) fn sample(&mut self, status: &Status) {
        let now = Instant::now();
        self.heights.resize(status.chains.len(), None);
        for (height, chain) in self.heights.iter_mut().zip(&status.chains) {
            if is_known(chain) {
                // What was durable before this program looked is no progress of now.
                let before = height.replace(chain.durable.0).unwrap_or(chain.durable.0);
                self.blocks = self.blocks.saturating_add(chain.durable.0.saturating_sub(before));
            }
        }
        self.samples.push_back((now, self.blocks));
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
        let (mut in_flight, mut behind) = (0_u64, None);
        for chain in &status.chains {
            let state = state_name(chain.state);
            match states.iter_mut().find(|(name, _)| *name == state) {
                Some((_, count)) => *count += 1,
                None => states.push((state, 1)),
            }
            if !is_known(chain) {
                continue;
            }
            let newest = tip.map_or(chain.sent, |tip| tip.max(chain.sent));
            in_flight = in_flight.saturating_add(chain.sent.0.saturating_sub(chain.durable.0));
            let missing = newest.0.saturating_sub(chain.durable.0);
            behind = Some(behind.unwrap_or(0_u64).saturating_add(missing));
        }
        let heights = match status.chains.as_slice() {
            // What is durable was sent, even if that is not noted yet.
            [chain] if is_known(chain) => Some((chain.sent.max(chain.durable), chain.durable)),
            _ => None,
        };
        let follow = status.follow.as_ref();
        let trouble = reason
            .or_else(|| status.chains.iter().find_map(|chain| chain.error.clone()))
            .or_else(|| follow.and_then(|follow| follow.error.clone()));
        let kept = follow.and_then(|follow| follow.newest).map(|header| header.height);
        let main_height = status.head.as_ref().map(|head| head.height);
        Self {
            connection,
            name,
            states,
            sent: status.blocks,
            heights,
            in_flight,
            behind,
            rate: rate.per_second(),
            main_height,
            kept,
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
        let mut line = format!("{} {}", self.name, states.join(", "));
        if let Some(behind) = self.behind {
            let _ = write!(line, "  behind {}", grouped(behind));
        }
        let _ = write!(line, "  {}/s", grouped(self.rate));
        let _ = match self.heights {
            Some((height, durable)) => {
                write!(line, "  at height {}, durable {}", grouped(height.0), grouped(durable.0))
            }
            None => write!(line, "  in flight {}", grouped(self.in_flight)),
        };
        let _ = write!(line, "  sent {}", grouped(self.sent));
        if let Some(height) = self.main_height {
            let _ = write!(line, "  main block {}", grouped(height.0));
        }
        if let Some(height) = self.kept {
            let _ = write!(line, "  kept to {}", grouped(height.0));
        }
        let _ = write!(line, "  {}", self.connection);
        if let Some(trouble) = &self.trouble {
            let _ = write!(line, "  ! {trouble}");
        }
        line
    }

    /// For the log. `sent`, `in_flight` and `behind` are blocks; `height`, `durable` and `main_height` are heights,
    /// the first two only where there is one chain.
    pub(crate) fn log(&self) {
        info!(
            chains = %self.name,
            connection = %self.connection,
            sent = self.sent,
            height = self.heights.map(|(height, _)| height.0),
            durable = self.heights.map(|(_, durable)| durable.0),
            in_flight = self.in_flight,
            behind = self.behind,
            per_second = self.rate,
            main_height = self.main_height.map(|height| height.0),
            kept = self.kept.map(|height| height.0),
            trouble = self.trouble.as_deref(),
            "status"
        );
    }

    /// For the log, as the last word. The fields are those of [`log`](Self::log).
    pub(crate) fn log_end(&self) {
        info!(
            chains = %self.name,
            sent = self.sent,
            height = self.heights.map(|(height, _)| height.0),
            durable = self.heights.map(|(_, durable)| durable.0),
            in_flight = self.in_flight,
            main_height = self.main_height.map(|height| height.0),
            kept = self.kept.map(|height| height.0),
            "stopped"
        );
    }
}

/// Whether the main chain has said where the chain stands. Before, its heights are 0 and mean nothing.
fn is_known(chain: &ChainStatus) -> bool {
    let entered = matches!(chain.state, ChainState::Speaking | ChainState::Standby);
    entered || chain.sent > Height(0) || chain.durable > Height(0)
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

    /// A status of chains that are all alike, `blocks` sent since the start.
    fn status(chains: u32, state: ChainState, sent: u64, durable: u64, blocks: u64) -> Status {
        Status {
            connection: ConnectionState::Connecting,
            main: None,
            head: None,
            chains: (1..=chains)
                .map(|chain| ChainStatus {
                    chain: ChainId(chain),
                    state,
                    sent: Height(sent),
                    durable: Height(durable),
                    limit: Height(0),
                    tip: None,
                    error: None,
                })
                .collect(),
            follow: None,
            blocks,
            frames: 0,
            bytes: 0,
            connections: 0,
        }
    }

    #[test]
    fn heights_that_a_main_chain_makes_up_are_shown_and_do_no_harm() {
        let mut rate = Rate::new();
        for (sent, durable) in [(0, 0), (Height::MAX.0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            for chains in [1, 3] {
                let status = status(chains, ChainState::Speaking, sent, durable, 7);
                rate.sample(&status);
                let figures = Figures::new(&status, None, &rate);
                let heights = (chains == 1).then_some((Height(sent), Height(durable)));
                assert_eq!((figures.sent, figures.heights), (7, heights));
                assert_eq!(figures.in_flight, (sent - durable).saturating_mul(u64::from(chains)));
                assert_eq!(figures.behind, Some(figures.in_flight));
            }
        }
    }

    #[test]
    fn heights_that_were_reached_before_are_no_blocks_of_now() {
        let mut rate = Rate::new();
        let tip = Some(Height(20_000_500));
        let offline = status(1, ChainState::Offline, 0, 0, 0);
        rate.sample(&offline);
        let figures = Figures::new(&offline, tip, &rate);
        assert_eq!((figures.behind, figures.heights), (None, None), "not known before the first welcome");

        let resumed = status(1, ChainState::Speaking, 20_000_000, 20_000_000, 0);
        rate.sample(&resumed);
        assert_eq!(rate.blocks, 0);
        let line = Figures::new(&resumed, tip, &rate).line();
        let said = "behind 500  0/s  at height 20,000,000, durable 20,000,000  sent 0 ";
        assert!(line.contains(said), "{line}");

        let going = status(1, ChainState::Speaking, 20_000_100, 20_000_040, 100);
        rate.sample(&going);
        assert_eq!(rate.blocks, 40);
        let line = Figures::new(&going, tip, &rate).line();
        assert!(line.contains("at height 20,000,100, durable 20,000,040  sent 100 "), "{line}");

        let many = status(3, ChainState::Speaking, 20_000_100, 20_000_040, 300);
        let line = Figures::new(&many, None, &rate).line();
        assert!(line.contains("in flight 180  sent 300 ") && !line.contains("20,000"), "{line}");
    }
}
