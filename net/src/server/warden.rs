//! Looks after the sessions of one reactor: ends those whose key is no longer good, and takes back what idle ones have.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use crate::reactor::Handle;

/// How often windows are looked at.
const ROUND: Duration = Duration::from_secs(2);

/// Runs until the server closes. `keys` is rung when keys have changed.
pub(super) async fn run(shared: Arc<Shared>, reactor: usize, handle: Handle, keys: Arc<Notify>) {
    while !shared.is_closing() {
        // When the round is over there is nothing new about keys, but looking costs little and forgets nothing.
        if handle.timeout(ROUND, keys.notified()).await.is_ok() {
            // Chains may have come or gone with them: sessions see whether their lanes are still there.
            shared.heralds.tell();
        }
        let now = shared.parts.clock.monotonic();
        let mut revoked = Vec::new();
        shared.sessions.each(reactor, |session| {
            if session.is_revoked(&shared) {
                revoked.push(Arc::clone(session));
            } else {
                session.review(&shared, now);
            }
        });
        for session in revoked {
            session.revoke(&shared);
        }
    }
}
