//! The routes: what each answers, from what is kept and from the client.
//!
//! Handlers read the store in place: a look-up takes some page reads, and the thread that waits for them serves
//! nothing else.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::{ChainProof, Document};
use net::client::Monitor;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::params::{self, Params};
use super::problem::{self, Problem};
use super::{MAX_BODY_BYTES, MAX_WAIT, MAX_WAITING, TIMEOUT, views};
use crate::keep::{Contents, KeepError, Store};

/// The routes, for those who ask for another.
pub(super) const PATHS: [&str; 6] = [
    "GET /v1/status",
    "GET /v1/headers?from={height}&limit={n}",
    "GET /v1/headers/{height|latest}",
    "GET /v1/chains/{chain}/indexed?from={height}&limit={n}",
    "GET /v1/chains/{chain}/indexed/{height}?wait={time}",
    "POST /v1/verify",
];

/// What the routes read.
#[derive(Debug)]
pub struct Serving {
    /// What is kept.
    pub store: Arc<Store>,
    /// Tells when there is more.
    pub durable: watch::Receiver<Height>,
    /// This node's chains.
    pub chains: Vec<ChainId>,
    /// The client, once it has started.
    pub client: Arc<OnceLock<Monitor>>,
}

/// All routes, with their error forms and limits.
pub(super) fn router(serving: Arc<Serving>) -> Router {
    let waits = Router::new()
        .route("/v1/chains/{chain}/indexed/{height}", get(indexed_in))
        .layer(from_fn_with_state(TIMEOUT + MAX_WAIT, deadline))
        .layer(Extension(Arc::new(Semaphore::new(MAX_WAITING))));
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/headers", get(headers))
        .route("/v1/headers/{height}", get(one_header))
        .route("/v1/chains/{chain}/indexed", get(parts))
        .route("/v1/verify", post(verify))
        .fallback(problem::no_route)
        .layer(from_fn_with_state(TIMEOUT, deadline))
        .merge(waits)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(problem::render))
        .with_state(serving)
}

/// Whatever a request waits for, it waits no longer than this.
async fn deadline(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("the request was not complete after {} ms", timeout.as_millis());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", detail)
            .into_response()
    })
}

type Answer<T> = Result<T, Problem>;
type Here = State<Arc<Serving>>;

async fn status(State(here): Here, uri: Uri) -> Answer<Json<views::Status>> {
    params::query(&uri, &[])?;
    let Contents { main, range, headers, gaps, evidence } = here.store.contents().map_err(unreadable)?;
    let client = here.client.get().map(Monitor::status);
    let mut chains = Vec::new();
    for chain in client.iter().flat_map(|client| &client.chains) {
        let newest = here.store.newest_indexed(chain.chain).map_err(unreadable)?;
        chains.push(views::SideChain::new(chain, newest));
    }
    let (connection, head, follow) = match client {
        Some(client) => ((&client.connection).into(), client.head, client.follow),
        None => ((&net::client::ConnectionState::Connecting).into(), None, None),
    };
    Ok(Json(views::Status {
        version: env!("CARGO_PKG_VERSION"),
        connection,
        main_chain: main.map(Into::into),
        head: head.as_ref().map(Into::into),
        kept: views::Kept {
            first: range.map(|(first, _)| first),
            last: range.map(|(_, last)| last),
            headers,
            gaps,
            error: follow.and_then(|follow| follow.error),
        },
        chains,
        evidence,
    }))
}

async fn headers(State(here): Here, uri: Uri) -> Answer<Json<views::Headers>> {
    let (from, limit) = params::page(&uri)?;
    // One more than asked for says whether there is more.
    let mut found = here.store.headers(from, limit + 1).map_err(unreadable)?;
    let next = found.get(limit).map(|header| header.height);
    found.truncate(limit);
    Ok(Json(views::Headers { headers: found.into_iter().map(Into::into).collect(), next }))
}

async fn one_header(State(here): Here, params: Params<String>, uri: Uri) -> Answer<Response> {
    params::query(&uri, &[])?;
    let text = params::path(params)?;
    if text == "latest" {
        let newest = here.store.newest_header().ok_or_else(|| {
            let detail = "no main block is kept yet; GET /v1/status says why, if something is wrong";
            Problem::new(StatusCode::NOT_FOUND, "no-such-block", "No such main block is kept", detail)
        })?;
        return Ok(Json(views::Header::from(newest)).into_response());
    }
    let height = params::height("height", &text)?;
    match here.store.header(height).map_err(unreadable)? {
        Some(header) => Ok(unchanging(Json(views::Header::from(header)))),
        None => Err(here.no_such_block(height)?),
    }
}

async fn parts(State(here): Here, params: Params<String>, uri: Uri) -> Answer<Json<views::Parts>> {
    let chain = params::chain(&params::path(params)?)?;
    let (from, limit) = params::page(&uri)?;
    here.known(chain)?;
    let mut found = here.store.indexed(chain, from, limit + 1).map_err(unreadable)?;
    let next = found.get(limit).map(|indexed| indexed.proof.first_height);
    found.truncate(limit);
    Ok(Json(views::Parts { parts: found.iter().map(Into::into).collect(), next }))
}

async fn indexed_in(
    State(here): Here,
    Extension(waiting): Extension<Arc<Semaphore>>,
    params: Params<(String, String)>,
    uri: Uri,
) -> Answer<Response> {
    let (chain, height) = params::path(params)?;
    let (chain, height) = (params::chain(&chain)?, params::height("height", &height)?);
    let until = Instant::now() + params::wait(&uri)?;
    here.known(chain)?;
    let mut news = here.durable.clone();
    let mut place = None;
    loop {
        news.mark_unchanged();
        let problem = match here.store.locate(chain, height).map_err(unreadable)? {
            Some((header, proof)) => return indexed_answer(header, proof),
            None => here.not_indexed(chain, height)?,
        };
        if place.is_none() && Instant::now() < until {
            // Until it is answered.
            place = Some(waiting.try_acquire().map_err(|_| busy())?);
        }
        // Whether time is up or tributary ends, this is how it stands.
        if !matches!(tokio::time::timeout_at(until, news.changed()).await, Ok(Ok(()))) {
            return Err(problem);
        }
    }
}

/// A proof is verified by itself, and a header that it is about or ends in must be one of those that are kept.
async fn verify(
    State(here): Here,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Json<views::Verdict>> {
    params::query(&uri, &[])?;
    let body = body.map_err(|error| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            let detail =
                format!("the body is longer than {MAX_BODY_BYTES} bytes, the most that is taken here");
            Problem::new(status, "body-too-large", "The body is too long", detail)
        }
        status => Problem::new(status, "invalid-body", "The body did not arrive", error.body_text()),
    })?;
    let binary = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream");
    let parsed = if binary {
        Document::from_bytes(&body).map_err(|error| error.to_string())
    } else {
        Document::parse(&body).map_err(|error| error.to_string())
    };
    let proof = parsed.map_err(|error| {
        let detail = format!("the body is not a proof: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "not-a-proof", "The body is not a proof", detail)
    })?;
    let refused = |reason: String, header_hash| {
        Ok(Json(views::Verdict { verified: false, reason: Some(reason), header_hash, trusted: None }))
    };
    let verified = match proof.verify() {
        Ok(outcome) => outcome.verified,
        Err(error) => return refused(error.to_string(), None),
    };
    // Where it ends, or the block itself: either is enough.
    let ends = (verified.trusted.height, verified.trusted_hash);
    let itself = match &proof {
        Document::Block(proof) => Some(proof.header.height),
        Document::Transaction(proof) => Some(proof.block.header.height),
        Document::Chain(proof) => Some(proof.header.height),
        Document::Absence(proof) => Some(proof.header.height),
        // Of many blocks, or of two headers: where it ends is all that stands for all of it.
        Document::Blocks(_) | Document::Consistency(_) => None,
    };
    let itself = itself.map(|height| (height, verified.header_hash));
    let mut reasons = Vec::new();
    for (height, hash) in [Some(ends), itself].into_iter().flatten() {
        match here.store.header(height).map_err(unreadable)?.map(|header| header.hash()) {
            Some(ours) if ours == hash => {
                return Ok(Json(views::Verdict {
                    verified: true,
                    reason: None,
                    header_hash: Some(verified.header_hash),
                    trusted: Some(views::Trusted { height, hash }),
                }));
            }
            Some(ours) => {
                reasons.push(format!("header {hash} at height {height}, which is {ours} on the main chain"));
            }
            None => reasons.push(here.not_kept(height, hash)?),
        }
    }
    reasons.dedup();
    refused(
        format!("it is right in itself, but it ends in {}", reasons.join(", over ")),
        Some(verified.header_hash),
    )
}

impl Serving {
    /// Refuses a chain of which nothing is kept and which is none of this node's.
    fn known(&self, chain: ChainId) -> Answer<()> {
        if self.chains.contains(&chain) || self.store.newest_indexed(chain).map_err(unreadable)?.is_some() {
            return Ok(());
        }
        let detail = format!(
            "chain {chain} is none of this node's, and nothing of it is kept; POST /v1/verify takes proofs of other \
             chains"
        );
        Err(Problem::new(StatusCode::NOT_FOUND, "unknown-chain", "No such chain", detail)
            .with("chain_id", chain.0))
    }

    /// Why there is nothing about a height of a chain, and what is known instead.
    fn not_indexed(&self, chain: ChainId, height: Height) -> Answer<Problem> {
        let newest = self.store.newest_indexed(chain).map_err(unreadable)?;
        let first = self.store.indexed(chain, Height(1), 1).map_err(unreadable)?;
        let first = first.first().map(|indexed| indexed.proof.first_height);
        let followed = self.store.newest_header().map(|header| header.height);
        let problem = match newest {
            Some(newest) if height <= newest => {
                let detail = format!(
                    "chain {chain}: height {height} was indexed in a main block that is not kept here (--follow-from, --keep-blocks, or \
                     it was pruned before it came); ask a node of the main chain for its proof"
                );
                Problem::new(StatusCode::NOT_FOUND, "not-kept", "The main block is not kept", detail)
            }
            newest => {
                let newest =
                    newest.map_or_else(|| "nothing yet".to_owned(), |newest| format!("up to {newest}"));
                let detail =
                    format!("chain {chain}: height {height} is not indexed yet; indexed is {newest}");
                Problem::new(StatusCode::NOT_FOUND, "not-indexed", "The block is not indexed yet", detail)
            }
        };
        Ok(problem
            .with("chain_id", chain.0)
            .with("height", height.0)
            .with("oldest_indexed", first.map(|height| height.0))
            .with("newest_indexed", newest.map(|height| height.0))
            .with("main_height", followed.map(|height| height.0)))
    }

    fn no_such_block(&self, height: Height) -> Answer<Problem> {
        let range = self.store.contents().map_err(unreadable)?.range;
        let detail = match range {
            None => format!("main block {height} is not kept; none is yet"),
            Some((first, last)) if height < first || height > last => {
                format!("main block {height} is not kept; those from {first} to {last} are")
            }
            Some(_) => format!("main block {height} is not kept: it was pruned before it came"),
        };
        Ok(Problem::new(StatusCode::NOT_FOUND, "no-such-block", "No such main block is kept", detail)
            .with("height", height.0)
            .with("first", range.map(|(first, _)| first.0))
            .with("last", range.map(|(_, last)| last.0)))
    }

    fn not_kept(&self, height: Height, hash: Hash) -> Answer<String> {
        let range = self.store.contents().map_err(unreadable)?.range;
        Ok(match range {
            Some((_, last)) if height > last => format!(
                "header {hash} at height {height}, which cannot be compared yet: the newest that is kept is {last}"
            ),
            Some((first, _)) => format!(
                "header {hash} at height {height}, which is not kept and cannot be compared: a proof with a head from \
                 {first} on can (GET /v1/proofs/..?head= of a node of the main chain)"
            ),
            None => format!("header {hash} at height {height}, which cannot be compared: none is kept yet"),
        })
    }
}

fn indexed_answer(header: MainHeader, proof: ChainProof) -> Answer<Response> {
    // It was verified when it came: this is about the disk.
    proof
        .verify(&header)
        .map_err(|error| Problem::internal(format!("main block {}: {error}", header.height)))?;
    Ok(unchanging(Json(views::IndexedIn { hash: header.hash(), header, proof })))
}

fn busy() -> Problem {
    let detail =
        format!("{MAX_WAITING} requests wait for a height already; ask again later, or without wait");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests wait", detail)
}

fn unreadable(error: KeepError) -> Problem {
    Problem::internal(error)
}

/// What is indexed never changes, so whoever is in between may keep it.
fn unchanging(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    response
}
