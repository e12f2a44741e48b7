//! Sending, from start to end.

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use engine::chain::{ChainId, Height};
use engine::source::Source;
use indicatif::ProgressBar;
use net::client::{
    ChainState, Client, ClientConfig, ConnectionState, Event, EventSink, MainSink, Monitor, Status,
};
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
    let Input { source, tip, goal } = input;
    let identity = Identity::load(&common.key)?;
    let (events, news) = mpsc::channel();
    let first_key = *common.main_key.first().context("--main-key names no key")?;
    let mut config = ClientConfig::new(common.main.clone(), first_key, identity);
    config.server_keys.clone_from(&common.main_key);
    config.address_check_after = common.address_check;
    config.software = concat!("tributary ", env!("CARGO_PKG_VERSION")).into();
    config.give_up_on_refusal = !common.keep_trying;
    config.on_event = Some(EventSink::new(move |event| {
        // Nobody listens any more only when all is over.
        let _ = events.send(event);
    }));
    let signals = Signals::listen()?;
    let line = log::start(common.log);
    let mut keeping = Kept::start(&common.keeping, source.chains())?;
    config.follow = keeping.sink.take();
    let client = Client::start(config, source)?;
    // Set once, here.
    let _ = keeping.client.set(client.monitor());
    let session = Session { client, tip, goal, stop_at: common.stop_at, signals, line, news };
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
    news: Receiver<Event>,
}

impl Session {
    fn run(self, drain: Duration) -> End {
        let mut teller = Teller::default();
        let mut rate = Rate::new();
        let mut outcome = Outcome::default();
        let mut goal = None;
        let mut shown = Instant::now();
        let end = loop {
            match self.news.recv_timeout(TICK) {
                Ok(event) => {
                    outcome.hear(&event);
                    teller.tell(&event);
                    // All that is there, before looking at how things stand.
                    for event in self.news.try_iter().take(MAX_EVENTS_AT_ONCE) {
                        outcome.hear(&event);
                        teller.tell(&event);
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
            if let Some(end) = outcome.end(&status) {
                break end;
            }
            // Chains that have stopped for good reach nothing any more: they decide how it ends, not when.
            if [goal, self.stop_at].into_iter().flatten().any(|height| durable(&status, height)) {
                if outcome.worst.is_none() {
                    info!("everything that was asked for is durable on the main chain");
                } else {
                    warn!("what was asked for is durable on the main chain, but for the chains that stopped");
                }
                break outcome.worst.unwrap_or(End::Done);
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
}

impl Outcome {
    fn hear(&mut self, event: &Event) {
        let end = match event {
            Event::Fork { .. } => End::Fork,
            Event::SourceFailed { retry: false, .. } => End::Source,
            Event::Refused { code, .. } if code.is_lasting() => End::Refused,
            Event::Disconnected { retry_in: None, .. } => End::Refused,
            _ => return,
        };
        self.worst = self.worst.max(Some(end));
    }

    /// How it ends, if nothing more can come.
    fn end(&self, status: &Status) -> Option<End> {
        let stopped = matches!(status.connection, ConnectionState::Stopped { .. })
            || status.chains.iter().all(|chain| chain.state == ChainState::Stopped);
        // The event is on its way when the state is seen first.
        if stopped { self.worst } else { None }
    }
}

fn durable(status: &Status, height: Height) -> bool {
    status.chains.iter().all(|chain| chain.durable >= height || chain.state == ChainState::Stopped)
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
/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Beyond the drain.
const GRACE: Duration = Duration::from_secs(2);
