//! [`Walk`]: which main blocks to look at.

use engine::chain::{BlockView, ChainId, Height};
use engine::store::BlockReader;
use storage::LogReader;

use super::super::heights::first_from;

/// The main blocks of a range, ascending. If only some chains are wanted, it goes from one main block that holds
/// blocks of them to the next by the index, which reads nothing of those between.
pub(super) struct Walk<'a> {
    reader: &'a LogReader,
    next: Height,
    to: Height,
    /// Of each wanted chain the lowest side block that may lie in `next` or later. `None`: go through all.
    cursors: Option<Vec<(ChainId, Height)>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(reader: &'a LogReader, chains: &[ChainId], from: Height, to: Height) -> Self {
        let cursor = |&chain: &ChainId| first_from(reader, chain, from).map(|height| (chain, height));
        let cursors = if chains.is_empty() { None } else { chains.iter().map(cursor).collect() };
        Self { reader, next: from, to, cursors }
    }

    pub(super) fn next(&mut self) -> Option<Height> {
        let height = if let Some(found) = self.jump() {
            found?
        } else {
            // The index is damaged, or there is no need for one: every block is looked at from here on.
            self.cursors = None;
            self.next
        };
        (height <= self.to).then(|| {
            self.next = height.next();
            height
        })
    }

    /// The next main block that holds blocks of the wanted chains, if there is any. `None` if the index cannot say.
    #[allow(clippy::option_option, reason = "one is what the index says, the other whether it can")]
    fn jump(&mut self) -> Option<Option<Height>> {
        let mut nearest: Option<Height> = None;
        for (chain, cursor) in self.cursors.as_mut()? {
            let main = loop {
                match self.reader.locate(*chain, *cursor).ok()? {
                    // All blocks of the chain in one main block follow each other.
                    Some(main) if main < self.next => {
                        let (_, section) = self.reader.block(main).ok()??.find(*chain)?;
                        *cursor = section.last_height().next();
                    }
                    found => break found,
                }
            };
            nearest = [nearest, main].into_iter().flatten().min();
        }
        Some(nearest)
    }
}
