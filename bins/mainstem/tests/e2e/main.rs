//! End-to-end tests: the programs as their users start them, over real sockets and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod cli;
mod dev;
mod evm;
mod explain;
mod export;
mod inspect;
mod isolation;
mod keys;
mod kill;
mod peers;
mod profile;
mod prune;
mod repair;
mod support;
mod two_programs;
mod verify;
