//! Asks the kernel to write early.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Lets the kernel begin to write `length` bytes from `offset` on to the disk, and does not wait for it. A hint: what
/// becomes of it is told by the next sync.
pub(super) fn begin(file: &File, offset: u64, length: usize) {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else { return };
    // SAFETY: the call takes no pointer, and the descriptor is open as long as `file` is borrowed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}
