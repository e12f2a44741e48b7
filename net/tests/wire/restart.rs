//! Connections break, servers restart, nodes take over from each other.

use std::time::Duration;

use engine::chain::{ChainId, Height};
use mainstem_net::client::{ChainState, Event};
use mainstem_net::control::RefusalCode;

use crate::support::*;

#[test]
fn after_a_restart_each_chain_goes_on_right_after_what_the_main_chain_has() {
    let node = identity(1);
    let sides = [side(1, &[&node]), side(2, &[&node])];
    let mut main = Main::start(&sides, 200);
    let (addr, stored) = (main.addr(), main.stored.clone());
    let world = World::new(&[1, 2], 100);
    let (client, told) = start(main.client(&node), &world);
    wait_durable(&main, 1, 100);
    wait_durable(&main, 2, 100);

    // Received, not durable: lost in the restart.
    main.hold(ChainId(2));
    world.change(2, |side| side.made = 250);
    wait_until("it is received", || main.cache.lane(ChainId(2)).unwrap().cursors().received == 250);
    main.end_persisting();
    main.shutdown();
    let reason = told.wait_for("the shutdown", |event| match event {
        Event::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.code, Some(RefusalCode::ShuttingDown), "{reason}");
    wait_until("the client says that it is offline", || {
        client.status().chains[0].state == ChainState::Offline
    });

    world.change(1, |side| side.made = 300);
    let main = Main::start_with(&sides, 200, stored, |config| config.addr = addr);
    wait_durable(&main, 1, 300);
    wait_durable(&main, 2, 250);
    main.assert_holds(ChainId(1), 300);
    main.assert_holds(ChainId(2), 250);
    assert_eq!(world.side(1).resumed, [1, 101]);
    assert_eq!(world.side(2).resumed, [1, 101], "at what was durable, though more had been sent");
    assert_eq!(client.status().connections, 2);
}

#[test]
fn a_server_that_comes_later_is_found() {
    let node = identity(1);
    let sides = [side(1, &[&node])];
    let main = Main::start(&sides, 64);
    let addr = main.addr();
    main.shutdown();
    let world = World::new(&[1], 10);
    let mut config = client_config(addr, &node);
    config.connect_timeout = Duration::from_millis(200);
    let (client, told) = start(config, &world);
    told.wait_for("nobody there", |event| matches!(event, Event::Disconnected { .. }).then_some(()));
    let main = Main::start_with(&sides, 64, Stored::default(), |config| config.addr = addr);
    wait_durable(&main, 1, 10);
    drop(client);
}

#[test]
fn a_node_that_stands_by_takes_over_when_the_speaker_ends() {
    let (first, second) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&first, &second])], 1_024);
    let (world_1, world_2) = (World::new(&[1], 100), World::new(&[1], 300));
    let (client_1, _) = start(main.client(&first), &world_1);
    wait_durable(&main, 1, 100);
    let (client_2, told) = start(main.client(&second), &world_2);
    told.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));
    assert_eq!(client_2.status().chains[0].state, ChainState::Standby);
    assert_eq!(main.cache.lane(ChainId(1)).unwrap().speaker(), Some(first.public()));
    assert_eq!(world_2.side(1).resumed, [] as [u64; 0]);

    client_1.stop(None);
    wait_durable(&main, 1, 300);
    main.assert_holds(ChainId(1), 300);
    assert_eq!(world_2.side(1).resumed, [101]);
    assert_eq!(main.cache.lane(ChainId(1)).unwrap().speaker(), Some(second.public()));
}

#[test]
fn a_node_that_stands_by_takes_over_while_the_source_of_the_speaker_fails() {
    let (first, second) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&first, &second])], 1_024);
    let (world_1, world_2) = (World::new(&[1], 100), World::new(&[1], 300));
    let (client_1, _) = start(main.client(&first), &world_1);
    wait_durable(&main, 1, 100);
    let (client_2, told_2) = start(main.client(&second), &world_2);
    told_2.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));

    world_1.change(1, |side| side.down = true);
    wait_durable(&main, 1, 300);
    wait_until("the one whose source fails stands by", || {
        client_1.status().chains[0].state == ChainState::Standby
    });

    // It is well again, and takes over in its turn.
    world_1.change(1, |side| (side.down, side.made) = (false, 400));
    world_2.change(1, |side| side.down = true);
    wait_durable(&main, 1, 400);
    main.assert_holds(ChainId(1), 400);
    wait_until("its error is forgotten", || {
        let chain = &client_1.status().chains[0];
        (chain.state, &chain.error) == (ChainState::Speaking, &None)
    });
    drop(client_2);
}

#[test]
fn a_node_whose_chain_forked_stops_with_both_hashes_and_another_node_takes_over() {
    let (first, second) = (identity(1), identity(2));
    let main = Main::start(&[side(1, &[&first, &second]), side(2, &[&first])], 1_024);
    let world_1 = World::new(&[1, 2], 100);
    let (client_1, told_1) = start(main.client(&first), &world_1);
    wait_durable(&main, 1, 100);
    let world_2 = World::new(&[1], 300);
    let (_client_2, told_2) = start(main.client(&second), &world_2);
    told_2.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));

    world_1.change(1, |side| side.forked_at = Some(90));
    let fork = told_1.wait_for("the fork", |event| match event {
        Event::Fork { chain, height, ours, theirs } => Some((*chain, *height, *ours, *theirs)),
        _ => None,
    });
    let chain = ChainId(1);
    assert_eq!(fork, (chain, Height(100), hash(chain, 100, 1), hash(chain, 100, 0)));
    let status = client_1.status();
    assert_eq!(status.chains[0].state, ChainState::Stopped);
    assert!(status.chains[0].error.as_ref().unwrap().contains("reorganised"), "{:?}", status.chains[0].error);

    wait_durable(&main, 1, 300);
    main.assert_holds(chain, 300);
    world_1.change(2, |side| side.made = 200);
    wait_durable(&main, 2, 200);
}

#[test]
fn a_node_that_connects_again_takes_over_from_its_older_session() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 1_024);
    let (world_1, world_2) = (World::new(&[1], 100), World::new(&[1], 200));
    let (client_1, told_1) = start(main.client(&node), &world_1);
    wait_durable(&main, 1, 100);
    let (_client_2, _) = start(main.client(&node), &world_2);
    wait_durable(&main, 1, 200);
    world_1.change(1, |side| side.made = 101);
    told_1.wait_for("being refused", |event| {
        matches!(event, Event::Refused { code: RefusalCode::NotSpeaker, .. }).then_some(())
    });
    drop(client_1);
    main.assert_holds(ChainId(1), 200);
}

#[test]
fn a_node_replaces_its_own_session_on_a_server_that_is_full() {
    let (node, other) = (identity(1), identity(2));
    let sides = [side(1, &[&node]), side(2, &[&other])];
    let main = Main::start_with(&sides, 64, Stored::default(), |config| config.max_sessions = 1);
    let (_client_1, _) = start(main.client(&node), &World::new(&[1], 10));
    wait_durable(&main, 1, 10);
    let (_stranger, told) = start(main.client(&other), &World::new(&[2], 10));
    let reason = told.wait_for("a server that is full", |event| match event {
        Event::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.code, Some(RefusalCode::Busy));
    let (_client_2, _) = start(main.client(&node), &World::new(&[1], 20));
    wait_durable(&main, 1, 20);
    assert_eq!(main.durable(ChainId(2)), 0);
}

#[test]
fn the_oldest_session_of_a_key_makes_room_for_a_new_one() {
    let node = identity(1);
    let sides = [side(1, &[&node]), side(2, &[&node])];
    let main = Main::start_with(&sides, 64, Stored::default(), |config| config.max_sessions_per_key = 1);
    let (_client_1, told) = start(main.client(&node), &World::new(&[1], 10));
    wait_durable(&main, 1, 10);
    let mut config = main.client(&node);
    config.retry_min = Duration::from_millis(400);
    let (_client_2, _) = start(config, &World::new(&[2], 10));
    let reason = told.wait_for("being superseded", |event| match event {
        Event::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.code, Some(RefusalCode::Superseded));
    assert!(reason.to_string().contains("a key of its own"), "{reason}");
    wait_durable(&main, 2, 10);
}
