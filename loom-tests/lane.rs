//! A whole lane: sessions of two nodes, the sealing and the persisting stage. The lock of its ingest side is
//! loom's here, so what it orders is modelled with the rest.
//!
//! Each test says which weakening it catches; each was tried once by really weakening it.
#![cfg(loom)]

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Claim, Lane, LaneEnds, Position, SessionId};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::{Doorbell, Waiter};
use loom::thread;

const KEYS: [NodeKey; 2] = [NodeKey([1; 32]), NodeKey([2; 32])];
const SESSIONS: [SessionId; 2] = [SessionId(1), SessionId(2)];

fn lane(capacity: usize) -> (Arc<Lane>, LaneEnds, Waiter) {
    let side = SideChain {
        id: ChainId(1),
        name: "side".into(),
        first_height: Height(1),
        nodes: KEYS.to_vec(),
        finality: FinalityRule::Single,
    };
    let (doorbell, waiter) = Doorbell::new();
    let (lane, ends) = Lane::new(&side, Height(0), None, capacity, doorbell);
    (lane, ends, waiter)
}

/// Pushes the next block, whose hash is its height.
fn push(lane: &Lane, node: usize, Position { received, hash, .. }: Position) {
    let mut blocks = Columns::default();
    blocks.push(hash_of(received.next()), Hash::ZERO, Timestamp::default());
    let parent = hash.unwrap_or(Hash::ZERO);
    lane.push(SESSIONS[node], received.next(), parent, blocks.as_ref(), Duration::ZERO).unwrap();
}

fn hash_of(height: Height) -> Hash {
    Hash([height.0 as u8; 32])
}

/// Takes what is final, checks that it is the next, and gives it back.
fn store(LaneEnds { outlet, drain }: &mut LaneEnds) {
    let count = outlet.available();
    let mut height = outlet.next_height();
    outlet.take(count, |slot| {
        assert_eq!(slot.hash, hash_of(height));
        height = height.next();
    });
    let mut left = 0;
    drain.release(height.previous(), Duration::ZERO, |_, count| left += count);
    assert_eq!(left, count, "every block that leaves had arrived");
}

/// Catches: appointing or pushing outside of the lock, and Relaxed in `Producer::finalize`,
/// `Consumer::available`, `Releaser::release` or `Producer::limit` (the ends of the second node rely on what
/// the first one did).
#[test]
fn two_nodes_of_one_chain_push_in_turns_and_their_blocks_come_out_as_one_chain() {
    bounded(2, || {
        let (lane, mut ends, waiter) = lane(1);
        let nodes: Vec<_> = [0, 1]
            .into_iter()
            .map(|node| {
                let lane = Arc::clone(&lane);
                thread::spawn(move || match lane.claim(KEYS[node], SESSIONS[node]).unwrap() {
                    Claim::Speaker(position) if position.limit > position.received => {
                        push(&lane, node, position);
                        lane.release(SESSIONS[node]);
                    }
                    Claim::Speaker(_) => lane.release(SESSIONS[node]),
                    Claim::Standby(_) => {}
                })
            })
            .collect();
        // At least one of them speaks, and finds room.
        waiter.wait(Duration::MAX);
        store(&mut ends);
        nodes.into_iter().for_each(|node| node.join().unwrap());
        store(&mut ends);
        let cursors = lane.cursors();
        assert_eq!((cursors.indexed, cursors.finalized), (cursors.received, cursors.received));
        assert_eq!(lane.held(), (0, 0), "nobody speaks, and nothing is left");
    });
}

/// Catches: in `Drain::give_back`, or in `Lane::release`, a load or a store instead of the exchange, or
/// Relaxed in either (each looks before it sees what the other one did, and the memory is held for ever).
#[test]
fn the_speaker_that_leaves_or_the_drain_gives_the_memory_back() {
    loom::model(|| {
        let (lane, mut ends, _waiter) = lane(1);
        let Claim::Speaker(position) = lane.claim(KEYS[0], SESSIONS[0]).unwrap() else { unreachable!() };
        push(&lane, 0, position);
        let storing = thread::spawn(move || store(&mut ends));
        lane.release(SESSIONS[0]);
        storing.join().unwrap();
        assert_eq!(lane.held(), (0, 0));
    });
}

/// Catches: a plain store in `Lane::appoint` (between the drain's exchange and that of the session that
/// leaves, it hides what the drain gave back from that session, and the memory is held for ever).
#[test]
fn a_session_that_takes_over_and_leaves_or_the_drain_gives_the_memory_back() {
    loom::model(|| {
        let (lane, mut ends, _waiter) = lane(1);
        let Claim::Speaker(position) = lane.claim(KEYS[0], SESSIONS[0]).unwrap() else { unreachable!() };
        push(&lane, 0, position);
        let storing = thread::spawn(move || store(&mut ends));
        // The same node, connected again: no `release` of the older session comes before.
        let claimed = lane.claim(KEYS[0], SESSIONS[1]).unwrap();
        assert!(matches!(claimed, Claim::Speaker(_)));
        lane.release(SESSIONS[0]);
        lane.release(SESSIONS[1]);
        storing.join().unwrap();
        assert_eq!(lane.held(), (0, 0));
    });
}

/// Catches: giving the slots back before the arrivals (the next section finds room in the lane, and none for
/// its arrival: a panic), and Relaxed in `Releaser::release` or `Producer::limit` (the same).
#[test]
fn a_section_that_has_room_finds_room_for_its_arrival() {
    loom::model(|| {
        let (lane, mut ends, _waiter) = lane(1);
        let Claim::Speaker(position) = lane.claim(KEYS[0], SESSIONS[0]).unwrap() else { unreachable!() };
        push(&lane, 0, position);
        let storing = thread::spawn(move || {
            store(&mut ends);
            ends
        });
        let position = lane.position();
        if position.limit > position.received {
            push(&lane, 0, position);
        }
        let mut ends = storing.join().unwrap();
        store(&mut ends);
        lane.rest();
        lane.rest();
        assert_eq!(lane.held(), (0, 0));
    });
}

/// Catches: a `Producer::has_room` that does not look anew, and Relaxed in `Releaser::release` or
/// `Producer::limit` (a node that was granted room by a thread that takes no lock finds none).
#[test]
fn a_node_told_of_room_without_the_lock_may_use_it() {
    loom::model(|| {
        let (lane, mut ends, _waiter) = lane(1);
        let Claim::Speaker(position) = lane.claim(KEYS[0], SESSIONS[0]).unwrap() else { unreachable!() };
        push(&lane, 0, position);
        let storing = thread::spawn(move || {
            store(&mut ends);
            ends
        });
        let (durable, limit) = lane.credit();
        assert_eq!(limit, durable.next());
        if limit.0 == 2 {
            push(&lane, 0, Position { received: Height(1), hash: Some(hash_of(Height(1))), durable, limit });
        }
        let mut ends = storing.join().unwrap();
        store(&mut ends);
    });
}

/// Interleavings with at most so many preemptions: without a bound there are too many.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
