//! The two sides of a measurement, each a process of its own.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ::engine::chain::NodeKey;
use anyhow::{Context, Result};
use bytes::Bytes;
use net::endpoint::{Limits, client_config, connect, server_config};
use net::identity::Identity;
use quinn::{ClientConfig, Connection, Endpoint};
use rustix::thread::CpuSet;
use serde::Serialize;

use crate::engine::{Seat, Spawn};
use crate::measure::{self, Times};
use crate::spec::{Listening, Load, QuicSample, Role, Sample, Spec, loopback};
use crate::udp;

const WRITE_BYTES: usize = 64 << 10;
const MESSAGE_BYTES: usize = 64;
const HANDSHAKES_AT_ONCE: usize = 50;

/// Does what the parent says, and tells what it has done whenever the parent sends a line. Ends with its input.
pub(crate) fn run(spec: &Spec) -> Result<()> {
    if let Some(core) = spec.core {
        let mut set = CpuSet::new();
        set.set(core);
        // Before any thread begins, so that all inherit it. Only where it is allowed.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let counts = Arc::new(Counts::default());
    let begin = Instant::now();
    let port;
    // Kept until the end.
    let _seats = match &spec.role {
        Role::Receiver => {
            let (seats, listening) = receive(spec, &counts)?;
            port = listening.address.port();
            say(&listening)?;
            seats
        }
        Role::Sender { to, load } => {
            port = 0;
            let seats = send(spec, to, *load, &counts)?;
            say(&())?;
            seats
        }
        Role::UdpReceiver => {
            let address = udp::receive(&spec.tuning, &counts)?;
            port = address.port();
            say(&Listening { address, key: [0; 32] })?;
            Vec::new()
        }
        Role::UdpSender { to } => {
            port = 0;
            udp::send(&spec.tuning, *to)?;
            say(&())?;
            Vec::new()
        }
    };
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut sample = counts.sample();
        sample.nanos = begin.elapsed().as_nanos() as u64;
        sample.cpu_nanos = measure::cpu_nanos();
        sample.rss_bytes = measure::status("VmRSS");
        sample.drops = measure::udp_drops(port);
        say(&sample)?;
    }
    // Without good-byes: what is left to be said on a thousand connections is no part of any measurement.
    std::process::exit(0)
}

fn say(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// What all tasks of a process add to.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) bytes: AtomicU64,
    operations: AtomicU64,
    times: std::sync::Mutex<Option<Times>>,
    connections: std::sync::Mutex<Vec<Connection>>,
}

impl Counts {
    fn sample(&self) -> Sample {
        let times = self.times.lock().expect("nobody panics with it").take();
        let at = |share| times.as_ref().map_or(0.0, |times| times.at(share));
        Sample {
            bytes: self.bytes.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            p50_nanos: at(0.5),
            p99_nanos: at(0.99),
            quic: self.quic(),
            ..Sample::default()
        }
    }

    fn quic(&self) -> QuicSample {
        let mut sum = QuicSample::default();
        for connection in &*self.connections.lock().expect("nobody panics with it") {
            let stats = connection.stats();
            sum.connections += 1;
            sum.lost_packets += stats.path.lost_packets;
            sum.congestion_events += stats.path.congestion_events;
            sum.sent_packets += stats.path.sent_packets;
            sum.sends += stats.udp_tx.ios;
            sum.datagrams_sent += stats.udp_tx.datagrams;
            sum.datagrams_received += stats.udp_rx.datagrams;
            sum.acks_sent += stats.frame_tx.acks;
            sum.congestion_windows += stats.path.cwnd;
            sum.mtus += u64::from(stats.path.current_mtu);
            sum.rtt_nanos += stats.path.rtt.as_nanos() as u64;
        }
        sum
    }

    fn keep(&self, connection: &Connection) {
        self.connections.lock().expect("nobody panics with it").push(connection.clone());
    }

    fn record(&self, begin: Instant) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let mut times = self.times.lock().expect("nobody panics with it");
        times.get_or_insert_with(Times::new).record(begin.elapsed());
    }
}

fn receive(spec: &Spec, counts: &Arc<Counts>) -> Result<(Vec<Seat>, Listening)> {
    let identity = Identity::generate()?;
    // One side says that it is still there, as in the product.
    let limits = Limits { keep_alive: None, ..spec.tuning.limits() };
    let config = server_config(&identity, Arc::new(|_: &NodeKey| true), &limits)?;
    let mut bind = spec.tuning.bind(loopback());
    let mut seats = Vec::new();
    // A runtime of many threads has one socket, as its users have it.
    let sockets = if spec.engine.is_single() { spec.tuning.receivers } else { 1 };
    for number in 0..sockets {
        bind.share = (sockets > 1).then_some(number as u16);
        let seat = Seat::new(spec.engine)?;
        let endpoint = seat.open(&bind, &identity, Some(config.clone()))?;
        bind.address = endpoint.local_addr()?;
        (seat.spawn)(Box::pin(serve(seat.spawn.clone(), endpoint, counts.clone())));
        seats.push(seat);
    }
    Ok((seats, Listening { address: bind.address, key: identity.public().0 }))
}

async fn serve(spawn: Spawn, endpoint: Endpoint, counts: Arc<Counts>) {
    while let Some(incoming) = endpoint.accept().await {
        let (spawner, counts) = (spawn.clone(), counts.clone());
        spawn(Box::pin(async move {
            let Ok(connection) = incoming.await else { return };
            counts.operations.fetch_add(1, Ordering::Relaxed);
            // A client that only shakes hands leaves at once; all others stay.
            let bidirectional = connection.clone();
            spawner(Box::pin(async move {
                while let Ok((mut send, mut receive)) = bidirectional.accept_bi().await {
                    let mut message = [0; MESSAGE_BYTES];
                    while receive.read_exact(&mut message).await.is_ok() {
                        if send.write_all(&message).await.is_err() {
                            return;
                        }
                    }
                }
            }));
            let mut kept = false;
            while let Ok(mut stream) = connection.accept_uni().await {
                if !std::mem::replace(&mut kept, true) {
                    counts.keep(&connection);
                }
                let counts = counts.clone();
                spawner(Box::pin(async move {
                    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                        counts.bytes.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                }));
            }
        }));
    }
}

/// Returns once all connections are made.
fn send(spec: &Spec, to: &Listening, load: Load, counts: &Arc<Counts>) -> Result<Vec<Seat>> {
    let identity = Identity::generate()?;
    let config = client_config(&identity, NodeKey(to.key), &spec.tuning.limits())?;
    let seat = Seat::new(spec.engine)?;
    let sockets = (0..spec.tuning.sockets.max(1))
        .map(|_| seat.open(&spec.tuning.bind(loopback()), &identity, None))
        .collect::<Result<Vec<Endpoint>>>()?;
    let client = Arc::new(Client { sockets, config, to: to.address, next: AtomicU64::new(0) });
    let (connections, streams) = match load {
        Load::Bulk { connections, streams } => (connections, streams),
        Load::Idle { connections } => (connections, 0),
        Load::Echo => (1, 0),
        Load::Handshakes { at_once } => {
            for _ in 0..at_once {
                let (client, counts) = (client.clone(), counts.clone());
                (seat.spawn)(Box::pin(async move {
                    while let Ok(connection) = client.connect().await {
                        counts.operations.fetch_add(1, Ordering::Relaxed);
                        connection.close(0_u32.into(), b"");
                    }
                }));
            }
            return Ok(vec![seat]);
        }
    };
    // Who is connected says nothing yet: handshakes in the midst of a flood would be another measurement.
    let mut connected = Vec::new();
    while connected.len() < connections {
        let (ready, all_ready) = std::sync::mpsc::channel();
        // So many at a time, so that none waits for so long that it fails.
        for _ in 0..(connections - connected.len()).min(HANDSHAKES_AT_ONCE) {
            let (client, ready) = (client.clone(), ready.clone());
            (seat.spawn)(Box::pin(async move {
                // The other end is there until the channel is closed below.
                let _ = ready.send(client.connect().await);
            }));
        }
        drop(ready);
        for connection in all_ready {
            connected.push(connection.context("no connection")?);
        }
    }
    for connection in connected {
        counts.keep(&connection);
        for _ in 0..streams {
            (seat.spawn)(Box::pin(flood(connection.clone())));
        }
        if matches!(load, Load::Echo) {
            (seat.spawn)(Box::pin(echo(connection, counts.clone())));
        }
    }
    Ok(vec![seat])
}

struct Client {
    sockets: Vec<Endpoint>,
    config: ClientConfig,
    to: std::net::SocketAddr,
    next: AtomicU64,
}

impl Client {
    async fn connect(&self) -> Result<Connection> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let endpoint = &self.sockets[next % self.sockets.len()];
        Ok(connect(endpoint, self.config.clone(), self.to)?.await?)
    }
}

async fn flood(connection: Connection) {
    let Ok(mut stream) = connection.open_uni().await else { return };
    let data = Bytes::from(vec![7; WRITE_BYTES]);
    while stream.write_chunk(data.clone()).await.is_ok() {}
}

async fn echo(connection: Connection, counts: Arc<Counts>) {
    let Ok((mut send, mut receive)) = connection.open_bi().await else { return };
    let mut message = [7; MESSAGE_BYTES];
    loop {
        let begin = Instant::now();
        if send.write_all(&message).await.is_err() || receive.read_exact(&mut message).await.is_err() {
            return;
        }
        counts.record(begin);
    }
}
