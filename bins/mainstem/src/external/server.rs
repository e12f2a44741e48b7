//! Where a driver speaks to this node: gRPC (HTTP/2) and REST (HTTP/1.1 or 2) on one address, with a secret.
//!
//! # Capacity
//! The peer is the operator's own node. Still: so many connections, so many calls at a time that carry blocks, blocks of a
//! bounded size.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api::problem::{self, Problem};

use super::{Driver, grpc, rest};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 64;

/// Threads that serve.
const THREADS: usize = 2;

/// Threads that hash and write for calls. They exclude each other in the engine: more would only wait there.
const WORKERS: usize = 4;

/// Calls that carry a block, at a time; more wait.
const CALLS: usize = 8;

/// Time for the head of a request to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How it listens.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where.
    pub addr: SocketAddr,
    /// What every call has to show, as `authorization: Bearer ..`.
    pub token: Option<String>,
    /// Side blocks that a main block has at most: bounds a call's body.
    pub max_leaves: u64,
}

/// The server, while it runs.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    slots: Arc<Semaphore>,
}

impl Server {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address cannot be had, or threads cannot be started.
    pub(crate) fn start(config: &Config, driver: Driver) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(WORKERS)
            .thread_name("external")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(config.addr))?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        runtime.spawn(accept(listener, routes(config, driver), Arc::clone(&slots), stopped));
        Ok(Self { addr, runtime, stop, slots })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more calls, lets those in work finish for as long as `grace`, then stops.
    pub(crate) fn stop(self, grace: Duration) {
        // Nobody listens when the accept loop has ended, and then there is nothing to tell.
        let _ = self.stop.send(true);
        let all_closed = self.slots.acquire_many(CONNECTIONS as u32);
        let _ = self.runtime.block_on(async { tokio::time::timeout(grace, all_closed).await });
        self.runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

/// Longest body of a call: the longest main block, as text.
pub(super) fn longest_body(max_leaves: u64) -> usize {
    // A hash and a transaction root are 70 characters each with quotes and comma, a section less than 200.
    (1 << 20) + usize::try_from(max_leaves).unwrap_or(usize::MAX).saturating_mul(2 * 70 + 200)
}

fn routes(config: &Config, driver: Driver) -> Router {
    let longest = longest_body(config.max_leaves);
    let calls = Arc::new(Semaphore::new(CALLS));
    let rest = rest::routes(driver.clone(), longest).layer(from_fn(problem::render));
    let mut all = rest.merge(grpc::routes(driver, longest)).layer(from_fn_with_state(calls, one_of_few));
    if let Some(token) = &config.token {
        all = all.layer(from_fn_with_state(Arc::<str>::from(token.as_str()), authorized));
    }
    all
}

/// Lets so many calls with a body in at a time. What only asks passes, or a long wait would hold others up.
async fn one_of_few(State(calls): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let waits =
        request.uri().path().ends_with("/WatchVerdicts") || request.method() == axum::http::Method::GET;
    if waits {
        return next.run(request).await;
    }
    let _place = calls.acquire().await.expect("the semaphore is never closed");
    next.run(request).await
}

async fn authorized(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(shown.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    let detail =
        "expected the header `authorization: Bearer TOKEN` with what the file external.token_file holds";
    if request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    {
        return tonic::Status::unauthenticated(detail).into_http::<axum::body::Body>();
    }
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The call has no right to be made", detail);
    problem.render(request.uri()).into_response()
}

/// Whether two texts are the same, in a time that tells nothing of how much of them is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

async fn accept(
    listener: TcpListener,
    routes: Router,
    slots: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, slot, routes.clone(), stopped.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a driver's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    routes: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(64)
        .max_header_list_size(64 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    // An error here is the driver's: it went away.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_and_nothing_else() {
        assert!(same(b"secret", b"secret"));
        for other in ["", "secre", "secrets", "Secret"] {
            assert!(!same(other.as_bytes(), b"secret"), "{other}");
        }
    }
}
