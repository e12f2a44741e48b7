//! The cache: blocks of other chains on their way into proposals (`ChainCacheEntity`, `CrossChainCacheEntityService.cs`).
//!
//! Each chain's blocks come strictly by height, 1,024 at most; taking one does not remove it, for it may be wanted again
//! on another fork. What the chain has indexed for good is cleared. In memory only, and nothing links the blocks.

use std::collections::BTreeMap;

use crate::chain::{ChainId, Height};

use super::data::BlockData;
use super::{BATCH, CACHE_BLOCKS};

/// The caches of all chains.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    chains: BTreeMap<ChainId, ChainCache>,
    synced: bool,
}

/// A chain that was never registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("chain {chain} has no cache: expected a chain that the contract knew when it was last looked at")]
pub struct UnknownChain {
    /// The chain.
    pub chain: ChainId,
}

impl Cache {
    /// Adds a chain of which the next height wanted is `target`. False, and nothing changes, if it is there already.
    pub fn insert(&mut self, chain: ChainId, target: Height) -> bool {
        let new = !self.chains.contains_key(&chain);
        if new {
            self.chains.insert(chain, ChainCache::new(chain, target));
        }
        new
    }

    /// Adds a chain that is indexed up to `indexed`, if it is not there already.
    pub fn register(&mut self, chain: ChainId, indexed: Height) -> bool {
        self.insert(chain, after(indexed))
    }

    /// How many chains there are.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// The cache of one chain.
    pub fn chain(&self, chain: ChainId) -> Option<&ChainCache> {
        self.chains.get(&chain)
    }

    /// Which height of a chain is wanted next; `None` while its cache is full (AElf says -1).
    pub fn target(&self, chain: ChainId) -> Result<Option<Height>, UnknownChain> {
        Ok(self.chain(chain).ok_or(UnknownChain { chain })?.target())
    }

    /// Takes a block in, if it is the next one of its chain. False, and nothing changes, if not.
    pub fn add(&mut self, block: BlockData) -> bool {
        self.chains.get_mut(&block.chain()).is_some_and(|chain| chain.add(block))
    }

    /// A block, which stays there.
    pub fn take(&self, chain: ChainId, height: Height) -> Option<&BlockData> {
        self.chain(chain)?.take(height)
    }

    /// A block that is followed by enough others: see [`ChainCache::take_limited`].
    pub fn take_limited(&self, chain: ChainId, height: Height) -> Option<&BlockData> {
        self.chain(chain)?.take_limited(height)
    }

    /// Removes what a chain has up to `height`.
    pub fn clear(&mut self, chain: ChainId, height: Height) {
        if let Some(chain) = self.chains.get_mut(&chain) {
            chain.clear(height);
        }
    }

    /// The node has caught up with its own chain: chains and how far each is indexed, as the contract has them at the
    /// newest irreversible block, are registered, and from now on proposals are voted on.
    pub fn finish_initial_sync(&mut self, indexed: &BTreeMap<ChainId, Height>) {
        self.synced = true;
        for (&chain, &height) in indexed {
            self.register(chain, height);
        }
    }

    /// The same with each block of the own chain, above its first, that has become irreversible: what is indexed there
    /// is not wanted again. Nothing before the initial sync has ended.
    pub fn update(&mut self, indexed: &BTreeMap<ChainId, Height>) {
        if self.synced {
            for (&chain, &height) in indexed {
                self.register(chain, height);
                self.clear(chain, height);
            }
        }
    }

    /// Whether proposals are still ignored, since the initial sync has not ended (`CrossChainDataValidationIgnored`).
    pub const fn ignores_proposals(&self) -> bool {
        !self.synced
    }
}

/// The cache of one chain.
#[derive(Clone, Debug)]
pub struct ChainCache {
    chain: ChainId,
    /// Without gaps, up to the one below `target`.
    blocks: BTreeMap<Height, BlockData>,
    target: Height,
}

impl ChainCache {
    /// An empty one, of which `target` is wanted next.
    pub const fn new(chain: ChainId, target: Height) -> Self {
        Self { chain, blocks: BTreeMap::new(), target }
    }

    /// Which height is wanted next; `None` while it is full.
    pub fn target(&self) -> Option<Height> {
        (self.blocks.len() < CACHE_BLOCKS).then_some(self.target)
    }

    /// Takes a block in, if it is the next one, of this chain, and has a status root. False, and nothing changes, if not.
    pub fn add(&mut self, block: BlockData) -> bool {
        let height = block.height();
        let wanted = self.target() == Some(height)
            && (Height(1)..=Height::MAX).contains(&height)
            && block.chain() == self.chain
            && block.status_root().is_some();
        if wanted {
            self.blocks.insert(height, block);
            self.target = height.next();
        }
        wanted
    }

    /// The block at `height`, which stays there.
    pub fn take(&self, height: Height) -> Option<&BlockData> {
        self.blocks.get(&height)
    }

    /// The block at `height`, if those up to 256 above it are there or were: so that a chain which is registered and does
    /// not run yet is not indexed.
    pub fn take_limited(&self, height: Height) -> Option<&BlockData> {
        let enough = self.target.previous().0 >= height.0.saturating_add(BATCH);
        self.take(height).filter(|_| enough)
    }

    /// Removes all up to `height`. If nothing is left, the next height wanted is the one after it: ahead of what was
    /// wanted, or behind it.
    pub fn clear(&mut self, height: Height) {
        self.blocks = self.blocks.split_off(&after(height));
        if self.blocks.is_empty() {
            self.target = after(height);
        }
    }
}

fn after(height: Height) -> Height {
    Height(height.0.saturating_add(1))
}
