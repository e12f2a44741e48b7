//! Endpoints over real sockets on loopback: who gets in, and that bytes arrive as they were sent. Who does not get in, and why,
//! is in `tests/certificates`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::chain::NodeKey;
use mainstem_net::endpoint::{Bind, Limits, client_config, connect, open, server_config};
use mainstem_net::identity::{Identity, Refusal, peer_key, refusal};
use mainstem_net::reactor::{Handle, Reactor};
use quinn::{Connection, ConnectionError, Endpoint, SendDatagramError};

const LONG: Duration = Duration::from_secs(60);

fn server_identity() -> Identity {
    Identity::from_seed([1; 32])
}

fn client_identity() -> Identity {
    Identity::from_seed([2; 32])
}

/// Two reactors, a server that knows the key of [`client_identity`], and a client endpoint.
struct Pair {
    server: Endpoint,
    client: Endpoint,
    server_reactor: Reactor,
    client_reactor: Reactor,
}

impl Pair {
    fn new() -> Self {
        let (server_reactor, client_reactor) =
            (Reactor::spawn_thread("server").unwrap(), Reactor::spawn_thread("client").unwrap());
        let server = open_server(&server_reactor.handle(), loopback());
        let client =
            open(&client_reactor.handle(), &Bind::new(loopback()), &client_identity(), None).unwrap();
        Self { server, client, server_reactor, client_reactor }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    /// Connects with `config` and gives the error that the client ends with, and the one the server does.
    fn refused(&self, config: quinn::ClientConfig) -> (ConnectionError, ConnectionError) {
        let server = self.server.clone();
        let accepted = self
            .server_reactor
            .handle()
            .spawn(async move { server.accept().await.unwrap().await.map(|_| ()) });
        let connecting = connect(&self.client, config, self.address()).unwrap();
        let at_client = within(&self.client_reactor.handle(), async move {
            match connecting.await {
                // The client is done before the server has looked at its certificate.
                Ok(connection) => {
                    // It may be closed already; if it is not, nothing of this arrives.
                    if let Ok(mut stream) = connection.open_uni().await {
                        let _ = stream.write_all(b"not to be read").await;
                    }
                    connection.closed().await
                }
                Err(error) => error,
            }
        });
        (at_client, accepted.wait().unwrap().unwrap_err())
    }
}

fn open_server(reactor: &Handle, address: SocketAddr) -> Endpoint {
    let known = client_identity().public();
    let config =
        server_config(&server_identity(), Arc::new(move |key: &NodeKey| *key == known), &Limits::default())
            .unwrap();
    open(reactor, &Bind::new(address), &server_identity(), Some(config)).unwrap()
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn within<T: Send + 'static>(reactor: &Handle, future: impl Future<Output = T> + Send + 'static) -> T {
    let handle = reactor.clone();
    reactor.block_on(async move { handle.timeout(LONG, future).await }).unwrap().expect("a minute is enough")
}

fn good_client() -> quinn::ClientConfig {
    client_config(&client_identity(), server_identity().public(), &Limits::default()).unwrap()
}

/// Deterministic noise, so that a swapped or repeated piece is seen.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    (0..bytes / 8)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ state >> 29).to_le_bytes()
        })
        .collect()
}

async fn echo(connection: Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut send, mut receive) = connection.accept_bi().await?;
    while let Some(chunk) = receive.read_chunk(1 << 16, true).await? {
        send.write_chunk(chunk.bytes).await?;
    }
    send.finish()?;
    send.stopped().await?;
    Ok(())
}

#[test]
fn megabytes_cross_both_ways_bit_exact() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let echoed = pair.server_reactor.handle().spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        assert_eq!(peer_key(&connection), Some(client_identity().public()));
        echo(connection).await.unwrap();
    });
    let connecting = connect(&pair.client, good_client(), pair.address()).unwrap();
    let data = noise(7, 12 << 20);
    let sent = data.clone();
    let handle = pair.client_reactor.handle();
    let received = within(&pair.client_reactor.handle(), async move {
        let connection = connecting.await.unwrap();
        assert_eq!(peer_key(&connection), Some(server_identity().public()));
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let writer = handle.spawn(async move {
            send.write_all(&sent).await.unwrap();
            send.finish().unwrap();
        });
        let received = receive.read_to_end(64 << 20).await.unwrap();
        writer.await.unwrap();
        received
    });
    assert!(received == data, "{} bytes came back of {}", received.len(), data.len());
    echoed.wait().unwrap();
    pair.client.close(0_u32.into(), b"done");
    pair.server.close(0_u32.into(), b"done");
    drop((pair.client, pair.server));
    pair.client_reactor.shutdown(LONG);
    pair.server_reactor.shutdown(LONG);
}

#[test]
fn many_connections_share_one_socket() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let handle = pair.server_reactor.handle();
    drop(pair.server_reactor.handle().spawn(async move {
        while let Some(incoming) = server.accept().await {
            drop(handle.spawn(async move { echo(incoming.await.unwrap()).await.unwrap() }));
        }
    }));
    let clients: Vec<_> = (0..20_u64)
        .map(|number| {
            let connecting = connect(&pair.client, good_client(), pair.address()).unwrap();
            pair.client_reactor.handle().spawn(async move {
                let connection = connecting.await.unwrap();
                let (mut send, mut receive) = connection.open_bi().await.unwrap();
                let data = noise(number, 64 << 10);
                send.write_all(&data).await.unwrap();
                send.finish().unwrap();
                assert!(receive.read_to_end(1 << 20).await.unwrap() == data, "connection {number}");
            })
        })
        .collect();
    for client in clients {
        client.wait().unwrap();
    }
}

#[test]
fn an_unknown_client_is_refused_and_told_so() {
    let pair = Pair::new();
    let stranger = Identity::from_seed([3; 32]);
    let config = client_config(&stranger, server_identity().public(), &Limits::default()).unwrap();
    let (at_client, at_server) = pair.refused(config);
    assert_eq!(refusal(&at_client), Some(Refusal::KeyNotRegistered), "{at_client}");
    assert!(matches!(refusal(&at_server), Some(Refusal::ByUs { .. })), "{at_server}");
}

#[test]
fn a_server_with_another_key_is_refused_by_the_client() {
    let pair = Pair::new();
    let expected = Identity::from_seed([4; 32]).public();
    let config = client_config(&client_identity(), expected, &Limits::default()).unwrap();
    let (at_client, at_server) = pair.refused(config);
    let Some(Refusal::ByUs { reason }) = refusal(&at_client) else { panic!("{at_client}") };
    assert!(reason.contains(&expected.to_string()), "{reason}");
    assert!(reason.contains(&server_identity().public().to_string()), "{reason}");
    assert!(matches!(refusal(&at_server), Some(Refusal::ByPeer { .. })), "{at_server}");
}

#[test]
fn a_restarted_server_tells_its_former_clients_at_once() {
    let pair = Pair::new();
    let address = pair.address();
    let server = pair.server.clone();
    let accepted =
        pair.server_reactor.handle().spawn(async move { server.accept().await.unwrap().await.unwrap() });
    let connecting = connect(&pair.client, good_client(), address).unwrap();
    let connection = within(&pair.client_reactor.handle(), connecting).unwrap();

    // The server vanishes without a word: nothing of it is run any more.
    let accepted = accepted.wait().unwrap();
    drop(pair.server_reactor);
    drop((accepted, pair.server));
    let reborn = Reactor::spawn_thread("reborn").unwrap();
    let server = open_server(&reborn.handle(), address);
    let reason = within(&pair.client_reactor.handle(), async move {
        let mut stream = connection.open_uni().await.unwrap();
        let _ = stream.write_all(&[0; 4096]).await;
        connection.closed().await
    });
    assert_eq!(reason, ConnectionError::Reset);
    drop(server);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refuses = |field: &str, change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let error =
            client_config(&client_identity(), server_identity().public(), &limits).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    };
    refuses("initial_mtu", &|limits| limits.initial_mtu = 1_199);
    refuses("max_mtu", &|limits| limits.max_mtu = 6_501);
    refuses("max_mtu", &|limits| limits.max_mtu = limits.initial_mtu - 1);
    refuses("keep_alive", &|limits| limits.keep_alive = Some(Duration::from_secs(31)));
    refuses("keep_alive", &|limits| limits.keep_alive = Some(Duration::ZERO));
    refuses("stream_window_bytes", &|limits| limits.stream_window_bytes = 1);
    refuses("connection_window_bytes", &|limits| limits.connection_window_bytes = 0);
    refuses("send_window_bytes", &|limits| limits.send_window_bytes = 0);
    refuses("data_streams", &|limits| limits.data_streams = 0);

    let reactor = Reactor::spawn_thread("range").unwrap();
    let bind = Bind { max_udp_payload: 1_199, ..Bind::new(loopback()) };
    let error = open(&reactor.handle(), &bind, &client_identity(), None).unwrap_err().to_string();
    assert!(error.starts_with("max_udp_payload"), "{error}");
}

#[test]
fn a_taken_address_is_named() {
    let pair = Pair::new();
    let error = open(&pair.client_reactor.handle(), &Bind::new(pair.address()), &client_identity(), None)
        .unwrap_err();
    assert!(error.to_string().contains(&pair.address().to_string()), "{error}");
}

#[test]
fn sockets_that_share_a_port_serve_it_together() {
    let pair = Pair::new();
    let first = Bind { share: Some(0), ..Bind::new(loopback()) };
    let known = client_identity().public();
    let config =
        server_config(&server_identity(), Arc::new(move |key: &NodeKey| *key == known), &Limits::default())
            .unwrap();
    let first =
        open(&pair.server_reactor.handle(), &first, &server_identity(), Some(config.clone())).unwrap();
    let address = first.local_addr().unwrap();
    let reactor = Reactor::spawn_thread("second").unwrap();
    let second = Bind { share: Some(1), ..Bind::new(address) };
    let second = open(&reactor.handle(), &second, &server_identity(), Some(config)).unwrap();
    for (endpoint, reactor) in [(&first, &pair.server_reactor), (&second, &reactor)] {
        let endpoint = endpoint.clone();
        let handle = reactor.handle();
        drop(reactor.handle().spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                drop(handle.spawn(async move { incoming.await.unwrap().closed().await }));
            }
        }));
    }
    for _ in 0..SHARING_PEERS {
        // Each from a port of its own.
        let client =
            open(&pair.client_reactor.handle(), &Bind::new(loopback()), &client_identity(), None).unwrap();
        let connecting = connect(&client, good_client(), address).unwrap();
        within(&pair.client_reactor.handle(), connecting).unwrap();
    }
    let (first, second) = (first.stats().accepted_handshakes, second.stats().accepted_handshakes);
    assert_eq!(first + second, SHARING_PEERS);
    // By a hash of the addresses: that one of the two gets none would happen once in 2^39 times.
    if cfg!(target_os = "linux") {
        assert!(first.min(second) > 0, "{first} and {second}");
    }
}

const SHARING_PEERS: u64 = 40;

/// Ten of them are one send; with the 1,200 bytes that a connection begins with, it would be five times as many.
#[test]
fn large_datagrams_are_discovered_where_the_path_carries_them() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let discarded = pair.server_reactor.handle().spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let mut stream = connection.accept_uni().await.unwrap();
        while let Ok(Some(_)) = stream.read_chunk(usize::MAX, true).await {}
    });
    let connecting = connect(&pair.client, good_client(), pair.address()).unwrap();
    let found = within(&pair.client_reactor.handle(), async move {
        let connection = connecting.await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        let data = vec![7; 1 << 16];
        // A probe goes out whenever the one before it is answered, along with the data.
        while connection.stats().path.current_mtu < Limits::default().max_mtu {
            stream.write_all(&data).await.unwrap();
        }
        connection.close(0_u32.into(), b"found");
        connection.stats().path.current_mtu
    });
    assert_eq!(found, 6_500);
    assert!(discarded.wait().is_ok());
}

#[test]
fn a_peer_that_floods_pins_no_more_than_the_windows() {
    let limits = Limits {
        data_streams: 4,
        stream_window_bytes: 64 << 10,
        connection_window_bytes: 128 << 10,
        send_window_bytes: 16 << 10,
        ..Limits::default()
    };
    let reactor = Reactor::spawn_thread("server").unwrap();
    let config = server_config(&server_identity(), Arc::new(|_: &NodeKey| true), &limits).unwrap();
    let pair = Pair {
        server: open(&reactor.handle(), &Bind::new(loopback()), &server_identity(), Some(config)).unwrap(),
        server_reactor: reactor,
        ..Pair::new()
    };
    let server = pair.server.clone();
    // Never reads.
    let accepted =
        pair.server_reactor.handle().spawn(async move { server.accept().await.unwrap().await.unwrap() });
    let config = client_config(&client_identity(), server_identity().public(), &limits).unwrap();
    let connecting = connect(&pair.client, config, pair.address()).unwrap();
    let handle = pair.client_reactor.handle();
    let taken = within(&pair.client_reactor.handle(), async move {
        let connection = connecting.await.unwrap();
        let datagram = connection.send_datagram(bytes::Bytes::from_static(b"datagram"));
        assert_eq!(datagram, Err(SendDatagramError::Disabled));
        let taken = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let (mut stream, taken) = (connection.open_uni().await.unwrap(), taken.clone());
            drop(handle.spawn(async move {
                while let Ok(bytes) = stream.write(&[0; 4096]).await {
                    taken.fetch_add(bytes, Ordering::Relaxed);
                }
            }));
        }
        let _control = connection.open_bi().await.unwrap();
        let instant = Duration::from_millis(50);
        assert!(handle.timeout(instant, connection.open_uni()).await.is_err(), "a fifth data stream");
        assert!(handle.timeout(instant, connection.open_bi()).await.is_err(), "a second control stream");
        while taken.load(Ordering::Relaxed) < 128 << 10 {
            handle.sleep(Duration::from_millis(5)).await;
        }
        handle.sleep(Duration::from_millis(200)).await;
        taken.load(Ordering::Relaxed)
    });
    assert!(taken <= (128 + 16) << 10, "{taken} bytes were taken");
    drop(accepted);
}

#[test]
fn a_connection_follows_its_client_to_a_new_address() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let served = pair.server_reactor.handle().spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let before = connection.remote_address();
        echo(connection.clone()).await.unwrap();
        (before, connection.remote_address())
    });
    let connecting = connect(&pair.client, good_client(), pair.address()).unwrap();
    let (client, old) = (pair.client.clone(), pair.client.local_addr().unwrap());
    let new = within(&pair.client_reactor.handle(), async move {
        let connection = connecting.await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let mut answer = [0; 6];
        send.write_all(b"before").await.unwrap();
        receive.read_exact(&mut answer).await.unwrap();
        client.rebind(std::net::UdpSocket::bind(loopback()).unwrap()).unwrap();
        send.write_all(b"after!").await.unwrap();
        receive.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"after!");
        send.finish().unwrap();
        receive.read_to_end(0).await.unwrap();
        client.local_addr().unwrap()
    });
    assert_ne!(old, new);
    assert_eq!(served.wait().unwrap(), (old, new));
}
