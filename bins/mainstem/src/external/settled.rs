//! The log as others see it: up to the block that will never be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::chain::{BlockView, ChainId, Height};
use engine::pipeline::{Head, HeadSink};
use engine::store::{Base, BlockReader, StoreError};

/// A reader that sees no block that may still be taken back: what it serves, proofs above all, holds for ever.
#[derive(Clone, Debug)]
pub(crate) struct Settled<R> {
    reader: R,
    irreversible: Arc<AtomicU64>,
}

/// Tells a [`Settled`] of blocks that will never be taken back.
#[derive(Debug)]
pub(crate) struct Announced(Arc<AtomicU64>);

impl<R: BlockReader> Settled<R> {
    /// Of a log whose durable blocks are final.
    pub(crate) fn whole(reader: R) -> Self {
        Self { reader, irreversible: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Of a log that may be taken back to `irreversible`.
    pub(crate) fn up_to(reader: R, irreversible: Height) -> (Self, Announced) {
        let shared = Arc::new(AtomicU64::new(irreversible.0));
        (Self { reader, irreversible: Arc::clone(&shared) }, Announced(shared))
    }

    fn sees(&self, height: Height) -> bool {
        height.0 <= self.irreversible.load(Ordering::Acquire)
    }
}

impl HeadSink for Announced {
    fn publish(&mut self, head: &Head) {
        // Release: whoever sees the height sees the block, which the store has published before.
        self.0.store(head.header.height.0, Ordering::Release);
    }
}

impl<R: BlockReader> BlockReader for Settled<R> {
    type Block<'a> = R::Block<'a>;

    fn head(&self) -> Height {
        // Acquire: pairs with `Announced::publish`.
        let irreversible = Height(self.irreversible.load(Ordering::Acquire));
        self.reader.head().min(irreversible)
    }

    fn base(&self) -> Arc<Base> {
        self.reader.base()
    }

    fn block(&self, height: Height) -> Result<Option<Self::Block<'_>>, StoreError> {
        if self.sees(height) { self.reader.block(height) } else { Ok(None) }
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        Ok(self.reader.locate(chain, height)?.filter(|main| self.sees(*main)))
    }

    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        let mut newest = self.reader.chain_head(chain)?;
        // Down over the sections that may be taken back; none when durable blocks are final.
        while let Some(height) = newest {
            let Some(main) = self.reader.locate(chain, height)?.filter(|main| !self.sees(*main)) else {
                break;
            };
            let Some(block) = self.reader.block(main)? else { break };
            let first = block.find(chain).map(|(_, section)| section.first_height);
            block.intact()?;
            // The block before it, if that is indexed.
            let before = first.map(Height::previous).filter(|before| before.0 > 0 && *before < height);
            newest = match before {
                Some(before) if self.is_indexed(chain, before)? => Some(before),
                _ => None,
            };
        }
        Ok(newest)
    }
}

impl<R: BlockReader> Settled<R> {
    fn is_indexed(&self, chain: ChainId, height: Height) -> Result<bool, StoreError> {
        let pruned = || self.reader.base().head(chain).is_some_and(|head| head.height >= height);
        Ok(self.reader.locate(chain, height)?.is_some() || pruned())
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::{Hash, MainBlock, Section, Timestamp};
    use engine::store::BlockStore;
    use engine::store::memory::MemoryStore;

    use super::*;

    /// Main blocks 1 to 4, each with two blocks of chain 7, from height 5 on.
    fn store() -> MemoryStore {
        let mut store = MemoryStore::default();
        for height in 1..=4_u64 {
            let mut block: MainBlock = engine::pipeline::Sealer::blank();
            block.header.height = Height(height);
            for hash in [Hash([height as u8; 32]), Hash([height as u8 + 100; 32])] {
                block.columns.push(hash, hash, Timestamp::default());
            }
            block.sections.push(Section {
                chain: ChainId(7),
                count: 2,
                first_height: Height(3 + 2 * height),
                parent: Hash::ZERO,
                chain_root: Hash::ZERO,
                first_leaf: 0,
                first_node: 0,
            });
            store.append(&block).unwrap();
        }
        store.sync().unwrap();
        store
    }

    #[test]
    fn what_may_be_taken_back_is_not_there_and_comes_when_it_is_irreversible() {
        let (reader, mut announced) = Settled::up_to(store().reader(), Height(0));
        assert_eq!((reader.head(), reader.chain_head(ChainId(7)).unwrap()), (Height(0), None));
        assert!(reader.block(Height(1)).unwrap().is_none());
        for height in 1..=4 {
            let mut head = Head { header: engine::pipeline::Sealer::blank().header, hash: Hash::ZERO };
            head.header.height = Height(height);
            announced.publish(&head);
            assert_eq!(reader.head(), Height(height));
            assert_eq!(reader.chain_head(ChainId(7)).unwrap(), Some(Height(4 + 2 * height)));
            assert!(reader.block(Height(height)).unwrap().is_some());
            assert!(reader.block(Height(height + 1)).unwrap().is_none());
            assert_eq!(reader.locate(ChainId(7), Height(4 + 2 * height)).unwrap(), Some(Height(height)));
            assert_eq!(reader.locate(ChainId(7), Height(5 + 2 * height)).unwrap(), None);
        }
        let whole = Settled::whole(store().reader());
        assert_eq!((whole.head(), whole.chain_head(ChainId(7)).unwrap()), (Height(4), Some(Height(12))));
    }
}
