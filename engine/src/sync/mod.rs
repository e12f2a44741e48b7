//! The lock-free parts, written against a facade that is `std` in a build, loom in a model check and shuttle in a random
//! one (`RUSTFLAGS="--cfg loom"` or `"--cfg shuttle"`, package `loom-tests`). Public because a model check stands
//! outside the crate.
//!
//! | part | from | to |
//! |---|---|---|
//! | [`ring`] | one producer | one consumer (which many threads may help to read), one releaser |
//! | [`handover()`] | one sender | one receiver; each waits for the other |
//! | [`published()`] | one publisher | any number of readers |
//! | [`Doorbell`] | any number of ringers | one waiter |
//! | [`Stop`] | anyone, once | any number of stages |
//!
//! One of the few homes of `unsafe` in the workspace.

mod doorbell;
pub(crate) mod facade;
mod handover;
mod park;
mod published;
pub mod ring;
mod stop;

pub use doorbell::{Doorbell, Waiter};
pub use handover::{Depth, Receiver, RecvTimeout, Sender, handover};
pub use published::{Published, Publisher, WordArray, Words, published};
pub use stop::Stop;
