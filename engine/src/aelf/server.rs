//! What a node answers other nodes: which heights of a stream, and whether a handshake is good (`src/AElf.CrossChain.Grpc`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use crate::chain::Height;

/// Blocks in the answer to one request at most (`MaximalIndexingCount`).
pub const MAX_BLOCKS: u64 = 32;

/// Whether there is an irreversible block that counts: the first block of a chain does not.
pub fn has_irreversible(lib: Height) -> bool {
    lib > Height(1)
}

/// Whether the block at `height` is irreversible when `lib` is the newest such block.
pub fn is_irreversible(height: Height, lib: Height) -> bool {
    height <= lib
}

/// The heights that a request for those from `next` on is answered with, when `highest` is the newest one that may be
/// served: 32 at most, none if there are none yet. AElf fails on a request for height 0; here it is answered with none.
pub fn heights(next: Height, highest: Height) -> Range<u64> {
    let end = highest.0.saturating_add(1).min(next.0.saturating_add(MAX_BLOCKS));
    if next.0 == 0 || end < next.0 { next.0..next.0 } else { next.0..end }
}

/// The heights that a node whose newest irreversible block is `lib` answers with.
pub fn irreversible_heights(next: Height, lib: Height) -> Range<u64> {
    heights(next, if has_irreversible(lib) { lib } else { Height(0) })
}

/// The answer to a handshake, by its number in `HandShakeReply`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeStatus {
    /// 0
    Success = 0,
    /// 1: who calls cannot be called back.
    InvalidHandshakeRequest = 1,
    /// 2, which is never sent.
    Fatal = 2,
}

/// Answers a handshake from `peer`, the transport's text for the caller (`ipv4:1.2.3.4:5`), and says whom to call back
/// on the port that the message names.
pub fn handshake(peer: &str, listening_port: u16) -> (HandshakeStatus, Option<SocketAddr>) {
    match parse_peer(peer) {
        Some(caller) => (HandshakeStatus::Success, Some(SocketAddr::new(caller.ip(), listening_port))),
        None => (HandshakeStatus::InvalidHandshakeRequest, None),
    }
}

/// The caller in a transport's text: exactly three parts between colons, the second an address and the third a port.
/// So no caller with an IPv6 address passes. AElf's own parser would also take spellings such as `127.1`, which no
/// transport writes.
pub fn parse_peer(peer: &str) -> Option<SocketAddr> {
    let mut parts = peer.split(':');
    let (_, address, port, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    Some(SocketAddr::new(IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_out_of_range_are_answered_with_nothing() {
        assert!(heights(Height(0), Height(100)).is_empty());
        assert!(heights(Height(u64::MAX), Height(100)).is_empty());
        assert!(heights(Height(5), Height(4)).is_empty());
        assert_eq!(heights(Height(u64::MAX - 1), Height(u64::MAX)), u64::MAX - 1..u64::MAX);
        assert!(irreversible_heights(Height(1), Height(1)).is_empty());
        assert_eq!(irreversible_heights(Height(1), Height(2)), 1..3);
    }
}
