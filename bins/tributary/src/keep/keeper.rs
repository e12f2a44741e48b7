//! The keeper: what the client's follower gives, goes into the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::chain::{ChainId, Hash, Height, MainHeader};
use net::client::{Contradiction, FollowedBlock, MainSink};
use tokio::sync::watch;

use super::{KeepError, Store};

/// Headers and chains' parts that are gathered at most: more are written although more blocks wait.
const MAX_GATHERED: usize = 32_768;

/// Gathers blocks and writes what there is in one transaction.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<Store>,
    /// Where to begin in an empty store; `None`: with what comes.
    from: Option<Height>,
    gathered: Mutex<Gathered>,
    /// Which main chain it is, if it could not be kept yet.
    unmet: Mutex<Option<(ChainId, Hash)>>,
    /// The newest height that is durable, for those who wait.
    durable: watch::Sender<Height>,
}

#[derive(Debug, Default)]
struct Gathered {
    blocks: Vec<FollowedBlock>,
    /// Headers and chains' parts in them.
    items: usize,
}

impl Keeper {
    /// Keeps in `store`. In an empty one it begins at main height `from`, or, without one, after the main chain's
    /// newest block.
    pub fn new(store: Arc<Store>, from: Option<Height>) -> Self {
        let newest = store.newest_header().map_or(Height(0), |header| header.height);
        Self {
            store,
            from,
            gathered: Mutex::default(),
            unmet: Mutex::new(None),
            durable: watch::Sender::new(newest),
        }
    }

    /// Tells the newest height that is durable, as it changes.
    pub fn durable(&self) -> watch::Receiver<Height> {
        self.durable.subscribe()
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // One thread writes; a reader finds it whole.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unmet(&self) -> MutexGuard<'_, Option<(ChainId, Hash)>> {
        // Written in one step.
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Result<(), KeepError> {
        // If it cannot be written, it is asked for again.
        let Gathered { blocks, .. } = std::mem::take(&mut *self.gathered());
        let unmet = *self.unmet();
        if let Some((main_chain, genesis_hash)) = unmet {
            // First: nobody could tell later whose blocks they are.
            self.store.meet(main_chain, genesis_hash)?;
            *self.unmet() = None;
        }
        self.store.append(&blocks)?;
        if let Some(last) = blocks.last() {
            self.durable.send_replace(last.header.height);
        }
        Ok(())
    }
}

impl MainSink for Keeper {
    fn meet(&self, main_chain: ChainId, genesis_hash: Hash) -> Result<(), String> {
        *self.unmet() = None;
        match self.store.meet(main_chain, genesis_hash) {
            Err(error @ KeepError::OtherMainChain { .. }) => Err(error.to_string()),
            // Neither a full disk nor a broken one keeps blocks from being sent. Keeping them fails next, and says so.
            Err(error) => {
                tracing::error!(%error, "which main chain it is could not be kept");
                *self.unmet() = Some((main_chain, genesis_hash));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn next(&self) -> Option<Height> {
        self.store.newest_header().map(|header| header.height.next()).or(self.from)
    }

    fn newest(&self) -> Option<MainHeader> {
        self.store.newest_header()
    }

    fn indexed(&self, chain: ChainId) -> Option<Height> {
        match self.store.newest_indexed(chain) {
            Ok(newest) => newest,
            Err(error) => {
                // What follows cannot be compared; that it cannot be read, is told when it is asked for.
                tracing::error!(%chain, %error, "what is kept of a chain cannot be read");
                None
            }
        }
    }

    fn take(&self, block: FollowedBlock) -> Result<(), String> {
        let full = {
            let mut gathered = self.gathered();
            gathered.items += 1 + block.chains.len();
            gathered.blocks.push(block);
            gathered.items >= MAX_GATHERED
        };
        if full { self.settle() } else { Ok(()) }
    }

    fn settle(&self) -> Result<(), String> {
        self.write().map_err(|error| error.to_string())
    }

    fn contradicted(&self, contradiction: &Contradiction) {
        if let Err(error) = self.store.note(contradiction) {
            tracing::error!(%error, "a contradiction of the main chain could not be kept");
        }
    }
}
