//! A frame: a container of sections of many chains, as it lies on a data stream.
//!
//! # Format
//! Fixed, little-endian; `docs/protocol.md` gives the bytes. Hand-written, because the bytes are a peer's: every
//! length follows from a count, so a frame is checked by a few comparisons a section before anything is used,
//! and then used where it lies.
//!
//! ```text
//! header   length u32 | sections u16 | version u8 | flags u8 | xxh3 u64            16 bytes
//! section  chain u32 | count u32 | first_height u64 | parent hash[32]              48 bytes
//!          hashes[count * 32] | tx_roots[count * 32] | times[count * 8]            72 bytes a block
//! section  ...
//! ```
//! `length` counts, and `xxh3` covers, everything after the header. Each chain has at most one section a frame
//! and sections ascend by chain, which is the cheap way to check that.

mod buffer;
mod writer;

pub use buffer::FrameBuffer;
pub use writer::FrameWriter;

use engine::chain::{ChainId, ColumnsRef, Hash, Height, Timestamp};
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version that this program writes and reads.
pub const VERSION: u8 = 1;
/// Length of a frame's header, in bytes.
pub const HEADER_BYTES: usize = 16;
/// Length of what stands before the columns of a section, in bytes.
pub const SECTION_BYTES: usize = 48;
/// Length of a block in the columns, in bytes.
pub const BLOCK_BYTES: usize = 72;
/// The longest frame, header included, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The shortest frame: one section of one block, in bytes.
pub const MIN_FRAME_BYTES: usize = HEADER_BYTES + SECTION_BYTES + BLOCK_BYTES;
/// The most sections in a frame.
pub const MAX_SECTIONS: usize = 4_096;
/// The most blocks in a section.
pub const MAX_SECTION_BLOCKS: usize = 4_096;

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<RawSection>() == SECTION_BYTES);
const _: () = assert!(2 * size_of::<Hash>() + size_of::<Timestamp>() == BLOCK_BYTES);

/// A frame that has been checked whole: its sections can be used where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    sections: usize,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks a whole frame, header included: nothing more and nothing less may be in `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Some((header, body)) = bytes.split_first_chunk() else {
            return Err(FrameError::Incomplete { got: bytes.len(), expected: HEADER_BYTES });
        };
        let header = FrameHeader::parse(header)?;
        if body.len() != header.body_bytes() {
            return Err(FrameError::Incomplete { got: bytes.len(), expected: header.frame_bytes() });
        }
        let checksum = xxh3_64(body);
        if checksum != header.checksum {
            return Err(FrameError::Checksum { got: header.checksum, expected: checksum });
        }
        let mut walk = Walk { rest: body, index: 0, previous: None };
        for _ in 0..header.sections {
            walk.section()?;
        }
        if !walk.rest.is_empty() {
            return Err(FrameError::Trailing { bytes: walk.rest.len(), sections: header.sections });
        }
        Ok(Self { sections: header.sections, body })
    }

    /// How many sections there are; at least one.
    pub fn section_count(&self) -> usize {
        self.sections
    }

    /// The sections, by ascending chain.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'a>> + use<'a> {
        let mut walk = Walk { rest: self.body, index: 0, previous: None };
        (0..self.sections).map(move |_| walk.section().expect("`parse` has walked these bytes to their end"))
    }
}

/// Consecutive blocks of one chain, where they lie in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Whose blocks they are.
    pub chain: ChainId,
    /// Height of the first of them; at least 1.
    pub first: Height,
    /// Hash of the block before the first one.
    pub parent: Hash,
    /// The blocks; at least one.
    pub columns: ColumnsRef<'a>,
}

/// The header of a frame, checked: what is known before the rest of the frame is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    length: usize,
    sections: usize,
    checksum: u64,
}

impl FrameHeader {
    /// Checks a header by itself, before anything is allocated for what follows it.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let raw: &RawHeader = zerocopy::transmute_ref!(bytes);
        if raw.version != VERSION {
            return Err(FrameError::Version { got: raw.version });
        }
        if raw.flags != 0 {
            return Err(FrameError::Flags { got: raw.flags });
        }
        let (length, sections) = (raw.length.get() as usize, usize::from(raw.sections.get()));
        if sections == 0 || sections > MAX_SECTIONS {
            return Err(FrameError::Sections { got: sections });
        }
        let least = sections * (SECTION_BYTES + BLOCK_BYTES);
        if length < least || length > MAX_FRAME_BYTES - HEADER_BYTES {
            return Err(FrameError::Length { got: length, least });
        }
        Ok(Self { length, sections, checksum: raw.checksum.get() })
    }

    /// How many bytes follow the header.
    pub fn body_bytes(&self) -> usize {
        self.length
    }

    /// Length of the whole frame, in bytes.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length
    }
}

/// What is wrong with a frame. Always the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Another version of the format.
    #[error("frame version is {got}; expected {VERSION}")]
    Version {
        /// What the header says.
        got: u8,
    },
    /// A flag that this version does not know.
    #[error("frame flags are {got:#04x}; expected 0")]
    Flags {
        /// What the header says.
        got: u8,
    },
    /// Too few or too many sections.
    #[error("frame sections is {got}; expected 1 to {MAX_SECTIONS}")]
    Sections {
        /// What the header says.
        got: usize,
    },
    /// A length that no frame with so many sections has.
    #[error("frame length is {got}; expected {least} to {} for its sections", MAX_FRAME_BYTES - HEADER_BYTES)]
    Length {
        /// What the header says.
        got: usize,
        /// The shortest with so many sections.
        least: usize,
    },
    /// Fewer or more bytes than the header says.
    #[error("frame has {got} bytes; expected {expected}")]
    Incomplete {
        /// How many there are.
        got: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The bytes are not those that were sent.
    #[error("frame checksum is {got:#018x}; expected {expected:#018x}, the xxh3 of what follows the header")]
    Checksum {
        /// What the header says.
        got: u64,
        /// What the bytes give.
        expected: u64,
    },
    /// A section that does not fit into what is left of the frame.
    #[error("section {index} has {left} bytes left; expected {need} for its count")]
    Truncated {
        /// Which section, from 0.
        index: usize,
        /// How many bytes it needs.
        need: usize,
        /// How many are left.
        left: usize,
    },
    /// No blocks, or too many.
    #[error("section {index} (chain {chain}): count is {got}; expected 1 to {MAX_SECTION_BLOCKS}")]
    Count {
        /// Which section, from 0.
        index: usize,
        /// Whose blocks.
        chain: ChainId,
        /// What the section says.
        got: u32,
    },
    /// Heights that no block has.
    #[error(
        "section {index} (chain {chain}): first_height is {got}; expected 1 to {} with {count} blocks",
        Height::MAX.0 - u64::from(*count) + 1
    )]
    FirstHeight {
        /// Which section, from 0.
        index: usize,
        /// Whose blocks.
        chain: ChainId,
        /// What the section says.
        got: u64,
        /// How many blocks it has.
        count: u32,
    },
    /// A chain twice, or out of order.
    #[error("section {index} is of chain {chain}; expected one above chain {previous}, the section before")]
    Order {
        /// Which section, from 0.
        index: usize,
        /// Whose blocks.
        chain: ChainId,
        /// The chain of the section before.
        previous: ChainId,
    },
    /// Bytes after the last section.
    #[error("frame has {bytes} bytes after its {sections} sections; expected none")]
    Trailing {
        /// How many.
        bytes: usize,
        /// How many sections the header names.
        sections: usize,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    length: U32,
    sections: U16,
    version: u8,
    flags: u8,
    checksum: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSection {
    chain: U32,
    count: U32,
    first: U64,
    parent: Hash,
}

/// Walks over the sections of a body, checking each. Both [`Frame::parse`] and [`Frame::sections`] are this one
/// walk, so what is used is what was checked.
struct Walk<'a> {
    rest: &'a [u8],
    index: usize,
    previous: Option<ChainId>,
}

impl<'a> Walk<'a> {
    #[inline]
    fn section(&mut self) -> Result<Section<'a>, FrameError> {
        let index = self.index;
        let left = self.rest.len();
        let truncated = |need| FrameError::Truncated { index, need, left };
        let (raw, rest) = RawSection::ref_from_prefix(self.rest).map_err(|_| truncated(SECTION_BYTES))?;
        let (chain, count, first) = (ChainId(raw.chain.get()), raw.count.get(), raw.first.get());
        let blocks = count as usize;
        if blocks == 0 || blocks > MAX_SECTION_BLOCKS {
            return Err(FrameError::Count { index, chain, got: count });
        }
        if let Some(previous) = self.previous
            && previous >= chain
        {
            return Err(FrameError::Order { index, chain, previous });
        }
        if first == 0 || first > Height::MAX.0 - u64::from(count) + 1 {
            return Err(FrameError::FirstHeight { index, chain, got: first, count });
        }
        // Bounded above: `blocks` is at most 4,096.
        let whole = || truncated(SECTION_BYTES + blocks * BLOCK_BYTES);
        let (hashes, rest) = <[Hash]>::ref_from_prefix_with_elems(rest, blocks).map_err(|_| whole())?;
        let (tx_roots, rest) = <[Hash]>::ref_from_prefix_with_elems(rest, blocks).map_err(|_| whole())?;
        let (times, rest) = <[Timestamp]>::ref_from_prefix_with_elems(rest, blocks).map_err(|_| whole())?;
        self.rest = rest;
        self.index += 1;
        self.previous = Some(chain);
        let columns = ColumnsRef { hashes, tx_roots, times };
        Ok(Section { chain, first: Height(first), parent: raw.parent, columns })
    }
}

#[cfg(test)]
mod tests;
