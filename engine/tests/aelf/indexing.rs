//! What is proposed and released, and what other nodes are answered.

use std::collections::BTreeMap;

use engine::aelf::cache::Cache;
use engine::aelf::data::{BlockData, ParentBlockData, SideBlockData};
use engine::aelf::lanes::{self, Indexed};
use engine::aelf::selection::{
    Pending, Prepared, SideState, SystemTransaction, View, needs_extra_data, prepare,
};
use engine::aelf::tree::{self, Tree};
use engine::aelf::{extra_data, server};
use engine::chain::{ChainId, Hash, Height, Timestamp};
use mainstem_engine as engine;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::form::{Chain, chains_in, fake_root, number_before, read, sha256};

const NOW: u64 = 1_700_000_000_000;
const NEVER: i64 = 1 << 40;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    selection: Vec<Selection>,
    server: Vec<Request>,
    handshake_peer: Vec<Handshake>,
    lib_filter: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    side: Option<Side>,
    parent: Option<Parent>,
    local_lib: Option<u64>,
    cache: Option<(u64, u64)>,
    cached_data_has_root: Option<bool>,
    pending: Option<PendingForm>,
    expect: Option<Expect>,
    check_extra_data_is_needed: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    id: Chain,
    indexed_height: u64,
    indexed_height_at_lib: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parent {
    id: Chain,
    indexed_height: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PendingForm {
    Words(String),
    One(OnePending),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnePending {
    to_be_released: bool,
    expires_in_ms: Option<i64>,
    side_heights: Option<(u64, u64)>,
    parent_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default, deserialize_with = "there")]
    tx: Transaction,
    side_heights: Option<(u64, u64)>,
    side_count: Option<usize>,
    parent_count: Option<usize>,
    header_extra: Option<String>,
}

/// Tells null from nothing.
#[derive(Default)]
enum Transaction {
    #[default]
    Any,
    Named(Option<String>),
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Transaction, D::Error> {
    Option::deserialize(deserializer).map(Transaction::Named)
}

pub(crate) fn run(file: Value) -> usize {
    let file: File = read(file);
    file.selection.iter().for_each(Selection::run);
    file.server.iter().for_each(Request::run);
    file.handshake_peer.iter().for_each(Handshake::run);
    file.selection.len()
        + file.server.len()
        + file.handshake_peer.len()
        + file.lib_filter.iter().map(Filter::run).sum::<usize>()
}

impl Selection {
    fn run(&self) {
        let cache = self.cached();
        let pending = self.pending();
        let sides: Vec<_> = self.side.iter().map(Side::state).collect();
        if let Some(needed) = self.check_extra_data_is_needed {
            assert_eq!(needs_extra_data(&pending, Timestamp::from_millis(NOW)), needed);
        }
        let Some(expect) = &self.expect else {
            assert!(self.check_extra_data_is_needed.is_some(), "a case that checks nothing");
            return;
        };
        assert_eq!(self.parent.is_some(), self.local_lib.is_some(), "parent data depends on the own chain");
        let view = View {
            height: Height(1000),
            takes_transactions: true,
            now: Timestamp::from_millis(NOW),
            lib: Height(self.local_lib.unwrap_or(0)),
            sides: &sides,
            parent: self.parent.as_ref().map(|parent| (parent.id.0, Height(parent.indexed_height))),
            pending: &pending,
        };
        let prepared = prepare(&view, &cache);
        expect.check(&prepared, &pending);
        for height in [Height(0), Height(1)] {
            assert_eq!(prepare(&View { height, ..view }, &cache), Prepared::default());
        }
        assert_eq!(prepare(&View { takes_transactions: false, ..view }, &cache), Prepared::default());
        if let (Some(side), None, Some((from, to))) = (&self.side, &self.pending, self.cache) {
            side.check_lane(&prepared, if from <= side.indexed_height + 1 { to } else { 0 });
        }
    }

    /// A cache as the case has it: what is not accepted has no root.
    fn cached(&self) -> Cache {
        let mut cache = Cache::default();
        let has_root = self.cached_data_has_root.unwrap_or(true);
        if let Some((from, to)) = self.cache {
            let side = self.side.as_ref().map(|side| side.id.0);
            let chain = side.or(self.parent.as_ref().map(|parent| parent.id.0)).unwrap();
            cache.insert(chain, Height(from));
            for height in from..=to {
                let root = has_root.then(|| sha256(height.to_string()));
                let block = if side.is_some() {
                    BlockData::Side(side_block(chain, height, root))
                } else {
                    BlockData::Parent(parent_block(chain, height, root))
                };
                assert_eq!(cache.add(block), has_root);
            }
        }
        cache
    }

    fn pending(&self) -> Vec<Pending> {
        match &self.pending {
            None => Vec::new(),
            Some(PendingForm::One(one)) => {
                let side = self.side.as_ref().map(|side| side.id.0);
                vec![one.pending(side.unwrap_or(ChainId(123)))]
            }
            Some(PendingForm::Words(text)) => in_words(text),
        }
    }
}

impl Side {
    fn state(&self) -> SideState {
        SideState {
            chain: self.id.0,
            indexed: Height(self.indexed_height),
            indexed_at_lib: Height(self.indexed_height_at_lib),
        }
    }

    /// Our own lanes give as many blocks as AElf proposes.
    fn check_lane(&self, prepared: &Prepared, last_cached: u64) {
        let indexed = match (self.indexed_height, self.indexed_height_at_lib) {
            (0, 0) => Indexed::Nothing,
            (_, 0) => Indexed::Reversible,
            _ => Indexed::Irreversible,
        };
        let waiting = last_cached.saturating_sub(self.indexed_height);
        assert_eq!(lanes::places(indexed, waiting), proposed(prepared).0.len() as u64);
    }
}

impl OnePending {
    fn pending(&self, chain: ChainId) -> Pending {
        // A proposal holds blocks of one chain, so it is of one kind.
        let sides = self.side_heights.or(self.parent_count.is_none().then_some((1, 1)));
        let side = sides.into_iter().flat_map(|(from, to)| from..=to);
        Pending {
            chain,
            approved: self.to_be_released,
            expires: Some(expires(self.expires_in_ms.unwrap_or(NEVER))),
            side: side.map(|height| side_block(chain, height, Some(sha256(height.to_string())))).collect(),
            parent: (1..=self.parent_count.unwrap_or(0))
                .map(|height| parent_block(chain, height, Some(Hash([1; 32]))))
                .collect(),
        }
    }
}

/// "three chains 2112,2113,2114 with 257 blocks each, all releasable"
fn in_words(text: &str) -> Vec<Pending> {
    assert!(text.ends_with("blocks each, all releasable"), "unknown form of proposals: {text}");
    let blocks = number_before(text, "blocks").unwrap_or_else(|| panic!("no number of blocks: {text}"));
    let chains = chains_in(text).unwrap_or_else(|| panic!("no chains: {text}"));
    let pending = |(index, chain)| Pending {
        chain,
        approved: true,
        expires: Some(expires(NEVER)),
        side: (1..=blocks).map(|height| side_block(chain, height, Some(fake_root(index)))).collect(),
        parent: Vec::new(),
    };
    chains.into_iter().enumerate().map(pending).collect()
}

impl Expect {
    fn check(&self, prepared: &Prepared, pending: &[Pending]) {
        let checks = [
            matches!(self.tx, Transaction::Named(_)),
            self.side_heights.is_some(),
            self.side_count.is_some(),
            self.parent_count.is_some(),
            self.header_extra.is_some(),
        ];
        assert!(checks.contains(&true), "a case that checks nothing");
        let (side, parent) = proposed(prepared);
        if let Transaction::Named(expected) = &self.tx {
            let name = prepared.transaction.as_ref().map(|transaction| match transaction {
                SystemTransaction::Propose { .. } => "ProposeCrossChainIndexing",
                SystemTransaction::Release { .. } => "ReleaseCrossChainIndexingProposal",
            });
            assert_eq!(name, expected.as_deref());
        }
        if let Some((from, to)) = self.side_heights {
            let heights: Vec<_> = side.iter().map(|block| block.height.0).collect();
            assert_eq!(heights, (from..=to).collect::<Vec<_>>());
        }
        assert!(self.side_count.is_none_or(|count| count == side.len()), "{}", side.len());
        assert!(self.parent_count.is_none_or(|count| count == parent.len()), "{}", parent.len());
        match self.header_extra.as_deref() {
            None => {}
            // Each released block leads to the root in the header.
            Some("root" | "root of the pending proposal's side roots") => {
                let root = extra_data::parse(&prepared.extra_data).unwrap().expect("there is a root");
                let leaves: Vec<_> = pending
                    .iter()
                    .flat_map(|pending| &pending.side)
                    .map(|side| side.status_root.unwrap())
                    .collect();
                let tree = Tree::new(leaves.clone());
                assert!(!leaves.is_empty());
                for (index, leaf) in leaves.iter().enumerate() {
                    assert_eq!(tree::fold(*leaf, &tree.path(index).unwrap()), root);
                }
            }
            Some(hex) => assert_eq!(const_hex::encode(&prepared.extra_data), hex),
        }
        if let Some(SystemTransaction::Release { chains }) = &prepared.transaction {
            assert!(pending.iter().map(|pending| pending.chain).eq(chains.iter().copied()));
        }
    }
}

fn proposed(prepared: &Prepared) -> (&[SideBlockData], &[ParentBlockData]) {
    match &prepared.transaction {
        Some(SystemTransaction::Propose { side, parent }) => (side, parent),
        _ => (&[], &[]),
    }
}

fn expires(in_ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.checked_add_signed(in_ms).unwrap())
}

pub(crate) fn side_block(chain: ChainId, height: u64, status_root: Option<Hash>) -> SideBlockData {
    SideBlockData { chain, height: Height(height), header_hash: Some(sha256([1])), status_root }
}

pub(crate) fn parent_block(chain: ChainId, height: u64, status_root: Option<Hash>) -> ParentBlockData {
    ParentBlockData {
        chain,
        height: Height(height),
        status_root,
        side_root: None,
        paths: BTreeMap::new(),
        extra_data: BTreeMap::new(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    highest_served_height: u64,
    next_height: u64,
    response_count: usize,
    first: Option<u64>,
    last: Option<u64>,
}

impl Request {
    fn run(&self) {
        let heights: Vec<_> =
            server::heights(Height(self.next_height), Height(self.highest_served_height)).collect();
        assert_eq!(heights.len(), self.response_count);
        assert!(heights.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert!(self.first.is_none_or(|first| heights.first() == Some(&first)));
        assert!(self.last.is_none_or(|last| heights.last() == Some(&last)));
        let lib = Height(self.highest_served_height);
        let irreversible: Vec<_> = server::irreversible_heights(Height(self.next_height), lib).collect();
        assert!(irreversible == heights || !server::has_irreversible(lib));
        assert!(irreversible.iter().all(|height| server::is_irreversible(Height(*height), lib)));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Handshake {
    peer: String,
    reply_status: Option<i32>,
    parsed: Option<Parsed>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Parsed {
    No(bool),
    Address(String),
}

impl Handshake {
    fn run(&self) {
        assert!(self.reply_status.is_some() || self.parsed.is_some(), "a case that checks nothing");
        if let Some(expected) = self.reply_status {
            let (status, caller) = server::handshake(&self.peer, 5010);
            assert_eq!(status as i32, expected);
            assert_eq!(caller.is_some(), expected == 0);
            assert!(caller.is_none_or(|caller| caller.port() == 5010));
        }
        match &self.parsed {
            None => {}
            Some(Parsed::No(parsed)) => {
                assert!(!parsed, "what it is parsed to is told");
                assert_eq!(server::parse_peer(&self.peer), None);
            }
            Some(Parsed::Address(address)) => {
                assert_eq!(server::parse_peer(&self.peer), Some(address.parse().unwrap()));
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    lib: Option<u64>,
    height: Option<u64>,
    served: Option<bool>,
    lib_exists_for: Option<BTreeMap<String, bool>>,
}

impl Filter {
    fn run(&self) -> usize {
        match (self.lib, self.height, self.served, &self.lib_exists_for) {
            (Some(lib), Some(height), Some(served), None) => {
                assert_eq!(server::is_irreversible(Height(height), Height(lib)), served);
                1
            }
            (None, None, None, Some(exists)) => {
                for (lib, exists) in exists {
                    assert_eq!(server::has_irreversible(Height(lib.parse().unwrap())), *exists, "{lib}");
                }
                exists.len()
            }
            _ => panic!("unknown form of filter"),
        }
    }
}
