//! Which chain a request looks at: this main chain, or one of its side chains as far as it is indexed.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use engine::chain::{BlockView as _, ChainId, Hash, Height, MainHeader, Timestamp};
use engine::store::BlockReader;

use super::Aelf;
use super::refusal::{Code, Refusal};

/// A chain as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// This main chain.
    Main,
    /// A side chain that is registered here; its parent is this main chain.
    Side(ChainId),
}

/// A block of the chain that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) height: Height,
    pub(super) hash: Hash,
    pub(super) parent: Hash,
    /// The root over its transactions with their status; zero where there is none.
    pub(super) tx_root: Hash,
    /// The root over all side blocks that it indexed; zero where there is none.
    pub(super) aelf_root: Hash,
    pub(super) time: Timestamp,
    /// The main block that it is in.
    pub(super) main: Height,
}

impl View {
    /// The id of the chain that is looked at.
    pub(super) fn chain<R: BlockReader>(self, aelf: &Aelf<R>) -> ChainId {
        match self {
            Self::Main => aelf.node.genesis.main.id,
            Self::Side(chain) => chain,
        }
    }

    /// Whether it is the main chain.
    pub(super) fn is_main(self) -> bool {
        self == Self::Main
    }

    /// The newest height: all that is indexed is irreversible. 0 before the first block.
    pub(super) fn head<R: BlockReader>(self, aelf: &Aelf<R>) -> Result<Height, Refusal> {
        match self {
            Self::Main => Ok(aelf.node.reader.head()),
            Self::Side(chain) => {
                let registered = aelf.node.registry.chain(chain).zip(aelf.node.cache.lane(chain));
                let Some((side, lane)) = registered else { return Ok(Height::default()) };
                let indexed = Height(lane.cursors().indexed);
                if indexed < side.first_height {
                    return Ok(Height::default());
                }
                let reader = &aelf.node.reader;
                if reader.locate(chain, indexed).map_err(Refusal::unreadable)?.is_some() {
                    return Ok(indexed);
                }
                // Pruned; or the lane has moved on and readers are told so in a moment.
                let head = reader.chain_head(chain).map_err(Refusal::unreadable)?;
                Ok(head.unwrap_or_default())
            }
        }
    }

    /// A block; `None` where it is not indexed, or was pruned.
    pub(super) fn block<R: BlockReader>(
        self,
        aelf: &Aelf<R>,
        height: Height,
    ) -> Result<Option<Block>, Refusal> {
        let reader = &aelf.node.reader;
        let main = match self {
            Self::Main => Some(height),
            Self::Side(chain) => reader.locate(chain, height).map_err(Refusal::unreadable)?,
        };
        let Some(main) = main else { return Ok(None) };
        let Some(block) = reader.block(main).map_err(Refusal::unreadable)? else { return Ok(None) };
        let header = block.header();
        let found = match self {
            Self::Main => Some(of_main(&header)),
            Self::Side(chain) => block.find(chain).and_then(|(_, section)| {
                let offset = usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?;
                let leaf = section.leaves().nth(offset)?;
                let columns = block.columns();
                let before = offset.checked_sub(1).and(leaf.checked_sub(1));
                Some(Block {
                    height,
                    hash: *columns.hashes.get(leaf)?,
                    parent: before.map_or(Some(section.parent), |at| columns.hashes.get(at).copied())?,
                    tx_root: *columns.tx_roots.get(leaf)?,
                    aelf_root: Hash::ZERO,
                    time: *columns.times.get(leaf)?,
                    main,
                })
            }),
        };
        block.intact().map_err(Refusal::unreadable)?;
        let lacking =
            || Refusal::internal(format_args!("main block {main} lacks height {height} of {self:?}"));
        found.map(Some).ok_or_else(lacking)
    }

    /// A block by its hash, among the newest `most` main blocks; of a side chain, among its newest `hashes` blocks.
    pub(super) fn block_by_hash<R: BlockReader>(
        self,
        aelf: &Aelf<R>,
        hash: Hash,
        most: u64,
        mut hashes: usize,
    ) -> Result<Option<Block>, Refusal> {
        let reader = &aelf.node.reader;
        let newest = reader.head().0;
        for height in (newest.saturating_sub(most) + 1..=newest).rev() {
            let Some(block) = reader.block(Height(height)).map_err(Refusal::unreadable)? else { break };
            let found = match self {
                Self::Main => {
                    let header = block.header();
                    (header.hash() == hash).then_some(header.height)
                }
                Self::Side(chain) => block.find(chain).and_then(|(_, section)| {
                    let column = block.columns().hashes.get(section.leaves())?;
                    hashes = hashes.saturating_sub(column.len());
                    let offset = column.iter().position(|at| *at == hash)?;
                    Some(Height(section.first_height.0.saturating_add(offset as u64)))
                }),
            };
            if let Some(height) = found {
                return self.block(aelf, height);
            }
            if hashes == 0 {
                break;
            }
        }
        Ok(None)
    }
}

fn of_main(header: &MainHeader) -> Block {
    Block {
        height: header.height,
        hash: header.hash(),
        parent: header.parent,
        tx_root: Hash::ZERO,
        aelf_root: header.aelf_root,
        time: header.time,
        main: header.height,
    }
}

impl<R: BlockReader> FromRequestParts<Arc<Aelf<R>>> for View {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, aelf: &Arc<Aelf<R>>) -> Result<Self, Refusal> {
        let unreadable = |error| Refusal::because(Code::InvalidParams, error);
        let params = RawPathParams::from_request_parts(parts, aelf).await;
        let params = params.map_err(|error| unreadable(error.to_string()))?;
        let Some((_, text)) = params.iter().find(|(name, _)| *name == "chain") else { return Ok(Self::Main) };
        let chain: ChainId = text.parse().map_err(|error| Refusal::because(Code::NotFound, error))?;
        if aelf.node.registry.chain(chain).is_some() {
            Ok(Self::Side(chain))
        } else if chain == aelf.node.genesis.main.id {
            Ok(Self::Main)
        } else {
            Err(Refusal::because(Code::NotFound, format_args!("chain {chain} is not registered here")))
        }
    }
}
