//! Timers: an indexed heap, and the futures over it.
//!
//! QUIC moves a connection's timer with nearly every packet, mostly without it ever firing. So a timer keeps one
//! entry for its whole life and moving it is a sift in place: no allocation, no garbage of outdated entries, memory
//! in proportion to the timers alive.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::core::{Message, Shared, on_reactor};

/// A future that is ready at a point in time, to the millisecond after it.
///
/// On its reactor's thread it costs a heap entry. Elsewhere it works too, by messages to the reactor. When the
/// reactor is gone it is ready at once, since nothing would ever wake it.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    shared: Arc<Shared>,
    deadline: Instant,
    /// The entry in the timers of the reactor's thread, once there is one.
    entry: Option<usize>,
    /// What was asked of the reactor from another thread last.
    alarm: Option<(Instant, Waker)>,
}

impl Sleep {
    pub(super) fn until(shared: Arc<Shared>, deadline: Instant) -> Self {
        Self { shared, deadline, entry: None, alarm: None }
    }

    /// When the sleep ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Makes the sleep end at `deadline` instead, also when it has ended already.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some(entry) = self.entry {
            // Off its thread the next poll does it.
            on_reactor(&self.shared, |local| local.timers.borrow_mut().move_to(entry, deadline));
        }
    }

    fn poll_deadline(&mut self, cx: &Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline || self.shared.is_closed() {
            return Poll::Ready(());
        }
        let registered = on_reactor(&self.shared, |local| {
            let mut timers = local.timers.borrow_mut();
            match self.entry {
                Some(entry) => timers.update(entry, self.deadline, cx.waker()),
                None => self.entry = Some(timers.insert(self.deadline, cx.waker().clone())),
            }
        });
        if registered.is_none() {
            self.ask_for_alarm(cx.waker());
            // It may have closed before our message was in: then nobody reads it.
            if self.shared.is_closed() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn ask_for_alarm(&mut self, waker: &Waker) {
        let asked = self.alarm.as_ref().is_some_and(|(at, by)| *at == self.deadline && by.will_wake(waker));
        if !asked {
            self.alarm = Some((self.deadline, waker.clone()));
            self.shared.send(Message::Alarm { at: self.deadline, waker: waker.clone() });
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_deadline(cx)
    }
}

impl quinn::AsyncTimer for Sleep {
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        Self::reset(self.get_mut(), deadline);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_deadline(cx)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry
            && on_reactor(&self.shared, |local| drop(local.timers.borrow_mut().remove(entry))).is_none()
        {
            self.shared.send(Message::Cancel(entry));
        }
    }
}

/// The future of a timeout took longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not done within {0:?}")]
pub struct Elapsed(pub Duration);

/// The output of `future`, unless `limit` passes first.
pub(super) async fn timeout<F: Future>(
    sleep: Sleep,
    limit: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Future::poll(sleep.as_mut(), cx).map(|()| Err(Elapsed(limit)))
    })
    .await
}

/// The timers of one reactor: a binary heap by deadline over entries that know their place in it.
#[derive(Debug)]
pub(super) struct Timers {
    heap: Vec<Node>,
    entries: Vec<Entry>,
    /// Head of the list of free entries.
    free: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    deadline: Instant,
    entry: usize,
}

#[derive(Debug)]
enum Entry {
    /// Stands in the heap at `place`.
    Armed { place: usize, waker: Waker },
    /// Has fired, or was never armed; its owner may arm it again.
    Fired,
    /// Belongs to nobody; the next free one.
    Free(Option<usize>),
    /// As [`Entry::Armed`], but without an owner: freed when it fires.
    Alarm { place: usize, waker: Waker },
}

impl Timers {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), entries: Vec::new(), free: None }
    }

    /// Arms a new timer. Its owner must [`Timers::remove`] it in the end.
    pub(super) fn insert(&mut self, deadline: Instant, waker: Waker) -> usize {
        let place = self.heap.len();
        let entry = self.occupy(Entry::Armed { place, waker });
        self.push(deadline, entry);
        entry
    }

    /// Arms a timer that goes away by itself once it has fired.
    pub(super) fn insert_alarm(&mut self, deadline: Instant, waker: Waker) {
        let place = self.heap.len();
        let entry = self.occupy(Entry::Alarm { place, waker });
        self.push(deadline, entry);
    }

    /// Arms `entry` for `deadline` and `new`, whether it has fired or not.
    pub(super) fn update(&mut self, entry: usize, deadline: Instant, new: &Waker) {
        match &mut self.entries[entry] {
            Entry::Armed { waker, .. } => {
                if !waker.will_wake(new) {
                    waker.clone_from(new);
                }
                self.move_to(entry, deadline);
            }
            Entry::Fired => {
                self.entries[entry] = Entry::Armed { place: self.heap.len(), waker: new.clone() };
                self.push(deadline, entry);
            }
            Entry::Free(_) | Entry::Alarm { .. } => unreachable!("only the owner of an entry updates it"),
        }
    }

    /// Moves `entry` to another deadline, if it has not fired yet.
    pub(super) fn move_to(&mut self, entry: usize, deadline: Instant) {
        if let Entry::Armed { place, .. } = self.entries[entry] {
            let before = std::mem::replace(&mut self.heap[place].deadline, deadline);
            if deadline < before {
                self.sift_up(place);
            } else if deadline > before {
                self.sift_down(place);
            }
        }
    }

    /// Ends the ownership of `entry`. The waker is handed out, to be dropped when nothing is borrowed any more.
    pub(super) fn remove(&mut self, entry: usize) -> Option<Waker> {
        if let Entry::Armed { place, .. } = self.entries[entry] {
            self.take_out(place);
        }
        if let Entry::Armed { waker, .. } = self.release(entry) { Some(waker) } else { None }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|node| node.deadline)
    }

    /// Takes the wakers of all timers due at `now`, the earliest first.
    pub(super) fn fire(&mut self, now: Instant, due: &mut Vec<Waker>) {
        while let Some(&Node { deadline, entry }) = self.heap.first()
            && deadline <= now
        {
            self.take_out(0);
            let fired = match self.entries[entry] {
                Entry::Alarm { .. } => self.release(entry),
                _ => std::mem::replace(&mut self.entries[entry], Entry::Fired),
            };
            if let Entry::Armed { waker, .. } | Entry::Alarm { waker, .. } = fired {
                due.push(waker);
            }
        }
    }

    fn occupy(&mut self, with: Entry) -> usize {
        if let Some(entry) = self.free {
            let Entry::Free(next) = std::mem::replace(&mut self.entries[entry], with) else {
                unreachable!("the list of free entries links free entries")
            };
            self.free = next;
            entry
        } else {
            self.entries.push(with);
            self.entries.len() - 1
        }
    }

    fn release(&mut self, entry: usize) -> Entry {
        std::mem::replace(&mut self.entries[entry], Entry::Free(self.free.replace(entry)))
    }

    fn push(&mut self, deadline: Instant, entry: usize) {
        self.heap.push(Node { deadline, entry });
        self.sift_up(self.heap.len() - 1);
    }

    /// Takes the node at `place` out of the heap; its entry still says `place` and is the caller's to change.
    fn take_out(&mut self, place: usize) {
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.sift_down(place);
            self.sift_up(place);
        }
    }

    fn sift_up(&mut self, mut place: usize) {
        let node = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].deadline <= node.deadline {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, node);
    }

    fn sift_down(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].deadline < self.heap[child].deadline {
                child += 1;
            }
            if node.deadline <= self.heap[child].deadline {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, node);
    }

    fn put(&mut self, at: usize, node: Node) {
        self.heap[at] = node;
        if let Entry::Armed { place, .. } | Entry::Alarm { place, .. } = &mut self.entries[node.entry] {
            *place = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    /// A waker that writes its number into a log.
    struct Note(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Alarm(u64),
        Move(usize, u64),
        Update(usize, u64),
        Remove(usize),
        Fire(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let time = 0..200_u64;
        let step = prop_oneof![
            time.clone().prop_map(Step::Insert),
            time.clone().prop_map(Step::Alarm),
            (any::<usize>(), time.clone()).prop_map(|(i, t)| Step::Move(i, t)),
            (any::<usize>(), time.clone()).prop_map(|(i, t)| Step::Update(i, t)),
            any::<usize>().prop_map(Step::Remove),
            time.prop_map(Step::Fire),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Against a sorted set: the same timers fire at the same time, in order of deadline, and entries are reused.
        #[test]
        fn timers_fire_as_a_sorted_set_would(steps in steps()) {
            let start = Instant::now();
            let at = |t: u64| start + Duration::from_millis(t);
            let log = Arc::new(Mutex::new(Vec::new()));
            let mut timers = Timers::new();
            let mut model = BTreeSet::new(); // (deadline, number) of what is armed
            let mut owned: Vec<(usize, usize)> = Vec::new(); // (entry, number) of what has an owner
            let mut deadlines = Vec::new(); // by number
            let mut most_alive = 0;
            for step in steps {
                match step {
                    Step::Insert(t) | Step::Alarm(t) => {
                        let number = deadlines.len();
                        let waker = Arc::new(Note(number, log.clone())).into();
                        deadlines.push(t);
                        model.insert((t, number));
                        if matches!(step, Step::Insert(_)) {
                            owned.push((timers.insert(at(t), waker), number));
                        } else {
                            timers.insert_alarm(at(t), waker);
                        }
                    }
                    Step::Move(i, t) if !owned.is_empty() => {
                        let (entry, number) = owned[i % owned.len()];
                        timers.move_to(entry, at(t));
                        if model.remove(&(deadlines[number], number)) {
                            deadlines[number] = t;
                            model.insert((t, number));
                        }
                    }
                    Step::Update(i, t) if !owned.is_empty() => {
                        let (entry, number) = owned[i % owned.len()];
                        timers.update(entry, at(t), &Arc::new(Note(number, log.clone())).into());
                        model.remove(&(deadlines[number], number));
                        deadlines[number] = t;
                        model.insert((t, number));
                    }
                    Step::Remove(i) if !owned.is_empty() => {
                        let (entry, number) = owned.swap_remove(i % owned.len());
                        let armed = model.remove(&(deadlines[number], number));
                        prop_assert_eq!(timers.remove(entry).is_some(), armed);
                    }
                    Step::Fire(t) => {
                        let mut due = Vec::new();
                        timers.fire(at(t), &mut due);
                        due.into_iter().for_each(Waker::wake);
                        let mut fired = std::mem::take(&mut *log.lock().unwrap());
                        prop_assert!(fired.is_sorted_by_key(|&number| deadlines[number]));
                        fired.sort_by_key(|&number| (deadlines[number], number));
                        let later = model.split_off(&(t + 1, 0));
                        let expected: Vec<_> = std::mem::replace(&mut model, later).into_iter().map(|(_, n)| n).collect();
                        prop_assert_eq!(fired, expected);
                    }
                    _ => {}
                }
                prop_assert_eq!(timers.next(), model.first().map(|&(t, _)| at(t)));
                // Fired entries that still have an owner count as alive too.
                let fired = owned.iter().filter(|&&(_, n)| !model.contains(&(deadlines[n], n))).count();
                most_alive = most_alive.max(model.len() + fired);
                prop_assert!(timers.entries.len() <= most_alive);
            }
        }
    }
}
