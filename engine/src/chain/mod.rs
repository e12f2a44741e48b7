//! The types of a chain: ids, heights, hashes, side blocks, main headers and main blocks.
//!
//! Construction from raw integers is explicit (`ChainId(7)`, `Height(1)`): wrong use of one for another does
//! not compile.

mod hash;
mod header;
mod ids;
mod main_block;
mod side_block;

pub use hash::{Hash, ParseHashError};
pub use header::MainHeader;
pub use ids::{ChainId, Height, NodeKey, ParseChainIdError, ParseNodeKeyError, Timestamp};
pub use main_block::{BlockView, MainBlock, Section};
pub use side_block::{Columns, ColumnsRef, SideBlock};
