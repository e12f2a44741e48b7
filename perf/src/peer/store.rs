//! redb: one transaction a main block, durable when its commit returns.
//!
//! One value for the side blocks of a chain in a main block, (chain, last height) -> (main height, rows): the first key at
//! or above (chain, height) holds the block. A row for each block is what one writes first; it is two to four times slower.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use redb::{Builder, Database, ReadableDatabase, TableDefinition};

use super::chains::{Hash, ROW_BYTES, RUN_HEAD};
use super::seal::{Header, Sealed};

type Key = [u8; 12];

const RUNS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("runs");
/// Main height -> header, then (chain, root) of each chain in it, which a proof takes.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");

/// Chain and height, so that runs are ordered by both.
fn key(chain: u32, height: u64) -> Key {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&chain.to_be_bytes());
    key[4..].copy_from_slice(&height.to_be_bytes());
    key
}

pub(super) struct Store {
    database: Database,
    path: PathBuf,
    value: Vec<u8>,
}

/// Chains, and the root of each.
type Roots = Vec<(u32, Hash)>;

/// A side block, and all that was sealed with it of its chain.
#[cfg_attr(not(test), expect(dead_code, reason = "measurements write only; the test reads all of it"))]
pub(super) struct Found {
    /// The main block that it is in.
    pub(super) main: u64,
    /// Height of the first row.
    pub(super) first: u64,
    pub(super) rows: Vec<u8>,
}

impl Store {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self> {
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        let transaction = database.begin_write()?;
        transaction.open_table(RUNS)?;
        transaction.open_table(BLOCKS)?;
        transaction.commit()?;
        Ok(Self { database, path: path.to_owned(), value: Vec::new() })
    }

    /// Durable when it returns: `Durability::Immediate` is the default, and a commit in one phase, which is the faster.
    pub(super) fn commit(&mut self, block: &mut Sealed) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RUNS)?;
            for (chain, run) in &mut block.runs {
                run.value[..RUN_HEAD].copy_from_slice(&block.header.height.to_le_bytes());
                table.insert(&key(*chain, run.last()), &run.value[..])?;
            }
            self.value.clear();
            self.value.extend_from_slice(&block.header.encode());
            for ((chain, _), root) in block.runs.iter().zip(&block.roots) {
                self.value.extend_from_slice(&chain.to_le_bytes());
                self.value.extend_from_slice(root);
            }
            transaction.open_table(BLOCKS)?.insert(block.header.height, &self.value[..])?;
        }
        Ok(transaction.commit()?)
    }

    /// The newest header, if there is one.
    pub(super) fn newest(&self) -> Result<Option<Header>> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(BLOCKS)?;
        let newest = table.range::<u64>(..)?.next_back().transpose()?;
        newest.map(|(_, value)| Header::decode(value.value())).transpose()
    }

    /// Height and hash of the last block of the chains 1 to `chains`.
    pub(super) fn heads(&self, chains: u32) -> Result<Vec<(u64, Hash)>> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(RUNS)?;
        let head = |chain: u32| {
            let newest =
                table.range::<&Key>(&key(chain, 0)..=&key(chain, u64::MAX))?.next_back().transpose()?;
            let Some((key, value)) = newest else { return Ok((0, [0; 32])) };
            let height = u64::from_be_bytes(*key.value().last_chunk().expect("12 bytes end with 8"));
            let row = value.value().last_chunk::<ROW_BYTES>().context("a run has rows")?;
            Ok((height, *row.first_chunk().expect("a row begins with a hash")))
        };
        (1..=chains).map(head).collect()
    }

    /// Where the block at `height` of `chain` is.
    #[cfg_attr(not(test), expect(dead_code, reason = "measurements write only; the test reads all of it"))]
    pub(super) fn find(&self, chain: u32, height: u64) -> Result<Option<Found>> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(RUNS)?;
        let from = key(chain, height);
        let range: (Bound<&Key>, Bound<&Key>) = (Bound::Included(&from), Bound::Unbounded);
        let Some((key, value)) = table.range::<&Key>(range)?.next().transpose()? else { return Ok(None) };
        let (run_chain, last) = key.value().split_first_chunk().expect("12 bytes begin with 4");
        let (head, rows) = value.value().split_first_chunk().context("a run has a head")?;
        let last = u64::from_be_bytes(last.try_into().expect("8 of 12 bytes are left"));
        let first = last + 1 - (rows.len() / ROW_BYTES) as u64;
        Ok((*run_chain == chain.to_be_bytes() && first <= height).then(|| Found {
            main: u64::from_le_bytes(*head),
            first,
            rows: rows.to_vec(),
        }))
    }

    /// Header of a main block, and the root of each chain in it.
    #[cfg_attr(not(test), expect(dead_code, reason = "measurements write only; the test reads all of it"))]
    pub(super) fn block(&self, height: u64) -> Result<Option<(Header, Roots)>> {
        let transaction = self.database.begin_read()?;
        let Some(value) = transaction.open_table(BLOCKS)?.get(height)? else { return Ok(None) };
        let header = Header::decode(value.value())?;
        let roots = value.value()[Header::BYTES..].chunks_exact(36).map(|entry| {
            let (chain, root) = entry.split_first_chunk().expect("36 bytes begin with 4");
            (u32::from_le_bytes(*chain), root.try_into().expect("32 of 36 bytes are left"))
        });
        Ok(Some((header, roots.collect())))
    }

    /// Bytes that the file takes on the disk.
    pub(super) fn disk_bytes(path: &Path) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(path).with_context(|| format!("{} is gone", path.display()))?.blocks() * 512)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
