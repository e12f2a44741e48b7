//! The rules of AElf: what its nodes and its cross-chain contract do with the blocks of other chains, as pure functions
//! and data structures. For whoever serves AElf's clients, stands beside its nodes, or seals as AElf does.
//!
//! The source is the public node (C#, MIT licence) at commit `dc883f4c`; each module names the files that it follows.
//! Nothing of ours is proven by these rules: AElf's tree is ambiguous and its proofs do not name their chain
//! (`docs/aelf.md`). Messages on the wire are not here but in `net/aelf`; the two that are hashed or put into a header,
//! a transaction and the extra data, are read and written by hand.
//!
//! Nodes run little of it: names and addresses, the extra data, the choice of a root in [`contract`], [`lanes`], and the
//! bounds in [`server`]. The rest is AElf's rules as an executable specification: its own vectors are run on it, and our
//! lanes, our pipeline and the stand-in for a side node are held against it.
//!
//! # Map
//! Names and hashes: [`chain_id`], [`address`], [`base58`], [`status`], [`transaction`], [`tree`], [`bloom`], [`extra_data`].
//! Indexing: [`cache`] -> [`selection`] (what a producer proposes or releases) -> [`proposal`] (who votes for it) ->
//! [`header`] (which blocks are valid); [`server`] answers other nodes. [`contract`] keeps what was indexed. [`lanes`] is
//! the selection again, over our lanes.

pub mod address;
pub mod base58;
pub mod bloom;
pub mod cache;
pub mod chain_id;
pub mod contract;
pub mod data;
pub mod extra_data;
pub mod header;
pub mod lanes;
pub mod proposal;
pub mod selection;
pub mod server;
pub mod status;
pub mod transaction;
pub mod tree;

use crate::chain::Hash;
use crate::merkle::digest;

/// Blocks of one chain in a cache at most (`CrossChainConstants.cs`).
pub const CACHE_BLOCKS: usize = 1024;

/// Blocks of one chain in a proposal at most, and how many have to follow the first block of a chain before it is
/// proposed (`DefaultBlockCacheEntityCount` in `CrossChainConstants.cs`).
pub const BATCH: u64 = 256;

/// SHA-256 of hashes one after the other (`HashHelper.ConcatAndCompute`).
pub fn concat(hashes: &[Hash]) -> Hash {
    digest(Hash::raw_column(hashes).as_flattened())
}
