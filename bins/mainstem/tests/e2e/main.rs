//! End-to-end tests: the programs as their users start them, over real sockets and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aelf;
mod bench;
mod cli;
mod client;
mod dev;
mod evm;
mod explain;
mod export;
mod external;
mod inspect;
mod isolation;
mod keys;
mod kill;
mod levels;
mod life;
mod otel;
mod packaging;
mod peers;
mod profile;
mod proofs;
mod prune;
mod quarantine;
mod repair;
mod replay;
mod solidity;
mod support;
mod top;
mod transactions;
mod two_programs;
mod verify;
mod why;
