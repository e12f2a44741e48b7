//! The calls as JSON: the routes of `docs/external.md`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::external::{ExternalError, Proposal, ProposedSection, Verdict};
use engine::pipeline::Head;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::params::{self, Params};
use crate::api::problem::Problem;

use super::places::Place;
use super::{Driver, Wanted};

/// The longest that a call waits for a verdict.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) fn routes(driver: Driver) -> Router {
    Router::new()
        .route("/v1/external/status", get(status))
        .route("/v1/external/candidate", post(candidate))
        .route("/v1/external/validate", post(validate))
        .route("/v1/external/verdicts/{hash}", get(verdict))
        .route("/v1/external/commit", post(commit))
        .route("/v1/external/rollback", post(rollback))
        .route("/v1/external/finalize", post(finalize))
        .route("/v1/{*rest}", any(no_route))
        .with_state(driver)
}

/// A main block, with all that its header commits to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    /// Tells it from others; not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    header: MainHeader,
    sections: Vec<Section>,
    hashes: Vec<Hash>,
    tx_roots: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    chain_id: ChainId,
    first_height: Height,
    count: u32,
    parent: Hash,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CandidateCall {
    parent: Option<Hash>,
    max_leaves: Option<u64>,
    max_per_chain: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeightCall {
    height: Height,
}

#[derive(Serialize)]
struct HeadView {
    hash: Hash,
    header: MainHeader,
}

#[derive(Serialize)]
struct StatusView {
    head: Option<HeadView>,
    irreversible: Height,
    waiting: usize,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
enum VerdictView {
    Valid,
    Invalid { field: String, got: String, expected: String },
    Behind { chain_id: ChainId, chain: String, wanted: Height, received: Height },
    UnknownParent { parent: Hash, irreversible: Height, head: Height },
}

type Answer<T> = Result<T, Problem>;
type Body = Result<Bytes, BytesRejection>;

async fn status(State(driver): State<Driver>, uri: Uri) -> Answer<Json<StatusView>> {
    params::query(&uri, &[])?;
    Ok(Json(stands(&driver)))
}

async fn candidate(State(driver): State<Driver>, uri: Uri, body: Body) -> Answer<Response> {
    params::query(&uri, &[])?;
    let body = arrived(body)?;
    let call: CandidateCall = if body.is_empty() { CandidateCall::default() } else { read(&body)? };
    let wanted = Wanted { max_leaves: call.max_leaves, max_per_chain: call.max_per_chain };
    let block = driver.candidate(call.parent, wanted).await.map_err(refused)?;
    Ok(match block {
        Some(block) => Json(Block::from(Proposal::of(&block))).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn validate(
    State(driver): State<Driver>,
    Extension(place): Extension<Place>,
    uri: Uri,
    body: Body,
) -> Answer<Json<VerdictView>> {
    let wait = wait(&uri)?;
    let block: Block = read(&arrived(body)?)?;
    let verdict = driver.validate(block.into(), place, wait).await.map_err(refused)?;
    Ok(Json(verdict.into()))
}

async fn verdict(State(driver): State<Driver>, hash: Params<String>, uri: Uri) -> Answer<Json<VerdictView>> {
    let (text, wait) = (params::path(hash)?, wait(&uri)?);
    let hash: Hash = text.parse().map_err(|error| Problem::parameter("hash", &text, error))?;
    let verdict = driver.verdict(hash, wait).await.ok_or_else(|| {
        let detail = "no block of this header hash had to wait here, or it is forgotten; POST it to /v1/external/validate";
        Problem::new(StatusCode::NOT_FOUND, "no-such-block", "No such block is judged", detail)
    })?;
    Ok(Json(verdict.into()))
}

async fn commit(
    State(driver): State<Driver>,
    Extension(place): Extension<Place>,
    uri: Uri,
    body: Body,
) -> Answer<Json<HeadView>> {
    params::query(&uri, &[])?;
    let block: Block = read(&arrived(body)?)?;
    let head = driver.commit(block.into(), place).await.map_err(refused)?;
    Ok(Json(head.into()))
}

async fn rollback(State(driver): State<Driver>, uri: Uri, body: Body) -> Answer<Json<StatusView>> {
    params::query(&uri, &[])?;
    let call: HeightCall = read(&arrived(body)?)?;
    driver.rollback(call.height).await.map_err(refused)?;
    Ok(Json(stands(&driver)))
}

async fn finalize(State(driver): State<Driver>, uri: Uri, body: Body) -> Answer<Json<StatusView>> {
    params::query(&uri, &[])?;
    let call: HeightCall = read(&arrived(body)?)?;
    driver.finalize(call.height).await.map_err(refused)?;
    Ok(Json(stands(&driver)))
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}; docs/external.md lists the calls");
    Problem::new(StatusCode::NOT_FOUND, "no-route", "No such call", detail)
}

fn stands(driver: &Driver) -> StatusView {
    let (status, waiting) = driver.status();
    StatusView { head: status.head.map(Into::into), irreversible: status.irreversible, waiting }
}

fn wait(uri: &Uri) -> Answer<Duration> {
    let query = params::query(uri, &["wait_ms"])?;
    let Some((_, text)) = query.first() else { return Ok(Duration::ZERO) };
    let wait = params::digits(text).map(Duration::from_millis).filter(|wait| *wait <= LONGEST_WAIT);
    wait.ok_or_else(|| {
        let detail = format!("wait_ms: expected a number from 0 to {}", LONGEST_WAIT.as_millis());
        Problem::parameter("wait_ms", text, detail)
    })
}

fn arrived(body: Body) -> Answer<Bytes> {
    body.map_err(|error| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            let detail =
                "the body is longer than any that this call takes; the setting seal.max_leaves bounds blocks";
            Problem::new(status, "body-too-large", "The body is too long", detail)
        }
        status => Problem::new(status, "invalid-body", "The body did not arrive", error.body_text()),
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string());
    read.and_then(|value| reader.end().map(|()| value).map_err(|error| error.to_string())).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-body", "The body is not what this call takes", error)
    })
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn refused(error: ExternalError) -> Problem {
    let new = |status, kind, title| Problem::new(status, kind, title, &error);
    match &error {
        ExternalError::UnknownParent { parent, irreversible, head } => {
            new(StatusCode::NOT_FOUND, "unknown-parent", "The parent is not a committed block")
                .with("parent", parent.to_string())
                .with("irreversible", irreversible.0)
                .with("head", head.0)
        }
        ExternalError::Limit { key, value, .. } => {
            new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid")
                .with("field", *key)
                .with("value", *value)
        }
        ExternalError::NotOnHead { head, height, .. } => {
            new(StatusCode::CONFLICT, "not-on-head", "The block does not follow the head")
                .with("head", head.to_string())
                .with("height", height.0)
        }
        ExternalError::NotValid(Verdict::Invalid { field, got, expected }) => {
            new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-block", "The block is not valid")
                .with("field", field.as_str())
                .with("got", got.as_str())
                .with("expected", expected.as_str())
        }
        ExternalError::NotValid(Verdict::Behind { chain, wanted, received }) => {
            new(StatusCode::CONFLICT, "behind", "The lanes do not have the block's side blocks yet")
                .with("chain_id", chain.0)
                .with("wanted", wanted.0)
                .with("received", received.0)
        }
        ExternalError::NotValid(_) => {
            new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-block", "The block is not valid")
        }
        ExternalError::TooDeep { most } => {
            new(StatusCode::CONFLICT, "too-deep", "Too many blocks wait to be finalized").with("most", *most)
        }
        ExternalError::NoSuchBlock { height, first, last } => {
            new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid")
                .with("field", "height")
                .with("value", height.0)
                .with("first", first.0)
                .with("last", last.0)
        }
        // That nothing waits is an answer of `Driver::candidate`, and never refused.
        ExternalError::Failed { .. } | ExternalError::NothingWaits { .. } => {
            new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The node has failed")
        }
    }
}

impl From<Proposal> for Block {
    fn from(proposal: Proposal) -> Self {
        let Proposal { header, sections, hashes, tx_roots } = proposal;
        let sections = sections.into_iter().map(|section| {
            let ProposedSection { chain: chain_id, first_height, count, parent } = section;
            Section { chain_id, first_height, count, parent }
        });
        Self { hash: Some(header.hash()), header, sections: sections.collect(), hashes, tx_roots }
    }
}

impl From<Block> for Proposal {
    fn from(block: Block) -> Self {
        let Block { header, sections, hashes, tx_roots, hash: _ } = block;
        let sections = sections.into_iter().map(|section| {
            let Section { chain_id: chain, first_height, count, parent } = section;
            ProposedSection { chain, count, first_height, parent }
        });
        Self { header, sections: sections.collect(), hashes, tx_roots }
    }
}

impl From<Head> for HeadView {
    fn from(head: Head) -> Self {
        Self { hash: head.hash, header: head.header }
    }
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Valid => Self::Valid,
            Verdict::Invalid { field, got, expected } => Self::Invalid { field, got, expected },
            Verdict::Behind { chain, wanted, received } => {
                Self::Behind { chain_id: chain, chain: chain.to_string(), wanted, received }
            }
            Verdict::UnknownParent { parent, irreversible, head } => {
                Self::UnknownParent { parent, irreversible, head }
            }
        }
    }
}
