//! Counts of all that was let in, limited, refused and received since the server started.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::RefusalCode;

/// What a server has done since it started. Counts only grow, but for the four gauges at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handshakes begun.
    pub handshakes_started: u64,
    /// Handshakes that ended with a known key.
    pub handshakes_completed: u64,
    /// Handshakes that failed for any reason, those of the next three fields included.
    pub handshakes_failed: u64,
    /// Handshakes with a key that is not registered.
    pub handshakes_unknown_key: u64,
    /// Handshakes with a key that was struck off.
    pub handshakes_revoked_key: u64,
    /// Handshakes that took longer than `hello_timeout`.
    pub handshakes_timed_out: u64,
    /// Connections refused before a handshake: `max_handshakes` were under way.
    pub refused_handshakes: u64,
    /// Connections refused before a handshake: their address began too many.
    pub refused_rate: u64,
    /// Connections refused before a handshake: their address has `max_connections_per_address`.
    pub refused_address: u64,
    /// Answers that ask a client to show that it receives at its address (QUIC Retry).
    pub retries_sent: u64,
    /// Sessions begun: connections of a known key.
    pub sessions_opened: u64,
    /// Sessions ended, for whatever reason.
    pub sessions_closed: u64,
    /// Sessions ended since their key was revoked or stands for another one.
    pub sessions_revoked: u64,
    /// Chains whose silent speaker was replaced by one that stood by.
    pub take_overs: u64,
    /// Sessions that we ended, by reason.
    pub closes: ByCode,
    /// Chains refused in a session, by reason.
    pub chain_refusals: ByCode,
    /// Frames received whole and valid.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks put into lanes.
    pub blocks: u64,
    /// Messages received on control streams.
    pub control_messages: u64,
    /// How often sessions went through all of their chains for what there is to tell.
    pub control_rounds: u64,
    /// How often reactors went through all of their sessions for whom there is something to tell.
    pub herald_rounds: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Handshakes under way now.
    pub handshakes: u64,
    /// Bytes that connected peers may send ahead of our reading now.
    pub window_bytes: u64,
    /// Bytes set aside now for frames that are being received.
    pub frame_memory_bytes: u64,
}

/// A count for each [`RefusalCode`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByCode([u64; CODES]);

impl ByCode {
    /// How many of `code`.
    pub fn get(&self, code: RefusalCode) -> u64 {
        self.0[index(code)]
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each code with its count, by number of the code.
    pub fn iter(&self) -> impl Iterator<Item = (RefusalCode, u64)> + '_ {
        RefusalCode::ALL.iter().map(|code| (*code, self.get(*code)))
    }
}

const CODES: usize = RefusalCode::ALL.len();

/// Numbers of codes have no gaps and start at 1.
fn index(code: RefusalCode) -> usize {
    usize::from(code.number()) - 1
}

/// A count that grows. All of them are figures for people, which guard no memory: relaxed.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A count for each code.
#[derive(Debug, Default)]
pub(super) struct CountsByCode([Count; CODES]);

impl CountsByCode {
    pub(super) fn one(&self, code: RefusalCode) {
        self.add(code, 1);
    }

    pub(super) fn add(&self, code: RefusalCode, more: u64) {
        self.0[index(code)].add(more);
    }

    fn get(&self) -> ByCode {
        ByCode(std::array::from_fn(|index| self.0[index].get()))
    }
}

/// Where the counts are kept: touched once a frame, a message, a connection.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) handshakes_started: Count,
    pub(super) handshakes_completed: Count,
    pub(super) handshakes_failed: Count,
    pub(super) handshakes_unknown_key: Count,
    pub(super) handshakes_revoked_key: Count,
    pub(super) handshakes_timed_out: Count,
    pub(super) refused_handshakes: Count,
    pub(super) refused_rate: Count,
    pub(super) refused_address: Count,
    pub(super) retries_sent: Count,
    pub(super) sessions_opened: Count,
    pub(super) sessions_closed: Count,
    pub(super) sessions_revoked: Count,
    pub(super) take_overs: Count,
    pub(super) closes: CountsByCode,
    pub(super) chain_refusals: CountsByCode,
    pub(super) frames: Count,
    pub(super) bytes: Count,
    pub(super) blocks: Count,
    pub(super) control_messages: Count,
    pub(super) control_rounds: Count,
    pub(super) herald_rounds: Count,
}

impl Counts {
    /// All of them; the gauges are for others to fill in.
    pub(super) fn snapshot(&self) -> Counters {
        // What ends is read before what begins: no more ends than begins are ever shown.
        let (closed, completed, failed) =
            (self.sessions_closed.get(), self.handshakes_completed.get(), self.handshakes_failed.get());
        Counters {
            handshakes_completed: completed,
            handshakes_failed: failed,
            handshakes_started: self.handshakes_started.get(),
            handshakes_unknown_key: self.handshakes_unknown_key.get(),
            handshakes_revoked_key: self.handshakes_revoked_key.get(),
            handshakes_timed_out: self.handshakes_timed_out.get(),
            refused_handshakes: self.refused_handshakes.get(),
            refused_rate: self.refused_rate.get(),
            refused_address: self.refused_address.get(),
            retries_sent: self.retries_sent.get(),
            sessions_closed: closed,
            sessions_opened: self.sessions_opened.get(),
            sessions_revoked: self.sessions_revoked.get(),
            take_overs: self.take_overs.get(),
            closes: self.closes.get(),
            chain_refusals: self.chain_refusals.get(),
            frames: self.frames.get(),
            bytes: self.bytes.get(),
            blocks: self.blocks.get(),
            control_messages: self.control_messages.get(),
            control_rounds: self.control_rounds.get(),
            herald_rounds: self.herald_rounds.get(),
            ..Counters::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_count_of_its_own() {
        let counts = Counts::default();
        for (times, code) in RefusalCode::ALL.iter().enumerate() {
            for _ in 0..times {
                counts.closes.one(*code);
            }
        }
        let closes = counts.snapshot().closes;
        assert!(closes.iter().map(|(_, count)| count).eq(0..CODES as u64));
        assert_eq!(closes.total(), (0..CODES as u64).sum::<u64>());
    }
}
