//! [`Scan`]: walks the records of a segment that is not sealed, and decides where they end. `docs/format.md`
//! gives the rules; the writer's recovery and the readers of other processes share them here.

use std::sync::Arc;

use engine::chain::ChainId;

use crate::block::LogBlock;
use crate::files::Context;
use crate::format::{self, FIRST_RECORD, Flaw, Mark, Place, RecordHeader};
use crate::map::Map;

/// Where a scan stands: before the record `number`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) number: u64,
    /// The generation of the record before: generations never fall.
    pub(crate) generation: u64,
    /// The newest record that is known to be durable: some later one said so.
    pub(crate) synced: u64,
}

impl Scan {
    /// At the first record of a segment, which has the number `number`.
    pub(crate) fn new(segment: u64, number: u64, generation: u64) -> Self {
        Self { segment, offset: FIRST_RECORD, number, generation, synced: 0 }
    }

    /// Bytes left for a record.
    pub(crate) fn room(&self, context: &Context) -> usize {
        (context.trailer_offset() as usize).saturating_sub(self.offset as usize)
    }

    /// Whether `bytes` begin with the header of the next record.
    pub(crate) fn judge_header(
        &self,
        context: &Context,
        mark: &Mark,
        bytes: &[u8],
    ) -> Result<RecordHeader, Flaw> {
        let header = RecordHeader::judge(bytes, &context.key, self.place(), self.room(context))?;
        let fits = mark.allows(self.number, header.generation()) && header.generation() >= self.generation;
        if !fits && !planted!("stale_record") {
            return Err(Flaw::Generation { found: header.generation(), newest: mark.generation });
        }
        format::at_most("synced", header.synced(), self.number - 1)?;
        Ok(header)
    }

    /// Whether `record` is what was written here, with this header.
    pub(crate) fn judge_record(
        &self,
        context: &Context,
        header: &RecordHeader,
        record: &[u8],
    ) -> Result<(), Flaw> {
        header.judge_record(&context.key, self.place(), record)
    }

    fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset, number: self.number }
    }

    /// Goes behind the record.
    pub(crate) fn step(&mut self, header: &RecordHeader) {
        self.offset += header.record_bytes() as u32;
        self.number += 1;
        self.generation = header.generation();
        self.synced = self.synced.max(header.synced());
    }
}

/// The block in a record whose checksum is right. A flaw here is no torn write: someone wrote nonsense.
pub(crate) fn judge_body(
    map: &Arc<Map>,
    scan: &Scan,
    header: &RecordHeader,
    main_chain: ChainId,
) -> Result<LogBlock, Flaw> {
    let body = scan.offset as usize + RecordHeader::BYTES;
    let block = LogBlock::access(map.clone(), body, header.body_bytes())?;
    format::judge_block(&block, scan.number, main_chain)?;
    Ok(block)
}
