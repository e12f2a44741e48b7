//! Checks what Mainstem proves, and nothing else: no network, no disk, no clock, no std.
//!
//! A Mainstem binds the blocks of many chains into its own ones. Whoever trusts the hash of *one* main header, got from
//! a node that he runs, from several that agree, or from a contract, can check anything that was ever indexed before it:
//! that a block of a chain is there ([`Proof`](proof::Proof)), that a transaction or its receipt is in it
//! ([`CrossChainProof`](proof::CrossChainProof)), that these are all blocks ([`SectionProof`](proof::SectionProof)) or that
//! there is none ([`AbsenceProof`](proof::AbsenceProof)), and that a newer header rewrites nothing
//! ([`ConsistencyProof`](proof::ConsistencyProof)). `docs/protocol.md`, section "Proofs", has the forms.
//!
//! # Verify a proof
//! A document as a node serves it, in JSON (feature `serde`) or in its binary form:
//!
//! ```
//! # let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/proofs.json"))?;
//! # let vector = &vectors["accepted"][0];
//! # let (document, trusted) = (vector["json"].to_string(), vector["trusted"].as_str().ok_or("a hash")?);
//! use verify::{Document, Hash};
//!
//! let proof = Document::parse(document.as_bytes())?;
//! let trusted: Hash = trusted.parse()?;
//! let outcome = proof.verify_trusting(trusted)?;
//! assert_eq!(outcome.verified.trusted_hash, trusted);
//! println!("a {} proof that holds: {proof:?}", proof.kind());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What was proven is in the document itself, all of which was hashed or compared; of a transaction proof
//! [`Outcome::claim`](proof::Outcome::claim) says it. Two things remain for the reader: whether the *main chain* is the
//! one that he means ([`MainHeader::chain_id`] of [`Verified::trusted`](proof::Verified::trusted), unless the hash says
//! it), and whether the chain id in the document is that of the chain he means, of the type that the transaction part is
//! for.
//!
//! # Follow an operator
//! A client that keeps one header asks for the consistency proof from it to a newer one, checks that
//! [`ConsistencyProof::from`](proof::ConsistencyProof::from) is the one it keeps, verifies, and keeps `to`. An operator who
//! rewrites anything cannot give such a proof.
//!
//! # Limits
//! Everything here is for input that nobody trusts: it is bounded before memory is taken
//! ([`Document::MAX_BYTES`], [`BlocksProof::MAX_BLOCKS`](proof::BlocksProof::MAX_BLOCKS),
//! [`CrossChainProof::MAX_LEVELS`](proof::CrossChainProof::MAX_LEVELS)), and refused by an error that names the field, its
//! value and what would be right. Nothing panics.
//!
//! # Without std
//! The crate takes `alloc` and SHA-256, and with the feature `evm` Keccak-256, RLP and trie nodes from alloy. `engine/verify/no_std`
//! is a program without std that uses all of it: it compiles only as long as no dependency links std, and
//! `cargo xtask test` compiles it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod aelf;
pub mod chain;
#[cfg(feature = "evm")]
pub mod evm;
pub mod leaf;
pub mod proof;
pub mod tree;

pub use chain::{ChainId, Hash, Height, MainHeader};
pub use proof::Document;
