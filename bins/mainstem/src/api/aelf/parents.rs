//! `GET /v1/aelf/parent-blocks/{chain}`: main blocks as a real AElf side node indexes those of its parent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::chain::{BlockView as _, Hash, Height, MainHeader};
use engine::merkle::path::Step;
use engine::store::BlockReader;
use serde::Serialize;

use super::super::answer::busy;
use super::super::params::{self, Params};
use super::super::problem::Problem;
use super::super::routes::{gone, unreadable};
use super::Aelf;

/// Where it is.
pub(super) const PATH: &str = "/v1/aelf/parent-blocks/{chain}";

/// Blocks in one answer, as AElf gives them.
const MAX_BLOCKS: usize = 32;

/// Paths in one answer: of 40 steps each, 12 MiB of JSON.
const MAX_PATHS: usize = 4_096;

/// Leaves of the trees that are built for one answer, but for its first block: each takes the time of two hashes.
const MAX_LEAVES: u64 = 262_144;

/// Some main blocks.
#[derive(Serialize, Debug)]
struct ParentBlocks {
    blocks: Vec<ParentBlock>,
    /// What to pass as `from` for more; nothing once the newest block was given.
    next: Option<Height>,
}

/// A main block, and what it indexed of the chain.
#[derive(Serialize, Debug)]
struct ParentBlock {
    header: MainHeader,
    chain: Option<Indexed>,
}

/// The blocks of the chain in one main block.
#[derive(Serialize, Debug)]
struct Indexed {
    first_height: Height,
    tx_roots: Vec<Hash>,
    /// From each of them to the header's `aelf_root`.
    paths: Vec<Vec<Step>>,
}

/// What an answer has come to.
#[derive(Debug, Default)]
struct Size {
    paths: usize,
    leaves: u64,
}

impl Size {
    /// Counts a block of so many paths in a tree of so many leaves, if the answer takes that, too. A first one it takes:
    /// the client has to get on.
    fn takes(&mut self, paths: usize, leaves: u64) -> bool {
        let all = self.paths.saturating_add(paths);
        let sum = self.leaves.saturating_add(leaves);
        if all > MAX_PATHS || (sum > MAX_LEAVES && self.leaves > 0) {
            return false;
        }
        (self.paths, self.leaves) = (all, sum);
        true
    }
}

pub(super) async fn parent_blocks<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    chain: Params<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let chain = params::chain(&params::path(chain)?)?;
    let (mut from, mut limit) = (None, MAX_BLOCKS);
    for (name, value) in params::query(&uri, &["from", "limit"])? {
        if name == "from" {
            from = Some(params::height("from", &value)?);
        } else {
            limit = params::limit(&value, MAX_BLOCKS)?;
        }
    }
    let from = from.ok_or_else(|| Problem::parameter("from", "", "from is missing: expected a height"))?;
    let node = &aelf.node;
    node.registered(chain)?;
    if !node.genesis.main.aelf_root {
        let detail = "the genesis document of this main chain lacks aelf_root = true";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-aelf-root", "There are no AElf roots", detail));
    }
    let first = node.reader.base().first;
    if from < first {
        let detail = format!("main block {from} was pruned from this log, which begins with {first}");
        return Err(gone(from, first, detail));
    }

    let newest = node.reader.head();
    let (mut blocks, mut size, mut height) = (Vec::new(), Size::default(), from);
    while height <= newest && blocks.len() < limit {
        let Some(block) = node.reader.block(height).map_err(unreadable)? else {
            // Pruned a moment ago: the next request hears of it.
            break;
        };
        let main = block.header();
        let section = block.find(chain).map(|(_, section)| section);
        let count = section.map_or(0, |section| section.count as usize);
        if count > MAX_PATHS {
            let detail = format!(
                "main block {height} has {count} blocks of chain {chain}, and at most {MAX_PATHS} are given at once: \
                 a main chain with AElf side chains sets seal.max_per_chain to that or less, and seal.catch_up to \
                 false"
            );
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-many-blocks",
                "Too much",
                detail,
            ));
        }
        // Of a block without the chain no tree is needed.
        let leaves = if section.is_some() { main.leaf_count } else { 0 };
        if !size.takes(count, leaves) {
            break;
        }
        let indexed = match section {
            None => None,
            Some(section) => {
                let tree = aelf.trees.of(&block).map_err(|_| Problem::internal("a root that is wrong"))?;
                let missing = || Problem::internal(format!("main block {height} lacks side blocks"));
                let tx_roots = block.columns().tx_roots.get(section.leaves()).ok_or_else(missing)?.to_vec();
                let paths: Option<Vec<_>> = section.leaves().map(|leaf| tree.path(leaf)).collect();
                Some(Indexed {
                    first_height: section.first_height,
                    tx_roots,
                    paths: paths.ok_or_else(missing)?,
                })
            }
        };
        block.intact().map_err(unreadable)?;
        blocks.push(ParentBlock { header: main, chain: indexed });
        height = height.next();
    }
    let next = (height <= newest).then_some(height);
    let body = serde_json::to_vec(&ParentBlocks { blocks, next }).map_err(Problem::internal)?;
    let body = node.answers.body(body).ok_or_else(busy)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_before_too_many_paths_and_before_too_many_leaves() {
        let mut size = Size::default();
        assert!(size.takes(MAX_PATHS - 1, MAX_LEAVES - 10));
        assert!(!size.takes(2, 2), "paths");
        assert!(!size.takes(1, 11), "leaves");
        assert!(size.takes(0, 0) && size.takes(1, 10));
        assert!(size.takes(0, 0), "a block without the chain costs nothing");
        assert!(!size.takes(0, 1) && !size.takes(1, 0));
        // Larger than that alone: taken as the first one, and then no other.
        let mut size = Size::default();
        assert!(size.takes(0, 0) && size.takes(1, MAX_LEAVES + 1));
        assert!(!size.takes(1, 1));
    }
}
