//! AElf's cache of one chain and ours side by side: a lane of as many blocks does with the same operations the same.
//!
//! What is indexed for good is cleared there, and released here. Two things have no counterpart: a lane never asks for a
//! height that it has received, and never leaves one out. Where the cache does, having been cleared below or above all
//! that it holds, a new lane begins, as after a restart.

use std::sync::Arc;
use std::time::Duration;

use engine::aelf::CACHE_BLOCKS;
use engine::aelf::cache::ChainCache;
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Lane, LaneEnds, SessionId};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::Doorbell;
use mainstem_engine as engine;
use proptest::prelude::*;

use crate::cache::block;

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

/// A cache with its lane.
pub(crate) struct Twins {
    chain: ChainId,
    pub(crate) cache: ChainCache,
    /// None below height 1, where there is no lane.
    lane: Option<(Arc<Lane>, LaneEnds)>,
}

impl Twins {
    pub(crate) fn new(chain: ChainId, target: Height) -> Self {
        Self { chain, cache: ChainCache::new(chain, target), lane: lane(chain, target) }
    }

    /// Adds a block to both; only the cache is asked to take what is no block of the chain.
    pub(crate) fn add(&mut self, height: u64, chain: u32, has_root: bool) -> bool {
        let added = self.cache.add(block(chain, height, has_root));
        if chain == self.chain.0 && has_root {
            assert_eq!(self.push(height), added, "{height}");
        }
        self.check();
        added
    }

    fn push(&self, height: u64) -> bool {
        let Some((lane, _)) = &self.lane else { return false };
        let mut blocks = Columns::default();
        blocks.push(hash(height), Hash([1; 32]), Timestamp::default());
        let parent = hash(height.wrapping_sub(1));
        lane.push(SESSION, Height(height), parent, blocks.as_ref(), Duration::ZERO).is_ok()
    }

    pub(crate) fn clear(&mut self, height: u64) {
        self.cache.clear(Height(height));
        if let Some((lane, ends)) = &mut self.lane {
            let position = lane.position();
            if (position.durable..=position.received).contains(&Height(height)) {
                let taken = ends.outlet.next_height().0 - 1;
                ends.outlet.take(height.saturating_sub(taken), |_| ());
                ends.drain.release(Height(height), Duration::ZERO, |_, _| ());
            }
        }
        let next = self.lane.as_ref().map(|(lane, _)| lane.position().received.next());
        // Full caches want none: they hold something, so that nothing was turned back or left out.
        if let Some(target) = self.cache.target().filter(|target| Some(*target) != next) {
            self.lane = lane(self.chain, target);
        }
        self.check();
    }

    /// Both want the same height next, and hold the same ones.
    fn check(&self) {
        let Some((lane, ends)) = &self.lane else { return };
        let position = lane.position();
        let wanted = (position.limit > position.received).then(|| position.received.next());
        assert_eq!(wanted, self.cache.target());
        let near = [position.durable, position.received];
        let mut near = near.iter().flat_map(|at| at.0.saturating_sub(1)..=at.0.saturating_add(1));
        let held = |height| position.durable.0 < height && height <= position.received.0;
        assert!(near.all(|height| self.cache.take(Height(height)).is_some() == held(height)), "{position:?}");
        // Those that wait for the sealing stage can be read, from the oldest on.
        let oldest = ends.outlet.next_height();
        assert_eq!(oldest, position.durable.next());
        assert_eq!(ends.outlet.available(), position.received.0 - position.durable.0);
        if ends.outlet.available() > 0 {
            ends.outlet.read(0, 1, |slot| assert_eq!(slot.hash, hash(oldest.0)));
        }
    }
}

/// A lane as large as a cache, which wants `target` next.
fn lane(chain: ChainId, target: Height) -> Option<(Arc<Lane>, LaneEnds)> {
    let side = SideChain {
        id: chain,
        name: "one".into(),
        first_height: target,
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    let start = Height(target.0.checked_sub(1)?);
    let (lane, ends) = Lane::new(&side, start, Some(hash(start.0)), CACHE_BLOCKS, Doorbell::new().0);
    lane.claim(KEY, SESSION).unwrap();
    Some((lane, ends))
}

fn hash(height: u64) -> Hash {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&height.to_le_bytes());
    Hash(hash)
}

#[derive(Clone, Debug)]
enum Op {
    /// So many blocks from this far after (or before) the one that is wanted.
    Add { ahead: i64, count: u64 },
    /// Up to so many above the oldest one that is held.
    Clear { above: i64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (Just(0_i64), 1..700_u64).prop_map(|(ahead, count)| Op::Add { ahead, count }),
        2 => (-3..4_i64, 1..4_u64).prop_map(|(ahead, count)| Op::Add { ahead, count }),
        3 => (-2..900_i64).prop_map(|above| Op::Clear { above }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_lane_accepts_and_wants_what_the_cache_of_aelf_does(
        target in 1..2_000_u64,
        ops in proptest::collection::vec(op(), 1..24),
    ) {
        let mut twins = Twins::new(ChainId(123), Height(target));
        let (mut next, mut oldest) = (target, target);
        for op in ops {
            match op {
                Op::Add { ahead, count } => {
                    let from = next.saturating_add_signed(ahead);
                    for height in from..from + count {
                        next += u64::from(twins.add(height, 123, true));
                    }
                }
                Op::Clear { above } => {
                    let height = oldest.saturating_add_signed(above).max(1);
                    twins.clear(height);
                    oldest = oldest.max(height + 1);
                    if let Some(target) = twins.cache.target().filter(|_| oldest >= next) {
                        (next, oldest) = (target.0, target.0);
                    }
                }
            }
        }
    }
}
