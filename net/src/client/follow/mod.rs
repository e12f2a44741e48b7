//! The other way round: the main chain's blocks, as they become durable, for whoever wants to verify what happened
//! on other chains.
//!
//! ```text
//!   link: stream of main blocks ──orders, bounded──> follower (a thread of its own): verify -> MainSink
//!           ^ begins anew after a failure                │ what cannot be, what went wrong
//!           └────────────────────────────────────────────┘
//! ```
//!
//! # Capacity
//! Blocks that wait for the sink hold at most [`ROOM`] chains and headers together. Behind them the stream is not
//! read on, and QUIC's flow control stops the server.

mod feed;
mod sink;
mod verify;
mod worker;

pub use sink::{FollowedBlock, MainSink};
pub use verify::Contradiction;

pub(super) use feed::{Session, follow};
pub(super) use worker::{Feed, start};

use crate::control::MAX_CHAINS;

/// One for each header and one for each chain of a block: the largest block fits in, alone. With paths of 14 siblings,
/// as 16,384 chains have them, that is 9 MB.
const ROOM: usize = 1 + MAX_CHAINS;

#[cfg(test)]
mod tests;
