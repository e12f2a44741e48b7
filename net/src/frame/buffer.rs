//! The memory of a frame: 64-byte aligned, so that columns lie well in cache lines, and made to be used again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An aligned buffer of bytes that keeps its memory when it is cleared.
#[derive(Default, Debug)]
pub struct FrameBuffer {
    lines: Vec<Line>,
    len: usize,
}

const LINE_BYTES: usize = 64;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

impl FrameBuffer {
    /// A buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Self::default();
        buffer.grow(bytes);
        buffer
    }

    /// How many bytes are in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it holds without asking for memory.
    pub fn capacity(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }

    /// Uses `len` bytes: new ones have any value that was there before, or zero.
    pub fn resize(&mut self, len: usize) {
        self.grow(len);
        self.len = len;
    }

    /// Uses no bytes; keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let from = self.len;
        self.resize(from + bytes.len());
        self.as_mut_bytes()[from..].copy_from_slice(bytes);
    }

    /// The bytes in use.
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines.as_bytes()[..self.len]
    }

    /// The bytes in use, to write.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.lines.as_mut_bytes()[..self.len]
    }

    fn grow(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(LINE_BYTES);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; LINE_BYTES]));
        }
    }
}

impl AsRef<[u8]> for FrameBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}
