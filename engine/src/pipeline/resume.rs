//! Starting where a store ends: the state, the history and each lane's position are read back and must give the
//! roots of the newest header.

use crate::chain::{BlockView, ChainId, Hash, Height};
use crate::merkle::history::History;
use crate::state::{Genesis, Operation, OperationError, Registry, State, ops_root};
use crate::store::{BlockReader, HistoryError, StoreError, StoredHistory};

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
    History(#[from] HistoryError),
    /// The store contradicts itself.
    #[error("chain {chain}: the index names height {height}, which the log does not hold; check the log")]
    NoSuchBlock {
        /// Which chain.
        chain: ChainId,
        /// Its newest height, by the index.
        height: Height,
    },
    /// An operation cannot be where the store has it.
    #[error("main block {height}: {error}; check the log and that the genesis document is unchanged")]
    Operation {
        /// Height of the block that carries it.
        height: Height,
        /// What is wrong with it.
        error: OperationError,
    },
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
pub(crate) struct Resumed {
    pub(crate) head: Option<Head>,
    pub(crate) state: State,
    pub(crate) history: History,
    pub(crate) registry: Registry,
}

/// Checks that an engine could go on where `reader`'s store ends, as a start does, and starts nothing: the operations, the
/// index and the history give the roots of the newest header. Gives that one, if there is one.
///
/// # Errors
/// See [`ResumeError`].
pub fn check<R: BlockReader>(genesis: &Genesis, reader: &R) -> Result<Option<Head>, ResumeError> {
    resume(genesis, reader).map(|resumed| resumed.head)
}

pub(crate) fn resume<R: BlockReader>(genesis: &Genesis, reader: &R) -> Result<Resumed, ResumeError> {
    let operations = reader.operations()?;
    let mut state = State::restore(genesis, &operations)
        .map_err(|(height, error)| ResumeError::Operation { height, error })?;
    let registry = Registry::new(genesis, operations.iter().map(|(_, operation)| operation));
    let height = reader.head();
    judge_operations(reader, &operations)?;
    let Some(block) = reader.block(height)? else {
        return Ok(Resumed { head: None, state, history: History::default(), registry });
    };
    let header = block.header();
    block.intact()?;
    if header.chain_id != genesis.main.id {
        return Err(ResumeError::OtherChain { log: header.chain_id, genesis: genesis.main.id });
    }
    let mut heads = Vec::new();
    for (position, chain) in state.chains().iter().enumerate() {
        if let Some(indexed) = reader.chain_head(chain.id)? {
            heads.push((position, indexed, block_hash(reader, chain.id, indexed)?));
        }
    }
    state.index_restored(heads);
    let wrong = |root, header, computed| Err(ResumeError::Root { height, root, header, computed });
    if state.root() != header.state_root {
        return wrong("state_root", header.state_root, state.root());
    }
    let before = History::load(height.0 - 1, &StoredHistory::new(reader))?;
    if before.root() != header.history_root {
        return wrong("history_root", header.history_root, before.root());
    }
    let history = History::load(height.0, &StoredHistory::new(reader))?;
    Ok(Resumed { head: Some(Head { header, hash: header.hash() }), state, history, registry })
}

/// Compares the operations of each block that can be read with what its header commits to. A header that commits to
/// operations which are not there is found by the state root.
fn judge_operations<R: BlockReader>(
    reader: &R,
    operations: &[(Height, Operation)],
) -> Result<(), ResumeError> {
    for group in operations.chunk_by(|(one, _), (other, _)| one == other) {
        let height = group[0].0;
        let Ok(Some(block)) = reader.block(height) else { continue };
        let header = block.header();
        block.intact()?;
        let operations: Vec<_> = group.iter().map(|(_, operation)| operation.clone()).collect();
        let computed = ops_root(&operations);
        if header.ops_root != computed {
            return Err(ResumeError::Root { height, root: "ops_root", header: header.ops_root, computed });
        }
    }
    Ok(())
}

/// The hash of the newest indexed block of a side chain.
fn block_hash<R: BlockReader>(reader: &R, chain: ChainId, height: Height) -> Result<Hash, ResumeError> {
    let missing = ResumeError::NoSuchBlock { chain, height };
    let Some(main) = reader.locate(chain, height)? else {
        // A chain that has been idle since before the base.
        let base = reader.base();
        let head = base.head(chain).filter(|head| head.height == height);
        return head.map(|head| head.hash).ok_or(missing);
    };
    let Some(block) = reader.block(main)? else { return Err(missing) };
    let hash = block.find(chain).and_then(|(_, section)| {
        let offset = usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?;
        block.columns().hashes.get(section.leaves())?.get(offset).copied()
    });
    block.intact()?;
    hash.ok_or(missing)
}
