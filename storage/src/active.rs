//! [`Active`]: the index of the segment that is being written, in memory until the segment is sealed with it.
//!
//! # Capacity
//! At most 16 bytes for each section and 4 for each record of one segment, so far below the segment's own size.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use engine::chain::{BlockView, ChainId, Height, Section};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::block::LogBlock;
use crate::error::Error;
use crate::files::Context;
use crate::format::{self, ChainEntry, FIRST_RECORD, Flaw, Place, Purpose, RecordHeader, RunEntry, Trailer};
use crate::map::Map;
use crate::segment;

/// The durable part of the active segment.
#[derive(Debug)]
pub(crate) struct Active {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Number of its first record.
    pub(crate) first: u64,
    /// The file; everything below `end` is published.
    pub(crate) map: Arc<Map>,
    /// Where the next record goes.
    pub(crate) end: u32,
    /// Blocks of side chains in it.
    pub(crate) leaves: u64,
    offsets: Vec<U32>,
    chains: HashMap<ChainId, Vec<RunEntry>, ChainHash>,
    /// Damaged records that others follow, each stretch with where it begins. A writer has none: it refuses such a
    /// log.
    holes: Vec<(Range<u64>, u32)>,
}

/// What [`Active::locate`] says.
pub(crate) enum Lookup {
    /// In this main block.
    Found(Height),
    /// In no segment.
    Absent,
    /// Not in this segment; maybe in one before it.
    Earlier,
}

/// A run of a section of the record `record`, counted from the segment's first.
pub(crate) fn run(section: &Section, record: u32) -> RunEntry {
    RunEntry {
        first_height: U64::new(section.first_height.0),
        count: U32::new(section.count),
        record: U32::new(record),
    }
}

impl Active {
    pub(crate) fn new(segment: u64, first: u64, map: Arc<Map>) -> Self {
        map.publish(FIRST_RECORD.into());
        Self {
            segment,
            first,
            map,
            end: FIRST_RECORD,
            leaves: 0,
            offsets: Vec::new(),
            chains: HashMap::default(),
            holes: Vec::new(),
        }
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u32 {
        self.offsets.len() as u32
    }

    /// Number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.first + u64::from(self.records())
    }

    /// The side chains with blocks in this segment.
    pub(crate) fn chains(&self) -> impl Iterator<Item = ChainId> {
        self.chains.keys().copied()
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.chains.values().map(Vec::len).sum()
    }

    /// Adds the record that starts at [`Self::end`] and is `bytes` long; its runs follow.
    pub(crate) fn push_record(&mut self, bytes: u32, leaves: u64) {
        self.offsets.push(U32::new(self.end));
        self.end += bytes;
        self.leaves += leaves;
        self.map.publish(self.end.into());
    }

    /// Leaves out the damaged records from [`Self::end`] on, up to that at `next`, which is whole.
    pub(crate) fn push_hole(&mut self, next: Place) {
        let first = self.next();
        self.holes.push((first..next.number, self.end));
        for _ in first..next.number {
            self.offsets.push(U32::new(self.end));
        }
        self.end = next.offset;
    }

    /// How many records are damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.holes.iter().map(|(hole, _)| hole.end - hole.start).sum()
    }

    /// The first damaged record, or the stretch of them in which `number` is: their numbers, and where they begin.
    pub(crate) fn hole(&self, number: Option<u64>) -> Option<(Range<u64>, u32)> {
        self.holes.iter().find(|(hole, _)| number.is_none_or(|number| hole.contains(&number))).cloned()
    }

    /// Adds a run of the newest record.
    pub(crate) fn push_run(&mut self, chain: ChainId, run: RunEntry) {
        self.chains.entry(chain).or_default().push(run);
    }

    /// Adds a checked record, with its runs; or nothing, if the file was cut meanwhile.
    pub(crate) fn push_block(&mut self, bytes: u32, block: &LogBlock) -> Result<(), Error> {
        let record = self.records();
        let sections = (0..block.section_count()).map(|index| block.section(index));
        let runs: Vec<_> = sections.map(|section| (section.chain, run(&section, record))).collect();
        block.vouch()?;
        self.push_record(bytes, block.columns().len() as u64);
        for (chain, run) in runs {
            self.push_run(chain, run);
        }
        Ok(())
    }

    /// Whether the record `number` is here: its map and offset.
    pub(crate) fn find(&self, number: u64) -> Option<(Arc<Map>, u32)> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        Some((self.map.clone(), self.offsets.get(index)?.get()))
    }

    /// The newest indexed height of a chain that has blocks here.
    pub(crate) fn chain_head(&self, chain: ChainId) -> Option<Height> {
        self.chains.get(&chain)?.last().map(|run| Height(run.last_height()))
    }

    /// The main block of this segment that indexed `height` of `chain`, or where else to look.
    pub(crate) fn locate(&self, chain: ChainId, height: Height) -> Lookup {
        let Some(runs) = self.chains.get(&chain) else { return Lookup::Earlier };
        if runs.first().is_none_or(|run| height.0 < run.first_height.get()) {
            return Lookup::Earlier;
        }
        match segment::find_run(runs, height) {
            Some(run) => Lookup::Found(Height(self.first + u64::from(run.record.get()))),
            None => Lookup::Absent,
        }
    }

    /// What seals the segment: its index, to be written at the offset in the trailer, and the trailer.
    /// `older` are the chains of all segments before this one.
    pub(crate) fn seal(
        &self,
        context: &Context,
        older: &[ChainEntry],
        generation: u64,
    ) -> (Vec<u8>, Trailer) {
        let mut newer: Vec<(ChainId, &[RunEntry])> =
            self.chains.iter().map(|(chain, runs)| (*chain, &runs[..])).collect();
        newer.sort_unstable_by_key(|(chain, _)| *chain);
        let mut chains = Vec::with_capacity(older.len() + newer.len());
        let mut runs = Vec::with_capacity(self.runs());
        let mut older = older.iter().peekable();
        for (chain, of_chain) in newer {
            while let Some(entry) = older.next_if(|entry| entry.chain.get() < chain.0) {
                chains.push(ChainEntry { runs_end: U32::new(runs.len() as u32), ..*entry });
            }
            older.next_if(|entry| entry.chain.get() == chain.0);
            runs.extend_from_slice(of_chain);
            chains.push(ChainEntry {
                chain: U32::new(chain.0),
                runs_end: U32::new(runs.len() as u32),
                head: U64::new(of_chain.last().map_or(0, RunEntry::last_height)),
            });
        }
        chains.extend(older.map(|entry| ChainEntry { runs_end: U32::new(runs.len() as u32), ..*entry }));

        let bytes = format::index_bytes(chains.len(), runs.len(), self.offsets.len());
        let mut index = Vec::with_capacity(bytes);
        index.extend_from_slice(chains.as_bytes());
        index.extend_from_slice(runs.as_bytes());
        index.extend_from_slice(self.offsets.as_bytes());
        index.resize(bytes, 0);
        let sum = |purpose, table: &[u8]| U64::new(context.key.sum(purpose, self.segment, 0, 0, table));
        let mut trailer = Trailer::default();
        trailer.segment = U64::new(self.segment);
        trailer.generation = U64::new(generation);
        trailer.first_record = U64::new(self.first);
        trailer.leaves = U64::new(self.leaves);
        trailer.records = U32::new(self.records());
        trailer.chains = U32::new(chains.len() as u32);
        trailer.runs = U32::new(runs.len() as u32);
        trailer.records_end = U32::new(self.end);
        trailer.index_offset = U32::new((context.trailer_offset() - bytes as u64) as u32);
        trailer.chains_sum = sum(Purpose::Chains, chains.as_bytes());
        trailer.runs_sum = sum(Purpose::Runs, runs.as_bytes());
        trailer.offsets_sum = sum(Purpose::Offsets, self.offsets.as_bytes());
        (index, trailer.finish(&context.key))
    }
}

/// The block whose record stands at `offset` of a map, where everything up to its end was checked before.
pub(crate) fn checked_block(map: Arc<Map>, offset: u32) -> Result<LogBlock, Flaw> {
    let header = map.get(offset as usize, RecordHeader::BYTES).ok_or(Flaw::Empty)?;
    let header = RecordHeader::read(header)?;
    LogBlock::access(map, offset as usize + RecordHeader::BYTES, header.body_bytes())
}

/// Chain ids are registered, not chosen by whoever sends blocks, so a multiplication spreads them well enough.
pub(crate) type ChainHash = BuildHasherDefault<ChainHasher>;

#[derive(Default)]
pub(crate) struct ChainHasher(u64);

impl Hasher for ChainHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }
    fn write_u32(&mut self, value: u32) {
        let mixed = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes its buckets from the low bits and its tags from the high ones.
        self.0 = mixed ^ (mixed >> 32);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
