//! The API of a node: status, blocks and proofs over HTTP. `docs/api.md` describes it for its users.
//!
//! # Architecture invariant
//! It only reads: the log through [`engine::store::BlockReader`], the lanes through their cursors. Nothing that a
//! client sends changes anything or makes the node hold more than a bounded request.

mod aelf;
mod answer;
mod chains;
mod conditional;
mod cors;
mod events;
mod headers;
mod heads;
pub(crate) mod health;
mod metrics;
mod openapi;
pub(crate) mod params;
mod patient;
mod peers;
pub(crate) mod problem;
mod proofs;
mod requests;
mod routes;
mod rpc;
mod server;
pub(crate) mod stats;
mod trace;
mod transactions;
mod views;

pub(crate) use answer::Budget;
pub(crate) use cors::Pages;
pub(crate) use heads::Heads;
pub(crate) use metrics::Scraped;
pub(crate) use requests::Requests;
pub(crate) use routes::{Limits, Node, plain_body, router, side_blocks};
pub(crate) use server::{Config, Server};

#[cfg(test)]
mod tests;
