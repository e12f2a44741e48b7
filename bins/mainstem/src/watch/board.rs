//! The board: how each chain is doing, for whoever asks. Written by the watch thread, read by all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::cache::Cache;
use engine::chain::{ChainId, NodeKey};
use engine::lane::{self, Lane};
use engine::pipeline::SealRules;
use engine::state::{Registry, SideChain};
use net::control::RefusalCode;
use net::server::{Departure, KeyRefusal, Left, PeerChainState, PeerList, SessionSeen};
use rest::status::{Change, Progress, Reason, State, Why};
use tokio::sync::broadcast;

use super::judge::{Gone, Limits};
use super::row::{Absence, Now, PassedBy, Peer, Row, Seats, Speaker, clip};
use super::why;
use super::words::is_bad;
use crate::clock::unix_millis;
use crate::settings;

/// How each chain is doing. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub(crate) struct Board(Arc<Inner>);

struct Inner {
    begun: Instant,
    cache: Cache,
    registry: Registry,
    table: Mutex<Table>,
    changes: broadcast::Sender<Arc<Changed>>,
    pub(super) counts: Counts,
    settings: Mutex<settings::Watch>,
}

/// A chain whose status has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Which chain.
    pub chain: ChainId,
    /// What it was before.
    pub before: Reason,
    /// What it is now.
    pub change: Change,
}

/// Which chains are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// In one of these states; all if empty.
    pub states: Vec<State>,
    /// For one of these reasons; all if empty.
    pub reasons: Vec<Reason>,
    /// With this in its name or id, in lower case.
    pub text: Option<String>,
}

/// A chain, as it is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its registration.
    pub side: SideChain,
    /// Its lane.
    pub lane: Arc<Lane>,
    /// Who speaks for it.
    pub speaker: Option<NodeKey>,
    /// The last evidence of equivocation.
    pub evidence: Option<lane::Refusal>,
    /// How far it is.
    pub progress: Progress,
}

/// A chain that is far behind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worst {
    pub chain: ChainId,
    pub reason: Reason,
    pub received: u64,
    pub durable: u64,
    pub lag_blocks: u64,
    pub lag_seconds: f64,
}

/// What the watch has done since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tallies {
    /// Changes of a chain's status.
    pub changes: u64,
    /// Chains taken from a speaker that was silent, so that it asks anew or another one speaks.
    pub asked_again: u64,
    /// Sessions of which nothing came, and which were ended.
    pub hung_up: u64,
    /// Chains that were quarantined.
    pub quarantined: u64,
    /// Times that a stage made no progress: ingest, seal, append, sync.
    pub stalls: [(&'static str, u64); 4],
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    changes: AtomicU64,
    pub(super) asked_again: AtomicU64,
    pub(super) hung_up: AtomicU64,
    pub(super) quarantined: AtomicU64,
    pub(super) stalls: [AtomicU64; 4],
}

/// The stages, in the order of [`Tallies::stalls`].
pub(super) const STAGES: [&str; 4] = ["ingest", "seal", "append", "sync"];

/// Changes that wait for a slow subscriber; then it misses the oldest ones, and is told so.
const MAX_UNSEEN: usize = 4_096;

impl Board {
    /// A board of the chains that are registered now and later, each with a lane in `cache`.
    pub(crate) fn new(cache: Cache, registry: Registry, settings: &settings::Watch) -> Self {
        let board = Self(Arc::new(Inner {
            begun: Instant::now(),
            cache,
            registry,
            table: Mutex::default(),
            changes: broadcast::channel(MAX_UNSEEN).0,
            counts: Counts::default(),
            settings: Mutex::new(settings.clone()),
        }));
        // So that there is something to show before the first turn.
        board.turn(&board.now(), &Limits::of(settings), |_| ());
        board
    }

    /// From the next turn on, these settings hold.
    pub(crate) fn set_settings(&self, settings: settings::Watch) {
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The settings that hold.
    pub(super) fn settings(&self) -> settings::Watch {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One turn: looks at the chains that have moved, or at all after `survey` was shown the table. Returns what changed.
    pub(super) fn turn(&self, now: &Now, limits: &Limits, survey: impl FnOnce(&mut Table)) -> Vec<Changed> {
        let mut table = self.table();
        let surveys = table.surveys;
        table.follow(&self.0.registry, &self.0.cache, now);
        survey(&mut table);
        let all = table.surveys != surveys;
        let mut changes = Vec::new();
        for row in &mut table.rows {
            if (all || row.has_moved())
                && let Some(before) = row.look(now, limits)
            {
                changes.push(Changed { chain: row.side.id, before, change: row.remember(now) });
            }
        }
        drop(table);
        // Relaxed: a figure.
        self.0.counts.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
        if self.0.changes.receiver_count() > 0 {
            for change in &changes {
                // An error says that the last one has gone.
                let _ = self.0.changes.send(Arc::new(change.clone()));
            }
        }
        changes
    }

    /// The moment, with nothing known of the engine.
    pub(super) fn now(&self) -> Now {
        Now {
            at: self.at(),
            wall: unix_millis(),
            failed: false,
            driven: false,
            storing: false,
            rules: SealRules::default(),
            blamed: None,
        }
    }

    fn at(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// How a chain is doing; `None` if it is not registered.
    #[cfg(test)]
    pub(crate) fn status(&self, chain: ChainId) -> Option<rest::status::Status> {
        self.look(chain, Row::status)
    }

    /// How far a chain is; `None` if it is not registered.
    #[cfg(test)]
    pub(crate) fn progress(&self, chain: ChainId) -> Option<Progress> {
        self.look(chain, Row::progress)
    }

    /// The last 64 changes of a chain's status, newest first.
    pub(crate) fn history(&self, chain: ChainId) -> Option<Vec<Change>> {
        self.look(chain, |row, _| row.history())
    }

    /// What is known at each step from a chain's source to the log.
    pub(crate) fn why(&self, chain: ChainId) -> Option<Why> {
        self.look(chain, why::why)
    }

    fn look<T>(&self, chain: ChainId, show: impl FnOnce(&Row, Duration) -> T) -> Option<T> {
        let table = self.table();
        Some(show(table.row(chain)?, self.at()))
    }

    /// One chain with all that is shown of it.
    pub(crate) fn chain(&self, chain: ChainId) -> Option<Shown> {
        self.look(chain, Shown::new)
    }

    /// The chains after `after` that a filter wants, ascending, `limit` at most; and whether there are more.
    pub(crate) fn select(&self, filter: &Filter, after: Option<ChainId>, limit: usize) -> (Vec<Shown>, bool) {
        let (table, at) = (self.table(), self.at());
        let start = after.map_or(0, |after| table.rows.partition_point(|row| row.side.id <= after));
        let mut wanted = table.rows[start..].iter().filter(|row| filter.takes(row));
        let page = wanted.by_ref().take(limit).map(|row| Shown::new(row, at)).collect();
        (page, wanted.next().is_some())
    }

    /// How many chains are in each state.
    pub(crate) fn counts(&self) -> [(State, usize); State::ALL.len()] {
        let mut counts = State::ALL.map(|state| (state, 0));
        for row in &self.table().rows {
            let state = row.reason.state();
            if let Some((_, count)) = counts.iter_mut().find(|(other, _)| *other == state) {
                *count += 1;
            }
        }
        counts
    }

    /// Chains that were quarantined when the node ran last, and why: their lanes are paused.
    pub(crate) fn set_quarantined(&self, chains: &BTreeMap<ChainId, String>) {
        let mut table = self.table();
        for (chain, why) in chains {
            if let Some(row) = table.row_mut(*chain) {
                row.quarantined = Some(clip(why));
            }
        }
    }

    /// Whether a chain is registered now.
    pub(super) fn is_registered(&self, chain: ChainId) -> bool {
        self.0.registry.chain(chain).is_some()
    }

    /// The `most` chains that are worst off: those in a state of which people should be warned first, among them those
    /// with the largest distance from durable to what their nodes have.
    pub(crate) fn worst(&self, most: usize) -> Vec<Worst> {
        let (table, at) = (self.table(), self.at());
        let lag = |row: &Row| row.lag_blocks().unwrap_or_else(|| row.received.saturating_sub(row.durable));
        let mut rows: Vec<_> = table.rows.iter().collect();
        let key = |row: &&Row| (!is_bad(row.reason.state()), Reverse(lag(row)), row.side.id);
        if most < rows.len() {
            rows.select_nth_unstable_by_key(most, key);
            rows.truncate(most);
        }
        rows.sort_unstable_by_key(key);
        let worst = |row: &&Row| Worst {
            chain: row.side.id,
            reason: row.reason,
            received: row.received,
            durable: row.durable,
            lag_blocks: lag(row),
            lag_seconds: row.lag_seconds(at).unwrap_or_default(),
        };
        rows.iter().map(worst).collect()
    }

    /// Changes of status from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Changed>> {
        self.0.changes.subscribe()
    }

    /// What the watch has done.
    pub(crate) fn tallies(&self) -> Tallies {
        // Relaxed, each: figures.
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.0.counts;
        let mut stalls = STAGES.map(|stage| (stage, 0));
        for ((_, stalls), seen) in stalls.iter_mut().zip(&counts.stalls) {
            *stalls = count(seen);
        }
        Tallies {
            changes: count(&counts.changes),
            asked_again: count(&counts.asked_again),
            hung_up: count(&counts.hung_up),
            quarantined: count(&counts.quarantined),
            stalls,
        }
    }

    pub(super) fn tally(&self) -> &Counts {
        &self.0.counts
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked with it left it whole: each row is written on its own.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("chains", &self.table().rows.len()).finish_non_exhaustive()
    }
}

impl Shown {
    fn new(row: &Row, now: Duration) -> Self {
        Self {
            side: row.side.clone(),
            lane: Arc::clone(&row.lane),
            speaker: row.seats.speaker.as_ref().map(|speaker| speaker.key),
            evidence: row.evidence,
            progress: row.progress(now),
        }
    }
}

impl Filter {
    fn takes(&self, row: &Row) -> bool {
        let among = self.states.is_empty() || self.states.contains(&row.reason.state());
        let because = self.reasons.is_empty() || self.reasons.contains(&row.reason);
        among && because && self.text.as_ref().is_none_or(|text| named(&row.side, text))
    }
}

/// Whether a chain's name or id has this in it.
fn named(side: &SideChain, text: &str) -> bool {
    side.name.to_lowercase().contains(text)
        || side.id.to_string().to_lowercase().contains(text)
        || side.id.0.to_string().contains(text)
}

/// All chains, by ascending id.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    sides: Option<Arc<[SideChain]>>,
    /// How many surveys there were.
    surveys: u64,
    sessions: HashMap<u64, Known>,
    ledger: Option<u64>,
    /// Chains that were removed since the last survey; some may have been registered again.
    removed: Vec<ChainId>,
}

/// What a survey brought that has to be acted on.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Who contradicted what was received of a chain since the last time, and how often.
    pub(super) contradicted: Vec<(ChainId, NodeKey, u64)>,
    /// Chains that were removed since: nothing is held against them any more.
    pub(super) removed: Vec<ChainId>,
}

/// A session that was seen at the last survey.
#[derive(Debug)]
struct Known {
    survey: u64,
    peer: Arc<Peer>,
    datagrams: u64,
    heard: Duration,
    key: NodeKey,
    /// When it was seen first, in ms since 1970.
    since: u64,
    /// Whether it has named its chains.
    has_named: bool,
}

impl Table {
    pub(super) fn row(&self, chain: ChainId) -> Option<&Row> {
        self.rows.binary_search_by_key(&chain, |row| row.side.id).ok().map(|place| &self.rows[place])
    }

    pub(super) fn row_mut(&mut self, chain: ChainId) -> Option<&mut Row> {
        let place = self.rows.binary_search_by_key(&chain, |row| row.side.id).ok()?;
        self.rows.get_mut(place)
    }

    /// Has a row for each chain that is registered.
    fn follow(&mut self, registry: &Registry, cache: &Cache, now: &Now) {
        let sides = registry.chains();
        if self.sides.as_ref().is_some_and(|known| Arc::ptr_eq(known, &sides)) {
            return;
        }
        let mut before: HashMap<_, _> =
            std::mem::take(&mut self.rows).into_iter().map(|row| (row.side.id, row)).collect();
        let mut whole = true;
        for side in sides.iter() {
            // Its lane may come a moment later.
            let Some(lane) = cache.lane(side.id).filter(|lane| !lane.is_closed()) else {
                whole = false;
                continue;
            };
            let same = match before.remove(&side.id) {
                Some(row) if !Arc::ptr_eq(&row.lane, &lane) => {
                    self.removed.push(side.id);
                    None
                }
                same => same,
            };
            self.rows.push(match same {
                Some(mut row) => {
                    row.side = side.clone();
                    row
                }
                None => Row::new(side.clone(), lane, now),
            });
        }
        self.removed.extend(before.into_keys());
        self.sides = whole.then_some(sides);
    }

    /// Looks at all sessions, and at what was refused since the last time.
    pub(super) fn survey(&mut self, peers: &PeerList, now: &Now) -> Found {
        self.surveys += 1;
        let removed = std::mem::take(&mut self.removed);
        // Or a chain that is registered again would begin with what was counted before.
        removed.iter().for_each(|chain| peers.forget(*chain));
        peers.survey(|session| self.seen(session, now));
        let survey = self.surveys;
        self.sessions.retain(|_, known| known.survey == survey);
        let mut here = HashMap::new();
        for known in self.sessions.values().filter(|known| known.has_named) {
            let since = here.entry(known.key).or_insert(known.since);
            *since = known.since.max(*since);
        }
        for row in &mut self.rows {
            if row.seats.survey != survey {
                row.seats = Seats { survey, ..Seats::default() };
            }
            if row.seats.is_named() {
                continue;
            }
            let sessions = row.side.nodes.iter().filter_map(|key| Some((*key, *here.get(key)?)));
            row.seats.passed_by =
                sessions.map(|(key, since)| PassedBy { key, since }).max_by_key(|session| session.since);
        }
        let version = peers.ledger_version();
        if self.ledger.replace(version) == Some(version) {
            return Found { contradicted: Vec::new(), removed };
        }
        Found { contradicted: self.read(peers, now), removed }
    }

    fn seen(&mut self, session: &SessionSeen<'_>, now: &Now) {
        let Self { rows, sessions, surveys, .. } = self;
        let known = sessions.entry(session.session).or_insert_with(|| Known {
            survey: 0,
            peer: Arc::new(Peer { address: String::new(), software: String::new() }),
            datagrams: 0,
            heard: now.at,
            key: session.key,
            since: now.wall,
            has_named: false,
        });
        known.has_named = !session.seats.is_empty();
        known.survey = *surveys;
        if known.datagrams != session.datagrams {
            (known.datagrams, known.heard) = (session.datagrams, now.at);
        }
        let address = plain(session);
        if known.peer.address != address || known.peer.software.is_empty() {
            known.peer = Arc::new(Peer { address, software: clip(session.software).as_ref().to_owned() });
        }
        let mut from = 0;
        for seat in session.seats {
            // Both ascend: mostly the next one.
            let rest = &rows[from..];
            let place = match rest.first() {
                Some(row) if row.side.id == seat.chain => Ok(0),
                _ => rest.binary_search_by_key(&seat.chain, |row| row.side.id),
            };
            let Ok(place) = place else { continue };
            let row = &mut rows[from + place];
            from += place;
            if row.seats.survey != *surveys {
                let was = row.seats.speaker.take().map(|speaker| (speaker.session, speaker.since));
                row.seats = Seats { survey: *surveys, was, ..Seats::default() };
            }
            match seat.state {
                PeerChainState::Speaker => {
                    let same = row.seats.was.filter(|(number, _)| *number == session.session);
                    row.seats.speaker = Some(Speaker {
                        session: session.session,
                        key: session.key,
                        peer: Arc::clone(&known.peer),
                        since: same.map_or(now.at, |(_, since)| since),
                        heard: known.heard,
                        told: seat.tip.is_some(),
                    });
                    row.tip = seat.tip.map(|tip| tip.0).or(row.tip);
                }
                PeerChainState::Standby => row.seats.standbys += 1,
                PeerChainState::Left => row.seats.left += 1,
                // Nodes of other chains may name it too: that says nothing of its own.
                PeerChainState::Refused(RefusalCode::UnknownKey) => {}
                PeerChainState::Refused(code) => row.seats.refused = Some(code),
            }
        }
    }

    /// Reads what was refused, and how sessions ended.
    fn read(&mut self, peers: &PeerList, now: &Now) -> Vec<(ChainId, NodeKey, u64)> {
        let mut contradicted = Vec::new();
        for refusal in peers.chain_refusals() {
            if let Some(row) = self.row_mut(refusal.chain) {
                let conflicts = row.hear(&refusal, now.at).into_iter();
                contradicted.extend(conflicts.map(|(key, times)| (refusal.chain, key, times)));
            }
        }
        for stranger in peers.strangers() {
            if let Some(row) = self.row_mut(stranger.chain) {
                row.hear_stranger(&stranger, now.at);
            }
        }
        let departures = peers.departures();
        let mut ends: HashMap<_, Vec<_>> = HashMap::new();
        for departure in &departures {
            ends.entry(departure.key).or_default().push(End::of(departure));
        }
        for refusal in peers.refusals().iter().filter(|refusal| refusal.chain.is_none()) {
            let ends = ends.entry(refusal.key).or_default();
            // Of a session that was let in it is the same end again, without its chains.
            if !ends.iter().any(|end| end.is_of(refusal)) {
                ends.push(End {
                    absence: turned_away(refusal),
                    since: refusal.time.as_millis(),
                    chains: &[],
                });
            }
        }
        for row in &mut self.rows {
            (row.gone, row.passed_by) = last(&row.side, &ends);
            // Evidence comes with a refusal. Here, at this thread's priority, and not when somebody asks for it.
            row.evidence = row.lane.evidence();
        }
        contradicted
    }
}

/// How a session ended, or was not let in.
struct End<'a> {
    absence: Absence,
    /// When it began, in ms since 1970.
    since: u64,
    /// Which chains it had named; empty if it ended before, which concerns all chains of its key.
    chains: &'a [ChainId],
}

impl<'a> End<'a> {
    fn of(departure: &'a Departure) -> Self {
        Self { absence: absence(departure), since: departure.since.as_millis(), chains: &departure.chains }
    }

    fn is_of(&self, refusal: &KeyRefusal) -> bool {
        self.absence.why == Gone::Refused(refusal.code) && self.absence.detail == clip(&refusal.detail)
    }

    fn concerns(&self, chain: ChainId) -> bool {
        self.chains.is_empty() || self.chains.binary_search(&chain).is_ok()
    }
}

/// How the last session of a chain's nodes ended that has to do with it, and the last one that had named other chains alone.
fn last(side: &SideChain, ends: &HashMap<NodeKey, Vec<End<'_>>>) -> (Option<Absence>, Option<PassedBy>) {
    let all = || side.nodes.iter().filter_map(|key| ends.get(key)).flatten();
    let of = |concerns: bool| {
        all().filter(|end| end.concerns(side.id) == concerns).max_by_key(|end| end.absence.time)
    };
    let passed_by = of(false).map(|end| PassedBy { key: end.absence.key, since: end.since });
    (of(true).map(|end| end.absence.clone()), passed_by)
}

fn absence(departure: &Departure) -> Absence {
    let (why, detail) = match &departure.how {
        Left::Done => (Gone::Left, ""),
        Left::Lost(detail) => (Gone::Lost, detail.as_str()),
        Left::Refused(code, detail) => (Gone::Refused(*code), detail.as_str()),
    };
    Absence { why, key: departure.key, time: departure.time.as_millis(), detail: clip(detail) }
}

fn turned_away(refusal: &KeyRefusal) -> Absence {
    Absence {
        why: Gone::Refused(refusal.code),
        key: refusal.key,
        time: refusal.time.as_millis(),
        detail: clip(&refusal.detail),
    }
}

/// IPv4 as such, also where it came over IPv6.
fn plain(session: &SessionSeen<'_>) -> String {
    let address = session.address;
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

#[cfg(test)]
mod tests;
