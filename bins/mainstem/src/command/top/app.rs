//! What is looked at: the page, the sorting, the filter, the line that is chosen. Keys change it; nothing is drawn here.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use rest::status::State;
use rest::{ChainId, SideChain};

use super::data::{Sample, figure, status};
use super::feed::Wanted;

/// A page of the view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Page {
    /// Rates, latency, stages, states.
    Overview,
    /// The side chains.
    Chains,
    /// Who is connected.
    Peers,
    /// The newest main blocks.
    Blocks,
}

impl Page {
    pub(super) const ALL: [Self; 4] = [Self::Overview, Self::Chains, Self::Peers, Self::Blocks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Chains => "Chains",
            Self::Peers => "Peers",
            Self::Blocks => "Blocks",
        }
    }
}

/// By what the chains are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    /// Those that need someone first, the furthest behind of them first.
    Trouble,
    /// Ascending id.
    Id,
    /// The furthest behind first.
    Lag,
    /// The fastest first.
    Rate,
    /// By name.
    Name,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Trouble, Self::Id, Self::Lag, Self::Rate, Self::Name];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Id => "id",
            Self::Lag => "lag",
            Self::Rate => "rate",
            Self::Name => "name",
        }
    }
}

/// What the main loop does after a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Nothing but to draw anew.
    Draw,
    /// Something else is looked at: ask for it.
    Ask,
    /// End.
    Quit,
}

/// The state of the view.
pub(super) struct App {
    pub(super) url: String,
    pub(super) page: Page,
    pub(super) sort: Sort,
    /// What is typed after `/`.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    pub(super) help: bool,
    /// The chain that is explained.
    pub(super) why: Option<ChainId>,
    /// The line that is chosen, on pages with a list.
    pub(super) line: usize,
    /// Lines that a page shows, as of the last drawing.
    pub(super) height: usize,
    pub(super) sample: Option<Sample>,
    /// Blocks a second of each session, since the sample before.
    pub(super) rates: HashMap<u64, f64>,
    /// Since when the node does not answer, and why.
    pub(super) lost: Option<(Instant, String)>,
    taken: Option<Instant>,
}

impl App {
    pub(super) fn new(url: String, page: Page) -> Self {
        Self {
            url,
            page,
            sort: Sort::Trouble,
            filter: String::new(),
            typing: false,
            help: false,
            why: None,
            line: 0,
            height: 10,
            sample: None,
            rates: HashMap::new(),
            lost: None,
            taken: None,
        }
    }

    /// What the feed is to ask for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { page: Some(self.page), chain: self.why }
    }

    /// Takes what the feed has brought. What was not asked for this time stays as it was.
    pub(super) fn take(&mut self, news: Result<Sample, String>, now: Instant) {
        match news {
            Err(why) => {
                self.lost.get_or_insert_with(|| (now, String::new())).1 = why;
            }
            Ok(mut sample) => {
                self.lost = None;
                if let Some(before) = self.sample.take() {
                    let took = self.taken.map_or(Duration::ZERO, |taken| now.duration_since(taken));
                    if let (Some(new), Some(old)) = (&sample.peers, &before.peers)
                        && !took.is_zero()
                    {
                        let old: HashMap<_, _> = old.iter().map(|peer| (peer.session, peer.blocks)).collect();
                        let rate = |blocks: u64, session| {
                            let before = old.get(&session).copied().unwrap_or(blocks);
                            blocks.saturating_sub(before) as f64 / took.as_secs_f64()
                        };
                        self.rates =
                            new.iter().map(|peer| (peer.session, rate(peer.blocks, peer.session))).collect();
                    }
                    sample.chains = sample.chains.or(before.chains);
                    sample.peers = sample.peers.or(before.peers);
                    sample.blocks = sample.blocks.or(before.blocks);
                    sample.history = sample.history.or(before.history);
                }
                self.taken = Some(now);
                self.sample = Some(sample);
                self.line = self.line.min(self.lines().saturating_sub(1));
            }
        }
    }

    /// The chains that the filter lets through, sorted.
    pub(super) fn chains(&self) -> Vec<&SideChain> {
        let Some(all) = self.sample.as_ref().and_then(|sample| sample.chains.as_ref()) else {
            return Vec::new();
        };
        let wanted = self.filter.to_lowercase();
        let fits = |chain: &&SideChain| {
            let (state, reason) =
                status(chain).map_or(("", ""), |status| (status.state.name(), status.reason.name()));
            [&*chain.chain, &chain.name, state, reason, &chain.chain_id.0.to_string()]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        };
        let mut chains: Vec<_> = all.iter().filter(fits).collect();
        let behind = |chain: &SideChain| figure(chain, |progress| progress.lag_blocks);
        let rate = |chain: &SideChain| figure(chain, |progress| Some(progress.rate)).unwrap_or(-1.0);
        let lag = |a: &&SideChain, b: &&SideChain| behind(b).cmp(&behind(a));
        let id = |a: &&SideChain, b: &&SideChain| a.chain_id.cmp(&b.chain_id);
        chains.sort_by(|a, b| {
            let order = match self.sort {
                Sort::Trouble => rank(a).cmp(&rank(b)).then_with(|| lag(a, b)),
                Sort::Id => Ordering::Equal,
                Sort::Lag => lag(a, b),
                Sort::Rate => rate(b).total_cmp(&rate(a)),
                Sort::Name => a.name.cmp(&b.name),
            };
            order.then_with(|| id(a, b))
        });
        chains
    }

    /// The chain that is explained, as it is now.
    pub(super) fn explained(&self) -> Option<&SideChain> {
        let chains = self.sample.as_ref()?.chains.as_ref()?;
        chains.iter().find(|chain| Some(chain.chain_id) == self.why)
    }

    /// How many lines the list of this page has.
    pub(super) fn lines(&self) -> usize {
        let sample = self.sample.as_ref();
        match self.page {
            Page::Overview => 0,
            Page::Chains => self.chains().len(),
            Page::Peers => sample.and_then(|sample| sample.peers.as_ref()).map_or(0, Vec::len),
            Page::Blocks => sample.and_then(|sample| sample.blocks.as_ref()).map_or(0, Vec::len),
        }
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Action::Quit,
                _ => Action::Draw,
            };
        }
        if self.typing {
            return self.typed(key.code);
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::Draw };
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('1') => return self.go(Page::Overview),
            KeyCode::Char('2') => return self.go(Page::Chains),
            KeyCode::Char('3') => return self.go(Page::Peers),
            KeyCode::Char('4') => return self.go(Page::Blocks),
            KeyCode::Tab | KeyCode::Right => return self.turn(1),
            KeyCode::BackTab | KeyCode::Left => return self.turn(Page::ALL.len() - 1),
            KeyCode::Esc if self.why.is_some() => return self.explain(None),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(self.height.max(1).cast_signed()),
            KeyCode::PageUp => self.step(-(self.height.max(1).cast_signed())),
            KeyCode::Home | KeyCode::Char('g') => self.line = 0,
            KeyCode::End | KeyCode::Char('G') => self.line = self.lines().saturating_sub(1),
            KeyCode::Char('/') => {
                let asked = if self.page == Page::Chains { Action::Draw } else { self.go(Page::Chains) };
                (self.why, self.typing) = (None, true);
                return asked;
            }
            KeyCode::Char('s') if self.page == Page::Chains => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[(at + 1) % Sort::ALL.len()];
            }
            KeyCode::Enter if self.page == Page::Chains => {
                let chosen = match self.why {
                    None => self.chains().get(self.line).map(|chain| chain.chain_id),
                    Some(_) => None,
                };
                return self.explain(chosen);
            }
            _ => {}
        }
        Action::Draw
    }

    fn typed(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Enter | KeyCode::Down => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.chars().count() < 64 => self.filter.push(c),
            _ => {}
        }
        self.line = 0;
        Action::Draw
    }

    fn explain(&mut self, chain: Option<ChainId>) -> Action {
        self.why = chain;
        if chain.is_some() { Action::Ask } else { Action::Draw }
    }

    fn turn(&mut self, by: usize) -> Action {
        let at = Page::ALL.iter().position(|page| *page == self.page).unwrap_or(0);
        self.go(Page::ALL[(at + by) % Page::ALL.len()])
    }

    fn go(&mut self, page: Page) -> Action {
        (self.page, self.line, self.why) = (page, 0, None);
        Action::Ask
    }

    fn step(&mut self, by: isize) {
        self.line = self.line.saturating_add_signed(by).min(self.lines().saturating_sub(1));
    }
}

/// How urgently somebody should look: the lower the sooner.
fn rank(chain: &SideChain) -> usize {
    match status(chain).map(|status| status.state) {
        Some(State::Quarantined) => 0,
        Some(State::Refused) => 1,
        Some(State::Stalled) => 2,
        Some(State::Disconnected) => 3,
        Some(State::LaneFull) => 4,
        Some(State::WaitingForSeal) => 5,
        Some(State::CatchingUp) => 6,
        Some(State::Paused) => 7,
        Some(State::Live) | None => 8,
    }
}
