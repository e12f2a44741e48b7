//! `GET`, `POST` and `DELETE /v1/admin/log`: which lines are written.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Extension;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::level::{self, LONGEST, Shown};
use crate::admin::Who;
use crate::api::problem::Problem;

/// What is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: String,
    /// For so many seconds; ten minutes if nothing is said.
    #[serde(default = "ten_minutes")]
    for_s: u64,
}

/// The routes, for the admin socket.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/v1/admin/log", get(show).post(set).delete(reset))
}

async fn show() -> Result<Json<Shown>, Problem> {
    level::shown().map(Json).ok_or_else(|| Problem::internal("this process does not log"))
}

async fn set(Extension(who): Extension<Who>, body: Bytes) -> Result<Json<Shown>, Problem> {
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("expected {{\"filter\":\"net=debug\",\"for_s\":600}}: {error}");
        Problem::parameter("body", "", detail)
    })?;
    let Wanted { filter, for_s } = wanted;
    if !(1..=LONGEST.as_secs()).contains(&for_s) {
        let detail = format!("for_s: expected seconds, from 1 to {}", LONGEST.as_secs());
        return Err(Problem::parameter("for_s", &for_s.to_string(), detail));
    }
    let shown = level::set(&filter, Duration::from_secs(for_s))
        .map_err(|error| Problem::parameter("filter", &filter, format!("filter: {error}")))?;
    tracing::info!(%who, filter = shown.filter, for_s, "the log's filter was changed");
    Ok(Json(shown))
}

async fn reset(Extension(who): Extension<Who>) -> Result<Json<Shown>, Problem> {
    let shown = level::reset().map_err(Problem::internal)?;
    tracing::info!(%who, filter = shown.filter, "the log's filter is as configured again");
    Ok(Json(shown))
}

fn ten_minutes() -> u64 {
    600
}
