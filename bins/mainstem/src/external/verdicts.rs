//! What was said of proposals that had to wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::chain::Hash;
use engine::external::Verdict;
use tokio::sync::{broadcast, watch};

/// How many are remembered; the oldest is forgotten first.
const MOST: usize = 1024;

/// How many a watcher may be behind before it misses some.
const BACKLOG: usize = 256;

/// The verdicts, for those who wait for one and for those who watch them all.
pub(super) struct Verdicts {
    table: Mutex<Table>,
    all: broadcast::Sender<(Hash, Verdict)>,
}

#[derive(Default)]
struct Table {
    of: HashMap<Hash, Case>,
    oldest_first: VecDeque<Hash>,
}

type Case = watch::Sender<Standing>;

/// How it stands with a proposal that had to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// The newest verdict.
    pub(super) verdict: Verdict,
    /// Whether it is being judged again.
    pub(super) open: bool,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { table: Mutex::default(), all: broadcast::channel(BACKLOG).0 }
    }
}

impl Verdicts {
    /// Remembers a proposal that waits, with why, and follows what becomes of it. Also tells whether it has to be judged
    /// again from now on; otherwise it already is.
    pub(super) fn follow(&self, hash: Hash, behind: Verdict) -> (watch::Receiver<Standing>, bool) {
        let mut table = self.table();
        let standing = Standing { verdict: behind, open: true };
        if let Some(known) = table.of.get(&hash) {
            // Whoever asked before waits on.
            let before = known.send_replace(standing);
            return (known.subscribe(), !before.open);
        }
        if table.oldest_first.len() >= MOST
            && let Some(oldest) = table.oldest_first.pop_front()
        {
            table.of.remove(&oldest);
        }
        let (case, receiver) = watch::channel(standing);
        table.of.insert(hash, case);
        table.oldest_first.push_back(hash);
        (receiver, true)
    }

    /// Follows a proposal that is remembered.
    pub(super) fn look(&self, hash: Hash) -> Option<watch::Receiver<Standing>> {
        self.table().of.get(&hash).map(watch::Sender::subscribe)
    }

    /// All verdicts from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<(Hash, Verdict)> {
        self.all.subscribe()
    }

    /// Tells what became of a proposal, which is not judged again unless somebody asks.
    pub(super) fn tell(&self, hash: Hash, verdict: Verdict) {
        if let Some(known) = self.table().of.get(&hash) {
            known.send_replace(Standing { verdict: verdict.clone(), open: false });
        }
        // Nobody watches: then nobody is told.
        let _ = self.all.send((hash, verdict));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::{ChainId, Height};

    use super::*;

    fn behind() -> Verdict {
        Verdict::Behind { chain: ChainId(7), wanted: Height(3), received: Height(2) }
    }

    fn hash(number: usize) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Hash(bytes)
    }

    #[test]
    fn whoever_follows_or_watches_is_told_and_the_oldest_is_forgotten_first() {
        let verdicts = Verdicts::default();
        let mut all = verdicts.watch();
        let (first, new) = verdicts.follow(hash(0), behind());
        assert!(new && !verdicts.follow(hash(0), behind()).1, "it is being judged already");
        for number in 1..MOST {
            verdicts.follow(hash(number), behind());
        }
        verdicts.tell(hash(0), Verdict::Valid);
        assert_eq!(*first.borrow(), Standing { verdict: Verdict::Valid, open: false });
        assert_eq!(verdicts.look(hash(0)).unwrap().borrow().verdict, Verdict::Valid);
        assert_eq!(all.try_recv().unwrap(), (hash(0), Verdict::Valid));
        assert!(verdicts.follow(hash(0), behind()).1, "decided, and asked about once more");
        verdicts.follow(hash(MOST), behind());
        assert!(verdicts.look(hash(0)).is_none());
        assert!(verdicts.look(hash(1)).is_some());
        assert!(first.has_changed().is_err(), "forgotten: whoever waits is not kept waiting");
    }
}
