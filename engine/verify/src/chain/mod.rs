//! The types of a chain that proofs speak of: ids, heights, times, hashes and main headers.
//!
//! Construction from raw integers is explicit (`ChainId(7)`, `Height(1)`): wrong use of one for another does
//! not compile.

mod hash;
mod header;
mod ids;

pub use hash::{Hash, ParseHashError};
pub use header::MainHeader;
pub use ids::{ChainId, Height, ParseChainIdError, Timestamp};
