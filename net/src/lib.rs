//! Everything of Mainstem that touches a socket.
//!
//! Side-chain nodes send their irreversible blocks to a main chain over QUIC. From the wire inwards:
//!
//! ```text
//! reactor    one thread, one UDP socket or several, quinn's tasks and ours; no runtime but this one
//! identity   who speaks: ed25519 node keys, pinned in the TLS handshake
//! endpoint   a QUIC endpoint of a reactor with our limits: what a peer can make us hold
//! frame      the bytes of blocks: containers of many chains' sections, checked before they are used
//! control    hello, welcome, credits, acks, refusals, main headers
//! question   what a main chain asks of a side chain's node, and the answers
//! server     sessions of the main chain: frames -> lanes of the engine
//! client     sessions of a side chain's node: batches -> frames
//! probe      bare QUIC and UDP: the limits that the others are measured against
//! ```
//!
//! # Architecture invariant
//! Nothing here is async beyond the lanes: a session pushes whole sections into `engine` and goes on. No state is
//! shared between reactors but the engine's own, and no bytes of a peer are used before they are checked.
#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod endpoint;
pub mod frame;
pub mod identity;
pub mod probe;
pub mod question;
pub mod reactor;
pub mod server;
