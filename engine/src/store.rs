//! What the engine needs of a disk. The `storage` package implements it on an append-only log;
//! [`memory::MemoryStore`] serves tests and simulation.

mod base;
mod history;
pub mod memory;

use std::error::Error;
use std::sync::{Arc, OnceLock};

use crate::chain::{BlockView, ChainId, Height, MainBlock};
use crate::state::Operation;

pub use base::{Base, ChainHead};
pub use history::{HistoryError, StoredHistory};

/// Why a store could not do as asked. After an error from [`BlockStore::append`] or [`BlockStore::sync`] the
/// store takes no more: it must be opened anew.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn Error + Send + Sync>);

impl StoreError {
    /// Wraps the store's own error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The store's own error, if it is of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

/// The error by which the store of a running engine has failed, once it has.
pub type StoreFailure = Arc<OnceLock<StoreError>>;

/// Operations with the heights of their main blocks, in order.
pub type Operations = Arc<[(Height, Operation)]>;

/// The writing side: one owner, the persist stage.
pub trait BlockStore: Send {
    /// Appends the block after the last appended one. It is neither durable nor visible to readers yet. Its operations
    /// are kept for good, even when the block is pruned.
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError>;

    /// Makes everything appended durable, then visible to readers. An error is final: no retry.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// The writing side of a store whose newest blocks can be taken back, as a main chain that is driven from outside
/// needs it: its forks replace blocks that are durable already.
pub trait ReversibleStore: BlockStore {
    /// Whether durable blocks can be taken back at all. A store stays what it was made as.
    fn reversible(&self) -> bool;

    /// The block up to which nothing can be taken back; 0 before any was said to be so.
    fn irreversible(&self) -> Height;

    /// Takes back all blocks above `to`, which is at least the irreversible one; durable when it returns. An error
    /// is final, like that of [`BlockStore::sync`].
    fn rollback(&mut self, to: Height) -> Result<(), StoreError>;

    /// Says that the durable block `height` and all before it will never be taken back; durable when it returns.
    /// Lower than what was said before, it changes nothing. An error is final.
    fn set_irreversible(&mut self, height: Height) -> Result<(), StoreError>;
}

/// The reading side: cheap to clone, used from any thread, sees durable blocks only.
///
/// A store may prune its oldest blocks while it is read, but never all of them. It moves [`BlockReader::base`]
/// first: whoever misses a block that was there can see by the base that it was pruned.
pub trait BlockReader: Clone + Send + Sync + 'static {
    /// A block where it lies.
    type Block<'a>: BlockView
    where
        Self: 'a;

    /// Height of the newest durable block; 0 of an empty store.
    fn head(&self) -> Height;

    /// Where the store begins.
    fn base(&self) -> Arc<Base> {
        Base::whole()
    }

    /// The block at `height`; `None` above the head, below the base, or at 0.
    fn block(&self, height: Height) -> Result<Option<Self::Block<'_>>, StoreError>;

    /// The main block that indexed this side block; `None` if none has yet, or if it was pruned.
    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError>;

    /// The newest indexed height of a side chain, also when that block was pruned; `None` if none is indexed.
    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError>;

    /// The operations of all durable main blocks, also of those that were pruned.
    fn operations(&self) -> Result<Operations, StoreError>;
}
