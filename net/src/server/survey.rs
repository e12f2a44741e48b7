//! What a watch wants to know of all sessions and chains, now and then: who speaks, how far their sources are, whether
//! anything at all comes, and how sessions ended. And what it may do: have a node ask anew, or end its session.
//!
//! Nothing of this costs those who receive more than a look takes: sessions are looked at one by one, each with its lock
//! held for some nanoseconds a chain, and no lane is locked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, Height, NodeKey};

use super::PeerList;
use super::chains::PeerChainState;
use super::ledger::{ChainRefusal, Departure};

/// An open session, as a watch sees it.
#[derive(Debug)]
pub struct SessionSeen<'a> {
    /// Its number.
    pub session: u64,
    /// The registered key that it acts for.
    pub key: NodeKey,
    /// Where it is.
    pub address: SocketAddr,
    /// What it says it runs; empty before its hello.
    pub software: &'a str,
    /// UDP datagrams received on its connection: whether anything comes at all.
    pub datagrams: u64,
    /// Round trip to it and back, as QUIC reckons.
    pub rtt: Duration,
    /// Its chains, ascending.
    pub seats: &'a [Seat],
}

/// A chain of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Which chain.
    pub chain: ChainId,
    /// What the session may do with it.
    pub state: PeerChainState,
    /// Newest irreversible height of the peer's own source, if it has told one.
    pub tip: Option<Height>,
}

impl PeerList {
    /// Shows all open sessions, oldest first, each with its chains.
    pub fn survey(&self, mut visit: impl FnMut(&SessionSeen<'_>)) {
        let mut seats = Vec::new();
        for session in self.0.sessions.all() {
            seats.clear();
            session.chains().seats(&mut seats);
            let connection = session.connection();
            visit(&SessionSeen {
                session: session.id.0,
                key: session.key,
                address: connection.remote_address(),
                software: session.software(),
                datagrams: connection.stats().udp_rx.datagrams,
                rtt: connection.rtt(),
                seats: &seats,
            });
        }
    }

    /// Grows with all that [`PeerList::refusals`], [`PeerList::chain_refusals`] and [`PeerList::departures`] tell: who has
    /// seen this number need not ask again.
    pub fn ledger_version(&self) -> u64 {
        self.0.ledger.version()
    }

    /// The last refusal of each chain that is served.
    pub fn chain_refusals(&self) -> Vec<Arc<ChainRefusal>> {
        self.0.ledger.chains()
    }

    /// Of each chain that is served, the last time that it was refused to a key that is not registered for it. That may be
    /// a node of the chain with a wrong key, or anybody else who is let in and named it.
    pub fn strangers(&self) -> Vec<Arc<ChainRefusal>> {
        self.0.ledger.strangers()
    }

    /// Forgets what was refused of a chain, and lets all its nodes speak: it is not registered any more.
    pub fn forget(&self, chain: ChainId) {
        self.0.ledger.forget(chain);
        self.0.bars.lift(chain);
    }

    /// Takes a chain from all sessions that act for the registered key `key`, and refuses it to them for so long
    /// (`not-speaker`); other nodes of the chain may take its place. Whether any session had it.
    pub fn bar(&self, chain: ChainId, key: NodeKey, time: Duration) -> bool {
        // First the bar, then the sessions: who claims in between finds it.
        self.0.bars.set(chain, key, time);
        let mut barred = false;
        for session in self.0.sessions.all().iter().filter(|session| session.key == key) {
            if session.chains().bar(chain) {
                barred = true;
                session.settle(&self.0);
                session.news.notify_one();
            }
        }
        if barred {
            self.0.heralds.tell();
        }
        barred
    }

    /// Lets all nodes of a chain speak again that were barred from it. They ask by themselves.
    pub fn lift_bars(&self, chain: ChainId) {
        self.0.bars.lift(chain);
    }

    /// How the last sessions of each key ended.
    pub fn departures(&self) -> Vec<Arc<Departure>> {
        self.0.ledger.departures()
    }

    /// Takes a chain from the session that speaks for it, which is told so (`not-speaker`) and asks anew, while another
    /// node of the chain may take its place. Whether it spoke for it.
    pub fn depose(&self, session: u64, chain: ChainId) -> bool {
        let Some(session) = self.0.sessions.get(session) else { return false };
        let deposed = session.chains().depose(chain);
        if deposed {
            session.settle(&self.0);
            session.news.notify_one();
            self.0.heralds.tell();
        }
        deposed
    }

    /// Ends a session of which nothing comes any more, with a reason for people; its node, if it lives, connects again by
    /// itself. Whether it was open.
    pub fn hang_up(&self, session: u64, detail: &str) -> bool {
        let session = self.0.sessions.get(session);
        session.inspect(|session| session.hang_up(&self.0, detail)).is_some()
    }
}
