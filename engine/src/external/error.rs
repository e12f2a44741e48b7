//! Why something was not done.

use crate::chain::{ChainId, Hash, Height};
use crate::pipeline::{ConfigError, ResumeError};
use crate::store::StoreError;

use super::Verdict;

/// Why a driver's wish was refused. All but [`ExternalError::Failed`] leave everything as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExternalError {
    /// Not a committed block from the irreversible one to the head.
    #[error("parent: {parent} is no block from {irreversible}, which is irreversible, to {head}, the head")]
    UnknownParent {
        /// What was asked for.
        parent: Hash,
        /// The lowest block that may be a parent.
        irreversible: Height,
        /// The highest.
        head: Height,
    },
    /// A limit that cannot be.
    #[error("{key}: {value} is out of range: expected 1 to {most}")]
    Limit {
        /// Which field of [`super::Limits`].
        key: &'static str,
        /// What it says.
        value: u64,
        /// The highest value.
        most: u64,
    },
    /// Every side block that was received is in this branch, or may not be taken now.
    #[error("no side block waits for a main block on top of {parent}")]
    NothingWaits {
        /// The parent.
        parent: Hash,
    },
    /// Only what follows the head can be committed; a fork begins with a rollback.
    #[error(
        "header.parent: {parent} is not the head; expected {head} (height {height}), or a rollback first"
    )]
    NotOnHead {
        /// The block's parent.
        parent: Hash,
        /// The newest committed block.
        head: Hash,
        /// Its height.
        height: Height,
    },
    /// The block is not valid, or cannot be judged yet.
    #[error(transparent)]
    NotValid(Verdict),
    /// More blocks that may be taken back than are kept track of.
    #[error("{most} main blocks above the irreversible one wait to be finalized, and no more are taken")]
    TooDeep {
        /// [`super::ExternalConfig::max_reversible`].
        most: u64,
    },
    /// The height is not one of the committed blocks that may be named here.
    #[error("height: {height} is out of range: expected {first} to {last}")]
    NoSuchBlock {
        /// What was asked for.
        height: Height,
        /// The lowest that may be named.
        first: Height,
        /// The highest.
        last: Height,
    },
    /// The store has failed, now or before, or the engine has. Nothing more is done, and the process should end.
    #[error("{cause}")]
    Failed {
        /// What happened first.
        cause: String,
    },
}

/// Why the external mode cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store does not fit the genesis document, or cannot be read.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// Durable blocks of the store cannot be taken back.
    #[error(
        "blocks of this log are final as soon as they are durable; external mode needs a log made for it"
    )]
    NotReversible,
    /// The store contradicts itself.
    #[error("main block {height}: {what}; check the log")]
    Contradiction {
        /// Which block.
        height: Height,
        /// What does not fit.
        what: &'static str,
    },
    /// The lanes do not hold what may still be taken back.
    #[error(
        "lane_blocks: {lane_blocks} is too few: chain {chain} has {needed} blocks above the irreversible main block"
    )]
    LaneTooSmall {
        /// Which chain.
        chain: ChainId,
        /// How many of its blocks may be taken back.
        needed: u64,
        /// [`crate::pipeline::PipelineConfig::lane_blocks`].
        lane_blocks: usize,
    },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Resume(error.into())
    }
}
