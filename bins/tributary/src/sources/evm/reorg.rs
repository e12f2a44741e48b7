//! Whether the node still has what was sent, and where the two ways part if not.

use engine::chain::{Hash, Height};
use engine::source::SourceError;

use super::EvmSource;

impl EvmSource {
    /// Checks that the node still has the block that was read last.
    pub(super) fn check_last(&mut self) -> Result<(), SourceError> {
        let Some((height, hash)) = self.recent.last() else { return Ok(()) };
        match self.block(height)? {
            Some(block) if block.hash == hash => Ok(()),
            Some(block) => Err(self.fork(height, block.hash)),
            // It went back, or it is another node behind the same address. What it does have must agree.
            None => match self.newest_differing(height)? {
                Some((height, ours)) => Err(self.fork(height, ours)),
                None => Err(self.later(
                    "eth_getBlockByNumber",
                    Some(height),
                    "null: the main chain has this block, the node has not: it is still syncing, or was set back",
                )),
            },
        }
    }

    /// The newest of the recent blocks below `height` at which the node has another block.
    fn newest_differing(&mut self, height: u64) -> Result<Option<(u64, Hash)>, SourceError> {
        let mut low = self.recent.first().map_or(height, |(first, _)| first);
        let mut high = height;
        let mut newest = None;
        // The newest block that the node has at all.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block(middle)? {
                Some(block) => {
                    newest = Some(block);
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        Ok(newest
            .filter(|block| self.recent.get(block.number).is_some_and(|hash| hash != block.hash))
            .map(|block| (block.number, block.hash)))
    }

    /// The two ways part at `height`, where the node has `ours`, or below: finds the lowest height, as far as
    /// hashes were kept.
    fn fork(&mut self, height: u64, ours: Hash) -> SourceError {
        let mut found = (height, ours);
        let mut low = self.recent.first().map_or(height, |(first, _)| first);
        while low < found.0 {
            let middle = low + (found.0 - low) / 2;
            match self.block(middle) {
                Ok(Some(block)) if self.recent.get(middle).is_some_and(|hash| hash != block.hash) => {
                    found = (middle, block.hash);
                }
                Ok(_) => low = middle + 1,
                // The fork is certain; where it begins is a courtesy.
                Err(_) => break,
            }
        }
        let theirs = self.recent.get(found.0).unwrap_or_default();
        if self.recent.first().is_some_and(|(first, _)| first == found.0) {
            tracing::error!(height = found.0, "the fork may begin below: no older hashes were kept");
        }
        SourceError::Fork { chain: self.config.chain, height: Height(found.0), ours: found.1, theirs }
    }
}
