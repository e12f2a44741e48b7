//! What the engine needs of a side chain: a source of irreversible blocks that can be read from any height.

use std::fmt;

use crate::chain::{ChainId, Columns, Hash, Height};
use crate::proof::Transaction;

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

/// A side chain's node, or something that stands for one, that answers questions about single transactions. It is asked
/// on threads of its own, by several at once; calls may block for as long as a request to a node takes.
pub trait Answers: Send + Sync {
    /// Answers one question. What is answered is checked by whoever asked: a [`Answer::Transaction`] has to lead to a
    /// block that the main chain has indexed.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer>;
}

impl fmt::Debug for dyn Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// What a main chain may ask a side chain's node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which block has a transaction, and how the one leads to the other.
    Transaction {
        /// The side chain.
        chain: ChainId,
        /// What the chain knows the transaction by: 1 to [`Question::MAX_ID_BYTES`] bytes.
        id: Vec<u8>,
    },
    /// What the node itself says of a transaction, as JSON in the node's own form.
    Record {
        /// The side chain.
        chain: ChainId,
        /// What the chain knows the transaction by: 1 to [`Question::MAX_ID_BYTES`] bytes.
        id: Vec<u8>,
    },
}

impl Question {
    /// The longest id.
    pub const MAX_ID_BYTES: usize = 64;

    /// The side chain that is asked.
    pub fn chain(&self) -> ChainId {
        match self {
            Self::Transaction { chain, .. } | Self::Record { chain, .. } => *chain,
        }
    }

    /// The transaction that is asked about.
    pub fn id(&self) -> &[u8] {
        match self {
            Self::Transaction { id, .. } | Self::Record { id, .. } => id,
        }
    }
}

/// What a side chain's node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Transaction`].
    Transaction {
        /// Which block has it.
        height: Height,
        /// The way from it to that block.
        part: Transaction,
    },
    /// To [`Question::Record`]: the node's JSON, at most [`Answer::MAX_RECORD_BYTES`] bytes.
    Record(Vec<u8>),
}

impl Answer {
    /// The longest record.
    pub const MAX_RECORD_BYTES: usize = 1 << 20;
}

/// Why there is no answer. Texts are for people, and have at most [`NoAnswer::MAX_TEXT_BYTES`] bytes when they travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The node knows no such transaction.
    #[error("no such transaction")]
    Unknown,
    /// There is such a transaction, but it is in no irreversible block yet, or the node cannot say before later.
    #[error("not yet: {0}")]
    NotYet(String),
    /// This source cannot answer such questions, or not about this chain.
    #[error("this source does not answer such questions")]
    Unsupported,
    /// The node could not be asked, or what it said cannot be.
    #[error("the source failed: {0}")]
    Failed(String),
}

impl NoAnswer {
    /// The longest text that travels.
    pub const MAX_TEXT_BYTES: usize = 512;
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
