//! So many calls with a block at a time, each of so many bytes: what bounds the memory of calls.

use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Held;

/// Blocks on their way in at a time, and as many on their way out; more wait.
const CALLS: usize = 8;

/// Longest body of a call without a block.
const SHORT_BODY: usize = 4096;

/// The places for calls with blocks.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Blocks that are read, judged and committed.
    inward: Arc<Semaphore>,
    /// Candidates, until their reader has them: one that is slow keeps nobody from committing.
    outward: Arc<Semaphore>,
    longest_body: usize,
}

/// A place of one call. It is kept while its block is read and worked on, but not while it waits for a verdict.
#[derive(Clone, Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "is free when this is dropped")] Arc<OwnedSemaphorePermit>,
);

impl Places {
    pub(super) fn new(longest_body: usize) -> Self {
        let places = || Arc::new(Semaphore::new(CALLS));
        Self { inward: places(), outward: places(), longest_body }
    }
}

/// Bounds a call's body, and gives a call with a block its place, which waits for one if it has to. No other call waits.
pub(super) async fn seated(State(places): State<Places>, mut request: Request, next: Next) -> Response {
    let seat =
        async |places: Arc<Semaphore>| places.acquire_owned().await.expect("the semaphore is never closed");
    let (mut longest, mut leaving) = (SHORT_BODY, None);
    match request.uri().path().rsplit('/').next() {
        Some("validate" | "Validate" | "commit" | "Commit") => {
            longest = places.longest_body;
            let place = Place(Arc::new(seat(places.inward).await));
            request.extensions_mut().insert(place);
        }
        Some("candidate" | "Candidate") => leaving = Some(seat(places.outward).await),
        _ => {}
    }
    DefaultBodyLimit::max(longest).apply(&mut request);
    let response = next.run(request.with_limited_body()).await;
    match leaving {
        Some(place) => response.map(|body| Held::until_sent(body, place)),
        None => response,
    }
}
