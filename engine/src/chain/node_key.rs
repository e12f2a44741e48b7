//! [`NodeKey`]: who a node is.

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::edwards::CompressedEdwardsY;

/// The ed25519 public key of a node, written as 64 hex digits (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

serde_as_text!(NodeKey);

/// A text that is not a node key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNodeKeyError {
    /// Not 64 hex digits.
    #[error("{text:?} is not a node key: expected the 64 hex digits that `mainstem keys show` prints")]
    Form {
        /// The text, as far as it is worth showing.
        text: String,
    },
    /// The public key of everyone: a point of small order, for which signatures can be made without a secret (RFC
    /// 8032 does not forbid it; 32 zero bytes are one).
    #[error(
        "{text:?} is no node's key, for anyone could sign with it: expected what `mainstem keys show` or \
         `tributary keys show` prints"
    )]
    Anybody {
        /// The text.
        text: String,
    },
}

impl FromStr for NodeKey {
    type Err = ParseNodeKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if text.len() != 64 || const_hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(ParseNodeKeyError::Form { text: text.chars().take(80).collect() });
        }
        // A key that is no point at all is harmless: nobody can sign for it.
        if CompressedEdwardsY(bytes).decompress().is_some_and(|point| point.is_small_order()) {
            return Err(ParseNodeKeyError::Anybody { text: text.into() });
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_anyone_could_sign_for_is_no_node_key() {
        // RFC 8032 section 7.1, test 1.
        let good = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(good.parse::<NodeKey>().map(|key| key.to_string()), Ok(good.to_owned()));
        let small_order = [
            "00".repeat(32),
            format!("01{}", "00".repeat(31)),
            format!("ec{}7f", "ff".repeat(30)),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
        ];
        for anybody in small_order {
            let refused = anybody.parse::<NodeKey>();
            assert!(matches!(refused, Err(ParseNodeKeyError::Anybody { .. })), "{anybody}: {refused:?}");
        }
        for wrong in ["", &good[1..], &format!("{good}0"), &good.replace('d', "g"), &format!("0x{good}")] {
            assert!(matches!(wrong.parse::<NodeKey>(), Err(ParseNodeKeyError::Form { .. })), "{wrong}");
        }
    }
}
