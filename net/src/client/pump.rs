//! The pump: drives the source and turns its blocks into frames, on a thread of its own since a source may block, or on the
//! client's reactor if its source never does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::chain::{Columns, Hash, Height};
use engine::source::{Source, SourceError};
use engine::sync::Waiter;

use super::backoff::Backoff;
use super::lane::DataLane;
use super::shared::{News, Shared, Stopping, Welcomed};
use super::status::clean;
use super::tips::{Rounds, SourceTip};
use super::{ChainState, Event};
use crate::control::{Entry, EntryState, RefusalCode, Resume};
use crate::frame::MAX_SECTION_BLOCKS;
use crate::reactor::Handle;

/// The shortest pause between two turns that found nothing to do at once.
const SHORTEST_REST: Duration = Duration::from_micros(500);

/// The longest that nothing at all is looked at.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// For how long what reading found says how far a source is.
const JUST_READ: Duration = Duration::from_secs(1);

pub(super) struct Pump {
    shared: Arc<Shared>,
    source: Box<dyn Source>,
    /// Number of the connection; 0 before the first.
    connection: u64,
    flows: Vec<Flow>,
    lanes: Vec<DataLane>,
    columns: Columns,
    /// When the main chain is told how far the sources are.
    rounds: Rounds,
}

/// One chain, as the pump drives it.
struct Flow {
    phase: Phase,
    /// The next height to send.
    next: u64,
    /// Hash of the block before it, if there is one.
    last: Option<Hash>,
    /// What the main chain had received when it was entered last.
    entered: u64,
    /// Its sections go into no earlier frame of this connection: those before a resume are ignored.
    from_frame: u64,
    poll_at: Instant,
    poll_gap: Duration,
    backoff: Backoff,
    /// Whether the source has failed and given nothing since: told once, and the next failure gives the place up.
    failing: bool,
    role: Role,
    tip: SourceTip,
    /// When the source last had no more blocks than were read.
    exhausted: Option<Instant>,
    /// The place was given up, and the main chain has not said since where the chain stands: what it refuses was on its
    /// way before.
    left: bool,
}

/// What the main chain has this node do for a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nothing at the moment: there is no connection, or the place was given up or refused.
    None,
    Speaker,
    Standby,
}

#[derive(Clone, Copy)]
enum Phase {
    /// No connection, or an answer of the main chain is awaited.
    Waiting,
    /// The source is to be set to the next height, from this moment on.
    Seek {
        at: Instant,
    },
    /// Blocks flow.
    Send,
    /// Refused or left; to be resumed at this moment.
    Resume {
        at: Instant,
    },
    Stopped,
}

/// What a turn over a lane's chains found.
struct Turn {
    /// There is more to do at once.
    busy: bool,
    /// When there is something to do again, if nothing rings.
    next: Instant,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, source: Box<dyn Source>) -> Self {
        let now = Instant::now();
        let config = &shared.config;
        let flow = |_| Flow {
            phase: Phase::Waiting,
            next: 1,
            last: None,
            entered: 0,
            from_frame: 0,
            poll_at: now,
            poll_gap: config.poll_min,
            backoff: Backoff::new(config.retry_min, config.retry_max),
            failing: false,
            role: Role::None,
            tip: SourceTip::new(now),
            exhausted: None,
            left: false,
        };
        let flows = (0..shared.chains.len()).map(flow).collect();
        let streams = config.data_streams;
        // A chain stays on its stream, over reconnections too.
        let lane = |stream| DataLane::new((stream..shared.chains.len()).step_by(streams).collect());
        let lanes = (0..streams).map(lane).collect();
        Self {
            shared,
            source,
            connection: 0,
            flows,
            lanes,
            columns: Columns::default(),
            rounds: Rounds::new(now),
        }
    }

    /// Runs until it is stopped, on a thread of its own.
    pub(super) fn run(mut self, waiter: &Waiter) {
        while let Some(rest) = self.guarded_turn() {
            if !rest.is_zero() {
                waiter.wait(rest);
            }
        }
    }

    /// The same, as a task of a reactor.
    pub(super) async fn run_on(mut self, handle: Handle) {
        let shared = Arc::clone(&self.shared);
        while let Some(rest) = self.guarded_turn() {
            if rest.is_zero() {
                handle.yield_now().await;
            } else {
                // Either way it is looked at.
                let _ = handle.timeout(rest, shared.bell.rung()).await;
            }
        }
    }

    /// A turn, after which nothing goes on if it panics: whatever it left half-way is gone with the pump.
    fn guarded_turn(&mut self) -> Option<Duration> {
        catch_unwind(AssertUnwindSafe(|| self.turn())).unwrap_or_else(|_| {
            self.shared.pump_panicked();
            None
        })
    }

    /// One turn over all streams: for how long there is nothing to do, unless the bell rings. `None` when it was stopped.
    fn turn(&mut self) -> Option<Duration> {
        let shared = Arc::clone(&self.shared);
        let stopping = shared.stopping();
        if stopping == Stopping::Now {
            return None;
        }
        self.hear();
        let mut turn = Turn { busy: false, next: Instant::now() + LONGEST_REST };
        for lane in 0..self.lanes.len() {
            if stopping == Stopping::Drain {
                self.lanes[lane].flush(&shared);
            } else {
                self.fill(lane, &mut turn);
            }
        }
        if stopping == Stopping::No {
            self.tell_tips();
            turn.next = turn.next.min(self.rounds.due());
        }
        if turn.busy {
            return Some(Duration::ZERO);
        }
        // An ack, room in a stream's channel and whatever comes into the inbox ring. Chains whose time comes one by one
        // are served together.
        Some(turn.next.saturating_duration_since(Instant::now()).max(SHORTEST_REST))
    }

    /// Takes what the link has put into the inbox.
    fn hear(&mut self) {
        let inbox = std::mem::take(&mut *self.shared.inbox());
        if inbox.lost {
            self.lose();
        }
        if let Some(welcome) = inbox.welcome {
            self.begin(welcome);
        }
        for (place, news) in inbox.news {
            match news {
                News::Position(entry) => self.enter(place, &entry),
                News::Refused { answered, .. } if self.flows[place].left && !answered => {}
                News::Refused { code, text, .. } => self.refuse(place, code, &text),
            }
        }
    }

    fn lose(&mut self) {
        let shared = Arc::clone(&self.shared);
        for lane in &mut self.lanes {
            lane.begin(&shared, None);
        }
        for (flow, cell) in self.flows.iter_mut().zip(&shared.chains) {
            flow.role = Role::None;
            flow.tip.forget();
            flow.exhausted = None;
            flow.left = false;
            if !matches!(flow.phase, Phase::Stopped) {
                flow.phase = Phase::Waiting;
                cell.show(ChainState::Offline, None);
            }
        }
    }

    fn begin(&mut self, welcome: Welcomed) {
        let shared = Arc::clone(&self.shared);
        self.lose();
        self.connection = welcome.connection;
        for (lane, sender) in self.lanes.iter_mut().zip(welcome.streams) {
            lane.begin(&shared, Some(sender));
        }
        self.rounds = Rounds::new(Instant::now());
        for entry in &welcome.chains {
            if let Some(place) = shared.find(entry.chain) {
                self.flows[place].from_frame = 0;
                self.enter(place, entry);
            }
        }
    }

    /// The main chain says where a chain stands.
    fn enter(&mut self, place: usize, entry: &Entry) {
        let shared = Arc::clone(&self.shared);
        let (flow, cell) = (&mut self.flows[place], &shared.chains[place]);
        if matches!(flow.phase, Phase::Stopped) {
            // It was in a hello that was on its way when it stopped.
            return shared.outbox.leave(self.connection, entry.chain);
        }
        flow.left = false;
        flow.exhausted = None;
        match entry.state {
            EntryState::Speaker(position) => {
                if position.received.0 > flow.entered {
                    // It got on since: whatever was wrong then is not what is wrong now.
                    flow.backoff.reset();
                }
                flow.entered = position.received.0;
                flow.next = position.received.0 + 1;
                flow.last = position.hash;
                flow.phase = Phase::Seek { at: Instant::now() };
                flow.role = Role::Speaker;
                cell.set_sent(position.received.0);
                if flow.failing {
                    // Still wrong until something has been read.
                    cell.show_state(ChainState::Speaking);
                } else {
                    cell.show(ChainState::Speaking, None);
                }
                shared.tell(Event::Speaking { chain: cell.chain, next: Height(flow.next) });
            }
            EntryState::Standby(position) => {
                // It may come at any time: another one was found to have more. What was read for the chain and not
                // sent yet is ignored; if it is this node's turn again, it begins in a frame of its own.
                flow.phase = Phase::Waiting;
                flow.role = Role::Standby;
                flow.from_frame = self.lanes[place % self.lanes.len()].frames_begun();
                self.source.stand_by(entry.chain, position.received);
                cell.set_sent(position.received.0);
                cell.show(ChainState::Standby, None);
                shared.tell(Event::Standby { chain: cell.chain });
            }
            EntryState::Refused(code) => self.refuse(place, code, code.remedy()),
        }
    }

    fn refuse(&mut self, place: usize, code: RefusalCode, text: &str) {
        let shared = Arc::clone(&self.shared);
        let (flow, cell) = (&mut self.flows[place], &shared.chains[place]);
        if matches!(flow.phase, Phase::Stopped) {
            return;
        }
        let text = clean(text);
        flow.role = Role::None;
        flow.left = false;
        let pause = if code.is_lasting() { flow.backoff.longest() } else { flow.backoff.pause() };
        flow.phase = Phase::Resume { at: Instant::now() + pause };
        // A chain that is not registered may be at any time, and its neighbours keep the session open until then.
        let given_up = code.is_lasting() && code != RefusalCode::UnknownChain;
        let state = if given_up && shared.config.give_up_on_refusal {
            flow.phase = Phase::Stopped;
            ChainState::Stopped
        } else {
            ChainState::Refused(code)
        };
        cell.show(state, Some(format!("refused by the main chain ({code}): {text}")));
        shared.tell(Event::Refused { chain: cell.chain, code, text });
    }

    /// One turn over the chains of a lane, from where the last one stopped.
    fn fill(&mut self, lane: usize, turn: &mut Turn) {
        let shared = Arc::clone(&self.shared);
        if !self.lanes[lane].hand_over(&shared) {
            return;
        }
        let count = self.lanes[lane].chains.len();
        let now = Instant::now();
        while self.lanes[lane].is_open() && self.lanes[lane].cursor < count {
            let place = self.lanes[lane].chains[self.lanes[lane].cursor];
            if !self.visit(lane, place, now, turn) {
                // No room: the same chain comes first when there is some.
                return;
            }
            self.lanes[lane].cursor += 1;
        }
        self.lanes[lane].cursor = 0;
        if let Some(since) = self.lanes[lane].since() {
            let due = since + shared.config.flush_after;
            if due <= Instant::now() {
                self.lanes[lane].flush(&shared);
            } else {
                turn.next = turn.next.min(due);
            }
        }
    }

    /// Does what is due for one chain. `false` when its lane has no room.
    fn visit(&mut self, lane: usize, place: usize, now: Instant, turn: &mut Turn) -> bool {
        let flow = &mut self.flows[place];
        match flow.phase {
            Phase::Waiting | Phase::Stopped => true,
            Phase::Resume { at } | Phase::Seek { at } if now < at => {
                turn.next = turn.next.min(at);
                true
            }
            Phase::Resume { .. } => {
                flow.phase = Phase::Waiting;
                flow.from_frame = self.lanes[lane].frames_begun();
                let resume = Resume { chain: self.shared.chains[place].chain, frames: flow.from_frame };
                self.shared.outbox.resume(self.connection, resume);
                true
            }
            Phase::Seek { .. } => {
                self.seek(place);
                turn.busy = true;
                true
            }
            Phase::Send if now < flow.poll_at => {
                turn.next = turn.next.min(flow.poll_at);
                true
            }
            // At the limit: an ack will ring.
            Phase::Send if flow.next > self.shared.chains[place].limit() => true,
            Phase::Send => self.send(lane, place, turn),
        }
    }

    /// Sets the source to the next height of a chain.
    fn seek(&mut self, place: usize) {
        let (chain, flow) = (self.shared.chains[place].chain, &self.flows[place]);
        match self.source.resume(chain, Height(flow.next), flow.last) {
            Ok(()) => {
                let flow = &mut self.flows[place];
                flow.phase = Phase::Send;
                flow.poll_at = Instant::now();
                flow.poll_gap = self.shared.config.poll_min;
                // Whether it has recovered, only reading shows: a source may resume well and fail to read, for ever.
            }
            Err(error) => self.fail(place, &error),
        }
    }

    /// Takes blocks of a chain from the source and puts them into a frame. `false` when its lane has no room.
    fn send(&mut self, lane: usize, place: usize, turn: &mut Turn) -> bool {
        let shared = Arc::clone(&self.shared);
        let (cell, frames) = (&shared.chains[place], &mut self.lanes[lane]);
        // A source may take long: what waits for company goes first. So does what a resume has to come after.
        let late = frames.since().is_some_and(|since| since.elapsed() >= shared.config.flush_after);
        let old = frames.frame_number() < self.flows[place].from_frame;
        if (late || old || frames.room(&shared, cell.chain) == 0) && !frames.flush(&shared) {
            return false;
        }
        debug_assert!(
            frames.frame_number() >= self.flows[place].from_frame,
            "all frames begun before it ended"
        );
        let (flow, room) = (&mut self.flows[place], frames.room(&shared, cell.chain));
        let credit = cell.limit().saturating_sub(flow.next) + 1;
        let most = room.min(usize::try_from(credit).unwrap_or(usize::MAX)).min(MAX_SECTION_BLOCKS);
        self.columns.clear();
        let read = self.source.read(cell.chain, most, &mut self.columns);
        let count = self.columns.len();
        let whole =
            self.columns.tx_roots.len() == count && self.columns.times.len() == count && count <= most;
        let parent = match read {
            Ok(parent) if whole => parent,
            Ok(_) => {
                let text =
                    format!("the source gave {count} blocks or uneven columns; asked for at most {most}");
                self.fail(place, &SourceError::Fatal(text));
                return true;
            }
            Err(error) => {
                self.fail(place, &error);
                return true;
            }
        };
        if let Some(last) = self.columns.hashes.last() {
            frames.push(&shared, cell.chain, Height(flow.next), parent, self.columns.as_ref());
            flow.next += count as u64;
            flow.last = Some(*last);
            cell.set_sent(flow.next - 1);
            flow.poll_gap = shared.config.poll_min;
        }
        if count == most {
            // It may well have more. If that is above the limit, an ack will ring.
            turn.busy = true;
        } else {
            flow.poll_at = Instant::now() + flow.poll_gap;
            turn.next = turn.next.min(flow.poll_at);
        }
        if count == 0 {
            flow.poll_gap = (flow.poll_gap * 2).min(shared.config.poll_max);
        }
        // Fewer than asked for may be all that came at once; nothing is the source's word that there is no more.
        flow.exhausted = (count == 0 && most > 0).then(Instant::now);
        self.recover(place);
        true
    }

    /// Asks the sources of all chains that this node has to do with how far they are, once a second, and tells the main
    /// chain what has changed: a node that has more than a speaker that says nothing takes over from it.
    fn tell_tips(&mut self) {
        let now = Instant::now();
        if !self.rounds.begin(now) {
            return;
        }
        // A source may take long, and what was read must not wait for it.
        for lane in &mut self.lanes {
            lane.flush(&self.shared);
        }
        let mut tips = Vec::new();
        for (flow, cell) in self.flows.iter_mut().zip(&self.shared.chains) {
            if flow.role == Role::None || !flow.tip.is_due(now) {
                continue;
            }
            // Reading has just asked it: a slow node is not asked twice.
            let is_known = flow.role == Role::Speaker
                && flow.exhausted.is_some_and(|at| now.saturating_duration_since(at) < JUST_READ);
            let tip = if is_known { Ok(Some(Height(flow.next - 1))) } else { self.source.tip(cell.chain) };
            match tip {
                Ok(tip) => {
                    if std::mem::take(&mut flow.tip.failed) && flow.role == Role::Standby {
                        cell.show_error(None);
                    }
                    if let Some(tip) = tip {
                        cell.set_tip(tip);
                    }
                    tips.extend(flow.tip.hear(tip).map(|height| (cell.chain, height)));
                }
                Err(error) => {
                    if !flow.tip.failed {
                        tracing::warn!(chain = %cell.chain, %error, "the source does not say how far it is");
                    }
                    flow.tip.fail();
                    if flow.role == Role::Standby {
                        // Whoever looks has to see that this one could not take over; of a speaker, reading shows it.
                        cell.show_error(Some(error.to_string()));
                    }
                }
            }
        }
        if !tips.is_empty() {
            self.shared.outbox.say_tips(self.connection, tips);
        }
    }

    /// The source has let itself be read.
    fn recover(&mut self, place: usize) {
        let flow = &mut self.flows[place];
        if std::mem::take(&mut flow.failing) {
            flow.backoff.reset();
            self.shared.chains[place].show_error(None);
        }
    }

    /// The source has failed for a chain: it is set to the next height again after a pause, or the chain stops. From the
    /// second failure in a row on the place as speaker is given up for as long, so that another node of the chain,
    /// whose source may be well, can speak: the connection alone would keep it.
    fn fail(&mut self, place: usize, error: &SourceError) {
        let shared = Arc::clone(&self.shared);
        let (flow, cell) = (&mut self.flows[place], &shared.chains[place]);
        let (chain, text) = (cell.chain, error.to_string());
        flow.exhausted = None;
        if let SourceError::Later(_) = error {
            let at = Instant::now() + flow.backoff.pause();
            if std::mem::replace(&mut flow.failing, true) {
                flow.phase = Phase::Resume { at };
                flow.role = Role::None;
                flow.left = true;
                cell.show(ChainState::Standby, Some(text));
                shared.outbox.leave(self.connection, chain);
            } else {
                // Not just read again: it may have got half-way.
                flow.phase = Phase::Seek { at };
                cell.show_error(Some(text.clone()));
                shared.tell(Event::SourceFailed { chain, error: text, retry: true });
            }
            return;
        }
        flow.phase = Phase::Stopped;
        flow.role = Role::None;
        cell.show(ChainState::Stopped, Some(text.clone()));
        // So that another node of the chain may speak.
        shared.outbox.leave(self.connection, chain);
        shared.tell(match *error {
            SourceError::Fork { chain, height, ours, theirs } => Event::Fork { chain, height, ours, theirs },
            _ => Event::SourceFailed { chain, error: text, retry: false },
        });
    }
}

#[cfg(test)]
mod tests;
