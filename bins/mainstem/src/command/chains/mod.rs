//! `mainstem chains` and `mainstem why`: how each side chain is doing, and why.

mod change;
mod list;
mod why;

pub(crate) use list::Chains;
pub(crate) use why::Why;
