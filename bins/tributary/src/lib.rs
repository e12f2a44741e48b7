//! The parts of `tributary` that know side chains, and what it keeps of the main chain.
#![forbid(unsafe_code)]

pub mod keep;
pub mod serve;
pub mod sources;
#[cfg(test)]
mod testing;
