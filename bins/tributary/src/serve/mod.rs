//! What is kept, served to the side chain's own node over HTTP. `docs/tributary.md` describes it for its users.
//!
//! # Architecture invariant
//! It only reads. Nothing that is asked changes anything or makes the program hold more than a bounded request.
//!
//! # Capacity
//! At most `MAX_CONNECTIONS` connections, one request each; a request has at most `MAX_BODY_BYTES` and is answered
//! within `TIMEOUT`, or `MAX_WAIT` later where it waits for a block, which at
//! most `MAX_WAITING` do at once. An answer has at most `MAX_PAGE` items.

mod params;
mod problem;
mod routes;
mod server;
mod views;

pub use routes::Serving;
pub use server::Server;

use std::time::Duration;

/// Each may hold a page of some 1 MB that its reader does not take.
const MAX_CONNECTIONS: usize = 64;
/// Requests that wait for a height at once: fewer, so that those that do not wait find a connection.
const MAX_WAITING: usize = 32;
const MAX_BODY_BYTES: usize = 256 << 10;
const MAX_PAGE: usize = 1_000;
/// Items in one answer, unless asked for more or fewer.
const PAGE: usize = 100;
/// Time for a request to arrive, and to be answered.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a request may wait for a block to be indexed.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
