//! Peers that do not listen, or leave gaps that are never filled. Who does not read his acks is in `tests/wire/raw.rs`:
//! `who_does_not_read_is_closed_and_costs_nothing_meanwhile`.

use engine::chain::ChainId;
use quinn::{ConnectionError, TransportErrorCode};

use crate::by_hand::*;
use crate::scene::{NODES, Scene};
use crate::stack::{self, NOTHING, Plan, burn, stream, uni};
use crate::support::*;

#[test]
fn who_acknowledges_no_packet_is_served_and_leaves_nothing_behind() {
    let scene = Scene::new(|_| ());
    let (handle, server) = (scene.reactor.handle(), scene.main.addr());
    let config = stack::client(&identity(NODES[0]), &server_identity(), Plan::deaf());
    scene.hostile(async move {
        let mut raw = Raw::connect(handle, server, config).await.unwrap();
        raw.hello(&[1]).await;
        for height in 1..=40 {
            raw.send(&frame(&[section(1, height, 1)])).await;
        }
        // The server sends its acks again and again; they are good whether or not we say that they came.
        raw.acked(1, 40).await;
        raw.connection.close(0_u32.into(), b"");
    });
    scene.main.assert_holds(ChainId(1), 40);
    scene.calm();
}

/// Bytes with a byte missing before each: every one is a piece of its own.
#[test]
fn fragments_that_never_join_end_the_connection_when_there_are_too_many() {
    let scene = Scene::new(|_| ());
    let mut next = 1;
    let plan = Plan::frames(move |room, granted| {
        let mut out = Vec::new();
        while out.len() + 16 < room && next + 512 < granted {
            out.extend(stream(uni(0), next, b"x"));
            next += 2;
        }
        if out.is_empty() { NOTHING.to_vec() } else { out }
    });
    let (handle, server) = (scene.reactor.handle(), scene.main.addr());
    let config = stack::client(&identity(NODES[0]), &server_identity(), plan.clone());
    let error = scene.hostile(async move {
        let mut raw = Raw::connect(handle.clone(), server, config).await.unwrap();
        raw.hello(&[1]).await;
        burn(handle, raw.connection.clone(), plan).await
    });
    let ConnectionError::ConnectionClosed(close) = &error else { panic!("{error}") };
    assert_eq!(close.error_code, TransportErrorCode::INTERNAL_ERROR, "{error}");
    scene.calm();
}
