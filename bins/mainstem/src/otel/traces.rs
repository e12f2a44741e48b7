//! What the node and its API have of tracing: prepared from the settings, started with the engine, stopped with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use axum::http::Method;
use engine::chain::{Height, NodeKey};

use super::OtelError;
use super::collector::Collector;
use super::follower::{Follower, Sources};
use super::headers;
use super::spans::{Answered, Sampling};
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::node::EngineSlot;
use crate::settings::Settings;

/// Requests that wait to be sent, at most: some 100 bytes each.
pub(super) const QUEUED: usize = 4096;

/// Traces as the settings ask for them; nothing is sent yet.
#[derive(Debug)]
pub(crate) struct Traces(Option<Wanted>);

#[derive(Debug)]
struct Wanted {
    collector: Collector,
    requests: Sink,
    queue: Receiver<Answered>,
}

impl Traces {
    /// What the settings ask for.
    ///
    /// # Errors
    /// If they cannot be met.
    pub(crate) fn of(settings: &Settings, dir: &DataDir) -> Result<Self, OtelError> {
        let Some(endpoint) = settings.otel.endpoint.url() else { return Ok(Self(None)) };
        let headers = match settings.otel.headers_file.as_os_str().to_str() {
            Some("-") => Vec::new(),
            _ => headers::read(&dir.root.join(&settings.otel.headers_file))?,
        };
        let collector = Collector::new(endpoint, headers)?;
        let (queued, queue) = sync_channel(QUEUED);
        let sampling = Sampling::of(settings.otel.sample_ratio);
        let requests = Sink { sampling, queued, dropped: Arc::default() };
        Ok(Self(Some(Wanted { collector, requests, queue })))
    }

    /// For the API.
    pub(crate) fn requests(&self) -> Requests {
        Requests(self.0.as_ref().map(|wanted| wanted.requests.clone()))
    }

    /// Begins to follow the main blocks after the head, and to send. `clock` is the engine's.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(crate) fn start(
        self,
        engine: EngineSlot,
        head: impl Fn() -> Height + Send + 'static,
        clock: Arc<SystemClock>,
        key: NodeKey,
    ) -> Result<Exporting, OtelError> {
        let Some(Wanted { mut collector, requests, queue }) = self.0 else { return Ok(Exporting(None)) };
        collector.describe(key);
        let sources = Sources {
            head: Box::new(head),
            trace: Box::new(move |height| engine.trace(height)),
            clock,
            requests: queue,
            dropped: requests.dropped,
        };
        let (ask, asked) = channel();
        let mut follower = Follower::new(collector, sources, requests.sampling);
        let run = move || follower.run(&asked);
        thread::Builder::new().name("otel".into()).spawn(run).map_err(OtelError::Thread)?;
        Ok(Exporting(Some(ask)))
    }
}

/// Takes the requests that the API answered. Cheap to clone; by default it forgets them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Option<Sink>);

#[derive(Clone, Debug)]
struct Sink {
    sampling: Sampling,
    queued: SyncSender<Answered>,
    /// Traces that never come to the collector.
    dropped: Arc<AtomicU64>,
}

impl Requests {
    /// Takes a request whose answer begins now. Never waits.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let Some(Sink { sampling, queued, dropped }) = &self.0 else { return };
        let Some(trace) = sampling.trace() else { return };
        let (route, ended) = (route.to_owned(), SystemTime::now());
        let answered = Answered { trace, method: method.clone(), route, status, ended, took };
        if queued.try_send(answered).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What sends traces. Dropped, it ends by itself and sends nothing more.
#[derive(Debug)]
pub(crate) struct Exporting(Option<Sender<Sender<()>>>);

impl Exporting {
    /// Sends what there is, if the collector takes it within `grace`, and ends.
    pub(crate) fn stop(self, grace: Duration) {
        let Some(ask) = self.0 else { return };
        let (end, ended) = channel();
        if ask.send(end).is_ok() && ended.recv_timeout(grace).is_err() {
            tracing::warn!("the OpenTelemetry collector is slow: the last traces are dropped");
        }
    }
}
