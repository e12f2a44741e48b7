//! Schemas of what stands in the answers and is not a type of this crate: ids, hashes, headers and proofs, which are
//! those of the crate that verifies.

use utoipa::ToSchema;

/// The id of a chain. In requests it may also stand as people know it: four base58 letters.
#[derive(ToSchema)]
#[schema(value_type = u32, example = 1_866_392)]
pub struct ChainId(pub u32);

/// A chain by its number, or as people know it: four base58 letters.
#[derive(ToSchema)]
#[schema(example = "tDVV")]
pub enum ChainName {
    /// The number.
    #[schema(title = "number")]
    Number(u32),
    /// The letters, or the number as a text.
    #[schema(title = "text")]
    Text(String),
}

/// The height of a block in its chain: from 1, or 0 for "before the first".
#[derive(ToSchema)]
#[schema(value_type = u64, example = 812)]
pub struct Height(pub u64);

/// Milliseconds since the Unix epoch.
#[derive(ToSchema)]
#[schema(value_type = u64, example = 1_700_000_000_000_u64)]
pub struct Timestamp(pub u64);

/// 32 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^0x[0-9a-f]{64}$")]
pub struct Hash(pub String);

/// The ed25519 public key of a node.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct NodeKey(pub String);

/// The header of a main block.
#[derive(ToSchema)]
pub struct MainHeader {
    /// Version of header and commitments: 1.
    pub version: u16,
    /// Id of the main chain.
    pub chain_id: ChainId,
    /// Height in the main chain; the first block has 1.
    pub height: Height,
    /// When the block was sealed, by the sealer's clock.
    pub time: Timestamp,
    /// Header hash of the block before.
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
    /// The AElf tree over the transaction roots of this block; zero unless the genesis document turns it on.
    pub aelf_root: Hash,
}
