//! A small single-threaded runtime over mio, made to drive quinn.
//!
//! One thread, one queue of tasks, one heap of timers, any number of UDP sockets. Nothing is stolen by or shared with
//! other reactors: a connection and its sessions live and die on the thread of their socket, and the caches stay
//! warm. What comes from other threads comes through one inbox.
//!
//! ```text
//!   other threads: spawn, wakers ──> inbox ──┐                    ┌──> tasks (quinn's drivers, our sessions)
//!                                            ├──> ready queue ────┤        │ wake each other: local, no system call
//!   kernel: datagrams, room to send ─────────┤                    │        v
//!   timers ──────────────────────────────────┘                    └── sockets: recvmmsg + GRO, sendmsg + GSO
//! ```
//!
//! Tasks run in the order in which they became ready. Who reads a socket goes on until it is empty, within bounds, before
//! the connections run that it has woken: each then has all that came for it, and answers it in one piece.
//!
//! A task that panics ends alone and is reported; the others go on. A task that never yields stops its reactor:
//! there is no preemption.
//!
//! Absent on purpose: files, TCP, blocking pools, work stealing. The API has a runtime of its own for those.

mod core;
mod socket;
mod strangers;
mod task;
mod timer;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::core::{Core, Message, Shared, Stop, on_reactor};
use self::task::BoxFuture;

pub use self::strangers::Vouched;
pub use self::task::{Join, TaskLost};
pub use self::timer::{Elapsed, Sleep};

/// A running reactor. Dropping it runs what is ready, drops the other tasks and ends the thread.
#[derive(Debug)]
pub struct Reactor {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Reactor {
    /// Starts a reactor on a thread of its own, called `name`.
    ///
    /// # Errors
    /// The system gives no thread or no epoll instance.
    pub fn spawn_thread(name: &str) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let shared = Arc::new(Shared::new(name, &poll)?);
        let core = Core::new(shared.clone(), poll);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || core.run())?;
        Ok(Self { handle: Handle { shared }, thread: Some(thread) })
    }

    /// A way to the reactor for other threads and for its own tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until all tasks have ended, `grace` at most; the tasks that are left then are dropped.
    ///
    /// The drivers of quinn end when their endpoint is closed or dropped and its connections are gone.
    pub fn shutdown(mut self, grace: Duration) {
        self.stop(Stop { deadline: Instant::now() + grace, wait_for_tasks: true });
    }

    fn stop(&mut self, stop: Stop) {
        let Some(thread) = self.thread.take() else { return };
        self.handle.shared.send(Message::Stop(stop));
        // A task of its own may hold the last reference: the thread cannot wait for itself.
        let ours = on_reactor(&self.handle.shared, |_| ()).is_some();
        if !ours && thread.join().is_err() {
            tracing::error!(reactor = self.handle.shared.name(), "the reactor's thread panicked");
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.stop(Stop { deadline: Instant::now() + DROP_GRACE, wait_for_tasks: false });
    }
}

/// A way to a reactor: spawns, sleeps, opens endpoints. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Runs `future` on the reactor. The task runs on when the [`Join`] is dropped.
    ///
    /// On a reactor that has ended the future is dropped at once and the join says so.
    pub fn spawn<F>(&self, future: F) -> Join<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (task, join) = task::joined(future);
        self.shared.spawn(task);
        join
    }

    /// Runs `future` on the reactor and blocks this thread until it has ended.
    ///
    /// # Errors
    /// The future panicked or the reactor stopped first.
    ///
    /// # Panics
    /// On the thread of a reactor, which it would stop.
    pub fn block_on<F>(&self, future: F) -> Result<F::Output, TaskLost>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn(future).wait()
    }

    /// Ready `duration` from now, to the millisecond.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(Instant::now() + duration)
    }

    /// Ready at `deadline`, to the millisecond.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::until(self.shared.clone(), deadline)
    }

    /// The output of `future`, if it comes within `limit`; else the future is dropped.
    ///
    /// # Errors
    /// The limit passed first.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        timer::timeout(self.sleep(limit), limit, future).await
    }

    /// Lets the other ready tasks of the reactor run first. For loops that would otherwise never wait.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Whether the reactor has ended, or is dropping its tasks.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// How much of its time the reactor has not slept lately, from 0 to 1.
    pub fn load(&self) -> f64 {
        self.shared.load()
    }

    /// For how long the reactor has not slept since it started, also in the middle of a long turn.
    pub fn awake(&self) -> Duration {
        self.shared.awake()
    }

    /// The name of its thread.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Makes a bound socket one of the reactor's. `max_payload` is the largest datagram it is to take.
    pub(crate) fn udp_socket(
        &self,
        socket: std::net::UdpSocket,
        max_payload: u16,
        vouched: Option<Arc<Vouched>>,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(socket::UdpSocket::new(socket, self.shared.clone(), max_payload, vouched)?)
    }
}

impl quinn::Runtime for Handle {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        Box::pin(self.sleep_until(deadline))
    }

    fn spawn(&self, future: BoxFuture) {
        self.shared.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        self.udp_socket(socket, DEFAULT_MAX_PAYLOAD, None)
    }
}

/// The output of the one of two futures that was ready first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one's.
    Left(A),
    /// The second one's.
    Right(B),
}

/// Runs both futures until one is ready; the other is dropped. When both are, the first one counts.
pub async fn race<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(output));
        }
        second.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// How long tasks that keep waking each other may hold up the end of a dropped reactor.
const DROP_GRACE: Duration = Duration::from_secs(1);

/// What quinn assumes unless told otherwise: Ethernet's 1500 bytes less the headers of IP and UDP.
const DEFAULT_MAX_PAYLOAD: u16 = 1472;
