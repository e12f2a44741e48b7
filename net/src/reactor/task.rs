//! Tasks: futures with a place on one reactor, and the wakers that put them in its queue.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::core::{Message, Shared, is_reactor_thread, on_reactor};

/// What a reactor runs.
pub(super) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The part of a task that wakers hold. The future itself never leaves the thread of its reactor.
#[derive(Debug)]
pub(super) struct Task {
    shared: Arc<Shared>,
    /// Where the reactor keeps the future. Given to another task when this one has ended.
    place: usize,
    /// The task stands in the queue of its reactor or is on its way there. Whoever sets this puts it there. It stays
    /// set when the task was woken after its end: nobody needs to queue it any more.
    queued: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.claim() {
            self.queue();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.claim() {
            self.clone().queue();
        }
    }
}

impl Task {
    /// Whether the caller is the one to queue the task.
    fn claim(&self) -> bool {
        // Release: what the waking side wrote before is seen by the poll that follows `start`, also when another
        // waker has queued the task before. Acquire is not needed: queueing reads nothing of the task.
        !self.queued.swap(true, Ordering::Release)
    }

    fn queue(self: Arc<Self>) {
        let shared = self.shared.clone();
        let mut task = Some(self);
        on_reactor(&shared, |local| local.ready.borrow_mut().extend(task.take()));
        if let Some(task) = task {
            shared.send(Message::Wake(task));
        }
    }

    /// Marks the task as taken from the queue: a wake from now on queues it again.
    fn start(&self) {
        // Acquire: see `claim`. A swap and not a store: it must read what the last waker wrote.
        self.queued.swap(false, Ordering::Acquire);
    }
}

/// The futures of one reactor.
pub(super) struct Tasks {
    places: Vec<Place>,
    /// Head of the list of vacant places.
    vacant: Option<usize>,
    live: usize,
}

enum Place {
    Idle(Idle),
    /// Its future is being polled further up the stack.
    Running,
    Vacant(Option<usize>),
}

struct Idle {
    future: BoxFuture,
    task: Arc<Task>,
    waker: Waker,
}

impl Tasks {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), vacant: None, live: 0 }
    }

    /// How many have not ended yet.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Gives `future` a place. The task that is returned is to be put in the queue.
    pub(super) fn insert(&mut self, shared: &Arc<Shared>, future: BoxFuture) -> Arc<Task> {
        let place = self.vacant.unwrap_or(self.places.len());
        let task = Arc::new(Task { shared: shared.clone(), place, queued: AtomicBool::new(true) });
        let idle = Place::Idle(Idle { future, task: task.clone(), waker: task.clone().into() });
        if place == self.places.len() {
            self.places.push(idle);
        } else {
            let Place::Vacant(next) = std::mem::replace(&mut self.places[place], idle) else {
                unreachable!("the list of vacant places links vacant places")
            };
            self.vacant = next;
        }
        self.live += 1;
        task
    }

    /// The future of `task`, unless it has ended.
    fn take(&mut self, task: &Arc<Task>) -> Option<Idle> {
        match &self.places[task.place] {
            Place::Idle(idle) if Arc::ptr_eq(&idle.task, task) => self.take_from(task.place),
            _ => None,
        }
    }

    fn take_from(&mut self, place: usize) -> Option<Idle> {
        match std::mem::replace(&mut self.places[place], Place::Running) {
            Place::Idle(idle) => Some(idle),
            other => {
                self.places[place] = other;
                None
            }
        }
    }

    fn put_back(&mut self, idle: Idle) {
        let place = idle.task.place;
        self.places[place] = Place::Idle(idle);
    }

    fn vacate(&mut self, place: usize) {
        self.places[place] = Place::Vacant(self.vacant.replace(place));
        self.live -= 1;
    }
}

/// Polls `task` once. A panic ends the task and nothing else.
pub(super) fn run(tasks: &std::cell::RefCell<Tasks>, task: &Arc<Task>) {
    // Nothing may be borrowed while the future runs: it spawns, wakes, and drops other futures.
    let Some(mut idle) = tasks.borrow_mut().take(task) else { return };
    task.start();
    let polled =
        catch_unwind(AssertUnwindSafe(|| idle.future.as_mut().poll(&mut Context::from_waker(&idle.waker))));
    match polled {
        Ok(Poll::Pending) => return tasks.borrow_mut().put_back(idle),
        Ok(Poll::Ready(())) => {}
        Err(panic) => report(&idle.task, "panicked", &*panic),
    }
    end(tasks, idle);
}

/// Drops every future. Those that are spawned meanwhile are the caller's to refuse.
pub(super) fn drop_all(tasks: &std::cell::RefCell<Tasks>) {
    let mut place = 0;
    while place < tasks.borrow().places.len() {
        let idle = tasks.borrow_mut().take_from(place);
        if let Some(idle) = idle {
            end(tasks, idle);
        }
        place += 1;
    }
}

fn end(tasks: &std::cell::RefCell<Tasks>, idle: Idle) {
    let Idle { future, task, waker } = idle;
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop((future, waker)))) {
        report(&task, "panicked while it was dropped", &*panic);
    }
    tasks.borrow_mut().vacate(task.place);
}

fn report(task: &Task, what: &str, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(reactor = task.shared.name(), message, "a task {what}; the others go on");
}

/// The result of a spawned future. Dropping it lets the task run on alone.
pub struct Join<T>(Arc<Slot<T>>);

/// The task ended without a result: it panicked, or its reactor stopped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task ended without a result: it panicked or its reactor stopped")]
pub struct TaskLost;

impl<T> Join<T> {
    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    /// The task panicked or its reactor stopped first.
    ///
    /// # Panics
    /// On the thread of a reactor, which it would stop, perhaps for ever.
    pub fn wait(self) -> Result<T, TaskLost> {
        assert!(!is_reactor_thread(), "a task must await a join, not block its reactor with `wait`");
        let mut state = self.0.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Ended(result) => return result,
                running => *state = running,
            }
            state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Join<T> {
    type Output = Result<T, TaskLost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Ended(result) => Poll::Ready(result),
            State::Running(_) => {
                *state = State::Running(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => panic!("a join was polled after it was ready"),
        }
    }
}

impl<T> fmt::Debug for Join<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").finish_non_exhaustive()
    }
}

struct Slot<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

enum State<T> {
    Running(Option<Waker>),
    Ended(Result<T, TaskLost>),
    Taken,
}

impl<T> Slot<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the promise of a [`Join`], whatever happens to the future.
struct Promise<T>(Arc<Slot<T>>);

impl<T> Promise<T> {
    fn end(&self, result: Result<T, TaskLost>) {
        let mut state = self.0.lock();
        if let State::Running(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Ended(result);
            drop(state);
            self.0.ended.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.end(Err(TaskLost));
    }
}

/// A future without output that gives the output of `future` to the join.
pub(super) fn joined<F>(future: F) -> (BoxFuture, Join<F::Output>)
where
    F: Future<Output: Send> + Send + 'static,
{
    let slot = Arc::new(Slot { state: Mutex::new(State::Running(None)), ended: Condvar::new() });
    let promise = Promise(slot.clone());
    let task = Box::pin(async move {
        let output = future.await;
        promise.end(Ok(output));
    });
    (task, Join(slot))
}
