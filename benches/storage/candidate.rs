//! What is measured, behind one face: stores, which can be written and read, and limits, which can only be written.

use std::path::Path;

use anyhow::Result;
use engine::chain::{ChainId, MainBlock};

use crate::feed::Found;
use crate::limit::{Limit, Way};
use crate::log::MainstemLog;

/// What belongs into the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Our own log.
    Ours,
    /// Another store, with this name for `--peers`.
    Peer(&'static str),
    /// A plain write of the same bytes into a file that is new to the page cache.
    FreshLimit,
    /// A plain write over a file that is in the page cache already.
    RecycledLimit,
    /// Copying the same bytes in memory.
    CopyLimit,
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
    /// Takes the block and makes it durable.
    fn commit(&mut self, block: &MainBlock) -> Result<()>;
}

/// A store that can be searched.
pub(crate) trait Reader {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>>;
}

/// Ours, the limits and those peers that were asked for, in this order.
pub(crate) fn all(peers: &[String], segment_bytes: u64, file_bytes: u64) -> Vec<Box<dyn Candidate>> {
    let mut all: Vec<Box<dyn Candidate>> = Vec::new();
    if wanted(peers, "log") {
        all.push(Box::new(MainstemLog { segment_bytes }));
    }
    all.extend(Way::ALL.map(|way| Box::new(Limit { way, file_bytes }) as Box<dyn Candidate>));
    #[cfg(feature = "peers")]
    all.extend(crate::peers::all(|name| wanted(peers, name)));
    all
}

/// The names for `--peers` in this build.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names = vec!["log"];
    #[cfg(feature = "peers")]
    names.extend(crate::peers::NAMES);
    names
}

fn wanted(peers: &[String], name: &str) -> bool {
    peers.is_empty() || peers.iter().any(|peer| peer == name)
}
