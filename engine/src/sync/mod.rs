//! The lock-free parts, written against a facade that is `std` in a build and loom in a model check
//! (`RUSTFLAGS="--cfg loom"`, package `loom-tests`). Public because a model check stands outside the crate.
//!
//! One of the two homes of `unsafe` in the workspace; the other is `storage::map`.

mod doorbell;
mod facade;
pub mod ring;

pub use doorbell::{Doorbell, Waiter};
