//! How a server runs, and how much of it any peer may use. Each limit says why it is what it is.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::ServerError;
use crate::endpoint::Limits;
use crate::frame::{MAX_FRAME_BYTES, MIN_FRAME_BYTES};
use crate::identity::Identity;
use crate::question::MAX_BODY_BYTES;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens for QUIC, over UDP. Port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Its key: what tributaries are configured with.
    pub identity: Identity,
    /// Ingest threads, each with a socket of its own on the same port; the kernel spreads peers over them. 1 to 64,
    /// default 1, which carries several million blocks a second.
    pub reactors: NonZeroUsize,
    /// What a connection may hold at its start, how long it may be silent, how large datagrams are. Default
    /// [`Limits::server`]: windows that are small until they are used, 8 data streams, which are also the most frames
    /// in flight, 60 s of silence, no keep-alive of our own.
    pub transport: Limits,

    /// Handshakes at a time; more are refused before anything is computed. From a quarter of them on a client has to
    /// show that it receives at its address (QUIC Retry), which costs us nothing. Default 1,024: two seconds' worth of
    /// what a core can do.
    pub max_handshakes: usize,
    /// New handshakes of an address (IPv6: of a /64) in each second, in the long run. Default 64: a core does some
    /// hundreds, so no single address takes them all; ten thousand nodes behind one NAT are in within three minutes.
    pub handshakes_per_address: u32,
    /// How many handshakes an address may begin at once before that rate binds it. Default 256: the nodes of one
    /// operator come back together after an outage.
    pub handshake_burst: u32,
    /// Connections, handshakes included, from an address (IPv6: from a /64) at a time. Default 12,288, as many as
    /// there may be: who has shaken hands is known by its key and limited by that. Lower it where no two operators share
    /// an address.
    pub max_connections_per_address: usize,
    /// Sessions at a time; beyond them a node only gets in for an older session of its own. Default 12,288: ten
    /// thousand chains with a node each, and some to spare.
    pub max_sessions: usize,
    /// Sessions of one key at a time; a further one takes the place of the oldest. Default 2: the one that works, and
    /// one that is dead and has not timed out.
    pub max_sessions_per_key: usize,

    /// Memory for what peers have sent and we have not read, in bytes, over all connections. Each may use what
    /// [`Limits::connection_window_bytes`] of `transport` says from its start, which is set aside for all that there
    /// may be; they share the rest, by what they deliver. Default 256 MiB.
    pub window_memory_bytes: usize,
    /// The most that one session may have of it before it has delivered a valid block, in bytes. Default 128 KiB: two
    /// frames of the size that senders aim at, and a hostile peer is kept below 2 MiB in all.
    pub unproven_window_bytes: u32,
    /// The most that one session may ever have of it, in bytes. Default 8 MiB: 160 MB/s at 50 ms.
    pub max_window_bytes: u32,
    /// Memory for frames that are being received, in bytes, over all sessions. When it is in use, data streams wait,
    /// first come, first served. At least a frame of the longest. Default 256 MiB.
    pub frame_memory_bytes: usize,
    /// The longest frame that is taken, in bytes; a longer one is `bad-frame`. 136 to 1,048,576. Default 1 MiB, the
    /// longest that the format allows.
    pub max_frame_bytes: usize,
    /// What one session may have of the memory for frames once it has delivered valid blocks, in bytes: a frame of the
    /// longest for each data stream, or one would wait, unread, and keep the others' bytes from coming. Before that, one
    /// such frame, and until the first whole frame one data stream. Default 8 MiB.
    pub session_frame_bytes: usize,

    /// How many chains of a hello may be such as cannot be served, beyond as many as can; with more the session is
    /// refused (`no-chain`). Default 256: an operator who has not registered some chains yet keeps the others going, and
    /// nobody makes us remember 16,384 chains that are not his.
    pub max_refused_chains: usize,

    /// Questions to nodes at a time, over all sessions; of one session 16. Default 1,024: what some hundred requests of
    /// the API may wait for.
    pub max_questions: usize,
    /// How long a node may take over an answer. Default 5 s: it may have to ask a node of its own several times.
    pub answer_timeout: Duration,
    /// Memory for answers that are being received, in bytes, over all sessions; a quarter of it for one. Default 64 MiB:
    /// an answer mostly has some KiB, and 4 MiB at most.
    pub answer_memory_bytes: usize,

    /// A handshake, and after it a hello, takes no longer. Default 5 s: several round trips of the slowest path.
    pub hello_timeout: Duration,
    /// A frame takes no longer from its first byte to its last. Default 10 s: 1 MiB at 1 Mbit/s.
    pub frame_timeout: Duration,
    /// The least rate at which a frame has to come once a second has passed, in bytes a second on the average. Default
    /// 1 KiB/s: who sends a byte now and then would hold a frame's memory for all of `frame_timeout`. 0: none.
    pub frame_least_rate: u32,
    /// A client that reads none of its control stream for so long is closed. Default 30 s.
    pub control_timeout: Duration,
    /// The least time between two acks of a session. Default 2 ms: at most 500 datagrams a second each.
    pub ack_pace: Duration,
    /// The least time between two headers that come without acks. Default 1 s: ten heads a second to ten thousand
    /// sessions would be a hundred thousand datagrams that tell nothing of their chains.
    pub header_pace: Duration,
    /// The least time between two looks at all sessions because speakers have come or gone: how long one that stands by
    /// may wait to hear that it speaks. Default 50 ms: a look at ten thousand sessions takes up to a millisecond, and a
    /// peer can have a speaker go with every message.
    pub claims_pace: Duration,
    /// A speaker that has sent nothing for so long is replaced by a session that stands by and has newer blocks.
    /// Default 2 s.
    pub takeover_after: Duration,
}

impl ServerConfig {
    /// The defaults.
    pub fn new(addr: SocketAddr, identity: Identity) -> Self {
        Self {
            addr,
            identity,
            reactors: NonZeroUsize::MIN,
            transport: Limits::server(),
            max_handshakes: 1_024,
            handshakes_per_address: 64,
            handshake_burst: 256,
            max_connections_per_address: 12_288,
            max_sessions: 12_288,
            max_sessions_per_key: 2,
            window_memory_bytes: 256 << 20,
            unproven_window_bytes: 128 << 10,
            max_window_bytes: 8 << 20,
            frame_memory_bytes: 256 << 20,
            max_frame_bytes: MAX_FRAME_BYTES,
            session_frame_bytes: 8 << 20,
            max_refused_chains: 256,
            max_questions: 1_024,
            answer_timeout: Duration::from_secs(5),
            answer_memory_bytes: 64 << 20,
            hello_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(10),
            frame_least_rate: 1 << 10,
            control_timeout: Duration::from_secs(30),
            ack_pace: Duration::from_millis(2),
            header_pace: Duration::from_secs(1),
            claims_pace: Duration::from_millis(50),
            takeover_after: Duration::from_secs(2),
        }
    }

    /// Whether every setting is in range.
    ///
    /// # Errors
    /// Names the first one that is not, its value, and what would be right.
    pub fn check(&self) -> Result<(), ServerError> {
        let counts = [
            ("max_handshakes", self.max_handshakes),
            ("handshakes_per_address", self.handshakes_per_address as usize),
            ("handshake_burst", self.handshake_burst as usize),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_key", self.max_sessions_per_key),
            ("max_questions", self.max_questions),
        ];
        for (field, count) in counts {
            if !(1..=MAX_COUNT).contains(&count) {
                return refuse(field, &count, "1 to 1000000");
            }
        }
        let times = [
            ("answer_timeout", self.answer_timeout),
            ("hello_timeout", self.hello_timeout),
            ("frame_timeout", self.frame_timeout),
            ("control_timeout", self.control_timeout),
            ("header_pace", self.header_pace),
            ("takeover_after", self.takeover_after),
        ];
        for (field, time) in times {
            if time.is_zero() || time > MAX_TIME {
                return refuse(field, &time, "above 0 and at most 1h");
            }
        }
        for (field, pace) in [("ack_pace", self.ack_pace), ("claims_pace", self.claims_pace)] {
            if pace > Duration::from_secs(1) {
                return refuse(field, &pace, "at most 1s");
            }
        }
        if self.reactors.get() > 64 {
            return refuse("reactors", &self.reactors, "1 to 64");
        }
        if self.transport.data_streams > 64 {
            return refuse("data_streams", &self.transport.data_streams, "1 to 64");
        }
        self.check_memory()
    }

    fn check_memory(&self) -> Result<(), ServerError> {
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&self.max_frame_bytes) {
            return refuse("max_frame_bytes", &self.max_frame_bytes, "136 to 1048576");
        }
        if self.answer_memory_bytes < LEAST_ANSWERS {
            return refuse("answer_memory_bytes", &self.answer_memory_bytes, "at least 16777220");
        }
        let memory = [
            (
                "session_frame_bytes",
                self.session_frame_bytes,
                self.max_frame_bytes * self.transport.data_streams as usize,
            ),
            ("frame_memory_bytes", self.frame_memory_bytes, self.max_frame_bytes),
        ];
        for (field, bytes, least) in memory {
            if bytes < least || bytes > MAX_MEMORY {
                let expected = "max_frame_bytes (times data_streams for a session) to 4294967295";
                return refuse(field, &bytes, expected);
            }
        }
        let least = self.transport.connection_window_bytes;
        let windows = [
            ("unproven_window_bytes", self.unproven_window_bytes, least, "connection_window_bytes at least"),
            (
                "max_window_bytes",
                self.max_window_bytes,
                self.unproven_window_bytes,
                "unproven_window_bytes at least",
            ),
        ];
        for (field, bytes, least, expected) in windows {
            if bytes < least {
                return refuse(field, &bytes, expected);
            }
        }
        // What is set aside for every connection that there may be.
        let aside = (self.max_sessions + self.max_handshakes).saturating_mul(least as usize);
        if self.window_memory_bytes < aside {
            let value = self.window_memory_bytes.to_string();
            let expected = format!(
                "at least {aside}: {least} for each of {} sessions and {} handshakes",
                self.max_sessions, self.max_handshakes
            );
            return Err(ServerError::Config { field: "window_memory_bytes", value, expected });
        }
        Ok(())
    }
}

fn refuse(field: &'static str, value: &dyn std::fmt::Debug, expected: &str) -> Result<(), ServerError> {
    Err(ServerError::Config { field, value: format!("{value:?}"), expected: expected.into() })
}

/// So that one session may always answer with the longest.
const LEAST_ANSWERS: usize = 4 * (1 + MAX_BODY_BYTES);

/// Above, a count is a mistake.
const MAX_COUNT: usize = 1_000_000;

/// Above, a time is a mistake.
const MAX_TIME: Duration = Duration::from_secs(3_600);

/// What the permits of the frame pool can count.
const MAX_MEMORY: usize = u32::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ServerConfig {
        ServerConfig::new(([127, 0, 0, 1], 0).into(), Identity::from_seed([1; 32]))
    }

    #[test]
    fn the_defaults_are_in_range() {
        config().check().unwrap();
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        type Change = fn(&mut ServerConfig);
        let cases: [(&str, Change); 19] = [
            ("max_handshakes", |config| config.max_handshakes = 0),
            ("handshakes_per_address", |config| config.handshakes_per_address = 0),
            ("handshake_burst", |config| config.handshake_burst = 0),
            ("max_connections_per_address", |config| config.max_connections_per_address = 0),
            ("max_sessions", |config| config.max_sessions = 0),
            ("max_sessions_per_key", |config| config.max_sessions_per_key = 0),
            ("max_questions", |config| config.max_questions = 0),
            ("answer_timeout", |config| config.answer_timeout = Duration::ZERO),
            ("answer_memory_bytes", |config| config.answer_memory_bytes = 1 << 20),
            ("hello_timeout", |config| config.hello_timeout = Duration::ZERO),
            ("frame_timeout", |config| config.frame_timeout = Duration::MAX),
            ("ack_pace", |config| config.ack_pace = Duration::from_secs(2)),
            ("claims_pace", |config| config.claims_pace = Duration::from_secs(2)),
            ("max_frame_bytes", |config| config.max_frame_bytes = 135),
            ("session_frame_bytes", |config| config.session_frame_bytes = 1),
            ("frame_memory_bytes", |config| config.frame_memory_bytes = MAX_MEMORY + 1),
            ("unproven_window_bytes", |config| config.unproven_window_bytes = 1),
            ("max_window_bytes", |config| config.max_window_bytes = 1 << 10),
            ("window_memory_bytes", |config| config.window_memory_bytes = 1 << 20),
        ];
        for (field, change) in cases {
            let mut config = config();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
