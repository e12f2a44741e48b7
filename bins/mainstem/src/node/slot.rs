//! The engine of a node, also for those who only look at it.

use std::fmt;
use std::iter;
use std::sync::{Arc, PoisonError, RwLock};

use engine::chain::Height;
use engine::external::External;
use engine::pipeline::{BlockTrace, Durable, Running, StageNow, Stats};
use net::server::Load;

/// What makes main blocks.
pub(crate) enum Chain {
    /// This node's own stages.
    Solo(Box<Running>),
    /// Another chain's node, by calls.
    External(Arc<External>),
}

impl Chain {
    fn stats(&self) -> Stats {
        match self {
            Self::Solo(running) => running.stats(),
            Self::External(external) => external.stats(),
        }
    }

    fn stages(&self) -> [StageNow; 3] {
        match self {
            Self::Solo(running) => running.stages(),
            Self::External(external) => external.stages(),
        }
    }

    fn trace(&self, height: Height) -> Option<BlockTrace> {
        match self {
            Self::Solo(running) => running.trace(height),
            Self::External(_) => None,
        }
    }

    fn durable(&self) -> Durable {
        match self {
            Self::Solo(running) => running.durable(),
            Self::External(external) => external.durable(),
        }
    }

    fn failed(&self) -> Option<String> {
        match self {
            Self::Solo(running) => running.failed(),
            Self::External(external) => external.status().failed,
        }
    }

    /// Ends it: what is final is sealed and stored, if it is ours to seal.
    pub(super) fn stop(self) -> Result<Stats, String> {
        match self {
            Self::Solo(running) => running.stop(),
            Self::External(external) => external.status().failed.map_or_else(|| Ok(external.stats()), Err),
        }
    }
}

/// The engine, also for those who only look at it. Empty before it starts and once it was stopped.
#[derive(Clone, Default)]
pub(crate) struct EngineSlot(Arc<RwLock<Option<Chain>>>);

impl EngineSlot {
    /// What the stages did so far.
    pub(crate) fn stats(&self) -> Option<Stats> {
        self.look(Chain::stats)
    }

    /// What ingest and the stages do now.
    pub(crate) fn stages(&self, ingest: &Load) -> Option<Vec<StageNow>> {
        let first = StageNow {
            name: "ingest",
            threads: ingest.threads(),
            busy: ingest.awake(),
            queue: ingest.frame_bytes(),
            capacity: ingest.most_frame_bytes(),
            unit: "bytes",
        };
        self.look(|chain| iter::once(first).chain(chain.stages()).collect())
    }

    /// What a main block went through, if it is one of the newest of this node's own stages.
    pub(crate) fn trace(&self, height: Height) -> Option<BlockTrace> {
        self.look(|chain| chain.trace(height)).flatten()
    }

    /// How much was made durable since the start: for those who ask often.
    pub(crate) fn durable(&self) -> Option<Durable> {
        self.look(Chain::durable)
    }

    /// Why a stage gave up, if one did.
    pub(crate) fn failed(&self) -> Option<String> {
        self.look(Chain::failed).flatten()
    }

    fn look<T>(&self, look: impl FnOnce(&Chain) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// Shows an engine that was started.
    pub(crate) fn put(&self, engine: Chain) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    }

    pub(super) fn take(&self) -> Option<Chain> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSlot").finish_non_exhaustive()
    }
}
