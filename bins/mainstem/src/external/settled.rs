//! The log as others see it: up to the block that will never be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::chain::{ChainId, Height};
use engine::pipeline::{Head, HeadSink};
use engine::store::{Base, BlockReader, Operations, StoreError};

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

    fn operations(&self) -> Result<Operations, StoreError> {
        let operations = self.reader.operations()?;
        // As a rule all of them, so nothing is copied.
        if operations.last().is_none_or(|(height, _)| self.sees(*height)) {
            return Ok(operations);
        }
        Ok(operations.iter().filter(|(height, _)| self.sees(*height)).cloned().collect())
    }

    fn block(&self, height: Height) -> Result<Option<Self::Block<'_>>, StoreError> {
        if self.sees(height) { self.reader.block(height) } else { Ok(None) }
    }

    fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
        Ok(self.reader.locate(chain, height)?.filter(|main| self.sees(*main)))
    }

    fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
        for _ in 0..TRIES {
            let Some(newest) = self.reader.chain_head(chain)? else { return Ok(None) };
            if self.is_settled(chain, newest)? {
                return Ok(Some(newest));
            }
            // A chain's heights stand in the log in their order: halve the way to the first that may be taken back.
            let (mut low, mut high) = (0, newest.0);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if self.is_reversible(chain, Height(middle))? {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            if low > 0 && self.is_settled(chain, Height(low))? {
                return Ok(Some(Height(low)));
            }
            // Nothing before the first that may be taken back, unless that was taken back while it was looked for: what
            // was not there any more looked like what is below the chain's first height.
            if self.is_reversible(chain, Height(high))? {
                return Ok(None);
            }
        }
        // Taken back again and again: what was pruned is not.
        Ok(self.reader.base().head(chain).map(|head| head.height))
    }
}

impl<R: BlockReader> Settled<R> {
    /// Whether the height is in the log, and may be taken back.
    fn is_reversible(&self, chain: ChainId, height: Height) -> Result<bool, StoreError> {
        Ok(self.reader.locate(chain, height)?.is_some_and(|main| !self.sees(main)))
    }

    /// Whether the height was indexed, and will never be taken back.
    fn is_settled(&self, chain: ChainId, height: Height) -> Result<bool, StoreError> {
        let pruned = || self.reader.base().head(chain).is_some_and(|head| head.height >= height);
        Ok(self.reader.locate(chain, height)?.is_some_and(|main| self.sees(main)) || pruned())
    }
}

/// How often a chain's head is looked for anew because blocks were taken back meanwhile.
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use engine::chain::{Hash, MainBlock, Section, Timestamp};
    use engine::store::BlockStore;
    use engine::store::memory::MemoryStore;

    use super::*;

    /// Main blocks 1 to 4, each with two blocks of chain 7, from height 5 on.
    fn store() -> MemoryStore {
        of(4)
    }

    /// As many main blocks.
    fn of(blocks: u64) -> MemoryStore {
        let mut store = MemoryStore::default();
        for height in 1..=blocks {
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

    /// A log that is taken back to main block 1 when its chain head has been looked up.
    #[derive(Clone)]
    struct TakenBack<R> {
        before: R,
        after: R,
        back: Arc<AtomicU64>,
    }

    impl<R: BlockReader> TakenBack<R> {
        fn now(&self) -> &R {
            if self.back.load(Ordering::SeqCst) == 0 { &self.before } else { &self.after }
        }
    }

    impl<R: BlockReader> BlockReader for TakenBack<R> {
        type Block<'a> = R::Block<'a>;

        fn head(&self) -> Height {
            self.now().head()
        }

        fn base(&self) -> Arc<Base> {
            self.now().base()
        }

        fn operations(&self) -> Result<Operations, StoreError> {
            self.now().operations()
        }

        fn block(&self, height: Height) -> Result<Option<Self::Block<'_>>, StoreError> {
            self.now().block(height)
        }

        fn locate(&self, chain: ChainId, height: Height) -> Result<Option<Height>, StoreError> {
            self.now().locate(chain, height)
        }

        fn chain_head(&self, chain: ChainId) -> Result<Option<Height>, StoreError> {
            let head = self.now().chain_head(chain);
            self.back.store(1, Ordering::SeqCst);
            head
        }
    }

    #[test]
    fn a_height_that_is_taken_back_while_it_is_looked_for_is_not_told() {
        for (irreversible, head) in [(0, None), (1, Some(Height(6)))] {
            let (before, after) = (of(4).reader(), of(1).reader());
            let (reader, _announced) =
                Settled::up_to(TakenBack { before, after, back: Arc::default() }, Height(irreversible));
            assert_eq!(reader.chain_head(ChainId(7)).unwrap(), head, "{irreversible}");
        }
    }

    #[test]
    fn a_chain_that_has_only_what_may_be_taken_back_has_no_head() {
        for (blocks, irreversible) in [(1, 0), (4, 0), (40, 0)] {
            let (reader, _announced) = Settled::up_to(of(blocks).reader(), Height(irreversible));
            assert_eq!(reader.chain_head(ChainId(7)).unwrap(), None);
            assert_eq!(reader.chain_head(ChainId(8)).unwrap(), None);
        }
        let (reader, _announced) = Settled::up_to(of(40).reader(), Height(17));
        assert_eq!(reader.chain_head(ChainId(7)).unwrap(), Some(Height(4 + 2 * 17)));
    }
}
