//! Checks what Mainstem proves, and nothing else: no network, no disk, no std.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod aelf;
pub mod chain;
#[cfg(feature = "evm")]
pub mod evm;
pub mod leaf;
pub mod proof;
pub mod tree;

pub use chain::{ChainId, Hash, Height, MainHeader};
pub use proof::Document;
