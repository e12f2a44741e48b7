//! The header of a main block: the one thing that a verifier must trust.

use sha2::{Digest, Sha256};

use super::{ChainId, Hash, Height, Timestamp};

/// The header of a main block, version 1 (design section 4; `docs/protocol.md` gives the bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MainHeader {
    /// Version of header and commitments: 1.
    pub version: u16,
    /// Id of the main chain.
    pub chain_id: ChainId,
    /// Height in the main chain; the first block has 1.
    pub height: Height,
    /// When the block was sealed, by the sealer's clock.
    pub time: Timestamp,
    /// Header hash of the block before; of block 1, see [`MainHeader::genesis_parent`].
    pub parent: Hash,
    /// Root over the chain leaves of this block.
    pub side_root: Hash,
    /// How many chains have blocks here.
    pub chain_count: u32,
    /// How many side blocks are here.
    pub leaf_count: u64,
    /// Root over the operations of this block; zero without any.
    pub ops_root: Hash,
    /// Root of the main chain's state after this block.
    pub state_root: Hash,
    /// Root over the header hashes of all earlier blocks; zero in block 1.
    pub history_root: Hash,
    /// The AElf tree over the transaction roots of this block; zero unless the genesis turns it on.
    pub aelf_root: Hash,
}

impl MainHeader {
    /// The version that this program writes and reads.
    pub const VERSION: u16 = 1;

    /// Length of an encoded header, in bytes.
    pub const BYTES: usize = 2 + 4 + 8 + 8 + 32 + 32 + 4 + 8 + 4 * 32;

    /// The parent of block 1, which binds a chain to its genesis document:
    /// `H(0x00 || main chain_id u32 || hash of the genesis document)`.
    pub fn genesis_parent(chain_id: ChainId, genesis_hash: Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0x00]);
        hasher.update(chain_id.to_le_bytes());
        hasher.update(genesis_hash.as_bytes());
        Hash(hasher.finalize().into())
    }

    /// The canonical bytes: all fields in order, integers little-endian.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let mut rest = &mut out[..];
        let mut put = |bytes: &[u8]| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut(bytes.len());
            head.copy_from_slice(bytes);
            rest = tail;
        };
        put(&self.version.to_le_bytes());
        put(&self.chain_id.to_le_bytes());
        put(&self.height.0.to_le_bytes());
        put(&self.time.as_millis().to_le_bytes());
        put(self.parent.as_bytes());
        put(self.side_root.as_bytes());
        put(&self.chain_count.to_le_bytes());
        put(&self.leaf_count.to_le_bytes());
        put(self.ops_root.as_bytes());
        put(self.state_root.as_bytes());
        put(self.history_root.as_bytes());
        put(self.aelf_root.as_bytes());
        out
    }

    /// Reads the canonical bytes. Every 226 bytes are some header: what it means is for the caller to check.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let mut rest = &bytes[..];
        macro_rules! take {
            ($n:literal) => {{
                let (head, tail) = rest.split_first_chunk::<$n>().expect("the fields add up to BYTES");
                rest = tail;
                *head
            }};
        }
        let header = Self {
            version: u16::from_le_bytes(take!(2)),
            chain_id: ChainId(u32::from_le_bytes(take!(4))),
            height: Height(u64::from_le_bytes(take!(8))),
            time: Timestamp::from_millis(u64::from_le_bytes(take!(8))),
            parent: Hash(take!(32)),
            side_root: Hash(take!(32)),
            chain_count: u32::from_le_bytes(take!(4)),
            leaf_count: u64::from_le_bytes(take!(8)),
            ops_root: Hash(take!(32)),
            state_root: Hash(take!(32)),
            history_root: Hash(take!(32)),
            aelf_root: Hash(take!(32)),
        };
        debug_assert!(rest.is_empty());
        header
    }

    /// The header hash: `H(0x03 || header bytes)`.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0x03]);
        hasher.update(self.encode());
        Hash(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_fixed_length_and_reads_back() {
        let header = MainHeader {
            version: 1,
            chain_id: ChainId(2),
            height: Height(3),
            time: Timestamp::from_millis(4),
            parent: Hash([5; 32]),
            side_root: Hash([6; 32]),
            chain_count: 7,
            leaf_count: 8,
            ops_root: Hash([9; 32]),
            state_root: Hash([10; 32]),
            history_root: Hash([11; 32]),
            aelf_root: Hash([12; 32]),
        };
        assert_eq!(MainHeader::BYTES, 226);
        assert_eq!(MainHeader::decode(&header.encode()), header);
    }
}
