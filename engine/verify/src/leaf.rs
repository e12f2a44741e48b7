//! The leaves: what each commits to, in bytes. The tags keep them apart from each other; their lengths keep them
//! apart from nodes, whose preimage has 64 bytes.

use crate::chain::{ChainId, Hash, Height};
use crate::tree::digest;

/// One side block (77 bytes): `H(0x01 || chain_id u32 || height u64 || hash[32] || tx_root[32])`.
pub fn side(chain: ChainId, height: Height, hash: Hash, tx_root: Hash) -> Hash {
    let mut preimage = [0; 77];
    preimage[0] = 0x01;
    preimage[1..5].copy_from_slice(&chain.to_le_bytes());
    preimage[5..13].copy_from_slice(&height.0.to_le_bytes());
    preimage[13..45].copy_from_slice(hash.as_bytes());
    preimage[45..77].copy_from_slice(tx_root.as_bytes());
    digest(&preimage)
}

/// All blocks of one chain in one main block: the hash of [`chain_preimage`].
pub fn chain(chain: ChainId, first: Height, count: u32, chain_root: Hash) -> Hash {
    digest(&chain_preimage(chain, first, count, chain_root))
}

/// What a chain leaf hashes (49 bytes): `0x02 || chain_id u32 || first_height u64 || count u32 || chain_root[32]`.
pub fn chain_preimage(chain: ChainId, first: Height, count: u32, chain_root: Hash) -> [u8; 49] {
    let mut preimage = [0; 49];
    preimage[0] = 0x02;
    preimage[1..5].copy_from_slice(&chain.to_le_bytes());
    preimage[5..13].copy_from_slice(&first.0.to_le_bytes());
    preimage[13..17].copy_from_slice(&count.to_le_bytes());
    preimage[17..49].copy_from_slice(chain_root.as_bytes());
    preimage
}

/// One main header in the history (41 bytes): `H(0x04 || height u64 || header_hash[32])`.
pub fn history(height: Height, header_hash: Hash) -> Hash {
    let mut preimage = [0; 41];
    preimage[0] = 0x04;
    preimage[1..9].copy_from_slice(&height.0.to_le_bytes());
    preimage[9..41].copy_from_slice(header_hash.as_bytes());
    digest(&preimage)
}
