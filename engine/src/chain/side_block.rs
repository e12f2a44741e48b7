//! A side chain's block as the main chain sees it, alone and in columns.

use serde::{Deserialize, Serialize};

use super::{Hash, Height, Timestamp};

/// An irreversible block of a side chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SideBlock {
    /// Height in the side chain.
    pub height: Height,
    /// The side chain's own block hash.
    pub hash: Hash,
    /// The root that the side chain's transaction proofs end in (AElf: transaction status root; EVM: receipts
    /// root).
    pub tx_root: Hash,
    /// The side chain's own block time.
    pub time: Timestamp,
}

/// Consecutive blocks, column by column, the heights implied: 72 bytes a block, the layout of frames on the
/// wire and of records on disk.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Columns {
    /// Block hashes.
    pub hashes: Vec<Hash>,
    /// Transaction roots.
    pub tx_roots: Vec<Hash>,
    /// Block times.
    pub times: Vec<Timestamp>,
}

impl Columns {
    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Appends one block.
    pub fn push(&mut self, hash: Hash, tx_root: Hash, time: Timestamp) {
        self.hashes.push(hash);
        self.tx_roots.push(tx_root);
        self.times.push(time);
    }

    /// Forgets the blocks and keeps the memory.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.tx_roots.clear();
        self.times.clear();
    }

    /// The columns, borrowed.
    pub fn as_ref(&self) -> ColumnsRef<'_> {
        ColumnsRef { hashes: &self.hashes, tx_roots: &self.tx_roots, times: &self.times }
    }
}

/// Columns where they lie: in a frame, in a map, in memory. The three have one length.
#[derive(Clone, Copy, Debug)]
pub struct ColumnsRef<'a> {
    /// Block hashes.
    pub hashes: &'a [Hash],
    /// Transaction roots.
    pub tx_roots: &'a [Hash],
    /// Block times.
    pub times: &'a [Timestamp],
}

impl ColumnsRef<'_> {
    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The blocks from `from` on.
    #[must_use]
    pub fn skip(self, from: usize) -> Self {
        self.slice(from, self.len())
    }

    /// The blocks `from..to`.
    #[must_use]
    pub fn slice(self, from: usize, to: usize) -> Self {
        Self {
            hashes: &self.hashes[from..to],
            tx_roots: &self.tx_roots[from..to],
            times: &self.times[from..to],
        }
    }
}
