use std::fs;
use std::num::NonZeroU64;
use std::sync::Arc;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use net::client::{Contradiction, MainSink as _};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::testing::{OURS, World};

fn open(dir: &TempDir) -> Arc<Store> {
    Arc::new(Store::open(dir.path()).unwrap())
}

#[test]
fn what_is_kept_is_there_after_a_restart() {
    let world = World::new(100, 12);
    let dir = TempDir::new().unwrap();
    let blocks = world.followed(1, world.head());
    for batch in blocks.chunks(5) {
        // Each time as a program that has just started.
        let store = open(&dir);
        store.meet(world.main().0, world.main().1).unwrap();
        store.append(batch).unwrap();
        assert_eq!(store.newest_header(), batch.last().map(|block| block.header));
    }
    let store = open(&dir);
    assert_eq!(store.newest_header().unwrap().height.0, world.head());
    let contents = store.contents().unwrap();
    assert_eq!(contents.main, Some(world.main()));
    assert_eq!(contents.range, Some((Height(1), Height(world.head()))));
    assert_eq!((contents.headers, contents.gaps.len()), (world.head(), 0));
    let headers: Vec<MainHeader> = blocks.iter().map(|block| block.header).collect();
    assert_eq!(store.headers(Height(1), 1_000).unwrap(), headers);
    assert_eq!(store.headers(Height(3), 2).unwrap(), headers[2..4]);
    for chain in OURS {
        for height in 1..=world.newest(chain) {
            let Indexed { main_height, proof } = store.find(chain, Height(height)).unwrap().unwrap();
            assert_eq!(main_height.0, world.locate(chain, height), "chain {chain}, height {height}");
            proof.verify(&store.header(main_height).unwrap().unwrap()).unwrap();
            assert!((proof.first_height.0..=proof.last_height().0).contains(&height));
        }
        assert_eq!(store.find(chain, Height(world.newest(chain) + 1)).unwrap(), None);
        let all = store.indexed(chain, Height(1), 1_000).unwrap();
        let parts = blocks.iter().flat_map(|block| &block.chains).filter(|proof| proof.chain_id == chain);
        assert!(all.iter().map(|indexed| &indexed.proof).eq(parts), "all of chain {chain}, in order");
        let inside = store.indexed(chain, all[1].proof.last_height(), 1).unwrap();
        assert_eq!(inside, all[1..2], "the part that has the height, though it begins before it");
    }
    assert_eq!(store.find(ChainId(3), Height(1)).unwrap(), None);
}

#[test]
fn what_was_pruned_before_it_came_is_a_gap() {
    let world = World::new(100, 10);
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store.append(&world.followed(2, 3)).unwrap();
    let batch = [world.followed(4, 4), world.followed(7, 8)].concat();
    store.append(&batch).unwrap();
    drop(store);
    let store = open(&dir);
    let contents = store.contents().unwrap();
    assert_eq!(contents.gaps, [Gap { first: Height(5), last: Height(6) }]);
    assert_eq!((contents.range, contents.headers), (Some((Height(2), Height(8))), 5));
    let missing = world.followed(5, 5)[0].chains[0].first_height;
    assert_eq!(store.find(OURS[0], missing).unwrap(), None);
    assert_eq!(store.header(Height(5)).unwrap(), None);
    let keeper = Keeper::new(store, Some(Height(1)));
    assert_eq!(keeper.next(), Some(Height(9)), "not what was missed: the main chain has it no more");
}

#[test]
fn another_main_chain_and_another_genesis_are_refused_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let (main, genesis) = (ChainId(100), Hash([1; 32]));
    let keeper = Keeper::new(Arc::clone(&store), None);
    keeper.meet(main, genesis).unwrap();
    drop((keeper, store));
    let keeper = Keeper::new(open(&dir), None);
    keeper.meet(main, genesis).unwrap();
    for other in [(ChainId(101), genesis), (main, Hash([2; 32]))] {
        let refused = keeper.meet(other.0, other.1).unwrap_err();
        for words in ["keeps main chain abA7", &other.1.to_string(), "--main-key", "--keep another directory"]
        {
            assert!(refused.contains(words), "{refused}");
        }
    }
}

#[test]
fn a_directory_is_of_one_program_at_a_time() {
    let dir = TempDir::new().unwrap();
    let _store = open(&dir);
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, KeepError::InUse { .. }), "{refused}");
}

#[test]
fn what_a_newer_program_wrote_or_none_of_ours_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let path = open(&dir).path().to_owned();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("version", &[2_u8, 0][..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("version is 2; expected 1"), "{refused}");

    fs::write(&path, "these are no pages of redb").unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, KeepError::Database { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"these are no pages of redb");
}

#[test]
fn next_moves_only_when_what_was_taken_is_durable() {
    let world = World::new(100, 6);
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let keeper = Keeper::new(Arc::clone(&store), Some(Height(2)));
    assert_eq!(keeper.next(), Some(Height(2)));
    assert_eq!(Keeper::new(Arc::clone(&store), None).next(), None, "whatever comes");
    let durable = keeper.durable();
    for block in world.followed(2, 4) {
        keeper.take(block).unwrap();
        assert_eq!((keeper.next(), *durable.borrow()), (Some(Height(2)), Height(0)));
        assert_eq!(store.header(Height(2)).unwrap(), None);
    }
    keeper.settle().unwrap();
    assert_eq!((keeper.next(), *durable.borrow()), (Some(Height(5)), Height(4)));
    assert_eq!(keeper.newest(), store.header(Height(4)).unwrap());
    assert_eq!(keeper.indexed(OURS[0]), Some(world.followed(4, 4)[0].chains[0].last_height()));
    assert_eq!(keeper.indexed(ChainId(3)), None);
}

#[test]
fn of_blocks_that_are_too_many_the_newest_are_kept() {
    const KEEP: u64 = 20;
    let world = World::new(100, 150);
    let dir = TempDir::new().unwrap();
    let open = || Store::open(dir.path()).unwrap().keep_blocks(NonZeroU64::new(KEEP));
    let head = world.head();
    let store = open();
    // With a gap that is dropped like the rest.
    for batch in [world.followed(1, 4), world.followed(6, head)].concat().chunks(4) {
        store.append(batch).unwrap();
    }
    drop(store);
    let store = open();
    let contents = store.contents().unwrap();
    let (first, last) = contents.range.unwrap();
    assert!(last.0 == head && (KEEP..=KEEP + KEEP / 16 + 65).contains(&contents.headers), "{contents:?}");
    assert_eq!((contents.headers, contents.gaps.len()), (head - first.0 + 1, 0));
    for chain in OURS {
        let parts = store.indexed(chain, Height(1), 1_000).unwrap();
        let kept = world.followed(first.0, head);
        let expected = kept.iter().flat_map(|block| &block.chains).filter(|proof| proof.chain_id == chain);
        assert!(parts.iter().map(|part| &part.proof).eq(expected), "chain {chain}");
    }
}

#[test]
fn contradictions_are_kept_once_each_and_not_without_end() {
    let world = World::new(100, 2);
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let block = world.followed(1, 1).remove(0);
    let contradiction = |number: u64| Contradiction {
        field: "parent",
        detail: format!("number {number}"),
        header: block.header,
        before: None,
        proof: Some(block.chains[0].clone()),
    };
    for number in 0..20 {
        store.note(&contradiction(number)).unwrap();
        store.note(&contradiction(number)).unwrap();
    }
    drop(store);
    let evidence = open(&dir).contents().unwrap().evidence;
    let details: Vec<_> = evidence.iter().map(|evidence| evidence.detail.clone()).collect();
    assert_eq!(details, (4..20).map(|number| format!("number {number}")).collect::<Vec<_>>());
    assert_eq!(evidence[0].proof.as_ref(), Some(&block.chains[0]));
    assert_eq!(evidence[0].hash, block.header.hash());
}
