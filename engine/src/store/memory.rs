//! A store in memory, with the same promise about visibility as the log: nothing is seen before it is synced.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::chain::{BlockView, ChainId, ColumnsRef, Hash, Height, MainBlock, MainHeader, Section};

use crate::merkle::history::History;
use crate::state::Operation;

use super::{
    Base, BlockReader, BlockStore, ChainHead, Operations, ReversibleStore, StoreError, StoredHistory,
};

/// The writing side.
#[derive(Debug, Default)]
pub struct MemoryStore {
    appended: Vec<Arc<MainBlock>>,
    reader: MemoryReader,
}

/// The reading side.
#[derive(Debug, Default, Clone)]
pub struct MemoryReader {
    durable: Arc<RwLock<Durable>>,
}

#[derive(Debug, Default)]
struct Durable {
    base: Arc<Base>,
    /// From the base on.
    blocks: Vec<Arc<MainBlock>>,
    /// Of all blocks, pruned ones included.
    operations: Vec<(Height, Operation)>,
    irreversible: Height,
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

    /// Forgets the blocks below `before`, which must be one of those that are durable.
    pub fn prune(&mut self, before: Height) -> Result<(), StoreError> {
        let (base, head) = (self.reader.base(), self.reader.head());
        if before < base.first || head < before {
            return Err(StoreError::new(format!(
                "before: {before} is no block of this store; expected {} to {head}",
                base.first
            )));
        }
        let history =
            History::load(before.0 - 1, &StoredHistory::new(&self.reader)).map_err(StoreError::new)?;
        let mut heads: BTreeMap<ChainId, ChainHead> =
            base.heads.iter().map(|head| (head.chain, *head)).collect();
        for block in (base.first.0..before.0).filter_map(|height| self.reader.at(Height(height))) {
            heads.extend(block.sections.iter().map(|section| {
                let hash = block.columns.hashes[section.leaves().end - 1];
                (section.chain, ChainHead { chain: section.chain, height: section.last_height(), hash })
            }));
        }
        let heads = heads.into_values().collect();
        let mut durable = self.reader.durable.write().unwrap_or_else(PoisonError::into_inner);
        durable.base = Arc::new(Base { first: before, history, heads });
        durable.blocks.drain(..(before.0 - base.first.0) as usize);
        Ok(())
    }
}

impl BlockStore for MemoryStore {
    fn append(&mut self, block: &MainBlock) -> Result<(), StoreError> {
        self.appended.push(Arc::new(block.clone()));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut durable = self.reader.durable.write().unwrap_or_else(PoisonError::into_inner);
        for block in &self.appended {
            let height = block.header.height;
            durable.operations.extend(block.operations.iter().map(|operation| (height, operation.clone())));
        }
        durable.blocks.append(&mut self.appended);
        Ok(())
    }
}

impl ReversibleStore for MemoryStore {
    fn reversible(&self) -> bool {
        true
    }

    fn irreversible(&self) -> Height {
        self.reader.durable().irreversible
    }

    fn rollback(&mut self, to: Height) -> Result<(), StoreError> {
        self.sync()?;
        let mut durable = self.reader.durable.write().unwrap_or_else(PoisonError::into_inner);
        let least = durable.irreversible.max(durable.base.first.previous());
        let head = Height(durable.base.first.0 - 1 + durable.blocks.len() as u64);
        if to < least || head < to {
            return Err(StoreError::new(format!(
                "to: {to} cannot be the newest block; expected {least} to {head}"
            )));
        }
        let keep = (to.0 + 1 - durable.base.first.0) as usize;
        durable.blocks.truncate(keep);
        durable.operations.retain(|(height, _)| *height <= to);
        Ok(())
    }

    fn set_irreversible(&mut self, height: Height) -> Result<(), StoreError> {
        let mut durable = self.reader.durable.write().unwrap_or_else(PoisonError::into_inner);
        let head = Height(durable.base.first.0 - 1 + durable.blocks.len() as u64);
        if head < height {
            return Err(StoreError::new(format!("height: {height} is above the newest block, {head}")));
        }
        durable.irreversible = durable.irreversible.max(height);
        Ok(())
    }
}

impl MemoryReader {
    fn durable(&self) -> RwLockReadGuard<'_, Durable> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, height: Height) -> Option<Arc<MainBlock>> {
        let durable = self.durable();
        let index = usize::try_from(height.0.checked_sub(durable.base.first.0)?).ok()?;
        durable.blocks.get(index).cloned()
    }

    fn newest_first(&self) -> impl Iterator<Item = Arc<MainBlock>> {
        (self.base().first.0..=self.head().0).rev().filter_map(|height| self.at(Height(height)))
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
        let durable = self.durable();
        Height(durable.base.first.0 - 1 + durable.blocks.len() as u64)
    }

    fn base(&self) -> Arc<Base> {
        Arc::clone(&self.durable().base)
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
        let kept = self.newest_first().find_map(|block| block.find(chain));
        let kept = kept.map(|(_, section)| section.last_height());
        Ok(kept.or_else(|| self.base().head(chain).map(|head| head.height)))
    }

    fn operations(&self) -> Result<Operations, StoreError> {
        Ok(self.durable().operations.as_slice().into())
    }
}
