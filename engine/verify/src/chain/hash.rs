//! [`Hash`]: a 32-byte digest, written as `0x` and 64 hex digits.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 32-byte digest: of a block, of a header, of a tree node, of a set of transactions.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 32 zero bytes: the root of nothing and the value of an unused root (design section 4).
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes, as they stand in every preimage and on the wire.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Sees a column of raw digests, as it lies in a frame or in a map, as hashes, without copying.
    pub fn column(raw: &[[u8; 32]]) -> &[Self] {
        zerocopy::transmute_ref!(raw)
    }

    /// Sees hashes as a column of raw digests, without copying.
    pub fn raw_column(hashes: &[Self]) -> &[[u8; 32]] {
        zerocopy::transmute_ref!(hashes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(const_hex::Buffer::<32, true>::new().format(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a hash: expected 0x and 64 hex digits")]
pub struct ParseHashError {
    text: String,
}

impl FromStr for Hash {
    type Err = ParseHashError;

    /// Strict: the `0x` is required, so that a hash has one spelling up to the case of its digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseHashError { text: text.chars().take(80).collect() };
        let digits = text.strip_prefix("0x").ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        if digits.len() != 64 || digits.starts_with("0x") {
            return Err(refuse());
        }
        const_hex::decode_to_slice(digits, &mut bytes).map_err(|_| refuse())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn text_form_is_0x_and_64_digits_and_nothing_else() {
        let hash = Hash([0xab; 32]);
        let text = hash.to_string();
        assert_eq!(text, format!("0x{}", "ab".repeat(32)));
        assert_eq!(text.parse::<Hash>(), Ok(hash));
        for wrong in
            ["", "0x", &text[2..], &text[..65], &format!("{text}0"), &format!("0x{text}"), &"zz".repeat(33)]
        {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
        }
    }
}
