//! QUIC that is authentic, from a node with a registered key, with frames that RFC 9000 does not allow: each ends the
//! connection with the error that it names.

use quinn::{ConnectionError, TransportErrorCode};

use crate::by_hand::Raw;
use crate::scene::{NODES, Scene};
use crate::stack::{self, NOTHING, Plan, burn, stream, uni, varint};
use crate::support::*;

struct Case {
    name: &'static str,
    frames: Vec<u8>,
    error: TransportErrorCode,
}

/// Some frames, one after the other.
fn frames(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn with_fields(kind: u64, fields: &[u64]) -> Vec<u8> {
    let mut out = varint(kind);
    for field in fields {
        out.extend(varint(*field));
    }
    out
}

fn new_connection_id(sequence: u64, retire: u64) -> Vec<u8> {
    let mut out = with_fields(0x18, &[sequence, retire]);
    out.push(8);
    out.extend([sequence as u8; 8]);
    out.extend([sequence as u8; 16]);
    out
}

fn cases() -> Vec<Case> {
    let case = |name, frames: Vec<u8>, error| Case { name, frames, error };
    let greatest = (1 << 62) - 1;
    let fin = |id, offset, length: usize| {
        let mut frame = stream(id, offset, &vec![0; length]);
        frame[0] = 0x0f;
        frame
    };
    vec![
        case(
            "a stream beyond those allowed",
            stream(uni(1_000), 0, b"x"),
            TransportErrorCode::STREAM_LIMIT_ERROR,
        ),
        case("a second control stream", stream(4, 0, b"x"), TransportErrorCode::STREAM_LIMIT_ERROR),
        case("data beyond the window", stream(uni(0), 1 << 30, b"x"), TransportErrorCode::FLOW_CONTROL_ERROR),
        case("data of a stream of the server's", stream(3, 0, b"x"), TransportErrorCode::STREAM_STATE_ERROR),
        case(
            "data behind an end",
            frames(&[&fin(uni(0), 0, 10), &stream(uni(0), 20, b"x")]),
            TransportErrorCode::FINAL_SIZE_ERROR,
        ),
        case(
            "two ends",
            frames(&[&fin(uni(0), 0, 10), &fin(uni(0), 0, 11)]),
            TransportErrorCode::FINAL_SIZE_ERROR,
        ),
        case(
            "an end before the data",
            frames(&[&stream(uni(0), 100, b"x"), &with_fields(0x04, &[uni(0), 0, 5])]),
            TransportErrorCode::FINAL_SIZE_ERROR,
        ),
        case(
            "a reset beyond the window",
            with_fields(0x04, &[uni(0), 0, 1 << 40]),
            TransportErrorCode::FLOW_CONTROL_ERROR,
        ),
        case("an unknown frame", vec![0x3f], TransportErrorCode::FRAME_ENCODING_ERROR),
        case("a frame of a long unknown type", varint(0x1234_5678), TransportErrorCode::FRAME_ENCODING_ERROR),
        case(
            "more streams than there can be",
            with_fields(0x13, &[(1 << 60) + 1]),
            TransportErrorCode::FRAME_ENCODING_ERROR,
        ),
        case(
            "data behind the greatest offset",
            stream(uni(0), greatest, b"xx"),
            TransportErrorCode::FLOW_CONTROL_ERROR,
        ),
        case("the end of a handshake", vec![0x1e], TransportErrorCode::PROTOCOL_VIOLATION),
        case("a token for later", [&[7, 4][..], b"abcd"].concat(), TransportErrorCode::PROTOCOL_VIOLATION),
        case(
            "an ack of what was never sent",
            with_fields(0x02, &[1 << 40, 0, 0, 0]),
            TransportErrorCode::PROTOCOL_VIOLATION,
        ),
        case(
            "an ack of less than nothing",
            with_fields(0x02, &[5, 0, 0, 9]),
            TransportErrorCode::FRAME_ENCODING_ERROR,
        ),
        case("a datagram", [&[0x31, 4][..], b"abcd"].concat(), TransportErrorCode::PROTOCOL_VIOLATION),
        case(
            "handshake data far ahead",
            [with_fields(0x06, &[1 << 20, 4]), b"abcd".to_vec()].concat(),
            TransportErrorCode::CRYPTO_BUFFER_EXCEEDED,
        ),
        case(
            "an id that retires later ones",
            new_connection_id(1, 5),
            TransportErrorCode::FRAME_ENCODING_ERROR,
        ),
        case(
            "more ids than were asked for",
            frames(
                &(10..40)
                    .map(|number| new_connection_id(number, 0))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(Vec::as_slice)
                    .collect::<Vec<_>>(),
            ),
            TransportErrorCode::CONNECTION_ID_LIMIT_ERROR,
        ),
        case(
            "giving up an id that was never given",
            with_fields(0x19, &[1 << 30]),
            TransportErrorCode::PROTOCOL_VIOLATION,
        ),
        case(
            "credit for a stream that only we read",
            with_fields(0x11, &[uni(0), 1 << 30]),
            TransportErrorCode::STREAM_STATE_ERROR,
        ),
        case(
            "stopping a stream that only we read",
            with_fields(0x05, &[uni(0), 0]),
            TransportErrorCode::STREAM_STATE_ERROR,
        ),
        case(
            "credit for a stream that the server has not opened",
            with_fields(0x11, &[3 + 4 * 50, 1 << 30]),
            TransportErrorCode::STREAM_STATE_ERROR,
        ),
    ]
}

/// Connects with a stack that lies, says hello, and burns its fuel until the server has enough.
fn lie(scene: &Scene, plan: Plan) -> ConnectionError {
    let (handle, server) = (scene.reactor.handle(), scene.main.addr());
    let config = stack::client(&identity(NODES[0]), &server_identity(), plan.clone());
    scene.hostile(async move {
        let mut raw = Raw::connect(handle.clone(), server, config).await.unwrap();
        raw.hello(&[1]).await;
        burn(handle, raw.connection.clone(), plan).await
    })
}

#[test]
fn frames_that_are_not_allowed_end_the_connection_with_the_error_of_the_rfc() {
    let scene = Scene::new(|_| ());
    let mut wrong = Vec::new();
    for Case { name, frames, error } in cases() {
        let got = lie(
            &scene,
            Plan::frames(move |room, _| if room >= frames.len() { frames.clone() } else { NOTHING.to_vec() }),
        );
        match got {
            ConnectionError::ConnectionClosed(close) if close.error_code == error => {}
            other => wrong.push(format!("{name}: {other:?} instead of {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.calm();
}

/// Any bytes at all in the place of frames.
#[test]
fn noise_in_authentic_packets_ends_the_connection_and_nothing_else() {
    let scene = Scene::new(|_| ());
    for seed in 0..60_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let error = lie(
            &scene,
            Plan::frames(move |room, _| {
                (0..room)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        (state >> 32) as u8
                    })
                    .collect()
            }),
        );
        // Noise may be a close by chance, too.
        assert!(
            matches!(error, ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_)),
            "{seed}: {error}"
        );
    }
    scene.calm();
}

/// Frames that are allowed and make the server work: it answers what it must, and forgets the rest.
#[test]
fn floods_of_frames_that_ask_for_answers_are_answered_at_the_servers_pace() {
    let scene = Scene::new(|_| ());
    let challenges = |room: usize| [&[0x1a][..], &[9; 8]].concat().repeat(room / 9);
    let pings = |room: usize| vec![1; room];
    let blocked = |room: usize| with_fields(0x14, &[5]).repeat(room / 2);
    let floods: [fn(usize) -> Vec<u8>; 3] = [challenges, pings, blocked];
    for flood in floods {
        let (handle, server) = (scene.reactor.handle(), scene.main.addr());
        let plan = Plan::frames(move |room, _| flood(room));
        let config = stack::client(&identity(NODES[0]), &server_identity(), plan.clone());
        let rounds = scene.rounds();
        let alive = scene.hostile(async move {
            let mut raw = Raw::connect(handle.clone(), server, config).await.unwrap();
            raw.hello(&[1]).await;
            let burning = handle.spawn(burn(handle.clone(), raw.connection.clone(), plan));
            handle.sleep(std::time::Duration::from_millis(500)).await;
            let alive = raw.connection.close_reason().is_none();
            raw.connection.close(0_u32.into(), b"");
            let _ = burning.await;
            alive
        });
        assert!(alive);
        wait_until("the honest chain goes on", || scene.rounds() > rounds);
    }
    scene.calm();
}
