//! Sending, from start to end.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use engine::chain::{ChainId, Height};
use engine::source::{Answers, Source};
use indicatif::ProgressBar;
use net::client::{
    ChainState, Client, ClientConfig, ConnectionState, Event, EventSink, MainSink, Monitor, Status,
};
use net::control::RefusalCode;
use net::identity::Identity;
use tracing::{info, warn};
use tributary::keep::{Keeper, Store};
use tributary::serve::{Server, Serving};
use tributary::sources::Tip;

use crate::cli::{Common, Keeping};
use crate::words::{Figures, Rate, Teller};
use crate::{log, signals::Signals};

/// What is sent.
pub(crate) struct Input {
    pub(crate) source: Box<dyn Source>,
    /// How far it could be read, where that is known.
    pub(crate) tip: Option<Tip>,
    /// Who answers the main chain's questions about transactions, where the source can.
    pub(crate) answers: Option<Arc<dyn Answers>>,
    pub(crate) goal: Goal,
}

/// When it is done, `--stop-at` aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// Never.
    None,
    /// When everything is durable that could be read at the start.
    Tip,
}

/// How it ended. Its number is the exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
enum End {
    Done = 0,
    Source = 1,
    Refused = 3,
    Fork = 4,
}

/// Sends until somebody stops it, its goal is reached, or it cannot go on. `Err` for what is wrong before it starts.
pub(crate) fn run(common: &Common, input: Input) -> Result<ExitCode> {
    let Input { source, tip, answers, goal } = input;
    let identity = Identity::load(&common.key)?;
    let (events, news) = mpsc::sync_channel(MAX_EVENTS);
    let heard = Arc::new(Heard { events, untold: AtomicU64::new(0), outcome: Mutex::default() });
    let first_key = *common.main_key.first().context("--main-key names no key")?;
    let mut config = ClientConfig::new(common.main.clone(), first_key, identity);
    config.server_keys.clone_from(&common.main_key);
    config.address_check_after = common.address_check;
    config.software = concat!("tributary ", env!("CARGO_PKG_VERSION")).into();
    config.give_up_on_refusal = !common.keep_trying;
    config.answers = answers;
    config.on_event = Some(EventSink::new({
        let heard = Arc::clone(&heard);
        move |event| heard.hear(event)
    }));
    let signals = Signals::listen()?;
    let line = log::start(common.log);
    let mut keeping = Kept::start(&common.keeping, source.chains())?;
    config.follow = keeping.sink.take();
    let client = Client::start(config, source)?;
    // Set once, here.
    let _ = keeping.client.set(client.monitor());
    let session = Session { client, tip, goal, stop_at: common.stop_at, signals, line, heard, news };
    Ok(ExitCode::from(session.run(common.drain) as u8))
}

/// What is kept of the main chain and served, while it runs.
#[derive(Default)]
struct Kept {
    /// For the client.
    sink: Option<Arc<dyn MainSink>>,
    client: Arc<OnceLock<Monitor>>,
    _server: Option<Server>,
}

impl Kept {
    fn start(keeping: &Keeping, chains: Vec<ChainId>) -> Result<Self> {
        let Some(dir) = &keeping.keep else { return Ok(Self::default()) };
        let store = Arc::new(Store::open(dir)?.keep_blocks(keeping.keep_blocks));
        let keeper = Arc::new(Keeper::new(Arc::clone(&store), keeping.follow_from));
        let client = Arc::new(OnceLock::new());
        let server = match keeping.serve {
            Some(addr) => {
                let serving =
                    Serving { store, durable: keeper.durable(), client: Arc::clone(&client), chains };
                let server =
                    Server::start(addr, serving).with_context(|| format!("--serve {addr}: cannot listen"))?;
                info!(addr = %server.addr(), "serving what is kept of the main chain");
                Some(server)
            }
            None => None,
        };
        Ok(Self { sink: Some(keeper), client, _server: server })
    }
}

struct Session {
    client: Client,
    tip: Option<Tip>,
    goal: Goal,
    stop_at: Option<Height>,
    signals: Signals,
    line: Option<ProgressBar>,
    heard: Arc<Heard>,
    news: Receiver<Event>,
}

/// Where the client's events go. What decides how it ends is noted at once; what is told waits, so many at most: a main
/// chain that makes more of them than a terminal takes must not fill the memory.
struct Heard {
    events: SyncSender<Event>,
    /// For how many there was no room.
    untold: AtomicU64,
    outcome: Mutex<Outcome>,
}

impl Heard {
    fn hear(&self, event: Event) {
        self.outcome().hear(&event);
        // Nobody listens any more only when all is over.
        if self.events.try_send(event).is_err() {
            // Relaxed: a figure.
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        // Whoever panicked with it left it whole.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn run(self, drain: Duration) -> End {
        let mut teller = Teller::default();
        let mut rate = Rate::new();
        let mut goal = None;
        let mut shown = Instant::now();
        let end = loop {
            match self.news.recv_timeout(TICK) {
                Ok(event) => {
                    teller.tell(&event);
                    // All that is there, before looking at how things stand.
                    for event in self.news.try_iter().take(MAX_EVENTS_AT_ONCE) {
                        teller.tell(&event);
                    }
                    let untold = self.heard.untold.swap(0, Ordering::Relaxed);
                    if untold > 0 {
                        warn!(untold, "more happened than could be told");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
            }
            let status = self.client.status();
            let tip = self.tip.as_ref().and_then(Tip::get);
            if self.goal == Goal::Tip && goal.is_none() {
                goal = tip;
            }
            rate.sample(&status);
            if let Some(end) = self.heard.outcome().end(&status) {
                break end;
            }
            // Chains that have stopped for good, or are not registered, reach nothing: they decide how it ends, not when.
            if [goal, self.stop_at].into_iter().flatten().any(|height| durable(&status, height)) {
                let worst = self.heard.outcome().worst(&status);
                if worst.is_none() {
                    info!("everything that was asked for is durable on the main chain");
                } else {
                    warn!("what was asked for is durable on the main chain, but for the chains that stopped");
                }
                break worst.unwrap_or(End::Done);
            }
            if self.signals.asked() {
                info!(
                    "stopping, waiting for the main chain's word on what was sent; once more to stop at once"
                );
                break End::Done;
            }
            match &self.line {
                Some(line) => {
                    line.set_message(Figures::new(&status, tip, &rate).line());
                    line.tick();
                }
                None if shown.elapsed() >= LOG_EVERY => {
                    shown = Instant::now();
                    Figures::new(&status, tip, &rate).log();
                }
                None => {}
            }
        };
        // Whatever happened on the way out is told as well.
        let status = stop(self.client, (end == End::Done).then_some(drain));
        for event in self.news.try_iter() {
            teller.tell(&event);
        }
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
        if let Some(status) = status {
            Figures::new(&status, None, &rate).log_end();
        } else {
            warn!("the source did not return from its last call; stopped all the same");
        }
        end
    }
}

/// What of the events decides how it ends.
#[derive(Debug, Default)]
struct Outcome {
    worst: Option<End>,
    /// Chains that were refused for a reason that lasts: at the time.
    refused: BTreeSet<ChainId>,
}

impl Outcome {
    fn hear(&mut self, event: &Event) {
        let end = match event {
            Event::Fork { .. } => End::Fork,
            Event::SourceFailed { retry: false, .. } => End::Source,
            Event::Refused { chain, code, .. } if code.is_lasting() => {
                self.refused.insert(*chain);
                return;
            }
            Event::Disconnected { retry_in: None, .. } => End::Refused,
            _ => return,
        };
        self.worst = self.worst.max(Some(end));
    }

    /// The worst that has happened and has not passed.
    fn worst(&self, status: &Status) -> Option<End> {
        let refused = status.chains.iter().any(|chain| {
            self.refused.contains(&chain.chain)
                && matches!(chain.state, ChainState::Stopped | ChainState::Refused(_))
        });
        self.worst.max(refused.then_some(End::Refused))
    }

    /// How it ends, if nothing more can come.
    fn end(&self, status: &Status) -> Option<End> {
        let stopped = matches!(status.connection, ConnectionState::Stopped { .. })
            || status.chains.iter().all(|chain| chain.state == ChainState::Stopped);
        // The event is on its way when the state is seen first.
        if stopped { self.worst(status) } else { None }
    }
}

fn durable(status: &Status, height: Height) -> bool {
    let unreachable =
        |state| matches!(state, ChainState::Stopped | ChainState::Refused(RefusalCode::UnknownChain));
    status.chains.iter().all(|chain| chain.durable >= height || unreachable(chain.state))
}

/// Stops the client, on a thread of its own: a source may be in a call that takes as long as its time-out.
fn stop(client: Client, drain: Option<Duration>) -> Option<Status> {
    let (done, stopped) = mpsc::channel();
    let thread = thread::Builder::new().name("stop".to_owned()).spawn(move || {
        let _ = done.send(client.stop(drain));
    });
    thread.ok().and_then(|_| stopped.recv_timeout(drain.unwrap_or_default() + GRACE).ok())
}

/// How often things are looked at.
const TICK: Duration = Duration::from_millis(100);
const MAX_EVENTS_AT_ONCE: usize = 1_000;
/// That wait to be told.
const MAX_EVENTS: usize = 20_000;
/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Beyond the drain.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use net::client::ChainStatus;

    use super::*;

    fn status(states: &[ChainState]) -> Status {
        let chain = |(id, state): (u32, &ChainState)| ChainStatus {
            chain: ChainId(id),
            state: *state,
            sent: Height(0),
            durable: Height(0),
            limit: Height(0),
            tip: None,
            error: None,
        };
        Status {
            connection: ConnectionState::Connecting,
            main: None,
            head: None,
            chains: (1..).zip(states).map(chain).collect(),
            follow: None,
            blocks: 0,
            frames: 0,
            bytes: 0,
            connections: 0,
        }
    }

    fn refused(chain: u32) -> Event {
        Event::Refused { chain: ChainId(chain), code: RefusalCode::UnknownChain, text: String::new() }
    }

    #[test]
    fn a_refusal_counts_only_while_it_stands() {
        let mut outcome = Outcome::default();
        outcome.hear(&refused(1));
        let still = ChainState::Refused(RefusalCode::UnknownChain);
        for (states, worst) in [
            ([ChainState::Speaking, ChainState::Speaking], None),
            ([ChainState::Standby, still], None),
            ([still, ChainState::Speaking], Some(End::Refused)),
            ([ChainState::Stopped, ChainState::Speaking], Some(End::Refused)),
        ] {
            assert_eq!(outcome.worst(&status(&states)), worst, "{states:?}");
        }
        let all = status(&[ChainState::Stopped, ChainState::Stopped]);
        assert_eq!(outcome.end(&all), Some(End::Refused));
        outcome.hear(&Event::SourceFailed { chain: ChainId(2), error: String::new(), retry: false });
        assert_eq!(outcome.worst(&status(&[ChainState::Speaking, ChainState::Stopped])), Some(End::Source));
    }

    #[test]
    fn events_that_nobody_takes_do_not_pile_up_and_decide_all_the_same() {
        let (events, news) = mpsc::sync_channel(2);
        let heard = Heard { events, untold: AtomicU64::new(0), outcome: Mutex::default() };
        for _ in 0..5 {
            heard.hear(Event::Standby { chain: ChainId(1) });
        }
        heard.hear(refused(1));
        assert_eq!((news.try_iter().count(), heard.untold.load(Ordering::Relaxed)), (2, 4));
        assert_eq!(heard.outcome().worst(&status(&[ChainState::Stopped])), Some(End::Refused));
    }
}
