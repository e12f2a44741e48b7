//! What a client is told when it is refused, and what goes on all the same.

use engine::chain::{ChainId, Height};
use mainstem_net::client::{ChainState, ConnectionState, Disconnect, Event};
use mainstem_net::control::RefusalCode;
use mainstem_net::server::ServerConfig;

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
    assert!(reason.to_string().contains("genesis document"), "{reason}");
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
