//! Transactions of AElf chains: the leaf of one that was mined, and the way up in AElf's tree.
//!
//! AElf completes a row of odd length by a copy of its last node, so `[a, b, c]` and `[a, b, c, c]` have one root. The
//! copy stands on the right of what it copies; a path that starts at a copy's place has its own hash on the left, and
//! is refused: nothing stands there.

use crate::chain::Hash;
use crate::tree::{MAX_FREE_STEPS, PathError, Step, digest, node};

/// The leaf of a transaction that was mined (37 bytes): `H(id[32] || "Mined")`.
pub fn mined(id: Hash) -> Hash {
    let mut preimage = [0; 37];
    preimage[..32].copy_from_slice(id.as_bytes());
    preimage[32..].copy_from_slice(b"Mined");
    digest(&preimage)
}

/// The root that `path` leads to from `leaf`.
pub fn fold(leaf: Hash, path: &[Step]) -> Result<Hash, PathError> {
    if path.len() > MAX_FREE_STEPS {
        return Err(PathError::TooLong { got: path.len(), most: MAX_FREE_STEPS });
    }
    path.iter().enumerate().try_fold(leaf, |below, (step, sibling)| match sibling.left {
        true if sibling.hash == below => Err(PathError::Copy { step }),
        true => Ok(node(sibling.hash, below)),
        false => Ok(node(below, sibling.hash)),
    })
}
