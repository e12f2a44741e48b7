//! Who contradicted what was received of a chain, how often, and what is to be done about it.
//!
//! They count for the key that sent them: of several nodes of a chain, one that lies must not stop the others. It is
//! barred, and only when a second one contradicts as well, or there is no other one, does the chain stop.

use std::time::Duration;

use engine::chain::{ChainId, NodeKey};

/// For how long contradictions count, and for how long a key is barred.
pub(super) const WINDOW: Duration = Duration::from_secs(600);

/// What was heard within the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Contradictions {
    seen: Vec<Seen>,
    barred: Vec<(ChainId, NodeKey, Duration)>,
}

#[derive(Debug)]
struct Seen {
    chain: ChainId,
    key: NodeKey,
    at: Duration,
    times: u64,
}

/// What is to be done, after so many contradictions of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The key must not speak for the chain for a while.
    Bar(u64),
    /// The chain must not be sealed until the operator has looked.
    Quarantine(u64),
}

impl Contradictions {
    /// A key contradicted what was received of a chain with so many `nodes`, so many `times` since it was last heard of.
    /// `limit` of them are too many; 0: none are.
    pub(super) fn hear(
        &mut self,
        (chain, key, times): (ChainId, NodeKey, u64),
        nodes: usize,
        limit: u64,
        now: Duration,
    ) -> Option<Verdict> {
        let since = now.saturating_sub(WINDOW);
        self.seen.retain(|seen| seen.at >= since);
        self.barred.retain(|(_, _, at)| *at >= since);
        if limit == 0 {
            return None;
        }
        self.seen.push(Seen { chain, key, at: now, times });
        let of_key = |seen: &&Seen| (seen.chain, seen.key) == (chain, key);
        let all: u64 = self.seen.iter().filter(of_key).map(|seen| seen.times).sum();
        if all < limit {
            return None;
        }
        self.seen.retain(|seen| !of_key(&seen));
        let another = self.barred.iter().any(|(other, who, _)| *other == chain && *who != key);
        if nodes <= 1 || another {
            self.forget(chain);
            return Some(Verdict::Quarantine(all));
        }
        self.barred.push((chain, key, now));
        Some(Verdict::Bar(all))
    }

    /// Holds nothing against the nodes of a chain any more.
    pub(super) fn forget(&mut self, chain: ChainId) {
        self.seen.retain(|seen| seen.chain != chain);
        self.barred.retain(|(other, ..)| *other != chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId(1);
    const A: NodeKey = NodeKey([1; 32]);
    const B: NodeKey = NodeKey([2; 32]);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_node_of_several_is_barred_and_the_chain_goes_on_until_a_second_one_contradicts() {
        let mut heard = Contradictions::default();
        let mut hear = |key, times, at| heard.hear((CHAIN, key, times), 3, 3, s(at));
        assert_eq!((hear(A, 2, 0), hear(B, 2, 1)), (None, None), "each counts on its own");
        assert_eq!(hear(A, 1, 2), Some(Verdict::Bar(3)));
        assert_eq!(hear(A, 9, 3), Some(Verdict::Bar(9)), "again, when it comes back");
        assert_eq!(hear(B, 1, 4), Some(Verdict::Quarantine(3)));
        assert_eq!(hear(B, 3, 5), Some(Verdict::Bar(3)), "the operator has let it go on");
    }

    #[test]
    fn the_only_node_of_a_chain_stops_it_and_what_is_long_ago_does_not_count() {
        let mut heard = Contradictions::default();
        assert_eq!(heard.hear((CHAIN, A, 2), 1, 3, s(0)), None);
        assert_eq!(heard.hear((ChainId(2), A, 2), 1, 3, s(0)), None, "another chain");
        assert_eq!(heard.hear((CHAIN, A, 1), 1, 3, s(601)), None);
        assert_eq!(heard.hear((CHAIN, A, 2), 1, 3, s(602)), Some(Verdict::Quarantine(3)));
        assert_eq!(heard.hear((CHAIN, A, 2), 1, 3, s(603)), None);
        heard.forget(CHAIN);
        assert_eq!(heard.hear((CHAIN, A, 2), 1, 3, s(604)), None, "it was removed and added again");
        assert_eq!(heard.hear((CHAIN, A, 99), 1, 0, s(604)), None, "0: never");
    }
}
