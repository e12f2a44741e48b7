//! The bytes on disk, as `docs/format.md` describes them: read that first. This file is its only other copy, and
//! holds the only rkyv derives.

use std::mem::{offset_of, size_of};

use engine::chain::{BlockView, ChainId, Hash, Height, MainHeader, Section};
use engine::merkle::history::History;
use engine::store::{Base, ChainHead};
use rkyv::Archive;
use rkyv::rancor::Failure;
use rkyv::with::InlineAsBox;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of all files of a log.
pub(crate) const VERSION: u32 = 1;
/// Smallest size of a segment, in bytes.
pub const MIN_SEGMENT_BYTES: u64 = 1 << 16;
/// Largest size of a segment, in bytes: offsets fit a `u32` and rkyv's relative pointers an `i32`.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// Records start at multiples of this, and so do their bodies.
pub(crate) const ALIGN: usize = 64;
/// The segment header has a page to itself, so that no write of a record can tear it.
pub(crate) const FIRST_RECORD: u32 = 4096;
/// Kind of a record that holds a main block.
pub(crate) const KIND_BLOCK: u8 = 1;
/// Version of a main block's body.
pub(crate) const BLOCK_VERSION: u8 = 1;

const LOG_MAGIC: [u8; 8] = *b"MAINSLOG";
const MARK_MAGIC: [u8; 8] = *b"MAINMARK";
const BASE_MAGIC: [u8; 8] = *b"MAINBASE";
const SEGMENT_MAGIC: [u8; 8] = *b"MAINSEGM";
const TRAILER_MAGIC: [u8; 8] = *b"MAINSEAL";
/// The first bytes of a record after its checksum.
const RECORD_MAGIC: [u8; 4] = *b"mREC";

/// `n` rounded up to the next multiple of [`ALIGN`].
pub(crate) const fn aligned(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

/// What a checksum protects; part of its seed, so that bytes of one kind never pass for another.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Record = 1,
    SegmentHeader = 2,
    Chains = 3,
    Runs = 4,
    Offsets = 5,
    Trailer = 6,
    Mark = 7,
    RecordHeader = 8,
    Base = 9,
    Operations = 10,
}

/// The random key of a log. It keeps bytes that a side chain chose from ever passing for a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    /// The checksum of `bytes` at their place.
    pub(crate) fn sum(&self, purpose: Purpose, segment: u64, offset: u32, number: u64, bytes: &[u8]) -> u64 {
        let mut place = [0; 64];
        place[..32].copy_from_slice(&self.0);
        for (slot, value) in
            place[32..].chunks_exact_mut(8).zip([purpose as u64, segment, offset.into(), number])
        {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        xxh3_64_with_seed(bytes, xxh3_64(&place))
    }
}

/// The file `LOG`: what the log is. Written once.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct LogFile {
    /// Unkeyed: this file holds the key.
    sum: U64,
    magic: [u8; 8],
    version: U32,
    main_chain: U32,
    segment_bytes: U64,
    genesis_hash: [u8; 32],
    key: [u8; 32],
    flags: U32,
    reserved: [u8; 156],
}
const _: () = assert!(size_of::<LogFile>() == 256);

/// Flag of a log whose durable blocks may be taken back while they are above the irreversible one.
const REVERSIBLE: u32 = 1;

impl LogFile {
    pub(crate) fn new(
        main_chain: ChainId,
        genesis_hash: Hash,
        segment_bytes: u64,
        reversible: bool,
        key: Key,
    ) -> Self {
        let mut file = Self {
            sum: U64::ZERO,
            magic: LOG_MAGIC,
            version: U32::new(VERSION),
            main_chain: U32::new(main_chain.0),
            segment_bytes: U64::new(segment_bytes),
            genesis_hash: genesis_hash.0,
            key: key.0,
            flags: U32::new(if reversible { REVERSIBLE } else { 0 }),
            reserved: [0; 156],
        };
        file.sum = U64::new(xxh3_64(&file.as_bytes()[8..]));
        file
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Flaw> {
        let file = Self::read_from_bytes(bytes).map_err(|_| Flaw::length(bytes.len(), size_of::<Self>()))?;
        judge_file(file.magic == LOG_MAGIC, file.version, || file.sum.get() == xxh3_64(&bytes[8..]))?;
        let size = file.segment_bytes.get();
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&size) || !size.is_multiple_of(4096) {
            return Err(Flaw::Field { field: "segment_bytes", found: size, expected: MAX_SEGMENT_BYTES });
        }
        at_most("flags", file.flags.get().into(), REVERSIBLE.into())?;
        Ok(file)
    }

    pub(crate) fn reversible(&self) -> bool {
        self.flags.get() & REVERSIBLE != 0
    }

    pub(crate) fn main_chain(&self) -> ChainId {
        ChainId(self.main_chain.get())
    }
    pub(crate) fn genesis_hash(&self) -> Hash {
        Hash(self.genesis_hash)
    }
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.get()
    }
    pub(crate) fn key(&self) -> Key {
        Key(self.key)
    }
}

/// The file `MARK`: which session may write which records. Replaced when a writer opens or closes the log.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MarkFile {
    sum: U64,
    magic: [u8; 8],
    version: U32,
    flags: U32,
    generation: U64,
    first_record: U64,
    reserved: [u8; 16],
    durable: U64,
    irreversible: U64,
    reserved_tail: [u8; 56],
}
const _: () = assert!(size_of::<MarkFile>() == 128);

/// Flag of a mark under which records from `first_record` on are being dropped.
const DROPPING: u32 = 1;

/// What the file `MARK` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// Number of the newest writing session; the first is 1.
    pub(crate) generation: u64,
    /// The first record of that session; all before it were durable when it began.
    pub(crate) first_record: u64,
    /// The newest record that was durable when the mark was written.
    pub(crate) durable: u64,
    /// The newest record that can no longer be taken back, of a log that is reversible.
    pub(crate) irreversible: u64,
    /// Records from `first_record` on that older sessions wrote are to be dropped, which may be half done.
    pub(crate) dropping: bool,
}

impl Mark {
    /// Before any session.
    pub(crate) const NEW: Self =
        Self { generation: 0, first_record: 1, durable: 0, irreversible: 0, dropping: false };

    pub(crate) fn encode(&self, key: &Key) -> Vec<u8> {
        let mut file = MarkFile {
            sum: U64::ZERO,
            magic: MARK_MAGIC,
            version: U32::new(VERSION),
            flags: U32::new(if self.dropping { DROPPING } else { 0 }),
            generation: U64::new(self.generation),
            first_record: U64::new(self.first_record),
            reserved: [0; 16],
            durable: U64::new(self.durable),
            irreversible: U64::new(self.irreversible),
            reserved_tail: [0; 56],
        };
        file.sum = U64::new(key.sum(Purpose::Mark, 0, 0, 0, &file.as_bytes()[8..]));
        file.as_bytes().to_vec()
    }

    pub(crate) fn decode(bytes: &[u8], key: &Key) -> Result<Self, Flaw> {
        let file =
            MarkFile::read_from_bytes(bytes).map_err(|_| Flaw::length(bytes.len(), size_of::<MarkFile>()))?;
        let sum = || file.sum.get() == key.sum(Purpose::Mark, 0, 0, 0, &bytes[8..]);
        judge_file(file.magic == MARK_MAGIC, file.version, sum)?;
        let mark = Self {
            generation: file.generation.get(),
            first_record: file.first_record.get(),
            durable: file.durable.get(),
            irreversible: file.irreversible.get(),
            dropping: file.flags.get() & DROPPING != 0,
        };
        at_most("flags", file.flags.get().into(), DROPPING.into())?;
        at_most("generation", mark.generation, u64::MAX >> 1)?;
        at_least("first_record", mark.first_record, 1)?;
        at_most("first_record", mark.first_record, Height::MAX.0)?;
        at_most("durable", mark.durable, Height::MAX.0)?;
        at_most("irreversible", mark.irreversible, mark.certain())?;
        Ok(mark)
    }

    /// Whether a record may carry this generation.
    pub(crate) fn allows(&self, number: u64, generation: u64) -> bool {
        if number < self.first_record { generation < self.generation } else { generation == self.generation }
    }

    /// The newest record that was durable for certain: if it is not there, it was lost and not torn.
    pub(crate) fn certain(&self) -> u64 {
        self.durable.max(self.first_record - 1)
    }
}

/// The first bytes of the file `BASE`: where a pruned log begins. Peaks and chains follow, by their counts.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BaseFile {
    sum: U64,
    magic: [u8; 8],
    version: U32,
    chains: U32,
    segment: U64,
    first: U64,
    reserved: [u8; 24],
}
const _: () = assert!(size_of::<BaseFile>() == 64);

/// A side chain as the file `BASE` keeps it.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BaseChain {
    chain: U32,
    reserved: U32,
    height: U64,
    hash: Hash,
}
const _: () = assert!(size_of::<BaseChain>() == 48);

/// The file `BASE`: the lowest segment of a pruned log, and what is kept of the blocks before it: the peaks of
/// their history tree, largest first, and the newest block of each side chain.
pub(crate) fn encode_base(key: &Key, segment: u64, base: &Base) -> Vec<u8> {
    let head = BaseFile {
        sum: U64::ZERO,
        magic: BASE_MAGIC,
        version: U32::new(VERSION),
        chains: U32::new(base.heads.len() as u32),
        segment: U64::new(segment),
        first: U64::new(base.first.0),
        reserved: [0; 24],
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(base.history.peaks().as_bytes());
    for head in &base.heads {
        let chain = BaseChain {
            chain: U32::new(head.chain.0),
            reserved: U32::ZERO,
            height: U64::new(head.height.0),
            hash: head.hash,
        };
        bytes.extend_from_slice(chain.as_bytes());
    }
    let sum = key.sum(Purpose::Base, 0, 0, 0, &bytes[8..]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What the file `BASE` says: the number of the lowest segment, and what is kept of the blocks before it.
pub(crate) fn decode_base(bytes: &[u8], key: &Key) -> Result<(u64, Base), Flaw> {
    let least = size_of::<BaseFile>();
    let (file, rest) = BaseFile::read_from_prefix(bytes).map_err(|_| Flaw::length(bytes.len(), least))?;
    let sum = || file.sum.get() == key.sum(Purpose::Base, 0, 0, 0, &bytes[8..]);
    judge_file(file.magic == BASE_MAGIC, file.version, sum)?;
    let (segment, first) = (file.segment.get(), file.first.get());
    at_least("segment", segment, 2)?;
    at_least("first record", first, 2)?;
    at_most("first record", first, Height::MAX.0)?;
    let peaks = (first - 1).count_ones() as usize;
    let chains = file.chains.get() as usize;
    let expected = least + peaks * size_of::<Hash>() + chains * size_of::<BaseChain>();
    exactly("length", bytes.len() as u64, expected as u64)?;
    let (peaks, chains) = rest.split_at(peaks * size_of::<Hash>());
    let peaks = <[Hash]>::ref_from_bytes(peaks).expect("unaligned, and a whole number of elements");
    let chains = <[BaseChain]>::ref_from_bytes(chains).expect("unaligned, and a whole number of elements");
    let mut next = 0;
    for entry in chains {
        at_least("chain", entry.chain.get().into(), next)?;
        at_least("height", entry.height.get(), 1)?;
        at_most("height", entry.height.get(), Height::MAX.0)?;
        next = u64::from(entry.chain.get()) + 1;
    }
    let heads = chains.iter().map(|entry| ChainHead {
        chain: ChainId(entry.chain.get()),
        height: Height(entry.height.get()),
        hash: entry.hash,
    });
    let history = History::from_peaks(first - 1, peaks.to_vec()).expect("as many peaks as that size has");
    Ok((segment, Base { first: Height(first), history, heads: heads.collect() }))
}

/// The first page of a segment.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SegmentHeader {
    sum: U64,
    magic: [u8; 8],
    version: U32,
    flags: U32,
    segment: U64,
    segment_bytes: U64,
    zeros: [u8; 4056],
}
const _: () = assert!(size_of::<SegmentHeader>() == FIRST_RECORD as usize);

/// Flag of a segment whose file held another one before: what lies behind its records is no torn write.
const RECYCLED: u32 = 1;

impl SegmentHeader {
    pub(crate) fn encode(key: &Key, segment: u64, segment_bytes: u64, recycled: bool) -> Vec<u8> {
        let mut header = Self {
            sum: U64::ZERO,
            magic: SEGMENT_MAGIC,
            version: U32::new(VERSION),
            flags: U32::new(if recycled { RECYCLED } else { 0 }),
            segment: U64::new(segment),
            segment_bytes: U64::new(segment_bytes),
            zeros: [0; 4056],
        };
        header.sum = U64::new(key.sum(Purpose::SegmentHeader, segment, 0, 0, &header.as_bytes()[8..]));
        header.as_bytes().to_vec()
    }

    /// Whether these are the first bytes of that segment; and if so, whether its file held another one before.
    pub(crate) fn judge(bytes: &[u8], key: &Key, segment: u64, segment_bytes: u64) -> Result<bool, Flaw> {
        let header = Self::ref_from_bytes(bytes).map_err(|_| Flaw::length(bytes.len(), size_of::<Self>()))?;
        let sum = || header.sum.get() == key.sum(Purpose::SegmentHeader, segment, 0, 0, &bytes[8..]);
        if header.magic != SEGMENT_MAGIC {
            return Err(Flaw::Magic);
        }
        // Before the version, other than in `LOG`, which could be read and so gives the key: what nobody wrote is no other
        // version, and can be written again.
        if !sum() {
            return Err(Flaw::Checksum);
        }
        exactly("version", header.version.get().into(), VERSION.into())?;
        exactly("segment", header.segment.get(), segment)?;
        exactly("segment_bytes", header.segment_bytes.get(), segment_bytes)?;
        at_most("flags", header.flags.get().into(), RECYCLED.into())?;
        Ok(header.flags.get() & RECYCLED != 0)
    }
}

/// What stands before the body of a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RecordHeader {
    sum: U64,
    magic: [u8; 4],
    kind: u8,
    version: u8,
    reserved: U16,
    body_bytes: U32,
    reserved_2: U32,
    number: U64,
    generation: U64,
    synced: U64,
    /// Of the fields above but the first: a length that nobody wrote is not followed.
    header_sum: U64,
    reserved_tail: [u8; 8],
}
const _: () = assert!(size_of::<RecordHeader>() == ALIGN);
const _: () = assert!(offset_of!(RecordHeader, header_sum) == RecordHeader::SUMMED.end);

/// Where a record stands, as its reader knows it from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) number: u64,
}

impl RecordHeader {
    /// Bytes of a header.
    pub(crate) const BYTES: usize = ALIGN;
    /// The part of a header that its own checksum covers.
    const SUMMED: std::ops::Range<usize> = 8..48;

    pub(crate) fn block(body_bytes: usize, number: u64, generation: u64, synced: u64) -> Self {
        Self {
            sum: U64::ZERO,
            magic: RECORD_MAGIC,
            kind: KIND_BLOCK,
            version: BLOCK_VERSION,
            reserved: U16::ZERO,
            body_bytes: U32::new(body_bytes as u32),
            reserved_2: U32::ZERO,
            number: U64::new(number),
            generation: U64::new(generation),
            synced: U64::new(synced),
            header_sum: U64::ZERO,
            reserved_tail: [0; 8],
        }
    }

    /// Writes this header and its checksums into the start of `record`, whose body and padding are in place.
    pub(crate) fn finish(mut self, key: &Key, segment: u64, offset: u32, record: &mut [u8]) {
        let summed = &self.as_bytes()[Self::SUMMED];
        self.header_sum =
            U64::new(key.sum(Purpose::RecordHeader, segment, offset, self.number.get(), summed));
        record[..Self::BYTES].copy_from_slice(self.as_bytes());
        let sum = key.sum(Purpose::Record, segment, offset, self.number.get(), &record[8..]);
        record[..8].copy_from_slice(&sum.to_le_bytes());
    }

    /// The header at the start of `bytes`, if it is one that was written at `place`, with `room` bytes left for the
    /// whole record. Says nothing about the body: [`Self::judge_record`] does.
    pub(crate) fn judge(bytes: &[u8], key: &Key, place: Place, room: usize) -> Result<Self, Flaw> {
        let header = Self::read(bytes)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(Flaw::Empty);
        }
        if header.magic != RECORD_MAGIC {
            return Err(Flaw::Magic);
        }
        let summed = &header.as_bytes()[Self::SUMMED];
        let sum = key.sum(Purpose::RecordHeader, place.segment, place.offset, place.number, summed);
        if header.header_sum.get() != sum {
            return Err(Flaw::Checksum);
        }
        exactly("kind", header.kind.into(), KIND_BLOCK.into())?;
        exactly("version", header.version.into(), BLOCK_VERSION.into())?;
        exactly("number", header.number.get(), place.number)?;
        at_most("record bytes", header.record_bytes() as u64, room as u64)?;
        Ok(header)
    }

    /// The header at the start of `bytes`, of a record that was judged before.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Flaw> {
        let (header, _) =
            Self::read_from_prefix(bytes).map_err(|_| Flaw::length(bytes.len(), Self::BYTES))?;
        Ok(header)
    }

    /// Whether `record`, of [`Self::record_bytes`], is what was written at `place`.
    pub(crate) fn judge_record(&self, key: &Key, place: Place, record: &[u8]) -> Result<(), Flaw> {
        exactly("record bytes", record.len() as u64, self.record_bytes() as u64)?;
        let sum = key.sum(Purpose::Record, place.segment, place.offset, place.number, &record[8..]);
        if self.sum.get() != sum && !planted!("tail_not_checked") {
            return Err(Flaw::Checksum);
        }
        Ok(())
    }

    /// Bytes of the whole record: header, body, padding.
    pub(crate) fn record_bytes(&self) -> usize {
        Self::BYTES + aligned(self.body_bytes.get() as usize)
    }
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes.get() as usize
    }
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }
    /// The newest record that its writer knew to be durable when it wrote this one.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.get()
    }
}

/// The end of a sealed segment: what it holds and where its index is.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Trailer {
    sum: U64,
    magic: [u8; 8],
    version: U32,
    reserved: U32,
    pub(crate) segment: U64,
    pub(crate) generation: U64,
    pub(crate) first_record: U64,
    pub(crate) leaves: U64,
    pub(crate) records: U32,
    pub(crate) chains: U32,
    pub(crate) runs: U32,
    pub(crate) records_end: U32,
    pub(crate) index_offset: U32,
    reserved_2: U32,
    pub(crate) chains_sum: U64,
    pub(crate) runs_sum: U64,
    pub(crate) offsets_sum: U64,
    reserved_tail: [u8; 24],
}
const _: () = assert!(size_of::<Trailer>() == Trailer::BYTES);

impl Trailer {
    pub(crate) const BYTES: usize = 128;

    pub(crate) fn finish(mut self, key: &Key) -> Self {
        self.magic = TRAILER_MAGIC;
        self.version = U32::new(VERSION);
        self.sum = U64::new(key.sum(Purpose::Trailer, self.segment.get(), 0, 0, &self.as_bytes()[8..]));
        self
    }

    /// The trailer in `bytes`; [`Flaw::Empty`] when the segment was never sealed.
    pub(crate) fn judge(bytes: &[u8], key: &Key, segment: u64, segment_bytes: u64) -> Result<Self, Flaw> {
        let trailer =
            Self::read_from_bytes(bytes).map_err(|_| Flaw::length(bytes.len(), size_of::<Self>()))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Flaw::Empty);
        }
        let sum = || trailer.sum.get() == key.sum(Purpose::Trailer, segment, 0, 0, &bytes[8..]);
        judge_file(trailer.magic == TRAILER_MAGIC, trailer.version, sum)?;
        exactly("segment", trailer.segment.get(), segment)?;
        let index = u64::from(trailer.index_offset.get());
        let tables = index_bytes(
            trailer.chains.get() as usize,
            trailer.runs.get() as usize,
            trailer.records.get() as usize,
        ) as u64;
        exactly("index_offset", index, (segment_bytes - Self::BYTES as u64).saturating_sub(tables))?;
        let end = u64::from(trailer.records_end.get());
        at_most("records_end", end, index)?;
        if end < FIRST_RECORD.into() {
            return Err(Flaw::Field { field: "records_end", found: end, expected: FIRST_RECORD.into() });
        }
        at_most("first_record", trailer.first_record.get(), Height::MAX.0 - u64::from(u32::MAX))?;
        if trailer.records.get() == 0 {
            return Err(Flaw::Field { field: "records", found: 0, expected: 1 });
        }
        Ok(trailer)
    }

    /// The first bytes, as they stand on disk.
    pub(crate) fn sum(&self) -> [u8; 8] {
        self.sum.to_bytes()
    }

    /// Number of the last record.
    pub(crate) fn last_record(&self) -> u64 {
        self.first_record.get() + u64::from(self.records.get()) - 1
    }
}

/// Bytes of the three index tables together, padding included.
pub(crate) const fn index_bytes(chains: usize, runs: usize, records: usize) -> usize {
    aligned(chains * size_of::<ChainEntry>() + runs * size_of::<RunEntry>() + records * size_of::<U32>())
}

/// A side chain that has blocks in this segment or an earlier one.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct ChainEntry {
    pub(crate) chain: U32,
    /// Where its runs end in the table of runs; they start where those of the chain before it end.
    pub(crate) runs_end: U32,
    /// Its newest indexed height at the end of this segment.
    pub(crate) head: U64,
}
const _: () = assert!(size_of::<ChainEntry>() == 16);

impl From<&ChainHead> for ChainEntry {
    fn from(head: &ChainHead) -> Self {
        Self { chain: U32::new(head.chain.0), runs_end: U32::ZERO, head: U64::new(head.height.0) }
    }
}

/// Consecutive blocks of one side chain in one main block.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct RunEntry {
    pub(crate) first_height: U64,
    pub(crate) count: U32,
    /// The record, counted from the segment's first, which is 0.
    pub(crate) record: U32,
}
const _: () = assert!(size_of::<RunEntry>() == 16);

impl RunEntry {
    pub(crate) fn last_height(&self) -> u64 {
        // Zeros where the file was cut meanwhile: no panic.
        self.first_height.get().saturating_add(u64::from(self.count.get()).saturating_sub(1))
    }
}

/// A [`Section`] as it lies in a body.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SectionRecord {
    chain: U32,
    count: U32,
    first_height: U64,
    first_leaf: U32,
    first_node: U32,
    parent: Hash,
    chain_root: Hash,
}
const SECTION_BYTES: usize = 88;
const _: () = assert!(size_of::<SectionRecord>() == SECTION_BYTES);

impl From<&Section> for SectionRecord {
    fn from(section: &Section) -> Self {
        Self {
            chain: U32::new(section.chain.0),
            count: U32::new(section.count),
            first_height: U64::new(section.first_height.0),
            first_leaf: U32::new(section.first_leaf),
            first_node: U32::new(section.first_node),
            parent: section.parent,
            chain_root: section.chain_root,
        }
    }
}

impl From<&SectionRecord> for Section {
    fn from(record: &SectionRecord) -> Self {
        Self {
            chain: ChainId(record.chain.get()),
            count: record.count.get(),
            first_height: Height(record.first_height.get()),
            parent: record.parent,
            chain_root: record.chain_root,
            first_leaf: record.first_leaf.get(),
            first_node: record.first_node.get(),
        }
    }
}

/// A main block as rkyv archives it: byte arrays and slices of them, nothing else.
///
/// The columns come first, in multiples of 32 bytes, so that they keep the alignment of the record.
#[derive(Archive, rkyv::Serialize)]
#[rkyv(archived = ArchivedBody)]
pub(crate) struct Body<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(crate) hashes: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) tx_roots: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) chain_nodes: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) side_nodes: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) history_nodes: &'a [[u8; 32]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) times: &'a [[u8; 8]],
    #[rkyv(with = InlineAsBox)]
    pub(crate) sections: &'a [[u8; SECTION_BYTES]],
    pub(crate) hash: [u8; 32],
    pub(crate) header: [u8; MainHeader::BYTES],
    pub(crate) reserved: [u8; 2],
}
const _: () = assert!(size_of::<ArchivedBody<'_>>() == 316);
const _: () = assert!(offset_of!(ArchivedBody<'_>, sections) == 48);
const _: () = assert!(offset_of!(ArchivedBody<'_>, hash) == 56);
const _: () = assert!(offset_of!(ArchivedBody<'_>, header) == 88);

impl ArchivedBody<'_> {
    /// Where the archive lies, checked: every slice is inside `body`.
    pub(crate) fn access(body: &[u8]) -> Result<&Self, Flaw> {
        rkyv::api::low::access::<ArchivedBody<'_>, Failure>(body).map_err(|Failure| Flaw::Archive)
    }
}

/// Bytes of a body whose slices have these lengths, at most.
pub(crate) fn body_bytes(leaves: usize, nodes: usize, sections: usize) -> usize {
    leaves * 72 + nodes * 32 + sections * SECTION_BYTES + size_of::<ArchivedBody<'_>>() + 8
}

/// What is wrong with bytes that should be a part of the log, or with a block that should become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// Nothing was ever written there.
    #[error("nothing there")]
    Empty,
    /// Not the bytes that all such parts begin with.
    #[error("wrong magic")]
    Magic,
    /// The checksum is another: the bytes are damaged, or belong elsewhere.
    #[error("wrong checksum")]
    Checksum,
    /// rkyv refuses the archive although the checksum is right.
    #[error("not an archive of a main block")]
    Archive,
    /// Written by a session that may not have written there: left over from before a crash.
    #[error("generation {found} does not belong here: the newest session is {newest}")]
    Generation {
        /// The generation in the record.
        found: u64,
        /// That of the newest writing session.
        newest: u64,
    },
    /// A value is not what it must be.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Which value.
        field: &'static str,
        /// What it is.
        found: u64,
        /// What it must be, or the bound that it breaks.
        expected: u64,
    },
}

impl Flaw {
    pub(crate) fn length(found: usize, expected: usize) -> Self {
        Self::Field { field: "length", found: found as u64, expected: expected as u64 }
    }

    /// The version of what another version wrote, and the one that this program knows.
    pub(crate) fn other_version(&self) -> Option<(u64, u64)> {
        match self {
            Self::Field { field: "version", found, expected } => Some((*found, *expected)),
            _ => None,
        }
    }
}

/// Checks that a block is one that the log can hold and its readers can use without further checks: the record
/// `number`, its parts in agreement with each other. Hashes and trees are for others to verify.
pub(crate) fn judge_block(block: &impl BlockView, number: u64, main_chain: ChainId) -> Result<(), Flaw> {
    let header = block.header();
    let columns = block.columns();
    exactly("header.height", header.height.0, number)?;
    exactly("header.chain_id", header.chain_id.0.into(), main_chain.0.into())?;
    exactly("header.chain_count", header.chain_count.into(), block.section_count() as u64)?;
    exactly("header.leaf_count", header.leaf_count, columns.hashes.len() as u64)?;
    exactly("length of tx_roots", columns.tx_roots.len() as u64, columns.hashes.len() as u64)?;
    exactly("length of times", columns.times.len() as u64, columns.hashes.len() as u64)?;
    let (mut next_leaf, mut next_node, mut next_chain) = (0, 0, 0);
    for index in 0..block.section_count() {
        let section = block.section(index);
        at_least("section.chain", section.chain.0.into(), next_chain)?;
        at_least("section.count", section.count.into(), 1)?;
        at_least("section.first_height", section.first_height.0, 1)?;
        // A section may end with the highest height there is.
        let highest = Height::MAX.0 - (u64::from(section.count) - 1);
        at_most("section.first_height", section.first_height.0, highest)?;
        exactly("section.first_leaf", section.first_leaf.into(), next_leaf)?;
        at_least("section.first_node", section.first_node.into(), next_node)?;
        next_chain = u64::from(section.chain.0) + 1;
        next_leaf += u64::from(section.count);
        next_node = section.first_node.into();
    }
    at_most("section.first_node", next_node, block.chain_nodes().len() as u64)?;
    exactly("sum of section.count", next_leaf, columns.hashes.len() as u64)
}

pub(crate) fn judge_file(magic: bool, version: U32, sum: impl FnOnce() -> bool) -> Result<(), Flaw> {
    if !magic {
        return Err(Flaw::Magic);
    }
    // Before the checksum: another version may have another one.
    exactly("version", version.get().into(), VERSION.into())?;
    if sum() { Ok(()) } else { Err(Flaw::Checksum) }
}

pub(crate) fn exactly(field: &'static str, found: u64, expected: u64) -> Result<(), Flaw> {
    if found == expected { Ok(()) } else { Err(Flaw::Field { field, found, expected }) }
}

pub(crate) fn at_most(field: &'static str, found: u64, expected: u64) -> Result<(), Flaw> {
    if found <= expected { Ok(()) } else { Err(Flaw::Field { field, found, expected }) }
}

pub(crate) fn at_least(field: &'static str, found: u64, expected: u64) -> Result<(), Flaw> {
    if found >= expected { Ok(()) } else { Err(Flaw::Field { field, found, expected }) }
}

impl Default for Trailer {
    fn default() -> Self {
        Self::new_zeroed()
    }
}
