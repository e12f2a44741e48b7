//! Schemas of what stands in the answers and is not a type of this crate: ids, hashes, headers and proofs, which are
//! those of the crate that verifies.

#![allow(unused_qualifications, reason = "of optional fields, what is derived names their types by paths")]

use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The id of a chain. In requests it may also stand as people know it: four base58 letters.
#[derive(ToSchema)]
#[schema(value_type = u64, maximum = 4_294_967_295_u64, example = 1_866_392)]
pub struct ChainId(pub u32);

/// A chain by its number, or as people know it: four base58 letters.
pub struct ChainName;

impl PartialSchema for ChainName {
    fn schema() -> RefOr<Schema> {
        number_or_text("A chain by its number, or as people know it: four base58 letters.")
    }
}

impl ToSchema for ChainName {}

fn number_or_text(text: &str) -> RefOr<Schema> {
    let either = OneOfBuilder::new()
        .description(Some(text))
        .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u32)))
        .item(ObjectBuilder::new().schema_type(Type::String));
    RefOr::T(Schema::OneOf(either.build()))
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

/// A height in a path: a number from 1, or `latest` where there is one.
pub struct HeightName;

impl PartialSchema for HeightName {
    fn schema() -> RefOr<Schema> {
        number_or_text("A height: a number from 1, or `latest` where there is one.")
    }
}

impl ToSchema for HeightName {}

/// A proof of any kind, in JSON: an object whose members follow from its kind.
pub struct Proof;

impl PartialSchema for Proof {
    fn schema() -> RefOr<Schema> {
        let version = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("Version of this kind of proof."));
        let kind = ObjectBuilder::new().schema_type(Type::String).description(Some(
            "`transaction`, `blocks`, `consistency`, `chain` or `absence`; a proof of one block has none.",
        ));
        let proof = ObjectBuilder::new()
            .description(Some(
                "A proof of any kind; docs/protocol.md, section \"Proofs\", has the members of each.",
            ))
            .property("version", version)
            .required("version")
            .property("kind", kind)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        RefOr::T(Schema::Object(proof.build()))
    }
}

impl ToSchema for Proof {}

/// What a change came to: an object whose members follow from the change.
pub struct Done;

impl PartialSchema for Done {
    fn schema() -> RefOr<Schema> {
        let done = ObjectBuilder::new()
            .description(Some("What a change came to."))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        RefOr::T(Schema::Object(done.build()))
    }
}

impl ToSchema for Done {}

/// Main blocks with AElf's paths (`docs/aelf.md`).
#[derive(ToSchema)]
pub struct ParentBlocks {
    /// The main blocks, ascending.
    pub blocks: Vec<ParentBlock>,
    /// What to pass as `from` for more; null once the newest block was given.
    pub next: Option<Height>,
}

/// A main block, and what it indexed of the chain.
#[derive(ToSchema)]
pub struct ParentBlock {
    /// Its header.
    pub header: MainHeader,
    /// The blocks of the chain in it, if there are any.
    pub chain: Option<ParentBlockChain>,
}

/// The blocks of the chain in one main block.
#[derive(ToSchema)]
pub struct ParentBlockChain {
    /// Height of the first one.
    pub first_height: Height,
    /// Roots over their transactions.
    pub tx_roots: Vec<Hash>,
    /// From each of them to the header's `aelf_root`.
    pub paths: Vec<Vec<ParentStep>>,
}

/// A step of a path of AElf's tree.
#[derive(ToSchema)]
pub struct ParentStep {
    /// The node beside the path.
    pub hash: Hash,
    /// Whether that stands on the left.
    pub left: bool,
}

/// A call of JSON-RPC 2.0.
#[derive(ToSchema)]
pub struct RpcCall {
    /// `2.0`
    pub jsonrpc: String,
    /// A number or a text, which the answer repeats.
    #[schema(value_type = Value, required = false)]
    pub id: Option<()>,
    /// One of the methods in docs/api.md.
    pub method: String,
    /// By position or by name.
    #[schema(value_type = Value, required = false)]
    pub params: Option<()>,
}

/// An answer of JSON-RPC 2.0: a result or an error.
#[derive(ToSchema)]
pub struct RpcAnswer {
    /// `2.0`
    pub jsonrpc: String,
    /// That of the call.
    #[schema(value_type = Value, required = false)]
    pub id: Option<()>,
    /// What the method gives.
    #[schema(value_type = Value, required = false)]
    pub result: Option<()>,
    /// Why it gives nothing.
    pub error: Option<RpcError>,
}

/// Why a call has no result.
#[derive(ToSchema)]
pub struct RpcError {
    /// By the specification: -32700, -32600, -32601, -32602, -32603; -32000 for what the node does not have, -32001 for
    /// too long a batch.
    pub code: i32,
    /// In words.
    pub message: String,
    /// The problem, as the route would tell it, with its stable code.
    #[schema(value_type = Value, required = false)]
    pub data: Option<()>,
}
