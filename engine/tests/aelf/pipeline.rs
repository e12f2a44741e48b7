//! The engine with the setting `rules = aelf` seals what AElf's own selection proposes.

use std::time::Duration;

use engine::aelf::cache::Cache;
use engine::aelf::data::BlockData;
use engine::aelf::lanes::{self, Indexed};
use engine::aelf::selection::{SideState, new_side_blocks};
use engine::chain::{BlockView, ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Lane, LaneEnds, SessionId};
use engine::pipeline::{PipelineConfig, SealRules};
use engine::store::BlockReader;
use engine::store::memory::{MemoryReader, MemoryStore};
use engine::sync::Doorbell;
use mainstem_engine as engine;
use proptest::prelude::*;

use crate::indexing::side_block;
use crate::world::{genesis, index, side};

fn aelf() -> PipelineConfig {
    PipelineConfig { rules: SealRules::Aelf, ..PipelineConfig::default() }
}

/// How many blocks of the only chain each main block has.
fn sizes(reader: &MemoryReader) -> Vec<u64> {
    (1..=reader.head().0)
        .map(|height| reader.block(Height(height)).unwrap().unwrap().header().leaf_count)
        .collect()
}

/// How many blocks AElf proposes, one proposal after the other, of a chain that is indexed up to `indexed` and of which
/// `cached` more are cached; each is released, and irreversible, before the next.
fn proposals(indexed: u64, cached: u64) -> Vec<u64> {
    let chain = ChainId(1);
    let mut cache = Cache::default();
    cache.register(chain, Height(indexed));
    for height in indexed + 1..=indexed + cached {
        assert!(cache.add(BlockData::Side(side_block(chain, height, Some(Hash([1; 32]))))));
    }
    let (mut indexed, mut sizes) = (Height(indexed), Vec::new());
    loop {
        let state = SideState { chain, indexed, indexed_at_lib: indexed };
        let count = new_side_blocks(&state, &cache).count() as u64;
        if count == 0 {
            return sizes;
        }
        sizes.push(count);
        indexed = Height(indexed.0 + count);
        cache.clear(chain, indexed);
    }
}

#[test]
fn a_new_chain_begins_with_one_block_once_256_more_wait_as_aelf_proposes_it() {
    for (count, expected) in [
        (1, vec![]),
        (256, vec![]),
        (257, vec![1, 256]),
        (258, vec![1, 256, 1]),
        (1000, vec![1, 256, 256, 256, 231]),
        (1024, vec![1, 256, 256, 256, 255]),
    ] {
        let store = MemoryStore::default();
        let reader = store.reader();
        index(&genesis(1), store, aelf(), &[count]);
        assert_eq!(sizes(&reader), expected, "{count} blocks");
        assert_eq!(proposals(0, count), expected, "{count} blocks");
    }
}

#[test]
fn a_chain_that_is_indexed_waits_for_nothing_after_a_restart_either() {
    let genesis = genesis(1);
    let store = MemoryStore::default();
    let reader = store.reader();
    index(&genesis, store, aelf(), &[300]);
    assert_eq!(sizes(&reader), [1, 256, 43]);
    index(&genesis, MemoryStore::reopen(&reader), aelf(), &[7]);
    index(&genesis, MemoryStore::reopen(&reader), aelf(), &[600]);
    assert_eq!(sizes(&reader), [1, 256, 43, 7, 256, 256, 88]);
    assert_eq!([proposals(300, 7), proposals(307, 600)].concat(), [7, 256, 256, 88]);
}

#[test]
fn chains_that_wait_for_more_do_not_hold_others_up() {
    let genesis = genesis(3);
    let store = MemoryStore::default();
    let reader = store.reader();
    index(&genesis, store, aelf(), &[256, 257, 5]);
    let chains = |height| {
        let block = reader.block(Height(height)).unwrap().unwrap();
        (0..block.section_count())
            .map(|at| (block.section(at).chain.0, block.section(at).count))
            .collect::<Vec<_>>()
    };
    assert_eq!(reader.head(), Height(2));
    assert_eq!((chains(1), chains(2)), (vec![(2, 1)], vec![(2, 256)]));
}

#[test]
fn our_own_rules_wait_for_nothing_and_take_a_whole_backlog() {
    let store = MemoryStore::default();
    let reader = store.reader();
    index(&genesis(1), store, PipelineConfig::default(), &[1000]);
    assert_eq!(sizes(&reader), [1000]);
}

#[test]
fn after_the_first_block_none_is_taken_until_it_is_durable() {
    let (lane, LaneEnds { mut outlet, mut drain }) =
        Lane::new(&side(1), Height(0), None, 1024, Doorbell::new().0);
    let aelf = SealRules::Aelf;
    let mut blocks = Columns::default();
    (0..300).for_each(|_| blocks.push(Hash([1; 32]), Hash([2; 32]), Timestamp::default()));
    lane.claim(NodeKey([1; 32]), SessionId(1)).unwrap();
    lane.push(SessionId(1), Height(1), Hash::ZERO, blocks.as_ref(), Duration::ZERO).unwrap();
    assert_eq!((outlet.indexed(), aelf.places(&outlet), aelf.holds(&outlet)), (Indexed::Nothing, 1, false));
    outlet.take(1, |_| ());
    assert_eq!((outlet.indexed(), aelf.places(&outlet), aelf.holds(&outlet)), (Indexed::Reversible, 0, true));
    drain.release(Height(1), Duration::ZERO, |_, _| ());
    assert_eq!(
        (outlet.indexed(), aelf.places(&outlet), aelf.holds(&outlet)),
        (Indexed::Irreversible, 256, false)
    );
    let ours = SealRules::Mainstem;
    assert_eq!((ours.places(&outlet), ours.holds(&outlet)), (299, false));
    outlet.take(256, |_| ());
    assert_eq!(aelf.places(&outlet), 43, "and then whatever waits");
}

proptest! {
    #[test]
    fn lanes_give_what_the_selection_gives(indexed in 0_u64..3, at_lib in 0_u64..3, waiting in 0_u64..1025) {
        let (chain, at_lib) = (ChainId(7), at_lib.min(indexed));
        let mut cache = Cache::default();
        cache.register(chain, Height(indexed));
        for height in indexed + 1..=indexed + waiting {
            cache.add(BlockData::Side(side_block(chain, height, Some(Hash([1; 32])))));
        }
        let state = SideState { chain, indexed: Height(indexed), indexed_at_lib: Height(at_lib) };
        let indexed = match (indexed, at_lib) {
            (0, _) => Indexed::Nothing,
            (_, 0) => Indexed::Reversible,
            _ => Indexed::Irreversible,
        };
        prop_assert_eq!(new_side_blocks(&state, &cache).count() as u64, lanes::places(indexed, waiting));
    }
}
