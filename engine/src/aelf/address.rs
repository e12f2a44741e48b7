//! Addresses: 32 bytes, written in base58check (`Address.cs`, `Base58.cs`).

use std::fmt;
use std::str::FromStr;

use crate::merkle::digest;

use super::base58;

/// An address of AElf: the hash of a public key, or of what made a contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address(pub [u8; 32]);

/// Bytes of the checksum: the first ones of the double SHA-256.
const CHECKSUM: usize = 4;

impl Address {
    fn checksum(&self) -> [u8; CHECKSUM] {
        let [a, b, c, d, ..] = digest(digest(&self.0).as_bytes()).0;
        [a, b, c, d]
    }

    /// The message `aelf.Address` in bytes, as blooms take it: field 1, 32 bytes.
    pub fn to_message(self) -> [u8; 34] {
        let mut message = [0; 34];
        message[..2].copy_from_slice(&[0x0a, 32]);
        message[2..].copy_from_slice(&self.0);
        message
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 32 + CHECKSUM];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.checksum());
        f.pad(&base58::encode(bytes))
    }
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address of AElf: expected 32 bytes in base58check, about 50 characters")]
pub struct ParseAddressError {
    text: String,
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAddressError { text: text.chars().take(80).collect() };
        let bytes = base58::decode(text).ok_or_else(refuse)?;
        let Some((bytes, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else { return Err(refuse()) };
        let address = Self(bytes.try_into().map_err(|_| refuse())?);
        if address.checksum() == *checksum { Ok(address) } else { Err(refuse()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_reads_back_and_with_any_letter_changed_does_not() {
        for byte in [0, 1, 0x80, 0xff] {
            let address = Address([byte; 32]);
            let text = address.to_string();
            assert_eq!(text.parse(), Ok(address));
            for (at, letter) in text.char_indices() {
                let other = if letter == '2' { "3" } else { "2" };
                let wrong = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(wrong.parse::<Address>().is_err(), "{wrong}");
            }
        }
    }
}
