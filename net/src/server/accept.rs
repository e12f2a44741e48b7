//! Lets peers in: bounds what can wait at the door, and how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{Endpoint, Incoming};

use super::sessions::Place;
use super::{Shared, session};
use crate::identity::peer_key;
use crate::reactor::Handle;

/// Accepts on one endpoint until it is closed.
pub(super) async fn run(shared: Arc<Shared>, reactor: usize, handle: Handle, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        // Relaxed here and below: a number to compare with, it guards no memory.
        let handshakes = shared.handshakes.load(Ordering::Relaxed);
        let most = shared.config.max_handshakes;
        // Whether there is room for a session shows when it is known whose it is: it may replace one of its own.
        if handshakes >= most {
            tracing::debug!(peer = %incoming.remote_address(), handshakes, "refused a connection: too many");
            incoming.refuse();
        } else if handshakes * 4 >= most && incoming.may_retry() && !incoming.remote_address_validated() {
            // Cannot fail: whether it may be sent was just asked.
            let _ = incoming.retry();
        } else if let Some(place) = Place::take(&shared, incoming.remote_address().ip()) {
            let handshake = Handshake::begin(&shared);
            handle.spawn(greet(handshake, place, reactor, handle.clone(), incoming));
        } else {
            tracing::debug!(peer = %incoming.remote_address(), "refused a connection: too many of its address");
            incoming.refuse();
        }
    }
}

async fn greet(handshake: Handshake, place: Place, reactor: usize, handle: Handle, incoming: Incoming) {
    let peer = incoming.remote_address();
    let shared = Arc::clone(&handshake.0);
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return tracing::debug!(%peer, %error, "no handshake"),
    };
    let connection = match handle.timeout(shared.config.hello_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "the handshake failed"),
        Err(error) => return tracing::debug!(%peer, %error, "the handshake takes too long"),
    };
    drop(handshake);
    // Every established connection has one: the handshake demands it.
    let Some(key) = peer_key(&connection) else { return };
    session::run(shared, reactor, handle, connection, key).await;
    drop(place);
}

/// A handshake under way, counted.
struct Handshake(Arc<Shared>);

impl Handshake {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}
