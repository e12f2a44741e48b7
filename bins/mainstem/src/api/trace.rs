//! `GET /v1/trace/blocks/{height}`: what a main block went through, and when.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use engine::chain::Height;
use engine::store::BlockReader;
use rest::{BlockTrace, Phase};

use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, Node};

/// `GET /v1/trace/blocks/{height}`
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/v1/trace/blocks/{height}", get(trace::<R>))
}

async fn trace<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    height: Params<String>,
    uri: Uri,
) -> Answer<Json<BlockTrace>> {
    params::query(&uri, &[])?;
    let text = params::path(height)?;
    let height = params::main_height(&text)?.unwrap_or_else(|| node.reader.head());
    let found = node.engine.trace(height).ok_or_else(|| not_traced(height, node.reader.head()))?;
    Ok(Json(view(&found)))
}

fn not_traced(height: Height, head: Height) -> Problem {
    let why = if height > head {
        format!("main block {height} does not exist yet; the newest is {head}")
    } else {
        format!(
            "of main block {height} it is not known any more, or never was: a node knows it of the newest 4,096 main \
             blocks that its own stages made since it started"
        )
    };
    Problem::new(StatusCode::NOT_FOUND, "not-traced", "Nothing is known of the block's way", why)
        .with("height", height.0)
        .with("head", head.0)
}

/// As people ask for it: phases one after another, from the first block received.
fn view(found: &engine::pipeline::BlockTrace) -> BlockTrace {
    let micros = |time: Duration| time.saturating_sub(found.received).as_micros() as u64;
    let ends = [
        ("gathered", found.gathered),
        ("hashed", found.hashed),
        ("handed-on", found.handed_on),
        ("appended", found.appended),
        ("synced", found.synced),
        ("published", found.published),
    ];
    let mut start_us = 0;
    let phases = ends.map(|(name, end)| {
        let phase = Phase { name: name.to_owned(), start_us, end_us: micros(end).max(start_us) };
        start_us = phase.end_us;
        phase
    });
    BlockTrace {
        height: found.height.0,
        leaf_count: found.leaf_count,
        chain_count: found.chain_count,
        synced_with: found.synced_with,
        total_us: start_us,
        phases: phases.into(),
    }
}
