//! Server and client over loopback, with a double in place of the engine's sealing and persisting stages.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod by_hand;
mod deaf;
mod every_code;
mod flow;
mod paces;
mod questions;
mod raw;
mod refusals;
mod restart;
mod support;
mod watched;
