//! Sealing and committing, a thread each: while one main block is committed, the next is gathered and hashed.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rayon::prelude::*;
use rs_merkle::MerkleTree;
use rs_merkle::algorithms::Sha256 as Hasher;
use sha2::{Digest, Sha256};

use super::chains::{Chains, Hash, Run};
use super::store::Store;

/// What a main block says of its side blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) height: u64,
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// Hash of the header before.
    pub(super) parent: Hash,
    /// Root over the roots of the chains.
    pub(super) root: Hash,
    pub(super) chains: u32,
    pub(super) blocks: u64,
}

impl Header {
    pub(super) const BYTES: usize = 8 + 8 + 32 + 32 + 4 + 8;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.height.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.parent);
        bytes[48..80].copy_from_slice(&self.root);
        bytes[80..84].copy_from_slice(&self.chains.to_le_bytes());
        bytes[84..].copy_from_slice(&self.blocks.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk().context("a header is longer")?;
        let word = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("8 bytes are there"));
        Ok(Self {
            height: word(0),
            time: word(8),
            parent: *bytes[16..].first_chunk().expect("32 bytes are there"),
            root: *bytes[48..].first_chunk().expect("32 bytes are there"),
            chains: u32::from_le_bytes(*bytes[80..].first_chunk().expect("4 bytes are there")),
            blocks: word(84),
        })
    }

    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(self.encode()).into()
    }
}

/// A main block on its way to the disk.
pub(super) struct Sealed {
    pub(super) header: Header,
    /// By ascending chain.
    pub(super) runs: Vec<(u32, Run)>,
    /// The root of each.
    pub(super) roots: Vec<Hash>,
}

/// The tree of a chain in a main block.
///
/// Without `commit` the tree is built once and not copied into a history that nobody rolls back.
pub(super) fn tree(leaves: &mut Vec<Hash>) -> MerkleTree<Hasher> {
    let mut tree = MerkleTree::new();
    tree.append(leaves);
    tree
}

/// What the upper tree is made of.
pub(super) fn chain_leaf(chain: u32, first: u64, count: u64, root: &Hash) -> Hash {
    let mut bytes = [0; 1 + 4 + 8 + 8 + 32];
    bytes[0] = 1;
    bytes[1..5].copy_from_slice(&chain.to_le_bytes());
    bytes[5..13].copy_from_slice(&first.to_le_bytes());
    bytes[13..21].copy_from_slice(&count.to_le_bytes());
    bytes[21..].copy_from_slice(root);
    Sha256::digest(bytes).into()
}

/// How sealing is tuned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Blocks in a main block, about.
    pub(super) most: usize,
    /// Least time between the beginnings of two main blocks.
    pub(super) interval: Duration,
}

/// Seals until nothing more is to come, or nobody takes what it seals.
pub(super) fn seal(chains: &Chains, mut parent: Option<Header>, pace: Pace, out: &SyncSender<Sealed>) {
    chains.set_sealer(std::thread::current());
    let (mut cursor, mut last) = (0, Instant::now());
    loop {
        if let Some(early) = pace.interval.checked_sub(last.elapsed()) {
            std::thread::sleep(early);
        }
        // Looked at before, so that what was pushed before it was set is not missed.
        let closed = chains.closed();
        let mut runs = chains.take(&mut cursor, pace.most);
        if runs.is_empty() {
            if closed {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        }
        last = Instant::now();
        let root = |(chain, run): &mut (u32, Run)| {
            let root = tree(&mut run.leaves).uncommitted_root().expect("a run has leaves");
            (root, chain_leaf(*chain, run.first, run.count, &root))
        };
        let (roots, mut tops): (Vec<_>, Vec<_>) = runs.par_iter_mut().map(root).unzip();
        let header = Header {
            height: parent.as_ref().map_or(1, |parent| parent.height + 1),
            time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64),
            parent: parent.as_ref().map_or([0; 32], Header::hash),
            root: tree(&mut tops).uncommitted_root().expect("there are runs"),
            chains: runs.len() as u32,
            blocks: runs.iter().map(|(_, run)| run.count).sum(),
        };
        parent = Some(header.clone());
        if out.send(Sealed { header, runs, roots }).is_err() {
            return;
        }
    }
}

/// What has become durable.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) blocks: u64,
    pub(super) main_blocks: u64,
    /// From received to durable, in microseconds, of each side block.
    pub(super) latency: Histogram<u64>,
}

/// Commits until there is nothing more to come.
pub(super) fn commit(
    chains: &Chains,
    mut store: Store,
    sealed: &Receiver<Sealed>,
    durable: &Arc<Mutex<Durable>>,
) -> Result<Store> {
    while let Ok(mut block) = sealed.recv() {
        store.commit(&mut block)?;
        let now = Instant::now();
        let mut figures = durable.lock().unwrap_or_else(PoisonError::into_inner);
        figures.blocks += block.header.blocks;
        figures.main_blocks += 1;
        for (received, count) in block.runs.iter().flat_map(|(_, run)| &run.received) {
            figures.latency.saturating_record_n((now - *received).as_micros() as u64, *count);
        }
        drop(figures);
        for (chain, run) in block.runs {
            chains.durable(chain, run);
        }
    }
    Ok(store)
}
