//! Tells sessions that there is news: a head, or a lane whose speaker is gone.
//!
//! The persisting thread writes the head down and wakes one task a reactor; the rest happens there. However fast
//! heads come, a session hears of them at the pace of acks, and only if one of its lanes has moved; of heads that are
//! none of its business it hears at the pace of headers. Of speakers that come and go it hears within
//! [`claims_pace`](super::ServerConfig::claims_pace). Looking at a session's lanes takes some tens of nanoseconds
//! each, waking its task and sending a datagram some microseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::Height;
use engine::pipeline::{Head, HeadSink};
use tokio::sync::Notify;

use super::Shared;
use super::session::Session;
use crate::reactor::Handle;

#[derive(Debug)]
pub(super) struct Heralds {
    head: Mutex<Option<Head>>,
    /// One for each reactor.
    news: Box<[News]>,
}

#[derive(Debug, Default)]
struct News {
    rung: Notify,
    /// Speakers may have come or gone since the sessions were last looked at.
    claims: AtomicBool,
}

impl Heralds {
    pub(super) fn new(reactors: usize, head: Option<&Head>) -> Self {
        Self { head: Mutex::new(head.copied()), news: (0..reactors).map(|_| News::default()).collect() }
    }

    /// A speaker has come or gone: makes every session look at its lanes, who stands by and who has lost its place.
    pub(super) fn tell(&self) {
        for news in &self.news {
            // Release: pairs with the Acquire swap in `run`. What was done to the lanes is seen by whoever sees this.
            news.claims.store(true, Ordering::Release);
            news.rung.notify_one();
        }
    }

    pub(super) fn head(&self) -> Option<Head> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the sessions of one reactor when there is news, until the server closes.
pub(super) async fn run(shared: Arc<Shared>, reactor: usize, handle: Handle) {
    let news = &shared.heralds.news[reactor];
    let mut owed = false;
    let mut seen = Height(0);
    let mut pace = ClaimsPace { each: shared.config.claims_pace, looked: None };
    while !shared.is_closing() {
        // Acquire: pairs with the Release store in `tell`.
        let claims_wait = news.claims.load(Ordering::Acquire).then(|| pace.left(Instant::now()));
        let wait = claims_wait.into_iter().chain(owed.then_some(shared.config.header_pace)).min();
        match wait {
            // Either way it is time to look.
            Some(wait) => drop(handle.timeout(wait, news.rung.notified()).await),
            None => news.rung.notified().await,
        }
        // Acquire: as above.
        let claims = pace.left(Instant::now()).is_zero() && news.claims.swap(false, Ordering::Acquire);
        if claims {
            pace.looked = Some(Instant::now());
        }
        let head = shared.heralds.head().map_or(Height(0), |head| head.header.height);
        let look = Look { head, is_new: head > seen, claims };
        seen = head;
        if look.is_new || claims || owed {
            owed = look.around(&shared, reactor, &handle).await;
        }
        handle.sleep(shared.config.ack_pace).await;
    }
}

/// How often sessions are looked at because speakers come and go, as peers can have them do as fast as they like: a
/// round costs more than what they do for it.
struct ClaimsPace {
    each: Duration,
    looked: Option<Instant>,
}

impl ClaimsPace {
    /// How long until the next time.
    fn left(&self, now: Instant) -> Duration {
        self.looked.map_or(Duration::ZERO, |at| self.each.saturating_sub(now.saturating_duration_since(at)))
    }
}

/// What sessions are looked at for.
struct Look {
    head: Height,
    is_new: bool,
    claims: bool,
}

impl Look {
    /// Looks at every session of a reactor, some at a time. Whether any of them is still to be told the head.
    async fn around(&self, shared: &Shared, reactor: usize, handle: &Handle) -> bool {
        shared.counts.herald_rounds.one();
        let (mut some, mut after, mut owed) = (Vec::new(), 0, false);
        loop {
            shared.sessions.some(reactor, after, AT_ONCE, &mut some);
            let full = some.len() == AT_ONCE;
            let now = shared.parts.clock.monotonic();
            for session in some.drain(..) {
                after = session.id.0;
                owed |= self.at(&session, now, shared.config.header_pace);
            }
            if !full {
                return owed;
            }
            // Those who wait for the reactor must not wait for thousands of sessions.
            handle.yield_now().await;
        }
    }

    /// Whether the session is still to be told the head.
    fn at(&self, session: &Session, now: Duration, header_pace: Duration) -> bool {
        if self.is_new {
            session.wanted.heads.notify_one();
        }
        let header = session.header_due(self.head, now, header_pace);
        let stirred = session.chains().stirred(self.claims);
        if self.claims && stirred {
            session.note_claims();
        }
        if header == Some(true) || stirred {
            session.news.notify_one();
        }
        header.is_some()
    }
}

/// How many sessions are looked at before others have their turn.
const AT_ONCE: usize = 256;

/// Publishes durable heads to all sessions. Never blocks.
#[derive(Debug)]
pub struct ServerHeads(Arc<Shared>);

impl ServerHeads {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl HeadSink for ServerHeads {
    fn publish(&mut self, head: &Head) {
        let heralds = &self.0.heralds;
        *heralds.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(*head);
        heralds.news.iter().for_each(|news| news.rung.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_speakers_come_and_go_sessions_are_looked_at_at_a_pace() {
        let begin = Instant::now();
        let mut pace = ClaimsPace { each: Duration::from_millis(50), looked: None };
        assert!(pace.left(begin).is_zero(), "the first time at once");
        let mut looks = 0;
        for turn in 0..500 {
            let now = begin + Duration::from_millis(2 * turn);
            if pace.left(now).is_zero() {
                pace.looked = Some(now);
                looks += 1;
            }
        }
        assert_eq!(looks, 20, "in a second");
    }
}
