//! The parts of `tributary` that know side chains: where blocks come from.
#![forbid(unsafe_code)]

pub mod sources;
