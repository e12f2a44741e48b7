//! [`Document`]: a proof of any kind.

use alloc::string::String;
use alloc::vec::Vec;

use crate::chain::Hash;

use super::{
    AbsenceProof, BlocksProof, Claim, ConsistencyProof, CrossChainProof, DecodeError, Proof, SectionProof,
    Verified, VerifyError,
};

/// A proof of any kind, as it is handed on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[allow(
    clippy::large_enum_variant,
    reason = "one document at a time; a box would be another step for each reader"
)]
pub enum Document {
    /// That a side block is indexed.
    Block(Proof),
    /// That a transaction, or a receipt, is in an indexed side block.
    Transaction(CrossChainProof),
    /// That each of many side blocks is indexed.
    Blocks(BlocksProof),
    /// That a header continues the history of an earlier one.
    Consistency(ConsistencyProof),
    /// That these are all blocks of a chain in a main block.
    Chain(SectionProof),
    /// That a main block has no block of a chain.
    Absence(AbsenceProof),
}

/// What a document that verifies rests on, and what its transaction part says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What it rests on.
    pub verified: Verified,
    /// Of a transaction proof: what is proven.
    pub claim: Option<Claim>,
}

/// Why something is no document.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Too long.
    #[error("{got} bytes; a proof has at most {}", Document::MAX_BYTES)]
    TooLong {
        /// How long.
        got: usize,
    },
    /// Not the binary form of a proof.
    #[error("no proof in binary form: {0}")]
    Binary(#[from] DecodeError),
    /// Not the JSON form of a proof.
    #[error("no proof in JSON: {0}")]
    Json(String),
    /// JSON, which this program was built without.
    #[error("JSON is not built in; build with the feature \"serde\", or give the binary form")]
    NoJson,
}

impl Document {
    /// The longest document.
    pub const MAX_BYTES: usize = 16 << 20;

    /// Reads either form. JSON starts with `{`, after any white space; the binary form with a 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(ParseError::TooLong { got: bytes.len() });
        }
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Ok(Self::from_bytes(bytes)?);
        }
        #[cfg(feature = "serde")]
        return super::json::parse(bytes).map_err(ParseError::Json);
        #[cfg(not(feature = "serde"))]
        Err(ParseError::NoJson)
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX_BYTES {
            let (field, got) = ("length", bytes.len() as u64);
            return Err(DecodeError::Value { field, got, expected: "at most 16 MiB" });
        }
        match bytes {
            [1, 0, ..] => Proof::from_bytes(bytes).map(Self::Block),
            [1, 1, ..] => CrossChainProof::from_bytes(bytes).map(Self::Transaction),
            [1, 2, ..] => BlocksProof::from_bytes(bytes).map(Self::Blocks),
            [1, 3, ..] => ConsistencyProof::from_bytes(bytes).map(Self::Consistency),
            [1, 4, ..] => SectionProof::from_bytes(bytes).map(Self::Chain),
            [1, 5, ..] => AbsenceProof::from_bytes(bytes).map(Self::Absence),
            [1, kind, ..] => {
                Err(DecodeError::Value { field: "kind", got: (*kind).into(), expected: "0 to 5" })
            }
            [version, _, ..] => {
                Err(DecodeError::Value { field: "version", got: (*version).into(), expected: "1" })
            }
            _ => Err(DecodeError::Length { got: bytes.len(), expected: 2 }),
        }
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Block(proof) => proof.to_bytes(),
            Self::Transaction(proof) => proof.to_bytes(),
            Self::Blocks(proof) => proof.to_bytes(),
            Self::Consistency(proof) => proof.to_bytes(),
            Self::Chain(proof) => proof.to_bytes(),
            Self::Absence(proof) => proof.to_bytes(),
        }
    }

    /// Checks the proof by itself. What it proves holds for whoever trusts [`Verified::trusted_hash`].
    pub fn verify(&self) -> Result<Outcome, VerifyError> {
        let verified = match self {
            Self::Block(proof) => proof.verify(),
            Self::Transaction(proof) => {
                let (verified, claim) = proof.verify_claim()?;
                return Ok(Outcome { verified, claim: Some(claim) });
            }
            Self::Blocks(proof) => proof.verify(),
            Self::Consistency(proof) => proof.verify(),
            Self::Chain(proof) => proof.verify(),
            Self::Absence(proof) => proof.verify(),
        }?;
        Ok(Outcome { verified, claim: None })
    }

    /// Checks the proof against the header hash that the verifier trusts: that of its newest header, or of the header
    /// under which it proves something ([`Proof::verify_trusting`], [`BlocksProof::verify_trusting`],
    /// [`ConsistencyProof::verify_trusting`]).
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Outcome, VerifyError> {
        let verified = match self {
            Self::Block(proof) => proof.verify_trusting(trusted),
            Self::Transaction(proof) => {
                let (verified, claim) = proof.verify_claim()?;
                let verified = verified.trusting(&proof.block.header, trusted)?;
                return Ok(Outcome { verified, claim: Some(claim) });
            }
            Self::Blocks(proof) => proof.verify_trusting(trusted),
            Self::Consistency(proof) => proof.verify_trusting(trusted),
            Self::Chain(proof) => proof.verify_trusting(trusted),
            Self::Absence(proof) => proof.verify_trusting(trusted),
        }?;
        Ok(Outcome { verified, claim: None })
    }

    /// What it is called: `block`, `transaction`, `blocks`, `consistency`, `chain` or `absence`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Block(_) => "block",
            Self::Transaction(_) => "transaction",
            Self::Blocks(_) => "blocks",
            Self::Consistency(_) => "consistency",
            Self::Chain(_) => "chain",
            Self::Absence(_) => "absence",
        }
    }
}
