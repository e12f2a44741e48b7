//! The messages of AElf's cross-chain protocol: what nodes of different chains ask each other by gRPC, and the views of
//! the contract that holds what was indexed. Names and field numbers are AElf's; the files are in `proto/`.
//!
//! ```text
//! aelf::Hash, Address, MerklePath, Transaction      what all have in common (package `aelf`)
//! aelf::acs7::*                                     indexed blocks, inputs and outputs of the views (package `acs7`)
//! aelf::CrossChainRequest, HandShake, ..            the gRPC protocol (no package)
//! aelf::parent_chain_rpc_server::*, ..              its clients and servers, with feature `grpc`
//! ```
#![forbid(unsafe_code)]

/// All of it, each package in a module of its name.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated; what the .proto files say is in it as documentation"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));

    pub mod aelf {
        include!(concat!(env!("OUT_DIR"), "/aelf.rs"));
    }

    /// Package `acs7`: what chains index of one another, and the views of the cross-chain contract.
    pub mod acs7 {
        include!(concat!(env!("OUT_DIR"), "/acs7.rs"));
    }
}

pub use generated::aelf::{Address, Hash, MerklePath, MerklePathNode, Transaction};
pub use generated::*;
pub use prost;
pub use prost_types::Timestamp;
#[cfg(feature = "grpc")]
pub use tonic;

/// What clients of the cross-chain contract need to encode its inputs and decode its outputs: a `FileDescriptorSet` with
/// `acs7.proto`, whose first service, `acs7.ACS7`, has the views, and everything that it imports, each file after those
/// it needs.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/acs7.bin"));

impl Hash {
    /// The 32 bytes; `None` where it has another length.
    pub fn bytes(&self) -> Option<[u8; 32]> {
        self.value.as_slice().try_into().ok()
    }
}

impl From<[u8; 32]> for Hash {
    fn from(value: [u8; 32]) -> Self {
        Self { value: value.to_vec() }
    }
}
