//! Who votes for what, and which headers are valid.

use engine::aelf::address::Address;
use engine::aelf::bloom::Bloom;
use engine::aelf::cache::Cache;
use engine::aelf::data::BlockData;
use engine::aelf::header::{self, INDEXED_EVENT};
use engine::aelf::selection::Pending;
use engine::aelf::{extra_data, proposal};
use engine::chain::{ChainId, Hash, Height, Timestamp};
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::{HexHash, hashes, read, sha256};
use crate::indexing::{parent_block, side_block};

const SIDE: ChainId = ChainId(123);
const PARENT: ChainId = ChainId(9_992_731);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    proposal_validation: Vec<Proposal>,
    header_validation: Vec<HeaderCase>,
}

type Blocks = Vec<(u64, Option<HexHash>)>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    state_height: Option<u64>,
    cached_side: Option<Blocks>,
    cached_side_range: Option<(u64, u64)>,
    proposed_side: Option<Blocks>,
    proposed_side_range: Option<(u64, u64)>,
    cached_parent: Option<Blocks>,
    cached_parent_range: Option<(u64, u64)>,
    proposed_parent: Option<Blocks>,
    proposed_parent_range: Option<(u64, u64)>,
    root_rule: Option<String>,
    first_root: Option<HexHash>,
    cases: Option<Vec<OtherRoots>>,
    expect: Option<Verdicts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherRoots {
    proposed_root_rule: String,
    expect: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Verdicts {
    One(bool),
    EachTime(Vec<bool>),
}

pub(crate) fn run(file: Value) -> usize {
    let file: File = read(file);
    file.header_validation.iter().for_each(HeaderCase::run);
    file.proposal_validation.iter().map(Proposal::run).sum::<usize>() + file.header_validation.len()
}

impl Proposal {
    fn run(&self) -> usize {
        let rule = self.root_rule.as_deref().unwrap_or("sha256(decimal height)");
        let cached_side = blocks(self.cached_side.as_ref(), self.cached_side_range, rule);
        let cached_parent = blocks(self.cached_parent.as_ref(), self.cached_parent_range, rule);
        if let Some(first_root) = self.first_root {
            let first = cached_side.first().or(cached_parent.first()).unwrap();
            assert_eq!(first.1, Some(first_root.0), "the rule is understood");
        }
        let mut cache = Cache::default();
        for (chain, cached) in [(SIDE, &cached_side), (PARENT, &cached_parent)] {
            cache.insert(chain, Height(cached.first().map_or(1, |(height, _)| *height)));
            for (height, root) in cached {
                let block = if chain == SIDE {
                    BlockData::Side(side_block(chain, *height, *root))
                } else {
                    BlockData::Parent(parent_block(chain, *height, *root))
                };
                assert_eq!(cache.add(block), root.is_some());
            }
        }
        let before = format!("{cache:?}");
        let vote = |rule: &str, parent_range| {
            let side = blocks(self.proposed_side.as_ref(), self.proposed_side_range, rule);
            let parent = blocks(self.proposed_parent.as_ref(), parent_range, rule);
            let side: Vec<_> = side.iter().map(|(height, root)| side_block(SIDE, *height, *root)).collect();
            let parent: Vec<_> =
                parent.iter().map(|(height, root)| parent_block(PARENT, *height, *root)).collect();
            let height = Height(self.state_height.unwrap_or(0));
            proposal::validate(&side, &parent, |_| height, Some((PARENT, height)), &cache).is_ok()
        };
        let verdicts = match (&self.expect, &self.cases) {
            (Some(Verdicts::One(expect)), None) => vec![*expect],
            (Some(Verdicts::EachTime(expect)), None) => expect.clone(),
            (None, Some(cases)) => {
                for case in cases {
                    let rule = if case.proposed_root_rule == "same as cached" {
                        rule
                    } else {
                        &case.proposed_root_rule
                    };
                    assert_eq!(vote(rule, self.cached_parent_range), case.expect, "{rule}");
                }
                return cases.len();
            }
            _ => panic!("unknown form of expectation"),
        };
        let proposed = [self.proposed_side.is_some(), self.proposed_side_range.is_some()].into_iter();
        let proposed = proposed.chain([self.proposed_parent.is_some(), self.proposed_parent_range.is_some()]);
        assert!(proposed.into_iter().any(|there| there), "something is proposed");
        for expect in &verdicts {
            assert_eq!(vote(rule, self.proposed_parent_range), *expect);
        }
        assert_eq!(format!("{cache:?}"), before, "looking takes nothing");
        verdicts.len()
    }
}

/// Heights and roots: as they are given, or a range of them with roots by a rule in words.
fn blocks(given: Option<&Blocks>, range: Option<(u64, u64)>, rule: &str) -> Vec<(u64, Option<Hash>)> {
    match (given, range) {
        (Some(given), None) => {
            given.iter().map(|(height, root)| (*height, root.map(|root| root.0))).collect()
        }
        (None, Some((from, to))) => (from..=to).map(|height| (height, Some(root_of(rule, height)))).collect(),
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => panic!("blocks are given in one way"),
    }
}

fn root_of(rule: &str, height: u64) -> Hash {
    let little_endian = |height: u64| sha256((height as i32).to_le_bytes());
    match rule {
        "sha256(decimal height)" => sha256(height.to_string()),
        "sha256(int32 little-endian of height)" => little_endian(height),
        "sha256(int32 little-endian of height-1)" => little_endian(height - 1),
        _ => panic!("unknown rule for roots: {rule}"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderCase {
    height: Option<u64>,
    event_in_bloom: Option<bool>,
    indexed_roots: Option<Vec<HexHash>>,
    header_extra: Option<String>,
    a_proposal_is_releasable_on_the_previous_block: Option<bool>,
    before_execute: Option<bool>,
    after_execute: Option<bool>,
}

impl HeaderCase {
    fn run(&self) {
        let extra = match self.header_extra.as_deref() {
            Some("present") => extra_data::of_root(Hash([5; 32])).to_vec(),
            text => const_hex::decode(text.unwrap_or_default()).unwrap(),
        };
        if let Some(expect) = self.before_execute {
            let releasable = self.a_proposal_is_releasable_on_the_previous_block.unwrap();
            let now = Timestamp::from_millis(1_000_000);
            let pending = Pending {
                chain: SIDE,
                approved: releasable,
                expires: Some(Timestamp::from_millis(1_000_001)),
                side: vec![side_block(SIDE, 1, Some(Hash([1; 32])))],
                parent: Vec::new(),
            };
            assert_eq!(header::before_execution(&extra, std::slice::from_ref(&pending), now).is_ok(), expect);
            let ended = Pending { approved: true, expires: Some(now), ..pending };
            let after_its_end = header::before_execution(&extra, &[ended], now);
            assert_eq!(after_its_end.is_ok(), extra.is_empty(), "at its end a proposal cannot be released");
        }
        if let Some(expect) = self.after_execute {
            let contract = Address([9; 32]);
            let mut bloom = Bloom::of_event(Some(contract), "Transferred", &[]);
            if self.event_in_bloom.unwrap_or(false) {
                bloom.combine(&Bloom::of_event(Some(contract), INDEXED_EVENT, &[]));
            }
            let roots = hashes(self.indexed_roots.as_deref().unwrap_or_default());
            let height = Height(self.height.unwrap_or(2));
            let verdict = header::after_execution(height, &bloom, contract, || roots, &extra);
            assert_eq!(verdict.is_ok(), expect, "{verdict:?}");
        }
        assert!(self.before_execute.is_some() || self.after_execute.is_some(), "a case that checks nothing");
    }
}
