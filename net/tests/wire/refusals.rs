//! What a client is told when it is refused, and what goes on all the same.

use engine::chain::{ChainId, Height};
use mainstem_net::client::{ChainState, ConnectionState, Disconnect, Event};
use mainstem_net::control::RefusalCode;
use mainstem_net::server::{KeyChanges, PeerChainState, ServerConfig};

use crate::support::*;

fn disconnected(told: &Told) -> Disconnect {
    told.wait_for("being disconnected", |event| match event {
        Event::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn refused(told: &Told, id: u32) -> (RefusalCode, String) {
    told.wait_for("a refusal", |event| match event {
        Event::Refused { chain, code, text } if *chain == ChainId(id) => Some((*code, text.clone())),
        _ => None,
    })
}

#[test]
fn an_unknown_key_is_refused_with_what_to_do() {
    let main = Main::start(&[side(1, &[&identity(1)])], 64);
    let (client, told) = start(main.client(&identity(2)), &World::new(&[1], 10));
    let reason = disconnected(&told);
    assert_eq!((reason.code, reason.lasting), (Some(RefusalCode::UnknownKey), true));
    assert!(reason.to_string().contains("keys rotate --keep-old"), "{reason}");
    wait_until("it waits to try again", || {
        matches!(client.status().connection, ConnectionState::Waiting { .. })
    });
    assert!(main.server.peers().is_empty());
}

#[test]
fn a_program_that_runs_once_gives_up() {
    let main = Main::start(&[side(1, &[&identity(1)])], 64);
    let mut config = main.client(&identity(2));
    config.give_up_on_refusal = true;
    let (client, _) = start(config, &World::new(&[1], 10));
    wait_until(
        "it gives up",
        || matches!(&client.status().connection, ConnectionState::Stopped { reason } if reason.contains("unknown-key")),
    );
}

#[test]
fn another_server_key_is_not_talked_to() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 64);
    let mut config = main.client(&node);
    config.server_keys = vec![key(9)];
    let (_client, told) = start(config, &World::new(&[1], 10));
    let reason = disconnected(&told);
    assert!(reason.lasting && reason.text.contains(&key(9).to_string()), "{reason}");
    assert_eq!(main.durable(ChainId(1)), 0);
}

#[test]
fn chains_that_cannot_be_served_do_not_stop_those_that_can() {
    let (node, other) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&node]), side(2, &[&other])], 64);
    let (client, told) = start(main.client(&node), &World::new(&[1, 2, 3], 100));
    wait_durable(&main, 1, 100);
    assert_eq!(refused(&told, 2).0, RefusalCode::UnknownKey);
    assert_eq!(refused(&told, 3).0, RefusalCode::UnknownChain);
    let status = client.status();
    let states: Vec<_> = status.chains.iter().map(|chain| chain.state).collect();
    let refused = ChainState::Refused;
    assert_eq!(
        states,
        [ChainState::Speaking, refused(RefusalCode::UnknownKey), refused(RefusalCode::UnknownChain)]
    );
    assert!(status.chains[2].error.as_ref().unwrap().contains("unknown-chain"));
    assert_eq!(main.durable(ChainId(2)), 0);
}

#[test]
fn a_client_none_of_whose_chains_can_be_served_is_told_why() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 64);
    let (_client, told) = start(main.client(&node), &World::new(&[5, 6], 10));
    let reason = disconnected(&told);
    assert_eq!((reason.code, reason.lasting), (Some(RefusalCode::UnknownChain), true));
    let named = format!("{}, {}", ChainId(5), ChainId(6));
    assert!(reason.text.contains(&named), "{reason}");
}

#[test]
fn a_chain_that_becomes_known_later_is_taken_up() {
    let node = identity(1);
    let sides = [side(1, &[&node]), side(2, &[&node])];
    let main = Main::start(&sides[..1], 64);
    let (client, told) = start(main.client(&node), &World::new(&[1, 2], 20));
    assert_eq!(refused(&told, 2).0, RefusalCode::UnknownChain);
    let (lane, mut ends) =
        engine::lane::Lane::new(&sides[1], Height(0), None, 64, engine::sync::Doorbell::new().0);
    main.cache.insert(lane);
    wait_until("its blocks arrive", || ends.outlet.available() == 20);
    ends.outlet.take(20, |_| ());
    assert_eq!(client.status().chains[1].state, ChainState::Speaking);
}

#[test]
fn a_chain_that_lies_stops_and_its_neighbour_does_not() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node])], 64);
    let world = World::new(&[1, 2], 50);
    let (client, told) = start(main.client(&node), &world);
    wait_durable(&main, 1, 50);
    // Its next block names a parent that was never sent.
    world.change(1, |side| {
        side.lies_from = Some(51);
        side.made = 60;
    });
    let (code, text) = refused(&told, 1);
    assert_eq!(code, RefusalCode::WrongParent);
    assert!(text.contains("height 51"), "{text}");
    let expected = hash(ChainId(1), 50, 0).to_string();
    assert!(text.contains(&expected), "both hashes are named: {text}");
    assert!(main.cache.lane(ChainId(1)).unwrap().evidence().is_some(), "kept as evidence");
    world.change(2, |side| side.made = 5_000);
    wait_durable(&main, 2, 5_000);
    main.assert_holds(ChainId(1), 50);
    main.assert_holds(ChainId(2), 5_000);
    let peers = main.server.peers();
    let refusal = peers[0].last_refusal.as_ref().unwrap();
    assert_eq!((refusal.chain, refusal.code), (Some(ChainId(1)), RefusalCode::WrongParent));

    // It comes to its senses: the client has tried again and again, and goes on.
    world.change(1, |side| side.lies_from = None);
    wait_durable(&main, 1, 60);
    main.assert_holds(ChainId(1), 60);
    wait_until("the error is forgotten", || client.status().chains[0].error.is_none());
}

#[test]
fn connections_beyond_the_limits_of_the_server_are_let_in_when_there_is_room() {
    let (first, second) = (identity(1), identity(2));
    let sides = [side(1, &[&first]), side(2, &[&second])];
    let limits: [fn(&mut ServerConfig); 2] =
        [|config| config.max_connections_per_address = 1, |config| config.max_sessions = 1];
    for set in limits {
        let main = Main::start_with(&sides, 64, Stored::default(), set);
        let (client, _) = start(main.client(&first), &World::new(&[1], 10));
        wait_durable(&main, 1, 10);
        let (_second, told) = start(main.client(&second), &World::new(&[2], 10));
        let reason = disconnected(&told);
        assert!(!reason.lasting, "{reason}");
        assert_eq!(main.server.peers().len(), 1);
        client.stop(None);
        wait_durable(&main, 2, 10);
    }
}

#[test]
fn a_revoked_key_is_told_so_and_does_not_come_in_again_while_others_go_on() {
    let (first, second) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&first]), side(2, &[&second])], 64);
    let (_first, told) = start(main.client(&first), &World::new(&[1], 10));
    let world = World::new(&[2], 10);
    let (_second, others) = start(main.client(&second), &world);
    wait_durable(&main, 1, 10);
    wait_durable(&main, 2, 10);
    main.keys.set(KeyChanges { revoked: [key(1)].into(), ..KeyChanges::default() });
    let reason = disconnected(&told);
    assert_eq!((reason.code, reason.lasting), (Some(RefusalCode::Revoked), true), "{reason}");
    let list = main.server.peer_list();
    wait_until("it tries again in vain", || list.counters().handshakes_revoked_key > 0);
    let refusals = list.refusals();
    let refusal = refusals.iter().find(|refusal| refusal.key == key(1)).unwrap();
    assert_eq!((refusal.registered, refusal.chain, refusal.code), (true, None, RefusalCode::Revoked));
    assert!(refusal.count >= 2, "its session and its handshake");
    world.change(2, |side| side.made = 50);
    wait_durable(&main, 2, 50);
    assert_eq!(others.count(|event| matches!(event, Event::Disconnected { .. })), 0);

    // The operator thinks better of it.
    main.keys.set(KeyChanges::default());
    wait_until("it is back", || main.server.peers().len() == 2);
}

#[test]
fn a_new_key_stands_for_a_registered_one_until_it_does_not() {
    let (old, new) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&old])], 64);
    let (_client, told) = start(main.client(&new), &World::new(&[1], 10));
    assert_eq!(disconnected(&told).code, Some(RefusalCode::UnknownKey));
    main.keys.set(KeyChanges { revoked: [key(1)].into(), stands_for: [(key(2), key(1))].into() });
    wait_durable(&main, 1, 10);
    let list = main.server.peer_list();
    let [peer] = &list.peers()[..] else { panic!("one peer") };
    assert_eq!((peer.key, peer.presented, peer.speaks_for), (key(1), key(2), 1));
    let [chain] = &list.chains(peer.session).unwrap()[..] else { panic!("one chain") };
    assert_eq!((chain.chain, chain.state), (ChainId(1), PeerChainState::Speaker));
    assert_eq!((chain.received, chain.durable), (Height(10), Height(10)));
    assert_eq!(list.chains(peer.session + 1), None);
    assert_eq!(
        main.cache.lane(ChainId(1)).unwrap().speaker(),
        Some(key(1)),
        "in the lanes it is the old one"
    );

    main.keys.set(KeyChanges::default());
    told.wait_for("being struck off", |event| match event {
        Event::Disconnected { reason, .. } if reason.code == Some(RefusalCode::Revoked) => Some(()),
        _ => None,
    });
}

#[test]
fn refusals_are_kept_by_key_and_counted() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node])], 64);
    let list = main.server.peer_list();
    let (_stranger, _) = start(main.client(&identity(9)), &World::new(&[1], 1));
    let world = World::new(&[1, 2], 10);
    let (_client, _) = start(main.client(&node), &world);
    wait_durable(&main, 1, 10);
    wait_durable(&main, 2, 10);
    world.change(2, |side| (side.made, side.lies_from) = (20, Some(11)));
    wait_until("both were refused", || list.refusals().len() == 2);
    wait_until("a chain was refused", || list.counters().chain_refusals.total() > 0);
    let of = |seed| list.refusals().into_iter().find(|refusal| refusal.key == key(seed)).unwrap();
    let (stranger, known) = (of(9), of(1));
    assert_eq!((stranger.registered, stranger.chain, stranger.code), (false, None, RefusalCode::UnknownKey));
    assert!(stranger.address.ip().is_loopback());
    assert_eq!((known.registered, known.chain), (true, Some(ChainId(2))));
    let counters = list.counters();
    assert!(counters.handshakes_unknown_key >= 1 && counters.handshakes_failed >= 1);
    assert_eq!((counters.sessions, counters.sessions_opened, counters.handshakes_completed), (1, 1, 1));
    assert!(counters.blocks >= 10 && counters.frames >= 1 && counters.control_messages >= 1);
    assert!(counters.handshakes_started >= 2);
    let [peer] = &list.peers()[..] else { panic!("one peer") };
    assert!(peer.last_frame.is_some() && peer.window_bytes >= 8 << 10);
}

#[test]
fn who_begins_too_many_handshakes_has_to_show_its_address_and_to_wait() {
    let nodes: Vec<_> = (1..=6).map(identity).collect();
    let sides: Vec<_> = nodes.iter().zip(1..).map(|(node, id)| side(id, &[node])).collect();
    let main = Main::start_with(&sides, 64, Stored::default(), |config| {
        (config.handshakes_per_address, config.handshake_burst) = (5, 2);
    });
    let clients: Vec<_> =
        nodes.iter().zip(1..).map(|(node, id)| start(main.client(node), &World::new(&[id], 10))).collect();
    for id in 1..=6 {
        wait_durable(&main, id, 10);
    }
    let counters = main.server.peer_list().counters();
    // Two come in at once, all others after a Retry; of those two at once.
    assert!(counters.retries_sent >= 4, "{counters:?}");
    assert_eq!(counters.sessions, 6);
    drop(clients);
}

#[test]
fn windows_are_earned_and_given_back() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 1 << 16);
    let list = main.server.peer_list();
    let (client, _) = start(main.client(&node), &World::new(&[1], 200_000));
    wait_durable(&main, 1, 200_000);
    let [peer] = &list.peers()[..] else { panic!("one peer") };
    assert!(peer.window_bytes > 128 << 10, "{} bytes", peer.window_bytes);
    assert_eq!(list.counters().window_bytes, peer.window_bytes);
    client.stop(None);
    wait_until("it has gone", || list.counters().sessions == 0 && list.counters().window_bytes == 0);
    assert_eq!(list.counters().frame_memory_bytes, 0);
}

#[test]
fn a_hello_of_mostly_other_chains_is_refused_when_they_are_many() {
    let node = identity(1);
    let sides: Vec<_> = (1..=4).map(|id| side(id, &[&node])).collect();
    let main = Main::start_with(&sides, 64, Stored::default(), |config| config.max_refused_chains = 2);
    let ids = |all: std::ops::RangeInclusive<u32>| all.collect::<Vec<_>>();
    let (_fits, _) = start(main.client(&node), &World::new(&ids(1..=10), 5));
    wait_durable(&main, 4, 5);
    let (_client, told) = start(main.client(&node), &World::new(&ids(1..=11), 5));
    let reason = disconnected(&told);
    assert_eq!(reason.code, Some(RefusalCode::NoChain));
    assert!(reason.text.contains("7 chains of the hello cannot be served and 4 can"), "{reason}");
}
