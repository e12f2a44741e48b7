//! Lets peers in: bounds what can wait at the door, and how long.
//!
//! What is refused is refused before a task, a key or a signature is spent on it, in this order: too many handshakes
//! under way, an address that begins too many, an address that has too many connections. Who has not shown yet that
//! it receives at its address is asked to (QUIC Retry: one packet, nothing kept) when we are a quarter full, and before
//! an address is refused for what it may not have sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{Endpoint, Incoming};

use super::door::Place;
use super::{Shared, session};
use crate::endpoint::Desk;
use crate::identity::peer_key;
use crate::reactor::Handle;

/// A reactor that is busy for so much of its time has none to spare.
const STRAINED: f64 = 0.9;

/// Accepts on one endpoint until it is closed.
pub(super) async fn run(shared: Arc<Shared>, reactor: usize, handle: Handle, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        admit(&shared, reactor, &handle, incoming);
    }
}

fn admit(shared: &Arc<Shared>, reactor: usize, handle: &Handle, incoming: Incoming) {
    let (counts, peer) = (&shared.counts, incoming.remote_address());
    let refuse = |incoming: Incoming, why: &str| {
        tracing::debug!(%peer, why, "refused a connection");
        incoming.refuse();
    };
    // Relaxed here and below: a number to compare with, it guards no memory.
    let handshakes = shared.handshakes.load(Ordering::Relaxed);
    let most = shared.config.max_handshakes;
    // Whether there is room for a session shows when it is known whose it is: it may replace one of its own.
    if handshakes >= most {
        counts.refused_handshakes.one();
        return refuse(incoming, "too many handshakes");
    }
    let shown = incoming.remote_address_validated();
    let may_retry = !shown && incoming.may_retry();
    let busy = handshakes * 4 >= most;
    let strained = handle.load() > STRAINED;
    let may_begin = !(may_retry && busy)
        && shared.door.may_begin(peer.ip(), shown, strained, shared.parts.clock.monotonic());
    if !may_begin && may_retry {
        counts.retries_sent.one();
        // Cannot fail: whether it may be sent was just asked.
        let _ = incoming.retry();
    } else if !may_begin {
        counts.refused_rate.one();
        refuse(incoming, "its address begins too many");
    } else if let Some(place) = Place::take(shared, peer.ip()) {
        let handshake = Handshake::begin(shared);
        handle.spawn(greet(handshake, place, reactor, handle.clone(), incoming));
    } else {
        counts.refused_address.one();
        refuse(incoming, "its address has too many connections");
    }
}

async fn greet(handshake: Handshake, place: Place, reactor: usize, handle: Handle, incoming: Incoming) {
    let peer = incoming.remote_address();
    let shared = Arc::clone(&handshake.shared);
    let counts = &shared.counts;
    let desk = handshake.desk();
    let failed = |why: &dyn std::fmt::Display| {
        counts.handshakes_failed.one();
        tracing::debug!(%peer, %why, "no handshake");
    };
    let connecting = match incoming.accept_with(Arc::clone(&desk.config)) {
        Ok(connecting) => connecting,
        Err(error) => return failed(&error),
    };
    let connection = match handle.timeout(shared.config.hello_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            if let Some(key) = desk.turned_away.take() {
                shared.turned_away(&key, peer);
            }
            return failed(&error);
        }
        Err(error) => {
            counts.handshakes_timed_out.one();
            return failed(&error);
        }
    };
    counts.handshakes_completed.one();
    drop(handshake);
    // Every established connection has one: the handshake demands it.
    let Some(presented) = peer_key(&connection) else { return };
    // A task of its own, so that what this one needs is not kept for as long as the session lives; and a box of its own,
    // since a task keeps the future that it is made of twice.
    let session = Box::pin(session::run(shared, reactor, handle.clone(), connection, presented));
    handle.spawn(async move {
        session.await;
        drop(place);
    });
}

/// A handshake under way, counted.
struct Handshake {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

impl Handshake {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        shared.counts.handshakes_started.one();
        Self { shared: Arc::clone(shared), desk: shared.quic.desk() }
    }

    fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
        self.shared.quic.give_back(self.desk());
    }
}
