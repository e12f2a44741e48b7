//! The headers of durable main blocks, many at a time: for whoever follows this main chain, such as a `tributary` that
//! sends it on to another one.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use engine::chain::{BlockView, Height};
use engine::store::BlockReader;
use rest::{Header, Headers};

use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, Node, gone, unreadable};

/// Most headers in one answer.
const MAX_HEADERS: usize = 256;

/// The routes of this file.
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/headers", get(headers::<R>)).route("/v1/headers/{height}", get(header::<R>))
}

/// One header, without what its block holds of the chains, which may be thousands.
async fn header<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    height: Params<String>,
    uri: Uri,
) -> Answer<Response> {
    node.show_block(height, &uri, |block| {
        let header = block.header();
        Header { hash: header.hash(), header }
    })
}

async fn headers<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Json<Headers>> {
    let (mut from, mut limit) = (Height(1), MAX_HEADERS);
    for (name, value) in params::query(&uri, &["from", "limit"])? {
        if name == "from" {
            from = params::height("from", &value)?;
        } else {
            limit = params::limit(&value, MAX_HEADERS)?;
        }
    }
    let head = node.reader.head();
    let pruned = || {
        let first = node.reader.base().first;
        (from < first).then(|| {
            let detail = format!("main block {from} was pruned from this log, which begins with {first}");
            gone(from, first, detail)
        })
    };
    if let Some(problem) = pruned() {
        return Err(problem);
    }
    let mut headers = Vec::new();
    let mut next = from;
    while next <= head && headers.len() < limit {
        let Some(block) = node.reader.block(next).map_err(unreadable)? else {
            // Pruned in this moment: those that were read are no good without it.
            return Err(
                pruned().unwrap_or_else(|| Problem::internal(format!("main block {next} is missing")))
            );
        };
        let header = block.header();
        block.intact().map_err(unreadable)?;
        headers.push(header);
        next = next.next();
    }
    Ok(Json(Headers { headers, next: (next <= head).then_some(next), head }))
}
