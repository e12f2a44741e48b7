//! What a block says of other chains in its header: the value under the key `CrossChain`
//! (`CrossChainDataTypeExtensions.cs`). Of a block that releases no side block it is empty.

use crate::chain::Hash;
use crate::merkle::aelf;

/// The key in the header's map.
pub const KEY: &str = "CrossChain";

/// Bytes of a value that is not empty.
pub const BYTES: usize = 36;

/// Message `CrossChainExtraData` with field 1, a `Hash` of 34 bytes, with field 1, 32 bytes.
const HEAD: [u8; 4] = [0x0a, 34, 0x0a, 32];

/// The value of a block that releases side blocks with these status roots, in this order; empty of none.
pub fn of_status_roots(roots: &[Hash]) -> Vec<u8> {
    if roots.is_empty() { Vec::new() } else { of_root(aelf::root(&mut roots.to_vec())).into() }
}

/// The value with this root over all side blocks.
pub fn of_root(root: Hash) -> [u8; BYTES] {
    let mut value = [0; BYTES];
    value[..4].copy_from_slice(&HEAD);
    value[4..].copy_from_slice(root.as_bytes());
    value
}

/// The root in a value; `None` in an empty one.
///
/// # Errors
/// It is neither empty nor what [`of_root`] writes. AElf would also take other spellings of the message, which none of
/// its nodes writes.
pub fn parse(value: &[u8]) -> Result<Option<Hash>, ExtraDataError> {
    match value.split_first_chunk() {
        None if value.is_empty() => Ok(None),
        Some((&HEAD, root)) if root.len() == 32 => {
            Ok(Some(Hash(root.try_into().expect("the length was looked at"))))
        }
        _ => Err(ExtraDataError { bytes: value.len() }),
    }
}

/// A value that is no extra data.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{bytes} bytes of cross-chain extra data: expected none, or 0x0a220a20 and a root of 32 bytes")]
pub struct ExtraDataError {
    /// How many bytes there are.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_anything_else_is_refused() {
        let root = Hash([7; 32]);
        let value = of_root(root);
        assert_eq!(parse(&value), Ok(Some(root)));
        assert_eq!(parse(&[]), Ok(None));
        for length in 1..BYTES {
            assert!(parse(&value[..length]).is_err(), "{length}");
        }
        assert!(parse(&[&value[..], &[0]].concat()).is_err());
        for at in 0..4 {
            let mut wrong = value;
            wrong[at] ^= 1;
            assert!(parse(&wrong).is_err(), "{at}");
        }
    }
}
