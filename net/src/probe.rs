//! What QUIC and UDP can carry here with nothing behind them: the limits that everything else is measured against.
//!
//! Endpoints, sockets and reactors are those of [`crate::server`] and [`crate::client`], with the same settings; what
//! is missing is all that is done with the bytes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use engine::chain::NodeKey;
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{Connection, Endpoint};
use tokio::sync::Semaphore;

use crate::endpoint::{self, Bind, EndpointError, Limits};
use crate::identity::Identity;
use crate::reactor::{Handle, Reactor};
use crate::server::ServerConfig;

/// Takes QUIC connections of everybody, and discards what comes. Ends when it is dropped.
#[derive(Debug)]
pub struct Discard {
    _reactors: Vec<Reactor>,
    address: SocketAddr,
    key: NodeKey,
    received: Arc<AtomicU64>,
}

impl Discard {
    /// Listens where and as a server of this configuration would, with as many threads, named `quic-0` and so on. What
    /// peers may send ahead is what a server grants to those that deliver.
    ///
    /// # Errors
    /// The address cannot be used, a limit is out of range, or the system gives no thread.
    pub fn start(config: &ServerConfig) -> Result<Self, ProbeError> {
        let known = Arc::new(|_: &NodeKey| true);
        let limits = Limits { connection_window_bytes: config.max_window_bytes, ..config.transport.clone() };
        let quic = endpoint::server_config(&config.identity, known, &limits)?;
        let received = Arc::new(AtomicU64::new(0));
        let (mut address, mut reactors) = (config.addr, Vec::new());
        for index in 0..config.reactors.get() {
            let reactor = Reactor::spawn_thread(&format!("quic-{index}")).map_err(ProbeError::System)?;
            let mut bind = Bind::new(address);
            bind.share = (config.reactors.get() > 1).then_some(index as u16);
            let listener = endpoint::open(&reactor.handle(), &bind, &config.identity, Some(quic.clone()))?;
            address = listener.local_addr().map_err(ProbeError::System)?;
            drop(reactor.handle().spawn(accept(reactor.handle(), listener, Arc::clone(&received))));
            reactors.push(reactor);
        }
        Ok(Self { _reactors: reactors, address, key: config.identity.public(), received })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its key.
    pub fn key(&self) -> NodeKey {
        self.key
    }

    /// Bytes received on streams since the start.
    pub fn bytes(&self) -> u64 {
        // Relaxed: a figure.
        self.received.load(Ordering::Relaxed)
    }
}

async fn accept(reactor: Handle, listener: Endpoint, received: Arc<AtomicU64>) {
    while let Some(incoming) = listener.accept().await {
        let (handle, received) = (reactor.clone(), Arc::clone(&received));
        drop(reactor.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok(mut stream) = connection.accept_uni().await {
                let received = Arc::clone(&received);
                drop(handle.spawn(async move {
                    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                        received.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                }));
            }
        }));
    }
}

/// Sends bytes over QUIC as fast as they are taken, on one stream of each of several connections. Ends when it is
/// dropped.
#[derive(Debug)]
pub struct Flood {
    _reactor: Reactor,
    state: Arc<FloodState>,
}

#[derive(Debug)]
struct FloodState {
    connected: AtomicUsize,
    /// Why the first connection failed that did.
    failure: Mutex<Option<String>>,
    /// Who may shake hands: all at once would keep each other waiting until they give up.
    hands: Semaphore,
    handle: Handle,
    limits: Limits,
    server: (SocketAddr, NodeKey),
    /// What is sent over and over.
    piece: Bytes,
}

/// Handshakes at a time.
const HANDS: usize = 64;

impl Flood {
    /// Connects, and sends on each connection as soon as it is there: pieces of `piece` bytes.
    ///
    /// # Errors
    /// A limit is out of range, or the system gives no thread or socket.
    pub fn start(
        server: SocketAddr,
        key: NodeKey,
        connections: usize,
        limits: Limits,
        piece: usize,
    ) -> Result<Self, ProbeError> {
        let reactor = Reactor::spawn_thread("flood").map_err(ProbeError::System)?;
        let state = Arc::new(FloodState {
            connected: AtomicUsize::new(0),
            failure: Mutex::default(),
            hands: Semaphore::new(HANDS),
            handle: reactor.handle(),
            limits,
            server: (server, key),
            piece: vec![0x5a; piece].into(),
        });
        for index in 0..connections {
            // Each with an endpoint of its own, as each node has: they differ in nothing else.
            let mut seed = [0xb7; 32];
            seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
            let identity = Identity::from_seed(seed);
            let local = SocketAddr::new(unspecified(server), 0);
            let endpoint = endpoint::open(&reactor.handle(), &Bind::new(local), &identity, None)?;
            let state = Arc::clone(&state);
            drop(reactor.handle().spawn(async move {
                if let Err(failure) = flood(&state, &endpoint, &identity).await {
                    state.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                }
            }));
        }
        Ok(Self { _reactor: reactor, state })
    }

    /// How many connections there are.
    pub fn connected(&self) -> usize {
        // Relaxed: a figure.
        self.state.connected.load(Ordering::Relaxed)
    }

    /// Why a connection failed, if one did.
    pub fn failure(&self) -> Option<String> {
        self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn flood(state: &FloodState, endpoint: &Endpoint, identity: &Identity) -> Result<(), String> {
    let connection = {
        let _hands = state.hands.acquire().await;
        connect(state, endpoint, identity).await?
    };
    state.connected.fetch_add(1, Ordering::Relaxed);
    let mut stream = connection.open_uni().await.map_err(|error| error.to_string())?;
    loop {
        // A view of the same bytes: nothing is copied.
        stream.write_chunk(state.piece.clone()).await.map_err(|error| error.to_string())?;
        // A sender that always has more must not keep the reactor to itself.
        state.handle.yield_now().await;
    }
}

async fn connect(state: &FloodState, endpoint: &Endpoint, identity: &Identity) -> Result<Connection, String> {
    let (server, key) = state.server;
    let quic = endpoint::client_config(identity, key, &state.limits).map_err(|error| error.to_string())?;
    let connecting = endpoint::connect(endpoint, quic, server).map_err(|error| error.to_string())?;
    connecting.await.map_err(|error| error.to_string())
}

fn unspecified(server: SocketAddr) -> std::net::IpAddr {
    if server.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}

/// UDP datagrams from one socket of this process to another on loopback, in batches where the system has them (GSO,
/// GRO), as QUIC sends and receives them but without QUIC. Ends when it is dropped.
#[derive(Debug)]
pub struct Datagrams {
    over: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    segments: usize,
}

impl Datagrams {
    /// Starts a thread that sends, `udp-send`, and one that receives, `udp-receive`: datagrams of `payload` bytes.
    ///
    /// # Errors
    /// No datagram is that long, or the system gives no socket or thread.
    pub fn start(payload: u16) -> Result<Self, ProbeError> {
        if !(1..=MAX_BATCH_BYTES).contains(&usize::from(payload)) {
            return Err(ProbeError::Payload { payload });
        }
        let local = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let socket = || Bind::new(local).socket().map_err(ProbeError::System);
        let (from, to) = (socket()?, socket()?);
        let state = |socket: &UdpSocket| UdpSocketState::new(socket.into()).map_err(ProbeError::System);
        let (sender, receiver) = (state(&from)?, state(&to)?);
        // Both are set non-blocking by that; here there is nothing else to do than to wait.
        for socket in [&from, &to] {
            socket.set_nonblocking(false).map_err(ProbeError::System)?;
            socket.set_read_timeout(Some(WAKE)).map_err(ProbeError::System)?;
            socket.set_write_timeout(Some(WAKE)).map_err(ProbeError::System)?;
        }
        let target = to.local_addr().map_err(ProbeError::System)?;
        let segments =
            sender.max_gso_segments().min(MOST_SEGMENTS).min(MAX_BATCH_BYTES / usize::from(payload)).max(1);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run).map_err(ProbeError::System)
        };
        // Before the threads: where the second one cannot be started, the first one ends as this is dropped.
        let mut datagrams =
            Self { over: Arc::default(), received: Arc::default(), threads: Vec::new(), segments };
        let (ended, count) = (Arc::clone(&datagrams.over), Arc::clone(&datagrams.received));
        datagrams
            .threads
            .push(spawn("udp-receive", Box::new(move || receive(&to, &receiver, &ended, &count)))?);
        let ended = Arc::clone(&datagrams.over);
        let batch = vec![0x5a; segments * usize::from(payload)];
        datagrams.threads.push(spawn(
            "udp-send",
            Box::new(move || {
                let transmit = Transmit {
                    destination: target,
                    ecn: None,
                    contents: &batch,
                    segment_size: (segments > 1).then_some(usize::from(payload)),
                    src_ip: None,
                };
                // Relaxed: it is a wish that is granted soon enough.
                while !ended.load(Ordering::Relaxed) {
                    // What does not go is lost, as datagrams are.
                    let _ = sender.send((&from).into(), &transmit);
                }
            }),
        )?);
        Ok(datagrams)
    }

    /// Bytes of payload received since the start.
    pub fn bytes(&self) -> u64 {
        // Relaxed: a figure.
        self.received.load(Ordering::Relaxed)
    }

    /// How many datagrams go out in one send.
    pub fn segments(&self) -> usize {
        self.segments
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What panicked has said so.
            let _ = thread.join();
        }
    }
}

fn receive(socket: &UdpSocket, state: &UdpSocketState, over: &AtomicBool, received: &AtomicU64) {
    let mut buffers = vec![vec![0; RECEIVE_BYTES]; BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    while !over.load(Ordering::Relaxed) {
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| io::IoSliceMut::new(buffer)).collect();
        // Nothing came for a while, or the socket was interrupted.
        let Ok(count) = state.recv(socket.into(), &mut slices, &mut metas) else { continue };
        let bytes: usize = metas[..count].iter().map(|meta| meta.len).sum();
        received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// How often a thread that waits for the other looks whether it is to end.
const WAKE: Duration = Duration::from_millis(20);

/// As many as quinn sends at once.
const MOST_SEGMENTS: usize = 10;

/// The most that one send takes.
const MAX_BATCH_BYTES: usize = 65_507;

/// Room for the largest batch that the system makes.
const RECEIVE_BYTES: usize = 64 << 10;

/// Why a probe cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The address cannot be used, or a limit of the transport is out of range.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No datagram is so long.
    #[error("payload: {payload} bytes: expected 1 to {MAX_BATCH_BYTES}")]
    Payload {
        /// How long it was to be.
        payload: u16,
    },
    /// The system gives no thread, poll or socket.
    #[error("the system gives no thread or socket: {0}")]
    System(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_no_length_are_refused_and_others_arrive() {
        for payload in [0, u16::MAX] {
            assert!(
                matches!(Datagrams::start(payload), Err(ProbeError::Payload { payload: got }) if got == payload)
            );
        }
        let datagrams = Datagrams::start(1).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while datagrams.bytes() == 0 {
            assert!(std::time::Instant::now() < deadline, "none arrived in a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
