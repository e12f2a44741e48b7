//! The side chains: how each is doing, why, and how that has changed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use engine::chain::ChainId;
use engine::store::BlockReader;
use rest::status::{self, History, Reason, Why};

use super::params::{self, Params};
use super::problem::Problem;
use super::routes::{Answer, MAX_PAGE, Node};
use super::views;
use crate::watch::{Filter, Shown};

/// Longest text that chains are searched for.
const MAX_TEXT: usize = 100;

pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new()
        .route("/v1/chains", get(chains::<R>))
        .route("/v1/chains/{id}", get(chain::<R>))
        .route("/v1/chains/{id}/history", get(history::<R>))
        .route("/v1/chains/{id}/why", get(why::<R>))
}

async fn chains<R: BlockReader>(State(node): State<Arc<Node<R>>>, uri: Uri) -> Answer<Json<views::Chains>> {
    let (mut filter, mut after, mut limit) = (Filter::default(), None, MAX_PAGE);
    for (name, value) in params::query(&uri, &["state", "reason", "q", "after", "limit"])? {
        match name.as_str() {
            "state" => filter.states = named(&name, &value, &status::State::ALL, status::State::name)?,
            "reason" => filter.reasons = named(&name, &value, Reason::ALL, Reason::name)?,
            "q" if value.len() > MAX_TEXT => {
                return Err(Problem::parameter(
                    &name,
                    &value,
                    format!("q: expected {MAX_TEXT} bytes at most"),
                ));
            }
            "q" => filter.text = Some(value.to_lowercase()).filter(|text| !text.is_empty()),
            "after" => after = Some(params::chain_id("after", &value)?),
            _ => limit = params::limit(&value, MAX_PAGE)?,
        }
    }
    let (page, more) = node.board.select(&filter, after, limit);
    let next = page.last().map(|shown| shown.side.id).filter(|_| more);
    Ok(Json(views::Chains { chains: page.into_iter().map(view).collect(), next }))
}

async fn chain<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    id: Params<String>,
    uri: Uri,
) -> Answer<Json<views::SideChain>> {
    let id = only_id(id, &uri)?;
    node.chain(id).map(Json)
}

async fn history<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    id: Params<String>,
    uri: Uri,
) -> Answer<Json<History>> {
    let id = only_id(id, &uri)?;
    let changes = node.board.history(id).ok_or_else(|| unknown(id))?;
    Ok(Json(History { changes }))
}

async fn why<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    id: Params<String>,
    uri: Uri,
) -> Answer<Json<Why>> {
    let id = only_id(id, &uri)?;
    node.board.why(id).map(Json).ok_or_else(|| unknown(id))
}

/// A chain as it is shown everywhere.
pub(super) fn view(shown: Shown) -> views::SideChain {
    views::side_chain(shown)
}

pub(super) fn unknown(id: ChainId) -> Problem {
    let detail = format!("chain {id} is not registered here; GET /v1/chains lists those that are");
    Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown-chain", "No such chain", detail)
        .with("chain_id", id.0)
}

fn only_id(id: Params<String>, uri: &Uri) -> Answer<ChainId> {
    params::query(uri, &[])?;
    params::chain(&params::path(id)?)
}

/// Names from a list, with commas between them.
fn named<T: Copy>(field: &str, text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Answer<Vec<T>> {
    let find = |word: &str| {
        all.iter().copied().find(|one| name(*one) == word).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
            let detail =
                format!("{field}: expected one or more, with commas between, of {}", names.join(", "));
            Problem::parameter(field, text, detail)
        })
    };
    text.split(',').map(find).collect()
}
