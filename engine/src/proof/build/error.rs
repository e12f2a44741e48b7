//! Why there is no proof.

use crate::chain::{ChainId, Height};
use crate::store::{HistoryError, StoreError};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The side block is not indexed, or not yet.
    #[error("chain {chain}: height {height} is not indexed{}", newest_of(*.newest))]
    NotIndexed {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The newest height of the chain that is.
        newest: Option<Height>,
    },
    /// The main block that indexed the side block was pruned.
    #[error(
        "chain {chain}: height {height} was indexed by a main block before {first}, and those were pruned from this log; ask an archive, or a node that keeps them"
    )]
    Pruned {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The oldest main block that is kept.
        first: Height,
    },
    /// The asked-for head is not a durable block above or at the newest one that is proven.
    #[error(
        "head: {head} is not a main block from {indexed_in}, the newest one that is proven, to {newest}, the newest"
    )]
    NoSuchHead {
        /// What was asked for.
        head: Height,
        /// The main block, or the newest of those, that is proven.
        indexed_in: Height,
        /// The newest main block.
        newest: Height,
    },
    /// There is no main block of this height yet.
    #[error("{field}: main block {height} does not exist yet; the newest is {newest}")]
    NoSuchBlock {
        /// What was asked for: `main`, `from` or `to`.
        field: &'static str,
        /// Which main block.
        height: Height,
        /// The newest one.
        newest: Height,
    },
    /// The main block was pruned.
    #[error(
        "{field}: main block {height} was pruned from this log, which begins with {first}; ask an archive, or a node that keeps it"
    )]
    PrunedBlock {
        /// What was asked for: `main`, `from` or `to`.
        field: &'static str,
        /// Which main block.
        height: Height,
        /// The oldest main block that is kept.
        first: Height,
    },
    /// A consistency proof leads from an earlier header to a later one, or to itself.
    #[error("from: {from} is above to, which is {to}; history only grows")]
    Order {
        /// What was asked for as the earlier one.
        from: Height,
        /// What was asked for as the later one.
        to: Height,
    },
    /// No block was named, or too many were.
    #[error("{got} blocks; a proof is of 1 to {most}")]
    Count {
        /// How many.
        got: usize,
        /// The most that there may be.
        most: usize,
    },
    /// The proof would be longer than verifiers take.
    #[error("the proof would be longer than {most} bytes; ask for fewer blocks at once")]
    TooLong {
        /// The most bytes that a proof may have.
        most: usize,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The store contradicts itself.
    #[error("main block {height}: {what}; check the log")]
    Inconsistent {
        /// Which main block.
        height: Height,
        /// What is wrong.
        what: &'static str,
    },
}

fn newest_of(height: Option<Height>) -> String {
    height.map_or_else(|| " (no block of this chain is yet)".into(), |height| format!(" (newest: {height})"))
}
