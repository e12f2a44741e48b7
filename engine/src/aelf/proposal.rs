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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Hash;
    use crate::merkle::path::Step;

    const SIDE: ChainId = ChainId(7);
    const PARENT: ChainId = ChainId(9);

    fn side(height: u64) -> SideBlockData {
        let (header_hash, status_root) = (Some(Hash([height as u8; 32])), Some(Hash([1; 32])));
        SideBlockData { chain: SIDE, height: Height(height), header_hash, status_root }
    }

    fn parent(height: u64) -> ParentBlockData {
        ParentBlockData {
            chain: PARENT,
            height: Height(height),
            status_root: Some(Hash([2; 32])),
            side_root: Some(Hash([3; 32])),
            paths: [(Height(1), vec![Step { hash: Hash([4; 32]), left: true }])].into(),
            extra_data: [("Consensus".to_owned(), vec![5])].into(),
        }
    }

    fn cache() -> Cache {
        let mut cache = Cache::default();
        cache.register(SIDE, Height(0));
        cache.register(PARENT, Height(0));
        for height in 1..=3 {
            assert!(cache.add(BlockData::Side(side(height))) && cache.add(BlockData::Parent(parent(height))));
        }
        cache
    }

    fn vote(side: &[SideBlockData], parent: &[ParentBlockData]) -> Result<(), ProposalError> {
        validate(side, parent, |_| Height(0), Some((PARENT, Height(0))), &cache())
    }

    #[test]
    fn every_field_is_compared() {
        assert_eq!(vote(&[side(1), side(2)], &[parent(1), parent(2)]), Ok(()));
        let differs = Err(ProposalError::Differs { chain: SIDE, height: Height(1) });
        for header_hash in [None, Some(Hash([9; 32]))] {
            assert_eq!(vote(&[SideBlockData { header_hash, ..side(1) }], &[]), differs);
        }
        for status_root in [None, Some(Hash([9; 32]))] {
            assert_eq!(vote(&[SideBlockData { status_root, ..side(1) }], &[]), differs);
        }
        let differs = Err(ProposalError::Differs { chain: PARENT, height: Height(1) });
        for other in [
            ParentBlockData { chain: SIDE, ..parent(1) },
            ParentBlockData { status_root: None, ..parent(1) },
            ParentBlockData { side_root: None, ..parent(1) },
            ParentBlockData { paths: [].into(), ..parent(1) },
            ParentBlockData { paths: [(Height(1), vec![])].into(), ..parent(1) },
            ParentBlockData { paths: [(Height(2), parent(1).paths[&Height(1)].clone())].into(), ..parent(1) },
            ParentBlockData { extra_data: [].into(), ..parent(1) },
            ParentBlockData { extra_data: [("Consensus".to_owned(), vec![6])].into(), ..parent(1) },
        ] {
            assert_eq!(vote(&[], &[other]), differs);
        }
    }

    #[test]
    fn gaps_repeats_missing_blocks_and_a_parent_that_is_none_are_told_apart() {
        let not_next = |expected, got| {
            Err(ProposalError::NotNext { chain: SIDE, expected: Height(expected), got: Height(got) })
        };
        assert_eq!(vote(&[side(2)], &[]), not_next(1, 2));
        assert_eq!(vote(&[side(1), side(3)], &[]), not_next(2, 3));
        assert_eq!(vote(&[side(1), side(1)], &[]), not_next(2, 1));
        let all: Vec<_> = (1..=4).map(side).collect();
        assert_eq!(vote(&all, &[]), Err(ProposalError::NotCached { chain: SIDE, height: Height(4) }));
        let alone = |parent: &[ParentBlockData]| validate(&[], parent, |_| Height(0), None, &cache());
        assert_eq!(alone(&[parent(1)]), Err(ProposalError::NoParent));
        assert_eq!(alone(&[]), Ok(()));
    }

    #[test]
    fn a_proposal_that_was_too_early_is_judged_anew_when_the_blocks_have_come() {
        let (mut cache, proposed) = (cache(), [side(1), side(2), side(3), side(4)]);
        let vote = |cache: &Cache| validate(&proposed, &[], |_| Height(0), None, cache);
        assert_eq!(vote(&cache), Err(ProposalError::NotCached { chain: SIDE, height: Height(4) }));
        assert!(cache.add(BlockData::Side(side(4))));
        assert_eq!(vote(&cache), Ok(()));
    }
}
