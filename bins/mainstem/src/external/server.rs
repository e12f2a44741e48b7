//! Where a driver speaks to this node: gRPC (HTTP/2) and REST (HTTP/1.1 or 2) on one address, with a secret.
//!
//! # Capacity
//! The peer is the operator's own node. Still: so many connections, each with a deadline for whatever it does
//! ([`Patience`]); so many calls at a time that carry blocks, blocks of a bounded size ([`Places`]).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::api::problem::{self, Problem};
use crate::listen::{self, Listener, is_this_machine};

use super::connection::{self, Patience};
use super::places::{Places, seated};
use super::{Driver, grpc, rest};

/// Connections at a time; more wait.
const CONNECTIONS: u32 = 64;

/// Threads that serve.
const THREADS: usize = 2;

/// Threads that hash and write for calls. They exclude each other in the engine: more would only wait there.
const WORKERS: usize = 4;

/// A call waits a minute at most ([`rest::LONGEST_WAIT`]), and has as long for all the rest.
const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(300),
    call: Duration::from_secs(2 * rest::LONGEST_WAIT.as_secs()),
};

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
pub(crate) struct Server(Listener);

impl Server {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address cannot be had, or threads cannot be started.
    pub(crate) fn start(config: &Config, driver: Driver) -> io::Result<Self> {
        let listening = listen::Config {
            addr: config.addr,
            name: "external",
            threads: THREADS,
            // The main chain waits for them.
            nice: 0,
            blocking_threads: WORKERS,
            connections: CONNECTIONS,
        };
        let routes = routes(config, driver);
        let serve = move |stream, stopped| connection::serve(stream, stopped, routes.clone(), PATIENCE);
        Listener::start(listening, serve).map(Self)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// Takes no more calls, lets those in work finish for as long as `grace`, then stops.
    pub(crate) fn stop(self, grace: Duration) {
        self.0.stop(grace);
    }
}

/// Longest body of a call: the longest main block, as text.
fn longest_body(max_leaves: u64) -> usize {
    // A hash and a transaction root are 70 characters each with quotes and comma, a section less than 200.
    longest(max_leaves, 2 * 70 + 200)
}

/// Longest message of gRPC: the longest main block.
fn longest_message(max_leaves: u64) -> usize {
    // A hash and a transaction root are 32 bytes each, a section less than 60.
    longest(max_leaves, 2 * 32 + 60)
}

fn longest(max_leaves: u64, each: usize) -> usize {
    (1 << 20) + usize::try_from(max_leaves).unwrap_or(usize::MAX).saturating_mul(each)
}

fn routes(config: &Config, driver: Driver) -> Router {
    let places = Places::new(longest_body(config.max_leaves));
    let rest = rest::routes(driver.clone()).layer(from_fn(problem::render));
    let grpc = grpc::routes(driver, longest_message(config.max_leaves));
    let mut all = rest.merge(grpc).layer(from_fn_with_state(places, seated));
    all = match &config.token {
        Some(token) => all.layer(from_fn_with_state(Arc::<str>::from(token.as_str()), authorized)),
        None => all.layer(from_fn(local)),
    };
    all
}

/// Without a secret, no call may come by way of a web page that is open on this machine: those say where they come from,
/// or name this machine by a name of their own (DNS rebinding).
async fn local(request: Request, next: Next) -> Response {
    let named = listen::named(request.uri(), request.headers()).ok().flatten();
    if named.is_some_and(is_this_machine) && !request.headers().contains_key(header::ORIGIN) {
        return next.run(request).await;
    }
    refused(
        &request,
        "without a secret (external.token_file) calls name this machine as localhost, 127.0.0.1 or [::1], and come from no web \
         page",
    )
}

async fn authorized(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(shown.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    refused(
        &request,
        "expected the header `authorization: Bearer TOKEN` with what the file external.token_file holds",
    )
}

/// Says that a call has no right to be made, in its protocol.
fn refused(request: &Request, detail: &'static str) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
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
