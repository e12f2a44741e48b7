//! Tells sessions that there is news: a head, or a lane whose speaker is gone.
//!
//! The persisting thread writes the head down and wakes one task a reactor; the rest happens there. However fast
//! heads come, a session hears of them at the pace of acks, and then looks at where its lanes stand.

use std::sync::{Arc, Mutex, PoisonError};

use engine::pipeline::{Head, HeadSink};
use tokio::sync::Notify;

use super::Shared;
use crate::reactor::Handle;

#[derive(Debug)]
pub(super) struct Heralds {
    head: Mutex<Option<Head>>,
    /// One for each reactor.
    news: Box<[Notify]>,
}

impl Heralds {
    pub(super) fn new(reactors: usize, head: Option<&Head>) -> Self {
        Self { head: Mutex::new(head.copied()), news: (0..reactors).map(|_| Notify::new()).collect() }
    }

    /// Makes every session look at its lanes.
    pub(super) fn tell(&self) {
        for news in &self.news {
            news.notify_one();
        }
    }

    pub(super) fn head(&self) -> Option<Head> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the sessions of one reactor when there is news, until the server closes.
pub(super) async fn run(shared: Arc<Shared>, reactor: usize, handle: Handle) {
    while !shared.is_closing() {
        shared.heralds.news[reactor].notified().await;
        shared.sessions.wake(reactor);
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
        *self.0.heralds.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(*head);
        self.0.heralds.tell();
    }
}
