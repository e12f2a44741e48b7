//! The side chain's side: takes irreversible blocks from a source and sends them to a main chain, for ever.
//!
//! ```text
//!   pump (a thread of its own, may block):  source -> sections -> frames ──channels──┐
//!         ^  inbox: welcome, positions, refusals; limits, by chain                   v
//!   link (a task of a reactor):  connect, hello, control stream      data streams: frame -> QUIC
//!         │  stream of main blocks, if somebody wants them
//!         v
//!   follower (a thread of its own, may block):  verify -> MainSink
//!   answer-N (threads of their own, may block): the main chain's questions -> Answers, if there is somebody who answers
//! ```
//!
//! # Invariants
//! - No block above a chain's limit is sent; after every reconnection a chain goes on exactly at the height after
//!   the one that the main chain says it has received.
//! - A chain whose source or whose blocks are refused stops alone.
//! - Nothing is stored here that the source can be asked for again.

mod answer;
mod backoff;
mod config;
mod follow;
mod lane;
mod link;
mod lookup;
mod pump;
mod shared;
mod status;
mod tips;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::source::Source;
use engine::sync::Doorbell;
use tokio::sync::Notify;

use crate::endpoint::EndpointError;
use crate::reactor::{Join, Reactor};

pub use config::{ClientConfig, EventSink, Lookup};
pub use follow::{Contradiction, FollowedBlock, MainSink};
pub use status::{ChainState, ChainStatus, ConnectionState, Disconnect, Event, FollowStatus, Status};

use pump::Pump;
use shared::{Bell, Shared, Stopping};

/// A running client. Dropping it ends it at once; [`Client::stop`] can wait for what was sent.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    pump: Option<PumpRun>,
    link: Option<Join<()>>,
    follower: Option<JoinHandle<()>>,
    /// Those who answer questions.
    answering: Vec<JoinHandle<()>>,
    /// The reactor, unless the caller lent one.
    _reactor: Option<Reactor>,
}

/// Where the pump runs.
#[derive(Debug)]
enum PumpRun {
    Thread(JoinHandle<()>),
    Task(Join<()>),
}

impl Client {
    /// Starts to connect and to send what `source` gives. Returns at once: see [`Client::status`] and
    /// [`ClientConfig::on_event`].
    ///
    /// # Errors
    /// A setting is out of range, the source serves no chain, too many or one twice, or the system gives no thread.
    pub fn start(config: ClientConfig, source: Box<dyn Source>) -> Result<Self, ClientError> {
        let quic = config.check()?;
        let reactor = match config.reactor {
            Some(_) => None,
            None => Some(Reactor::spawn_thread("link").map_err(ClientError::Thread)?),
        };
        let handle = config.reactor.clone().or_else(|| reactor.as_ref().map(Reactor::handle));
        let handle = handle.expect("the caller's or our own");
        let (bell, waiter) = if config.quick_source {
            (Bell::Task(Notify::new()), None)
        } else {
            let (doorbell, waiter) = Doorbell::new();
            (Bell::Thread(doorbell), Some(waiter))
        };
        let shared = Arc::new(Shared::new(config, source.chains(), bell)?);
        let pump = Pump::new(Arc::clone(&shared), source);
        let pump = match waiter {
            Some(waiter) => {
                let thread = std::thread::Builder::new().name("pump".into());
                let thread = thread.spawn(move || pump.run(&waiter)).map_err(ClientError::Thread)?;
                PumpRun::Thread(thread)
            }
            None => PumpRun::Task(handle.spawn(pump.run_on(handle.clone()))),
        };
        let (feed, follower) = match shared.config.follow.clone() {
            Some(sink) => match follow::start(&shared, sink) {
                Ok((feed, follower)) => (Some(feed), Some(follower)),
                Err(error) => {
                    shared.stop(Stopping::Now);
                    return Err(ClientError::Thread(error));
                }
            },
            None => (None, None),
        };
        let (desk, answering) = match &shared.config.answers {
            Some(answers) => match answer::start(answers) {
                Ok((desk, threads)) => (Some(desk), threads),
                Err(error) => {
                    shared.stop(Stopping::Now);
                    return Err(ClientError::Thread(error));
                }
            },
            None => (None, Vec::new()),
        };
        let link = handle.spawn(link::run(Arc::clone(&shared), handle.clone(), quic, feed, desk));
        Ok(Self { shared, pump: Some(pump), link: Some(link), follower, answering, _reactor: reactor })
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// A way to [`Client::status`] for those who do not own the client.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.shared))
    }

    /// Stops. With a `drain` it takes no more from the source, and waits until all that was taken is durable on the main
    /// chain, `drain` at most. Returns how things stood at the end, when the source's last call has returned.
    ///
    /// If the connection breaks meanwhile, only what the main chain had received is waited for after the next one: the
    /// rest would have to be taken from the source again. [`ChainStatus::durable`] says how far each chain got.
    pub fn stop(mut self, drain: Option<Duration>) -> Status {
        if let Some(drain) = drain {
            let deadline = Instant::now() + drain;
            self.shared.stop(Stopping::Drain);
            while Instant::now() < deadline && !self.shared.is_drained() {
                std::thread::sleep(DRAIN_STEP);
            }
        }
        let status = self.shared.status();
        self.end();
        Status { connection: self.shared.connection(), ..status }
    }

    fn end(&mut self) {
        self.shared.stop(Stopping::Now);
        let failed = match self.pump.take() {
            Some(PumpRun::Thread(thread)) => thread.join().is_err(),
            Some(PumpRun::Task(task)) => {
                // As with the link.
                let _ = task.wait();
                false
            }
            None => false,
        };
        if failed {
            tracing::error!("whoever is told of events panicked");
        }
        // An error says that the reactor ended first, and the link with it.
        let _ = self.link.take().map(Join::wait);
        // The link was its last source; what has come is taken and settled. It says itself when it panics.
        let _ = self.follower.take().map(JoinHandle::join);
        // They end with the link, when what they were asked last is answered; a panic they survive. Who is in a call of
        // its source for long is left to it: nobody hears the answer.
        let deadline = Instant::now() + ANSWER_GRACE;
        while self.answering.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(DRAIN_STEP);
        }
        self.answering.clear();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

/// See [`Client::monitor`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Shared>);

impl Monitor {
    /// How things stand.
    pub fn status(&self) -> Status {
        self.0.status()
    }
}

/// Why a client cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A limit of the transport is out of range.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The system gives no thread or poll.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A setting is out of range.
    #[error("{field} is {value}, expected {expected}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// How long those who answer questions may still take when all else has ended.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// How often it is looked whether everything is durable. Only while stopping.
const DRAIN_STEP: Duration = Duration::from_millis(2);
