//! The nodes that have shaken hands, and which of them is asked for blocks.
//!
//! AElf's protocol has no authentication. So the node that gives blocks keeps its place as long as it answers: another
//! one is asked only when it has failed [`PATIENCE`] times in a row.

#[cfg(test)]
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A bounded table of addresses.
#[derive(Debug)]
pub(super) struct Peers {
    known: Vec<Peer>,
    /// The one that the operator named; no other is asked.
    pinned: Option<SocketAddr>,
}

#[derive(Debug)]
struct Peer {
    addr: SocketAddr,
    /// In a row.
    failures: u32,
    tried: Option<Instant>,
    /// When it may be tried next.
    next: Instant,
    /// When it last shook hands or gave a block.
    heard: Instant,
    /// It has given blocks that follow those of before, and not failed too often since.
    speaks: bool,
}

/// Which node to ask now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pick {
    Now(SocketAddr),
    /// None before this time.
    At(Instant),
    /// None is known.
    Nobody,
}

impl Peers {
    pub(super) fn new(pinned: Option<SocketAddr>, now: Instant) -> Self {
        let mut peers = Self { known: Vec::new(), pinned };
        if let Some(addr) = pinned {
            peers.known.push(Peer::new(addr, now));
        }
        peers
    }

    /// A node shook hands from this address.
    pub(super) fn hear(&mut self, addr: SocketAddr, now: Instant) {
        if self.pinned.is_some_and(|pinned| pinned != addr) {
            return;
        }
        if let Some(peer) = self.known.iter_mut().find(|peer| peer.addr == addr) {
            peer.heard = now;
            // It is there: no need to wait out the pause. Not more often than a first pause, whatever it says.
            peer.next = peer.next.min(peer.tried.map_or(now, |tried| tried + FIRST_PAUSE));
            return;
        }
        let of_ip = |peer: &&Peer| peer.addr.ip() == addr.ip() && !peer.speaks;
        let crowded = self.known.iter().filter(of_ip).count() >= MAX_PER_IP;
        let worst = |peer: &&Peer| (!peer.speaks, peer.failures, std::cmp::Reverse(peer.heard));
        let out = if crowded {
            self.known.iter().filter(of_ip).max_by_key(worst).map(|peer| peer.addr)
        } else if self.known.len() >= MAX_PEERS {
            self.known.iter().max_by_key(worst).map(|peer| peer.addr)
        } else {
            None
        };
        self.known.retain(|peer| Some(peer.addr) != out);
        self.known.push(Peer::new(addr, now));
    }

    /// The node to ask: the one that gives blocks, unless it has failed too often; then the one that failed least, and
    /// of those the one that shook hands last.
    pub(super) fn pick(&self, now: Instant) -> Pick {
        let ready = |peer: &Peer| if peer.next <= now { Pick::Now(peer.addr) } else { Pick::At(peer.next) };
        if let Some(peer) = self.known.iter().find(|peer| peer.speaks) {
            return ready(peer);
        }
        let due = self.known.iter().filter(|peer| peer.next <= now);
        due.min_by_key(|peer| (peer.failures, std::cmp::Reverse(peer.heard)))
            .or_else(|| self.known.iter().min_by_key(|peer| peer.next))
            .map_or(Pick::Nobody, ready)
    }

    /// It has given a block, or said that it has none yet.
    pub(super) fn answered(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(peer) = self.known.iter_mut().find(|peer| peer.addr == addr) {
            (peer.failures, peer.heard) = (0, now);
        }
    }

    /// It has given blocks that follow those of before: it keeps its place.
    pub(super) fn speaks(&mut self, addr: SocketAddr) {
        for peer in &mut self.known {
            peer.speaks = peer.addr == addr;
        }
    }

    /// Whether it is the one that gives blocks.
    pub(super) fn is_speaker(&self, addr: SocketAddr) -> bool {
        self.known.iter().any(|peer| peer.speaks && peer.addr == addr)
    }

    /// Whether the operator named it.
    pub(super) fn is_pinned(&self, addr: SocketAddr) -> bool {
        self.pinned == Some(addr)
    }

    /// It did not answer, or not as it should. With `lasting` it is not worth to ask it soon again.
    pub(super) fn failed(&mut self, addr: SocketAddr, now: Instant, lasting: bool) {
        let (pinned, alone) = (self.pinned, self.known.len() == 1);
        if let Some(peer) = self.known.iter_mut().find(|peer| peer.addr == addr) {
            peer.failures = peer.failures.saturating_add(1);
            peer.tried = Some(now);
            let pause = if lasting { LONGEST_PAUSE } else { pause(peer.failures) };
            peer.next = now + pause;
            peer.speaks &= peer.failures < PATIENCE && !lasting;
        }
        // The last address that is known may become right again.
        self.known.retain(|peer| {
            alone
                || pinned == Some(peer.addr)
                || peer.failures == 0
                || now.duration_since(peer.heard) < FORGET
        });
    }

    /// Whether any node is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether there is no other to ask.
    pub(super) fn is_alone(&self) -> bool {
        self.known.len() == 1
    }

    #[cfg(test)]
    /// Whether a node has this address, whatever its port.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.known.iter().any(|peer| peer.addr.ip() == ip)
    }
}

impl Peer {
    fn new(addr: SocketAddr, now: Instant) -> Self {
        Self { addr, failures: 0, tried: None, next: now, heard: now, speaks: false }
    }
}

/// After so many failures in a row.
fn pause(failures: u32) -> Duration {
    (FIRST_PAUSE * 2_u32.saturating_pow(failures.clamp(1, 16) - 1)).min(LONGEST_PAUSE)
}

/// Most nodes that are known.
const MAX_PEERS: usize = 8;
/// Of one address, beside the one that gives blocks: nobody fills the table alone.
const MAX_PER_IP: usize = 2;
/// How often the node that gives blocks may fail in a row before another one is asked.
const PATIENCE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A node that fails is forgotten when it has not been heard of for so long.
const FORGET: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    #[test]
    fn the_node_that_gives_blocks_keeps_its_place_until_it_fails_three_times() {
        let now = Instant::now();
        let mut peers = Peers::new(None, now);
        assert_eq!(peers.pick(now), Pick::Nobody);
        peers.hear(addr(1, 1), now);
        peers.speaks(addr(1, 1));
        peers.hear(addr(2, 1), now);
        assert_eq!(peers.pick(now), Pick::Now(addr(1, 1)));
        for _ in 1..PATIENCE {
            peers.failed(addr(1, 1), now, false);
            assert!(matches!(peers.pick(now), Pick::At(_)));
        }
        peers.answered(addr(1, 1), now);
        for _ in 0..PATIENCE {
            assert!(peers.is_speaker(addr(1, 1)));
            peers.failed(addr(1, 1), now, false);
        }
        assert_eq!(peers.pick(now), Pick::Now(addr(2, 1)));
        peers.speaks(addr(2, 1));
        let later = now + LONGEST_PAUSE;
        assert_eq!(peers.pick(later), Pick::Now(addr(2, 1)));
    }

    #[test]
    fn pauses_grow_and_a_handshake_shortens_them() {
        let now = Instant::now();
        let mut peers = Peers::new(None, now);
        peers.hear(addr(1, 1), now);
        let mut before = Duration::ZERO;
        for _ in 0..40 {
            peers.failed(addr(1, 1), now, false);
            let Pick::At(next) = peers.pick(now) else { panic!("no pause") };
            assert!(next - now >= before && next - now <= LONGEST_PAUSE);
            before = next - now;
        }
        assert_eq!(before, LONGEST_PAUSE);
        peers.hear(addr(1, 1), now);
        assert_eq!(peers.pick(now), Pick::At(now + FIRST_PAUSE));
        assert_eq!(peers.pick(now + FIRST_PAUSE), Pick::Now(addr(1, 1)));
    }

    #[test]
    fn one_address_does_not_fill_the_table_and_the_speaker_is_never_pushed_out() {
        let now = Instant::now();
        let mut peers = Peers::new(None, now);
        peers.hear(addr(1, 1), now);
        peers.speaks(addr(1, 1));
        peers.hear(addr(2, 1), now);
        for port in 1..1_000 {
            peers.hear(addr(9, port), now);
            peers.hear(addr(1, port), now);
        }
        assert!(peers.is_speaker(addr(1, 1)) && peers.knows(addr(2, 1).ip()));
        for last in 10..200 {
            peers.hear(addr(last, 1), now);
        }
        assert!(peers.is_speaker(addr(1, 1)));
        assert_eq!(peers.known.len(), MAX_PEERS);
    }

    #[test]
    fn a_node_that_is_gone_is_forgotten_but_for_the_last_one() {
        let now = Instant::now();
        let mut peers = Peers::new(None, now);
        peers.hear(addr(1, 1), now);
        peers.hear(addr(2, 1), now);
        peers.failed(addr(1, 1), now + FORGET, false);
        assert!(!peers.knows(addr(1, 1).ip()));
        peers.failed(addr(2, 1), now + FORGET * 2, false);
        assert!(peers.knows(addr(2, 1).ip()));
    }

    #[test]
    fn a_node_that_the_operator_named_is_the_only_one_asked() {
        let now = Instant::now();
        let mut peers = Peers::new(Some(addr(1, 1)), now);
        peers.hear(addr(2, 1), now);
        assert!(!peers.knows(addr(2, 1).ip()));
        assert_eq!(peers.pick(now), Pick::Now(addr(1, 1)));
    }
}
