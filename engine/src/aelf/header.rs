//! Whether the extra data of a received block is right (`CrossChainValidationProvider.cs`).

use crate::chain::{Hash, Height, Timestamp};

use super::address::Address;
use super::bloom::Bloom;
use super::extra_data;
use super::selection::{Pending, needs_extra_data};

/// The event of a block that releases side blocks.
pub const INDEXED_EVENT: &str = "SideChainBlockDataIndexed";

/// Why a block's extra data is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Extra data, and nothing that could be released.
    #[error("the header has cross-chain extra data, but no proposal could be released in this block")]
    NothingToRelease,
    /// Extra data, and nothing was released.
    #[error("the header has cross-chain extra data, but the block released no side block")]
    NothingReleased,
    /// No extra data, and side blocks were released.
    #[error("the block released side blocks, but its header has no cross-chain extra data")]
    Missing,
    /// Extra data over other side blocks.
    #[error("the header's cross-chain extra data is not that of the side blocks that the block released")]
    Other,
}

/// Before the block is executed: with extra data, one of the proposals that are `pending` in the state before it can be
/// released at the block's own time.
pub fn before_execution(extra_data: &[u8], pending: &[Pending], time: Timestamp) -> Result<(), HeaderError> {
    if extra_data.is_empty() || needs_extra_data(pending, time) {
        Ok(())
    } else {
        Err(HeaderError::NothingToRelease)
    }
}

/// After it was executed: the extra data is that of the side blocks which it released. `released` gives their status
/// roots in order; it is asked only if the block's bloom may have the contract's event, which may be by chance.
pub fn after_execution(
    height: Height,
    bloom: &Bloom,
    contract: Address,
    released: impl FnOnce() -> Vec<Hash>,
    extra_data: &[u8],
) -> Result<(), HeaderError> {
    if height <= Height(1) {
        return Ok(());
    }
    let released = if bloom.contains(&Bloom::of_event(Some(contract), INDEXED_EVENT, &[])) {
        released()
    } else {
        Vec::new()
    };
    match (released.is_empty(), extra_data.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(HeaderError::NothingReleased),
        (false, true) => Err(HeaderError::Missing),
        (false, false) if extra_data::of_status_roots(&released) == extra_data => Ok(()),
        (false, false) => Err(HeaderError::Other),
    }
}
