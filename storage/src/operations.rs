//! The file `OPERATIONS`: what main blocks have changed in the registry of side chains, of all blocks, also of those that
//! were pruned. `docs/format.md` gives its bytes and says when it is written.

use std::collections::BTreeMap;

use engine::chain::{Hash, Height, MainHeader};
use engine::state::{Operation, ops_root};
use engine::store::Operations;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Error;
use crate::files::Context;
use crate::format::{Flaw, Key, Purpose, VERSION, at_least, at_most, exactly, judge_file};

const MAGIC: [u8; 8] = *b"MAINOPER";

/// Bytes of the file that are read, and so written, at most. The engine refuses registrations long before.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// The first bytes of the file. Entries follow.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FileHead {
    sum: U64,
    magic: [u8; 8],
    version: U32,
    count: U32,
    reserved: [u8; 40],
}
const _: () = assert!(size_of::<FileHead>() == 64);

/// What stands before the bytes of each operation, which zeros fill up to a multiple of 8.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    height: U64,
    length: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<EntryHead>() == 16);

/// How long the file with these operations is.
pub(crate) fn file_bytes(operations: &[(Height, Operation)]) -> u64 {
    let each = operations.iter().map(|(_, operation)| {
        (size_of::<EntryHead>() + operation.encoded_bytes().next_multiple_of(8)) as u64
    });
    size_of::<FileHead>() as u64 + each.sum::<u64>()
}

/// The file with these operations, which ascend by height.
pub(crate) fn encode(key: &Key, operations: &[(Height, Operation)]) -> Vec<u8> {
    let head = FileHead {
        sum: U64::ZERO,
        magic: MAGIC,
        version: U32::new(VERSION),
        count: U32::new(operations.len() as u32),
        reserved: [0; 40],
    };
    let mut bytes = head.as_bytes().to_vec();
    for (height, operation) in operations {
        let operation = operation.encode();
        let length = U32::new(operation.len() as u32);
        let entry = EntryHead { height: U64::new(height.0), length, reserved: U32::ZERO };
        bytes.extend_from_slice(entry.as_bytes());
        bytes.extend_from_slice(&operation);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    debug_assert_eq!(bytes.len() as u64, file_bytes(operations), "each entry is as long as was counted");
    let sum = key.sum(Purpose::Operations, 0, 0, 0, &bytes[8..]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What the file says.
pub(crate) fn decode(bytes: &[u8], key: &Key) -> Result<Operations, Flaw> {
    let (head, mut rest) =
        FileHead::read_from_prefix(bytes).map_err(|_| Flaw::length(bytes.len(), size_of::<FileHead>()))?;
    let sum = || head.sum.get() == key.sum(Purpose::Operations, 0, 0, 0, &bytes[8..]);
    judge_file(head.magic == MAGIC, head.version, sum)?;
    let cut = |rest: &[u8]| Flaw::length(bytes.len(), bytes.len() - rest.len() + size_of::<EntryHead>());
    let mut operations = Vec::new();
    let mut least = 1;
    for index in 0..head.count.get() {
        let (entry, behind) = EntryHead::read_from_prefix(rest).map_err(|_| cut(rest))?;
        let height = entry.height.get();
        at_least("height", height, least)?;
        at_most("height", height, Height::MAX.0)?;
        least = height;
        let length = entry.length.get() as usize;
        at_most("length of an operation", length as u64, Operation::MAX_BYTES as u64)?;
        let operation = behind.get(..length).ok_or_else(|| cut(rest))?;
        // The checksum is right: whoever wrote this made it so.
        let operation = Operation::decode(operation).map_err(|_| Flaw::Field {
            field: "operation",
            found: index.into(),
            expected: head.count.get().into(),
        })?;
        operations.push((Height(height), operation));
        rest = behind.get(length.next_multiple_of(8)..).ok_or_else(|| cut(rest))?;
    }
    exactly("length", bytes.len() as u64, (bytes.len() - rest.len()) as u64)?;
    Ok(operations.into())
}

/// Holds the operations that are kept against the headers of the blocks that can be read.
pub(crate) struct Judge<'a> {
    context: &'a Context,
    roots: BTreeMap<Height, Hash>,
    /// The lowest block whose operations are not there.
    first: Option<Height>,
}

impl<'a> Judge<'a> {
    /// Of the file as it is now, which holds those of all blocks that were durable before; `None` if it cannot be read.
    pub(crate) fn new(context: &'a Context) -> Option<Self> {
        let operations = context.read_operations().ok()?;
        let groups = operations.chunk_by(|(one, _), (other, _)| one == other);
        let root = |group: &[(Height, Operation)]| {
            let operations: Vec<_> = group.iter().map(|(_, operation)| operation.clone()).collect();
            (group[0].0, ops_root(&operations))
        };
        Some(Self { context, roots: groups.map(root).collect(), first: None })
    }

    /// Looks at one block; whether its operations are there.
    pub(crate) fn look(&mut self, header: &MainHeader) -> bool {
        let kept = self.roots.get(&header.height).copied().unwrap_or_default();
        if kept == header.ops_root {
            return true;
        }
        self.first = Some(self.first.map_or(header.height, |first| first.min(header.height)));
        false
    }

    /// The blocks that have operations by the file.
    pub(crate) fn heights(&self) -> Vec<Height> {
        self.roots.keys().copied().collect()
    }

    /// What is wrong, by the blocks that were looked at.
    pub(crate) fn verdict(self) -> Option<Error> {
        let file = self.context.operations_path();
        self.first.map(|height| Error::Operations { missing: !file.exists(), file, height })
    }
}
