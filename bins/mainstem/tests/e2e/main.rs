//! End-to-end tests: the programs as their users start them, over real sockets and files.

mod cli;
mod dev;
mod evm;
mod isolation;
mod kill;
mod support;
mod two_programs;
mod verify;
