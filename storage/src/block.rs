//! Main blocks as records: [`Encoder`] writes them, [`LogBlock`] reads them where they lie.

use std::sync::Arc;

use engine::chain::{BlockView, ColumnsRef, Hash, MainBlock, MainHeader, Section, Timestamp};
use engine::store::StoreError;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::util::AlignedVec;
use zerocopy::{FromBytes, transmute_ref};

use crate::error::Error;
use crate::format::{self, ArchivedBody, Body, Flaw, RecordHeader, SectionRecord};
use crate::map::Map;

/// A main block in the map of a log. Cheap to clone and to keep: it holds its segment's map, not a copy.
#[derive(Debug, Clone)]
pub struct LogBlock {
    map: Arc<Map>,
    parts: Parts,
    body_bytes: usize,
}

/// Where the parts of a body lie: offset in the map and length in elements.
#[derive(Debug, Clone, Copy)]
struct Parts {
    hashes: (usize, usize),
    tx_roots: (usize, usize),
    times: (usize, usize),
    chain_nodes: (usize, usize),
    side_nodes: (usize, usize),
    history_nodes: (usize, usize),
    sections: (usize, usize),
    hash: usize,
    header: usize,
}

impl LogBlock {
    /// The block whose body lies at `offset` of the map. The caller has checked the record's checksum; the
    /// archive is checked here, in a few nanoseconds.
    pub(crate) fn access(map: Arc<Map>, offset: usize, body_bytes: usize) -> Result<Self, Flaw> {
        let body = map.get(offset, body_bytes).ok_or(Flaw::Empty)?;
        let archived = ArchivedBody::access(body)?;
        let at = |part: *const u8| offset + (part.addr() - body.as_ptr().addr());
        let parts = Parts {
            hashes: (at(archived.hashes.as_ptr().cast()), archived.hashes.len()),
            tx_roots: (at(archived.tx_roots.as_ptr().cast()), archived.tx_roots.len()),
            times: (at(archived.times.as_ptr().cast()), archived.times.len()),
            chain_nodes: (at(archived.chain_nodes.as_ptr().cast()), archived.chain_nodes.len()),
            side_nodes: (at(archived.side_nodes.as_ptr().cast()), archived.side_nodes.len()),
            history_nodes: (at(archived.history_nodes.as_ptr().cast()), archived.history_nodes.len()),
            sections: (at(archived.sections.as_ptr().cast()), archived.sections.len()),
            hash: at(archived.hash.as_ptr()),
            header: at(archived.header.as_ptr()),
        };
        Ok(Self { map, parts, body_bytes })
    }

    /// An error once any part of this block was gone from its file when it was read. To be asked after the reads.
    pub(crate) fn vouch(&self) -> Result<(), Error> {
        // The header is the last part of a body.
        let end = self.parts.header + MainHeader::BYTES;
        self.map.vouch(end.saturating_sub(self.body_bytes)..end, Ok(()))
    }

    /// The header hash, as it was stored.
    pub fn hash(&self) -> Hash {
        self.column::<Hash>((self.parts.hash, 1))[0]
    }

    /// Bytes that it takes on disk, the index aside.
    pub fn record_bytes(&self) -> u64 {
        (RecordHeader::BYTES + format::aligned(self.body_bytes)) as u64
    }

    fn column<T>(&self, (offset, count): (usize, usize)) -> &[T]
    where
        T: FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
    {
        let bytes =
            self.map.get(offset, count * size_of::<T>()).expect("`access` took it from published bytes");
        <[T]>::ref_from_bytes(bytes).expect("unaligned, and a whole number of elements")
    }
}

impl BlockView for LogBlock {
    fn header(&self) -> MainHeader {
        let bytes = self.column::<u8>((self.parts.header, MainHeader::BYTES));
        MainHeader::decode(bytes.try_into().expect("as many bytes as asked for"))
    }
    fn section_count(&self) -> usize {
        self.parts.sections.1
    }
    fn section(&self, index: usize) -> Section {
        Section::from(&self.column::<SectionRecord>(self.parts.sections)[index])
    }
    fn columns(&self) -> ColumnsRef<'_> {
        ColumnsRef {
            hashes: self.column(self.parts.hashes),
            tx_roots: self.column(self.parts.tx_roots),
            times: self.column(self.parts.times),
        }
    }
    fn chain_nodes(&self) -> &[Hash] {
        self.column(self.parts.chain_nodes)
    }
    fn side_nodes(&self) -> &[Hash] {
        self.column(self.parts.side_nodes)
    }
    fn history_nodes(&self) -> &[Hash] {
        self.column(self.parts.history_nodes)
    }
    /// An error once any part of this block was gone from its file ([`Error::Shrunk`]): it reads as zeros then.
    fn intact(&self) -> Result<(), StoreError> {
        Ok(self.vouch()?)
    }
}

/// Lays blocks out as records, in a buffer that it keeps: one allocation for the largest block there ever was.
///
/// The buffer begins at a page, since a copy between addresses that differ by 1 to 31 bytes within their pages is
/// many times slower on some processors.
#[derive(Default)]
pub(crate) struct Encoder {
    buffer: AlignedVec<4096>,
    sections: Vec<SectionRecord>,
    body_bytes: usize,
}

impl Encoder {
    /// Lays out the body; returns the bytes of the whole record.
    pub(crate) fn encode(&mut self, block: &MainBlock) -> usize {
        let columns = &block.columns;
        let nodes = block.chain_nodes.len() + block.side_nodes.len() + block.history_nodes.len();
        self.sections.clear();
        self.sections.extend(block.sections.iter().map(SectionRecord::from));
        self.buffer.clear();
        let body = format::body_bytes(columns.len(), nodes, block.sections.len());
        self.buffer.reserve(RecordHeader::BYTES + format::aligned(body));
        self.buffer.resize(RecordHeader::BYTES, 0);
        let body = Body {
            hashes: Hash::raw_column(&columns.hashes),
            tx_roots: Hash::raw_column(&columns.tx_roots),
            chain_nodes: Hash::raw_column(&block.chain_nodes),
            side_nodes: Hash::raw_column(&block.side_nodes),
            history_nodes: Hash::raw_column(&block.history_nodes),
            times: raw_times(&columns.times),
            sections: transmute_ref!(&self.sections[..]),
            hash: block.hash.0,
            header: block.header.encode(),
            reserved: [0; 2],
        };
        rkyv::api::low::to_bytes_in_with_alloc::<_, _, Failure>(
            &body,
            &mut self.buffer,
            SubAllocator::new(&mut []),
        )
        .expect("slices of byte arrays are copied: no scratch space is needed and a vector takes all");
        self.body_bytes = self.buffer.len() - RecordHeader::BYTES;
        let record = format::aligned(self.buffer.len());
        self.buffer.resize(record, 0);
        record
    }

    /// Bytes of the body laid out last.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The record laid out last; its header is still to be written.
    pub(crate) fn record(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }
}

fn raw_times(times: &[Timestamp]) -> &[[u8; 8]] {
    transmute_ref!(times)
}
