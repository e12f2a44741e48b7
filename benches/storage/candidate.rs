//! What is measured, behind one face: stores, which can be written and read, and limits, which can only be written.

use std::path::Path;

use anyhow::Result;
use engine::chain::{ChainId, MainBlock};

use crate::feed::Found;
use crate::limit::{Limit, Way};
use crate::log::{MainstemLog, RecycledLog};

/// What belongs into the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Our own log.
    Ours,
    /// Our own log, writing into files that it used before.
    OursRecycled,
    /// Another store.
    #[cfg_attr(not(feature = "peers"), expect(dead_code, reason = "this build has none"))]
    Peer,
    /// A plain write of the same bytes into a file that is new to the page cache.
    FreshLimit,
    /// A plain write over a file that is in the page cache already.
    RecycledLimit,
    /// Copying the same bytes in memory.
    CopyLimit,
}

impl Kind {
    /// Whether what was written can be searched afterwards, from the first height on.
    pub(crate) fn is_store(self) -> bool {
        matches!(self, Self::Ours | Self::Peer)
    }
}

/// Something that can take in main blocks.
pub(crate) trait Candidate {
    /// Name in the tables.
    fn name(&self) -> String;

    fn kind(&self) -> Kind;

    /// Prepares what may be prepared before the clock starts, opens a new store in the empty directory `dir`, lets
    /// `job` write, and closes it.
    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()>;

    /// Opens what was written and lets `job` read. Only for stores.
    fn read(&self, dir: &Path, job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()>;

    /// Bytes on disk that were reserved for later blocks.
    fn reserved(&self, _dir: &Path) -> Result<u64> {
        Ok(0)
    }
}

/// A store that is being written.
pub(crate) trait Writer {
    /// Main height and height of every side chain that it holds before the clock starts.
    fn before(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Takes the block and makes it durable.
    fn commit(&mut self, block: &MainBlock) -> Result<()>;
}

/// A store that can be searched.
pub(crate) trait Reader {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>>;
}

/// Ours, the limits and those peers that were asked for, in this order.
pub(crate) fn all(
    peers: &[String],
    segment_bytes: u64,
    file_bytes: u64,
    source_bytes: usize,
) -> Vec<Box<dyn Candidate>> {
    let mut all: Vec<Box<dyn Candidate>> = Vec::new();
    if wanted(peers, "log") {
        all.push(Box::new(MainstemLog { segment_bytes }));
        // Pruning reads a block for each chain.
        if !crate::args::UNOPTIMISED {
            // The end of a segment stays empty if the next block does not fit: by a third, with three blocks in one.
            let spares = file_bytes * 4 / 3 / segment_bytes + 2;
            all.push(Box::new(RecycledLog { log: MainstemLog { segment_bytes }, spares: spares as usize }));
        }
    }
    all.extend(Way::ALL.map(|way| Box::new(Limit { way, file_bytes, source_bytes }) as Box<dyn Candidate>));
    #[cfg(feature = "peers")]
    all.extend(crate::peers::all(|name| wanted(peers, name)));
    all
}

/// The names for `--peers` in this build.
pub(crate) fn names() -> Vec<&'static str> {
    #[cfg(feature = "peers")]
    use crate::peers::NAMES as PEERS;
    #[cfg(not(feature = "peers"))]
    const PEERS: [&str; 0] = [];
    std::iter::once("log").chain(PEERS).collect()
}

/// Whether the store was asked for: by name, or as one of all; some only by name.
fn wanted(peers: &[String], name: &str) -> bool {
    (peers.is_empty() && name != "heed-writemap") || peers.iter().any(|peer| peer == name)
}
