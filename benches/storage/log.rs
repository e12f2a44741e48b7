//! Our own log as a candidate.

use std::path::Path;

use anyhow::{Context, Result};
use engine::chain::{BlockView, ChainId, Hash, Height, MainBlock};
use engine::store::BlockReader;
use storage::{Log, LogReader, LogWriter, Options};

use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::{Found, MAIN};

/// The log of the `storage` package.
pub(crate) struct MainstemLog {
    pub(crate) segment_bytes: u64,
}

impl MainstemLog {
    pub(crate) fn options(&self) -> Options {
        Options { segment_bytes: self.segment_bytes, ..Options::new(Hash([7; 32]), MAIN) }
    }
}

impl Candidate for MainstemLog {
    fn name(&self) -> String {
        "mainstem log".into()
    }

    fn kind(&self) -> Kind {
        Kind::Ours
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        let (mut writer, _, _) = Log::open(dir, self.options())?;
        job(&mut writer)
    }

    fn read(&self, dir: &Path, job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        job(&LogReader::open(dir)?)
    }

    fn reserved(&self, dir: &Path) -> Result<u64> {
        let reader = LogReader::open(dir)?;
        let segments = reader.segments();
        let active = segments.last().context("a log has a segment")?;
        let files = std::fs::read_dir(dir)?
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|ext| ext == "seg"))
            })
            .count();
        let ahead = (files - segments.len()) as u64 * self.segment_bytes;
        Ok(ahead + self.segment_bytes - active.record_bytes)
    }
}

impl Writer for LogWriter {
    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        self.append(block)?;
        Ok(self.sync()?)
    }
}

impl Reader for LogReader {
    fn find(&self, chain: ChainId, height: u64) -> Result<Option<Found>> {
        let Some(main) = self.locate(chain, Height(height))? else { return Ok(None) };
        let block = self.block(main)?.context("the index names it")?;
        let (_, section) = block.find(chain).context("the index names it for the chain")?;
        let leaf = section.first_leaf + (height - section.first_height.0) as u32;
        let columns = block.columns();
        Ok(Some(Found {
            main: main.0,
            leaf,
            hash: columns.hashes[leaf as usize],
            tx_root: columns.tx_roots[leaf as usize],
            time: columns.times[leaf as usize].as_millis(),
        }))
    }
}
