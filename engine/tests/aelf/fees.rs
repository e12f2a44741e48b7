//! Fees and debts of side chains.

use std::collections::BTreeMap;

use engine::aelf::address::Address;
use engine::aelf::contract::{Contract, ContractError};
use engine::aelf::data::SideBlockData;
use engine::chain::{ChainId, Hash, Height};
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;

use crate::form::read;

const CHAIN: ChainId = ChainId(1_866_392);
const PROPOSER: Address = Address([7; 32]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    locked: u64,
    price: u64,
    index: Option<Vec<u64>>,
    propose: Option<Vec<u64>>,
    error: Option<String>,
    expect: Option<Expect>,
    #[serde(default)]
    then: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    index: Option<Vec<u64>>,
    propose: Option<Vec<u64>>,
    recharge: Option<u64>,
    error: Option<String>,
    expect: Option<Expect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    height: Option<u64>,
    balance: Option<u64>,
    status: Option<String>,
    debt: Option<u64>,
    /// What the proposer got in this step.
    proposer_gain: Option<u64>,
    /// What was last paid out of the deposit.
    last_transfer: Option<u64>,
    /// The indexed height that the event tells.
    events: Option<BTreeMap<String, u64>>,
}

/// What one step did.
#[derive(Default)]
struct Done {
    gain: u64,
    events: BTreeMap<String, u64>,
}

pub(crate) fn run(file: Value) -> usize {
    let cases = read::<File>(file).cases;
    cases.into_iter().map(Case::run).sum()
}

impl Case {
    fn run(self) -> usize {
        let mut contract = Contract::new();
        contract.create(CHAIN, self.locked, self.price).unwrap();
        let first = Step {
            index: self.index,
            propose: self.propose,
            recharge: None,
            error: self.error,
            expect: self.expect,
        };
        let checked = usize::from(first.expect.is_some() || first.error.is_some())
            + self.then.iter().filter(|step| step.expect.is_some() || step.error.is_some()).count();
        assert!(checked > 0, "a case that checks nothing");
        for (height, step) in (100..).zip([first].into_iter().chain(self.then)) {
            step.run(&mut contract, Height(height));
        }
        checked
    }
}

impl Step {
    fn run(self, contract: &mut Contract, height: Height) {
        let done = match (&self.index, &self.propose, self.recharge) {
            (Some(index), None, None) => record(contract, height, index),
            (None, Some(propose), None) => {
                contract.check_proposal(&blocks(propose), &[]).map(|()| Done::default())
            }
            (None, None, Some(amount)) => {
                let paid = contract.recharge(CHAIN, amount);
                paid.map(|paid| Done { gain: paid.values().sum(), ..Done::default() })
            }
            _ => panic!("a step does one thing"),
        };
        match (done, self.error) {
            (Ok(done), None) => {
                if let Some(expect) = self.expect {
                    expect.check(contract, &done);
                }
            }
            (done, error) => assert_eq!(done.err().map(|error| error.to_string()), error),
        }
    }
}

impl Expect {
    fn check(&self, contract: &Contract, done: &Done) {
        let side = contract.side(CHAIN).unwrap();
        assert!(self.height.is_none_or(|height| side.height() == Height(height)));
        assert!(self.balance.is_none_or(|balance| side.balance() == balance), "{}", side.balance());
        assert!(self.status.as_ref().is_none_or(|status| side.status().name() == status));
        assert!(self.debt.is_none_or(|debt| side.debt() == debt), "{}", side.debt());
        assert!(self.proposer_gain.is_none_or(|gain| done.gain == gain), "{}", done.gain);
        assert!(self.last_transfer.is_none_or(|last| done.gain == last), "{}", done.gain);
        assert!(self.events.as_ref().is_none_or(|events| *events == done.events));
    }
}

fn record(contract: &mut Contract, height: Height, heights: &[u64]) -> Result<Done, ContractError> {
    let blocks = blocks(heights);
    contract.check_proposal(&blocks, &[])?;
    let indexed = contract.record_side(height, CHAIN, PROPOSER, &blocks)?;
    Ok(Done { gain: indexed.fee, events: [("SideChainIndexed".to_owned(), indexed.indexed.0)].into() })
}

fn blocks(heights: &[u64]) -> Vec<SideBlockData> {
    let block = |height: &u64| SideBlockData {
        chain: CHAIN,
        height: Height(*height),
        header_hash: Some(Hash([2; 32])),
        status_root: Some(Hash([3; 32])),
    };
    heights.iter().map(block).collect()
}
