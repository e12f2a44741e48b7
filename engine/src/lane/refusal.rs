//! Why a lane takes no block, or no speaker.

use crate::chain::{ChainId, Hash, Height, NodeKey};

/// Why a section, or a claim, was refused. The peer's fault, always: it never stops another session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The key is not registered for the chain.
    #[error(
        "chain {chain}: key {key} is not registered for it; the operator must add it to the genesis document"
    )]
    UnknownKey {
        /// Which chain.
        chain: ChainId,
        /// Whose key.
        key: NodeKey,
    },
    /// Another session speaks for the chain.
    #[error("chain {chain}: this session does not speak for it (another one of its nodes does)")]
    NotSpeaker {
        /// Which chain.
        chain: ChainId,
    },
    /// The chain is not registered any more. One that was registered again has a lane of its own: look it up anew.
    #[error("chain {chain} was removed from this main chain; the operator must register it again")]
    Removed {
        /// Which chain.
        chain: ChainId,
    },
    /// Not the next height.
    #[error("chain {chain}: height {got} is not the next one; expected {expected}")]
    WrongHeight {
        /// Which chain.
        chain: ChainId,
        /// The next height.
        expected: Height,
        /// What the section starts with.
        got: Height,
    },
    /// Not linked to the block before.
    #[error(
        "chain {chain}: the block at height {height} names parent {got}; expected {expected}, the block received before it"
    )]
    WrongParent {
        /// Which chain.
        chain: ChainId,
        /// Height of the block whose parent is wrong.
        height: Height,
        /// Hash of the block received before.
        expected: Hash,
        /// What the section says.
        got: Hash,
    },
    /// Two hashes for one height: evidence of equivocation.
    #[error("chain {chain}: height {height} was received as {have} and now comes as {got}")]
    Conflict {
        /// Which chain.
        chain: ChainId,
        /// Which height.
        height: Height,
        /// The hash received first, which stands.
        have: Hash,
        /// The other one.
        got: Hash,
    },
    /// Above the limit that the sender was given.
    #[error("chain {chain}: height {got} is above the limit {limit} that was granted")]
    AboveLimit {
        /// Which chain.
        chain: ChainId,
        /// Highest height that may be sent.
        limit: Height,
        /// Last height of the section.
        got: Height,
    },
}
