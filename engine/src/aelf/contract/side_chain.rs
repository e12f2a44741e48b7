//! What a side chain pays for being indexed, and what it owes (`CrossChainContract_Helper.cs`,
//! `IndexSideChainBlockData`; `CrossChainContract.cs`, `Recharge`, `DisposeSideChain`).

use std::collections::BTreeMap;

use crate::aelf::address::Address;
use crate::chain::Height;

use super::ContractError;

/// What a side chain may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainStatus {
    /// 1
    Active,
    /// 2: it owes fees, and is indexed all the same.
    IndexingFeeDebt,
    /// 3: it is not indexed any more.
    Terminated,
}

impl ChainStatus {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::IndexingFeeDebt => "INDEXING_FEE_DEBT",
            Self::Terminated => "TERMINATED",
        }
    }
}

/// A side chain as the contract keeps it. Amounts are in the smallest unit of the native token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SideChain {
    price: u64,
    deposit: u64,
    height: Height,
    status: ChainStatus,
    /// What is owed to whom.
    arrears: BTreeMap<Address, u64>,
}

impl SideChain {
    /// A new one with its deposit and the price of each block.
    ///
    /// # Errors
    /// The deposit does not pay for one block.
    pub fn new(deposit: u64, price: u64) -> Result<Self, ContractError> {
        if deposit < price {
            return Err(ContractError::InvalidCreationRequest);
        }
        let (height, status) = (Height(0), ChainStatus::Active);
        Ok(Self { price, deposit, height, status, arrears: BTreeMap::new() })
    }

    /// Its deposit.
    pub const fn balance(&self) -> u64 {
        self.deposit
    }

    /// What it owes, to all together.
    pub fn debt(&self) -> u64 {
        self.arrears.values().sum()
    }

    /// Newest indexed height; 0 if none is.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// What it may do.
    pub const fn status(&self) -> ChainStatus {
        self.status
    }

    /// Whether these heights can be indexed next.
    pub fn is_next(&self, heights: impl IntoIterator<Item = Height>) -> bool {
        let next = (self.height.0.saturating_add(1)..=Height::MAX.0).map(Height);
        self.status != ChainStatus::Terminated && heights.into_iter().zip(next).all(|(got, next)| got == next)
    }

    /// Indexes the next `blocks` blocks that `proposer` brought, and returns what he gets for them at once. What the
    /// deposit does not pay, block by block, is owed; a chain in debt owes all, whatever its deposit.
    ///
    /// # Errors
    /// A sum is too large; then nothing changes.
    pub fn index(&mut self, proposer: Address, blocks: u64) -> Result<u64, ContractError> {
        let deposit = if self.status == ChainStatus::IndexingFeeDebt { 0 } else { self.deposit };
        let paid_blocks = deposit.checked_div(self.price).map_or(blocks, |most| most.min(blocks));
        let paid = paid_blocks * self.price;
        let owed = (blocks - paid_blocks).checked_mul(self.price).ok_or(ContractError::Overflow)?;
        let height = self.height.0.checked_add(blocks).ok_or(ContractError::Overflow)?;
        // All arrears together, so that their sum never overflows.
        self.debt().checked_add(owed).ok_or(ContractError::Overflow)?;
        if blocks > paid_blocks {
            *self.arrears.entry(proposer).or_default() += owed;
            self.status = ChainStatus::IndexingFeeDebt;
        }
        self.deposit -= paid;
        self.height = Height(height);
        Ok(paid)
    }

    /// Adds to the deposit. All arrears are paid out of it, and returned by who gets what; after that it must pay for one
    /// more block.
    ///
    /// # Errors
    /// The chain is terminated, or it is too little; then nothing changes.
    pub fn recharge(&mut self, amount: u64) -> Result<BTreeMap<Address, u64>, ContractError> {
        if self.status == ChainStatus::Terminated {
            return Err(ContractError::NotFoundOrWrongStatus);
        }
        let deposit = self.deposit.checked_add(amount).ok_or(ContractError::Overflow)?;
        if self.status == ChainStatus::IndexingFeeDebt {
            let left = deposit.checked_sub(self.debt()).filter(|left| *left >= self.price);
            self.deposit = left.ok_or(ContractError::RechargeNotEnough)?;
            self.status = ChainStatus::Active;
            Ok(std::mem::take(&mut self.arrears))
        } else {
            self.deposit = deposit;
            Ok(BTreeMap::new())
        }
    }

    /// Ends it, and returns its deposit, which goes to its creator. Arrears stay unpaid.
    ///
    /// # Errors
    /// It has ended already.
    pub const fn dispose(&mut self) -> Result<u64, ContractError> {
        if matches!(self.status, ChainStatus::Terminated) {
            return Err(ContractError::IncorrectChainStatus);
        }
        self.status = ChainStatus::Terminated;
        Ok(std::mem::replace(&mut self.deposit, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address([1; 32]);
    const BOB: Address = Address([2; 32]);

    #[test]
    fn fees_are_those_of_counting_block_by_block() {
        for (deposit, price) in [(0, 0), (5, 1), (7, 2), (100, 30), (3, 3), (10, 0)] {
            for blocks in 0..8 {
                let mut chain = SideChain::new(deposit, price).unwrap();
                let paid = chain.index(ALICE, blocks).unwrap();
                let (mut left, mut fee, mut arrears) = (deposit.cast_signed(), 0, 0);
                for _ in 0..blocks {
                    left -= price.cast_signed();
                    *(if left < 0 { &mut arrears } else { &mut fee }) += price;
                }
                assert_eq!((paid, chain.debt(), chain.balance()), (fee, arrears, deposit - fee));
                assert_eq!(chain.status() == ChainStatus::IndexingFeeDebt, arrears > 0);
                assert_eq!(chain.height(), Height(blocks));
            }
        }
    }

    #[test]
    fn a_chain_in_debt_owes_all_its_blocks_and_pays_each_proposer() {
        let mut chain = SideChain::new(5, 2).unwrap();
        assert_eq!(chain.index(ALICE, 3), Ok(4));
        assert_eq!((chain.balance(), chain.debt()), (1, 2), "too little for a block stays");
        assert_eq!(chain.index(BOB, 2), Ok(0));
        assert_eq!((chain.balance(), chain.debt()), (1, 6));
        assert_eq!(chain.recharge(6), Err(ContractError::RechargeNotEnough));
        assert_eq!(chain.recharge(7), Ok([(ALICE, 2), (BOB, 4)].into()));
        assert_eq!((chain.balance(), chain.debt(), chain.status()), (2, 0, ChainStatus::Active));
    }

    #[test]
    fn a_chain_that_ended_is_neither_indexed_nor_recharged_and_sums_do_not_overflow() {
        let mut chain = SideChain::new(5, 1).unwrap();
        assert_eq!(chain.dispose(), Ok(5));
        assert!(!chain.is_next([Height(1)]));
        assert_eq!(chain.recharge(1), Err(ContractError::NotFoundOrWrongStatus));
        assert_eq!(chain.dispose(), Err(ContractError::IncorrectChainStatus));
        assert_eq!(SideChain::new(1, 2), Err(ContractError::InvalidCreationRequest));
        let mut dear = SideChain::new(u64::MAX, u64::MAX).unwrap();
        let before = dear.clone();
        assert_eq!(dear.index(ALICE, 4), Err(ContractError::Overflow));
        assert_eq!(dear.recharge(1), Err(ContractError::Overflow));
        assert_eq!(dear, before);
    }
}
