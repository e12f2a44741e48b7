//! A store in memory, with the same promise about visibility as the log: nothing is seen before it is synced.

use std::sync::{Arc, PoisonError, RwLock};

use crate::chain::{BlockView, ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Section};

use super::{BlockReader, BlockStore, StoreError};

/// The writing side.
#[derive(Debug, Default)]
pub struct MemoryStore {
    appended: Vec<Arc<MainBlock>>,
    reader: MemoryReader,
}

/// The reading side.
#[derive(Debug, Default, Clone)]
pub struct MemoryReader {
    durable: Arc<RwLock<Vec<Arc<MainBlock>>>>,
}

impl MemoryStore {
    /// A store that continues where another one, whose reader is given, was synced last: what a restart sees.
    pub fn reopen(reader: &MemoryReader) -> Self {
        Self { appended: Vec::new(), reader: reader.clone() }
    }

    /// A reader of what is synced.
    pub fn reader(&self) -> MemoryReader {
        self.reader.clone()
    }
}

impl BlockStore for MemoryStore {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.appended.push(Arc::new(block.clone()));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut durable = self.reader.durable.write().unwrap_or_else(PoisonError::into_inner);
        durable.append(&mut self.appended);
        Ok(())
    }
}

impl MemoryReader {
    fn at(&self, height: Height) -> Option<Arc<MainBlock>> {
        let durable = self.durable.read().unwrap_or_else(PoisonError::into_inner);
        durable.get(usize::try_from(height.0.checked_sub(1)?).ok()?).cloned()
    }

    fn newest_first(&self) -> impl Iterator<Item = Arc<MainBlock>> {
        (1..=self.head().0).rev().filter_map(|height| self.at(Height(height)))
    }
}

/// A block of a [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct MemoryBlock(Arc<MainBlock>);

impl BlockView for MemoryBlock {
    fn header(&self) -> MainHeader {
        self.0.header()
    }
    fn section_count(&self) -> usize {
        self.0.section_count()
    }
    fn section(&self, index: usize) -> Section {
        self.0.section(index)
    }
    fn columns(&self) -> ColumnsRef<'_> {
        self.0.columns()
    }
    fn chain_nodes(&self) -> &[Hash] {
        self.0.chain_nodes()
    }
    fn side_nodes(&self) -> &[Hash] {
        self.0.side_nodes()
    }
    fn history_nodes(&self) -> &[Hash] {
        self.0.history_nodes()
    }
}

impl BlockReader for MemoryReader {
    type Block<'a> = MemoryBlock;

    fn head(&self) -> Height {
        Height(self.durable.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn block(&self, height: Height) -> Result<Option<MemoryBlock>, StoreError> {
        Ok(self.at(height).map(MemoryBlock))
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        let holds = |block: &Arc<MainBlock>| {
            block
                .find(chain)
                .is_some_and(|(_, section)| section.first_height <= height && height <= section.last_height())
        };
        Ok(self.newest_first().find(holds).map(|block| block.header.height))
    }

    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        Ok(self.newest_first().find_map(|block| block.find(chain)).map(|(_, section)| section.last_height()))
    }
}
