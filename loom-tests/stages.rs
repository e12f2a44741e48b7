//! All stages of a node together, in thousands of random schedules: what is too large for loom. Two nodes of each of three chains
//! push, one of them takes over from the other in the midst of it; one thread seals, reading the lanes with the help of
//! another one; one stores, gives slots back and publishes the head; a reader watches the head; a request stops it all.
//!
//! shuttle has no weak memory (loom has): what this checks is that nothing is lost, doubled or out of order, that
//! nobody waits for ever, and that all memory comes back, whatever the schedule.
#![cfg(shuttle)]

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Claim, Drain, Lane, LaneEnds, Outlet, Position, SessionId};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::{Doorbell, Published, Publisher, Receiver, Sender, Stop, Waiter, handover, published};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

const CHAINS: usize = 3;
/// Blocks of each chain.
const BLOCKS: u64 = 6;
/// Blocks that a lane holds: less than all, more than a page of one.
const CAPACITY: usize = 3;
const KEYS: [NodeKey; 2] = [NodeKey([1; 32]), NodeKey([2; 32])];

#[test]
fn every_block_is_stored_once_and_in_order_in_random_schedules() {
    run(RandomScheduler::new_from_seed(1, 10_000));
}

#[test]
fn every_block_is_stored_once_and_in_order_whichever_thread_is_slow() {
    // Probabilistic concurrency testing: threads have priorities, and lose them at a few random points.
    run(PctScheduler::new_from_seed(1, 4, 10_000));
}

fn run(scheduler: impl Scheduler + 'static) {
    Runner::new(scheduler, Config::new()).run(node);
}

/// What was sealed: how many blocks of each chain.
type Sealed = [u64; CHAINS];

fn node() {
    let (doorbell, waiter) = Doorbell::new();
    let (lanes, ends): (Vec<_>, Vec<_>) = (0..CHAINS).map(|chain| lane(chain, doorbell.clone())).unzip();
    let (outlets, drains): (Vec<_>, Vec<_>) = ends.into_iter().map(|ends| (ends.outlet, ends.drain)).unzip();
    let (to_store, sealed) = handover(2);
    let (give_back, spare) = handover(2);
    let (publisher, head) = published([0; 2]);
    let stop = Stop::new(doorbell);

    let sealing = {
        let stop = stop.clone();
        thread::spawn(move || seal(outlets, &waiter, &stop, to_store, spare))
    };
    let storing = thread::spawn(move || store(drains, sealed, give_back, publisher));
    let watching = thread::spawn(move || watch(&head));
    let nodes: Vec<_> = (0..2)
        .flat_map(|node| lanes.iter().map(move |lane| (node, Arc::clone(lane))))
        .map(|(node, lane)| thread::spawn(move || speak(&lane, node)))
        .collect();
    for node in nodes {
        node.join().unwrap();
    }
    stop.request();
    let blocks = sealing.join().unwrap();
    assert_eq!(storing.join().unwrap(), [BLOCKS; CHAINS]);
    assert!(watching.join().unwrap() <= blocks);
    for lane in lanes {
        let cursors = lane.cursors();
        assert_eq!((cursors.indexed, cursors.finalized, cursors.received), (BLOCKS, BLOCKS, BLOCKS));
        assert_eq!(lane.held(), (0, 0), "its memory came back");
    }
}

fn lane(chain: usize, doorbell: Doorbell) -> (Arc<Lane>, LaneEnds) {
    let side = SideChain {
        id: ChainId(chain as u32),
        name: chain.to_string(),
        first_height: Height(1),
        nodes: KEYS.to_vec(),
        finality: FinalityRule::Single,
    };
    Lane::new(&side, Height(0), None, CAPACITY, doorbell)
}

fn hash_of(height: u64) -> Hash {
    Hash([height as u8; 32])
}

/// A session of a node: pushes blocks while it speaks, and leaves half way, so that the other one has to go on.
fn speak(lane: &Lane, node: usize) {
    let session = SessionId(node as u64 + 1);
    let mut position = loop {
        match lane.claim(KEYS[node], session).unwrap() {
            Claim::Speaker(position) => break position,
            Claim::Standby(position) if position.received.0 == BLOCKS => return,
            Claim::Standby(_) => thread::yield_now(),
        }
    };
    let until = if node == 0 { BLOCKS / 2 } else { BLOCKS };
    while position.received.0 < until {
        let Position { received, hash, limit, .. } = position;
        let last = limit.0.min(received.0 + 2).min(until);
        if last == received.0 {
            thread::yield_now();
        } else {
            let mut blocks = Columns::default();
            (received.0 + 1..=last).for_each(|height| {
                blocks.push(hash_of(height), Hash::ZERO, Timestamp::default());
            });
            let parent = hash.unwrap_or(Hash::ZERO);
            lane.push(session, received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap();
        }
        position = lane.position();
    }
    lane.release(session);
}

/// Seals until it is asked to stop and nothing waits; returns how many main blocks.
fn seal(
    mut outlets: Vec<Outlet>,
    waiter: &Waiter,
    stop: &Stop,
    mut to_store: Sender<Box<Sealed>>,
    mut spare: Receiver<Box<Sealed>>,
) -> u64 {
    let mut blocks = 0;
    loop {
        let stopping = stop.is_requested();
        let counts: Vec<_> = outlets.iter().map(Outlet::available).collect();
        if counts.iter().all(|count| *count == 0) {
            if stopping {
                return blocks;
            }
            waiter.wait(Duration::MAX);
            continue;
        }
        let mut block = spare.try_recv().unwrap_or_default();
        block.copy_from_slice(&counts);
        let newest = read(&mut outlets, &counts);
        for ((outlet, count), newest) in outlets.iter_mut().zip(counts).zip(newest) {
            outlet.advance(count, newest);
        }
        to_store.send(block).unwrap();
        blocks += 1;
    }
}

/// Reads the first lane on another thread and the others on this one; returns the hash of the last block of each.
fn read(outlets: &mut Vec<Outlet>, counts: &[u64]) -> Vec<Hash> {
    let all = Arc::new(std::mem::take(outlets));
    let reading = {
        let (all, count) = (Arc::clone(&all), counts[0]);
        thread::spawn(move || read_one(&all[0], count))
    };
    let others: Vec<_> =
        all.iter().zip(counts).skip(1).map(|(outlet, &count)| read_one(outlet, count)).collect();
    let newest = [vec![reading.join().unwrap()], others].concat();
    *outlets = Arc::try_unwrap(all).expect("the other thread has ended");
    newest
}

fn read_one(outlet: &Outlet, count: u64) -> Hash {
    let (mut height, mut newest) = (outlet.next_height().0, outlet.parent());
    outlet.read(0, count, |slot| {
        assert_eq!(slot.hash, hash_of(height));
        newest = slot.hash;
        height += 1;
    });
    newest
}

/// Stores what was sealed, gives its slots back and publishes the head; returns how many blocks of each chain it saw.
fn store(
    mut drains: Vec<Drain>,
    mut sealed: Receiver<Box<Sealed>>,
    mut give_back: Sender<Box<Sealed>>,
    mut publisher: Publisher<[u64; 2]>,
) -> Sealed {
    let (mut stored, mut head) = ([0; CHAINS], 0);
    while let Some(block) = sealed.recv() {
        for ((drain, stored), count) in drains.iter_mut().zip(&mut stored).zip(*block) {
            *stored += count;
            let mut left = 0;
            drain.release(Height(*stored), Duration::ZERO, |_, count| left += count);
            assert_eq!(left, count);
        }
        head += 1;
        publisher.publish(&[head; 2]);
        let _ = give_back.try_send(block);
    }
    stored
}

/// Looks at the head now and then; returns the last one seen.
fn watch(head: &Published<[u64; 2]>) -> u64 {
    let mut last = 0;
    for _ in 0..4 {
        let [number, copy] = head.load();
        assert_eq!(number, copy, "torn");
        assert!(last <= number, "the head went back");
        last = number;
        thread::yield_now();
    }
    last
}
