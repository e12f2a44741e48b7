//! Whether a node votes for proposed blocks: they are the next ones, and field by field those that it has itself
//! (`CrossChainIndexingDataValidationService.cs`). Looking changes nothing.
//!
//! AElf looks once: a node whose cache was behind then never votes. Whoever calls this may look again later.

use std::collections::BTreeMap;

use crate::chain::{ChainId, Height};

use super::cache::Cache;
use super::data::{BlockData, ParentBlockData, SideBlockData};

/// Why a node does not vote for a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposalError {
    /// Not the next height.
    #[error("block {got} of chain {chain} is proposed where block {expected} is the next one")]
    NotNext {
        /// Whose block.
        chain: ChainId,
        /// Which would be next.
        expected: Height,
        /// Which is proposed.
        got: Height,
    },
    /// The node does not have this block.
    #[error("block {height} of chain {chain} is not here yet, so it cannot be compared")]
    NotCached {
        /// Whose block.
        chain: ChainId,
        /// Which.
        height: Height,
    },
    /// The node has another block at this height.
    #[error("block {height} of chain {chain} is not the one that is here")]
    Differs {
        /// Whose block.
        chain: ChainId,
        /// Which.
        height: Height,
    },
    /// Blocks of a parent chain, and there is none.
    #[error("blocks of a parent chain are proposed to a chain that has none")]
    NoParent,
}

/// Looks at proposed blocks in a state where each side chain is indexed up to `indexed` (0 if it cannot be told), and the
/// parent chain, if there is one, up to the height beside it.
///
/// # Errors
/// The first block that is wrong, side chains before the parent.
pub fn validate(
    side: &[SideBlockData],
    parent: &[ParentBlockData],
    indexed: impl Fn(ChainId) -> Height,
    parent_indexed: Option<(ChainId, Height)>,
    cache: &Cache,
) -> Result<(), ProposalError> {
    let mut heads = BTreeMap::new();
    for block in side {
        let head = heads.entry(block.chain).or_insert_with(|| indexed(block.chain));
        is_next(block.chain, head, block.height)?;
        is_ours(block.chain, block.height, cache, |ours| ours.side() == Some(block))?;
    }
    let Some((chain, mut head)) = parent_indexed else {
        return if parent.is_empty() { Ok(()) } else { Err(ProposalError::NoParent) };
    };
    for block in parent {
        is_next(chain, &mut head, block.height)?;
        is_ours(chain, block.height, cache, |ours| ours.parent() == Some(block))?;
    }
    Ok(())
}

fn is_next(chain: ChainId, head: &mut Height, got: Height) -> Result<(), ProposalError> {
    let expected = Height(head.0.saturating_add(1));
    *head = expected;
    if got == expected { Ok(()) } else { Err(ProposalError::NotNext { chain, expected, got }) }
}

fn is_ours(
    chain: ChainId,
    height: Height,
    cache: &Cache,
    same: impl Fn(&BlockData) -> bool,
) -> Result<(), ProposalError> {
    match cache.take(chain, height) {
        None => Err(ProposalError::NotCached { chain, height }),
        Some(ours) if same(ours) => Ok(()),
        Some(_) => Err(ProposalError::Differs { chain, height }),
    }
}
