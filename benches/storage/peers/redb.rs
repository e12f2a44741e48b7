//! redb: copy-on-write B+ trees in one file, in safe Rust.
//!
//! Set up by its documentation (`redb::Builder`, `redb::WriteTransaction`): one write transaction for all changes that
//! belong together, the default durability (`Immediate`: durable when `commit` returns) and one-phase commits (the
//! default and the faster one; its checksums find a torn commit). Keys and rows have fixed-width types, which it
//! stores without lengths. Keys come in order.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use engine::chain::{ChainId, MainBlock};
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use super::{CACHE_BYTES, Key, Layout, Row};
use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::Found;

const ROWS: TableDefinition<'_, &Key, &Row> = TableDefinition::new("rows");
const RUNS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("runs");
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");

pub(super) struct Redb(pub(super) Layout);

impl Redb {
    fn open(dir: &Path) -> Result<Database> {
        Ok(Builder::new().set_cache_size(CACHE_BYTES).create(dir.join("redb"))?)
    }
}

impl Candidate for Redb {
    fn name(&self) -> String {
        format!("redb 4, {}", self.0.name())
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        job(&mut RedbWriter { database: Self::open(dir)?, layout: self.0, value: Vec::new() })
    }

    fn read(&self, dir: &Path, job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        let database = Self::open(dir)?;
        // One transaction for all look-ups: beginning one is no part of them.
        let transaction = database.begin_read()?;
        match self.0 {
            Layout::Rows => job(&Rows(transaction.open_table(ROWS)?)),
            Layout::Runs => job(&Runs(transaction.open_table(RUNS)?)),
        }
    }
}

struct RedbWriter {
    database: Database,
    layout: Layout,
    value: Vec<u8>,
}

impl Writer for RedbWriter {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        let transaction = self.database.begin_write()?;
        match self.layout {
            Layout::Rows => {
                let mut table = transaction.open_table(ROWS)?;
                super::rows(block, |key, row| table.insert(key, row).map(drop))?;
            }
            Layout::Runs => {
                let mut table = transaction.open_table(RUNS)?;
                super::runs(block, &mut self.value, |key, run| table.insert(key, run).map(drop))?;
            }
        }
        transaction.open_table(HEADERS)?.insert(block.header.height.0, &block.header.encode()[..])?;
        Ok(transaction.commit()?)
    }
}

struct Rows(ReadOnlyTable<&'static Key, &'static Row>);

impl Reader for Rows {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>> {
        let row = self.0.get(&super::key(chain, height))?;
        Ok(row.and_then(|row| super::row_found(row.value())))
    }
}

struct Runs(ReadOnlyTable<&'static Key, &'static [u8]>);

impl Reader for Runs {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>> {
        let from = super::key(chain, height);
        let range: (Bound<&Key>, Bound<&Key>) = (Bound::Included(&from), Bound::Unbounded);
        let Some(run) = self.0.range::<&Key>(range)?.next().transpose()? else { return Ok(None) };
        Ok(super::run_found(chain, height, run.0.value(), run.1.value()))
    }
}
