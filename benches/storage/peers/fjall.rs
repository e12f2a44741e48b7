//! fjall: a log-structured merge tree in Rust, with a write-ahead journal.
//!
//! Set up by its documentation: one batch for all changes that belong together, made durable by
//! `PersistMode::SyncData` ("use if `fdatasync` is sufficient"); a cache as large as the data if they fit into memory
//! (README, "Memory usage"); key-value separation for large values (`KvSeparationOptions`, its default threshold);
//! `expect_point_read_hits` where what is asked for is there. Without compression, since hashes have nothing to
//! compress.

use std::path::Path;

use anyhow::Result;
use engine::chain::{ChainId, MainBlock};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::{CACHE_BYTES, Layout};
use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::Found;

pub(super) struct Fjall(pub(super) Layout);

impl Fjall {
    fn open(&self, dir: &Path) -> Result<Open> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let blocks = database.keyspace("blocks", || match self.0 {
            Layout::Rows => KeyspaceCreateOptions::default().expect_point_read_hits(true),
            Layout::Runs => {
                KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()))
            }
        })?;
        let headers = database.keyspace("headers", KeyspaceCreateOptions::default)?;
        Ok(Open { layout: self.0, value: Vec::new(), headers, blocks, database })
    }
}

impl Candidate for Fjall {
    fn name(&self) -> String {
        format!("fjall 3, {}", self.0.name())
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        job(&mut self.open(dir)?)
    }

    fn read(&self, dir: &Path, job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        job(&self.open(dir)?)
    }
}

struct Open {
    layout: Layout,
    value: Vec<u8>,
    headers: Keyspace,
    blocks: Keyspace,
    database: Database,
}

impl Writer for Open {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        match self.layout {
            Layout::Rows => super::rows(block, |key, row| {
                batch.insert(&self.blocks, key, &row[..]);
                anyhow::Ok(())
            })?,
            Layout::Runs => super::runs(block, &mut self.value, |key, run| {
                batch.insert(&self.blocks, key, run);
                anyhow::Ok(())
            })?,
        }
        batch.insert(&self.headers, block.header.height.0.to_be_bytes(), &block.header.encode()[..]);
        Ok(batch.commit()?)
    }
}

impl Reader for Open {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>> {
        let key = super::key(chain, height);
        match self.layout {
            Layout::Rows => Ok(self.blocks.get(key)?.and_then(|row| super::row_found(&row))),
            Layout::Runs => {
                let Some(run) = self.blocks.range(key..=super::key(chain, u64::MAX)).next() else {
                    return Ok(None);
                };
                let (run_key, run) = run.into_inner()?;
                Ok(super::run_found(chain, height, &run_key, &run))
            }
        }
    }
}
