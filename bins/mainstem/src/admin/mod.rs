//! What changes a running node: chains that are added, paused, resumed and removed, the configuration that is read again,
//! snapshots.
//!
//! The routes are HTTP under `/v1/admin/`, twice: on the Unix socket `admin.sock` of the data directory, which only the
//! user who runs the node (and root) can open; and on the API's address for whoever shows the secret of
//! `api.admin_token_file`. Each change is logged with who asked for it.
//!
//! # Capacity
//! 16 connections of the socket, 64 KiB of a request, 4 changes at a time, and beside them a snapshot and a recording: whoever
//! comes then is refused.

mod actions;
mod client;
mod error;
mod jobs;
mod paused;
mod routes;
mod secret;
mod socket;
mod who;

pub(crate) use actions::{Actions, Applied};
pub(crate) use client::{Client, ClientError};
pub(crate) use error::AdminError;
pub(crate) use paused::{Held, PausedError, PausedFile};
pub(crate) use routes::Admin;
pub(crate) use secret::{Secret, SecretError};
pub(crate) use socket::{Socket, SocketError};
pub(crate) use who::Who;

#[cfg(test)]
mod tests;
