//! The reactor as a runtime: tasks, wakers, timers, panics, and its end.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use mainstem_net::reactor::{Either, Elapsed, Handle, Reactor, TaskLost, race};

const LONG: Duration = Duration::from_secs(60);

fn reactor() -> Reactor {
    Reactor::spawn_thread("test").unwrap()
}

/// Polls `future` on this thread, as a foreign runtime would.
fn block_here<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(LONG);
    }
}

/// One value from anywhere to one task.
struct Mailbox<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Mailbox<T> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }

    fn put(&self, value: T) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            assert!(state.0.replace(value).is_none());
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn take(&self) -> T {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            state.1 = Some(cx.waker().clone());
            state.0.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Says where it was dropped.
struct Dropped(mpsc::Sender<ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    const FIRST: u64 = 400; // far enough for all to be registered before
    let reactor = reactor();
    let order = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let sleeps = [30, 10, 50, 0, 20, 40].map(|ms| {
        let (handle, order) = (reactor.handle(), order.clone());
        let deadline = start + Duration::from_millis(FIRST + ms);
        reactor.handle().spawn(async move {
            handle.sleep_until(deadline).await;
            order.lock().unwrap().push(ms);
            assert!(Instant::now() >= deadline, "too early");
        })
    });
    for sleep in sleeps {
        sleep.wait().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 10, 20, 30, 40, 50]);
}

#[test]
fn a_sleep_can_be_moved_both_ways() {
    let reactor = reactor();
    let handle = reactor.handle();
    let (sooner, later) = reactor
        .handle()
        .block_on(async move {
            let start = Instant::now();
            let mut sleep = handle.sleep(LONG);
            // Registered first, then moved.
            let _ = race(&mut sleep, handle.sleep(Duration::from_millis(1))).await;
            sleep.reset(start + Duration::from_millis(20));
            (&mut sleep).await;
            let sooner = start.elapsed();
            sleep.reset(start + Duration::from_millis(30));
            let _ = race(&mut sleep, handle.sleep(Duration::ZERO)).await;
            sleep.reset(start + Duration::from_millis(80));
            sleep.await;
            (sooner, start.elapsed())
        })
        .unwrap();
    assert!(sooner >= Duration::from_millis(20) && sooner < LONG / 2, "{sooner:?}");
    assert!(later >= Duration::from_millis(80), "{later:?}");
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    let reactor = reactor();
    let handle = reactor.handle();
    let (late, timely) = reactor
        .handle()
        .block_on(async move {
            let short = Duration::from_millis(5);
            (handle.timeout(short, pending::<()>()).await, handle.timeout(LONG, async { 7 }).await)
        })
        .unwrap();
    assert_eq!(late, Err(Elapsed(Duration::from_millis(5))));
    assert_eq!(timely, Ok(7));
}

#[test]
fn a_sleep_works_on_a_foreign_thread_too() {
    let reactor = reactor();
    let start = Instant::now();
    block_here(reactor.handle().sleep(Duration::from_millis(20)));
    assert!(start.elapsed() >= Duration::from_millis(20));
    // Begun on the reactor, moved and ended here.
    let mut sleep = reactor.handle().sleep(LONG);
    let (sender, receiver) = mpsc::channel();
    reactor
        .handle()
        .block_on(async move {
            poll_fn(|cx| {
                assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            sender.send(sleep).unwrap();
        })
        .unwrap();
    let mut sleep = receiver.recv().unwrap();
    sleep.reset(start + Duration::from_millis(40));
    block_here(sleep);
    assert!(start.elapsed() >= Duration::from_millis(40));
}

/// The parking handshake: a wake that comes while the reactor goes to sleep is not slept over.
#[test]
fn no_wake_from_another_thread_is_lost() {
    const ROUNDS: usize = 20_000;
    let reactor = reactor();
    let (to, back) = (Mailbox::new(), Mailbox::new());
    let echo = {
        let (to, back) = (to.clone(), back.clone());
        reactor.handle().spawn(async move {
            for _ in 0..ROUNDS {
                back.put(to.take().await);
            }
        })
    };
    block_here(async {
        for round in 0..ROUNDS {
            to.put(round);
            assert_eq!(back.take().await, round);
        }
    });
    echo.wait().unwrap();
}

#[test]
fn reactors_wake_each_other() {
    const ROUNDS: usize = 5_000;
    let reactors: Vec<_> = (0..3).map(|i| Reactor::spawn_thread(&format!("ring-{i}")).unwrap()).collect();
    let boxes: Vec<Mailbox<usize>> = (0..3).map(|_| Mailbox::new()).collect();
    let tasks: Vec<_> = reactors
        .iter()
        .enumerate()
        .map(|(i, reactor)| {
            let (from, to) = (boxes[i].clone(), boxes[(i + 1) % 3].clone());
            reactor.handle().spawn(async move {
                for _ in 0..ROUNDS {
                    to.put(from.take().await + 1);
                }
            })
        })
        .collect();
    boxes[0].put(0);
    for task in tasks {
        task.wait().unwrap();
    }
    assert_eq!(block_here(boxes[0].take()), 3 * ROUNDS);
}

#[test]
fn spawns_from_many_threads_all_run() {
    let reactor = reactor();
    let count = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let count = count.clone();
                    drop(reactor.handle().spawn(async move { count.fetch_add(1, Ordering::Relaxed) }));
                }
            });
        }
    });
    reactor.shutdown(LONG);
    assert_eq!(count.load(Ordering::Relaxed), 8_000);
}

/// Two tasks that are always ready must not starve a timer, nor a message from outside.
#[test]
fn busy_tasks_starve_neither_timers_nor_messages() {
    let reactor = reactor();
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        let (handle, stop) = (reactor.handle(), stop.clone());
        drop(reactor.handle().spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                handle.yield_now().await;
            }
        }));
    }
    let handle = reactor.handle();
    reactor.handle().spawn(async move { handle.sleep(Duration::from_millis(5)).await }).wait().unwrap();
    assert_eq!(reactor.handle().block_on(async { 7 }), Ok(7));
    stop.store(true, Ordering::Relaxed);
    reactor.shutdown(LONG);
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("on purpose, while dropped");
    }
}

#[test]
fn a_panicking_task_ends_alone() {
    let reactor = reactor();
    let mailbox = Mailbox::new();
    let waiting = {
        let mailbox = mailbox.clone();
        reactor.handle().spawn(async move { mailbox.take().await })
    };
    assert_eq!(reactor.handle().block_on(async { panic!("on purpose") }), Err::<(), _>(TaskLost));

    let bomb = PanicsOnDrop;
    assert_eq!(reactor.handle().block_on(async move { drop(bomb) }), Err(TaskLost));

    mailbox.put("still here");
    assert_eq!(waiting.wait(), Ok("still here"));
    // And one that panics only when the reactor drops it.
    let bomb = PanicsOnDrop;
    drop(reactor.handle().spawn(async move {
        pending::<()>().await;
        drop(bomb);
    }));
    reactor.handle().block_on(async {}).unwrap();
    reactor.shutdown(Duration::ZERO);
}

#[test]
fn shutdown_waits_for_tasks_but_not_beyond_its_grace() {
    let ends = reactor();
    let handle = ends.handle();
    let task = ends.handle().spawn(async move { handle.sleep(Duration::from_millis(30)).await });
    ends.shutdown(LONG);
    assert_eq!(task.wait(), Ok(()));

    let stays = reactor();
    let task = stays.handle().spawn(pending::<()>());
    let start = Instant::now();
    stays.shutdown(Duration::from_millis(30));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(task.wait(), Err(TaskLost));
}

#[test]
fn a_dropped_reactor_runs_what_is_ready_and_drops_the_rest_on_its_own_thread() {
    let reactor = reactor();
    let its_thread = reactor.handle().block_on(async { thread::current().id() }).unwrap();
    let (sender, dropped) = mpsc::channel();
    let guard = Dropped(sender.clone());
    let idle = reactor.handle().spawn(async move {
        pending::<()>().await;
        drop(guard);
    });
    let handle = reactor.handle();
    let guard = Dropped(sender);
    let sleeping = reactor.handle().spawn(async move {
        handle.sleep(LONG).await;
        drop(guard);
    });
    let ready = reactor.handle().spawn(async { 7 });
    let start = Instant::now();
    drop(reactor);
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(ready.wait(), Ok(7));
    assert_eq!((idle.wait(), sleeping.wait()), (Err(TaskLost), Err(TaskLost)));
    assert_eq!(dropped.iter().collect::<Vec<_>>(), [its_thread, its_thread]);
}

/// Even tasks that keep waking each other do not keep a dropped reactor for long.
#[test]
fn a_dropped_reactor_ends_though_its_tasks_never_do() {
    let reactor = reactor();
    let handle = reactor.handle();
    drop(reactor.handle().spawn(async move {
        loop {
            handle.yield_now().await;
        }
    }));
    drop(reactor);
}

#[test]
fn a_reactor_can_be_dropped_by_its_own_task() {
    let reactor = reactor();
    let (sender, dropped) = mpsc::channel();
    let guard = Dropped(sender);
    drop(reactor.handle().spawn(async move {
        pending::<()>().await;
        drop(guard);
    }));
    let handle = reactor.handle();
    drop(handle.spawn(async move { drop(reactor) }));
    dropped.recv_timeout(LONG).unwrap();
}

#[test]
fn a_reactor_that_has_ended_refuses_work_and_keeps_nobody_waiting() {
    let reactor = reactor();
    let handle: Handle = reactor.handle();
    let waker = handle.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone()))).unwrap();
    let sleep = handle.sleep(LONG);
    drop(reactor);
    assert!(handle.is_closed());
    let (sender, dropped) = mpsc::channel();
    let guard = Dropped(sender);
    assert_eq!(handle.block_on(async move { drop(guard) }), Err(TaskLost));
    assert_eq!(dropped.recv(), Ok(thread::current().id()));
    // A waker of a task that is gone does nothing, and a sleep does not last.
    waker.wake();
    block_here(sleep);
}

/// A future that spawns and wakes while it is dropped, in the middle of the reactor's end.
#[test]
fn futures_may_use_the_reactor_while_they_are_dropped() {
    struct Busy(Handle, Waker);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.1.wake_by_ref();
            drop(self.0.spawn(async { unreachable!("the reactor takes no tasks any more") }));
            drop(self.0.sleep(LONG));
        }
    }
    let reactor = reactor();
    let handle = reactor.handle();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let handle = handle.clone();
            reactor.handle().spawn(async move {
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                let _busy = Busy(handle, waker);
                pending::<()>().await;
            })
        })
        .collect();
    handle.block_on(async {}).unwrap();
    reactor.shutdown(Duration::ZERO);
    assert!(tasks.into_iter().all(|task| task.wait() == Err(TaskLost)));
}

/// Nothing that a task holds outlives it: no cycle between futures, wakers and the reactor.
#[test]
fn ended_tasks_leave_nothing_behind() {
    let held = Arc::new(());
    let reactor = reactor();
    let handle = reactor.handle();
    for kind in 0..3 {
        let (held, handle) = (held.clone(), reactor.handle());
        drop(reactor.handle().spawn(async move {
            // A task that holds its own waker.
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            match kind {
                0 => {}
                1 => handle.sleep(LONG).await,
                _ => pending().await,
            }
            drop((held, waker));
        }));
    }
    handle.block_on(async {}).unwrap();
    assert_eq!(Arc::strong_count(&held), 3);
    reactor.shutdown(Duration::ZERO);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn waiting_on_the_thread_of_a_reactor_is_refused() {
    let reactor = reactor();
    let handle = reactor.handle();
    assert_eq!(reactor.handle().block_on(async move { handle.block_on(async {}) }), Err(TaskLost));
    assert_eq!(reactor.handle().block_on(async {}), Ok(()));
}

#[test]
fn a_race_gives_the_first_that_is_ready() {
    assert_eq!(block_here(race(async { 1 }, async { 2 })), Either::Left(1));
    assert_eq!(block_here(race(pending::<()>(), async { 2 })), Either::Right(2));
}
