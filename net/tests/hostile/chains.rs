//! Blocks that a peer has no right to send, or sent before. Gaps, equivocation and chains that a hello did not name are in
//! `tests/wire/raw.rs` too, with all that is said of them.

use engine::chain::{ChainId, Hash, Height};
use mainstem_net::control::{ClientMessage, EntryState, RefusalCode, Resume};

use crate::by_hand::*;
use crate::scene::{HONEST, NODES, Scene};

#[test]
fn a_frame_that_comes_twice_is_refused_and_stored_once() {
    let scene = Scene::new(|_| ());
    scene.peer(NODES[0], async |mut raw: Raw| {
        raw.hello(&[1, 2]).await;
        let both = frame(&[section(1, 1, 5), section(2, 1, 5)]);
        raw.send(&both).await;
        raw.acked(2, 5).await;
        raw.send(&both).await;
        for _ in 0..2 {
            let refused = raw.refused().await;
            assert_eq!(refused.code, RefusalCode::WrongHeight, "{}", refused.detail);
        }
    });
    for chain in [1, 2] {
        scene.main.assert_holds(ChainId(chain), 5);
    }
    scene.calm();
}

#[test]
fn a_session_that_is_replayed_whole_changes_nothing() {
    let scene = Scene::new(|_| ());
    let frames: Vec<_> = (0..10)
        .map(|number| frame(&[section(1, 1 + 5 * number, 5), section(3, 1 + 5 * number, 5)]))
        .collect();
    let recorded = frames.concat();
    // First as it was; then again with the same key, and with that of the chains' other node.
    for (round, seed) in [NODES[0], NODES[0], NODES[1]].into_iter().enumerate() {
        let recorded = recorded.clone();
        scene.peer(seed, async move |mut raw: Raw| {
            raw.hello(&[1, 3]).await;
            raw.send(&recorded).await;
            if round == 0 {
                raw.acked(3, 50).await;
            } else {
                let refused = [raw.refused().await, raw.refused().await];
                assert!(
                    refused.iter().all(|refused| refused.code == RefusalCode::WrongHeight),
                    "{refused:?}"
                );
            }
        });
    }
    for chain in [1, 3] {
        scene.main.assert_holds(ChainId(chain), 50);
    }
    scene.calm();
}

#[test]
fn blocks_of_a_chain_of_others_are_ignored_and_the_chain_goes_on() {
    let scene = Scene::new(|_| ());
    scene.peer(NODES[0], async |mut raw: Raw| {
        let welcome = raw.hello(&[1, HONEST.into()]).await;
        assert_eq!(welcome.chains[1].state, EntryState::Refused(RefusalCode::UnknownKey));
        // At any height it might want next.
        for height in 1..200 {
            raw.send(&frame(&[section(HONEST.into(), height, 1)])).await;
        }
        let again = Resume { chain: ChainId(HONEST.into()), frames: 0 };
        raw.say(&ClientMessage::Resume(again)).await;
        assert_eq!(raw.position().await, EntryState::Refused(RefusalCode::UnknownKey));
        raw.send(&frame(&[section(1, 1, 5), section(HONEST.into(), 1, 1)])).await;
        raw.acked(1, 5).await;
    });
    scene.main.assert_holds(ChainId(1), 5);
    scene.calm();
}

#[test]
fn heights_that_cannot_be_next_are_refused_whatever_they_are() {
    let scene = Scene::new(|_| ());
    scene.peer(NODES[0], async |mut raw: Raw| {
        raw.hello(&[1]).await;
        let heights = [2, 3, 64, 65, 1 << 31, 1 << 32, 1 << 62, Height::MAX.0];
        for (first, frames) in heights.into_iter().zip(1..) {
            let mut gap = section(1, 1, 1);
            gap.first = first;
            gap.parent = Hash([3; 32]);
            raw.send(&frame(&[gap])).await;
            assert_eq!(raw.refused().await.code, RefusalCode::WrongHeight, "{first}");
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(1), frames })).await;
            assert!(matches!(raw.position().await, EntryState::Speaker(_)));
        }
        raw.send(&frame(&[section(1, 1, 2)])).await;
        raw.acked(1, 2).await;
    });
    scene.main.assert_holds(ChainId(1), 2);
    scene.calm();
}

#[test]
fn equivocation_is_kept_as_evidence_and_the_first_block_stands() {
    let scene = Scene::new(|_| ());
    scene.peer(NODES[0], async |mut raw: Raw| {
        raw.hello(&[2, 4]).await;
        raw.send(&frame(&[section(4, 1, 9)])).await;
        for height in 1..=9 {
            let mut twin = section(4, height, 1);
            twin.blocks.hashes[0] = Hash([7; 32]);
            raw.send(&frame(&[twin])).await;
            assert_eq!(raw.refused().await.code, RefusalCode::Conflict, "{height}");
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(4), frames: height + 1 })).await;
            assert!(matches!(raw.position().await, EntryState::Speaker(_)));
        }
    });
    assert!(scene.main.cache.lane(ChainId(4)).unwrap().evidence().is_some());
    assert_eq!(scene.counters().chain_refusals.get(RefusalCode::Conflict), 9);
    scene.main.let_go(ChainId(4));
    crate::support::wait_durable(&scene.main, 4, 9);
    scene.main.assert_holds(ChainId(4), 9);
    scene.calm();
}
