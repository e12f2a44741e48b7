//! Identities and units: chain, height, time.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The id of a chain. Shown in base58 of its low three bytes, as AElf does: 9992731 is `AELF`, 1866392 `tDVV`.
///
/// An id that has no four-letter form (a small number, or one above three bytes) is shown as a number.
/// Parsing accepts both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainId(pub u32);

impl ChainId {
    /// The number, little-endian, as it stands in every preimage.
    pub const fn to_le_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, high] = self.to_le_bytes();
        let text = bs58::encode([a, b, c]).into_string();
        // The number of a chain is itself a valid text; a base58 form made of digits alone would be read back
        // as that number.
        if high == 0 && text.len() == 4 && !text.bytes().all(|byte| byte.is_ascii_digit()) {
            f.pad(&text)
        } else {
            f.pad(&self.0.to_string())
        }
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainId({} = {self})", self.0)
    }
}

/// A text that is not a chain id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a chain id: expected a number up to 4294967295 or four base58 letters such as tDVV")]
pub struct ParseChainIdError {
    text: String,
}

impl FromStr for ChainId {
    type Err = ParseChainIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            if let Ok(number) = text.parse() {
                return Ok(Self(number));
            }
        } else if text.len() == 4
            && let Ok(bytes) = bs58::decode(text).into_vec()
            && let Ok([a, b, c]) = <[u8; 3]>::try_from(bytes)
        {
            return Ok(Self(u32::from_le_bytes([a, b, c, 0])));
        }
        Err(ParseChainIdError { text: text.chars().take(40).collect() })
    }
}

/// The height of a block in its own chain. The first block of a chain has height 1; 0 is "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Height(pub u64);

impl Height {
    /// The highest height that the engine accepts, 2^63 - 1: sums of a height and a count never overflow.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The height after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The height before this one; of 0, 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Milliseconds since the Unix epoch. Data of a block, never an input to ordering or expiry.
///
/// Kept little-endian, so that a column of times is used where it lies, in a frame or in a map.
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
pub struct Timestamp(U64);

impl Timestamp {
    /// The time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(U64::new(millis))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({} ms)", self.as_millis())
    }
}

#[cfg(feature = "serde")]
mod json {
    use core::fmt;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{ChainId, Timestamp};

    impl Serialize for ChainId {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u32(self.0)
        }
    }

    impl<'de> Deserialize<'de> for ChainId {
        /// A number, or a text in either form.
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl de::Visitor<'_> for Visitor {
                type Value = ChainId;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(
                        "a chain id: a number up to 4294967295 or four base58 letters such as \"tDVV\"",
                    )
                }
                fn visit_u64<E: de::Error>(self, number: u64) -> Result<ChainId, E> {
                    u32::try_from(number)
                        .map(ChainId)
                        .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
                }
                fn visit_i64<E: de::Error>(self, number: i64) -> Result<ChainId, E> {
                    u32::try_from(number)
                        .map(ChainId)
                        .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
                }
                fn visit_str<E: de::Error>(self, text: &str) -> Result<ChainId, E> {
                    text.parse().map_err(E::custom)
                }
            }
            deserializer.deserialize_any(Visitor)
        }
    }

    impl Serialize for Timestamp {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u64(self.as_millis())
        }
    }

    impl<'de> Deserialize<'de> for Timestamp {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u64::deserialize(deserializer).map(Self::from_millis)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_read_and_print_as_aelf_does() {
        // Pairs of the AElf reference: spec of chain ids, section 4.2.
        for (number, text) in
            [(9_992_731, "AELF"), (1_866_392, "tDVV"), (1_931_928, "tDVW"), (4_200_270, "TELF")]
        {
            assert_eq!(ChainId(number).to_string(), text);
            assert_eq!(text.parse(), Ok(ChainId(number)));
            assert_eq!(number.to_string().parse(), Ok(ChainId(number)));
        }
    }

    #[test]
    fn every_chain_id_reads_back_from_what_it_prints() {
        // 2685442 is `2111` in base58, which reads as the number 2111: so it prints as its number.
        for number in [0, 1, 58, 2_111, 2_685_442, 195_112, 9_992_731, 0x00ff_ffff, 0x0100_0000, u32::MAX] {
            assert_eq!(ChainId(number).to_string().parse(), Ok(ChainId(number)), "{number}");
        }
    }

    #[test]
    fn what_is_no_chain_id_is_refused() {
        for text in ["", "tDV", "tDVVV", "0OIl", "4294967296", "-1", " 1", "9 "] {
            assert!(text.parse::<ChainId>().is_err(), "{text:?}");
        }
    }
}
