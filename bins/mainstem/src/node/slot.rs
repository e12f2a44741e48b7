//! The engine of a node, also for those who only look at it.

use std::fmt;
use std::iter;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Result, anyhow};
use engine::chain::Height;
use engine::external::External;
use engine::pipeline::{BlockTrace, Durable, Running, StageNow, Stats};
use engine::store::{StoreError, StoreFailure};
use net::server::Load;

use crate::codes::{self, WithCode as _};

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

    fn store_failure(&self) -> StoreFailure {
        match self {
            Self::Solo(running) => running.store_failure(),
            Self::External(external) => external.store_failure(),
        }
    }

    fn failed(&self) -> Option<String> {
        match self {
            Self::Solo(running) => running.failed(),
            Self::External(external) => external.status().failed,
        }
    }

    /// Ends it: what is final is sealed and stored, if it is ours to seal.
    pub(super) fn stop(self) -> Result<Stats> {
        let failure = self.store_failure();
        let stats = match self {
            Self::Solo(running) => running.stop(),
            Self::External(external) => external.status().failed.map_or_else(|| Ok(external.stats()), Err),
        };
        stats.map_err(|why| gave_up(why, &failure))
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

    /// The same as an error, which has the code of what is wrong with the log if that is why.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        self.look(|chain| chain.failed().map(|why| gave_up(why, &chain.store_failure()))).flatten()
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

fn gave_up(why: String, failure: &StoreFailure) -> anyhow::Error {
    let why = anyhow!(why);
    match failure.get().and_then(StoreError::downcast_ref::<storage::Error>) {
        Some(error) => codes::as_storage(error, why),
        None => Err::<(), _>(why).code(5020).expect_err("an error stays one"),
    }
}

impl fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSlot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_log_that_cannot_be_written_is_told_with_the_code_of_what_is_wrong_with_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let segment =
            storage::Error::DiskFull { file: "log/0000000002.seg".into(), bytes: 4096, source: full() };
        let mark = storage::Error::Io { action: "write", path: "log/MARK.tmp".into(), source: full() };
        let disk =
            storage::Error::Io { action: "sync", path: "log/x".into(), source: io::Error::other("gone") };
        for (error, code) in [(segment, "MS-5013"), (mark, "MS-5013"), (disk, "MS-5001")] {
            let (failure, why) = (StoreFailure::default(), format!("the log cannot be written: {error}"));
            failure.set(error.into()).unwrap();
            let error = gave_up(why.clone(), &failure);
            assert_eq!((codes::of(&error).to_string().as_str(), error.to_string()), (code, why));
        }
        let panicked = gave_up("the seal stage panicked".into(), &StoreFailure::default());
        assert_eq!(codes::of(&panicked).to_string(), "MS-5020");
    }
}
