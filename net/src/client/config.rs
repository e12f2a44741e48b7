//! How a client runs.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use engine::chain::NodeKey;
use engine::source::Answers;

use super::backoff::jitter;
use super::{ClientError, Event, MainSink};
use crate::control::MAX_SOFTWARE_BYTES;
use crate::endpoint::{self, Limits};
use crate::frame::{MAX_FRAME_BYTES, MIN_FRAME_BYTES};
use crate::identity::Identity;
use crate::question::MAX_QUESTIONS;
use crate::reactor::Handle;

/// Is told what happens, on the client's own threads: it must not block.
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(Event) + Send + Sync>);

impl EventSink {
    /// Calls `sink` with every event.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub(super) fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink").finish_non_exhaustive()
    }
}

/// Finds the addresses of `host:port`. May block.
#[derive(Clone)]
pub struct Lookup(Arc<Find>);

type Find = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

impl Lookup {
    /// Asks `find`, each time on a thread of its own.
    pub fn new(find: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(super) fn find(&self, server: &str) -> io::Result<Vec<SocketAddr>> {
        (self.0)(server)
    }
}

impl Default for Lookup {
    /// The system's resolver.
    fn default() -> Self {
        Self::new(|server| server.to_socket_addrs().map(Iterator::collect))
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

/// How a client runs.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the main chain listens: `host:port`. A name is looked up again for every connection.
    pub server: String,
    /// The main chain's key. No other server is talked to. Several, 8 at most: while it changes its key, the old one
    /// and the new one.
    pub server_keys: Vec<NodeKey>,
    /// The key of this node.
    pub identity: Identity,
    /// Name and version of the program, for the other side's people. At most 64 bytes.
    pub software: String,
    /// Who is given the main chain's blocks. None by default: then they are not asked for.
    pub follow: Option<Arc<dyn MainSink>>,
    /// What the connection may hold. The server may open one stream, for the main chain's blocks. Each client sends
    /// its keep-alives at a pace of its own, which is up to a quarter faster.
    pub transport: Limits,
    /// Data streams that the chains are spread over, 1 to 8. Default 1.
    pub data_streams: usize,
    /// A frame is sent when it has so many bytes. Default 64 KiB; 136 bytes to 1 MiB.
    pub batch_bytes: usize,
    /// A frame is sent after so much time, however little it has. Default 1 ms.
    pub flush_after: Duration,
    /// A chain without new blocks is asked again after this. Default 5 ms.
    pub poll_min: Duration,
    /// The pause doubles up to this while there is still nothing. Default 100 ms.
    pub poll_max: Duration,
    /// The pause before the first new attempt to connect, to resume a chain, or to ask a source that failed. Default
    /// 50 ms.
    pub retry_min: Duration,
    /// The pause doubles up to this; after a refusal that will not pass by itself it is this at once. Default 5 s.
    pub retry_max: Duration,
    /// How long connecting, and after it the welcome, may take at most. Default 10 s. First attempts are given less.
    pub connect_timeout: Duration,
    /// When the server has not answered anything for so long, its name is looked up again, and if it leads elsewhere
    /// by now, the client goes there. Default 3 s: by then every lost packet has been sent several times.
    pub address_check_after: Duration,
    /// Finds the server's addresses. Default: the system's resolver. A `server` that is an address is never looked up.
    pub lookup: Lookup,
    /// Stop instead of trying again after a refusal that will not pass by itself: for programs that run once. Default
    /// false, since what is wrong can be mended on the other side. A chain that is not registered is asked for again in
    /// any case while another one of the same connection is served.
    pub give_up_on_refusal: bool,
    /// Who answers the main chain's questions about transactions, such as a proof of one needs. None by default: then
    /// the main chain is told that this source answers none.
    pub answers: Option<Arc<dyn Answers>>,
    /// Who is told what happens.
    pub on_event: Option<EventSink>,
    /// The reactor to run on. By default the client starts one of its own.
    pub reactor: Option<Handle>,
    /// The source never blocks, so it is asked on the reactor, not on a thread of its own: for programs with hundreds of
    /// clients, where a switch between threads for each ack costs more than all else. Default false.
    pub quick_source: bool,
}

impl ClientConfig {
    /// The defaults.
    pub fn new(server: impl Into<String>, server_key: NodeKey, identity: Identity) -> Self {
        Self {
            server: server.into(),
            server_keys: vec![server_key],
            identity,
            software: concat!("mainstem-net ", env!("CARGO_PKG_VERSION")).into(),
            follow: None,
            transport: Limits { data_streams: 1, ..Limits::default() },
            data_streams: 1,
            batch_bytes: 64 << 10,
            flush_after: Duration::from_millis(1),
            poll_min: Duration::from_millis(5),
            poll_max: Duration::from_millis(100),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            address_check_after: Duration::from_secs(3),
            lookup: Lookup::default(),
            give_up_on_refusal: false,
            answers: None,
            on_event: None,
            reactor: None,
            quick_source: false,
        }
    }

    /// QUIC of this client, if every setting is in range.
    pub(super) fn check(&self) -> Result<quinn::ClientConfig, ClientError> {
        let refuse = |field, value: String, expected| Err(ClientError::Config { field, value, expected });
        if self
            .server
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return refuse(
                "server",
                format!("{:?}", self.server),
                "host:port, such as main.example.org:9481",
            );
        }
        if self.software.len() > MAX_SOFTWARE_BYTES {
            return refuse("software", format!("{:?}", self.software), "at most 64 bytes");
        }
        if !(1..=8).contains(&self.data_streams) {
            return refuse("data_streams", self.data_streams.to_string(), "1 to 8");
        }
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&self.batch_bytes) {
            return refuse("batch_bytes", self.batch_bytes.to_string(), "136 to 1048576");
        }
        let pauses = [
            ("poll_min", self.poll_min, self.poll_max, "above 0 and at most poll_max"),
            ("retry_min", self.retry_min, self.retry_max, "above 0 and at most retry_max"),
        ];
        for (field, least, most, expected) in pauses {
            if least.is_zero() || least > most {
                return refuse(field, format!("{least:?}"), expected);
            }
        }
        for (field, time) in
            [("connect_timeout", self.connect_timeout), ("address_check_after", self.address_check_after)]
        {
            if time.is_zero() {
                return refuse(field, "0".into(), "above 0");
            }
        }
        if !(1..=MAX_SERVER_KEYS).contains(&self.server_keys.len()) {
            return refuse("server_keys", format!("{} keys", self.server_keys.len()), "1 to 8");
        }
        let mut limits = self.transport.clone();
        // So that many clients that one restart of the server has brought together do not stay together.
        limits.keep_alive = limits.keep_alive.map(|pause| pause / 2 + jitter(pause / 2));
        // A server that is allowed none sees by that that there is nobody who answers.
        let questions = if self.answers.is_some() { MAX_QUESTIONS } else { 0 };
        Ok(endpoint::client_config_for(&self.identity, &self.server_keys, &limits, questions)?)
    }
}

/// The old key, the new one, and room for whoever changes several at once.
const MAX_SERVER_KEYS: usize = 8;
