//! [`Input`]: what an input of the target `open` means: which checksums to mend, and changes of files.

use std::collections::BTreeMap;

use crate::mend::{FIRST_RECORD, Mend, TRAILER, record_bytes};

/// The files of a log, by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A whole input: a byte for [`Mend`], then edits until the bytes end.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) mend: Mend,
    pub(crate) edits: Vec<Edit<'a>>,
}

/// One change: 12 bytes {file, kind, place u16, offset u32, value u32} and, for some kinds, bytes of its own.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    file: u8,
    kind: u8,
    /// Relative to what `offset` is; see [`Edit::offset_in`].
    place: u16,
    offset: u32,
    value: u32,
    bytes: &'a [u8],
}

/// Edits of one input: enough for every structure, few enough to stay quick.
const MOST_EDITS: usize = 24;
/// Longest file that an edit makes.
const LONGEST: usize = 2 << 20;

impl<'a> Input<'a> {
    pub(crate) fn parse(input: &'a [u8]) -> Self {
        let Some((mend, mut rest)) = input.split_first() else {
            return Self { mend: Mend::from_byte(0), edits: Vec::new() };
        };
        let mut edits = Vec::new();
        while edits.len() < MOST_EDITS
            && let Some((head, tail)) = rest.split_first_chunk::<12>()
        {
            let length = if head[1] % Edit::KINDS == 0 { usize::from(head[8]).min(tail.len()) } else { 0 };
            let (bytes, tail) = tail.split_at(length);
            edits.push(Edit {
                file: head[0],
                kind: head[1] % Edit::KINDS,
                place: u16::from_le_bytes([head[2], head[3]]),
                offset: word(head, 4),
                value: word(head, 8),
                bytes,
            });
            rest = tail;
        }
        Self { mend: Mend::from_byte(*mend), edits }
    }
}

impl Edit<'_> {
    const KINDS: u8 = 12;

    pub(crate) fn apply(&self, files: &mut Files) {
        let names: Vec<String> = files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[usize::from(self.file) % names.len()];
        let other = &names[self.value as usize % names.len()];
        let Some(file) = files.get_mut(name) else { return };
        let at = self.offset_in(file);
        let value = self.value;
        match self.kind {
            // Bytes of the input.
            0 => write(file, at, self.bytes),
            // A field, to a value or to one near an edge of its type.
            1 => write(file, at, &value.to_le_bytes()),
            2 => write(file, at, &u64::from(value).to_le_bytes()),
            3 => write(
                file,
                at,
                &(u64::MAX >> (value % 64)).wrapping_sub(u64::from(value >> 24)).to_le_bytes(),
            ),
            4 => {
                let old = word(file, at);
                write(file, at, &old.wrapping_add_signed((value as i32).clamp(-300, 300)).to_le_bytes());
            }
            // A bit.
            5 => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << (value % 8);
                }
            }
            // Zeros, as a write that never came.
            6 => {
                let end = at.saturating_add(value as usize % 20_000).min(file.len());
                if let Some(bytes) = file.get_mut(at..end) {
                    bytes.fill(0);
                }
            }
            // Shorter or longer.
            7 => file.truncate(at),
            8 => file.resize((file.len() + value as usize % 70_000).min(LONGEST), 0),
            // Something of another place.
            9 => {
                let from = files[other].clone();
                let start = Edit { place: self.place >> 8, offset: value >> 8, ..*self }.offset_in(&from);
                let end = start.saturating_add(4096).min(from.len());
                if let (Some(bytes), Some(file)) = (from.get(start..end), files.get_mut(name)) {
                    write(file, at, bytes);
                }
            }
            // Another name, or none.
            10 => {
                let file = files.remove(name);
                if let (Some(file), true) = (file, self.offset % 4 != 0) {
                    let other = match self.offset % 4 {
                        1 => other.clone(),
                        2 => format!("{:010}.seg", value % 8),
                        _ => ["BASE", "MARK", "LOG", "OPERATIONS", "LOG.tmp", "0000000002.seg.tmp"]
                            [value as usize % 6]
                            .into(),
                    };
                    files.insert(other, file);
                }
            }
            _ => {
                let copy = file.clone();
                files.insert(format!("{:010}.seg", value % 8), copy);
            }
        }
    }

    /// Where in the file: so that a small number reaches each structure, `place` says what `offset` counts from.
    fn offset_in(&self, file: &[u8]) -> usize {
        let offset = self.offset as usize;
        let trailer = file.len().saturating_sub(TRAILER);
        let base = match self.place % 5 {
            0 => return offset % (file.len() + 1),
            1 => trailer,
            2 if file.len() > TRAILER => (word(file, trailer + 72) as usize).min(trailer),
            3 => {
                // In the header, or the body's root, of one of the records.
                let (mut at, mut nth) = (FIRST_RECORD, usize::from(self.place / 5 % 16));
                while nth > 0
                    && let Some(bytes) = record_bytes_of(file, at)
                {
                    at += bytes;
                    nth -= 1;
                }
                if self.place & 0x8000 == 0 {
                    return at + offset % 64;
                }
                return at + (64 + word(file, at + 16) as usize).saturating_sub(316) + offset % 316;
            }
            _ => 0,
        };
        base + offset % 256
    }
}

fn record_bytes_of(file: &[u8], at: usize) -> Option<usize> {
    (file.len() >= FIRST_RECORD + TRAILER).then(|| record_bytes(file, at)).flatten()
}

/// Changes a body: patches {offset u16 from the end, length u8, bytes}, and a last one alone cuts it.
pub(crate) fn patch(body: &mut Vec<u8>, mut patches: &[u8]) {
    while let Some((head, tail)) = patches.split_first_chunk::<3>() {
        let back = usize::from(u16::from_le_bytes([head[0], head[1]])) % (body.len() + 1);
        let at = body.len() - back;
        let (bytes, tail) = tail.split_at(usize::from(head[2]).min(tail.len()));
        write(body, at, bytes);
        patches = tail;
    }
    if let [length, ..] = patches {
        body.truncate(body.len().saturating_sub(usize::from(*length)));
    }
}

fn write(file: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len()).min(file.len());
    if let Some(into) = file.get_mut(at..end) {
        into.copy_from_slice(&bytes[..into.len()]);
    }
}

/// The u32 at `at`; zero outside.
pub(crate) fn word(file: &[u8], at: usize) -> u32 {
    let bytes = at.checked_add(4).and_then(|end| file.get(at..end));
    bytes.map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
}
