//! Starting where a store ends: the state, the history and each lane's position are read back and must give the
//! roots of the newest header.

use crate::chain::{BlockView, ChainId, Hash, Height};
use crate::merkle::history::History;
use crate::proof::{ProofError, StoredHistory};
use crate::state::{Genesis, State};
use crate::store::{BlockReader, StoreError};

use super::config::ConfigError;
use super::head::Head;

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's history cannot be read.
    #[error(transparent)]
    History(#[from] ProofError),
    /// The store is that of another main chain.
    #[error("the log is that of main chain {log}; the genesis document is for {genesis}")]
    OtherChain {
        /// Main chain of the newest header.
        log: ChainId,
        /// Main chain of the genesis document.
        genesis: ChainId,
    },
    /// The store and the genesis document give another root than the newest header has.
    #[error(
        "main block {height}: {root} is {header}, but the log and the genesis document give {computed}; check the log and that the genesis document is unchanged"
    )]
    Root {
        /// Height of the newest block.
        height: Height,
        /// Which root.
        root: &'static str,
        /// What the header says.
        header: Hash,
        /// What was computed.
        computed: Hash,
    },
}

/// What is known after reading a store's end.
pub(super) struct Resumed {
    pub(super) head: Option<Head>,
    pub(super) state: State,
    pub(super) history: History,
}

pub(super) fn resume<R: BlockReader>(genesis: &Genesis, reader: &R) -> Result<Resumed, ResumeError> {
    let mut state = State::new(genesis);
    let height = reader.head();
    let Some(block) = reader.block(height)? else {
        return Ok(Resumed { head: None, state, history: History::default() });
    };
    let header = block.header();
    if header.chain_id != genesis.main.id {
        return Err(ResumeError::OtherChain { log: header.chain_id, genesis: genesis.main.id });
    }
    let mut heads = Vec::new();
    for (position, chain) in state.chains().iter().enumerate() {
        if let Some(indexed) = reader.chain_head(chain.id)? {
            heads.push((position, indexed, block_hash(reader, chain.id, indexed)?));
        }
    }
    state.index(heads);
    let wrong = |root, header, computed| Err(ResumeError::Root { height, root, header, computed });
    if state.root() != header.state_root {
        return wrong("state_root", header.state_root, state.root());
    }
    let before = History::load(height.0 - 1, &StoredHistory(reader))?;
    if before.root() != header.history_root {
        return wrong("history_root", header.history_root, before.root());
    }
    let history = History::load(height.0, &StoredHistory(reader))?;
    Ok(Resumed { head: Some(Head { header, hash: header.hash() }), state, history })
}

/// The hash of an indexed side block.
fn block_hash<R: BlockReader>(reader: &R, chain: ChainId, height: Height) -> Result<Hash, ResumeError> {
    let main = reader.locate(chain, height)?.unwrap_or_default();
    let found = reader.block(main)?.and_then(|block| {
        let (_, section) = block.find(chain)?;
        let offset = usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?;
        block.columns().hashes.get(section.leaves())?.get(offset).copied()
    });
    let missing =
        ProofError::Inconsistent { height: main, what: "the index names it for a block it has not" };
    found.ok_or(ResumeError::History(missing))
}
