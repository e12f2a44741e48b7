//! Datagrams of peers that nobody has vouched for.
//!
//! The kernel joins datagrams of one sender up to 64 KiB (GRO), and quinn puts each such batch into one allocation, which lives
//! as long as any byte of it is waited for; but it counts only the datagram that the byte came in. A peer that sends
//! one byte of a stream out of order with each batch would have us keep far more than its windows allow. So datagrams of
//! strangers are handed on one by one, each in memory of its own size. That costs a copy and an allocation for each, up to a
//! third of the processor time of a receive; those who deliver are spared it.

use std::collections::{HashSet, VecDeque};
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use quinn::udp::RecvMeta;

/// The peers of a socket whose batches are handed on whole.
#[derive(Debug, Default)]
pub struct Vouched(Mutex<HashSet<SocketAddr>>);

impl Vouched {
    /// Somebody answers for the peer at this address.
    pub fn vouch(&self, peer: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
    }

    /// Nobody does any more.
    pub fn retract(&self, peer: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }
}

/// Datagrams of strangers that came in one batch with the one that was handed on. Bounded by what one receive brings.
#[derive(Debug, Default)]
pub(super) struct Stash {
    bytes: Vec<u8>,
    /// From where in `bytes`, and what `len` of them are.
    batches: VecDeque<(usize, RecvMeta)>,
}

impl Stash {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Leaves of each batch of a stranger the first datagram and keeps the others. To be called when nothing is kept.
    pub(super) fn keep(&mut self, buffers: &[IoSliceMut<'_>], metas: &mut [RecvMeta], vouched: &Vouched) {
        self.bytes.clear();
        let joined = |meta: &RecvMeta| meta.len > meta.stride && meta.stride > 0;
        if !metas.iter().any(joined) {
            return;
        }
        let vouched = vouched.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (buffer, meta) in buffers.iter().zip(metas) {
            if joined(meta) && !vouched.contains(&meta.addr) {
                let rest = &buffer[meta.stride..meta.len];
                self.batches.push_back((self.bytes.len(), RecvMeta { len: rest.len(), ..*meta }));
                self.bytes.extend_from_slice(rest);
                meta.len = meta.stride;
            }
        }
    }

    /// Hands on as many datagrams as there are buffers for; returns how many.
    pub(super) fn hand_on(&mut self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut handed = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((from, batch)) = self.batches.front_mut() else { break };
            let length = batch.len.min(batch.stride);
            // It came in a buffer as long as these are.
            buffer[..length].copy_from_slice(&self.bytes[*from..*from + length]);
            *meta = RecvMeta { len: length, stride: length, ..*batch };
            handed += 1;
            *from += length;
            batch.len -= length;
            if batch.len == 0 {
                self.batches.pop_front();
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        }
        handed
    }
}

/// What is kept of the memory.
const KEPT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const FRIEND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const STRANGER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);

    /// All datagrams as the endpoint sees them, and how many of them came in each allocation.
    fn pass(batches: &[(SocketAddr, usize, usize)], places: usize) -> (Vec<Vec<u8>>, Vec<usize>) {
        let (vouched, mut stash) = (Vouched::default(), Stash::default());
        vouched.vouch(STRANGER);
        vouched.vouch(FRIEND);
        vouched.retract(STRANGER);
        let mut memory = vec![vec![0; 4_000]; places.max(batches.len())];
        let mut metas = vec![RecvMeta::default(); memory.len()];
        for (batch, (addr, len, stride)) in batches.iter().enumerate() {
            (0..*len).for_each(|at| memory[batch][at] = (batch * 31 + at) as u8);
            (metas[batch].addr, metas[batch].len, metas[batch].stride) = (*addr, *len, *stride);
        }
        let mut buffers: Vec<_> = memory.iter_mut().map(|place| IoSliceMut::new(place)).collect();
        stash.keep(&buffers, &mut metas[..batches.len()], &vouched);
        let (mut datagrams, mut joined, mut count) = (Vec::new(), Vec::new(), batches.len());
        loop {
            for (buffer, meta) in buffers.iter().zip(&metas).take(count) {
                let each: Vec<_> =
                    buffer[..meta.len].chunks(meta.stride.max(1)).map(<[u8]>::to_vec).collect();
                joined.push(each.len());
                datagrams.extend(each);
            }
            if stash.is_empty() {
                return (datagrams, joined);
            }
            count = stash.hand_on(&mut buffers[..places], &mut metas);
            assert!(count > 0, "it makes progress");
        }
    }

    #[test]
    fn datagrams_of_strangers_come_one_by_one_and_none_is_lost() {
        for places in [1, 2, 32] {
            let batches =
                [(FRIEND, 3_000, 700), (STRANGER, 3_001, 700), (STRANGER, 50, 700), (STRANGER, 0, 0)];
            let (mut datagrams, mut joined) = pass(&batches, places);
            let mut expected = Vec::new();
            for (batch, (_, len, stride)) in batches.iter().enumerate() {
                let bytes: Vec<_> = (0..*len).map(|at| (batch * 31 + at) as u8).collect();
                expected.extend(bytes.chunks((*stride).max(1)).map(<[u8]>::to_vec));
            }
            // Those of one sender stay in order; between senders there is none.
            datagrams.sort();
            expected.sort();
            assert_eq!(datagrams, expected);
            joined.sort_unstable();
            assert_eq!(joined, [0, 1, 1, 1, 1, 1, 1, 5]);
        }
    }

    #[test]
    fn the_datagrams_of_a_stranger_stay_in_order() {
        let (datagrams, _) = pass(&[(STRANGER, 3_999, 100)], 3);
        let whole: Vec<u8> = (0_usize..3_999).map(|at| at as u8).collect();
        assert_eq!(datagrams.concat(), whole);
    }
}
