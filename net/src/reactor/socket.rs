//! A UDP socket of a reactor: quinn-udp (GSO, GRO, ECN) and readiness from mio.
//!
//! Sockets are watched by edges: the kernel tells once that something has come. `readable` remembers it until a
//! receive comes back short, so that tasks which run for other reasons do not ask the kernel in vain.
//!
//! Write interest is registered only while somebody waits to write. With it, the kernel would report every datagram
//! that leaves the socket's buffer, and the reactor would wake for each of them to do nothing.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::core::{Local, Message, Shared, on_reactor};
use super::strangers::{Stash, Vouched};

/// A bound socket.
#[derive(Debug)]
pub(super) struct UdpSocket {
    io: std::net::UdpSocket,
    state: UdpSocketState,
    shared: Arc<Shared>,
    token: usize,
    receive_segments: usize,
    /// Whose batches are handed on whole; without it everybody's.
    vouched: Option<Arc<Vouched>>,
    /// Touched by the endpoint's task alone.
    stash: Mutex<Stash>,
    /// There may be something to receive. Set by events, cleared before each attempt, so that an event that comes
    /// during the attempt is not lost.
    readable: AtomicBool,
    reader: Mutex<Option<Waker>>,
    /// The send buffer was full at the last attempt and no event has said otherwise since.
    blocked: AtomicBool,
    /// Who waits for room, by the number of the poller.
    writers: Mutex<HashMap<u64, Waker>>,
    next_poller: AtomicU64,
}

impl UdpSocket {
    /// Takes a bound socket over. `max_payload` is the largest datagram that the endpoint takes.
    pub(super) fn new(
        io: std::net::UdpSocket,
        shared: Arc<Shared>,
        max_payload: u16,
        vouched: Option<Arc<Vouched>>,
    ) -> io::Result<Arc<Self>> {
        // Sets the socket non-blocking, among much else.
        let state = UdpSocketState::new((&io).into())?;
        let token = shared.new_token();
        let socket = Arc::new(Self {
            receive_segments: receive_segments(state.gro_segments(), max_payload),
            vouched,
            stash: Mutex::default(),
            io,
            state,
            token,
            readable: AtomicBool::new(true),
            reader: Mutex::new(None),
            blocked: AtomicBool::new(false),
            writers: Mutex::new(HashMap::new()),
            next_poller: AtomicU64::new(0),
            shared,
        });
        socket.shared.send(Message::Watch { token, socket: Arc::downgrade(&socket) });
        socket.shared.registry().register(
            &mut SourceFd(&socket.io.as_raw_fd()),
            Token(token),
            Interest::READABLE,
        )?;
        Ok(socket)
    }

    /// On the reactor's thread.
    pub(super) fn on_event(&self, event: &Event) {
        if event.is_readable() || event.is_error() {
            self.readable.store(true, Ordering::Release);
            let reader = lock(&self.reader).take();
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        if event.is_writable() {
            // The interest first, `blocked` after it: who finds the buffer full in between registers anew and is
            // woken below, or sees that nothing is blocked; the other way round its interest would be undone.
            self.set_interest(Interest::READABLE);
            self.blocked.store(false, Ordering::Release);
            let writers = std::mem::take(&mut *lock(&self.writers));
            writers.into_values().for_each(Waker::wake);
        }
    }

    /// The send buffer is full: pollers wait until there is room again.
    fn on_full(&self) {
        self.blocked.store(true, Ordering::Release);
        // Reports room that there is by now, too.
        self.set_interest(Interest::READABLE | Interest::WRITABLE);
    }

    fn set_interest(&self, interest: Interest) {
        let reregistered = self.shared.registry().reregister(
            &mut SourceFd(&self.io.as_raw_fd()),
            Token(self.token),
            interest,
        );
        if let Err(error) = reregistered {
            tracing::error!(reactor = self.shared.name(), %error, "cannot change what a socket is watched for");
        }
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let number = self.next_poller.fetch_add(1, Ordering::Relaxed);
        Box::pin(Poller { socket: self, number })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send((&self.io).into(), transmit);
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.on_full();
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut stash = lock(&self.stash);
        if !stash.is_empty() {
            on_reactor(&self.shared, Local::note_receive);
            return Poll::Ready(Ok(stash.hand_on(bufs, meta)));
        }
        loop {
            if !self.readable.swap(false, Ordering::AcqRel) {
                let mut reader = lock(&self.reader);
                if !reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    *reader = Some(cx.waker().clone());
                }
                drop(reader);
                if !self.readable.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                continue;
            }
            match self.state.recv((&self.io).into(), bufs, meta) {
                Ok(received) => {
                    // A batch that is not full ended because the queue was empty; what comes later makes an edge.
                    let drained = SHORT_BATCH_MEANS_EMPTY && received < bufs.len().min(BATCH_SIZE);
                    if !drained {
                        self.readable.store(true, Ordering::Release);
                    }
                    if let Some(vouched) = &self.vouched {
                        stash.keep(bufs, &mut meta[..received], vouched);
                    }
                    on_reactor(&self.shared, Local::note_receive);
                    return Poll::Ready(Ok(received));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.readable.store(true, Ordering::Release);
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        // Closing the socket would do, but its number could be reused before the reactor hears of it.
        let _ = self.shared.registry().deregister(&mut SourceFd(&self.io.as_raw_fd()));
        self.shared.send(Message::Forget(self.token));
    }
}

/// The place of one task among those that wait for room to send.
#[derive(Debug)]
struct Poller {
    socket: Arc<UdpSocket>,
    number: u64,
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.blocked.load(Ordering::Acquire) {
            lock(&self.socket.writers).insert(self.number, cx.waker().clone());
            if self.socket.blocked.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let waker = lock(&self.socket.writers).remove(&self.number);
        drop(waker);
    }
}

/// quinn allots `max_payload` times this much memory to each of the [`BATCH_SIZE`] buffers of an endpoint. With GRO
/// the kernel joins datagrams of one sender up to 64 KiB, not up to the number of segments times their greatest
/// size: more is never used, and with jumbo frames would be 13 MB.
fn receive_segments(gro_segments: usize, max_payload: u16) -> usize {
    gro_segments.min(MAX_GRO_BYTES.div_ceil(usize::from(max_payload.max(1))))
}

const MAX_GRO_BYTES: usize = 65_536;

/// recvmmsg fills as many buffers as there are datagrams. Elsewhere quinn-udp receives one at a time.
const SHORT_BATCH_MEANS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// None of our critical sections can panic halfway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::super::Reactor;
    use super::*;

    /// Loopback never fills a send buffer, so the socket is told that it is full; the kernel then says that it is not.
    #[test]
    fn who_waits_for_room_to_send_is_woken_when_there_is_some() {
        let reactor = Reactor::spawn_thread("full").unwrap();
        let handle = reactor.handle();
        let io = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = UdpSocket::new(io, handle.shared.clone(), 1472, None).unwrap();
        let mut pollers: Vec<_> = (0..3).map(|_| socket.clone().create_io_poller()).collect();
        let waited = reactor.handle().block_on(async move {
            for _ in 0..100 {
                socket.on_full();
                for poller in &mut pollers {
                    let room = poll_fn(|cx| poller.as_mut().poll_writable(cx));
                    handle.timeout(Duration::from_secs(60), room).await.unwrap().unwrap();
                }
            }
            assert!(lock(&socket.writers).is_empty());
        });
        assert_eq!(waited, Ok(()));
    }

    #[test]
    fn the_buffers_of_an_endpoint_hold_what_gro_joins_and_little_more() {
        for (gro, payload) in [(64, 1_200), (64, 1_472), (64, 6_500), (64, 65_527), (1, 1_472)] {
            let bytes = receive_segments(gro, payload) * usize::from(payload);
            assert!(bytes >= MAX_GRO_BYTES.min(gro * usize::from(payload)), "{gro} of {payload}");
            assert!(bytes < MAX_GRO_BYTES + usize::from(payload), "{gro} of {payload}");
        }
    }
}
