use std::fs::{self, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;
use net::client::{Contradiction, FollowedBlock, MainSink as _};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, TableDefinition};
use tempfile::TempDir;

use super::store::Opener;
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

/// A file on a disk that can be full: then nothing is written, as the system would have it.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        if self.is_full.load(Ordering::Relaxed) { Err(full()) } else { Ok(()) }
    }

    /// A store on such a disk.
    fn store(dir: &TempDir, is_full: &Arc<AtomicBool>) -> Arc<Store> {
        let is_full = Arc::clone(is_full);
        let open = move |builder: &mut Builder, path: &Path| -> Result<Database, DatabaseError> {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            let file = FileBackend::new(file)?;
            builder.create_with_backend(Self { file, is_full: Arc::clone(&is_full) })
        };
        Arc::new(Store::open_with(dir.path(), Opener(Box::new(open))).unwrap())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[test]
fn a_disk_that_was_full_and_has_room_again_goes_on() {
    let world = World::new(100, 8);
    let dir = TempDir::new().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let store = Disk::store(&dir, &is_full);
    let keeper = Keeper::new(Arc::clone(&store), Some(Height(1)));
    let follow = |from, to| {
        world.followed(from, to).into_iter().try_for_each(|block| keeper.take(block))?;
        keeper.settle()
    };
    keeper.meet(world.main().0, world.main().1).unwrap();
    follow(1, 3).unwrap();
    for round in 0..3 {
        is_full.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let from = keeper.next().unwrap().0;
            follow(from, from + 1).unwrap_err();
            assert_eq!(*keeper.durable().borrow(), Height(3 + round));
        }
        is_full.store(false, Ordering::Relaxed);
        keeper.meet(world.main().0, world.main().1).unwrap();
        let next = keeper.next().unwrap().0;
        assert_eq!(next, 4 + round, "nothing that failed is taken for kept");
        follow(next, next).unwrap();
        assert_eq!(store.header(Height(next)).unwrap(), Some(world.followed(next, next)[0].header));
    }
    let contents = store.contents().unwrap();
    assert_eq!((contents.headers, contents.gaps.len(), contents.main), (6, 0, Some(world.main())));
}

#[test]
fn no_block_is_kept_before_it_is_kept_of_which_main_chain() {
    let world = World::new(100, 3);
    let dir = TempDir::new().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let store = Disk::store(&dir, &is_full);
    let keeper = Keeper::new(Arc::clone(&store), Some(Height(1)));
    is_full.store(true, Ordering::Relaxed);
    keeper.meet(world.main().0, world.main().1).unwrap();
    is_full.store(false, Ordering::Relaxed);
    keeper.take(world.followed(1, 1).remove(0)).unwrap();
    keeper.settle().unwrap();
    assert_eq!(store.contents().unwrap().main, Some(world.main()));
}

#[test]
fn after_an_unclean_end_the_file_is_not_looked_through() {
    let world = World::new(100, 6);
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store.append(&world.followed(1, 5)).unwrap();
    // As it is on the disk while the program runs: what a sudden end would leave.
    let copy = TempDir::new().unwrap();
    fs::copy(store.path(), copy.path().join("main.redb")).unwrap();
    let looked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&looked);
    let opener = Opener(Box::new(move |builder, path| {
        let seen = Arc::clone(&seen);
        builder.set_repair_callback(move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        builder.create(path)
    }));
    let store = Store::open_with(copy.path(), opener).unwrap();
    assert_eq!(store.newest_header().unwrap().height, Height(5));
    assert_eq!(looked.load(Ordering::Relaxed), 0);
}

/// Main blocks that nobody made, each with `chains` chains of one block: the store does not verify.
fn made_up(heights: impl Iterator<Item = u64>, chains: u32) -> Vec<FollowedBlock> {
    let header = World::new(100, 1).followed(1, 1)[0].header;
    let part = |chain, height| ChainProof {
        chain_id: ChainId(chain),
        first_height: Height(height),
        count: 1,
        chain_root: Hash::ZERO,
        index: 0,
        side_path: Vec::new(),
    };
    heights
        .map(|height| FollowedBlock {
            header: MainHeader { height: Height(height), ..header },
            chains: (1..=chains).map(|chain| part(chain, height)).collect(),
        })
        .collect()
}

#[test]
fn what_was_indexed_is_known_also_when_its_block_is_kept_no_more() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap().keep_blocks(NonZeroU64::new(10));
    store.append(&made_up(1..=5, 2)).unwrap();
    store.append(&made_up(6..=200, 1)).unwrap();
    let contents = store.contents().unwrap();
    assert_eq!((contents.headers, contents.range), (10, Some((Height(191), Height(200)))));
    assert_eq!(store.find(ChainId(2), Height(5)).unwrap(), None);
    assert_eq!(store.newest_indexed(ChainId(2)).unwrap(), Some(Height(5)));
    let keeper = Keeper::new(Arc::new(store), None);
    assert_eq!(keeper.indexed(ChainId(2)), Some(Height(5)), "none of it may come again");
    drop(keeper);

    // A file of a program that did not note it.
    let database = Database::create(dir.path().join("main.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let newest: TableDefinition<'_, u32, u64> = TableDefinition::new("newest");
    assert!(transaction.delete_table(newest).unwrap());
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(open(&dir).newest_indexed(ChainId(1)).unwrap(), Some(Height(200)));
}

#[test]
fn blocks_are_counted_and_a_gap_counts_for_none() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap().keep_blocks(NonZeroU64::new(20));
    store.append(&made_up(1..=50, 1)).unwrap();
    store.append(&made_up(1_000_000..1_000_050, 1)).unwrap();
    let contents = store.contents().unwrap();
    assert_eq!((contents.headers, contents.gaps.len()), (20, 0), "{contents:?}");
    store.append(&made_up(2_000_000..2_000_010, 1)).unwrap();
    assert_eq!(store.contents().unwrap().headers, 30, "not enough that are too many");
    store.append(&made_up(2_000_010..2_000_066, 1)).unwrap();
    assert_eq!(store.contents().unwrap().range, Some((Height(2_000_046), Height(2_000_065))));
}

#[test]
fn of_very_many_that_are_too_many_only_some_go_at_once() {
    let dir = TempDir::new().unwrap();
    open(&dir).append(&made_up(1..=6_000, 2)).unwrap();
    let store = Store::open(dir.path()).unwrap().keep_blocks(NonZeroU64::new(10));
    let mut headers = 6_000;
    for height in 6_001.. {
        store.append(&made_up(height..=height, 2)).unwrap();
        let contents = store.contents().unwrap();
        assert!(contents.headers + 4_200 > headers, "{} of {headers}", contents.headers);
        headers = contents.headers;
        let first = contents.range.unwrap().0;
        for chain in OURS {
            let part = store.indexed(chain, Height(1), 1).unwrap().remove(0);
            assert!(part.main_height >= first, "each part has its header");
        }
        if headers < 100 {
            break;
        }
        assert!(height < 6_010, "it does not end: {headers}");
    }
}
