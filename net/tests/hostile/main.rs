//! Peers that mean harm, or are badly broken, against a running server with an honest node beside them.
//!
//! Each test says what the peer is answered, and ends by [`scene::Scene::calm`]: no task of the server panicked, the
//! honest chain went on all the time and goes on, every session, window and buffer of the peer was given back, and the
//! counts of the server agree with each other. What it costs in throughput and delay is measured in `perf`, not here.
//!
//! | what the peer does | test |
//! |---|---|
//! | random bytes over UDP; real packets cut and changed; other versions of QUIC | [`datagrams`] |
//! | QUIC that is authentic, with frames that are not allowed or broken | [`packets`] |
//! | every field of a frame or a message out of range; lengths that promise gigabytes | [`fields`] |
//! | slow at each stage: handshake, hello, message, frame header, frame; a byte at a time | [`slow`] |
//! | floods of streams, connections, handshakes, resets, resumes, leaves, tips, follows | [`floods`] |
//! | streams half closed, stopped or reset at each stage | [`streams`] |
//! | chains of others, chains not in the hello, replays, gaps, equivocation | [`chains`] |
//! | answers questions too long, never, wrongly, or not to the end | [`answers`] |
//! | never reads acks, never acknowledges packets, leaves gaps for ever | [`deaf`] |
//! | holds as much memory as it can | [`memory`] |
//! | certificates and handshakes with a fault | `tests/certificates` |
//! | a speaker that dies without a word | `tests/network/outages.rs` |
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[path = "../wire/by_hand.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod by_hand;
#[path = "../wire/support.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

mod answers;
mod chains;
mod datagrams;
mod deaf;
mod fields;
mod floods;
mod memory;
mod packets;
mod scene;
mod slow;
mod stack;
mod streams;
