//! Blocks get through: all of them, in order, and only as far as there is room.

use std::time::{Duration, Instant};

use engine::chain::{ChainId, Height};
use mainstem_net::client::{ChainState, ClientConfig, ConnectionState, Event};

use crate::support::*;

#[test]
fn blocks_of_many_chains_arrive_complete_and_in_order() {
    let node = identity(1);
    let ids: Vec<u32> = (1..=60).map(|id| id * 7).collect();
    let sides: Vec<_> = ids.iter().map(|id| side(*id, &[&node])).collect();
    let main = Main::start(&sides, 128);
    let world = World::new(&ids, 500);
    let mut config = main.client(&node);
    config.data_streams = 3;
    config.batch_bytes = 8 << 10;
    let (client, told) = start(config, &world);
    for id in &ids {
        wait_durable(&main, *id, 500);
    }
    wait_until("the client knows it", || {
        client.status().chains.iter().all(|chain| chain.durable == Height(500))
    });
    for id in &ids {
        main.assert_holds(ChainId(*id), 500);
        assert_eq!(world.side(*id).resumed, [1], "asked once");
    }
    let status = client.status();
    assert_eq!(status.main, Some((MAIN, GENESIS)));
    assert_eq!(status.blocks, 60 * 500, "nothing was sent twice");
    assert!(status.frames >= 60 * 500 * 72 / (8 << 10));
    wait_until("the newest header has come", || client.status().head.is_some());
    assert!(told.any(|event| matches!(event, Event::Head(header) if header.chain_id == MAIN)));
    assert!(
        matches!(status.connection, ConnectionState::Connected { address, .. } if address == main.addr())
    );

    let [peer] = &main.server.peers()[..] else { panic!("one peer") };
    assert_eq!((peer.key, peer.software.as_str()), (node.public(), "test"));
    assert_eq!((peer.chains, peer.speaks_for, peer.blocks), (60, 60, 60 * 500));
    assert_eq!((peer.frames, peer.bytes), (status.frames, status.bytes));
    assert_eq!(peer.last_refusal, None);

    // What comes later flows as well.
    world.change(7, |side| side.made = 700);
    wait_durable(&main, 7, 700);
    client.stop(None);
    wait_until("the peer is gone", || main.server.peers().is_empty());
    main.shutdown();
}

#[test]
fn a_full_lane_stops_its_sender_and_not_its_neighbours() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node])], 64);
    main.hold(ChainId(1));
    let world = World::new(&[1, 2], 5_000);
    let (client, _) = start(main.client(&node), &world);
    wait_durable(&main, 2, 5_000);
    wait_until("chain 1 has filled its lane", || client.status().chains[0].sent == Height(64));
    let stuck = &client.status().chains[0];
    assert_eq!((stuck.durable, stuck.limit), (Height(0), Height(64)), "exactly the limit");
    assert_eq!(stuck.state, ChainState::Speaking, "that is no fault: {:?}", stuck.error);
    assert_eq!(main.durable(ChainId(1)), 0);

    main.let_go(ChainId(1));
    wait_durable(&main, 1, 5_000);
    main.assert_holds(ChainId(1), 5_000);
    main.assert_holds(ChainId(2), 5_000);
    assert_eq!(world.side(1).resumed, [1], "nothing had to be sent again");
}

#[test]
fn a_stop_with_a_drain_waits_until_all_is_durable() {
    [false, true].into_iter().for_each(stop_with_a_drain);
}

fn stop_with_a_drain(quick_source: bool) {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 1_024);
    main.hold(ChainId(1));
    let world = World::new(&[1], 100);
    let (client, _) = start(ClientConfig { quick_source, ..main.client(&node) }, &world);
    wait_until("all is sent", || client.status().chains[0].sent == Height(100));
    let stopping = std::thread::spawn(move || client.stop(Some(Duration::from_secs(30))));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!stopping.is_finished(), "nothing is durable yet");
    main.let_go(ChainId(1));
    let status = stopping.join().unwrap();
    assert_eq!(status.chains[0].durable, Height(100));
    assert!(matches!(status.connection, ConnectionState::Stopped { .. }));
    main.assert_holds(ChainId(1), 100);
}

#[test]
fn a_thousand_chains_with_one_block_each_share_frames() {
    let node = identity(1);
    let ids: Vec<u32> = (1..=1_000).collect();
    let sides: Vec<_> = ids.iter().map(|id| side(*id, &[&node])).collect();
    let main = Main::start(&sides, 16);
    let world = World::new(&ids, 1);
    let (client, _) = start(ClientConfig { quick_source: true, ..main.client(&node) }, &world);
    wait_until("all are durable", || client.status().chains.iter().all(|chain| chain.durable == Height(1)));
    let status = client.status();
    assert_eq!(status.blocks, 1_000);
    assert!(status.frames < 500, "{} frames for 1000 chains", status.frames);
}

#[test]
fn a_source_that_fails_stops_its_chain_only_and_only_while_it_fails() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node]), side(3, &[&node])], 1_024);
    let world = World::new(&[1, 2, 3], 100);
    world.change(1, |side| side.down = true);
    world.change(2, |side| side.floods = true);
    let (client, told) = start(main.client(&node), &world);
    wait_durable(&main, 3, 100);
    let error = told.wait_for("a node that is down", |event| match event {
        Event::SourceFailed { chain: ChainId(1), retry: true, error } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(error, "the node is down");
    world.change(2, |side| side.made = 10_000);
    told.wait_for("a source that gives more than asked for", |event| {
        matches!(event, Event::SourceFailed { chain: ChainId(2), retry: false, .. }).then_some(())
    });
    world.change(1, |side| side.down = false);
    wait_durable(&main, 1, 100);
    let status = client.status();
    assert_eq!(status.chains[0].error, None, "forgotten when it answers");
    assert_eq!(status.chains[1].state, ChainState::Stopped);
    main.assert_holds(ChainId(1), 100);
}

#[test]
fn a_source_that_resumes_and_cannot_be_read_is_told_of_once_and_asked_ever_more_rarely() {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node])], 64);
    let world = World::new(&[1], 10);
    world.change(1, |side| side.unreadable = true);
    let mut config = main.client(&node);
    config.retry_min = Duration::from_millis(1);
    let begun = Instant::now();
    let (client, told) = start(config, &world);
    wait_until("it was tried nine times", || world.side(1).resumed.len() >= 9);
    // Half of 1 + 2 + 4 + .. + 128 ms at least.
    assert!(begun.elapsed() >= Duration::from_millis(127), "{:?}", begun.elapsed());
    assert_eq!(told.count(|event| matches!(event, Event::SourceFailed { .. })), 1);
    assert_eq!(client.status().chains[0].error.as_deref(), Some("the node is down"));
    world.change(1, |side| side.unreadable = false);
    wait_durable(&main, 1, 10);
    assert_eq!(client.status().chains[0].error, None);
}

#[test]
fn a_source_that_panics_stops_the_client_and_it_says_so() {
    [false, true].into_iter().for_each(source_that_panics);
}

fn source_that_panics(quick_source: bool) {
    let node = identity(1);
    let main = Main::start(&[side(1, &[&node]), side(2, &[&node])], 64);
    let world = World::new(&[1, 2], 10);
    let (client, told) = start(ClientConfig { quick_source, ..main.client(&node) }, &world);
    wait_durable(&main, 2, 10);
    world.change(1, |side| side.panics = true);
    let reason = told.wait_for("the end", |event| match event {
        Event::Disconnected { reason, retry_in: None } => Some(reason.to_string()),
        _ => None,
    });
    assert_eq!(reason, "reading the source panicked");
    wait_until("the connection is given up", || {
        matches!(client.status().connection, ConnectionState::Stopped { .. })
            && main.server.peers().is_empty()
    });
    for chain in client.status().chains {
        assert_eq!((chain.state, chain.error), (ChainState::Stopped, Some(reason.clone())));
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refuse = |change: fn(&mut ClientConfig)| {
        let mut config = client_config(([127, 0, 0, 1], 1).into(), &identity(1));
        change(&mut config);
        mainstem_net::client::Client::start(config, World::new(&[1], 0).node()).unwrap_err().to_string()
    };
    assert!(
        refuse(|config| config.server = "example.org".into())
            .starts_with("server is \"example.org\", expected host:port")
    );
    assert!(refuse(|config| config.data_streams = 9).starts_with("data_streams is 9"));
    assert!(refuse(|config| config.batch_bytes = 135).starts_with("batch_bytes is 135"));
    assert!(refuse(|config| config.poll_min = Duration::ZERO).starts_with("poll_min"));
    let none = mainstem_net::client::Client::start(
        client_config(([127, 0, 0, 1], 1).into(), &identity(1)),
        World::new(&[], 0).node(),
    );
    assert!(none.unwrap_err().to_string().starts_with("chains of the source is 0"));
}

#[test]
fn frames_wait_for_memory_and_all_get_their_turn() {
    let node = identity(1);
    let ids: Vec<u32> = (1..=16).collect();
    let sides: Vec<_> = ids.iter().map(|id| side(*id, &[&node])).collect();
    // Room for one frame of the longest.
    let main =
        Main::start_with(&sides, 4_096, Stored::default(), |config| config.frame_memory_bytes = 1 << 20);
    let world = World::new(&ids, 5_000);
    let mut config = main.client(&node);
    (config.data_streams, config.batch_bytes) = (8, 1 << 20);
    let (_client, _) = start(config, &world);
    for id in ids {
        wait_durable(&main, id, 5_000);
        main.assert_holds(ChainId(id), 5_000);
    }
}

#[test]
fn several_reactors_serve_one_port_and_one_table_of_lanes() {
    let nodes: Vec<_> = (1..=6).map(identity).collect();
    let sides: Vec<_> = nodes.iter().zip(1..).map(|(node, id)| side(id, &[node, &nodes[0]])).collect();
    let two = std::num::NonZeroUsize::new(2).unwrap();
    let main = Main::start_with(&sides, 256, Stored::default(), |config| config.reactors = two);
    let clients: Vec<_> =
        nodes.iter().zip(1..).map(|(node, id)| start(main.client(node), &World::new(&[id], 1_000))).collect();
    for id in 1..=6 {
        wait_durable(&main, id, 1_000);
        main.assert_holds(ChainId(id), 1_000);
    }
    assert_eq!(main.server.peers().len(), 6);
    // Whichever reactor each is on: one ends, the other is told.
    let (_stands_by, told) = start(main.client(&nodes[0]), &World::new(&[6], 1_500));
    told.wait_for("standing by", |event| matches!(event, Event::Standby { .. }).then_some(()));
    drop(clients);
    wait_durable(&main, 6, 1_500);
    main.shutdown();
}
