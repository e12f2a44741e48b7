//! The main chain's blocks, as a side node wants its parent's: read from the main chain's HTTP API, and checked.

use std::time::Duration;

use aelf::acs7::{CrossChainExtraData, ParentChainBlockData};
use aelf::prost::Message as _;
use aelf::{MerklePath, MerklePathNode};
use engine::aelf::server;
use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::merkle::node;
use serde::Deserialize;

use super::web::{Web, WebError};

/// Reads `/v1/aelf/parent-blocks/{chain}` of a main chain's node.
#[derive(Debug, Clone)]
pub(super) struct ParentApi {
    web: Web,
    chain: ChainId,
    parent: ChainId,
}

/// What the API answers. Only blocks that nothing takes back.
#[derive(Deserialize)]
struct Page {
    blocks: Vec<MainBlock>,
}

#[derive(Deserialize)]
struct MainBlock {
    header: MainHeader,
    /// What it has of the chain that was asked for.
    chain: Option<Part>,
}

#[derive(Deserialize)]
struct Part {
    first_height: Height,
    tx_roots: Vec<Hash>,
    /// From each of the roots to the header's `aelf_root`.
    paths: Vec<Vec<Step>>,
}

#[derive(Deserialize)]
struct Step {
    hash: Hash,
    left: bool,
}

/// Why the main chain's blocks cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParentError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the main chain's node answered what is no page of blocks: {0}")]
    Form(String),
    #[error("main block {height}: {field} is {got}; expected {expected}")]
    Wrong { height: u64, field: &'static str, got: String, expected: String },
    #[error(
        "main block {height} has side blocks and no aelf_root; the main chain's genesis needs aelf_root = true"
    )]
    NoAelfRoot { height: u64 },
    #[error("main block {height} makes a message of {got} bytes; side nodes take {MAX_MESSAGE_BYTES}")]
    TooLarge { height: u64, got: usize },
}

impl ParentApi {
    /// Of a node at `url`, for the side chain `chain` of the main chain `parent`.
    pub(super) fn new(url: &str, chain: ChainId, parent: ChainId, timeout: Duration) -> Result<Self, String> {
        Ok(Self { web: Web::new(url, "--main-api", timeout)?, chain, parent })
    }

    /// The main blocks from `from` on, at most 32 and as many as there are. It takes as long as the request.
    pub(super) fn blocks(&self, from: u64) -> Result<Vec<ParentChainBlockData>, ParentError> {
        let mut limit = server::MAX_BLOCKS;
        loop {
            let path = format!("/v1/aelf/parent-blocks/{}?from={from}&limit={limit}", self.chain.0);
            match self.web.get(&path, MAX_PAGE_BYTES) {
                Ok(body) => return self.page(&body, from),
                // Fewer blocks are shorter.
                Err(WebError::TooLong { .. }) if limit > 1 => limit = (limit / 8).max(1),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn page(&self, body: &[u8], from: u64) -> Result<Vec<ParentChainBlockData>, ParentError> {
        let page: Page =
            serde_json::from_slice(body).map_err(|error| ParentError::Form(error.to_string()))?;
        let highest = from.saturating_add(page.blocks.len() as u64).saturating_sub(1);
        let heights = server::heights(Height(from), Height(highest));
        let mut blocks = Vec::with_capacity(page.blocks.len().min(server::MAX_BLOCKS as usize));
        let mut before: Option<Hash> = None;
        let mut next_own: Option<u64> = None;
        for (height, block) in heights.zip(&page.blocks) {
            let header = &block.header;
            let wrong = |field, got: String, expected: String| {
                Err(ParentError::Wrong { height, field, got, expected })
            };
            if header.version != MainHeader::VERSION {
                return wrong("version", header.version.to_string(), MainHeader::VERSION.to_string());
            }
            if header.chain_id != self.parent {
                return wrong("chain_id", header.chain_id.to_string(), self.parent.to_string());
            }
            if header.height.0 != height {
                return wrong("height", header.height.to_string(), height.to_string());
            }
            if let Some(hash) = before
                && header.parent != hash
            {
                return wrong("parent", header.parent.to_string(), hash.to_string());
            }
            before = Some(header.hash());
            if header.leaf_count > 0 && header.aelf_root == Hash::ZERO {
                return Err(ParentError::NoAelfRoot { height });
            }
            if let Some(part) = &block.chain {
                if let Some(next) = next_own
                    && part.first_height.0 != next
                {
                    return wrong("chain.first_height", part.first_height.to_string(), next.to_string());
                }
                next_own = part.first_height.0.checked_add(part.tx_roots.len() as u64);
            }
            let data = data(header, block.chain.as_ref())?;
            let got = data.encoded_len();
            if got > MAX_MESSAGE_BYTES {
                // Those before can be had.
                if blocks.is_empty() {
                    return Err(ParentError::TooLarge { height, got });
                }
                break;
            }
            blocks.push(data);
        }
        Ok(blocks)
    }
}

/// A main block as a side node takes it.
fn data(header: &MainHeader, part: Option<&Part>) -> Result<ParentChainBlockData, ParentError> {
    let height = header.height.0;
    let mut message = ParentChainBlockData {
        height: height.cast_signed(),
        chain_id: header.chain_id.0.cast_signed(),
        // The main chain has no transactions of its own: AElf's root over none. Side nodes want it to be there.
        transaction_status_merkle_tree_root: Some([0; 32].into()),
        ..ParentChainBlockData::default()
    };
    if header.aelf_root != Hash::ZERO {
        let root = Some((*header.aelf_root.as_bytes()).into());
        message.cross_chain_extra_data =
            Some(CrossChainExtraData { transaction_status_merkle_tree_root: root });
    }
    let Some(part) = part else { return Ok(message) };
    let wrong =
        |field, got: String, expected: String| Err(ParentError::Wrong { height, field, got, expected });
    let last = part.first_height.0.checked_add(part.tx_roots.len() as u64);
    if part.first_height.0 == 0 || last.is_none_or(|last| last > Height::MAX.0) {
        return wrong("chain.first_height", part.first_height.to_string(), "1 to 2^63 - 1".to_owned());
    }
    if part.paths.len() != part.tx_roots.len() {
        return wrong("chain.paths", part.paths.len().to_string(), part.tx_roots.len().to_string());
    }
    for ((own, root), path) in (part.first_height.0..).zip(&part.tx_roots).zip(&part.paths) {
        if path.len() > MAX_STEPS {
            return wrong("chain.paths", format!("{} steps", path.len()), format!("at most {MAX_STEPS}"));
        }
        let end =
            path.iter().fold(
                *root,
                |below, step| {
                    if step.left { node(step.hash, below) } else { node(below, step.hash) }
                },
            );
        // An empty path leads to the leaf; AElf has none, not even for a single leaf.
        if end != header.aelf_root || path.is_empty() {
            return wrong(
                "chain.paths",
                format!("a path from side block {own} to {end}"),
                header.aelf_root.to_string(),
            );
        }
        let step = |step: &Step| MerklePathNode {
            hash: Some((*step.hash.as_bytes()).into()),
            is_left_child_node: step.left,
        };
        let nodes = path.iter().map(step).collect();
        message.indexed_merkle_path.insert(own.cast_signed(), MerklePath { merkle_path_nodes: nodes });
    }
    Ok(message)
}

/// Of one page.
const MAX_PAGE_BYTES: u64 = 16 << 20;
/// What gRPC clients take unless they were told otherwise, with some room.
const MAX_MESSAGE_BYTES: usize = (4 << 20) - 1_024;
/// For 2^32 leaves.
const MAX_STEPS: usize = 32;
