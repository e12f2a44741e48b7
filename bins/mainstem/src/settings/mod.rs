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

pub(crate) use error::{ConfigError, Place, Problem};
pub(crate) use layers::ConfigArgs;
pub(crate) use table::{document, settings};
pub(crate) use value::{ByteSize, LogFilter, LogFormat, quote};

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
        /// UDP address to listen on. Port 0 takes any free one.
        addr: SocketAddr = (Ipv4Addr::UNSPECIFIED, 9481).into();
        /// Threads that read from the network, each with a socket of its own.
        reactors: usize = 1, in 1..=64;
        /// Connections at once. One is enough for a node, however many chains it speaks for.
        max_connections: usize = 1_024, in 1..=65_536;
        /// Connections at once from one IP address.
        max_connections_per_address: usize = 256, in 1..=65_536;
        /// Memory for frames that are being received, of all connections together. When it is in use, senders wait.
        frame_memory: ByteSize = ByteSize::mib(256), in ByteSize::mib(1)..=ByteSize::mib(4_095);
    }

    /// The API: status, blocks and proofs, over HTTP.
    api: Api {
        /// TCP address to listen on. Port 0 takes any free one.
        addr: SocketAddr = (Ipv4Addr::LOCALHOST, 9480).into();
        /// Threads that answer.
        threads: usize = 2, in 1..=64;
        /// Connections at once; more wait.
        max_connections: usize = 256, in 1..=65_536;
        /// Largest body of a request. A proof has a few KiB.
        max_body: ByteSize = ByteSize::kib(256), in ByteSize::kib(64)..=ByteSize::mib(1);
        /// Time for a request to arrive, and for its answer to be made, in milliseconds.
        timeout_ms: u64 = 10_000, in 100..=600_000;
    }

    /// The cache: blocks that are received and not durable yet.
    cache: Cache {
        /// Blocks a lane holds, for each chain. A chain's rate is at most this divided by the time from
        /// received to durable: 1024 blocks at 25 ms carry 40,000 blocks/s. A block takes 72 bytes.
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
        /// Files of removed segments that are kept to be written again, which is much faster than new ones. Each
        /// takes segment_bytes of disk.
        spare_segments: usize = 2, in 0..=64;
    }

    /// The log that people read. It goes to standard error.
    log: Log {
        /// How log lines look: text or json.
        format: LogFormat = LogFormat::Text;
        /// Which lines are written: a level, or levels by module, such as info,mainstem_net=debug.
        filter: LogFilter = LogFilter::from_text("info").expect("a level is a filter");
    }
}

#[cfg(test)]
mod tests;
