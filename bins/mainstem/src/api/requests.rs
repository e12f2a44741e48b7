//! How many requests there were, by route and status, and how long their answers took.
//!
//! # Capacity
//! One entry a route and status that occurred, 200 B each; routes are those of the router, whatever paths are asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::metrics::BUCKETS;
use crate::otel;

/// Requests that were answered since the start. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(
    Arc<Mutex<BTreeMap<Key, u64>>>,
    Arc<Mutex<BTreeMap<String, Took>>>,
    otel::Requests,
);

/// Route and status.
type Key = (String, u16);

/// How long the answers of a route took until they began.
#[derive(Clone, Debug, Default)]
pub(super) struct Took {
    /// How many were at most so long as a bucket's bound, and longer than the one before; the last one is of all others.
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    /// Of all together, in seconds.
    pub(super) seconds: f64,
}

impl Requests {
    /// Requests that are traced as well.
    pub(crate) fn traced(traced: otel::Requests) -> Self {
        Self(Arc::default(), Arc::default(), traced)
    }

    fn record(&self, route: &str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        *lock(&self.0).entry((route.to_owned(), status)).or_default() += 1;
        let mut routes = lock(&self.1);
        let route = routes.entry(route.to_owned()).or_default();
        route.buckets[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
        route.seconds += seconds;
    }

    /// Requests by route and status.
    pub(super) fn counts(&self) -> Vec<(Key, u64)> {
        lock(&self.0).iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// How long answers took, by route.
    pub(super) fn took(&self) -> Vec<(String, Took)> {
        lock(&self.1).iter().map(|(route, took)| (route.clone(), took.clone())).collect()
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The layer that counts. Those who ask for what is no route are one of them, `none`.
pub(super) async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (begun, method) = (Instant::now(), request.method().clone());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    requests.record(route, status, took);
    requests.2.answered(&method, route, status, took);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status_with_their_times() {
        let requests = Requests::default();
        for (status, ms) in [(200, 1), (200, 3), (404, 20_000)] {
            requests.record("/v1/status", status, Duration::from_millis(ms));
        }
        assert_eq!(
            requests.counts(),
            [(("/v1/status".to_owned(), 200), 2), (("/v1/status".to_owned(), 404), 1)]
        );
        let took = &requests.took()[0].1;
        assert_eq!((took.buckets.iter().sum::<u64>(), took.buckets[BUCKETS.len()]), (3, 1));
        assert!((took.seconds - 20.004).abs() < 1e-9);
    }
}
