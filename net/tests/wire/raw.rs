//! A client made by hand, which does what ours never does. More of the kind, and what it costs, is in `tests/hostile`.

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Hash, Height};
use mainstem_net::client::Event;
use mainstem_net::control::{ClientMessage, EntryState, Hello, RefusalCode, Resume, ServerMessage};
use mainstem_net::endpoint::{self, Limits};
use mainstem_net::frame::MAX_FRAME_BYTES;
use mainstem_net::reactor::{Reactor, race};
use mainstem_net::server::{KeyChanges, NodeKeys};

use crate::by_hand::*;
use crate::support::*;

#[test]
fn another_protocol_version_is_refused_whatever_follows_it() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.send.write_all(&[1, 4, 0, 0, 0, 2, 0, 0xff, 0xff]).await.unwrap();
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::WrongVersion);
            assert_eq!(reason, "protocol version is 2; expected 1");
        },
    );
}

#[test]
fn what_is_no_message_ends_the_connection() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.send.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::BadMessage);
            assert!(reason.starts_with("message type is 0x47; expected hello"), "{reason}");
        },
    );
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.say(&ClientMessage::Hello(Hello { software: String::new(), chains: vec![ChainId(1)] })).await;
            assert_eq!(raw.closed().await.0, RefusalCode::BadMessage);
        },
    );
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.say(&ClientMessage::Leave(ChainId(2))).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(
                (code, reason.as_str()),
                (RefusalCode::BadMessage, "a message names chain 2, which the hello did not")
            );
        },
    );
}

#[test]
fn a_bad_frame_ends_the_connection_and_none_of_it_counts() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1, 2]).await;
            raw.send(&frame(&[section(1, 1, 5)])).await;
            raw.acked(1, 5).await;
            let mut wrong = frame(&[section(1, 6, 5), section(2, 1, 5)]);
            *wrong.last_mut().unwrap() ^= 1;
            raw.send(&wrong).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::BadFrame);
            assert!(reason.starts_with("frame checksum is 0x"), "{reason}");
        },
    );
    main.assert_holds(ChainId(1), 5);
    main.assert_holds(ChainId(2), 0);
    wait_until("its chains are given up", || main.cache.lane(ChainId(1)).unwrap().speaker().is_none());
}

#[test]
fn the_length_of_a_frame_is_refused_before_its_body() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            // A whole frame, without which there is but one stream. It brings nothing, or more memory would be its due.
            raw.send(&frame(&[section(1, 5, 1)])).await;
            raw.refused().await;
            let mut header = frame(&[section(1, 1, 1)])[..16].to_vec();
            header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
            raw.send(&header).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::BadFrame);
            assert!(reason.starts_with("frame length is 4294967295"), "{reason}");
        },
    );
}

#[test]
fn frames_longer_than_the_server_takes_are_refused_before_their_body() {
    with_raw(
        |config| config.max_frame_bytes = 1_000,
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 1, 10)])).await;
            raw.acked(1, 10).await;
            raw.send(&frame(&[section(1, 11, 20)])[..16]).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::BadFrame);
            assert_eq!(reason, "a frame has 1504 bytes; this server takes 1000 at most");
        },
    );
}

#[test]
fn headers_come_with_acks_and_else_no_faster_than_their_pace() {
    with_raw(
        |config| config.header_pace = Duration::from_secs(3_600),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            let (other, _) = raw.other_node(&[2], 50);
            raw.until(|| other.0.as_ref().unwrap().status().chains[0].durable == Height(50)).await;
            raw.send(&frame(&[section(1, 1, 3)])).await;
            let first = raw.hear().await;
            assert!(matches!(first, ServerMessage::Ack(_)), "an ack before any header: {first:?}");
            while !matches!(raw.hear().await, ServerMessage::Header(_)) {}
        },
    );
    with_raw(
        |config| config.header_pace = Duration::from_millis(1),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            let (_other, _) = raw.other_node(&[2], 50);
            let first = raw.hear().await;
            assert!(
                matches!(first, ServerMessage::Header(_)),
                "a head that is none of its business: {first:?}"
            );
        },
    );
}

#[test]
fn a_stream_that_ends_within_a_frame_is_a_bad_frame_and_between_frames_it_is_none() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 1, 3)])).await;
            raw.data.take().unwrap().finish().unwrap();
            raw.acked(1, 3).await;
            raw.send(&frame(&[section(2, 1, 3)])[..40]).await;
            raw.data.take().unwrap().finish().unwrap();
            let (code, reason) = raw.closed().await;
            assert_eq!(
                (code, reason.as_str()),
                (RefusalCode::BadFrame, "the data stream ended within a frame")
            );
        },
    );
}

#[test]
fn a_chain_that_the_hello_did_not_name_ends_the_connection_and_nothing_of_the_frame_counts() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 1, 1), section(2, 1, 1)])).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(
                (code, reason.as_str()),
                (RefusalCode::UnknownChain, "a frame names chain 2, which the hello did not")
            );
        },
    );
    assert_eq!(main.cache.lane(ChainId(1)).unwrap().cursors().received, 0);
}

#[test]
fn who_stands_by_speaks_when_one_frame_is_both_refused_and_at_fault() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            let (_other, told) = raw.other_node(&[1], 0);
            raw.until(|| told.any(|event| matches!(event, Event::Standby { .. }))).await;
            // No head comes that would wake it by chance.
            raw.send(&frame(&[section(1, 7, 1), section(2, 1, 1)])).await;
            assert_eq!(raw.closed().await.0, RefusalCode::UnknownChain);
            raw.until(|| told.any(|event| matches!(event, Event::Speaking { .. }))).await;
        },
    );
}

#[test]
fn a_chain_stays_on_its_stream() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 1, 1)])).await;
            raw.acked(1, 1).await;
            raw.data = None;
            raw.send(&frame(&[section(1, 2, 1)])).await;
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::BadFrame);
            assert!(reason.contains("two data streams"), "{reason}");
        },
    );
}

#[test]
fn a_refused_section_silences_its_chain_and_not_its_neighbours() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1, 2, 3]).await;
            raw.send(&frame(&[section(1, 1, 10), section(2, 1, 10), section(3, 1, 10)])).await;
            raw.acked(3, 10).await;

            // One frame, three faults of one chain after the other; the others go on in the same frames.
            raw.send(&frame(&[section(1, 12, 1), section(2, 11, 10)])).await;
            let refused = raw.refused().await;
            assert_eq!((refused.chain, refused.code), (ChainId(1), RefusalCode::WrongHeight));
            assert!(
                refused.detail.contains("height 12") && refused.detail.contains("expected 11"),
                "{}",
                refused.detail
            );
            // Ignored, though it is what was expected: it was sent without a resume.
            raw.send(&frame(&[section(1, 11, 1), section(2, 21, 10)])).await;

            let mut other = section(3, 11, 2);
            other.parent = Hash([9; 32]);
            raw.send(&frame(&[other])).await;
            let refused = raw.refused().await;
            assert_eq!((refused.chain, refused.code), (ChainId(3), RefusalCode::WrongParent));

            raw.send(&frame(&[section(2, 31, 65)])).await;
            let refused = raw.refused().await;
            assert_eq!((refused.chain, refused.code), (ChainId(2), RefusalCode::AboveLimit));
        },
    );
    wait_durable(&main, 2, 30);
    main.assert_holds(ChainId(1), 10);
    main.assert_holds(ChainId(2), 30);
    main.assert_holds(ChainId(3), 10);
}

#[test]
fn another_hash_for_a_height_that_is_held_is_a_conflict_and_the_first_one_stands() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[2, 4]).await;
            let mut twin = section(4, 5, 1);
            twin.blocks.hashes[0] = Hash([7; 32]);
            raw.send(&[frame(&[section(4, 1, 5)]), frame(&[section(2, 1, 5), twin])].concat()).await;
            let refused = raw.refused().await;
            assert_eq!((refused.chain, refused.code), (ChainId(4), RefusalCode::Conflict));
            for hash in [hash(ChainId(4), 5, 0), Hash([7; 32])] {
                assert!(refused.detail.contains(&hash.to_string()), "{}", refused.detail);
            }
        },
    );
    wait_durable(&main, 2, 5);
    main.let_go(ChainId(4));
    wait_durable(&main, 4, 5);
    main.assert_holds(ChainId(4), 5);
}

#[test]
fn after_a_resume_only_later_frames_are_heard() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 2, 1)])).await;
            assert_eq!(raw.refused().await.code, RefusalCode::WrongHeight);
            // Two frames were sent before the resume as it says, though the second comes after it: ignored.
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(1), frames: 2 })).await;
            let EntryState::Speaker(position) = raw.position().await else { panic!("it speaks again") };
            assert_eq!((position.received, position.hash), (Height(0), None));
            raw.send(&frame(&[section(1, 3, 1)])).await;
            raw.send(&frame(&[section(1, 1, 4)])).await;
            raw.acked(1, 4).await;
        },
    );
    main.assert_holds(ChainId(1), 4);
}

#[test]
fn a_chain_that_is_left_is_free_for_others_and_can_be_resumed() {
    with_raw(
        |_| (),
        async |mut raw: Raw| {
            let welcome = raw.hello(&[1, 2]).await;
            assert!(matches!(welcome.chains[0].state, EntryState::Speaker(_)));
            assert_eq!((welcome.main_chain, welcome.genesis_hash, welcome.head), (MAIN, GENESIS, None));
            raw.say(&ClientMessage::Leave(ChainId(1))).await;
            raw.send(&frame(&[section(1, 1, 1), section(2, 1, 1)])).await;
            raw.acked(2, 1).await;
            raw.say(&ClientMessage::Resume(Resume { chain: ChainId(1), frames: 1 })).await;
            let EntryState::Speaker(position) = raw.position().await else { panic!("it speaks again") };
            assert_eq!(position.received, Height(0), "what came after the leave was ignored");
            raw.send(&frame(&[section(1, 1, 1)])).await;
            raw.acked(1, 1).await;
        },
    );
}

#[test]
fn who_takes_too_long_is_closed() {
    let soon = Duration::from_millis(300);
    with_raw(
        |config| config.hello_timeout = soon,
        async |mut raw: Raw| {
            raw.send.write_all(&[1, 30, 0]).await.unwrap();
            let (code, reason) = raw.closed().await;
            assert_eq!((code, reason.as_str()), (RefusalCode::TooSlow, "no hello within 300ms"));
        },
    );
    with_raw(
        |config| config.frame_timeout = soon,
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&frame(&[section(1, 1, 3)])).await;
            raw.acked(1, 3).await;
            raw.send(&frame(&[section(1, 4, 3)])[..100]).await;
            assert_eq!(raw.closed().await.0, RefusalCode::TooSlow);
        },
    );
    with_raw(
        |config| config.frame_timeout = Duration::from_secs(300),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            let frame = frame(&[section(1, 1, 60)]);
            for byte in frame {
                // A byte now and then: whole after half an hour.
                if !raw.try_send(&[byte]).await {
                    break;
                }
                raw.handle.sleep(Duration::from_millis(100)).await;
            }
            let (code, reason) = raw.closed().await;
            assert_eq!(code, RefusalCode::TooSlow);
            assert!(reason.contains("expected 1024 bytes a second"), "{reason}");
        },
    );
}

#[test]
fn who_announces_long_frames_and_sends_none_does_not_take_the_memory_of_others() {
    with_raw(
        |config| {
            config.frame_memory_bytes = 4 << 20;
            config.frame_timeout = Duration::from_secs(300);
            config.frame_least_rate = 0;
        },
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            // A whole frame, without which there is but one stream. It brings nothing, or more memory would be its due.
            raw.send(&frame(&[section(1, 5, 1)])).await;
            raw.refused().await;
            let mut header = frame(&[section(1, 1, 1)])[..16].to_vec();
            header[..4].copy_from_slice(&(MAX_FRAME_BYTES as u32 - 16).to_le_bytes());
            let mut streams = Vec::new();
            for _ in 0..8 {
                raw.send(&header).await;
                streams.push(raw.data.take());
            }
            // Its handshake comes after those headers.
            raw.handle.sleep(Duration::from_millis(50)).await;
            let (other, _) = raw.other_node(&[2], 50);
            raw.until(|| other.0.as_ref().unwrap().status().chains[0].durable == Height(50)).await;
        },
    );
}

#[test]
fn who_does_not_read_is_closed_and_costs_nothing_meanwhile() {
    let main = with_raw(
        |config| config.control_timeout = Duration::from_millis(300),
        async |mut raw: Raw| {
            raw.hello(&[1, 2, 3]).await;
            // Every block brings an ack and a header, which nobody reads.
            let closed = raw.connection.clone();
            let data = async {
                for height in 1.. {
                    for chain in 1..=3 {
                        raw.send(&frame(&[section(chain, height, 1)])).await;
                        raw.handle.sleep(Duration::from_millis(3)).await;
                    }
                }
            };
            let _ = race(closed.closed(), data).await;
            assert_eq!(raw.closed().await.0, RefusalCode::TooSlow);
        },
    );
    let held = main.durable(ChainId(1));
    assert!(held > 10, "{held} blocks were taken until then");
    main.assert_holds(ChainId(1), held);
}

#[test]
fn a_key_that_is_revoked_ends_its_session_whatever_that_is_doing() {
    // By turns it rests, sends without end, and waits within a frame; it never reads.
    for doing in 0..3 {
        let (tell, keys) = std::sync::mpsc::channel::<Arc<NodeKeys>>();
        let main = with_raw_and(
            |config| config.frame_timeout = Duration::from_secs(300),
            |main| tell.send(Arc::clone(&main.keys)).unwrap(),
            async move |mut raw: Raw| {
                let keys = keys.recv().unwrap();
                raw.hello(&[1]).await;
                let closed = raw.connection.clone();
                let handle = raw.handle.clone();
                let (mut height, mut begun) = (1, false);
                let busy = async {
                    loop {
                        match doing {
                            1 if height <= 64 => {
                                let _ = raw.try_send(&frame(&[section(1, height, 1)])).await;
                                height += 1;
                            }
                            // It does not follow: refused, ignored, and sent all the same, until there is no way.
                            1 if raw.try_send(&frame(&[section(1, 64, 1)])).await => {}
                            2 if !begun => {
                                raw.send(&frame(&[section(1, 1, 60)])[..2_000]).await;
                                begun = true;
                            }
                            _ => handle.sleep(Duration::from_millis(5)).await,
                        }
                    }
                };
                let revoke = async {
                    handle.sleep(Duration::from_millis(50)).await;
                    keys.set(KeyChanges { revoked: [key(1)].into(), ..KeyChanges::default() });
                    closed.closed().await
                };
                let _ = race(busy, revoke).await;
                let (code, reason) = raw.closed().await;
                assert_eq!(code, RefusalCode::Revoked);
                assert!(reason.contains("is not registered any more"), "{reason}");
            },
        );
        wait_until("its session is gone", || main.server.peers().is_empty());
        let counters = main.server.peer_list().counters();
        assert_eq!((counters.sessions_revoked, counters.closes.get(RefusalCode::Revoked)), (1, 1));
        assert_eq!((counters.sessions, counters.window_bytes), (0, 0), "{counters:?}");
    }
}

#[test]
fn what_a_session_was_lent_comes_back_however_it_ends() {
    let main = with_raw(
        |_| (),
        async |mut raw: Raw| {
            raw.hello(&[1]).await;
            let mut header = frame(&[section(1, 1, 1)])[..16].to_vec();
            header[..4].copy_from_slice(&(MAX_FRAME_BYTES as u32 - 16).to_le_bytes());
            // The end of the session and the rest of a frame's header travel together: that is read when all is over.
            raw.send(&header[..1]).await;
            raw.handle.sleep(Duration::from_millis(20)).await;
            raw.send.finish().unwrap();
            raw.send(&header[1..]).await;
            raw.connection.closed().await;
        },
    );
    let list = main.server.peer_list();
    wait_until("nothing is lent any more", || {
        let counters = list.counters();
        (counters.sessions, counters.window_bytes, counters.frame_memory_bytes) == (0, 0, 0)
    });
}

#[test]
fn long_frames_on_several_streams_do_not_stop_each_other() {
    let chains: Vec<_> = (1..=12).collect();
    let sides: Vec<_> = chains.iter().map(|id| side(*id, &[&identity(1)])).collect();
    let main = Main::start_with(&sides, 4_096, Stored::default(), |_| ());
    let reactor = Reactor::spawn_thread("raw").unwrap();
    let (handle, server) = (reactor.handle(), main.addr());
    let quic = endpoint::client_config(&identity(1), server_identity().public(), &Limits::default()).unwrap();
    let raw = reactor.handle().block_on(async move {
        let mut raw = Raw::connect(handle.clone(), server, quic).await.unwrap();
        raw.hello(&chains).await;
        for frames in chains.chunks(4) {
            // Nearly 1 MiB.
            let sections: Vec<_> = frames.iter().map(|chain| section(*chain, 1, 3_600)).collect();
            let (bytes, connection) = (frame(&sections), raw.connection.clone());
            handle.spawn(async move {
                let mut data = connection.open_uni().await.unwrap();
                data.write_all(&bytes).await.unwrap();
                std::future::pending::<()>().await;
            });
        }
        raw
    });
    wait_until("all frames are there", || (1..=12).all(|chain| main.durable(ChainId(chain)) == 3_600));
    drop(raw);
}
