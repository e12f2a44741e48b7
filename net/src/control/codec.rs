//! Reading and writing the fields of a message.

use engine::chain::{ChainId, Hash, Height, MainHeader};

use super::{ControlError, MAX_CHAINS, MAX_MESSAGE_BYTES, MESSAGE_HEADER_BYTES};

/// Takes field after field from a body.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn finish(self) -> Result<(), ControlError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(ControlError::Trailing { bytes }),
        }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, ControlError> {
        self.array(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, ControlError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, ControlError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, ControlError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn chain(&mut self) -> Result<ChainId, ControlError> {
        self.array("chain_id").map(u32::from_le_bytes).map(ChainId)
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<Hash, ControlError> {
        self.array(field).map(Hash)
    }

    pub(super) fn header(&mut self) -> Result<MainHeader, ControlError> {
        let header = MainHeader::decode(&self.array("header")?);
        if header.version != MainHeader::VERSION {
            let got = header.version.into();
            return Err(ControlError::Value { field: "header version", got, expected: "1" });
        }
        Ok(header)
    }

    pub(super) fn height(&mut self, field: &'static str) -> Result<Height, ControlError> {
        let height = Height(self.u64(field)?);
        if height > Height::MAX {
            return Err(ControlError::Value {
                field,
                got: height.0,
                expected: "at most 9223372036854775807",
            });
        }
        Ok(height)
    }

    /// The count of a list of chains whose items have `item_bytes` each: all of them are there.
    pub(super) fn count(&mut self, field: &'static str, item_bytes: usize) -> Result<usize, ControlError> {
        let count = self.u32(field)? as usize;
        if count > MAX_CHAINS {
            return Err(ControlError::Value { field, got: count as u64, expected: "at most 16384" });
        }
        let (need, left) = (count * item_bytes, self.rest.len());
        if need > left {
            return Err(ControlError::Short { field, need, left });
        }
        Ok(count)
    }

    pub(super) fn text(
        &mut self,
        field: &'static str,
        length: usize,
        most: usize,
        expected: &'static str,
    ) -> Result<String, ControlError> {
        if length > most {
            return Err(ControlError::Value { field, got: length as u64, expected });
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or(ControlError::Short {
            field,
            need: length,
            left: self.rest.len(),
        })?;
        self.rest = rest;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| ControlError::Text { field })
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ControlError> {
        let short = ControlError::Short { field, need: N, left: self.rest.len() };
        let (array, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// Appends one message; its length is written when it is dropped.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    body: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, kind: u8) -> Self {
        out.push(kind);
        out.extend_from_slice(&[0; MESSAGE_HEADER_BYTES - 1]);
        let body = out.len();
        Self { out, body }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn chain(&mut self, chain: ChainId) {
        self.bytes(&chain.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let length = self.out.len() - self.body;
        debug_assert!(length <= MAX_MESSAGE_BYTES);
        self.out[self.body - 4..self.body].copy_from_slice(&(length as u32).to_le_bytes());
    }
}
