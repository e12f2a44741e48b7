//! The routes, and what holds for all of them: who may ask, how much, and that it is logged.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

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
use tokio::sync::{Semaphore, oneshot};

use super::who::Who;
use super::{Actions, AdminError, Secret};
use crate::api::params::{self, Params};
use crate::api::problem::{self, Problem};

/// Longest body: a chain with its nodes' keys, of which a thousand take 67 KiB.
const MAX_BODY: usize = 256 << 10;

/// Changes at a time.
const AT_ONCE: usize = 4;

/// What the routes of a node work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Shared>);

struct Shared {
    /// Nothing before the node runs and once it stops.
    actions: RwLock<Option<Arc<dyn Actions>>>,
    /// What callers of the API's address show; without one there is nothing for them.
    secret: RwLock<Option<Secret>>,
    at_once: Arc<Semaphore>,
}

type Answer = Result<Json<Value>, Problem>;

impl Admin {
    /// With the secret that callers over the network have to show, if they may call at all.
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Self(Arc::new(Shared { actions: RwLock::default(), secret: RwLock::new(secret), at_once }))
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
        what: String,
        job: impl FnOnce(&dyn Actions) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let done = self.run(job).await;
        match &done {
            Ok(_) => tracing::info!(target: "mainstem::admin", %who, "{what}: done"),
            Err(error) => tracing::warn!(target: "mainstem::admin", %who, %error, "{what}: refused"),
        }
        done
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Actions) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let actions = self.0.actions.read().unwrap_or_else(PoisonError::into_inner).clone();
        let actions = actions.ok_or(AdminError::NotRunning)?;
        let permit = Arc::clone(&self.0.at_once).try_acquire_owned().map_err(|_| AdminError::Busy)?;
        let (sender, done) = oneshot::channel();
        let work = move || {
            // Whoever asked may have gone; what was asked for is done all the same.
            let _ = sender.send(job(&*actions));
            drop((actions, permit));
        };
        thread::Builder::new()
            .name("admin".into())
            .spawn(work)
            .map_err(|error| AdminError::Failed(format!("no thread can be had: {error}")))?;
        done.await.unwrap_or_else(|_| {
            Err(AdminError::Failed("the change was given up half-way: the node's log says why".into()))
        })
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
}

async fn authorized(State(admin): State<Admin>, uri: Uri, mut request: Request, next: Next) -> Response {
    let secret = admin.0.secret.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(secret) = secret else { return problem::no_route(uri).await.into_response() };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown.is_some_and(|shown| secret.is_shown_by(shown)) {
        request.extensions_mut().insert(Who::Token);
        return next.run(request).await;
    }
    let detail =
        "expected the header `authorization: Bearer TOKEN` with what the file api.admin_token_file holds";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The call has no right to be made", detail)
        .into_response()
}

async fn add_chain(State(admin): State<Admin>, Extension(who): Extension<Who>, body: Bytes) -> Answer {
    let chain: SideChain = read(&body)?;
    let (id, name) = (chain.id, chain.name.clone());
    let what = format!("add chain {id} {name:?}");
    let height = admin.act(who, what, move |node| node.add_chain(chain)).await?;
    Ok(Json(json!({ "chain_id": id.0, "chain": id.to_string(), "block": height.0 })))
}

async fn remove_chain(
    State(admin): State<Admin>,
    Extension(who): Extension<Who>,
    id: Params<String>,
) -> Answer {
    let id = params::chain(&params::path(id)?)?;
    let height = admin.act(who, format!("remove chain {id}"), move |node| node.remove_chain(id)).await?;
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
    admin.act(who, what, move |node| node.pause_chain(id, paused)).await?;
    Ok(Json(json!({ "chain_id": id.0, "chain": id.to_string(), "paused": paused })))
}

async fn reload(State(admin): State<Admin>, Extension(who): Extension<Who>) -> Answer {
    let applied = admin.act(who, "reload".into(), |node| node.reload()).await?;
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
    let Wanted { to, with_key } = read(&body)?;
    if !to.is_absolute() {
        return Err(AdminError::Body("to: expected an absolute path of this machine".into()).into());
    }
    let what = format!("snapshot to {}", to.display());
    let written = admin.act(who, what, move |node| node.snapshot(&to, with_key)).await?;
    Ok(Json(written))
}

/// Answers when the recording has ended.
async fn record(State(admin): State<Admin>, Extension(who): Extension<Who>, body: Bytes) -> Answer {
    let wanted: crate::record::Wanted = read(&body)?;
    if !wanted.to.is_absolute() {
        return Err(AdminError::Body("to: expected an absolute path of this machine".into()).into());
    }
    if wanted.max_bytes < 1 << 20 {
        let detail = format!("max_bytes: {} is too little; expected 1048576 at least", wanted.max_bytes);
        return Err(AdminError::Body(detail).into());
    }
    let what = format!("record to {}", wanted.to.display());
    let written = admin.act(who, what, move |node| node.record(&wanted)).await?;
    Ok(Json(written))
}

async fn stop_record(State(admin): State<Admin>, Extension(who): Extension<Who>) -> Answer {
    admin.act(who, "end the recording".into(), |node| node.stop_record()).await?;
    Ok(Json(json!({})))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        AdminError::Body(format!("{place}{}", error.inner()))
    })
}
