use std::time::Duration;

use super::*;
use crate::chain::{Columns, Timestamp};

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

/// A lane after block 4, with a speaker.
fn lane(capacity: usize) -> (Arc<Lane>, LaneEnds) {
    let side = SideChain {
        id: ChainId(7),
        name: "seven".into(),
        first_height: Height(5),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    };
    let (lane, ends) = Lane::new(&side, Height(4), None, capacity, Doorbell::new().0);
    lane.claim(KEY, SESSION).expect("the key is registered");
    (lane, ends)
}

/// Pushes the next `count` blocks, which arrive `at` milliseconds.
fn push(lane: &Lane, count: u64, at: u64) {
    let Position { received, hash, .. } = lane.position();
    let mut blocks = Columns::default();
    for height in received.0 + 1..=received.0 + count {
        blocks.push(Hash([height as u8; 32]), Hash::ZERO, Timestamp::default());
    }
    let (parent, at) = (hash.unwrap_or(Hash::ZERO), Duration::from_millis(at));
    lane.push(SESSION, received.next(), parent, blocks.as_ref(), at).expect("the next blocks");
}

fn take_all(outlet: &mut Outlet) {
    outlet.take(outlet.available(), |_| ());
}

#[test]
fn every_block_leaves_with_the_time_since_its_section_arrived() {
    let (lane, LaneEnds { mut outlet, mut drain }) = lane(10);
    for (count, at) in [(3, 100), (1, 101), (4, 109)] {
        push(&lane, count, at);
    }
    take_all(&mut outlet);
    let mut release = |height, now| {
        let mut left = Vec::new();
        let now = Duration::from_millis(now);
        drain.release(Height(height), now, |took, count| left.push((took.as_millis(), count)));
        left
    };
    assert_eq!(release(5, 110), [(10, 1)], "the first of three");
    assert_eq!(release(5, 111), [], "nothing new");
    assert_eq!(release(9, 120), [(20, 2), (19, 1), (11, 1)], "parts of three sections");
    assert_eq!(release(12, 109), [(0, 3)], "the clock does not go back, and nothing would be below zero");
}

#[test]
fn arrivals_have_room_for_whatever_the_lane_has_room_for() {
    let (lane, LaneEnds { mut outlet, mut drain }) = lane(70);
    (0..70).for_each(|at| push(&lane, 1, at));
    for at in 70..400 {
        assert_eq!(lane.position().limit, lane.position().received, "full");
        take_all(&mut outlet);
        let oldest = lane.position().durable.next();
        drain.release(oldest, Duration::from_millis(at), |took, count| {
            assert_eq!((took.as_millis(), count), (70, 1));
        });
        push(&lane, 1, at);
    }
}

#[test]
fn memory_of_a_lane_whose_speaker_left_is_given_back_with_the_last_block() {
    let (lane, LaneEnds { mut outlet, mut drain }) = lane(1000);
    push(&lane, 200, 1);
    take_all(&mut outlet);
    drain.release(Height(100), Duration::ZERO, |_, _| ());
    lane.release(SESSION);
    assert!(lane.held().0 >= 104, "blocks are there");
    drain.release(Height(203), Duration::ZERO, |_, _| ());
    assert!(lane.held().0 >= 1, "a block is there");
    drain.release(Height(204), Duration::ZERO, |_, _| ());
    assert_eq!(lane.held(), (0, 0));
}

#[test]
fn memory_of_an_empty_lane_is_given_back_by_the_speaker_that_leaves_or_rests() {
    let (lane, LaneEnds { mut outlet, mut drain }) = lane(1000);
    for leave in [false, true] {
        push(&lane, 70, 1);
        take_all(&mut outlet);
        drain.release(lane.position().received, Duration::ZERO, |_, _| ());
        assert_eq!(lane.held(), (128, 64), "the speaker may go on");
        lane.rest();
        if leave {
            lane.release(SESSION);
        } else {
            assert_eq!(lane.held(), (128, 64), "something came since the last time");
            lane.rest();
        }
        assert_eq!(lane.held(), (0, 0));
    }
}

#[test]
fn lane_that_speaks_again_keeps_its_memory_though_its_last_speaker_left() {
    let (lane, LaneEnds { mut outlet, mut drain }) = lane(1000);
    push(&lane, 1, 1);
    take_all(&mut outlet);
    lane.release(SESSION);
    lane.claim(KEY, SESSION).unwrap();
    drain.release(Height(5), Duration::ZERO, |_, _| ());
    assert_eq!(lane.held(), (64, 64));
}

#[test]
fn lane_takes_no_more_memory_than_it_is_said_to() {
    for capacity in [1, 10, 64, 65, 1000, 1024] {
        let (lane, LaneEnds { mut outlet, mut drain }) = lane(capacity);
        // From the middle of a page to the middle of one, and each section one block.
        (0..capacity as u64).for_each(|at| push(&lane, 1, at));
        for at in 0..200 {
            take_all(&mut outlet);
            drain.release(lane.position().durable.next(), Duration::ZERO, |_, _| ());
            push(&lane, 1, at);
            let (blocks, arrivals) = lane.held();
            assert!(blocks >= capacity && arrivals >= capacity, "it is full");
            let held = blocks * size_of::<Slot>() + arrivals * 24;
            assert!(Lane::most_bytes(capacity) >= held as u64, "{capacity}: {held}");
        }
    }
    let slots = (1024 + 64) * 72;
    assert!((slots..slots * 3 / 2).contains(&Lane::most_bytes(1024)), "{}", Lane::most_bytes(1024));
}

#[test]
fn outlet_remembers_the_hash_of_the_last_block_taken() {
    let (lane, LaneEnds { mut outlet, .. }) = lane(10);
    push(&lane, 3, 1);
    outlet.advance(0, Hash([99; 32]));
    assert_eq!((outlet.parent(), outlet.next_height()), (Hash::ZERO, Height(5)));
    let mut newest = Hash::ZERO;
    outlet.read(1, 1, |slot| newest = slot.hash);
    outlet.advance(2, newest);
    assert_eq!((outlet.parent(), outlet.next_height(), outlet.available()), (Hash([6; 32]), Height(7), 1));
}

#[test]
fn a_closed_lane_gives_its_memory_back_at_once_or_when_the_last_block_is_durable() {
    for durable_before in [true, false] {
        let (lane, LaneEnds { mut outlet, mut drain }) = lane(10);
        push(&lane, 3, 0);
        take_all(&mut outlet);
        let mut release = || drain.release(Height(7), Duration::ZERO, |_, _| ());
        if durable_before {
            release();
        }
        assert_ne!(lane.held(), (0, 0), "its speaker may send more");
        lane.close();
        lane.release(SESSION);
        if !durable_before {
            assert_ne!(lane.held(), (0, 0), "they are being stored");
            release();
        }
        assert_eq!(lane.held(), (0, 0));
    }
}
