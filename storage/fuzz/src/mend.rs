//! [`Mend`]: computes the checksums of a log's files anew, from `docs/format.md` and not from the code.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::edit::{Files, word};

/// Records start here.
pub(crate) const FIRST_RECORD: usize = 4096;
/// Bytes of a trailer.
pub(crate) const TRAILER: usize = 128;

/// Which checksums; one bit each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mend(u8);

impl Mend {
    const LOG: u8 = 1;
    const SMALL: u8 = 2;
    const HEADERS: u8 = 4;
    const RECORDS: u8 = 8;
    const TABLES: u8 = 16;
    const TRAILERS: u8 = 32;

    pub(crate) fn from_byte(byte: u8) -> Self {
        Self(byte & 63)
    }

    pub(crate) fn all() -> Self {
        Self(63)
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn apply(self, files: &mut Files) {
        if self.0 & Self::LOG != 0
            && let Some(log) = files.get_mut("LOG")
            && log.len() >= 16
        {
            let sum = xxh3_64(&log[8..]);
            put(log, 0, sum);
        }
        let Some(key) = files.get("LOG").and_then(|log| log.get(64..96)) else { return };
        let key = Key(key.try_into().expect("32 bytes"));
        for (name, purpose) in [("MARK", 7), ("BASE", 9), ("OPERATIONS", 10)] {
            if self.0 & Self::SMALL != 0
                && let Some(file) = files.get_mut(name)
                && file.len() >= 16
            {
                let sum = key.sum(purpose, 0, 0, 0, &file[8..]);
                put(file, 0, sum);
            }
        }
        for (name, file) in files.iter_mut() {
            let number = name.strip_suffix(".seg").and_then(|digits| digits.parse().ok());
            if let Some(number) = number
                && file.len() >= FIRST_RECORD + TRAILER
            {
                self.segment(&key, number, file);
            }
        }
    }

    fn segment(self, key: &Key, number: u64, file: &mut [u8]) {
        if self.0 & Self::HEADERS != 0 {
            let sum = key.sum(2, number, 0, 0, &file[8..FIRST_RECORD]);
            put(file, 0, sum);
        }
        if self.0 & Self::RECORDS != 0 {
            let mut at = FIRST_RECORD;
            while let Some(bytes) = record_bytes(file, at) {
                sum_record(key, number, at, &mut file[at..at + bytes]);
                at += bytes;
            }
        }
        let trailer = file.len() - TRAILER;
        if file[trailer..].iter().all(|byte| *byte == 0) {
            return;
        }
        if self.0 & Self::TABLES != 0 {
            let count = |offset| word(file, trailer + offset) as usize;
            let index = count(72);
            let sizes = [(3, count(60) * 16), (4, count(64) * 16), (5, count(56) * 4)];
            let mut start = index;
            for (slot, (purpose, bytes)) in sizes.into_iter().enumerate() {
                let Some(table) = start.checked_add(bytes).and_then(|end| file.get(start..end)) else {
                    break;
                };
                let sum = key.sum(purpose, number, 0, 0, table);
                put(file, trailer + 80 + 8 * slot, sum);
                start += bytes;
            }
        }
        if self.0 & Self::TRAILERS != 0 {
            let sum = key.sum(6, number, 0, 0, &file[trailer + 8..]);
            put(file, trailer, sum);
        }
    }
}

/// Bytes of the record at `at`, if one seems to begin there.
pub(crate) fn record_bytes(file: &[u8], at: usize) -> Option<usize> {
    let header = file.get(at..at + 64)?;
    let bytes = 64 + (word(header, 16) as usize).next_multiple_of(64);
    let end = at.checked_add(bytes)?;
    (header[8..12] == *b"mREC" && end <= file.len() - TRAILER).then_some(bytes)
}

/// Writes the two checksums of a record of segment `segment` that stands at `offset`.
pub(crate) fn sum_record(key: &Key, segment: u64, offset: usize, record: &mut [u8]) {
    let number = u64::from_le_bytes(record[24..32].try_into().expect("8 bytes"));
    let sum = key.sum(8, segment, offset as u64, number, &record[8..48]);
    put(record, 48, sum);
    let sum = key.sum(1, segment, offset as u64, number, &record[8..]);
    put(record, 0, sum);
}

/// The key of a log.
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    /// `docs/format.md`, section 3.
    pub(crate) fn sum(&self, purpose: u64, segment: u64, offset: u64, number: u64, bytes: &[u8]) -> u64 {
        let mut place = self.0.to_vec();
        for value in [purpose, segment, offset, number] {
            place.extend_from_slice(&value.to_le_bytes());
        }
        xxh3_64_with_seed(bytes, xxh3_64(&place))
    }
}

fn put(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
