//! The thread that watches, and what it does about chains that stand still.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use engine::chain::{ChainId, NodeKey};
use engine::pipeline::SealRules;
use net::server::{Load, PeerList};
use rest::status::{Reason, State};

use super::board::{Board, Found, STAGES, Table};
use super::contradictions::{Contradictions, Verdict, WINDOW};
use super::judge::Limits;
use super::row::{Now, clip};
use super::stages::{Seen, Stages, Turn};
use super::tell::Teller;
use super::words::span;
use crate::admin::PausedFile;
use crate::node::EngineSlot;
use crate::settings;

/// How often lanes are looked at.
const PACE: Duration = Duration::from_millis(250);

/// Of so many looks, one goes through all sessions and chains.
const SURVEY_EVERY: u32 = 4;

/// Remedies in a second, over all chains: whatever is wrong with thousands of them, no remedy mends it.
const MAX_REMEDIES: usize = 16;

/// The longest pause between two remedies for a chain.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What the watch looks at.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Where it writes.
    pub board: Board,
    /// The sessions.
    pub peers: PeerList,
    /// How busy ingest is.
    pub ingest: Load,
    /// The engine.
    pub engine: EngineSlot,
    /// Whether another chain's node decides what becomes a main block.
    pub driven: bool,
    /// By which rules blocks are sealed.
    pub rules: SealRules,
    /// Where chains are written down that are paused.
    pub paused: PausedFile,
}

/// The watch, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Watching {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Begins to watch.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(parts: Parts, settings: &settings::Watch) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let watcher = Watcher::new(parts, settings);
        let thread = thread::Builder::new().name("watch".into()).spawn(move || watcher.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The thread waits for this end of the channel to go.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

impl Limits {
    pub(crate) fn of(settings: &settings::Watch) -> Self {
        let millis = Duration::from_millis;
        Self {
            stalled: millis(settings.stalled_ms),
            silent: millis(settings.silent_ms),
            late: millis(settings.late_ms),
            full: millis(settings.full_ms),
            quiet: millis(settings.quiet_ms),
            behind: settings.behind_blocks,
        }
    }
}

/// What is wrong with the settings together.
///
/// # Errors
/// Names the setting, its value, and what would be right.
pub(crate) fn check(settings: &settings::Watch) -> Result<()> {
    let (remedy, stalled) = (settings.remedy_ms, settings.stalled_ms);
    if remedy > 0 && remedy < stalled {
        bail!(
            "watch.remedy_ms = {remedy}: expected at least watch.stalled_ms, which is {stalled}, or 0 for no remedies"
        );
    }
    Ok(())
}

/// After which a remedy is tried.
fn patience(settings: &settings::Watch) -> Option<Duration> {
    (settings.remedy_ms > 0).then(|| Duration::from_millis(settings.remedy_ms))
}

struct Watcher {
    parts: Parts,
    limits: Limits,
    /// After which a remedy is tried; none: never.
    patience: Option<Duration>,
    /// How many contradictions of a key are too many; 0: none are.
    quarantine_after: u64,
    contradictions: Contradictions,
    stages: Stages,
    teller: Teller,
    turn: u32,
}

/// What is done about a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    AskAgain,
    HangUp,
}

impl Watcher {
    fn new(parts: Parts, settings: &settings::Watch) -> Self {
        Self {
            parts,
            limits: Limits::of(settings),
            patience: patience(settings),
            quarantine_after: settings.quarantine_after,
            contradictions: Contradictions::default(),
            stages: Stages::default(),
            teller: Teller::default(),
            turn: 0,
        }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PACE) {
            self.look();
        }
    }

    fn look(&mut self) {
        let parts = &self.parts;
        // They may have changed.
        let settings = parts.board.settings();
        self.limits = Limits::of(&settings);
        (self.patience, self.quarantine_after) = (patience(&settings), settings.quarantine_after);
        let mut now = parts.board.now();
        now.driven = parts.driven;
        now.failed = parts.engine.failed().is_some();
        let stages = parts.engine.stages(&parts.ingest).unwrap_or_default();
        let waiting = |name| stages.iter().find(|stage| stage.name == name).map_or(0, |stage| stage.queue);
        now.storing = waiting("append") + waiting("sync") > 0;
        now.rules = parts.rules;
        let survey = self.turn.is_multiple_of(SURVEY_EVERY);
        self.turn = self.turn.wrapping_add(1);
        let queues = ["ingest", "seal", "append", "sync"].map(waiting);
        if survey {
            // First: the judge is to know which of them stands.
            self.look_at_stages(&now, queues);
        }
        now.blamed = self.stages.blamed();
        let parts = &self.parts;
        let mut found = Found::default();
        let changes = parts.board.turn(&now, &self.limits, |table: &mut Table| {
            if survey {
                found = table.survey(&parts.peers, &now);
            }
        });
        self.teller.hear(changes);
        if survey {
            self.judge_contradictions(found, &now);
            self.remedy(&now);
            self.teller.tell();
        }
    }

    /// Bars nodes that contradicted again and again what was received of a chain, and pauses chains that have no other
    /// node, or two that contradict.
    fn judge_contradictions(&mut self, Found { contradicted, removed }: Found, now: &Now) {
        removed.into_iter().for_each(|chain| self.contradictions.forget(chain));
        let mut quarantined = Vec::new();
        for (chain, key, times) in contradicted {
            let nodes = {
                let table = self.parts.board.table();
                let row = table.row(chain).filter(|row| !row.lane.is_paused());
                row.map(|row| {
                    (row.side.nodes.len(), row.refusal.as_ref().map(|refusal| refusal.detail.clone()))
                })
            };
            let Some((nodes, detail)) = nodes else { continue };
            let heard = (chain, key, times);
            match self.contradictions.hear(heard, nodes, self.quarantine_after, now.at) {
                Some(Verdict::Bar(times)) => self.bar(chain, key, times, now),
                Some(Verdict::Quarantine(times)) => {
                    let (node, within) = (&key.to_string()[..8], span(WINDOW));
                    let detail = detail.map_or_else(String::new, |detail| format!("; {detail}"));
                    let why = format!("node {node} contradicted it {times} times within {within}{detail}");
                    quarantined.push((chain, why));
                }
                None => {}
            }
        }
        if !quarantined.is_empty() {
            self.quarantine(&quarantined, now);
        }
        for row in &mut self.parts.board.table().rows {
            // Resumed by the operator: he has looked.
            if !row.lane.is_paused() && row.quarantined.take().is_some() {
                self.contradictions.forget(row.side.id);
                self.parts.peers.lift_bars(row.side.id);
            }
        }
    }

    /// Keeps a node from speaking for a chain for a while.
    fn bar(&self, chain: ChainId, key: NodeKey, times: u64, now: &Now) {
        self.parts.peers.bar(chain, key, WINDOW);
        let (node, window) = (&key.to_string()[..8], span(WINDOW));
        let text = format!(
            "barred node {node} from it for {window}, after {times} contradictions; its other nodes may speak"
        );
        tracing::warn!(%chain, %key, times, "chain {chain}: {text}");
        if let Some(row) = self.parts.board.table().row_mut(chain) {
            row.try_out(now, text);
        }
    }

    /// Pauses chains until the operator has looked, over restarts too.
    fn quarantine(&self, chains: &[(ChainId, String)], now: &Now) {
        let board = &self.parts.board;
        let pause = || {
            let mut table = board.table();
            for (chain, why) in chains {
                let Some(row) = table.row_mut(*chain) else { continue };
                row.quarantined = Some(clip(why));
                row.lane.pause(true);
                row.try_out(now, format!("paused it: {why}"));
                board.tally().quarantined.fetch_add(1, Ordering::Relaxed);
            }
        };
        let written = self.parts.paused.change(
            |held| {
                for (chain, why) in chains.iter().filter(|(chain, _)| board.is_registered(*chain)) {
                    held.quarantined.insert(*chain, why.clone());
                }
                true
            },
            pause,
        );
        if let Err(error) = written {
            tracing::error!(%error, "chains were quarantined, and a restart will not know it");
            pause();
        }
    }

    /// Has silent speakers asked again, and hangs up on those that are silent altogether.
    fn remedy(&self, now: &Now) {
        let Some(patience) = self.patience else { return };
        let mut due = Vec::new();
        {
            let table = self.parts.board.table();
            for row in &table.rows {
                let Some(speaker) = &row.seats.speaker else { continue };
                let since = row.remedy.at.unwrap_or(row.since);
                let pause =
                    patience.saturating_mul(1 << row.remedy.times.min(10)).min(LONGEST_PAUSE.max(patience));
                if !helps(row.reason) || now.at.saturating_sub(since) < pause {
                    continue;
                }
                // Each other time, if asking again has not helped. Other chains of the session must not suffer.
                let in_use = |other: &super::row::Row| {
                    other.reason.state() != State::Stalled
                        && other.seats.speaker.as_ref().is_some_and(|its| its.session == speaker.session)
                };
                let hang_up = row.reason == Reason::NoAnswer || row.remedy.times % 2 == 1;
                let remedy =
                    if hang_up && !table.rows.iter().any(in_use) { Remedy::HangUp } else { Remedy::AskAgain };
                due.push((row.side.id, speaker.session, remedy));
                if due.len() == MAX_REMEDIES {
                    break;
                }
            }
        }
        for (chain, session, remedy) in due {
            self.try_out(chain, session, remedy, now);
        }
    }

    fn try_out(&self, chain: ChainId, session: u64, remedy: Remedy, now: &Now) {
        let board = &self.parts.board;
        // Not with the table locked: sessions have locks of their own.
        let (done, text, count) = match remedy {
            Remedy::AskAgain => (
                self.parts.peers.depose(session, chain),
                format!(
                    "took it from session {session}, so that the node asks again or another one takes over"
                ),
                &board.tally().asked_again,
            ),
            Remedy::HangUp => (
                self.parts.peers.hang_up(session, &format!("nothing comes for chain {chain}; connect again")),
                format!("ended session {session}, so that the node connects again or another one takes over"),
                &board.tally().hung_up,
            ),
        };
        if done {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut table = board.table();
        let Some(row) = table.row_mut(chain) else { return };
        let (state, reason) = (row.reason.state().name(), row.reason.name());
        tracing::warn!(%chain, state, reason, session, "chain {chain} is {state} ({reason}): {text}");
        row.try_out(now, text);
    }

    fn look_at_stages(&mut self, now: &Now, [ingest, seal, append, sync]: [u64; STAGES.len()]) {
        let parts = &self.parts;
        let durable = parts.engine.durable().unwrap_or_default().main_blocks;
        let frames = parts.peers.counters().frames;
        let stages = [
            // Half of it: frames that come slowly hold memory too.
            Seen { waits: ingest * 2 >= parts.ingest.most_frame_bytes(), done: frames },
            Seen { waits: seal > 0 && !parts.driven, done: durable },
            Seen { waits: append > 0, done: durable },
            Seen { waits: sync > 0, done: durable },
        ];
        for turn in self.stages.look(stages, now.at, self.limits.late) {
            match turn {
                Turn::Stalls(place, stood) => {
                    parts.board.tally().stalls[place].fetch_add(1, Ordering::Relaxed);
                    let (stage, waits) = (STAGES[place], [ingest, seal, append, sync][place]);
                    tracing::error!(
                        stage,
                        waits,
                        "stage {stage} has made no progress for {}, and {waits} wait for it; `mainstem \
                         profile` shows what it does",
                        span(stood)
                    );
                }
                Turn::Moves(place) => {
                    tracing::info!(stage = STAGES[place], "stage {} moves again", STAGES[place]);
                }
            }
        }
    }
}

/// Whether asking again, or another connection, may help.
fn helps(reason: Reason) -> bool {
    matches!(reason, Reason::NoData | Reason::NoAnswer | Reason::NothingSent)
}
