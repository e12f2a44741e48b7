//! heed: LMDB, copy-on-write B+ trees in one memory map.
//!
//! Set up by LMDB's documentation (`lmdb.h`): one write transaction for all changes that belong together, with the
//! default flags, by which `mdb_txn_commit` returns when everything is on disk (`MDB_NOSYNC`, `MDB_NOMETASYNC`,
//! `MDB_MAPASYNC` give that up). Values are written in place (`MDB_RESERVE`). The map is made large enough once
//! ("mdb_env_set_mapsize"). With `MDB_WRITEMAP`, which is "faster and uses fewer mallocs, but loses protection from
//! application bugs", it is a store of its own, `heed-writemap`, measured only when it is asked for.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use engine::chain::{ChainId, MainBlock};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

use super::Layout;
use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::Found;

/// Address space, not disk: pages are allocated as they are used.
const MAP_BYTES: usize = 64 << 30;

type Table<'e> = Database<'e, Bytes, Bytes>;

pub(super) struct Heed {
    pub(super) layout: Layout,
    /// Whether it writes through its map: `MDB_WRITEMAP`.
    pub(super) write_map: bool,
}

impl Heed {
    #[allow(unsafe_code, reason = "heed has no safe way to open an environment")]
    fn open(&self, dir: &Path) -> Result<Env<WithTls>> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(2);
        if self.write_map {
            // SAFETY: this flag takes nothing from durability or locking; nothing here writes through stray pointers.
            unsafe { options.flags(EnvFlags::WRITE_MAP) };
        }
        // SAFETY: the map must not change but through LMDB: this directory was made by this process, for this
        // store alone, on a local file system; no flag turns LMDB's own locking off.
        Ok(unsafe { options.open(dir) }?)
    }
}

impl Candidate for Heed {
    fn name(&self) -> String {
        let mode = if self.write_map { ", writemap" } else { "" };
        format!("LMDB (heed 0.23{mode}), {}", self.layout.name())
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let env = self.open(dir)?;
        let created = env.create_databases_and_commit(env.write_txn()?, |tables, transaction| {
            let blocks = tables.create_database::<Bytes, Bytes>(transaction, Some("blocks"))?;
            let headers = tables.create_database::<Bytes, Bytes>(transaction, Some("headers"))?;
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit((blocks, headers)))
        })?;
        let CommitOrAbort::Commit((blocks, headers)) = created else { bail!("the tables were not made") };
        job(&mut HeedWriter { env: &env, blocks, headers, layout: self.layout, value: Vec::new() })?;
        close(env);
        Ok(())
    }

    fn read(&self, dir: &Path, job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        let env = self.open(dir)?;
        let opened = env.open_databases_and_commit(env.read_txn()?, |tables, transaction| {
            let blocks = tables.open_database::<Bytes, Bytes>(transaction, Some("blocks"))?;
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(blocks))
        })?;
        let CommitOrAbort::Commit(blocks) = opened else { bail!("the table was not opened") };
        let blocks = blocks.context("the table is there")?;
        // One transaction for all look-ups: beginning one is no part of them.
        job(&HeedReader { transaction: env.read_txn()?, blocks, layout: self.layout })?;
        close(env);
        Ok(())
    }
}

/// Waits until the map is gone: only then the page cache lets go of the file.
fn close(env: Env<WithTls>) {
    env.prepare_for_closing().wait();
}

struct HeedWriter<'e> {
    env: &'e Env<WithTls>,
    blocks: Table<'e>,
    headers: Table<'e>,
    layout: Layout,
    value: Vec<u8>,
}

impl Writer for HeedWriter<'_> {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        let mut put = |key: &super::Key, value: &[u8]| {
            self.blocks.put_reserved(&mut transaction, key, value.len(), |space| space.write_all(value))
        };
        match self.layout {
            Layout::Rows => super::rows(block, |key, row| put(key, row))?,
            Layout::Runs => super::runs(block, &mut self.value, put)?,
        }
        let height = block.header.height.0.to_be_bytes();
        self.headers.put(&mut transaction, &height, &block.header.encode())?;
        Ok(transaction.commit()?)
    }
}

struct HeedReader<'e> {
    transaction: RoTxn<'e, WithTls>,
    blocks: Table<'e>,
    layout: Layout,
}

impl Reader for HeedReader<'_> {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>> {
        let key = super::key(chain, height);
        match self.layout {
            Layout::Rows => Ok(self.blocks.get(&self.transaction, &key)?.and_then(super::row_found)),
            Layout::Runs => {
                let run = self.blocks.get_greater_than_or_equal_to(&self.transaction, &key)?;
                Ok(run.and_then(|(run_key, run)| super::run_found(chain, height, run_key, run)))
            }
        }
    }
}
