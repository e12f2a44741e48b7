//! What a socket has received and its endpoint has not taken yet.
//!
//! The kernel joins datagrams of one sender up to 64 KiB (GRO), and quinn would put each such batch into one allocation that
//! lives as long as any byte of it is waited for. A peer that sends, with each batch, one byte of a stream out of
//! order would have us keep 64 KiB for it, a thousand times what its windows allow and quinn counts. So
//! each datagram is handed on by itself, in memory of its own size.

use std::io::{self, IoSliceMut};

use quinn::udp::{BATCH_SIZE, RecvMeta};

/// What the kernel joins at most.
const MAX_BATCH_BYTES: usize = 65_536;

/// Batches received at once, and how far they have been handed on.
#[derive(Debug)]
pub(super) struct Inbound {
    space: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    received: usize,
    /// The batch that is handed on next, and from where in it.
    batch: usize,
    at: usize,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            // Zeroed by the system when it is first used, and most of it never is.
            space: vec![0; BATCH_SIZE * MAX_BATCH_BYTES].into(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            received: 0,
            batch: 0,
            at: 0,
        }
    }

    /// Whether everything was handed on.
    pub(super) fn is_empty(&self) -> bool {
        self.batch == self.received
    }

    /// Receives anew, once everything was handed on. Returns how many batches came.
    pub(super) fn receive(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut spaces = self.space.chunks_exact_mut(MAX_BATCH_BYTES).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| spaces.next().expect("as many as there are"));
        (self.received, self.batch, self.at) = (0, 0, 0);
        self.received = receive(&mut buffers, &mut self.metas)?;
        Ok(self.received)
    }

    /// Hands on as many datagrams as there are buffers for. Those that are longer than a buffer, and so than what we have
    /// told peers to send, are dropped. Returns how many were handed on.
    pub(super) fn hand_on(&mut self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut places = buffers.iter_mut().zip(metas).peekable();
        let mut handed = 0;
        while let (Some(batch), Some((buffer, _))) =
            (self.metas[..self.received].get(self.batch), places.peek())
        {
            let from = self.batch * MAX_BATCH_BYTES;
            let rest = &self.space[from + self.at..from + batch.len];
            let length = rest.len().min(batch.stride.max(1));
            if length > 0
                && length <= buffer.len()
                && let Some((buffer, meta)) = places.next()
            {
                buffer[..length].copy_from_slice(&rest[..length]);
                *meta = RecvMeta { len: length, stride: length, ..*batch };
                handed += 1;
            }
            self.at += length;
            if self.at == batch.len {
                (self.batch, self.at) = (self.batch + 1, 0);
            }
        }
        handed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of (length, stride), each byte telling its batch and place.
    fn receive(inbound: &mut Inbound, batches: &[(usize, usize)]) -> usize {
        let received = inbound.receive(|spaces, metas| {
            for (batch, (len, stride)) in batches.iter().enumerate() {
                let fill = spaces[batch].iter_mut().take(*len).enumerate();
                fill.for_each(|(at, byte)| *byte = (batch * 31 + at) as u8);
                (metas[batch].len, metas[batch].stride) = (*len, *stride);
            }
            Ok(batches.len())
        });
        received.unwrap()
    }

    /// All that is handed on, with `places` at a time of `bytes` each.
    fn drain(inbound: &mut Inbound, places: usize, bytes: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !inbound.is_empty() {
            let mut memory = vec![vec![0; bytes]; places];
            let mut buffers: Vec<_> = memory.iter_mut().map(|place| IoSliceMut::new(place)).collect();
            let mut metas = vec![RecvMeta::default(); places];
            let handed = inbound.hand_on(&mut buffers, &mut metas);
            for (place, meta) in memory.iter().zip(&metas).take(handed) {
                assert_eq!(meta.len, meta.stride, "one datagram each");
                all.push(place[..meta.len].to_vec());
            }
        }
        all
    }

    #[test]
    fn each_datagram_of_each_batch_is_handed_on_once_and_in_order() {
        let batches = [(1_000, 300), (5, 5), (0, 0), (65_536, 1_472), (1_200, 1_200), (64, 1_472)];
        for places in [1, 2, 7, 32] {
            let mut inbound = Inbound::new();
            assert_eq!(receive(&mut inbound, &batches), batches.len());
            let mut expected = Vec::new();
            for (batch, (len, stride)) in batches.iter().enumerate() {
                let bytes: Vec<_> = (0..*len).map(|at| (batch * 31 + at) as u8).collect();
                expected.extend(bytes.chunks((*stride).max(1)).map(<[u8]>::to_vec));
            }
            assert_eq!(drain(&mut inbound, places, 1_500), expected);
        }
    }

    #[test]
    fn datagrams_that_are_too_long_are_dropped_and_the_others_are_not() {
        let mut inbound = Inbound::new();
        receive(&mut inbound, &[(3_000, 1_400), (2_000, 2_000), (10, 10)]);
        let lengths: Vec<_> = drain(&mut inbound, 4, 1_400).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1_400, 1_400, 200, 10]);
    }

    #[test]
    fn a_receive_that_fails_leaves_nothing() {
        let mut inbound = Inbound::new();
        receive(&mut inbound, &[(10, 10)]);
        let failed = inbound.receive(|_, _| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(inbound.is_empty());
    }
}
