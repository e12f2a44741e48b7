//! The settings of a node: one declaration per setting, from which its TOML key, environment variable, flag,
//! default, documentation, parser and bounds all come, so that they cannot drift apart.
//!
//! `seal.interval_ms` is `[seal] interval_ms` in the file, `MAINSTEM_SEAL_INTERVAL_MS` in the environment and
//! `--seal.interval-ms` on the command line. Of several, the later layer wins: default < file < environment <
//! flag. A name that is no setting and a value out of bounds are errors, never ignored and never clamped.

mod error;
mod layers;
mod table;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use engine::pipeline::SealRules;

pub(crate) use error::{ConfigError, Place, Problem};
pub(crate) use layers::{ConfigArgs, Loaded};
pub(crate) use table::{document, nearest, page, settings};
pub(crate) use value::{ByteSize, Collector, LogFilter, LogFormat, Mode, Origins, quote};

use value::Value as _;

table::declare! {
    /// The data directory: where a node keeps what it has.
    data: Data {
        /// The data directory. A relative path in the file counts from the file's directory; without one, it is
        /// the file's directory.
        dir: PathBuf = "mainstem-data".into();
        /// The genesis document; a relative path counts from the data directory.
        genesis: PathBuf = "genesis.toml".into();
        /// The node's key file; a relative path counts from the data directory.
        key: PathBuf = "node.key".into();
    }

    /// Ingest: where side-chain nodes send their blocks, over QUIC.
    ingest: Ingest {
        /// UDP address to listen on. Port 0 takes any free one. By default every address of the machine (IPv4): the
        /// nodes that connect are elsewhere, and only registered keys are let in.
        addr: SocketAddr = (Ipv4Addr::UNSPECIFIED, 9481).into();
        /// Threads that read from the network, each with a socket of its own. 0 takes half of the processors, at least 1 and
        /// at most 32: with many connections QUIC (packets, encryption) is about half of what a block costs, and the other
        /// half, hashing and storing, runs on the other ones. `mainstem run --explain` shows all threads.
        reactors: usize = 0, in 0..=64;

        /// Handshakes at a time; more are refused before anything is computed. From a quarter of them on a client has to
        /// show that it receives at its address, which costs nothing here. A core does some hundreds a second: the default
        /// is about what is done within hello_timeout_ms, and more would wait in vain.
        max_handshakes: usize = 1_024, in 1..=1_000_000;
        /// New handshakes of an IP address (IPv6: of a /64) in each second, in the long run, so that no single address
        /// takes all that a core can do.
        handshakes_per_address: usize = 64, in 1..=1_000_000;
        /// How many handshakes an address may begin at once before that rate binds it: the nodes of one operator come
        /// back together after an outage.
        handshake_burst: usize = 256, in 1..=1_000_000;
        /// Connections at once from one IP address (IPv6: from a /64). Whoever has shaken hands is known by its key and
        /// limited by that; lower it where no two operators share an address.
        max_connections_per_address: usize = 12_288, in 1..=1_000_000;
        /// Sessions at once. One is enough for a node, however many chains it speaks for: the default is ten thousand
        /// nodes and some to spare.
        max_sessions: usize = 12_288, in 1..=1_000_000;
        /// Sessions of one key at once; a further one takes the place of the oldest. By default the one that works, and
        /// one that is dead and has not timed out.
        max_sessions_per_key: usize = 2, in 1..=1_000_000;

        /// Memory for what peers have sent and is not read yet, over all connections. Each has connection_window of it
        /// from its start, also those that may still come (max_sessions and max_handshakes: 104 MiB by default); they share
        /// the rest by what they deliver.
        window_memory: ByteSize = ByteSize::mib(256), in ByteSize::kib(8)..=ByteSize::gib(64);
        /// The window that a connection begins with: what a peer may send ahead of our reading over all its streams. Small,
        /// since it is set aside for each connection that there may be; it widens with what is delivered.
        connection_window: ByteSize = ByteSize::kib(8), in ByteSize::kib(8)..=ByteSize::mib(1_024);
        /// The window of each single stream. 2 MiB carry 200 MB/s at 10 ms.
        stream_window: ByteSize = ByteSize::mib(2), in ByteSize::kib(8)..=ByteSize::mib(1_024);
        /// The widest window of a session before it has delivered a valid block: two frames of the size that tributaries
        /// aim at, and a hostile peer makes the node hold little.
        unproven_window: ByteSize = ByteSize::kib(128), in ByteSize::kib(8)..=ByteSize::mib(1_024);
        /// The widest window that a session ever has. 8 MiB carry 160 MB/s at 50 ms.
        max_window: ByteSize = ByteSize::mib(8), in ByteSize::kib(8)..=ByteSize::mib(1_024);
        /// What is kept for a connection until it has acknowledged that it came: acks and headers, which are small.
        send_window: ByteSize = ByteSize::kib(256), in ByteSize::kib(8)..=ByteSize::mib(1_024);
        /// Memory for frames that are being received, over all sessions. When it is in use, senders wait, first come,
        /// first served. By default 256 of the longest frames, or 4,096 of 64 KiB, can arrive at a time.
        frame_memory: ByteSize = ByteSize::mib(256), in ByteSize::mib(1)..=ByteSize::mib(4_095);
        /// What one session may have of frame_memory once it has delivered valid blocks: one of the longest frames for each
        /// data stream, or they would stop each other. Before that, one frame.
        session_frame_memory: ByteSize = ByteSize::mib(8), in ByteSize::mib(1)..=ByteSize::mib(4_095);
        /// The longest frame that is taken, by default the longest that the format allows; whoever sends a longer one is
        /// closed. Not below 64 KiB: tributaries fill frames of up to 64 KiB when there is much to send, and would be
        /// closed each time that they catch up.
        max_frame: ByteSize = ByteSize::mib(1), in ByteSize::kib(64)..=ByteSize::mib(1);
        /// Data streams of a connection at once, and so the most frames in flight. A tributary spreads its chains over
        /// them, over 8 at most.
        data_streams: usize = 8, in 1..=64;

        /// How many chains of a hello may be such as cannot be served, beyond as many as can; with more the session is
        /// refused: chains that are not registered yet do not stop the others, and nobody makes the node remember
        /// thousands that are not his.
        max_refused_chains: usize = 256, in 0..=16_384;

        /// Questions to nodes at a time, over all sessions: where a transaction is, for a proof of it. Each is a request of
        /// the API; one session is asked at most 16 at a time, further ones wait.
        max_questions: usize = 1_024, in 1..=1_000_000;
        /// How long a node may take over an answer, in milliseconds: it may have to ask a node of its own several times.
        /// Nothing comes of more than api.timeout_ms.
        answer_timeout_ms: u64 = 5_000, in 1..=3_600_000;
        /// Memory for answers that are being received, over all sessions; one has a quarter of it. Most have some KiB, and
        /// none more than 4 MiB.
        answer_memory: ByteSize = ByteSize::mib(64), in ByteSize::mib(17)..=ByteSize::gib(64);

        /// A handshake, and after it a hello, takes no longer, in milliseconds: several round trips of the slowest path.
        hello_timeout_ms: u64 = 5_000, in 1..=3_600_000;
        /// A frame takes no longer from its first byte to its last, in milliseconds: by default 1 MiB at 1 Mbit/s.
        frame_timeout_ms: u64 = 10_000, in 1..=3_600_000;
        /// The least rate at which a frame has to come once a second has passed, in bytes a second on the average: who
        /// sends a byte now and then would hold a frame's memory for all of frame_timeout_ms.
        frame_least_rate: ByteSize = ByteSize::kib(1), in ByteSize(0)..=ByteSize::mib(1);
        /// A client that reads none of its control stream for so long is closed, in milliseconds: longer than an outage
        /// that it may live through, and what it is to be told is not kept for ever.
        control_timeout_ms: u64 = 30_000, in 1..=3_600_000;
        /// A connection that is silent for so long is over, in milliseconds; the lower of both sides counts. Short outages
        /// cost no new handshake, and dead connections do not hold memory for long.
        idle_timeout_ms: u64 = 60_000, in 1_000..=3_600_000;
        /// After so much silence the node says that it is there, in milliseconds; 0: never, since clients do.
        keep_alive_ms: u64 = 0, in 0..=1_800_000;
        /// The least time between two acks of a session, in milliseconds: by default at most 500 datagrams a second each.
        ack_pace_ms: u64 = 2, in 0..=1_000;
        /// The least time between two main headers that come without acks, in milliseconds: to ten thousand sessions
        /// each of them is ten thousand datagrams that tell nothing of their chains.
        header_pace_ms: u64 = 1_000, in 1..=3_600_000;
        /// The least time between two looks at who speaks, in milliseconds, after speakers have come or gone: each goes through
        /// all sessions, and any peer can cause one.
        claims_pace_ms: u64 = 50, in 0..=1_000;
        /// A node that stands by takes a chain over when the one that speaks has sent nothing for so long although
        /// there are newer blocks, in milliseconds: longer than a hiccup, far shorter than idle_timeout_ms.
        takeover_after_ms: u64 = 2_000, in 1..=3_600_000;

        /// Whether a connection goes on when the address of its client changes, as behind NAT; otherwise the client has
        /// to connect again.
        migration: bool = true;
        /// UDP payload of the first datagrams, in bytes. 1200 passes everywhere.
        initial_mtu: usize = 1_200, in 1_200..=6_500;
        /// The largest UDP payload that is tried, in bytes: jumbo frames, ten of which go out in one send.
        max_mtu: usize = 6_500, in 1_200..=6_500;
    }

    /// The API: status, blocks and proofs, over HTTP.
    api: Api {
        /// TCP address to listen on. Port 0 takes any free one.
        addr: SocketAddr = (Ipv4Addr::LOCALHOST, 9480).into();
        /// Threads that answer.
        threads: usize = 2, in 1..=64;
        /// How far these threads stand back for those that take blocks in, seal and store, as `nice` counts it. 19, the most:
        /// where both want a processor, those get 98 % of it, so that no load on the API slows them. 0: they share alike.
        nice: usize = 19, in 0..=19;
        /// Connections at once; more wait.
        max_connections: usize = 256, in 1..=65_536;
        /// Event streams, and requests that wait for a block to be indexed, at once; more are refused. Each holds one of
        /// max_connections, so it has to be less.
        max_streams: usize = 128, in 0..=65_535;
        /// Web pages of which origins may ask this node, such as `https://explorer.example`; several with commas between them,
        /// * for all, - for none. What changes the node is never for them.
        cors_origins: Origins = Origins::default();
        /// Largest body of a request. A proof has a few KiB.
        max_body: ByteSize = ByteSize::kib(256), in ByteSize::kib(64)..=ByteSize::mib(1);
        /// Time for a request to arrive, and for its answer to be made, in milliseconds.
        timeout_ms: u64 = 10_000, in 100..=600_000;
        /// File with a secret for whoever changes the node over this address, under /v1/admin/, as `authorization: Bearer ..`; a
        /// relative path counts from the data directory. Without one ("-") only the socket admin.sock there takes changes.
        admin_token_file: PathBuf = "-".into();
    }

    /// The main chain: who decides what becomes a main block.
    main: Main {
        /// solo: this node seals main blocks and owns the chain. external: the node of another chain drives it over
        /// external.addr, and decides which main block comes next and when none can be taken back any more; until then,
        /// nothing of a main block is acknowledged or served. A log stays what it was made for.
        mode: Mode = Mode::Solo;
    }

    /// External mode: where the node of the existing main chain speaks to this one (main.mode = "external").
    external: External {
        /// TCP address for gRPC and REST. Port 0 takes any free one.
        addr: SocketAddr = (Ipv4Addr::LOCALHOST, 9482).into();
        /// File with a secret that each call has to show, as `authorization: Bearer ..`; a relative path counts from the data
        /// directory. Without one ("-"), only an address of this machine (127.0.0.1 or ::1) is possible.
        token_file: PathBuf = "-".into();
        /// Main blocks that can still be taken back, at most. Lanes keep the side blocks of all of them: cache.lane_blocks
        /// has to be enough for what a chain makes in so long.
        max_reversible: u64 = 4_096, in 1..=1 << 20;
    }

    /// The cache: blocks that are received and not durable yet.
    cache: Cache {
        /// Blocks a lane holds, for each chain. A chain's rate is at most this divided by the time from
        /// received to durable: 1024 blocks at 25 ms carry 40,000 blocks/s. A block takes up to 96 bytes.
        lane_blocks: usize = 1_024, in 1..=1 << 24;
        /// Memory of all lanes together.
        bytes: ByteSize = ByteSize::gib(1), in ByteSize::mib(1)..=ByteSize::gib(1_024);
    }

    /// Sealing: when side blocks become a main block, and how many.
    seal: Seal {
        /// A main block is sealed when blocks wait and this time has passed since the last one, in milliseconds.
        interval_ms: u64 = 100, in 0..=3_600_000;
        /// Side blocks that make a main block before the interval is over.
        leaves: u64 = 16_384, in 1..=1 << 23;
        /// Most side blocks in a main block. It must fit a segment of the log.
        max_leaves: u64 = 262_144, in 1..=1 << 23;
        /// Most side blocks of one chain in a main block. A chain with more waiting is catching up.
        max_per_chain: u64 = 256, in 1..=1 << 23;
        /// Whether a chain that is catching up is sealed at once and without max_per_chain.
        catch_up: bool = true;
        /// By whose rules blocks are chosen for a main block: mainstem, as the settings above say; or aelf, as a node of
        /// AElf does: a cache of 1,024 blocks for each chain, at most 256 of a chain in a main block, and no bursts, whatever
        /// catch_up says. A chain that is not indexed yet begins with a main block that takes its first block alone, and only
        /// once 256 more wait behind it; the next ones follow when that one is durable (in external mode: finalized). With
        /// aelf, cache.lane_blocks has to be 1024 and max_per_chain 256, as they are by default; all other settings mean
        /// the same.
        rules: SealRules = SealRules::Mainstem;
    }

    /// Threads: how many there are of a kind, as far as no other section says it, and where they run.
    /// `mainstem run --explain` shows the plan for this machine, or for another one with `--cores`.
    threads: Threads {
        /// Threads that hash, the one that seals included. 0 takes the processors that ingest.reactors leaves, at least 1
        /// and at most 16: with so many of them storing, which is one thread, takes longer than hashing by far.
        hashing: usize = 0, in 0..=256;
        /// Whether each thread of ingest and hashing stays on a processor of its own: for machines that do
        /// nothing else. Beside other programs the system knows better where there is room.
        pin: bool = false;
    }

    /// Storage: the log of main blocks.
    storage: Storage {
        /// Length of a segment file. It is reserved at once, and never changes after it is full.
        segment_bytes: ByteSize = ByteSize::mib(256), in ByteSize::mib(1)..=ByteSize::gib(1);
        /// How long main blocks may wait for a sync that they share, in milliseconds; 0 syncs as soon as a block is
        /// written. It buys fewer syncs, for slow disks. It costs latency: side blocks are acknowledged up to so
        /// much later and hold their place in the cache so long, so a chain's rate falls unless cache.lane_blocks
        /// is raised. It does not cost safety: what was acknowledged or served is on the disk in any case.
        sync_interval_ms: u64 = 0, in 0..=10_000;
        /// How many of the newest main blocks are kept at least; 0 keeps all. Older ones are removed, a whole
        /// segment at a time, and side blocks that were indexed there can no longer be proven by this node. All
        /// that is left still can.
        keep_blocks: u64 = 0, in 0..=1 << 62;
        /// How much disk the segments of the log may take, spare ones included; 0 sets no bound. When a new segment would
        /// exceed it, the oldest are removed, as by keep_blocks: whichever of the two asks for more removes more. The
        /// newest full segment always stays, so at least three segments are taken.
        keep_bytes: ByteSize = ByteSize(0), in ByteSize(0)..=ByteSize::gib(1 << 20);
        /// Files of removed segments that are kept to be written again, which is much faster than new ones. Each
        /// takes segment_bytes of disk.
        spare_segments: usize = 2, in 0..=64;
        /// How much of the newest full segments stays in memory, in the system's page cache, while the log grows.
        /// Side blocks that were indexed earlier are read from the disk when someone asks for a proof. The memory
        /// of older ones is written again at once, which is up to five times faster than memory that the system has
        /// to find first.
        cached: ByteSize = ByteSize::gib(1), in ByteSize::kib(0)..=ByteSize::gib(1 << 20);
    }

    /// Running: how the node starts and stops.
    run: Run {
        /// How long a node that was asked to stop goes on while /readyz says that it stops, in milliseconds, so that load
        /// balancers send nobody to it any more: longer than the time between two of their checks. 0 stops at once.
        drain_ms: u64 = 0, in 0..=600_000;
        /// How long a node that was asked to stop may take after that, in milliseconds, before the process ends as it is. What
        /// is durable stays so; what is not comes again at the next start.
        stop_timeout_ms: u64 = 60_000, in 1_000..=3_600_000;
    }

    /// Health: from when on /readyz says that the node is not well.
    health: HealthBounds {
        /// Least free space on the disk of the log: by default two segments, so that there is time to act.
        min_free: ByteSize = ByteSize::mib(512), in ByteSize(0)..=ByteSize::gib(1 << 20);
        /// How long blocks may wait without a main block becoming durable, in milliseconds.
        max_head_age_ms: u64 = 30_000, in 100..=3_600_000;
    }

    /// Watching: from when on a chain is not well, and what is done about it. `mainstem why CHAIN` says what was found.
    watch: Watch {
        /// How long nothing may come of a chain although its node has more, or a block was to be expected, in
        /// milliseconds: longer than any hiccup of a network. Then the chain is stalled.
        stalled_ms: u64 = 10_000, in 100..=3_600_000;
        /// How long not one datagram may come over the connection of the node that speaks, in milliseconds. Tributaries say
        /// that they are there every 20 s at the latest; ingest.idle_timeout_ms ends the connection.
        silent_ms: u64 = 45_000, in 100..=3_600_000;
        /// How long blocks that are final may wait to be sealed and stored, and a stage may stand still, in milliseconds.
        late_ms: u64 = 10_000, in 100..=3_600_000;
        /// How long a lane may be full without getting ahead, in milliseconds: while a chain catches up its lane is full
        /// now and then.
        full_ms: u64 = 5_000, in 100..=3_600_000;
        /// After so long without a block a chain is quiet, in milliseconds. That is no fault.
        quiet_ms: u64 = 60_000, in 100..=3_600_000;
        /// A chain whose node has more than so many blocks that are not durable here is catching up; by default as many as
        /// seal.max_per_chain.
        behind_blocks: u64 = 256, in 1..=1 << 40;
        /// How long a chain may be stalled until the node has its speaker ask again, and as long after that ends a session
        /// of which nothing comes; each further time twice as long, up to 10 minutes. In milliseconds; 0: never. At least
        /// stalled_ms.
        remedy_ms: u64 = 30_000, in 0..=3_600_000;
        /// So many contradictions of a node within 10 minutes (another hash for a height that was received), and it may not
        /// speak for the chain for 10 minutes; of two nodes of a chain, or of its only one, and the chain is paused until the
        /// operator has looked. 0: never.
        quarantine_after: u64 = 3, in 0..=1_000_000;
    }

    /// Metrics: what /metrics tells.
    metrics: Metrics {
        /// Side chains that have series of their own, those that are furthest behind; all others are summed up in one. More
        /// chains than this cost the server that collects them, not this node.
        max_chains: usize = 50, in 0..=10_000;
    }

    /// Traces for an OpenTelemetry collector, in builds with the feature `otel`: a trace for each main block and each request
    /// of the API.
    otel: Otel {
        /// Address of the collector, which takes OTLP over HTTP, such as http://127.0.0.1:4318; /v1/traces is added. Without
        /// one ("-") nothing is traced.
        endpoint: Collector = Collector::default();
        /// File with headers that the collector asks for, one a line, such as `authorization: Bearer ..`; a relative path
        /// counts from the data directory. Without one ("-") none are sent.
        headers_file: PathBuf = "-".into();
        /// Share of the traces that are sent, chosen by their ids: 1 for all of them, 0 for none. At ten main blocks a second
        /// all of them are 70 spans a second.
        sample_ratio: f64 = 1.0, in 0.0..=1.0;
    }

    /// The log that people read. It goes to standard error.
    log: Log {
        /// How log lines look: text or json.
        format: LogFormat = LogFormat::Text;
        /// Which lines are written: a level, or levels by module, such as info,mainstem_net=debug.
        filter: LogFilter = LogFilter::from_text("info").expect("a level is a filter");
    }
}

impl Settings {
    /// What a setting does to others, which their values do not show: for whoever asks what holds.
    pub(crate) fn remark(&self, path: &str) -> Option<&'static str> {
        (path == "seal.rules" && self.seal.rules == SealRules::Aelf).then_some(
            "as AElf: at most 256 blocks of a chain in a main block, catch_up has no effect, and a new chain begins with \
             one block once 256 more wait",
        )
    }
}

#[cfg(test)]
mod tests;
