//! Blooms: 2048 bits that tell which events a block may have (`Bloom.cs`, `LogEventExtensions.cs`).

use crate::chain::Hash;
use crate::merkle::digest;

use super::address::Address;

/// A bloom filter of 256 bytes, as Ethereum's but over SHA-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bloom(pub [u8; Bloom::BYTES]);

impl Bloom {
    /// Its length.
    pub const BYTES: usize = 256;

    /// One in which nothing is.
    pub const fn empty() -> Self {
        Self([0; Self::BYTES])
    }

    /// That of one event: its emitter (none for a look at the name alone), its name, and its indexed values, each one
    /// a serialised message.
    pub fn of_event(emitter: Option<Address>, name: &str, indexed: &[&[u8]]) -> Self {
        let mut bloom = Self::empty();
        if let Some(emitter) = emitter {
            bloom.add(&emitter.to_message());
        }
        bloom.add(name.as_bytes());
        indexed.iter().for_each(|value| bloom.add(value));
        bloom
    }

    /// Adds a value.
    pub fn add(&mut self, value: &[u8]) {
        self.add_hash(digest(value));
    }

    /// Adds a value by its SHA-256: three bits, from its first three pairs of bytes.
    pub fn add_hash(&mut self, hash: Hash) {
        for pair in hash.0.chunks_exact(2).take(3) {
            let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]])) % (8 * Self::BYTES);
            self.0[Self::BYTES - 1 - bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Adds all that is in the other one.
    pub fn combine(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte |= other);
    }

    /// Whether all that is in the other one may be in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(byte, other)| byte & other == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bloom_contains_what_was_added_and_an_empty_one_nothing() {
        let event = Bloom::of_event(Some(Address([3; 32])), "SideChainIndexed", &[&[8, 1]]);
        let other = Bloom::of_event(Some(Address([4; 32])), "ParentChainIndexed", &[]);
        let mut block = Bloom::empty();
        assert!(!block.contains(&event) && block.contains(&Bloom::empty()));
        block.combine(&event);
        assert!(block.contains(&event) && !block.contains(&other));
        block.combine(&other);
        assert!(block.contains(&event) && block.contains(&other));
    }
}
