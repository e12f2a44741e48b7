//! Everything of Mainstem that touches a file: an append-only log of main blocks, in segment files of one size.
//!
//! [`Log::open`] gives the one [`LogWriter`], which appends and syncs, and a [`LogReader`], which any number of
//! threads clone to read durable blocks where they lie in the map of their file ([`LogBlock`]). Other processes
//! open a [`LogReader`] of their own. `docs/format.md` gives the bytes and the rules of recovery.
//!
//! ```text
//!  append: check -> lay out (block) -> roll? (writer, active) -> checksum -> pwrite      (medium)
//!  sync:   fdatasync -> index (active) -> head                                           (reader)
//!  open:   LOG, MARK, BASE (files) -> trailers (segments) -> last segment (scan) -> recover
//!  read:   head -> segment -> offset -> checksum once -> slices of the map               (map, block)
//! ```
//!
//! # Invariants
//! - A record is visible only when it is durable, and published bytes never change.
//! - A segment is sealed only when the next one exists; records of a segment follow only the seal before it.
//! - Nothing is a record by its bytes alone: place, number and generation must be right, under the log's own key.

// The crash harness shares its blocks with the tests in `tests/`, which know this crate by its name.
#[cfg(test)]
extern crate self as mainstem_storage;

/// Whether this fault is planted, for the crash harness to find it (`crash::planted`). Only in the unit tests of this crate
/// can it be: everywhere else this is `false`.
macro_rules! planted {
    ($fault:literal) => {{
        #[cfg(test)]
        {
            crate::crash::planted::is($fault)
        }
        #[cfg(not(test))]
        {
            false
        }
    }};
}

mod active;
mod block;
mod check;
#[cfg(test)]
mod crash;
mod error;
mod files;
mod format;
mod heads;
mod log;
mod map;
mod medium;
mod operations;
mod prepare;
mod reader;
mod recover;
mod repair;
mod scan;
mod segment;
mod segments;
mod snapshot;
mod writer;

pub use block::LogBlock;
pub use check::{Report, check, lost_operations};
pub use error::{Error, Part};
pub use format::{Flaw, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
pub use log::{Log, Options, Prepare, operations};
pub use medium::{FileMedium, Medium, MediumFile};
pub use reader::{LogReader, SegmentInfo};
pub use recover::{Cut, Recovery};
pub use repair::{Mend, Repair, RepairOptions, repair};
pub use snapshot::{Copied, copy};
pub use writer::{LogWriter, Pruned};
