//! Recordings: what a running node took in and when, and what it made of it, so that the same can be made of it again
//! elsewhere. `docs/replay.md` describes the file and its use.
//!
//! ```text
//!   ingest ── frames ──> tap (bounded) ──> recorder ──> file ──> replay: lanes ──> sealer ──> the same headers?
//!   log ──── main blocks ─────────────────────^
//! ```

mod format;
mod recorder;
mod replay;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use recorder::{Recorder, Report, Wanted};
pub(crate) use replay::{Outcome, Replay, Sealed, Speed};
