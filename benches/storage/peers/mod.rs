//! Other stores for the same work, each set up as its authors advise, in two layouts.
//!
//! What a store keeps of a main block: its side blocks and its header, in one durable commit. What it does not do: it
//! keeps no tree nodes, so a proof would hash all side blocks of the chain in that main block again; it keeps no
//! history of headers; and only redb and the LSM stores have checksums (LMDB has none).
//!
//! # Layouts
//! - *rows*: one entry for each side block, (chain, height) -> (main height, leaf, hash, transaction root, time). What
//!   one writes without thinking about it.
//! - *runs*: one entry for the side blocks of a chain in a main block, (chain, last height) -> (main height, first
//!   leaf, columns): the first key at or above (chain, height) holds it. What one writes after thinking about it: as
//!   compact as the log and as few keys, and still one look-up.

mod fjall;
mod heed;
mod redb;

use engine::chain::{ChainId, Hash, MainBlock};
use zerocopy::IntoBytes;

use crate::candidate::Candidate;
use crate::feed::Found;

/// The names for `--peers`.
pub(crate) const NAMES: [&str; 4] = ["redb", "fjall", "heed", "heed-writemap"];

/// Memory that a store may keep blocks in, where it asks for a number: enough for all that is measured by default.
const CACHE_BYTES: usize = 4 << 30;

/// How side blocks become entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    Rows,
    Runs,
}

impl Layout {
    const ALL: [Self; 2] = [Self::Rows, Self::Runs];

    fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Runs => "runs",
        }
    }
}

/// All stores whose name is wanted, in both layouts.
pub(crate) fn all(wanted: impl Fn(&str) -> bool) -> Vec<Box<dyn Candidate>> {
    let mut all: Vec<Box<dyn Candidate>> = Vec::new();
    for layout in Layout::ALL {
        let stores: [(&str, Box<dyn Candidate>); 4] = [
            ("redb", Box::new(redb::Redb(layout))),
            ("fjall", Box::new(fjall::Fjall(layout))),
            ("heed", Box::new(heed::Heed { layout, write_map: false })),
            ("heed-writemap", Box::new(heed::Heed { layout, write_map: true })),
        ];
        all.extend(stores.into_iter().filter(|(name, _)| wanted(name)).map(|(_, store)| store));
    }
    all
}

/// Chain and height, so that entries are ordered by both.
type Key = [u8; 12];

fn key(chain: ChainId, height: u64) -> Key {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&chain.0.to_be_bytes());
    key[4..].copy_from_slice(&height.to_be_bytes());
    key
}

/// Bytes of a row: main height, leaf, hash, transaction root, time.
const ROW_BYTES: usize = 8 + 4 + 32 + 32 + 8;
type Row = [u8; ROW_BYTES];

/// The side blocks of a block as rows, in the order of their keys.
fn rows<E>(block: &MainBlock, mut put: impl FnMut(&Key, &Row) -> Result<(), E>) -> Result<(), E> {
    let columns = &block.columns;
    for section in &block.sections {
        for (leaf, height) in section.leaves().zip(section.first_height.0..) {
            let mut row = [0; ROW_BYTES];
            row[..8].copy_from_slice(&block.header.height.0.to_le_bytes());
            row[8..12].copy_from_slice(&(leaf as u32).to_le_bytes());
            row[12..44].copy_from_slice(columns.hashes[leaf].as_bytes());
            row[44..76].copy_from_slice(columns.tx_roots[leaf].as_bytes());
            row[76..].copy_from_slice(columns.times[leaf].as_bytes());
            put(&key(section.chain, height), &row)?;
        }
    }
    Ok(())
}

fn row_found(row: &[u8]) -> Option<Found> {
    let row: &Row = row.try_into().ok()?;
    Some(Found {
        main: u64_at(row, 0)?,
        leaf: u32_at(row, 8)?,
        hash: hash_at(row, 12)?,
        tx_root: hash_at(row, 44)?,
        time: u64_at(row, 76)?,
    })
}

/// The side blocks of a block as runs, in the order of their keys, built in `value`.
fn runs<E>(
    block: &MainBlock,
    value: &mut Vec<u8>,
    mut put: impl FnMut(&Key, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let columns = &block.columns;
    for section in &block.sections {
        let leaves = section.leaves();
        value.clear();
        value.extend_from_slice(&block.header.height.0.to_le_bytes());
        value.extend_from_slice(&section.first_leaf.to_le_bytes());
        value.extend_from_slice(columns.hashes[leaves.clone()].as_bytes());
        value.extend_from_slice(columns.tx_roots[leaves.clone()].as_bytes());
        value.extend_from_slice(columns.times[leaves].as_bytes());
        put(&key(section.chain, section.last_height().0), value)?;
    }
    Ok(())
}

/// The side block at `height` of `chain` in the run, the first one that does not end below it.
fn run_found(chain: ChainId, height: u64, run_key: &[u8], run: &[u8]) -> Option<Found> {
    let (run_chain, last) = run_key.split_first_chunk()?;
    if *run_chain != chain.0.to_be_bytes() {
        return None;
    }
    let last = u64::from_be_bytes(last.try_into().ok()?);
    let count = (run.len() - 12) / 72;
    let index = (count as u64 - 1).checked_sub(last - height)? as usize;
    Some(Found {
        main: u64_at(run, 0)?,
        leaf: u32_at(run, 8)? + index as u32,
        hash: hash_at(run, 12 + 32 * index)?,
        tx_root: hash_at(run, 12 + 32 * count + 32 * index)?,
        time: u64_at(run, 12 + 64 * count + 8 * index)?,
    })
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn hash_at(bytes: &[u8], offset: usize) -> Option<Hash> {
    Some(Hash(*bytes.get(offset..)?.first_chunk()?))
}
