//! Where the server is, and whether it is still there.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use quinn::Connection;
use tokio::sync::oneshot;

use super::backoff::jitter;
use super::{ClientConfig, Disconnect};
use crate::reactor::Handle;

/// Looks the server's name up, on a thread of its own: the system's resolver blocks.
pub(super) async fn resolve(config: &ClientConfig) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = config.server.parse() {
        return Ok(vec![address]);
    }
    let (sender, answer) = oneshot::channel();
    let (lookup, server) = (config.lookup.clone(), config.server.clone());
    std::thread::Builder::new().name("resolve".into()).spawn(move || {
        // Nobody listens any more if the client has stopped meanwhile.
        let _ = sender.send(lookup.find(&server));
    })?;
    answer.await.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
}

/// Ends when the server has fallen silent and its name leads elsewhere: it has moved. What does not change address is
/// left to QUIC, which finds out by itself.
///
/// Silent means: something that has to be acknowledged was sent after the last datagram came, and nothing came since.
pub(super) async fn watch(
    config: &ClientConfig,
    handle: &Handle,
    connection: &Connection,
) -> Result<Infallible, Disconnect> {
    if config.server.parse::<SocketAddr>().is_ok() {
        return pending().await;
    }
    let after = config.address_check_after;
    let mut seen = Seen::of(connection);
    let mut silent: Option<Instant> = None;
    loop {
        handle.sleep(jitter(after / 2)).await;
        let now = Seen::of(connection);
        if now.heard != seen.heard {
            (seen, silent) = (now, None);
            continue;
        }
        if now.said == seen.said || silent.get_or_insert_with(Instant::now).elapsed() < after {
            continue;
        }
        let current = connection.remote_address();
        if let Ok(Ok(addresses)) = handle.timeout(config.connect_timeout, resolve(config)).await
            && let Some(other) = addresses.first()
            && !addresses.iter().any(|address| same(*address, current))
        {
            return Err(Disconnect::passing(format!(
                "{current} does not answer any more, and {} leads to {other} now",
                config.server
            )));
        }
        // Still there, as far as the name knows. Once more after as long again, if it stays silent.
        silent = Some(Instant::now());
    }
}

/// How much came and went on a connection.
#[derive(Clone, Copy)]
struct Seen {
    /// Datagrams.
    heard: u64,
    /// Frames of the kinds that a peer has to acknowledge, and that are sent again until it does: whoever waits for
    /// credit sends nothing but that it is blocked.
    said: u64,
}

impl Seen {
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        let sent = &stats.frame_tx;
        let said = sent.stream
            + sent.ping
            + sent.data_blocked
            + sent.stream_data_blocked
            + sent.max_data
            + sent.max_stream_data
            + sent.stop_sending
            + sent.reset_stream
            + sent.path_challenge
            + sent.path_response;
        Self { heard: stats.udp_rx.datagrams, said }
    }
}

/// Scope and flow label of IPv6 aside, which names do not give.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip().to_canonical(), one.port()) == (other.ip().to_canonical(), other.port())
}
