//! Watches every chain and every stage, and says why a chain is behind.
//!
//! ```text
//!   cursors of the lanes ──┐
//!   sessions, refusals  ───┼─> watch thread ──> judge ──> board ──> API, commands, metrics, dashboard
//!   stages of the engine ──┘        │                       └────> log, `Board::subscribe`
//!                                   └─> remedies: ask again, hang up, bar, quarantine
//! ```
//!
//! One thread looks four times a second at the cursors of the lanes, which is four loads a chain, and judges those that
//! have moved; once a second it also looks at the sessions and judges all. Those who receive, seal and store do nothing
//! for it. A turn over 10,000 chains takes 5 ms in a build without optimizations on a busy machine, whether they move or
//! not (a test of `watch::board` prints it): that is the most it costs, four times a second.
//!
//! # Memory
//! Some 600 B a chain, and for each up to 64 changes of status, 8 of them with their words: less than 4 KiB more.

mod board;
mod contradictions;
mod judge;
mod row;
mod stages;
mod tell;
mod thread;
mod why;
mod words;

pub(crate) use board::{Board, Changed, Filter, Shown, Tallies, Worst};
pub(crate) use thread::{Parts, Watching, check};
