//! Tells sessions that there is news: a head, or a lane whose speaker is gone.
//!
//! The persisting thread writes the head down and wakes one task a reactor; the rest happens there. However fast
//! heads come, a session hears of them at the pace of acks, and only if one of its lanes has moved; of heads that are
//! none of its business it hears at the pace of headers. Looking at a session's lanes takes some tens of nanoseconds
//! each, waking its task and sending a datagram some microseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engine::chain::Height;
use engine::pipeline::{Head, HeadSink};
use tokio::sync::Notify;

use super::Shared;
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
    while !shared.is_closing() {
        if owed {
            // Either way it is time to look.
            let _ = handle.timeout(shared.config.header_pace, news.rung.notified()).await;
        } else {
            news.rung.notified().await;
        }
        // Acquire: pairs with the Release store in `tell`.
        let claims = news.claims.swap(false, Ordering::Acquire);
        let head = shared.heralds.head().map_or(Height(0), |head| head.header.height);
        let (now, is_new) = (shared.parts.clock.monotonic(), head > seen);
        seen = head;
        owed = false;
        shared.sessions.each(reactor, |session| {
            if is_new {
                session.wanted.heads.notify_one();
            }
            let header = session.header_due(head, now, shared.config.header_pace);
            owed |= header.is_some();
            let stirred = session.chains().stirred(claims);
            if claims && stirred {
                session.note_claims();
            }
            if header == Some(true) || stirred {
                session.news.notify_one();
            }
        });
        handle.sleep(shared.config.ack_pace).await;
    }
}

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
