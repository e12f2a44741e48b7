//! What a producer puts into the block that it makes on top of another: one system transaction, which proposes new blocks
//! of other chains or releases those that were approved, and the header's extra data
//! (`CrossChainIndexingDataService.cs`, `CrossChainBlockExtraDataProvider.cs`).

use crate::chain::{ChainId, Hash, Height, Timestamp};

use super::cache::Cache;
use super::data::{BlockData, ParentBlockData, SideBlockData};
use super::{BATCH, extra_data, server};

/// Milliseconds for which a proposal that was not approved still stands in the way of a new one after it expired, for the
/// block that is made now may be earlier than it seems.
pub const EXPIRY_MARGIN_MS: u64 = 500;

/// Milliseconds that a proposal lives.
pub const PROPOSAL_LIFETIME_MS: u64 = 120_000;

/// What the contract says in the state that the block is made on, and what the node knows of its own chain.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Height of the block that is made.
    pub height: Height,
    /// Whether it takes transactions.
    pub takes_transactions: bool,
    /// Its time.
    pub now: Timestamp,
    /// Newest irreversible block of the own chain.
    pub lib: Height,
    /// The side chains, in the contract's order.
    pub sides: &'a [SideState],
    /// The parent chain and how far it is indexed, if there is one.
    pub parent: Option<(ChainId, Height)>,
    /// Proposals, at most one a chain.
    pub pending: &'a [Pending],
}

/// How far a side chain is indexed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SideState {
    /// The chain.
    pub chain: ChainId,
    /// Newest indexed height; 0 if none is.
    pub indexed: Height,
    /// The same at the newest irreversible block; 0 also if that cannot be told.
    pub indexed_at_lib: Height,
}

/// A proposal that waits for votes or for its release.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Whose blocks.
    pub chain: ChainId,
    /// Whether it has all the votes that it needs.
    pub approved: bool,
    /// When it ends. Of a proposal that is gone there is no time (anyone may remove one that has ended): it has ended.
    pub expires: Option<Timestamp>,
    /// The blocks, of a side chain.
    pub side: Vec<SideBlockData>,
    /// The blocks, of the parent chain.
    pub parent: Vec<ParentBlockData>,
}

impl Pending {
    /// Whether it can be released in a block of time `now`.
    pub fn is_releasable(&self, now: Timestamp) -> bool {
        self.approved && self.expires.is_some_and(|expires| expires > now)
    }

    /// Whether nothing new of its chain is proposed in a block of time `now`.
    fn stands_in_the_way(&self, now: Timestamp) -> bool {
        let ends = |expires: Timestamp| expires.as_millis().saturating_add(EXPIRY_MARGIN_MS);
        !self.approved && self.expires.is_some_and(|expires| ends(expires) > now.as_millis())
    }
}

/// Whether a block of time `now` has extra data: there is something to release.
pub fn needs_extra_data(pending: &[Pending], now: Timestamp) -> bool {
    pending.iter().any(|pending| pending.is_releasable(now))
}

/// What goes into the block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prepared {
    /// The transaction, if there is one.
    pub transaction: Option<SystemTransaction>,
    /// The header's value under [`extra_data::KEY`].
    pub extra_data: Vec<u8>,
}

/// The system transaction of a block: there is never more than one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SystemTransaction {
    /// `ProposeCrossChainIndexing`
    Propose {
        /// Blocks of side chains, chain by chain.
        side: Vec<SideBlockData>,
        /// Blocks of the parent chain.
        parent: Vec<ParentBlockData>,
    },
    /// `ReleaseCrossChainIndexingProposal`
    Release {
        /// The chains.
        chains: Vec<ChainId>,
    },
}

/// What goes into the block of `view`. Nothing is taken out of the cache.
pub fn prepare(view: &View<'_>, cache: &Cache) -> Prepared {
    if view.height <= Height(1) || !view.takes_transactions {
        return Prepared::default();
    }
    if needs_extra_data(view.pending, view.now) {
        return release(view);
    }
    let blocked = |chain: ChainId| {
        view.pending.iter().any(|pending| pending.chain == chain && pending.stands_in_the_way(view.now))
    };
    let free = view.sides.iter().filter(|side| !blocked(side.chain));
    let side: Vec<_> = free.flat_map(|side| new_side_blocks(side, cache)).cloned().collect();
    let parent = view.parent.filter(|(chain, _)| server::has_irreversible(view.lib) && !blocked(*chain));
    let parent: Vec<_> = parent
        .map(|(chain, indexed)| {
            waiting(cache, chain, indexed).map_while(BlockData::parent).cloned().collect()
        })
        .unwrap_or_default();
    let transaction =
        (!side.is_empty() || !parent.is_empty()).then_some(SystemTransaction::Propose { side, parent });
    Prepared { transaction, extra_data: Vec::new() }
}

/// Releases all that can be; nothing is proposed beside it.
fn release(view: &View<'_>) -> Prepared {
    let releasable = view.pending.iter().filter(|pending| pending.is_releasable(view.now));
    let (mut chains, mut roots) = (Vec::new(), Vec::new());
    for pending in releasable {
        chains.push(pending.chain);
        // A block without a root never came into a cache; AElf would fail on it.
        roots.extend(pending.side.iter().map(|block| block.status_root.unwrap_or(Hash::ZERO)));
    }
    Prepared {
        transaction: Some(SystemTransaction::Release { chains }),
        extra_data: extra_data::of_status_roots(&roots),
    }
}

/// The blocks of a side chain that are proposed next: up to 256; of a chain that is not indexed yet its first one alone,
/// and only once 256 more are cached behind it; then none until that one is irreversible.
pub fn new_side_blocks<'a>(
    side: &SideState,
    cache: &'a Cache,
) -> impl Iterator<Item = &'a SideBlockData> + use<'a> {
    let more = side.indexed_at_lib > Height(0);
    let first = !more && side.indexed == Height(0);
    let first = first.then(|| cache.take_limited(side.chain, Height(1))).flatten();
    let more = more.then(|| waiting(cache, side.chain, side.indexed)).into_iter().flatten();
    first.into_iter().chain(more).map_while(BlockData::side)
}

/// Up to 256 cached blocks from the one after `indexed` on, to the first that is missing.
fn waiting(cache: &Cache, chain: ChainId, indexed: Height) -> impl Iterator<Item = &BlockData> + use<'_> {
    (1..=BATCH).map_while(move |more| cache.take(chain, Height(indexed.0.saturating_add(more))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn block(chain: u32, height: u64) -> SideBlockData {
        let root = Hash([chain as u8; 32]);
        SideBlockData {
            chain: ChainId(chain),
            height: Height(height),
            header_hash: None,
            status_root: Some(root),
        }
    }

    /// Chains 1 and 2, of which blocks 2 to 5 are cached, and 1 is indexed.
    fn cache() -> Cache {
        let mut cache = Cache::default();
        for chain in [1, 2] {
            cache.register(ChainId(chain), Height(1));
            (2..=5).for_each(|height| assert!(cache.add(BlockData::Side(block(chain, height)))));
        }
        cache
    }

    fn pending(chain: u32, approved: bool, expires: Option<u64>) -> Pending {
        let expires = expires.map(Timestamp::from_millis);
        Pending { chain: ChainId(chain), approved, expires, side: vec![block(chain, 2)], parent: Vec::new() }
    }

    fn prepared(pending: &[Pending]) -> Prepared {
        let side = |chain| SideState { chain, indexed: Height(1), indexed_at_lib: Height(1) };
        let view = View {
            height: Height(50),
            takes_transactions: true,
            now: Timestamp::from_millis(NOW),
            lib: Height(40),
            sides: &[side(ChainId(1)), side(ChainId(2))],
            parent: None,
            pending,
        };
        prepare(&view, &cache())
    }

    fn proposed_chains(pending: &[Pending]) -> Vec<u32> {
        match prepared(pending).transaction {
            Some(SystemTransaction::Propose { side, .. }) => {
                let mut chains: Vec<_> = side.iter().map(|block| block.chain.0).collect();
                chains.dedup();
                chains
            }
            None => Vec::new(),
            Some(SystemTransaction::Release { .. }) => panic!("nothing can be released"),
        }
    }

    #[test]
    fn a_chain_is_proposed_again_half_a_second_after_its_proposal_ended_and_at_once_if_it_is_gone() {
        assert_eq!(proposed_chains(&[]), [1, 2]);
        assert_eq!(proposed_chains(&[pending(1, false, Some(NOW + 1))]), [2]);
        assert_eq!(proposed_chains(&[pending(1, false, Some(NOW - EXPIRY_MARGIN_MS + 1))]), [2]);
        assert_eq!(proposed_chains(&[pending(1, false, Some(NOW - EXPIRY_MARGIN_MS))]), [1, 2]);
        assert_eq!(proposed_chains(&[pending(1, true, Some(NOW))]), [1, 2], "approved, and too late");
        assert_eq!(proposed_chains(&[pending(1, false, None), pending(2, true, None)]), [1, 2]);
        let both = [pending(1, false, Some(NOW + 1)), pending(2, false, Some(NOW + 1))];
        assert_eq!(prepared(&both), Prepared::default());
    }

    #[test]
    fn nothing_is_proposed_beside_a_release_and_only_what_is_approved_is_released_in_order() {
        let later = Some(NOW + 1);
        let both = prepared(&[pending(2, true, later), pending(1, true, later)]);
        assert_eq!(
            both.transaction,
            Some(SystemTransaction::Release { chains: vec![ChainId(2), ChainId(1)] })
        );
        assert_eq!(both.extra_data, extra_data::of_status_roots(&[Hash([2; 32]), Hash([1; 32])]));
        let one = prepared(&[pending(2, false, later), pending(1, true, later)]);
        assert_eq!(one.transaction, Some(SystemTransaction::Release { chains: vec![ChainId(1)] }));
        assert_eq!(one.extra_data, extra_data::of_status_roots(&[Hash([1; 32])]));
    }
}
