//! The history tree as it lies in a store.

use std::sync::Arc;

use crate::chain::{BlockView, Hash, Height};
use crate::merkle::{history, leaf};

use super::{Base, BlockReader, StoreError};

/// The nodes of the history tree, read from the blocks of a store and, of those that were pruned, from its base.
///
/// Of the pruned blocks nothing but the base's peaks is ever asked for, as long as the headers to be proven, and
/// the size of a history to be loaded, are not below the base: a left sibling on the way up from leaf `i` that
/// ends at or before leaf `b <= i` has a parent that reaches beyond `i`, so it is a complete subtree of the first
/// `b` leaves whose parent is not, and that is what a peak is (the peaks of a larger history are left siblings
/// of its next leaf); right siblings lie above `i`.
#[derive(Debug)]
pub struct StoredHistory<'a, R> {
    reader: &'a R,
    base: Arc<Base>,
}

/// Why a node of the history cannot be had from a store.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store contradicts itself, or the block was pruned and what is asked for with it.
    #[error("main block {height}: {what}; check the log")]
    Missing {
        /// Which main block should hold the node.
        height: Height,
        /// What is not there.
        what: &'static str,
    },
}

impl<'a, R: BlockReader> StoredHistory<'a, R> {
    /// The history in the store of `reader`, as it is based now.
    pub fn new(reader: &'a R) -> Self {
        Self { reader, base: reader.base() }
    }
}

impl<R: BlockReader> history::Nodes for StoredHistory<'_, R> {
    type Error = HistoryError;

    fn node(&self, level: u32, index: u64) -> Result<Hash, HistoryError> {
        let height = Height((index + 1) << level);
        let missing = |what| HistoryError::Missing { height, what };
        if height < self.base.first {
            return self.base.history.peak(level, index).ok_or(missing("a node of the history was pruned"));
        }
        let block = self.reader.block(height)?.ok_or(missing("it is missing"))?;
        let node = match level.checked_sub(1) {
            None => Some(leaf::history(height, block.header().hash())),
            Some(above) => block.history_nodes().get(above as usize).copied(),
        };
        block.intact()?;
        node.ok_or(missing("a node of the history is missing"))
    }
}
