//! Nodes that may not speak for a chain for a while, since they contradicted what was received of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, NodeKey};

use super::chains::Fault;
use crate::control::RefusalCode;

/// Who is barred from which chain, and until when. At most one entry for each registered key of each chain that is served:
/// only who has spoken for a chain is ever barred from it.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// How many there are: mostly none, and then a claim takes no lock.
    count: AtomicUsize,
    until: Mutex<HashMap<(ChainId, NodeKey), Instant>>,
}

impl Bars {
    /// Bars a key from a chain for so long.
    pub(super) fn set(&self, chain: ChainId, key: NodeKey, time: Duration) {
        let now = Instant::now();
        let mut until = self.until();
        until.retain(|_, end| *end > now);
        if let Some(end) = now.checked_add(time) {
            until.insert((chain, key), end);
        }
        self.counted(&until);
    }

    /// Lets all nodes of a chain speak again.
    pub(super) fn lift(&self, chain: ChainId) {
        let mut until = self.until();
        until.retain(|(other, _), _| *other != chain);
        self.counted(&until);
    }

    /// What a node is told that may not speak for a chain now; `None` if it may.
    pub(super) fn refusal(&self, chain: ChainId, key: &NodeKey) -> Option<Fault> {
        // Acquire: pairs with the Release in `counted`. Who was barred before his session asks is found.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let left = self.until().get(&(chain, *key))?.checked_duration_since(Instant::now())?;
        let detail = format!(
            "chain {chain}: key {key} contradicted again and again what was received; it may speak again in {} s",
            left.as_secs() + 1
        );
        // As anybody who may not speak: it asks again by itself.
        Some((RefusalCode::NotSpeaker, detail))
    }

    fn counted(&self, until: &HashMap<(ChainId, NodeKey), Instant>) {
        self.count.store(until.len(), Ordering::Release);
    }

    fn until(&self) -> MutexGuard<'_, HashMap<(ChainId, NodeKey), Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_barred_is_so_from_that_chain_alone_and_until_it_is_over() {
        let (bars, key, other) = (Bars::default(), NodeKey([1; 32]), NodeKey([2; 32]));
        let barred = |chain, key| bars.refusal(ChainId(chain), key).is_some();
        bars.set(ChainId(1), key, Duration::from_secs(600));
        assert_eq!((barred(1, &key), barred(2, &key), barred(1, &other)), (true, false, false));
        bars.set(ChainId(2), key, Duration::ZERO);
        assert!(!barred(2, &key), "it is over");
        bars.lift(ChainId(1));
        assert!(!barred(1, &key));
        assert_eq!(bars.count.load(Ordering::Relaxed), 1, "what is over goes with the next one");
        bars.set(ChainId(3), key, Duration::from_secs(600));
        assert_eq!(bars.count.load(Ordering::Relaxed), 1);
    }
}
