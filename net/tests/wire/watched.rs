//! What a watch sees of sessions and chains, and what it may do to them.

use std::time::Duration;

use engine::chain::{ChainId, Hash, Height};
use engine::lane::Lane;
use engine::sync::Doorbell;
use mainstem_net::client::{ChainState, Event};
use mainstem_net::control::{ClientMessage, EntryState, RefusalCode, Resume};
use mainstem_net::server::{Left, PeerChainState, PeerList, Seat};

use crate::by_hand::*;
use crate::support::*;

/// The seats of all sessions.
fn seats(peers: &PeerList) -> Vec<Seat> {
    let mut all = Vec::new();
    peers.survey(|session| {
        assert!(session.datagrams > 0);
        all.extend_from_slice(session.seats);
    });
    all
}

fn session(peers: &PeerList) -> u64 {
    let mut found = 0;
    peers.survey(|session| found = session.session);
    found
}

#[test]
fn a_survey_shows_who_speaks_and_how_far_its_source_is() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&identity(2)])], 64);
    let peers = main.server.peer_list();
    assert!(seats(&peers).is_empty());
    let before = peers.ledger_version();
    let (client, _) = start(main.client(&node), &World::new(&[1, 2], 30));
    wait_until("the tip is told", || {
        seats(&peers)
            .first()
            .is_some_and(|seat| seat.state == PeerChainState::Speaker && seat.tip == Some(Height(30)))
    });
    let all = seats(&peers);
    assert_eq!((all.len(), all[1].state), (2, PeerChainState::Refused(RefusalCode::UnknownKey)));
    wait_until("the refusal is written down", || peers.ledger_version() > before);
    assert!(peers.chain_refusals().is_empty(), "a stranger says nothing of how the chain's own nodes do");
    let strangers = peers.strangers();
    assert_eq!((strangers[0].chain, strangers[0].code), (ChainId(2), RefusalCode::UnknownKey));
    assert!(strangers[0].detail.contains("is not registered"), "{strangers:?}");
    assert!(peers.departures().is_empty());
    drop(client);
    wait_until("it has left", || peers.departures().first().is_some_and(|gone| gone.key == node.public()));
    assert!(seats(&peers).is_empty());
    assert_eq!(peers.departures()[0].chains, [ChainId(1)], "the other one it had no right to");
}

#[test]
fn a_node_that_is_deposed_asks_anew_and_one_that_is_hung_up_on_comes_back() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 64);
    let peers = main.server.peer_list();
    let world = World::new(&[1], 30);
    let (client, told) = start(main.client(&node), &world);
    wait_durable(&main, 1, 30);
    let first = session(&peers);
    assert!(peers.depose(first, ChainId(1)));
    assert!(!peers.depose(first, ChainId(9)) && !peers.depose(99, ChainId(1)));
    told.wait_for("the refusal", |event| {
        matches!(event, Event::Refused { code: RefusalCode::NotSpeaker, .. }).then_some(())
    });
    wait_until("it speaks again", || client.status().chains[0].state == ChainState::Speaking);
    world.change(1, |side| side.made = 60);
    wait_durable(&main, 1, 60);

    assert!(peers.hang_up(first, "nothing came"));
    wait_until("it is back", || {
        let now = session(&peers);
        now != first && now != 0
    });
    assert_eq!(peers.departures()[0].how, Left::Lost("nothing came".into()));
    assert!(!peers.hang_up(first, "again"));
    world.change(1, |side| side.made = 90);
    wait_durable(&main, 1, 90);
}

#[test]
fn a_chain_that_is_removed_is_unknown_and_taken_up_again_when_it_is_registered_anew() {
    let node = identity(1);
    let sides = [side(1, &[&node]), side(2, &[&node])];
    let main = Main::start(&sides, 64);
    let (client, told) = start(main.client(&node), &World::new(&[1, 2], 30));
    wait_durable(&main, 1, 30);
    wait_durable(&main, 2, 30);
    let (lane, mut ends) =
        Lane::new(&sides[1], Height(30), Some(hash(ChainId(2), 30, 0)), 64, Doorbell::new().0);
    main.cache.lane(ChainId(2)).unwrap().close();
    main.keys.set_chains(&sides[..1]);
    told.wait_for("the refusal", |event| match event {
        Event::Refused { chain: ChainId(2), code, text } => {
            assert_eq!(*code, RefusalCode::UnknownChain);
            assert!(text.contains("was removed"), "{text}");
            Some(())
        }
        _ => None,
    });
    assert_eq!(client.status().chains[0].state, ChainState::Speaking, "its neighbour goes on");
    main.cache.insert(lane);
    main.keys.set_chains(&sides);
    wait_until("it speaks again", || client.status().chains[1].state == ChainState::Speaking);
    assert_eq!(ends.outlet.available(), 0);
    ends.outlet.take(0, |_| ());
}

/// One hash for heights 2 to 4 of chain 4, and then another one, `times` times, each time after asking for the chain anew.
async fn contradict(raw: &mut Raw, times: usize) {
    raw.send(&frame(&[section(4, 1, 4)])).await;
    let mut lie = section(4, 2, 3);
    lie.blocks.hashes[0] = Hash([0xee; 32]);
    for frames in 2..2 + times as u64 {
        raw.send(&frame(&[Section { blocks: lie.blocks.clone(), ..section(4, 2, 3) }])).await;
        assert_eq!(raw.refused().await.code, RefusalCode::Conflict);
        raw.say(&ClientMessage::Resume(Resume { chain: ChainId(4), frames })).await;
        raw.position().await;
    }
}

#[test]
fn contradictions_count_for_the_key_and_who_is_barred_stands_aside_for_another_node() {
    let (give, take) = std::sync::mpsc::channel();
    let (give_main, main) = std::sync::mpsc::channel();
    let look = move |main: &Main| {
        give.send(main.server.peer_list()).unwrap();
        give_main.send(main.cache.clone()).unwrap();
    };
    with_raw_and(
        |_| (),
        look,
        async move |mut raw: Raw| {
            let (peers, cache) = (take.recv().unwrap(), main.recv().unwrap());
            let lane = cache.lane(ChainId(4)).unwrap();
            raw.hello(&[1, 4]).await;
            contradict(&mut raw, 2).await;
            let counted = || peers.chain_refusals().first().map(|entry| entry.conflicts.clone());
            raw.until(|| counted() == Some(vec![(key(1), 2)])).await;

            let (_other, _) = raw.other_node(&[4], 4);
            raw.until(|| peers.peers().len() == 2).await;
            assert!(peers.bar(ChainId(4), key(1), Duration::from_secs(600)));
            let refused = raw.refused().await;
            assert_eq!(refused.code, RefusalCode::NotSpeaker);
            assert!(refused.detail.contains("contradicted again and again"), "{refused:?}");
            raw.until(|| lane.speaker() == Some(key(2))).await;
            assert!(!peers.bar(ChainId(4), key(1), Duration::from_secs(600)), "it has it no more");
            // It asks in vain, and goes on with its other chain.
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(4), frames: 9 })).await;
            assert_eq!(raw.position().await, EntryState::Refused(RefusalCode::NotSpeaker));
            raw.send(&frame(&[section(1, 1, 3)])).await;
            raw.acked(1, 3).await;

            // The chain is removed, and nothing is held against anybody who comes back.
            peers.forget(ChainId(4));
            assert!(peers.chain_refusals().iter().all(|entry| entry.chain != ChainId(4)));
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(4), frames: 9 })).await;
            assert!(matches!(raw.position().await, EntryState::Standby(_)));
        },
    );
}
