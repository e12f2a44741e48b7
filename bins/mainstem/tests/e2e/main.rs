//! End-to-end tests: the programs as their users start them.

mod cli;
mod dev;
mod support;
mod verify;
