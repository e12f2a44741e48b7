//! `GET /livez`, `/readyz` and `/startupz`: whether the node is well, for whoever starts, restarts and routes to it.
//!
//! - `/livez` fails when only a restart helps: a stage gave up.
//! - `/startupz` fails until the node has started.
//! - `/readyz` fails when others should be asked instead, and before the node stops, so that nobody is sent to it then.
//!
//! `?exclude=NAME` leaves a check out, several with a comma between.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use engine::store::BlockReader;
use rest::health::{Check, Health as View};
use rustix::fs::{Access, StatVfsMountFlags};

use crate::node::EngineSlot;
use crate::settings::HealthBounds;

use super::params;
use super::problem::Problem;
use super::routes::{Answer, Node};
use super::stats::Sampler;

/// From when on a node is not well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Least free bytes on the disk of the log.
    pub min_free: u64,
    /// Longest time without a durable main block while blocks wait.
    pub max_head_age: Duration,
}

impl Bounds {
    /// As the settings say.
    pub(crate) fn of(settings: &HealthBounds) -> Self {
        let max_head_age = Duration::from_millis(settings.max_head_age_ms);
        Self { min_free: settings.min_free.0, max_head_age }
    }
}

/// What is asked.
pub(crate) struct Sources {
    /// The stages.
    pub engine: EngineSlot,
    /// Disk and progress.
    pub stats: Sampler,
    /// The folder of the log.
    pub log: PathBuf,
    /// How many places of the log are damaged.
    pub damage: Box<dyn Fn() -> usize + Send + Sync>,
    /// Whether another chain's node decides when main blocks are made.
    pub driven: bool,
    /// From when on a node is not well.
    pub bounds: Bounds,
}

/// How the node is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    sources: Sources,
    bounds: Mutex<Bounds>,
    /// Set once, when all has started. Relaxed, as the others: flags that guard nothing.
    started: AtomicBool,
    /// Set once, when the node is about to stop.
    draining: AtomicBool,
}

impl Health {
    /// Of a node that starts.
    pub(crate) fn new(sources: Sources) -> Self {
        let bounds = Mutex::new(sources.bounds);
        let (started, draining) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Inner { sources, bounds, started, draining }))
    }

    /// From now on, these bounds hold.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// Everything has started.
    pub(crate) fn started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    /// The node is about to stop: from here on `/readyz` fails, and everything else goes on. Whoever stops it waits
    /// `run.drain_ms` then, so that those who ask hear of it.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Every check of `/readyz`, for metrics.
    pub(crate) fn checks(&self) -> Vec<Check> {
        READY.iter().map(|check| check.make(&self.0)).collect()
    }
}

impl Inner {
    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// Something that can be well or not.
struct Kind {
    name: &'static str,
    find: fn(&Inner) -> Result<String, String>,
}

impl Kind {
    fn make(&self, inner: &Inner) -> Check {
        let found = (self.find)(inner);
        Check { name: self.name.to_owned(), ok: found.is_ok(), detail: found.unwrap_or_else(|why| why) }
    }
}

const STARTED: Kind = Kind { name: "started", find: started };
const ENGINE: Kind = Kind { name: "engine", find: engine };

/// Of `/readyz`.
const READY: [Kind; 8] = [
    STARTED,
    ENGINE,
    Kind { name: "log", find: log },
    Kind { name: "disk", find: disk },
    Kind { name: "head", find: head },
    Kind { name: "damage", find: damage },
    Kind { name: "ingest", find: ingest },
    Kind { name: "draining", find: draining },
];

fn started(inner: &Inner) -> Result<String, String> {
    if inner.started.load(Ordering::Relaxed) {
        Ok("everything has started".into())
    } else {
        Err("the node is starting".into())
    }
}

fn engine(inner: &Inner) -> Result<String, String> {
    let engine = &inner.sources.engine;
    match engine.failed() {
        Some(why) => {
            Err(format!("a stage gave up: {why}; the node's log says more, and it has to be restarted"))
        }
        None if engine.durable().is_none() => Err("the stages do not run".into()),
        None => Ok("all stages run".into()),
    }
}

fn log(inner: &Inner) -> Result<String, String> {
    let dir = &inner.sources.log;
    let shown = dir.display();
    let read_only = rustix::fs::statvfs(dir)
        .map_err(|error| format!("{shown} cannot be looked at: {error}"))?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY);
    if read_only {
        return Err(format!("{shown} is on a file system that is mounted read-only; see `dmesg` for why"));
    }
    match rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(format!("{shown} can be written")),
        Err(error) => Err(format!("{shown} cannot be written: {error}; look at its owner and mode")),
    }
}

fn disk(inner: &Inner) -> Result<String, String> {
    let least = inner.bounds().min_free;
    match inner.sources.stats.disk() {
        None => Ok("the system does not tell how much is free".into()),
        Some(disk) if disk.free_bytes >= least => Ok(format!("{} MiB are free", disk.free_bytes >> 20)),
        Some(disk) => Err(format!(
            "{} MiB are free, less than {} (health.min_free): make room, or prune with storage.keep_blocks",
            disk.free_bytes >> 20,
            least >> 20
        )),
    }
}

fn head(inner: &Inner) -> Result<String, String> {
    let (Sources { stats, driven, .. }, bounds) = (&inner.sources, inner.bounds());
    match stats.stuck() {
        _ if *driven => Ok("the main chain's node decides when main blocks are made".into()),
        Some(stuck) if stuck > bounds.max_head_age => Err(format!(
            "blocks wait, and no main block has become durable for {} s, longer than {} s (health.max_head_age_ms): see \
             which stage of GET /v1/stats is busy, and whether the disk answers",
            stuck.as_secs(),
            bounds.max_head_age.as_secs()
        )),
        Some(stuck) => Ok(format!("blocks wait, for {} s", stuck.as_secs())),
        None => Ok("what comes becomes durable".into()),
    }
}

fn damage(inner: &Inner) -> Result<String, String> {
    match (inner.sources.damage)() {
        0 => Ok("the log is whole".into()),
        count => Err(format!(
            "{count} places of the log are damaged; all other blocks are served. `mainstem inspect repair` says what can \
             be done"
        )),
    }
}

fn ingest(inner: &Inner) -> Result<String, String> {
    if inner.started.load(Ordering::Relaxed) {
        Ok("takes blocks in".into())
    } else {
        Err("does not take blocks in yet".into())
    }
}

fn draining(inner: &Inner) -> Result<String, String> {
    if inner.draining.load(Ordering::Relaxed) {
        Err("the node is about to stop; ask another one".into())
    } else {
        Ok("not about to stop".into())
    }
}

/// `GET /livez`, `/readyz`, `/startupz`
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new()
        .route("/livez", get(live::<R>))
        .route("/readyz", get(ready::<R>))
        .route("/startupz", get(start::<R>))
}

async fn live<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Response> {
    // Before the stages run there is nothing that a restart would help.
    let kinds: &[Kind] = if node.engine.durable().is_some() { &[ENGINE] } else { &[] };
    answer(&node.health, kinds, &uri)
}

async fn ready<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Response> {
    answer(&node.health, &READY, &uri)
}

async fn start<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Response> {
    answer(&node.health, &[STARTED], &uri)
}

fn answer(health: &Health, kinds: &[Kind], uri: &Uri) -> Answer<Response> {
    let query = params::query(uri, &["exclude"])?;
    let excluded = query.first().map_or("", |(_, value)| value.as_str());
    let known = |name: &&str| READY.iter().any(|kind| kind.name == *name);
    if let Some(wrong) = excluded.split(',').filter(|name| !name.is_empty()).find(|name| !known(name)) {
        let names: Vec<_> = READY.iter().map(|kind| kind.name).collect();
        let detail = format!("exclude: there is no check {wrong:?}; there are {}", names.join(", "));
        return Err(Problem::parameter("exclude", wrong, detail));
    }
    let wanted = kinds.iter().filter(|kind| !excluded.split(',').any(|name| name == kind.name));
    let view = View::of(wanted.map(|kind| kind.make(&health.0)).collect());
    let status = if view.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // `problem::render` gives errors another body; this one is an answer.
    Ok((status, axum::Extension(super::problem::Whole), Json(view)).into_response())
}
