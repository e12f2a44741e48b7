//! What the engine needs of a side chain: a source of irreversible blocks that can be read from any height.

use crate::chain::{ChainId, Columns, Hash, Height};

/// A side chain's node, or something that stands for one. One source may serve many chains. It is read by one
/// thread; calls may block for as long as a request to a node takes.
pub trait Source: Send {
    /// The chains it serves, each once.
    fn chains(&self) -> Vec<ChainId>;

    /// Says where the main chain stands: the next block wanted has height `next` and must follow the block
    /// whose hash is `parent` (`None` before the first block that the main chain wants). Called before the
    /// first [`Source::read`] of a chain and again after every reconnection, when `next` may be lower than
    /// what was read already.
    fn resume(&mut self, chain: ChainId, next: Height, parent: Option<Hash>) -> Result<(), SourceError>;

    /// Appends up to `max` consecutive blocks that follow what was read last, and says which block they follow.
    /// Appends nothing when no more blocks are irreversible yet.
    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError>;

    /// Says that another node of the chain speaks for it, and that the main chain has received the blocks up to
    /// `received`. Nothing has to be done about it, and nothing is read until [`Source::resume`] is called again.
    fn stand_by(&mut self, _chain: ChainId, _received: Height) {}

    /// The newest irreversible height that there is now; `None` where that is not known. Asked at most once a second
    /// for each chain, also while another node speaks for it: it must be cheap (a node may be asked, once), and it
    /// must change nothing of what [`Source::read`] gives next.
    ///
    /// # Errors
    /// It could not be found out, this time. What a source says here stops no chain.
    fn tip(&mut self, _chain: ChainId) -> Result<Option<Height>, SourceError> {
        Ok(None)
    }
}

/// Why a source cannot go on with a chain.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The node may answer later: ask again.
    #[error("{0}")]
    Later(String),
    /// The side chain and what the main chain already has went different ways.
    #[error(
        "chain {chain}: reorganised below what was sent: height {height} is {ours} here and {theirs} on the main chain"
    )]
    Fork {
        /// Which chain.
        chain: ChainId,
        /// The height at which they differ.
        height: Height,
        /// The hash that the side chain has now.
        ours: Hash,
        /// The hash that the main chain has received.
        theirs: Hash,
    },
    /// It will not get better by asking again.
    #[error("{0}")]
    Fatal(String),
}
