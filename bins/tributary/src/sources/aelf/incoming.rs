//! Connections, so many and no more, and so many of one address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aelf::tonic::codegen::tokio_stream::Stream;
use aelf::tonic::transport::server::{Connected, TcpConnectInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A stream of the connections that are taken. The others are closed at once.
#[derive(Debug)]
pub(super) struct Incoming(mpsc::Receiver<Connection>);

impl Incoming {
    /// Takes connections, on a task of its own.
    pub(super) fn new(listener: TcpListener) -> Self {
        let (taken, connections) = mpsc::channel(1);
        tokio::spawn(accept(listener, taken));
        Self(connections)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

async fn accept(listener: TcpListener, taken: mpsc::Sender<Connection>) {
    let counts = Arc::default();
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                let Some(slot) = Slot::take(&counts, addr.ip(), MAX_CONNECTIONS, MAX_PER_IP) else {
                    tracing::debug!(%addr, "a connection too many was closed");
                    continue;
                };
                let _ = stream.set_nodelay(true);
                if taken.send(Connection { stream, _slot: slot }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How many there are of each address.
pub(super) type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One of those that there may be.
#[derive(Debug)]
pub(super) struct Slot {
    counts: Counts,
    ip: IpAddr,
}

impl Slot {
    /// Takes one of `most`, if this address has fewer than `most_per_ip`.
    pub(super) fn take(counts: &Counts, ip: IpAddr, most: usize, most_per_ip: usize) -> Option<Self> {
        let ip = ip.to_canonical();
        let mut table = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if table.values().sum::<usize>() >= most {
            return None;
        }
        let of_ip = table.entry(ip).or_default();
        if *of_ip >= most_per_ip {
            return None;
        }
        *of_ip += 1;
        Some(Self { counts: Arc::clone(counts), ip })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_ip) = table.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                table.remove(&self.ip);
            }
        }
    }
}

/// A connection that was taken.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _slot: Slot,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const MAX_CONNECTIONS: usize = 64;
/// A node makes one or two.
const MAX_PER_IP: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn connections_are_bounded_for_each_address_and_in_all() {
        let counts = Counts::default();
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let take = |last| Slot::take(&counts, ip(last), MAX_CONNECTIONS, MAX_PER_IP);
        let mut slots: Vec<_> = (0..MAX_PER_IP).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert!(Slot::take(&counts, mapped, MAX_CONNECTIONS, MAX_PER_IP).is_none(), "the same address");
        slots.extend((2..).map_while(take));
        assert_eq!(slots.len(), MAX_CONNECTIONS);
        slots.pop();
        assert!(take(200).is_some());
        slots.clear();
        assert!(counts.lock().unwrap().is_empty());
    }
}
