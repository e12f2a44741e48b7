//! Builds frames.

use engine::chain::{ChainId, ColumnsRef, Hash, Height};
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::{
    BLOCK_BYTES, FrameBuffer, HEADER_BYTES, MAX_FRAME_BYTES, MAX_SECTION_BLOCKS, MAX_SECTIONS,
    MIN_FRAME_BYTES, RawHeader, RawSection, SECTION_BYTES, VERSION,
};

/// Builds one frame, section by section, in a buffer that is used again.
#[derive(Debug)]
pub struct FrameWriter {
    buffer: FrameBuffer,
    target: usize,
    sections: u16,
    last: Option<ChainId>,
}

impl FrameWriter {
    /// Starts a frame of at most `target` bytes, header included, in `buffer`, whatever that held.
    ///
    /// # Panics
    /// When `target` is not in [`MIN_FRAME_BYTES`]`..=`[`MAX_FRAME_BYTES`].
    pub fn new(mut buffer: FrameBuffer, target: usize) -> Self {
        assert!((MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&target), "no frame has {target} bytes");
        buffer.resize(HEADER_BYTES);
        Self { buffer, target, sections: 0, last: None }
    }

    /// Whether there is no section yet.
    pub fn is_empty(&self) -> bool {
        self.sections == 0
    }

    /// Length of the frame so far, header included, in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// How many blocks of `chain` can be added as the next section; 0 when the frame must be finished first,
    /// because it is full or because the chain is not above the last one.
    pub fn room(&self, chain: ChainId) -> usize {
        if usize::from(self.sections) == MAX_SECTIONS || self.last.is_some_and(|last| last >= chain) {
            return 0;
        }
        let bytes = self.target.saturating_sub(self.buffer.len() + SECTION_BYTES);
        (bytes / BLOCK_BYTES).min(MAX_SECTION_BLOCKS)
    }

    /// Adds a section: consecutive blocks of `chain` from height `first` on, which follow the block with hash
    /// `parent`.
    ///
    /// # Panics
    /// When there is no block or more than [`FrameWriter::room`], when the columns differ in length, or when a
    /// height is 0 or above [`Height::MAX`]: the receiver would refuse the frame.
    pub fn push(&mut self, chain: ChainId, first: Height, parent: Hash, columns: ColumnsRef<'_>) {
        let count = columns.len();
        assert!(0 < count && count <= self.room(chain), "{count} blocks of chain {chain} do not fit");
        assert!(columns.tx_roots.len() == count && columns.times.len() == count, "columns have one length");
        let last = first.0.checked_add(count as u64 - 1);
        assert!(first.0 > 0 && last.is_some_and(|last| last <= Height::MAX.0), "a height is out of range");
        let section = RawSection {
            chain: U32::new(chain.0),
            count: U32::new(count as u32),
            first: U64::new(first.0),
            parent,
        };
        self.buffer.extend(section.as_bytes());
        self.buffer.extend(columns.hashes.as_bytes());
        self.buffer.extend(columns.tx_roots.as_bytes());
        self.buffer.extend(columns.times.as_bytes());
        self.sections += 1;
        self.last = Some(chain);
    }

    /// Ends the frame.
    ///
    /// # Panics
    /// When there is no section.
    pub fn finish(mut self) -> FrameBuffer {
        assert!(self.sections > 0, "a frame has a section");
        let (header, body) = self.buffer.as_mut_bytes().split_at_mut(HEADER_BYTES);
        let raw = RawHeader {
            length: U32::new(body.len() as u32),
            sections: U16::new(self.sections),
            version: VERSION,
            flags: 0,
            checksum: U64::new(xxh3_64(body)),
        };
        header.copy_from_slice(raw.as_bytes());
        self.buffer
    }

    /// Gives the buffer back without a frame.
    pub fn abandon(self) -> FrameBuffer {
        self.buffer
    }
}
