//! The compact binary form of proofs: fixed fields, then sibling hashes only. How many siblings there are and
//! on which side they stand follows from indices and sizes, so a proof has exactly one encoding.

use alloc::vec::Vec;

use crate::chain::{Hash, MainHeader};
use crate::tree::{MAX_FREE_STEPS, Step, siblings};

/// Why some bytes are not a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too short or too long.
    #[error("{got} bytes; this proof takes {expected}")]
    Length {
        /// How many there are.
        got: usize,
        /// How many there must be, as far as could be read.
        expected: usize,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: {got} cannot be; expected {expected}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it says.
        got: u64,
        /// What would be right.
        expected: &'static str,
    },
}

/// What is yet to be read of a proof.
pub(super) struct Input<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// That nothing is left.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        let read = self.total - self.rest.len();
        if read == self.total { Ok(()) } else { Err(DecodeError::Length { got: self.total, expected: read }) }
    }

    /// The next two bytes, still to be read.
    pub(super) fn peek(&self) -> Option<[u8; 2]> {
        self.rest.first_chunk().copied()
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let read = self.total - self.rest.len();
        let (head, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Length { got: self.total, expected: read.saturating_add(length) })?;
        self.rest = tail;
        Ok(head)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(*self.slice(N)?.first_chunk().expect("as many bytes as were asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn hash(&mut self) -> Result<Hash, DecodeError> {
        self.take().map(Hash)
    }

    pub(super) fn header(&mut self) -> Result<MainHeader, DecodeError> {
        self.take().map(|bytes| MainHeader::decode(&bytes))
    }

    /// Whether a head follows, and the head.
    pub(super) fn head(&mut self) -> Result<Option<MainHeader>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.header().map(Some),
            got => Err(DecodeError::Value { field: "head flag", got: got.into(), expected: "0 or 1" }),
        }
    }

    /// The version and the kind of a proof that is no block proof.
    pub(super) fn kind(&mut self, kind: u8, name: &'static str) -> Result<(), DecodeError> {
        let (version, got) = (self.u8()?, self.u8()?);
        if version != 1 {
            return Err(DecodeError::Value { field: "version", got: version.into(), expected: "1" });
        }
        if got != kind {
            return Err(DecodeError::Value { field: "kind", got: got.into(), expected: name });
        }
        Ok(())
    }

    /// A number of parts of at least `least` bytes each, which the input must have room for: so that nothing is taken
    /// memory for that is not there.
    pub(super) fn count(
        &mut self,
        field: &'static str,
        (most, expected): (u32, &'static str),
        least: usize,
    ) -> Result<usize, DecodeError> {
        let got = self.u32()?;
        if !(1..=most).contains(&got) {
            return Err(DecodeError::Value { field, got: got.into(), expected });
        }
        let bytes = (got as usize).saturating_mul(least);
        if bytes > self.rest.len() {
            let expected = (self.total - self.rest.len()).saturating_add(bytes);
            return Err(DecodeError::Length { got: self.total, expected });
        }
        Ok(got as usize)
    }

    /// As many hashes as there are `places`.
    pub(super) fn hashes<T>(&mut self, places: impl Iterator<Item = T>) -> Result<Vec<Hash>, DecodeError> {
        places.map(|_| self.hash()).collect()
    }

    /// The path of leaf `index` in a tree of `size`; empty if there is no such leaf.
    pub(super) fn path(&mut self, index: u64, size: u64) -> Result<Vec<Step>, DecodeError> {
        siblings(index, size).map(|sibling| Ok(Step { hash: self.hash()?, left: sibling.left })).collect()
    }

    /// The path from `header` to `head`, if there is one.
    pub(super) fn history_path(
        &mut self,
        header: &MainHeader,
        head: Option<&MainHeader>,
    ) -> Result<Option<Vec<Step>>, DecodeError> {
        head.map(|head| self.path(header.height.0.wrapping_sub(1), head.height.0.wrapping_sub(1))).transpose()
    }

    /// A path whose sides do not follow.
    pub(super) fn free_path(&mut self) -> Result<Vec<Step>, DecodeError> {
        let steps = self.u8()?;
        if usize::from(steps) > MAX_FREE_STEPS {
            return Err(DecodeError::Value {
                field: "path steps",
                got: steps.into(),
                expected: "at most 32",
            });
        }
        let sides = self.u32()?;
        if u64::from(sides) >> steps != 0 {
            return Err(DecodeError::Value {
                field: "path sides",
                got: sides.into(),
                expected: "no bit beyond the steps",
            });
        }
        (0..steps).map(|step| Ok(Step { hash: self.hash()?, left: sides >> step & 1 == 1 })).collect()
    }
}

/// Where a proof is written to.
pub(super) trait Output {
    fn put(&mut self, bytes: &[u8]);

    fn put_head(&mut self, head: Option<&MainHeader>) {
        self.put(&[u8::from(head.is_some())]);
        if let Some(head) = head {
            self.put(&head.encode());
        }
    }

    fn put_hashes(&mut self, hashes: &[Hash]) {
        for hash in hashes {
            self.put(hash.as_bytes());
        }
    }

    fn put_path(&mut self, path: &[Step]) {
        for step in path {
            self.put(step.hash.as_bytes());
        }
    }

    /// A path whose sides do not follow. One that is too long to be verified is cut, so that nothing is written that
    /// would be read as something else.
    fn put_free_path(&mut self, path: &[Step]) {
        let path = &path[..path.len().min(MAX_FREE_STEPS)];
        let sides =
            path.iter().enumerate().fold(0_u32, |sides, (step, part)| sides | u32::from(part.left) << step);
        self.put(&[path.len() as u8]);
        self.put(&sides.to_le_bytes());
        self.put_path(path);
    }
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
