//! The consistency proof: that a header continues the history of an earlier one.

use alloc::vec::Vec;

use crate::chain::{Hash, MainHeader};
use crate::leaf;
use crate::tree::{consistency_nodes, fold_hashes, siblings, verify_consistency};

use super::binary::{Input, Output};
use super::{DecodeError, Part, Verified, VerifyError, header, later, same, version};

/// That `to` has all of the history of `from`, and `from` itself, in its own: nothing was rewritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsistencyProof {
    /// Version of the proof: 1.
    pub version: u16,
    /// The earlier header: the one that a client has kept.
    pub from: MainHeader,
    /// The later header, or the same.
    pub to: MainHeader,
    /// That the history of `from` is the beginning of that of `to` (RFC 9162 section 2.1.4).
    pub consistency: Vec<Hash>,
    /// The siblings from the history leaf of `from` to `to.history_root`.
    pub inclusion: Vec<Hash>,
}

impl ConsistencyProof {
    /// The version that this program writes and verifies.
    pub const VERSION: u16 = 1;
    const KIND: u8 = 3;

    /// Checks the proof for one who trusts the header of this hash: `to`, which proves all of `from`; or `from`, the header
    /// that a client has kept. Then what is proven is that `to` does not rewrite what was before, and
    /// [`Verified::trusted`] is `from`: what else is in `to` rests on whoever gave it.
    pub fn verify_trusting(&self, trusted: Hash) -> Result<Verified, VerifyError> {
        self.verify()?.trusting(&self.from, trusted)
    }

    /// Checks the proof by itself. [`Verified::header_hash`] is that of `from`.
    pub fn verify(&self) -> Result<Verified, VerifyError> {
        version("version", self.version, Self::VERSION)?;
        let (from, to) = (&self.from, &self.to);
        header(from).map_err(|error| error.of(Part::Header("from")))?;
        header(to).map_err(|error| error.of(Part::Header("to")))?;
        let from_hash = from.hash();
        if from.chain_id == to.chain_id && from.height == to.height {
            let to_hash = to.hash();
            same(("to", to_hash), ("from", from_hash))?;
            for (field, hashes) in [("consistency", &self.consistency), ("inclusion", &self.inclusion)] {
                if !hashes.is_empty() {
                    let (got, expected) = (hashes.len() as u64, "no hash, for both headers are the same");
                    return Err(VerifyError::Value { field, got, expected });
                }
            }
            return Ok(Verified { header_hash: from_hash, trusted: *to, trusted_hash: to_hash });
        }
        later("to", to, from)?;
        let (earlier, size) = (from.height.0 - 1, to.height.0 - 1);
        verify_consistency(earlier, size, from.history_root, to.history_root, &self.consistency)
            .map_err(|error| VerifyError::Path { field: "consistency", error })?;
        let got = fold_hashes(leaf::history(from.height, from_hash), earlier, size, &self.inclusion)
            .map_err(|error| VerifyError::Path { field: "inclusion", error })?;
        same(("inclusion", got), ("to.history_root", to.history_root))?;
        Ok(Verified { header_hash: from_hash, trusted: *to, trusted_hash: to.hash() })
    }

    /// The binary form: 1, 3, both headers, the hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes = self.consistency.len() + self.inclusion.len();
        let mut out = Vec::with_capacity(2 + 2 * MainHeader::BYTES + 32 * hashes);
        out.put(&[1, Self::KIND]);
        out.put(&self.from.encode());
        out.put(&self.to.encode());
        out.put_hashes(&self.consistency);
        out.put_hashes(&self.inclusion);
        out
    }

    /// Reads the binary form. Strict: no missing and no surplus byte.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new(bytes);
        input.kind(Self::KIND, "3, a consistency proof")?;
        let (from, to) = (input.header()?, input.header()?);
        let (earlier, size) = (from.height.0.wrapping_sub(1), to.height.0.wrapping_sub(1));
        // Heights that cannot be have no hashes: the verifier refuses them.
        let consistency = input.hashes(consistency_nodes(earlier, size))?;
        let inclusion = input.hashes(siblings(earlier, size))?;
        input.finish()?;
        Ok(Self { version: Self::VERSION, from, to, consistency, inclusion })
    }
}
