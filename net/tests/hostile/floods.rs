//! More of everything than anybody needs.

use engine::chain::{ChainId, Height};
use mainstem_net::control::{ClientMessage, Message, RefusalCode, Resume, ServerMessage, Tip};
use mainstem_net::identity::{Refusal, refusal};
use quinn::{ConnectionError, VarInt};

use crate::by_hand::*;
use crate::scene::{NODES, Scene};
use crate::support::*;

#[test]
fn a_flood_of_short_streams_is_read_and_forgotten() {
    let scene = Scene::new(|_| ());
    scene.peer(NODES[0], async |mut raw: Raw| {
        raw.hello(&[1]).await;
        for _ in 0..1_000 {
            raw.connection.open_uni().await.unwrap().finish().unwrap();
        }
        raw.send(&frame(&[section(1, 1, 1)])).await;
        raw.acked(1, 1).await;
    });
    scene.calm();
}

/// Each message that asks for something, a thousand times, and no answer read meanwhile; then a frame that is acked.
#[test]
fn floods_of_messages_are_heard_at_the_servers_pace() {
    let scene = Scene::new(|_| ());
    let resume = ClientMessage::Resume(Resume { chain: ChainId(1), frames: 0 });
    let leave = ClientMessage::Leave(ChainId(1));
    let tips = (1..=4).map(|id| Tip { chain: ChainId(id), height: Height::MAX }).collect();
    let floods = [
        vec![resume.clone()],
        vec![leave, resume],
        vec![ClientMessage::Tips(tips)],
        vec![ClientMessage::Follow(Height(0)), ClientMessage::Follow(Height(1))],
    ];
    for (flood, height) in floods.into_iter().zip(1..) {
        let before = scene.counters().control_messages;
        let mut bytes = Vec::new();
        flood.iter().for_each(|message| message.encode(&mut bytes));
        let bytes = bytes.repeat(1_000);
        scene.peer(NODES[0], async move |mut raw: Raw| {
            raw.hello(&[1, 2, 3, 4]).await;
            raw.send.write_all(&bytes).await.unwrap();
            raw.send(&frame(&[section(3, height, 1)])).await;
            loop {
                if let ServerMessage::Ack(acks) = raw.hear().await
                    && acks.iter().any(|ack| ack.chain == ChainId(3) && ack.durable >= Height(height))
                {
                    break;
                }
            }
        });
        // What had not come when the connection ended may be lost.
        assert!(scene.counters().control_messages > before);
    }
    scene.calm();
}

#[test]
fn a_key_has_as_many_sessions_as_it_may_have_and_the_newest_stay() {
    let scene = Scene::new(|config| config.max_sessions_per_key = 3);
    let ground = scene.ground();
    let (superseded, alive) = scene.hostile(async move {
        let mut all = Vec::new();
        for _ in 0..30 {
            let mut raw = ground.connect(NODES[0]).await.unwrap();
            raw.hello(&[1]).await;
            all.push(raw);
        }
        let mut superseded = 0;
        for raw in &all[..27] {
            let (code, _) = raw.closed().await;
            superseded += u64::from(code == RefusalCode::Superseded);
        }
        let alive = all[27..].iter().filter(|raw| raw.connection.close_reason().is_none()).count();
        (superseded, alive)
    });
    assert_eq!((superseded, alive), (27, 3));
    assert_eq!(scene.counters().closes.get(RefusalCode::Superseded), 27);
    scene.calm();
}

#[test]
fn strangers_are_turned_away_by_the_hundred() {
    let scene = Scene::new(|_| ());
    let before = scene.counters();
    let ground = scene.ground();
    scene.hostile(async move {
        for _ in 0..100 {
            let error = match ground.connect(99).await {
                Ok(raw) => raw.connection.closed().await,
                Err(error) => error,
            };
            assert_eq!(refusal(&error), Some(Refusal::KeyNotRegistered), "{error}");
        }
    });
    // A client hears of it a moment before the server has written it down.
    wait_until("all are counted", || {
        scene.counters().handshakes_unknown_key - before.handshakes_unknown_key >= 100
    });
    let after = scene.counters();
    assert_eq!(after.handshakes_unknown_key - before.handshakes_unknown_key, 100);
    assert_eq!(after.sessions_opened, before.sessions_opened);
    let refusals = scene.main.server.peer_list().refusals();
    let stranger = refusals.iter().find(|refusal| refusal.key == key(99)).unwrap();
    assert_eq!((stranger.count, stranger.registered, stranger.code), (100, false, RefusalCode::UnknownKey));
    scene.calm();
}

#[test]
fn an_address_that_begins_too_many_handshakes_is_refused_for_a_while() {
    let scene = Scene::new(|config| {
        config.handshakes_per_address = 1;
        config.handshake_burst = 10;
    });
    let ground = scene.ground();
    let (in_time, refused) = scene.hostile(async move {
        let (mut in_time, mut refused) = (0, 0);
        for _ in 0..60 {
            match ground.connect(NODES[0]).await {
                Ok(raw) => {
                    raw.connection.close(VarInt::from_u32(0), b"");
                    in_time += 1;
                }
                Err(ConnectionError::ConnectionClosed(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        (in_time, refused)
    });
    assert!(in_time >= 9 && refused >= 1, "{in_time} got in, {refused} did not");
    assert!(scene.counters().refused_rate >= refused);
    scene.calm();
}

#[test]
fn an_address_with_too_many_connections_gets_no_further_one() {
    let scene = Scene::new(|config| {
        config.max_connections_per_address = 5;
        config.max_sessions_per_key = 20;
    });
    let ground = scene.ground();
    let refused = scene.hostile(async move {
        let mut all = Vec::new();
        let mut refused = 0;
        for _ in 0..20 {
            match ground.connect(NODES[1]).await {
                Ok(raw) => all.push(raw),
                Err(ConnectionError::ConnectionClosed(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        refused
    });
    assert!(refused >= 1);
    assert!(scene.counters().refused_address >= refused);
    scene.calm();
}
