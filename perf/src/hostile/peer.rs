//! What attackers are made of: a registered node by hand, a link of limited speed, a socket that loses datagrams.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use net::control::{ClientMessage, EntryState, Hello, Message, ServerMessage, receive};
use net::endpoint::{self, Limits};
use net::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};
use net::identity::Identity;
use net::reactor::Handle;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connection, RecvStream, Runtime, SendStream, UdpPoller};

use super::attack::Shared;
use crate::swarm::world::hash;

/// A link that carries so much and no more.
#[derive(Debug)]
pub(super) struct Link {
    bytes_per_second: f64,
    /// How much may go now, and since when that is so.
    free: Mutex<(f64, Instant)>,
}

impl Link {
    pub(super) fn new(mbit: u32) -> Self {
        Self { bytes_per_second: f64::from(mbit) * 1e6 / 8.0, free: Mutex::new((0.0, Instant::now())) }
    }

    /// Sends `bytes`, and says how long that takes.
    pub(super) fn take(&self, bytes: usize) -> Duration {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, now) = (free.0, Instant::now());
        let most = self.bytes_per_second / 100.0;
        let left = (left + (now - free.1).as_secs_f64() * self.bytes_per_second).min(most) - bytes as f64;
        *free = (left, now);
        Duration::from_secs_f64((-left / self.bytes_per_second).max(0.0))
    }
}

/// A node that has said its hello, or not yet.
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    pub(super) chain: ChainId,
    /// Newest height that the server has.
    pub(super) received: u64,
}

impl Peer {
    /// Connects as the node at `index` and says hello.
    pub(super) async fn connect(shared: &Shared, endpoint: &quinn::Endpoint, index: u32) -> Result<Self> {
        // Small, so that not to read is soon felt on the other side.
        let limits = Limits { stream_window_bytes: 16 << 10, ..Limits::default() };
        let quic = endpoint::client_config(&shared.setup.world.identity(index), shared.setup.key, &limits)?;
        shared.spend(HANDSHAKE_BYTES).await;
        let connection = endpoint::connect(endpoint, quic, shared.setup.server)?.await?;
        let (mut send, mut stream) = connection.open_bi().await?;
        let chain = shared.setup.world.chains_of(index).next().context("each node has a chain")?;
        let mut out = Vec::new();
        ClientMessage::Hello(Hello { software: "hostile".into(), chains: vec![chain] }).encode(&mut out);
        send.write_all(&out).await?;
        let welcome = match receive(&mut stream, &mut Vec::new()).await?.context("the server hung up")? {
            ServerMessage::Welcome(welcome) => welcome,
            other => bail!("{other:?}"),
        };
        let received = match welcome.chains.first().context("one was asked for")?.state {
            EntryState::Speaker(at) | EntryState::Standby(at) => at.received.0,
            EntryState::Refused(code) => bail!("refused: {code}"),
        };
        Ok(Self { connection, send, receive: stream, chain, received })
    }

    pub(super) async fn say(&mut self, shared: &Shared, message: &ClientMessage) -> Result<()> {
        let mut out = Vec::new();
        message.encode(&mut out);
        shared.spend(out.len() + PACKET_BYTES).await;
        Ok(self.send.write_all(&out).await?)
    }
}

/// A frame of the blocks `first..first + count` of a chain, on a branch.
pub(super) fn frame(chain: ChainId, first: u64, count: u64, branch: u8) -> Vec<u8> {
    let mut columns = Columns::default();
    for height in first..first + count {
        let hash = hash(chain, height, branch);
        columns.push(hash, hash, Timestamp::from_millis(height));
    }
    let parent = if first == 1 { Hash::ZERO } else { hash(chain, first - 1, branch) };
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    writer.push(chain, Height(first), parent, columns.as_ref());
    writer.finish().as_bytes().to_vec()
}

/// The header of the longest frame, of which nothing need follow.
pub(super) fn long_header() -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&((MAX_FRAME_BYTES - 16) as u32).to_le_bytes());
    header[4..6].copy_from_slice(&1_u16.to_le_bytes());
    header[6] = 1;
    header
}

/// What a client sends for a handshake and a hello: its first datagram is filled up to 1,200 bytes, certificate and
/// acks are some 1,500 more.
pub(super) const HANDSHAKE_BYTES: usize = 2_800;

/// What a small datagram takes beside its payload: headers of QUIC, UDP, IP and Ethernet, and the gap between two frames.
pub(super) const PACKET_BYTES: usize = 30 + 66;

/// An endpoint at an address of the loopback network, which loses one of `loses` datagrams that it sends if that is not 0.
pub(super) fn endpoint_at(handle: &Handle, host: u8, loses: u64) -> Result<quinn::Endpoint> {
    let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    if loses == 0 {
        let bind = endpoint::Bind::new(address);
        return Ok(endpoint::open(handle, &bind, &Identity::from_seed([host; 32]), None)?);
    }
    let inner = handle.wrap_udp_socket(std::net::UdpSocket::bind(address)?)?;
    let socket = Arc::new(Lossy { inner, loses, sent: AtomicU64::new(0) });
    let runtime = Arc::new(handle.clone());
    Ok(quinn::Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket, runtime)?)
}

/// A socket that loses what it sends now and then.
#[derive(Debug)]
struct Lossy {
    inner: Arc<dyn AsyncUdpSocket>,
    loses: u64,
    sent: AtomicU64,
}

impl AsyncUdpSocket for Lossy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // Relaxed: only the number matters. The first ones are the handshake.
        let sent = self.sent.fetch_add(1, Ordering::Relaxed);
        if sent > 16 && sent.is_multiple_of(self.loses) {
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
