//! What AElf's clients ask a node: `/api/blockChain/` of this main chain, and the same under
//! `/aelf/{chain}/api/blockChain/` of one side chain, so that a chain has a URL that an SDK takes as its node's.
//! `docs/aelf.md` says what is answered, and from what.
//!
//! ```text
//! view      which chain is looked at, and its blocks
//! calls     chainStatus, blockHeight, block, blockByHeight, contractFileDescriptorSet; what is refused
//! transactions   transactionResult, transactionResults, merklePathByTransactionId: asked of the source, checked here
//! execute   executeTransaction: the views of the genesis contract and the cross-chain contract
//! contracts addresses and descriptors    trees   AElf's trees over whole main blocks
//! parents   /v1/aelf/parent-blocks: what `tributary aelf` gives real side nodes
//! ```
//!
//! # Invariants
//! What is not known is what AElf has where it has nothing: zeros, an empty text, an empty list, `null`. Nothing is
//! made up. What a source says of a transaction is served only as far as it fits the blocks that are indexed.

mod calls;
mod contracts;
mod execute;
mod parents;
mod refusal;
mod transactions;
mod trees;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::chain::Hash;
use engine::store::BlockReader;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::answer::Budget;
use super::routes::{Limits, Node};
use refusal::{Code, Refusal};
use trees::Trees;

/// Searches for a transaction through many chains that may be under way at once.
const MAX_SEARCHES: usize = 2;

/// What these routes read.
#[derive(Debug)]
pub(super) struct Aelf<R> {
    node: Arc<Node<R>>,
    trees: Trees,
    searches: Semaphore,
}

impl<R: BlockReader> Aelf<R> {
    /// For one node.
    pub(super) fn new(node: Arc<Node<R>>) -> Arc<Self> {
        Arc::new(Self { node, trees: Trees::default(), searches: Semaphore::new(MAX_SEARCHES) })
    }

    /// AElf's own routes, with AElf's errors.
    pub(super) fn routes(self: Arc<Self>, limits: Limits) -> Router {
        Router::new()
            .nest("/api/blockChain", Self::calls())
            .nest("/aelf/{chain}/api/blockChain", Self::calls())
            .layer(DefaultBodyLimit::max(limits.max_body))
            .layer(from_fn_with_state(limits, announced_length))
            .layer(from_fn_with_state(limits.timeout, deadline))
            .with_state(self)
    }

    /// Our own route, whose errors are ours.
    pub(super) fn parents<S: Clone + Send + Sync + 'static>(self: Arc<Self>) -> Router<S> {
        Router::new().route(parents::PATH, get(parents::parent_blocks::<R>)).with_state(self)
    }

    fn calls() -> Router<Arc<Self>> {
        let calls = Router::new()
            .route("/chainStatus", get(calls::status::<R>))
            .route("/blockHeight", get(calls::height::<R>))
            .route("/blockByHeight", get(calls::block_by_height::<R>))
            .route("/block", get(calls::block::<R>))
            .route("/contractFileDescriptorSet", get(calls::descriptors::<R>))
            .route("/contractViewMethodList", get(calls::view_methods::<R>))
            .route("/ContractViewMethodList", get(calls::view_methods::<R>))
            .route("/transactionResult", get(transactions::result::<R>))
            .route("/transactionResults", get(transactions::results::<R>))
            .route("/merklePathByTransactionId", get(transactions::merkle_path::<R>))
            .route("/executeTransaction", post(execute::execute::<R>));
        calls::TAKEN_BY_NOBODY
            .iter()
            .fold(calls, |calls, name| calls.route(name, post(calls::takes_no_transactions::<R>)))
    }
}

/// Whatever a request waits for, it waits no longer than this.
async fn deadline(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
        let details = format!("the request was not complete after {} ms", timeout.as_millis());
        Refusal::because(Code::Internal, details).into_response()
    })
}

/// A body that is announced to be too long is refused before any of it is read.
async fn announced_length(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if limits.takes(&request) {
        return next.run(request).await;
    }
    limits.drain(request);
    let details = format!("the body is longer than the {} bytes that this node takes", limits.max_body);
    Refusal::because(Code::InvalidParams, details).into_response()
}

type Answer = Result<Response, Refusal>;

/// JSON, in the content type that the client asks for: AElf's SDKs ask for `text/plain;v=1.0` and read JSON.
fn json<T: Serialize>(headers: &HeaderMap, value: &T) -> Answer {
    let body = serde_json::to_string(value).map_err(Refusal::internal)?;
    Ok(([(header::CONTENT_TYPE, kind(takes(headers, "text/plain")))], body).into_response())
}

/// JSON that may be long: it counts.
fn long_json<T: Serialize>(headers: &HeaderMap, budget: &Budget, value: &T) -> Answer {
    let body = serde_json::to_vec(value).map_err(Refusal::internal)?;
    let body = counted(budget, body)?;
    Ok(([(header::CONTENT_TYPE, kind(takes(headers, "text/plain")))], body).into_response())
}

fn counted(budget: &Budget, bytes: Vec<u8>) -> Result<Body, Refusal> {
    budget.body(bytes).ok_or_else(|| {
        Refusal::because(Code::Internal, "other long answers are on their way; ask again later")
    })
}

/// A text as it is to those who take plain text, or do not care; as JSON to the others. A long one counts.
fn text(headers: &HeaderMap, budget: &Budget, text: String) -> Answer {
    let anything = !headers.contains_key(header::ACCEPT) || takes(headers, "*/*");
    let plain = anything || takes(headers, "text/plain");
    let text = if plain { text } else { serde_json::to_string(&text).map_err(Refusal::internal)? };
    let body = counted(budget, text.into_bytes())?;
    Ok(([(header::CONTENT_TYPE, kind(plain))], body).into_response())
}

fn kind(plain: bool) -> HeaderValue {
    HeaderValue::from_static(if plain {
        "text/plain; charset=utf-8; v=1.0"
    } else {
        "application/json; charset=utf-8; v=1.0"
    })
}

fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim_start().starts_with(wanted))
}

/// A hash as AElf writes it: without `0x`.
fn hex(hash: Hash) -> String {
    const_hex::encode(hash.as_bytes())
}

#[cfg(test)]
mod tests;
