//! What the bench and its two processes tell each other: one line of JSON each.

use std::net::SocketAddr;

use clap::Args;
use net::endpoint::{Bind, Limits};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;

/// What a process is to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) role: Role,
    /// The core it is bound to.
    pub(crate) core: Option<usize>,
    pub(crate) engine: Engine,
    pub(crate) tuning: Tuning,
}

/// The two sides.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Takes connections, discards what comes on unidirectional streams, sends back what comes on bidirectional ones.
    Receiver,
    Sender {
        to: Listening,
        load: Load,
    },
    /// Datagrams without QUIC.
    UdpReceiver,
    UdpSender {
        to: SocketAddr,
    },
}

/// What a sender does.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Load {
    Bulk { connections: usize, streams: u32 },
    Echo,
    Handshakes { at_once: usize },
    Idle { connections: usize },
}

/// Where a receiver is found. The first line that it writes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) key: [u8; 32],
}

/// What differs from the product's settings.
#[derive(Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Settings that are not to be the product's")]
pub(crate) struct Tuning {
    /// The largest UDP payload, in bytes
    #[arg(long, default_value_t = Limits::default().max_mtu, value_name = "BYTES")]
    pub(crate) max_mtu: u16,

    /// The first datagrams' UDP payload, in bytes
    #[arg(long, default_value_t = Limits::default().initial_mtu, value_name = "BYTES")]
    pub(crate) initial_mtu: u16,

    /// Flow control: bytes of a stream
    #[arg(long, default_value_t = Limits::default().stream_window_bytes, value_name = "BYTES")]
    pub(crate) stream_window: u32,

    /// Flow control: bytes of a connection
    #[arg(long, default_value_t = Limits::default().connection_window_bytes, value_name = "BYTES")]
    pub(crate) connection_window: u32,

    /// Bytes of either socket buffer
    #[arg(long, default_value_t = default_bind().socket_buffer_bytes, value_name = "BYTES")]
    pub(crate) socket_buffer: usize,

    /// Reactors, or runtimes of one thread, of the receiver, that share the port
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) receivers: usize,

    /// Sockets that the sender spreads its connections over
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) sockets: usize,
}

impl Tuning {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            initial_mtu: self.initial_mtu,
            max_mtu: self.max_mtu,
            stream_window_bytes: self.stream_window,
            connection_window_bytes: self.connection_window,
            ..Limits::default()
        }
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> Bind {
        Bind { socket_buffer_bytes: self.socket_buffer, ..Bind::new(address) }
    }
}

fn default_bind() -> Bind {
    Bind::new(loopback())
}

pub(crate) fn loopback() -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, 0).into()
}

/// What a process has done since it began. Asked for by an empty line.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) nanos: u64,
    /// Processor time of all its threads.
    pub(crate) cpu_nanos: u64,
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// Read from streams, or from datagrams where there is no QUIC.
    pub(crate) bytes: u64,
    /// Echoes that came back, handshakes done.
    pub(crate) operations: u64,
    /// Of the echoes since the sample before.
    pub(crate) p50_nanos: f64,
    pub(crate) p99_nanos: f64,
    pub(crate) quic: QuicSample,
    /// Datagrams that found the socket's buffer full.
    pub(crate) drops: u64,
}

/// Sums over all connections.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct QuicSample {
    pub(crate) connections: u64,
    pub(crate) lost_packets: u64,
    pub(crate) congestion_events: u64,
    pub(crate) sent_packets: u64,
    /// Sends: each is one datagram or, with GSO, several.
    pub(crate) sends: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) datagrams_received: u64,
    pub(crate) acks_sent: u64,
    pub(crate) congestion_windows: u64,
    pub(crate) mtus: u64,
    pub(crate) rtt_nanos: u64,
}
