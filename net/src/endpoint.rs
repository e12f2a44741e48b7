//! QUIC endpoints on a reactor, and the limits of their connections: what a peer can make us hold.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use engine::chain::NodeKey;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, NoneTokenLog, ServerConfig,
    TransportConfig, ValidationTokenConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use socket2::{Domain, Protocol, Socket, Type};

use crate::identity::{Doorkeeper, Identity, KnownKeys, SERVER_NAME, TurnedAway, client_tls};
use crate::reactor::{Handle, Vouched};

/// Where and how to bind.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The local address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Share the port with other sockets, one per reactor (`SO_REUSEPORT`): the kernel spreads peers over them by
    /// address. The number of this one among them; each has its own. Default: the port is not shared.
    pub share: Option<u16>,
    /// Bytes asked for each of the socket's two buffers. Default 32 MiB: each of a thousand busy peers has two
    /// datagrams of 6,500 bytes under way at least, however much it is slowed down, and with 4 MiB a tenth of what they
    /// send is lost. The memory is taken only while data wait in it. Systems grant less without `net.core.rmem_max`
    /// and `wmem_max` or the capability CAP_NET_ADMIN; it is said once, in the log.
    pub socket_buffer_bytes: usize,
    /// The largest UDP payload that peers may send, in bytes, 1,200 to 65,527. Default 6,500: jumbo frames, and ten
    /// of them are one GSO send. The buffers of an endpoint take 2 to 3 MB whatever it is.
    pub max_udp_payload: u16,
    /// The peers that are no strangers: batches of their datagrams are handed on whole, all others one by one, so that
    /// nobody can make us hold much more than its windows allow. Default: none, and no difference is made.
    pub vouched: Option<Arc<Vouched>>,
}

impl Bind {
    /// The defaults at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            share: None,
            socket_buffer_bytes: 32 << 20,
            max_udp_payload: MAX_DATAGRAM,
            vouched: None,
        }
    }

    /// A socket bound so, as [`open`] makes its own: for measurements that are to differ in nothing else.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn socket(&self) -> io::Result<std::net::UdpSocket> {
        let socket = Socket::new(Domain::for_address(self.address), Type::DGRAM, Some(Protocol::UDP))?;
        if self.address.is_ipv6() {
            // `[::]` speaks IPv4 too, whatever the system's default is.
            socket.set_only_v6(false)?;
        }
        if self.share.is_some() {
            socket.set_reuse_port(true)?;
        }
        set_buffers(&socket, self.socket_buffer_bytes)?;
        socket.bind(&self.address.into())?;
        Ok(socket.into())
    }
}

/// What a connection may hold and how long it may be silent. Either side sets its own.
///
/// A peer that knows how can make us hold `connection_window_bytes` of stream data that we have not read yet; that
/// is by far the most. Multiplied by the number of connections it is the memory to reckon with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Unidirectional streams that the peer may have open, for data. Default 8. Beside them, one bidirectional
    /// stream for control.
    pub data_streams: u32,
    /// Bytes that the peer may send ahead of our reading on one stream. Default 2 MiB: 200 MB/s at 10 ms.
    pub stream_window_bytes: u32,
    /// The same over all streams of a connection. Default 8 MiB.
    pub connection_window_bytes: u32,
    /// Bytes that we keep for one connection until the peer has acknowledged them. Default 8 MiB.
    pub send_window_bytes: u32,
    /// A connection that is silent for so long is over. Default 60 s; the lower of both sides counts. A client on a busy
    /// machine should not lose its connection for a late packet, and who has died is replaced long before.
    pub idle_timeout: Duration,
    /// After so much silence we say that we are there; `None` leaves that to the other side. Default 20 s for a client,
    /// so that two may be lost, and none for a server: one side is enough, and NATs listen to the inner one.
    pub keep_alive: Option<Duration>,
    /// Whether a server follows its clients to new addresses; of no meaning for a client. Default true: a node behind NAT
    /// changes its address whenever its router forgets it. A new address is used only after it has answered a challenge
    /// (RFC 9000 section 9), and only peers with a registered key get that far.
    pub migration: bool,
    /// The first datagrams' UDP payload. Default 1,200, which passes everywhere.
    pub initial_mtu: u16,
    /// The largest UDP payload that discovery tries. Default 6,500: with GSO ten datagrams go out in one send of at
    /// most 64 KiB, and above that quinn falls back to single small ones.
    pub max_mtu: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            data_streams: 8,
            stream_window_bytes: 2 << 20,
            connection_window_bytes: 8 << 20,
            send_window_bytes: 8 << 20,
            idle_timeout: Duration::from_secs(60),
            keep_alive: Some(Duration::from_secs(20)),
            migration: true,
            initial_mtu: 1_200,
            max_mtu: MAX_DATAGRAM,
        }
    }
}

impl Limits {
    /// The defaults of a server with many clients: a connection begins with a window of 8 KiB, which the server widens
    /// as it is used; we keep 256 KiB for it until they are acknowledged, since acks are small; and the keep-alive is the
    /// clients' part.
    pub fn server() -> Self {
        Self {
            connection_window_bytes: MIN_WINDOW,
            send_window_bytes: 256 << 10,
            keep_alive: None,
            ..Self::default()
        }
    }

    fn transport(&self) -> Result<TransportConfig, EndpointError> {
        self.check()?;
        let mut transport = TransportConfig::default();
        let idle = IdleTimeout::try_from(self.idle_timeout)
            .map_err(|_| refused("idle_timeout", &self.idle_timeout, "at most 2^62 ms"))?;
        transport
            .max_concurrent_bidi_streams(1_u32.into())
            .max_concurrent_uni_streams(self.data_streams.into())
            .stream_receive_window(self.stream_window_bytes.into())
            .receive_window(self.connection_window_bytes.into())
            .send_window(self.send_window_bytes.into())
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            // What the peer may send of the handshake ahead of its order: a certificate of ours has some hundred bytes.
            .crypto_buffer_size(16 << 10)
            .initial_mtu(self.initial_mtu)
            .mtu_discovery_config(Some({
                let mut discovery = MtuDiscoveryConfig::default();
                discovery.upper_bound(self.max_mtu);
                discovery
            }))
            // Ten of the largest datagrams that discovery may find, as RFC 9002 section 7.2 reckons. quinn reckons with
            // the first, smallest size, which leaves room for two probes of the path; and a close that finds no room is
            // never sent (quinn issue 2785), so that who is refused early would not hear why.
            .congestion_controller_factory(Arc::new({
                let mut cubic = CubicConfig::default();
                cubic.initial_window(10 * u64::from(self.max_mtu));
                cubic
            }))
            // Nothing of ours is sent as datagrams.
            .datagram_receive_buffer_size(None)
            .datagram_send_buffer_size(0);
        Ok(transport)
    }

    /// quinn raises a low MTU without a word; here it is an error, like everything out of range.
    fn check(&self) -> Result<(), EndpointError> {
        if !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&self.initial_mtu) {
            return Err(refused("initial_mtu", &self.initial_mtu, "1200 to 6500"));
        }
        if !(self.initial_mtu..=MAX_DATAGRAM).contains(&self.max_mtu) {
            return Err(refused("max_mtu", &self.max_mtu, "initial_mtu to 6500"));
        }
        if let Some(keep_alive) = self.keep_alive
            && (keep_alive.is_zero() || keep_alive > self.idle_timeout / 2)
        {
            return Err(refused("keep_alive", &keep_alive, "above 0 and at most half of idle_timeout"));
        }
        if self.idle_timeout.is_zero() {
            return Err(refused("idle_timeout", &self.idle_timeout, "above 0"));
        }
        for (name, bytes) in [
            ("stream_window_bytes", self.stream_window_bytes),
            ("connection_window_bytes", self.connection_window_bytes),
            ("send_window_bytes", self.send_window_bytes),
        ] {
            if bytes < MIN_WINDOW {
                return Err(refused(name, &bytes, "at least 8192"));
            }
        }
        if self.data_streams == 0 {
            return Err(refused("data_streams", &self.data_streams, "at least 1"));
        }
        Ok(())
    }
}

/// QUIC of a server: `identity` shown, the keys that `known` knows let in, `limits` kept.
///
/// To be used for all endpoints of a server, also those that share a port: the tokens of one are good for the others.
///
/// # Errors
/// A limit is out of range.
pub fn server_config(
    identity: &Identity,
    known: Arc<dyn KnownKeys>,
    limits: &Limits,
) -> Result<ServerConfig, EndpointError> {
    Ok(Door::new(identity, known, limits)?.config.clone())
}

/// QUIC of a server that wants to know, handshake by handshake, which key it turned away.
pub(crate) struct Door {
    doorkeeper: Doorkeeper,
    config: ServerConfig,
    /// Not in use by a handshake.
    desks: Mutex<Vec<Arc<Desk>>>,
}

/// QUIC for one handshake at a time. Connections keep it for as long as they live, and share it by then: one for each
/// would be a kilobyte each.
pub(crate) struct Desk {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) turned_away: Arc<TurnedAway>,
}

impl Door {
    pub(crate) fn new(
        identity: &Identity,
        known: Arc<dyn KnownKeys>,
        limits: &Limits,
    ) -> Result<Self, EndpointError> {
        let transport = limits.transport()?;
        let doorkeeper = Doorkeeper::new(identity, known);
        let mut config = ServerConfig::with_crypto(crypto_of(doorkeeper.tls(Arc::default())));
        // No tokens for later connections: whether an address is asked to show itself depends on how busy we are, not on
        // who was here before.
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0).log(Arc::new(NoneTokenLog));
        config
            .transport_config(Arc::new(transport))
            .migration(limits.migration)
            .validation_token_config(tokens)
            // Handshakes that wait for us to look at them: a second's worth. quinn's own 65,536 with 100 MiB in their
            // buffers would be an invitation.
            .max_incoming(1_024)
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(16 << 20);
        Ok(Self { doorkeeper, config, desks: Mutex::default() })
    }

    /// For endpoints.
    pub(crate) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// For a handshake; to be given back when that has ended.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        let desk = self.desks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        desk.unwrap_or_else(|| {
            let turned_away = Arc::<TurnedAway>::default();
            let mut config = self.config.clone();
            config.crypto = crypto_of(self.doorkeeper.tls(Arc::clone(&turned_away)));
            Arc::new(Desk { config: Arc::new(config), turned_away })
        })
    }

    /// The handshake has ended.
    pub(crate) fn give_back(&self, desk: Arc<Desk>) {
        desk.turned_away.take();
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).push(desk);
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

fn crypto_of(tls: rustls::ServerConfig) -> Arc<QuicServerConfig> {
    Arc::new(QuicServerConfig::try_from(tls).expect("our one suite is the one that QUIC demands"))
}

/// QUIC of a client that talks to the holder of `server` only.
///
/// # Errors
/// A limit is out of range.
pub fn client_config(
    identity: &Identity,
    server: NodeKey,
    limits: &Limits,
) -> Result<ClientConfig, EndpointError> {
    client_config_for(identity, &[server], limits, 0)
}

/// QUIC of a client that talks to the holder of one of `servers` only: the old and the new key of one that changes its
/// own. The server may have `questions` bidirectional streams open, to ask something on each.
///
/// # Errors
/// A limit is out of range.
pub fn client_config_for(
    identity: &Identity,
    servers: &[NodeKey],
    limits: &Limits,
    questions: u32,
) -> Result<ClientConfig, EndpointError> {
    let mut transport = limits.transport()?;
    transport.max_concurrent_bidi_streams(questions.into());
    let crypto = QuicClientConfig::try_from(client_tls(identity, servers))
        .expect("our one suite is the one that QUIC demands");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Binds a socket and opens a QUIC endpoint of `reactor` on it: a server if there is a `server` configuration, and
/// in any case able to [`connect`].
///
/// After a restart the endpoint of the same `identity` recognises what peers still send on the connections of its
/// former life and tells them at once that those are gone (stateless reset, RFC 9000 section 10.3), so that they
/// reconnect without waiting for their idle timeout.
///
/// # Errors
/// The address cannot be bound, or a setting is out of range.
pub fn open(
    reactor: &Handle,
    bind: &Bind,
    identity: &Identity,
    server: Option<ServerConfig>,
) -> Result<quinn::Endpoint, EndpointError> {
    // Of sockets that share a port each has secrets of its own: one that could reset the connections of another
    // would do so for whoever sends it a packet (RFC 9000 section 21.11).
    let secret = |purpose| identity.derive(&format!("mainstem/1 {purpose} {}", bind.share.unwrap_or(0)));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret("stateless reset"));
    let mut config = EndpointConfig::new(Arc::new(key));
    config
        .max_udp_payload_size(bind.max_udp_payload)
        .map_err(|_| refused("max_udp_payload", &bind.max_udp_payload, "1200 to 65527"))?;
    // quinn's own list has six drafts of QUIC beside it.
    config.supported_versions(vec![QUIC_VERSION]);
    let ids = secret("connection ids");
    let ids = u64::from_le_bytes(*ids.first_chunk().expect("32 bytes begin with 8"));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));

    let socket = bind
        .socket()
        .and_then(|socket| reactor.udp_socket(socket, bind.max_udp_payload, bind.vouched.clone()));
    let failed = |source| EndpointError::Bind { address: bind.address, source };
    let socket = socket.map_err(failed)?;
    quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(reactor.clone()))
        .map_err(failed)
}

/// Starts a connection; the server is the one whose key is in `config`.
///
/// # Errors
/// The endpoint is closed, or the address is of another family than its socket.
pub fn connect(
    endpoint: &quinn::Endpoint,
    config: ClientConfig,
    server: SocketAddr,
) -> Result<quinn::Connecting, quinn::ConnectError> {
    endpoint.connect_with(config, server, SERVER_NAME)
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be used.
    #[error("cannot listen on UDP {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A setting is out of range.
    #[error("{field} is {value}, expected {expected}")]
    Limit {
        /// The setting.
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

fn refused(field: &'static str, value: &dyn fmt::Debug, expected: &'static str) -> EndpointError {
    EndpointError::Limit { field, value: format!("{value:?}"), expected }
}

fn set_buffers(socket: &Socket, bytes: usize) -> io::Result<()> {
    static SAID: std::sync::Once = std::sync::Once::new();
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)?;
    // Linux reports twice what it granted: the other half is for its own bookkeeping.
    let halved = if cfg!(target_os = "linux") { 2 } else { 1 };
    let (receive, send) = (socket.recv_buffer_size()? / halved, socket.send_buffer_size()? / halved);
    if receive.min(send) < bytes && !force_buffers(socket, bytes) {
        SAID.call_once(|| {
            tracing::info!(
                asked = bytes, receive, send,
                "the system grants smaller socket buffers than asked for; for throughput raise net.core.rmem_max and wmem_max, or give CAP_NET_ADMIN"
            );
        });
    }
    Ok(())
}

/// Whether the system let us go beyond what it grants to everybody, for which it wants CAP_NET_ADMIN (socket(7)).
#[cfg(target_os = "linux")]
fn force_buffers(socket: &Socket, bytes: usize) -> bool {
    rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes)
        .and_then(|()| rustix::net::sockopt::set_socket_send_buffer_size_force(socket, bytes))
        .is_ok()
}

#[cfg(not(target_os = "linux"))]
fn force_buffers(_: &Socket, _: usize) -> bool {
    false
}

/// RFC 9000, the one version that is spoken here.
const QUIC_VERSION: u32 = 1;

/// What every path of QUIC must carry (RFC 9000 section 14).
const MIN_DATAGRAM: u16 = 1_200;

/// Ten of them fit into the 64 KiB of one GSO send, and ten is what quinn sends at most.
const MAX_DATAGRAM: u16 = 6_500;

/// Below, a control message of ordinary size would have to wait for the next window.
const MIN_WINDOW: u32 = 8 << 10;
