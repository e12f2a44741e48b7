//! Who is given the main chain's blocks.

use std::fmt;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;

use super::Contradiction;

/// Takes the main chain's blocks. All is called on one thread, which may block: while it does, the main chain waits
/// with what comes next, and nothing else.
///
/// An error of a sink ends the stream of blocks, not the connection; it begins again after a pause, with
/// [`MainSink::next`].
pub trait MainSink: fmt::Debug + Send + Sync + 'static {
    /// Says which main chain it is, for each connection anew, before anything else of it is asked or given.
    ///
    /// # Errors
    /// The sink has to do with another one: the connection is ended, and why is told as something that lasts.
    fn meet(&self, _main_chain: ChainId, _genesis_hash: Hash) -> Result<(), String> {
        Ok(())
    }

    /// The main height that is wanted next; `None`: from the block after the newest one on.
    fn next(&self) -> Option<Height>;

    /// The header of the block before [`MainSink::next`], if the sink has it: the next one must follow it.
    fn newest(&self) -> Option<MainHeader> {
        None
    }

    /// The newest height of a chain that the sink knows to be indexed: what comes must be above it.
    fn indexed(&self, _chain: ChainId) -> Option<Height> {
        None
    }

    /// Takes a block that was verified, in order of height.
    ///
    /// # Errors
    /// It cannot be kept, for people.
    fn take(&self, block: FollowedBlock) -> Result<(), String>;

    /// Makes durable what was taken: called when no more blocks wait, and while they do, some ten times a second.
    ///
    /// # Errors
    /// It cannot be kept, for people.
    fn settle(&self) -> Result<(), String> {
        Ok(())
    }

    /// Says that the main chain contradicts itself: evidence, to be kept.
    fn contradicted(&self, _contradiction: &Contradiction) {}
}

/// A main block, as far as it concerns the chains of this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedBlock {
    /// Its header.
    pub header: MainHeader,
    /// What it has of each chain, ascending by chain, verified against the header.
    pub chains: Vec<ChainProof>,
}
