//! The types of a chain: ids, heights, hashes, side blocks, main headers and main blocks.
//!
//! Ids, heights, times, hashes and main headers are those of the crate `verify`, which proofs are checked with.
//! Construction from raw integers is explicit (`ChainId(7)`, `Height(1)`): wrong use of one for another does
//! not compile.

/// Shows a type for people and programs alike as its one text form, and reads it from there.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

mod main_block;
mod node_key;
mod side_block;

pub use main_block::{BlockView, MainBlock, Section};
pub use node_key::{NodeKey, ParseNodeKeyError};
pub use side_block::{Columns, ColumnsRef, SideBlock};
pub use verify::chain::{ChainId, Hash, Height, MainHeader, ParseChainIdError, ParseHashError, Timestamp};
