//! The proofs (`docs/protocol.md`, section "Proofs").
//!
//! A proof has no optional meaning: every field is hashed or compared. A verifier hashes what is proven itself,
//! derives each sibling's side from index and size, and ends at a header hash, which is all that needs trust.

mod absence;
mod binary;
mod block;
mod chain;
mod consistency;
mod document;
mod error;
#[cfg(feature = "serde")]
mod json;
mod many;
#[cfg(feature = "serde")]
mod strict;
mod transaction;

use crate::chain::{Hash, Height, MainHeader};
use crate::leaf;
use crate::tree::{Step, fold};

pub use absence::{AbsenceProof, Neighbour};
pub use binary::DecodeError;
pub use block::{ChainPart, Proof, ProvenBlock};
pub use chain::{BlockContent, SectionProof};
pub use consistency::ConsistencyProof;
pub use document::{Document, Outcome, ParseError};
pub use error::{Part, VerifyError};
pub use many::{BlocksProof, ManyBlock, ManyChain};
pub use transaction::{AelfPart, Claim, CrossChainProof, EvmPart, Inner, Nested, SimPart, Transaction};

/// What a proof that verifies rests on: what it says holds if its reader trusts the header hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The header that what is proven is under. Of a consistency proof: the earlier header; of a proof of many blocks:
    /// the last of them.
    pub header_hash: Hash,
    /// The newest header that the proof ends in: `head` if the proof has one, else the header itself.
    pub trusted: MainHeader,
    /// Its hash: the one thing to be trusted.
    pub trusted_hash: Hash,
}

impl Verified {
    /// The same for one who trusts the header of this hash: that of the newest header or, whatever the proof has beyond
    /// it, that of `header`.
    fn trusting(self, header: &MainHeader, trusted: Hash) -> Result<Self, VerifyError> {
        let (header_hash, got) = (self.header_hash, self.trusted_hash);
        if got == trusted {
            Ok(self)
        } else if header_hash == trusted {
            Ok(Self { header_hash, trusted: *header, trusted_hash: header_hash })
        } else {
            Err(VerifyError::NotTrusted { got, trusted })
        }
    }
}

fn version(field: &'static str, got: u16, expected: u16) -> Result<(), VerifyError> {
    if got == expected { Ok(()) } else { Err(VerifyError::Version { field, got, expected }) }
}

fn height(field: &'static str, got: Height) -> Result<(), VerifyError> {
    let right = (Height(1)..=Height::MAX).contains(&got);
    if right { Ok(()) } else { Err(VerifyError::NoHeight { field, got }) }
}

/// That a header is of a version that is known, and of a height that can be.
fn header(header: &MainHeader) -> Result<(), VerifyError> {
    version("header.version", header.version, MainHeader::VERSION)?;
    height("header.height", header.height)
}

/// That `head`, named `field`, is a later header of the same main chain.
fn later(field: &'static str, head: &MainHeader, header: &MainHeader) -> Result<(), VerifyError> {
    if head.chain_id != header.chain_id || head.height <= header.height {
        let (chain, height) = (header.chain_id, header.height);
        let (head_chain, head) = (head.chain_id, head.height);
        return Err(VerifyError::Head { field, chain, height, head_chain, head });
    }
    Ok(())
}

/// Follows a header, which was checked, to the head, if there is one.
fn history(
    header: &MainHeader,
    path: Option<&[Step]>,
    head: Option<&MainHeader>,
) -> Result<Verified, VerifyError> {
    let header_hash = header.hash();
    let (head, path) = match (head, path) {
        (None, None) => return Ok(Verified { header_hash, trusted: *header, trusted_hash: header_hash }),
        (Some(head), Some(path)) => (head, path),
        _ => return Err(VerifyError::HalfHistory("history_path")),
    };
    version("head.version", head.version, MainHeader::VERSION)?;
    height("head.height", head.height)?;
    later("head", head, header)?;
    leads_to(
        leaf::history(header.height, header_hash),
        (header.height.0 - 1, head.height.0 - 1),
        path,
        ("history_path", "head.history_root", head.history_root),
    )?;
    Ok(Verified { header_hash, trusted: *head, trusted_hash: head.hash() })
}

/// Checks that `path` leads from `leaf`, at (index, size), to a root, named (path, root, its value).
fn leads_to(
    leaf: Hash,
    (index, size): (u64, u64),
    path: &[Step],
    (field, root, expected): (&'static str, &'static str, Hash),
) -> Result<(), VerifyError> {
    let got = fold(leaf, index, size, path).map_err(|error| VerifyError::Path { field, error })?;
    same((field, got), (root, expected))
}

/// Checks that a hash, named `field`, is that of `root`.
fn same(
    (field, got): (&'static str, Hash),
    (root, expected): (&'static str, Hash),
) -> Result<(), VerifyError> {
    if got == expected { Ok(()) } else { Err(VerifyError::Root { field, got, root, expected }) }
}
