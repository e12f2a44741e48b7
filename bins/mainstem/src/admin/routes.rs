//! The routes, and what holds for all of them: who may ask, how much, and that it is logged.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Json, Router};
use engine::state::SideChain;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::jobs::Jobs;
use super::who::Who;
use super::{Actions, AdminError, Secret};
use crate::api::params::{self, Params};
use crate::api::problem::{self, Problem};
use crate::api::{Limits, plain_body};
use crate::listen::Peer;

/// Longest body: a chain with its nodes' keys, of which a thousand take 67 KiB.
const MAX_BODY: usize = 256 << 10;

/// How much of a body that is refused is read all the same.
const LIMITS: Limits = Limits { max_body: MAX_BODY, timeout: Duration::from_secs(10) };

/// Changes at a time.
const AT_ONCE: usize = 4;

/// What goes on for long has a place of its own, so that it holds no change up; what is done in a moment needs none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// One of [`AT_ONCE`].
    Change,
    /// The one for a snapshot.
    Snapshot,
    /// The one for a recording.
    Recording,
    /// As many as there are connections.
    Free,
}

/// What the routes of a node work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Shared>);

struct Shared {
    /// Nothing before the node runs and once it stops.
    actions: RwLock<Option<Arc<dyn Actions>>>,
    /// What callers of the API's address show; without one there is nothing for them.
    secret: RwLock<Option<Secret>>,
    changes: Arc<Semaphore>,
    snapshot: Arc<Semaphore>,
    recording: Arc<Semaphore>,
    jobs: Jobs,
    /// Calls over the network that showed a wrong secret, or none.
    wrong: AtomicU64,
}

type Answer = Result<Json<Value>, Problem>;

impl Admin {
    /// With the secret that callers over the network have to show, if they may call at all.
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self(Arc::new(Shared {
            actions: RwLock::default(),
            secret: RwLock::new(secret),
            changes: places(AT_ONCE),
            snapshot: places(1),
            recording: places(1),
            jobs: Jobs::start(),
            wrong: AtomicU64::new(0),
        }))
    }

    /// From now on there is a node, or none any more.
    pub(crate) fn set_actions(&self, actions: Option<Arc<dyn Actions>>) {
        *self.0.actions.write().unwrap_or_else(PoisonError::into_inner) = actions;
    }

    /// From now on callers over the network show this.
    pub(crate) fn set_secret(&self, secret: Option<Secret>) {
        *self.0.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    /// The routes for the socket: whoever reaches it may ask.
    pub(crate) fn over_socket(&self) -> Router {
        routes().fallback(problem::no_route).layer(from_fn(problem::render)).with_state(self.clone())
    }

    /// The routes for the API's address: for who shows the secret, and for others not there.
    pub(crate) fn over_network(&self) -> Router {
        routes()
            .route_layer(from_fn_with_state(self.clone(), authorized))
            .layer(from_fn(problem::render))
            .with_state(self.clone())
    }

    /// Does `job` on a thread of its own and logs what came of it.
    pub(super) async fn act<T: Send + 'static>(
        &self,
        who: Who,
        place: Place,
        what: String,
        job: impl FnOnce(&dyn Actions) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let done = self.run(place, job).await;
        match &done {
            Ok(_) => tracing::info!(target: "mainstem::admin", %who, "{what}: done"),
            Err(error) => tracing::warn!(target: "mainstem::admin", %who, %error, "{what}: refused"),
        }
        done
    }

    async fn run<T: Send + 'static>(
        &self,
        place: Place,
        job: impl FnOnce(&dyn Actions) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let actions = self.0.actions.read().unwrap_or_else(PoisonError::into_inner).clone();
        let actions = actions.ok_or(AdminError::NotRunning)?;
        let permit = self.permit(place)?;
        let (sender, done) = oneshot::channel();
        let work = move || {
            // Whoever asked may have gone; what was asked for is done all the same.
            let _ = sender.send(job(&*actions));
            drop((actions, permit));
        };
        if !self.0.jobs.run(work) {
            return Err(AdminError::Failed("no thread can be had".into()));
        }
        done.await.unwrap_or_else(|_| {
            Err(AdminError::Failed("the change was given up half-way: the node's log says why".into()))
        })
    }

    fn permit(&self, place: Place) -> Result<Option<OwnedSemaphorePermit>, AdminError> {
        let conflict = |what: &str| AdminError::Conflict(what.to_owned());
        let (places, taken) = match place {
            Place::Free => return Ok(None),
            Place::Change => (&self.0.changes, AdminError::Busy),
            Place::Snapshot => {
                (&self.0.snapshot, conflict("a snapshot is being written; try again when it is done"))
            }
            Place::Recording => {
                (&self.0.recording, conflict("a recording runs already; `mainstem record --stop` ends it"))
            }
        };
        Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| taken)
    }

    /// Writes down that a call showed no right. Lines of one address are folded into one with their number.
    fn refused(&self, peer: Option<Peer>) {
        // Relaxed: it guards nothing.
        let before = self.0.wrong.fetch_add(1, Ordering::Relaxed);
        let from = peer.map_or_else(|| "unknown".to_owned(), |Peer(address)| network(address));
        tracing::warn!(target: "mainstem::admin", from, "a call of /v1/admin with a wrong token, or none, was refused");
        if (before + 1).is_multiple_of(1_000) {
            let calls = before + 1;
            tracing::warn!(target: "mainstem::admin", calls, "refused calls of /v1/admin since the start");
        }
    }
}

/// The address, of IPv6 the first half: who has one has all with that half.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let first = u128::from(address) & !u128::from(u64::MAX);
            format!("{}/64", Ipv6Addr::from(first))
        }
    }
}

fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/admin/chains", post(add_chain))
        .route("/v1/admin/chains/{id}", delete(remove_chain))
        .route("/v1/admin/chains/{id}/pause", post(pause_chain))
        .route("/v1/admin/chains/{id}/resume", post(resume_chain))
        .route("/v1/admin/reload", post(reload))
        .route("/v1/admin/snapshot", post(snapshot))
        .route("/v1/admin/record", post(record).delete(stop_record))
        .merge(crate::logging::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(LIMITS, plain_body))
}

async fn authorized(State(admin): State<Admin>, uri: Uri, mut request: Request, next: Next) -> Response {
    let secret = admin.0.secret.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(secret) = secret else { return problem::no_route(uri).await.into_response() };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown.is_some_and(|shown| secret.is_shown_by(shown)) {
        request.extensions_mut().insert(Who::Token);
        return next.run(request).await;
    }
    admin.refused(request.extensions().get::<Peer>().copied());
    let detail =
        "expected the header `authorization: Bearer TOKEN` with what the file api.admin_token_file holds";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The call has no right to be made", detail)
        .into_response()
}

async fn add_chain(State(admin): State<Admin>, Extension(who): Extension<Who>, body: Bytes) -> Answer {
    let chain: SideChain = read(
        &body,
        r#"a chain as in the genesis document, {"id": "tDVV", "name": "my chain", "first_height": 1, "nodes": ["KEY"]}"#,
    )?;
    let (id, name) = (chain.id, chain.name.clone());
    let what = format!("add chain {id} {name:?}");
    let height = admin.act(who, Place::Change, what, move |node| node.add_chain(chain)).await?;
    Ok(Json(json!({ "chain_id": id.0, "chain": id.to_string(), "block": height.0 })))
}

async fn remove_chain(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    id: Params<String>,
) -> Answer {
    let id = params::chain(&params::path(id)?)?;
    let what = format!("remove chain {id}");
    let height = admin.act(who, Place::Change, what, move |node| node.remove_chain(id)).await?;
    Ok(Json(json!({ "chain_id": id.0, "chain": id.to_string(), "block": height.0 })))
}

async fn pause_chain(admin: State<Admin>, who: Extension<Who>, id: Params<String>) -> Answer {
    pause(admin, who, id, true).await
}

async fn resume_chain(admin: State<Admin>, who: Extension<Who>, id: Params<String>) -> Answer {
    pause(admin, who, id, false).await
}

async fn pause(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    id: Params<String>,
    paused: bool,
) -> Answer {
    let id = params::chain(&params::path(id)?)?;
    let what = format!("{} chain {id}", if paused { "pause" } else { "resume" });
    admin.act(who, Place::Free, what, move |node| node.pause_chain(id, paused)).await?;
    Ok(Json(json!({ "chain_id": id.0, "chain": id.to_string(), "paused": paused })))
}

async fn reload(State(admin): State<Admin>, Extension(who): Extension<Who>) -> Answer {
    let applied = admin.act(who, Place::Change, "reload".into(), |node| node.reload()).await?;
    Ok(Json(json!(applied)))
}

/// What is wanted of a snapshot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    to: PathBuf,
    #[serde(default)]
    with_key: bool,
}

async fn snapshot(State(admin): State<Admin>, Extension(who): Extension<Who>, body: Bytes) -> Answer {
    let Wanted { to, with_key } = read(&body, r#"{"to": "/absolute/path"}"#)?;
    if !to.is_absolute() {
        return Err(AdminError::Body("to: expected an absolute path of this machine".into()).into());
    }
    let what = format!("snapshot to {}", to.display());
    let written = admin.act(who, Place::Snapshot, what, move |node| node.snapshot(&to, with_key)).await?;
    Ok(Json(written))
}

/// Answers when the recording has ended.
async fn record(State(admin): State<Admin>, Extension(who): Extension<Who>, body: Bytes) -> Answer {
    let wanted: crate::record::Wanted =
        read(&body, r#"{"to": "/absolute/path", "for_ms": 60000, "max_bytes": 1073741824}"#)?;
    if !wanted.to.is_absolute() {
        return Err(AdminError::Body("to: expected an absolute path of this machine".into()).into());
    }
    if wanted.max_bytes < 1 << 20 {
        let detail = format!("max_bytes: {} is too little; expected 1048576 at least", wanted.max_bytes);
        return Err(AdminError::Body(detail).into());
    }
    let what = format!("record to {}", wanted.to.display());
    let written = admin.act(who, Place::Recording, what, move |node| node.record(&wanted)).await?;
    Ok(Json(written))
}

async fn stop_record(State(admin): State<Admin>, Extension(who): Extension<Who>) -> Answer {
    let ran = admin.act(who, Place::Free, "end the recording".into(), |node| node.stop_record()).await?;
    Ok(Json(json!({ "ran": ran })))
}

/// What a body says, which is to be like `example`.
fn read<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, AdminError> {
    if body.trim_ascii().is_empty() {
        return Err(AdminError::Body(format!("the body is empty: expected {example}")));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        // What breaks off has no place but where it ends, which the error says.
        let path = path.strip_suffix('?').unwrap_or(&path).trim_end_matches('.');
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        AdminError::Body(format!("{place}{}", error.inner()))
    })
}
