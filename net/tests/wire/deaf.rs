//! A main chain made by hand, which does what ours never should.

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Height, NodeKey};
use engine::lane::Position;
use mainstem_net::client::Event;
use mainstem_net::control::{ClientMessage, Entry, EntryState, Message, ServerMessage, Welcome, receive};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::reactor::{Either, Reactor, race};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};

use crate::support::*;

/// Welcomes the next client as the speaker of chain 1, which may send without end.
async fn welcome(endpoint: &Endpoint) -> (Connection, SendStream, RecvStream) {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (mut send, mut control) = connection.accept_bi().await.unwrap();
    let hello = receive(&mut control, &mut Vec::new()).await.unwrap().unwrap();
    assert!(matches!(hello, ClientMessage::Hello(_)));
    let position = Position { durable: Height(0), received: Height(0), hash: None, limit: Height::MAX };
    let chains = vec![Entry { chain: ChainId(1), state: EntryState::Speaker(position) }];
    let mut out = Vec::new();
    let welcome = Welcome { main_chain: MAIN, genesis_hash: GENESIS, head: None, chains };
    ServerMessage::Welcome(welcome).encode(&mut out);
    send.write_all(&out).await.unwrap();
    (connection, send, control)
}

#[test]
fn a_client_whose_data_stream_is_stopped_connects_again() {
    let reactor = Reactor::spawn_thread("deaf").unwrap();
    let handle = reactor.handle();
    let quic = endpoint::server_config(&server_identity(), Arc::new(|_: &NodeKey| true), &Limits::default());
    let bind = Bind::new(([127, 0, 0, 1], 0).into());
    let endpoint = endpoint::open(&handle, &bind, &server_identity(), Some(quic.unwrap())).unwrap();
    let world = World::new(&[1], 1);
    let (_client, told) = start(client_config(endpoint.local_addr().unwrap(), &identity(1)), &world);
    let serve = async move {
        let (connection, _send, _control) = welcome(&endpoint).await;
        connection.accept_uni().await.unwrap().stop(0_u32.into()).unwrap();
        // The client notices when it has something to send; the connection is alive all the time.
        let grow = async {
            loop {
                world.change(1, |side| side.made += 1);
                handle.sleep(Duration::from_millis(2)).await;
            }
        };
        let Either::Left(closed) = race(connection.closed(), grow).await;
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(&close.reason[..], b"a data stream was stopped");
        let (again, _send, _control) = welcome(&endpoint).await;
        again.accept_uni().await.unwrap();
    };
    let limit = reactor.handle();
    reactor
        .handle()
        .block_on(async move { limit.timeout(Duration::from_secs(30), serve).await })
        .expect("the server's assertions hold")
        .expect("the client comes again");
    assert!(told.any(
        |event| matches!(event, Event::Disconnected { reason, .. } if reason.text.contains("a data stream"))
    ));
}
