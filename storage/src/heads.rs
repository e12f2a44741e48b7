//! The newest indexed blocks of all side chains.

use engine::chain::{ChainId, Height};
use engine::store::{BlockReader, StoreError};

use crate::reader::LogReader;

impl LogReader {
    /// Every side chain with an indexed block, ascending, and the height of its newest one (as
    /// [`BlockReader::chain_head`] gives it). Reads one table of the newest sealed segment.
    pub fn chain_heads(&self) -> Result<Vec<(ChainId, Height)>, StoreError> {
        let base = self.base();
        let mut chains: Vec<ChainId> = base.heads.iter().map(|head| head.chain).collect();
        let sealed = self.shared().look(|index| {
            chains.extend(index.active.chains());
            index.sealed.last().cloned()
        });
        if let Some(sealed) = sealed {
            chains.extend(sealed.sealed()?.chains()?.iter().map(|entry| ChainId(entry.chain.get())));
        }
        chains.sort_unstable();
        chains.dedup();
        let mut heads = Vec::with_capacity(chains.len());
        for chain in chains {
            heads.extend(self.chain_head(chain)?.map(|height| (chain, height)));
        }
        Ok(heads)
    }
}
