//! Whether what a main chain says fits together.

use std::collections::BTreeMap;
use std::fmt;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::proof::ChainProof;

/// What a main chain said that cannot be, beside what it contradicts. The connection that it came on proves who said
/// it to us; it is no proof to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Which field.
    pub field: &'static str,
    /// What it says and what would be right, for people.
    pub detail: String,
    /// The header that it is about.
    pub header: MainHeader,
    /// The header that was followed before it.
    pub before: Option<MainHeader>,
    /// The chain's part that is wrong, if it is one.
    pub proof: Option<ChainProof>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, detail, header, .. } = self;
        write!(f, "the main chain contradicts itself: main block {}: {field}: {detail}", header.height)
    }
}

/// Checks each block against those before it.
#[derive(Debug)]
pub(super) struct Verifier {
    main_chain: ChainId,
    genesis_hash: Hash,
    /// The height that was asked for.
    wanted: Option<Height>,
    before: Option<MainHeader>,
    chains: BTreeMap<ChainId, Known>,
}

/// What is known of a chain of this session.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The newest height that is indexed.
    indexed: Option<Height>,
    /// Whether all that was indexed since has been followed: then the next one comes right after it.
    complete: bool,
    /// Whether the main chain serves the chain in this session.
    served: bool,
}

impl Verifier {
    /// Of a session with `chains`: which, whether the main chain serves it, and the newest height of it that is known
    /// to be indexed. The main chain was asked for `wanted`, which follows `before`.
    pub(super) fn new(
        (main_chain, genesis_hash): (ChainId, Hash),
        wanted: Option<Height>,
        before: Option<MainHeader>,
        chains: impl IntoIterator<Item = (ChainId, bool, Option<Height>)>,
    ) -> Self {
        let known = |(chain, served, indexed)| (chain, Known { indexed, complete: false, served });
        let chains = chains.into_iter().map(known).collect();
        Self { main_chain, genesis_hash, wanted, before, chains }
    }

    /// Goes on from what `earlier` has followed, if that is where this one begins.
    pub(super) fn go_on(&mut self, earlier: &Self) {
        let main = |of: &Self| (of.main_chain, of.genesis_hash);
        if main(self) != main(earlier) || earlier.wanted.is_none() || self.wanted != earlier.wanted {
            return;
        }
        self.before = self.before.or(earlier.before);
        for (chain, known) in &mut self.chains {
            if let Some(before) = earlier.chains.get(chain) {
                known.indexed = known.indexed.max(before.indexed);
                known.complete = before.complete && before.served && known.served;
            }
        }
    }

    /// Checks the newest header that a welcome names against the one that was followed at its height.
    ///
    /// An older one alone shows nothing: what is durable may be followed a moment before it is announced. A main chain
    /// that has gone back is found out by the next block that it makes, whose parent is another one.
    pub(super) fn check_head(&self, head: Option<&MainHeader>) -> Result<(), Box<Contradiction>> {
        let (Some(before), Some(head)) = (self.before, head) else { return Ok(()) };
        let (ours, theirs) = (before.hash(), head.hash());
        if head.height == before.height && ours != theirs {
            let detail = format!("its hash is {theirs}, but {ours} was durable before at this height");
            return Err(self.wrong("hash", detail, head, None));
        }
        Ok(())
    }

    /// Checks a block. Returns which heights the main chain has left out because it does not have them any more.
    pub(super) fn check(
        &mut self,
        header: &MainHeader,
        proofs: &[ChainProof],
    ) -> Result<Option<(Height, Height)>, Box<Contradiction>> {
        let missing = self.check_header(header)?;
        let mut last = None;
        for proof in proofs {
            self.check_proof(header, proof, last, missing.is_some())?;
            last = Some(proof.chain_id);
        }
        // Only now, when all of it is right: of a block that is not, nothing is held against the one that is.
        if missing.is_some() {
            self.chains.values_mut().for_each(|known| known.complete = false);
        }
        for proof in proofs {
            if let Some(known) = self.chains.get_mut(&proof.chain_id) {
                known.indexed = Some(proof.last_height());
                known.complete = known.served;
            }
        }
        self.before = Some(*header);
        self.wanted = Some(header.height.next());
        Ok(missing)
    }

    fn check_header(&self, header: &MainHeader) -> Result<Option<(Height, Height)>, Box<Contradiction>> {
        let wrong = |field, detail| Err(self.wrong(field, detail, header, None));
        let MainHeader { chain_id, height, .. } = *header;
        if chain_id != self.main_chain {
            return wrong("chain_id", format!("it is {chain_id}; expected {}", self.main_chain));
        }
        if !(Height(1)..Height::MAX).contains(&height) {
            return wrong("height", format!("{height} is no height; expected 1 to 2^63 - 2"));
        }
        let missing = match self.wanted {
            Some(wanted) if height < wanted => {
                return wrong(
                    "height",
                    format!("{height} came; expected {wanted}, which follows what came before"),
                );
            }
            // A main chain may have pruned them, also while they were on their way. That they ever were, the history
            // root of later headers says.
            Some(wanted) if height > wanted => Some((wanted, height.previous())),
            _ => None,
        };
        let expected = match self.before {
            _ if height == Height(1) => MainHeader::genesis_parent(self.main_chain, self.genesis_hash),
            Some(before) if before.height.next() == height => before.hash(),
            _ => return Ok(missing),
        };
        if header.parent != expected {
            return wrong("parent", format!("{}; expected {expected}, of the block before", header.parent));
        }
        if let Some(before) = self.before.filter(|before| before.height < height)
            && header.time < before.time
        {
            let (got, least) = (header.time.as_millis(), before.time.as_millis());
            return wrong(
                "time",
                format!("{got} ms; expected at least {least} ms, the time of the block before"),
            );
        }
        Ok(missing)
    }

    /// Checks a chain's part, which comes after that of `last`; `after_gap` when main blocks were left out before.
    fn check_proof(
        &self,
        header: &MainHeader,
        proof: &ChainProof,
        last: Option<ChainId>,
        after_gap: bool,
    ) -> Result<(), Box<Contradiction>> {
        let wrong = |field, detail: String| {
            Err(self.wrong(field, format!("chain {}: {detail}", proof.chain_id), header, Some(proof)))
        };
        if last.is_some_and(|last| last >= proof.chain_id) {
            return wrong("indexed", "it comes a second time, or out of order".into());
        }
        let Some(known) = self.chains.get(&proof.chain_id) else {
            return wrong("indexed", "it is not a chain of this node".into());
        };
        if let Err(error) = proof.verify(header) {
            return wrong("indexed", error.to_string());
        }
        let (first, complete) = (proof.first_height, known.complete && !after_gap);
        match known.indexed.map(Height::next) {
            Some(next) if first < next || (complete && first > next) => {
                let least = if complete { "" } else { " or above" };
                wrong(
                    "first_height",
                    format!("{first}; expected {next}{least}, after what was indexed before"),
                )
            }
            _ => Ok(()),
        }
    }

    fn wrong(
        &self,
        field: &'static str,
        detail: String,
        header: &MainHeader,
        proof: Option<&ChainProof>,
    ) -> Box<Contradiction> {
        let before = self.before;
        Box::new(Contradiction { field, detail, header: *header, before, proof: proof.cloned() })
    }
}
