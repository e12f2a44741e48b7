//! Peers that are slow on purpose, at each stage: each is closed when its time is over, and holds nothing after that.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mainstem_net::control::RefusalCode;
use mainstem_net::endpoint::{self, Bind, Limits};

use crate::by_hand::*;
use crate::scene::{NODES, Scene, closed};
use crate::support::*;

const SOON: Duration = Duration::from_millis(300);

/// The first datagrams of a handshake with the server's key, as a client of ours sends them.
pub(crate) fn first_datagrams(scene: &Scene) -> Vec<Vec<u8>> {
    let ear = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ear.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let bind = Bind::new(([127, 0, 0, 1], 0).into());
    let handle = scene.reactor.handle();
    let endpoint = endpoint::open(&handle, &bind, &identity(1), None).unwrap();
    let limits = Limits::default();
    let config = endpoint::client_config(&identity(1), server_identity().public(), &limits).unwrap();
    let connecting = endpoint::connect(&endpoint, config, ear.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2_048];
    let bytes = ear.recv(&mut buffer).unwrap();
    drop((connecting, endpoint));
    vec![buffer[..bytes].to_vec()]
}

#[test]
fn a_handshake_that_is_begun_and_not_gone_on_with_is_given_up() {
    let scene = Scene::new(|config| config.hello_timeout = SOON);
    for _ in 0..20 {
        // Each with a socket of its own, and with ids of its own: a handshake of its own.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for datagram in first_datagrams(&scene) {
            socket.send_to(&datagram, scene.main.addr()).unwrap();
        }
    }
    wait_until("all have timed out", || scene.counters().handshakes_timed_out >= 20);
    scene.calm();
}

#[test]
fn who_takes_too_long_over_a_hello_is_closed() {
    let scene = Scene::new(|config| config.hello_timeout = SOON);
    let hello = [1, 10, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    // Nothing; one byte; its header; all but the last byte.
    for length in [0, 1, 5, hello.len() - 2] {
        let (code, reason) = scene.peer(NODES[0], async move |mut raw: Raw| {
            raw.send.write_all(&hello[..length]).await.unwrap();
            closed(&raw.connection.closed().await)
        });
        assert_eq!(
            (code, reason.as_str()),
            (RefusalCode::TooSlow, "no hello within 300ms"),
            "{length} bytes"
        );
    }
    let (code, _) = scene.peer(NODES[0], async move |mut raw: Raw| {
        for byte in hello {
            if raw.send.write_all(&[byte]).await.is_err() {
                break;
            }
            raw.handle.sleep(Duration::from_millis(50)).await;
        }
        closed(&raw.connection.closed().await)
    });
    assert_eq!(code, RefusalCode::TooSlow, "a byte at a time");
    assert_eq!(scene.counters().closes.get(RefusalCode::TooSlow), 5);
    scene.calm();
}

#[test]
fn who_takes_too_long_over_a_frame_is_closed() {
    let scene = Scene::new(|config| config.frame_timeout = SOON);
    let whole = Arc::new(frame(&[section(1, 1, 3)]));
    for length in [1, 8, 15, 16, 17, 100, whole.len() - 1] {
        let part = whole[..length].to_vec();
        let (code, reason) = scene.peer(NODES[0], async move |mut raw: Raw| {
            raw.hello(&[1]).await;
            raw.send(&part).await;
            closed(&raw.connection.closed().await)
        });
        assert_eq!(code, RefusalCode::TooSlow, "{length} bytes: {reason}");
        assert!(reason.starts_with(&format!("{length} bytes of a frame")), "{reason}");
    }
    scene.main.assert_holds(engine::chain::ChainId(1), 0);
    scene.calm();
}

/// Fast enough for the time of a whole frame, too slow for its least rate.
#[test]
fn who_sends_a_frame_a_byte_at_a_time_is_closed_long_before_its_time_is_over() {
    let scene = Scene::new(|config| config.frame_timeout = Duration::from_secs(600));
    let whole = frame(&[section(1, 1, 20)]);
    let (code, reason) = scene.peer(NODES[0], async move |mut raw: Raw| {
        raw.hello(&[1]).await;
        let connection = raw.connection.clone();
        let drip = async {
            for byte in whole {
                raw.send(&[byte]).await;
                raw.handle.sleep(Duration::from_millis(40)).await;
            }
        };
        let _ = mainstem_net::reactor::race(connection.closed(), drip).await;
        closed(&connection.closed().await)
    });
    assert_eq!(code, RefusalCode::TooSlow);
    assert!(reason.contains("expected 1024 bytes a second"), "{reason}");
    scene.calm();
}
