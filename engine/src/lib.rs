//! The chain logic of Mainstem: what a main chain does with the irreversible blocks of its side chains.
//!
//! Blocks flow one way: [`lane`] (cache of one chain) -> [`quorum`] (what is final) -> [`pipeline`] (seal, make
//! durable, publish) -> [`proof`] (show it to an outsider). Where another chain's node decides on main blocks, [`external`]
//! takes the pipeline's place. [`state`] is the deterministic state machine of
//! the main chain, [`merkle`] its trees, [`chain`] its types, [`store`] what it needs of a disk.
//!
//! # Architecture invariant
//! No socket, no file, no clock, no randomness, no async: time and storage are arguments ([`clock::Clock`],
//! [`store::BlockStore`]), so the engine can be model-checked, simulated and replayed.

pub mod aelf;
pub mod cache;
pub mod chain;
pub mod clock;
pub mod external;
pub mod lane;
pub mod merkle;
pub mod pipeline;
pub mod proof;
pub mod quorum;
pub mod sha256;
pub mod sim;
pub mod source;
pub mod state;
pub mod store;
pub mod sync;
