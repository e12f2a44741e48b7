//! The loop of a reactor, and how others reach it.
//!
//! # Ownership
//! [`Local`] belongs to the thread and is reached through a thread-local: only that thread touches tasks, timers and
//! queue, so they need no lock. [`Shared`] is what handles, wakers and sockets hold; from other threads everything
//! goes through its inbox.
//!
//! # Going to sleep
//! ```text
//! reactor: parked = true;  fence;  inbox empty?  -> wait in the kernel      else go on
//! sender:  push to inbox;  fence;  parked?       -> wake the kernel         else nothing
//! ```
//! The fences are sequentially consistent: one of the two sees what the other wrote, so no message is slept over, and
//! a reactor that is awake costs the sender no system call.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;
use engine::pipeline::Meter;
use mio::{Events, Registry, Token};

use super::socket::UdpSocket;
use super::task::{self, BoxFuture, Task, Tasks};
use super::timer::Timers;

/// What other threads hold of a reactor.
#[derive(Debug)]
pub(super) struct Shared {
    /// Unlike that of any other reactor of the process; never 0.
    id: usize,
    name: Box<str>,
    inbox: SegQueue<Message>,
    /// The reactor waits in the kernel or is about to. Written by it; taken back by whoever wakes it.
    parked: AtomicBool,
    /// In thousandths, how much of its time the reactor has not slept lately. Written by it, stale for others.
    busy: AtomicU32,
    /// For how long it was awake in all, on a clock that began at `started`. Written by it.
    meter: Meter,
    started: Instant,
    /// The reactor takes no more tasks. Set once, by it.
    closed: AtomicBool,
    waker: mio::Waker,
    registry: Registry,
    next_token: AtomicUsize,
}

/// From other threads to a reactor.
pub(super) enum Message {
    Spawn(BoxFuture),
    Wake(Arc<Task>),
    /// Wake `waker` at `at`.
    Alarm {
        at: Instant,
        waker: Waker,
    },
    /// The owner of this timer is gone.
    Cancel(usize),
    /// Tell this socket of its events.
    Watch {
        token: usize,
        socket: Weak<UdpSocket>,
    },
    /// The socket of this token is gone.
    Forget(usize),
    Stop(Stop),
}

/// When to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Now at the latest.
    pub(super) deadline: Instant,
    /// Earlier when no task is left; else already when none is ready to run.
    pub(super) wait_for_tasks: bool,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spawn(_) => "Spawn",
            Self::Wake(_) => "Wake",
            Self::Alarm { .. } => "Alarm",
            Self::Cancel(_) => "Cancel",
            Self::Watch { .. } => "Watch",
            Self::Forget(_) => "Forget",
            Self::Stop(_) => "Stop",
        })
    }
}

impl Shared {
    pub(super) fn new(name: &str, poll: &mio::Poll) -> io::Result<Self> {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            inbox: SegQueue::new(),
            parked: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            meter: Meter::default(),
            started: Instant::now(),
            closed: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), WAKER)?,
            registry: poll.registry().try_clone()?,
            next_token: AtomicUsize::new(WAKER.0 + 1),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How much of its time the reactor has not slept lately, from 0 to 1.
    pub(super) fn load(&self) -> f64 {
        // Relaxed: a figure.
        f64::from(self.busy.load(Ordering::Relaxed)) / 1e3
    }

    /// For how long the reactor has not slept since it started.
    pub(super) fn awake(&self) -> Duration {
        self.meter.busy(self.started.elapsed())
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn new_token(&self) -> usize {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Leaves a message for the reactor and wakes it if it sleeps. A reactor that has ended drops it.
    pub(super) fn send(&self, message: Message) {
        self.inbox.push(message);
        // Pairs with the fences of `wait` and `close`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed)
            && self.parked.swap(false, Ordering::Relaxed)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(reactor = self.name(), %error, "cannot wake the reactor");
        }
        if self.closed.load(Ordering::Relaxed) {
            self.discard_inbox();
        }
    }

    /// Runs `future` on the reactor, from any thread.
    pub(super) fn spawn(self: &Arc<Self>, future: BoxFuture) {
        let mut future = Some(future);
        on_reactor(self, |local| {
            if !self.is_closed()
                && let Some(future) = future.take()
            {
                let task = local.tasks.borrow_mut().insert(self, future);
                local.ready.borrow_mut().push_back(task);
            }
        });
        // Left over: on another thread, or closed. In the second case `send` drops it.
        if let Some(future) = future {
            self.send(Message::Spawn(future));
        }
    }

    /// From now on messages are dropped by whoever sends them.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Pairs with the fence of `send`: a message is seen by `discard_inbox` below, or its sender sees `closed`.
        fence(Ordering::SeqCst);
    }

    fn discard_inbox(&self) {
        while let Some(message) = self.inbox.pop() {
            // Dropping a future runs code that is not ours.
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match message {
                Message::Alarm { waker, .. } => waker.wake(),
                other => drop(other),
            }));
            if dropped.is_err() {
                tracing::error!(reactor = self.name(), "a future panicked while it was dropped unstarted");
            }
        }
    }
}

/// What the thread of a reactor keeps to itself.
pub(super) struct Local {
    /// [`Shared::id`] of the reactor on this thread, 0 on other threads.
    reactor: Cell<usize>,
    pub(super) ready: RefCell<VecDeque<Arc<Task>>>,
    pub(super) tasks: RefCell<Tasks>,
    pub(super) timers: RefCell<Timers>,
    /// The task that runs has taken datagrams from a socket.
    received: Cell<bool>,
}

impl Local {
    /// Said by the socket, of the task that runs.
    pub(super) fn note_receive(&self) {
        self.received.set(true);
    }
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            reactor: Cell::new(0),
            ready: RefCell::new(VecDeque::new()),
            tasks: RefCell::new(Tasks::new()),
            timers: RefCell::new(Timers::new()),
            received: Cell::new(false),
        }
    };
}

/// Does `what` with the thread's own state if this is the thread of that reactor.
pub(super) fn on_reactor<R>(shared: &Shared, what: impl FnOnce(&Local) -> R) -> Option<R> {
    // Not there any more while the thread ends, when it is no reactor any more either.
    LOCAL.try_with(|local| (local.reactor.get() == shared.id).then(|| what(local))).ok().flatten()
}

/// Whether this is the thread of any reactor.
pub(super) fn is_reactor_thread() -> bool {
    LOCAL.try_with(|local| local.reactor.get() != 0).unwrap_or(false)
}

/// The loop.
pub(super) struct Core {
    shared: Arc<Shared>,
    poll: mio::Poll,
    events: Events,
    sockets: HashMap<usize, Weak<UdpSocket>>,
    stop: Option<Stop>,
    /// Since when time is taken for its load, and how much of it was slept.
    measured: (Instant, Duration),
    /// Kept for its capacity.
    due: Vec<Waker>,
}

impl Core {
    pub(super) fn new(shared: Arc<Shared>, poll: mio::Poll) -> Self {
        let events = Events::with_capacity(EVENTS_PER_TURN);
        Self {
            shared,
            poll,
            events,
            sockets: HashMap::new(),
            stop: None,
            measured: (Instant::now(), Duration::ZERO),
            due: Vec::new(),
        }
    }

    /// Runs this thread as the reactor until it is told to stop.
    pub(super) fn run(mut self) {
        LOCAL.with(|local| {
            local.reactor.set(self.shared.id);
            self.shared.meter.begin(self.shared.started.elapsed());
            while self.turn(local) {}
            self.shut_down(local);
            self.shared.meter.end(self.shared.started.elapsed());
            local.reactor.set(0);
        });
    }

    /// Tasks, then messages, sockets and timers, each in bounded portions, so that none starves the others.
    fn turn(&mut self, local: &Local) -> bool {
        run_tasks(local);
        if self.should_stop(local) {
            return false;
        }
        if let Err(error) = self.wait(local) {
            tracing::error!(reactor = self.shared.name(), %error, "the reactor cannot wait for events and ends");
            return false;
        }
        // Before the events: a socket announces itself before it is registered, so its events find it known.
        self.read_inbox(local);
        self.dispatch();
        self.fire(local);
        true
    }

    fn should_stop(&self, local: &Local) -> bool {
        self.stop.is_some_and(|stop| {
            let nothing_left = if stop.wait_for_tasks {
                local.tasks.borrow().live() == 0
            } else {
                local.ready.borrow().is_empty()
            };
            Instant::now() >= stop.deadline || (nothing_left && self.shared.inbox.is_empty())
        })
    }

    /// Waits for events, not at all if a task is ready, and not beyond the next timer.
    fn wait(&mut self, local: &Local) -> io::Result<()> {
        let wake_at =
            [local.timers.borrow().next(), self.stop.map(|stop| stop.deadline)].into_iter().flatten().min();
        let mut timeout = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
        if !local.ready.borrow().is_empty() {
            timeout = Some(Duration::ZERO);
        }
        if timeout != Some(Duration::ZERO) {
            self.shared.parked.store(true, Ordering::Relaxed);
            // Pairs with the fence of `send`.
            fence(Ordering::SeqCst);
            if !self.shared.inbox.is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        let begun = (timeout != Some(Duration::ZERO)).then(Instant::now);
        let Shared { meter, started, .. } = &*self.shared;
        if let Some(begun) = begun {
            meter.end(begun.saturating_duration_since(*started));
        }
        let polled = self.poll.poll(&mut self.events, timeout);
        if let Some(begun) = begun {
            let now = Instant::now();
            meter.begin(now.saturating_duration_since(*started));
            self.measured.1 += now.saturating_duration_since(begun);
        }
        self.shared.parked.store(false, Ordering::Relaxed);
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn read_inbox(&mut self, local: &Local) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(message) = self.shared.inbox.pop() else { break };
            match message {
                Message::Wake(task) => local.ready.borrow_mut().push_back(task),
                Message::Spawn(future) => self.shared.spawn(future),
                Message::Alarm { at, waker } => local.timers.borrow_mut().insert_alarm(at, waker),
                Message::Cancel(timer) => drop(local.timers.borrow_mut().remove(timer)),
                Message::Watch { token, socket } => drop(self.sockets.insert(token, socket)),
                Message::Forget(token) => drop(self.sockets.remove(&token)),
                Message::Stop(stop) => self.stop = Some(stop),
            }
        }
    }

    fn dispatch(&mut self) {
        for event in &self.events {
            if let Some(socket) = self.sockets.get(&event.token().0).and_then(Weak::upgrade) {
                socket.on_event(event);
            }
        }
    }

    fn fire(&mut self, local: &Local) {
        let now = Instant::now();
        let (since, slept) = self.measured;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= LOAD_PERIOD {
            let slept = (slept.as_micros() * 1_000 / elapsed.as_micros()) as u32;
            self.shared.busy.store(1_000_u32.saturating_sub(slept), Ordering::Relaxed);
            self.measured = (now, Duration::ZERO);
        }
        if local.timers.borrow().next().is_some_and(|next| next <= now) {
            local.timers.borrow_mut().fire(now, &mut self.due);
            self.due.drain(..).for_each(Waker::wake);
        }
    }

    /// Drops all that is left, here, where it belongs.
    fn shut_down(&mut self, local: &Local) {
        self.shared.close();
        task::drop_all(&local.tasks);
        local.ready.take().clear();
        // Alarms of other threads: their sleeps see that the reactor is closed.
        let far = Instant::now() + Duration::from_secs(100 * 365 * 86_400);
        local.timers.borrow_mut().fire(far, &mut self.due);
        self.due.drain(..).for_each(Waker::wake);
        local.ready.take().clear();
        self.shared.discard_inbox();
    }
}

/// Runs tasks in the order in which they became ready, but empties a socket before anything else runs.
///
/// quinn's endpoint receives for 50 us and then puts itself behind the connections that it has woken. If those ran now,
/// each would find one packet or two and answer them by themselves. With a thousand busy connections the rest of what
/// they are to get waits in the socket for hundreds of milliseconds meanwhile, and nothing is ever sent in one piece:
/// 5 to 6 datagrams a send instead of 10, and a third more processor time for each byte. So the endpoint runs again at
/// once, up to [`RECEIVES_IN_A_ROW`] times.
fn run_tasks(local: &Local) {
    for _ in 0..TASKS_PER_TURN {
        let next = local.ready.borrow_mut().pop_front();
        let Some(next) = next else { return };
        let mut runs = 0;
        loop {
            local.received.set(false);
            task::run(&local.tasks, &next);
            runs += 1;
            // It wakes itself last of all if it has left something in the socket.
            let mut ready = local.ready.borrow_mut();
            let again = local.received.get() && ready.back().is_some_and(|last| Arc::ptr_eq(last, &next));
            if !again || runs == RECEIVES_IN_A_ROW {
                break;
            }
            ready.pop_back();
        }
    }
}

/// How many tasks run before the reactor looks after messages, sockets and timers again. A poll of a QUIC task is
/// bounded to some 100 us by quinn, so a turn takes a few ms at most; a look costs one cheap system call.
const TASKS_PER_TURN: usize = 61;

/// Each takes quinn's 50 us: at most 5 ms, in which a core takes some 15 MB.
const RECEIVES_IN_A_ROW: usize = 100;

/// Over how long the load is reckoned.
const LOAD_PERIOD: Duration = Duration::from_millis(50);

/// The rest waits for the next turn, which then does not sleep.
const MESSAGES_PER_TURN: usize = 1024;

const EVENTS_PER_TURN: usize = 256;

/// The token of the reactor's own waker.
const WAKER: Token = Token(0);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::super::Reactor;
    use super::*;

    #[test]
    fn who_receives_runs_again_before_the_others_but_not_for_ever() {
        let reactor = Reactor::spawn_thread("order").unwrap();
        let handle = reactor.handle();
        let seen = reactor.handle().block_on(async move {
            let runs = Arc::new(AtomicUsize::new(0));
            let (counted, shared) = (runs.clone(), handle.shared.clone());
            // As an endpoint does whose socket has more than it takes at a time.
            let receiver = handle.spawn(poll_fn(move |cx| {
                on_reactor(&shared, Local::note_receive);
                if counted.fetch_add(1, Ordering::Relaxed) == 3 * RECEIVES_IN_A_ROW {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            let other = handle.spawn(async move { runs.load(Ordering::Relaxed) });
            (other.await, receiver.await)
        });
        assert_eq!(seen, Ok((Ok(RECEIVES_IN_A_ROW), Ok(()))));
    }
}
