//! Streams that are half closed, stopped or reset, at each stage.

use engine::chain::ChainId;
use mainstem_net::control::RefusalCode;
use quinn::{ConnectionError, VarInt};

use crate::by_hand::*;
use crate::scene::{NODES, Scene, closed};

const CODE: VarInt = VarInt::from_u32(77);

/// A close without a fault.
fn done(error: &ConnectionError) {
    let ConnectionError::ApplicationClosed(close) = error else { panic!("{error}") };
    assert_eq!((close.error_code, &close.reason[..]), (VarInt::from_u32(0), &b"done"[..]));
}

#[test]
fn a_control_stream_that_ends_between_messages_ends_the_session_without_a_fault() {
    let scene = Scene::new(|_| ());
    // Before a hello and after it; finished and reset.
    for (greets, resets) in [(false, false), (false, true), (true, false), (true, true)] {
        let error = scene.peer(NODES[0], async move |mut raw: Raw| {
            if greets {
                raw.hello(&[1]).await;
            } else {
                // Or the server never hears of the stream.
                raw.send.write_all(&[]).await.unwrap();
            }
            if resets {
                raw.send.reset(CODE).unwrap();
            } else {
                raw.send.finish().unwrap();
            }
            raw.connection.closed().await
        });
        done(&error);
    }
    assert_eq!(scene.counters().closes.total(), 0);
    scene.calm();
}

#[test]
fn a_control_stream_that_ends_within_a_message_is_a_fault() {
    let scene = Scene::new(|_| ());
    for greets in [false, true] {
        for length in [1, 4, 5, 8] {
            let (code, reason) = scene.peer(NODES[0], async move |mut raw: Raw| {
                if greets {
                    raw.hello(&[1]).await;
                }
                let kind = if greets { 2 } else { 1 };
                raw.send.write_all(&[kind, 12, 0, 0, 0, 1, 0, 0][..length]).await.unwrap();
                raw.send.finish().unwrap();
                closed(&raw.connection.closed().await)
            });
            assert_eq!(code, RefusalCode::BadMessage, "{length} bytes: {reason}");
            assert!(reason.contains("ended in the middle of a message"), "{reason}");
        }
    }
    scene.calm();
}

#[test]
fn who_stops_the_servers_control_stream_ends_his_session_only() {
    let scene = Scene::new(|_| ());
    let error = scene.peer(NODES[0], async |mut raw: Raw| {
        raw.hello(&[1]).await;
        raw.receive.stop(CODE).unwrap();
        // The server notices when it has something to say.
        raw.send(&frame(&[section(1, 1, 3)])).await;
        raw.connection.closed().await
    });
    done(&error);
    scene.calm();
}

#[test]
fn a_data_stream_that_is_reset_or_ends_within_a_frame_is_a_bad_frame_and_between_frames_none() {
    let scene = Scene::new(|_| ());
    let whole = frame(&[section(1, 1, 3)]);
    for resets in [false, true] {
        for length in [1, 15, 16, 17, whole.len() - 1] {
            let part = whole[..length].to_vec();
            let (code, reason) = scene.peer(NODES[0], async move |mut raw: Raw| {
                raw.hello(&[1]).await;
                raw.send(&part).await;
                let mut data = raw.data.take().unwrap();
                if resets {
                    // What was not read before the reset is lost, and a stream without data is no fault.
                    raw.handle.sleep(std::time::Duration::from_millis(100)).await;
                    data.reset(CODE).unwrap();
                } else {
                    data.finish().unwrap();
                }
                closed(&raw.connection.closed().await)
            });
            let how = if resets { "was reset" } else { "ended" };
            assert_eq!(code, RefusalCode::BadFrame, "{length} bytes: {reason}");
            assert_eq!(reason, format!("the data stream {how} within a frame"));
        }
    }
    // Streams without a byte, of either end, and then a frame on another.
    scene.peer(NODES[0], async move |mut raw: Raw| {
        raw.hello(&[1]).await;
        for number in 0..100 {
            let mut data = raw.connection.open_uni().await.unwrap();
            if number % 2 == 0 {
                data.reset(CODE).unwrap();
            } else {
                data.finish().unwrap();
            }
        }
        raw.send(&whole).await;
        raw.acked(1, 3).await;
    });
    scene.main.assert_holds(ChainId(1), 3);
    scene.calm();
}

#[test]
fn connections_that_are_dropped_at_any_stage_leave_nothing_behind() {
    let scene = Scene::new(|_| ());
    for stage in 0..40 {
        scene.peer(NODES[stage % 2], async move |mut raw: Raw| {
            if stage % 8 > 0 {
                raw.hello(&[1, 2, 3, 4]).await;
            }
            if stage % 8 > 3 {
                let whole = frame(&[section(1, 1 + 3 * (stage as u64 / 8), 3)]);
                raw.send(&whole[..whole.len() * (stage % 8 - 3) / 4]).await;
            }
            raw.connection.close(CODE, b"without a word more");
        });
    }
    scene.calm();
}
