//! Our own log as a candidate.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use engine::chain::{BlockView, ChainId, Hash, Height, MainBlock};
use engine::store::BlockReader;
use storage::{Log, LogReader, LogWriter, Options};

use crate::candidate::{Candidate, Kind, Reader, Writer};
use crate::feed::{Feed, Found, MAIN, SHAPES, Shape};

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

/// The same log after some time of use with pruning: all that it writes goes into files that were segments before.
pub(crate) struct RecycledLog {
    pub(crate) log: MainstemLog,
    /// How many such files there are.
    pub(crate) spares: usize,
}

impl Candidate for RecycledLog {
    fn name(&self) -> String {
        "mainstem log, recycled segments".into()
    }

    fn kind(&self) -> Kind {
        Kind::OursRecycled
    }

    fn write(&self, dir: &Path, job: &mut dyn FnMut(&mut dyn Writer) -> Result<()>) -> Result<()> {
        let options = Options { spare_segments: self.spares, ..self.log.options() };
        let (mut writer, reader, _) = Log::open(dir, options)?;
        let mut feed = Feed::new(USED, 2 * USED.leaves(), false);
        let mut until = |writer: &mut LogWriter, segments: usize| -> Result<()> {
            while reader.segments().len() < segments {
                writer.append(feed.next())?;
                writer.sync()?;
            }
            Ok(())
        };
        // The last sealed one stays, and the active one.
        until(&mut writer, self.spares + 2)?;
        let pruned = writer.prune(reader.head())?;
        ensure!(pruned.segments == self.spares as u64, "{} segments became spare ones", pruned.segments);
        // The active segment and the next one, which is made ahead, are no spare ones yet.
        until(&mut writer, 4)?;
        let head = reader.head().0;
        job(&mut Used { writer, before: (head, Feed::chain_height(USED, head)) })
    }

    fn read(&self, _dir: &Path, _job: &mut dyn FnMut(&dyn Reader) -> Result<()>) -> Result<()> {
        bail!("the first blocks of this log are pruned")
    }
}

/// What was in the files before: blocks of all chains.
const USED: Shape = SHAPES[1];

struct Used {
    writer: LogWriter,
    before: (u64, u64),
}

impl Writer for Used {
    fn before(&self) -> (u64, u64) {
        self.before
    }

    fn commit(&mut self, block: &MainBlock) -> Result<()> {
        self.writer.commit(block)
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
