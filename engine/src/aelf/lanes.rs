//! AElf's selection over our lanes: how many blocks of a chain go into the next main block, with the setting
//! `seal.rules = "aelf"`.

use super::BATCH;

/// What a main chain has of a side chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indexed {
    /// No block.
    Nothing,
    /// Blocks, none of which is irreversible: with us, durable.
    Reversible,
    /// Blocks, the first of which is irreversible.
    Irreversible,
}

/// How many of the `waiting` blocks of a chain go into the next main block: 256 at most; of a chain that is not indexed
/// yet its first one alone, and only once 256 more wait behind it; then none until that one is irreversible.
pub const fn places(indexed: Indexed, waiting: u64) -> u64 {
    match indexed {
        Indexed::Nothing => (waiting > BATCH) as u64,
        Indexed::Reversible => 0,
        Indexed::Irreversible if waiting > BATCH => BATCH,
        Indexed::Irreversible => waiting,
    }
}
