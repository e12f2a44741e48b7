//! Operations on their way: from who asks for them, to the sealing stage, to the store, and back as an answer.
//!
//! ```text
//!   Operator -> desk -> [seal: State::apply, lane] -> block and change -> [persist: append, sync, show] -> answer
//! ```
//! One operation is on its way at a time, so each is judged by the registry that the one before it left. It goes into a
//! main block of its own turn, with whatever side blocks wait. The stages look at the desk once a turn; nothing else is
//! done for operations while there are none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::chain::Height;
use crate::lane::{Drain, Lane};
use crate::state::{Applied, Operation, OperationError, Registry};
use crate::sync::Doorbell;

use super::Shared;
use super::config::{ConfigError, PipelineConfig};

/// Why the registry was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OperateError {
    /// The operation cannot be, at all or now.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// Main blocks are made elsewhere.
    #[error(
        "side chains are registered by the main chain's own node here (main.mode = \"external\"), not by this one"
    )]
    External,
    /// There is no room for one more chain.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operations of all main blocks are read at every start, from one file: there cannot be any number of them.
    #[error(
        "the operations of this main chain take {bytes} bytes with this one; expected at most {most}: it takes no more \
         registrations, while chains can still be removed"
    )]
    Full {
        /// How many bytes they would take.
        bytes: u64,
        /// [`Registry::MAX_OPERATION_BYTES`].
        most: u64,
    },
    /// The engine has ended, or ends before the operation is durable. It may be found done after a restart.
    #[error("the engine makes no more main blocks: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
}

/// Changes the registry of a running engine. Cheap to clone, used from any thread.
#[derive(Clone)]
pub struct Operator {
    pub(super) config: PipelineConfig,
    pub(super) registry: Registry,
    pub(super) shared: Arc<Shared>,
    /// What the sealing stage waits for: the lanes', and that of the store.
    pub(super) bells: [Doorbell; 2],
}

impl Operator {
    /// Does the operation and blocks until the main block that carries it is durable; returns that one's height. Before
    /// the engine has started it blocks until it has.
    ///
    /// # Errors
    /// See [`OperateError`]. Nothing has changed, unless the engine stopped.
    pub fn operate(&self, operation: Operation) -> Result<Height, OperateError> {
        let _turn = lock(&self.shared.desk.turn);
        operation.check()?;
        if let Operation::Register(side) = &operation {
            if self.registry.chain(side.id).is_some() {
                return Err(OperationError::Taken { chain: side.id }.into());
            }
            self.config.validate(self.registry.len() + 1)?;
            // Of registrations alone: there are no more removals than these, and they are short.
            let bytes = self.registry.operation_bytes().saturating_add(operation.kept_bytes());
            if bytes > Registry::MAX_OPERATION_BYTES {
                return Err(OperateError::Full { bytes, most: Registry::MAX_OPERATION_BYTES });
            }
        }
        let (reply, answer) = sync_channel(1);
        if self.shared.desk.put(Pending { operation, reply }) {
            self.bells.iter().for_each(Doorbell::ring);
            // Whoever drops it without an answer has ended.
            if let Ok(answer) = answer.recv() {
                return answer;
            }
            self.shared.desk.wait_closed();
        }
        let cause = self.shared.failure.get().cloned();
        Err(OperateError::Stopped { cause: cause.unwrap_or_else(|| "it is being stopped".into()) })
    }

    /// Who is registered now.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("chains", &self.registry.len()).finish_non_exhaustive()
    }
}

/// Where the sealing stage finds the next operation.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Held by who has an operation on its way.
    turn: Mutex<()>,
    /// Whether something lies there. Written under the lock below; read without it, once a turn. Who misses it hears the
    /// doorbell, and sees it then.
    full: AtomicBool,
    place: Mutex<Place>,
    /// Notified when it is closed.
    closed: Condvar,
}

#[derive(Debug, Default)]
struct Place {
    pending: Option<Pending>,
    /// A stage has ended.
    closed: bool,
}

/// An operation that was asked for.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) reply: SyncSender<Result<Height, OperateError>>,
}

impl Desk {
    /// False when nobody will ever take it.
    fn put(&self, pending: Pending) -> bool {
        let mut place = lock(&self.place);
        if place.closed {
            return false;
        }
        place.pending = Some(pending);
        // Relaxed: the ring that follows is a Release, and pairs with the Acquire in `Waiter::hear`.
        self.full.store(true, Ordering::Relaxed);
        true
    }

    /// What lies there, if anything does.
    pub(super) fn take(&self) -> Option<Pending> {
        // Relaxed: see `put`. What lies there is read under the lock.
        if !self.full.load(Ordering::Relaxed) {
            return None;
        }
        let mut place = lock(&self.place);
        self.full.store(false, Ordering::Relaxed);
        place.pending.take()
    }

    /// Nothing is taken from here on; who waits is told so.
    pub(super) fn close(&self) {
        let mut place = lock(&self.place);
        place.closed = true;
        place.pending = None;
        self.closed.notify_all();
    }

    /// Waits for that. For who had no answer: the stage that dropped the operation is ending, and says why before this.
    fn wait_closed(&self) {
        let place = self.closed.wait_while(lock(&self.place), |place| !place.closed);
        drop(place.unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a main block's operation changes for the persisting stage.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) operation: Operation,
    /// Where its drain goes.
    pub(super) applied: Applied,
    pub(super) drain: Drain,
    /// Of a chain that is new: what takes its blocks in from the moment that its registration is durable.
    pub(super) lane: Option<Arc<Lane>>,
    pub(super) reply: SyncSender<Result<Height, OperateError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is right whatever happened.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::chain::{ChainId, NodeKey, Timestamp};
    use crate::clock::Clock;
    use crate::pipeline::Engine;
    use crate::quorum::FinalityRule;
    use crate::state::{Genesis, MainChain, SideChain};
    use crate::store::BlockReader;
    use crate::store::memory::MemoryStore;

    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn wall(&self) -> Timestamp {
            Timestamp::default()
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn side(id: u32, nodes: usize) -> SideChain {
        let key = |node: usize| {
            let mut key = [1; 32];
            key[..8].copy_from_slice(&node.to_le_bytes());
            NodeKey(key)
        };
        SideChain {
            id: ChainId(id),
            name: "side".into(),
            first_height: Height(1),
            nodes: (0..nodes).map(key).collect(),
            finality: FinalityRule::Single,
        }
    }

    #[test]
    fn a_registration_beyond_what_a_start_may_read_is_refused_and_a_removal_is_not() {
        let main = MainChain { id: ChainId(9_992_731), name: "main".into(), aelf_root: true };
        let genesis = Genesis::parse(&Genesis::document(&main, &[side(2, 1)])).unwrap();
        let store = MemoryStore::default();
        let reader = store.reader();
        let clock = Arc::new(Stopped);
        let engine = Engine::resume(PipelineConfig::default(), &genesis, store, &reader, clock).unwrap();
        let operator = engine.operator();
        let running = engine.start(Vec::new());
        // As if the largest one had been done again and again.
        let large = Operation::Register(side(3, Operation::MAX_NODES));
        let most = Registry::MAX_OPERATION_BYTES;
        while operator.registry.operation_bytes() + large.kept_bytes() <= most {
            operator.registry.apply(&large);
        }
        operator.registry.apply(&Operation::Remove(ChainId(3)));
        let bytes = operator.registry.operation_bytes() + large.kept_bytes();
        assert!(bytes > most, "{bytes}");
        assert_eq!(running.operate(large), Err(OperateError::Full { bytes, most }));
        assert_eq!(reader.head(), Height(0), "nothing was sealed");
        assert_eq!(running.operate(Operation::Remove(ChainId(2))), Ok(Height(1)));
        running.stop().unwrap();
    }
}
