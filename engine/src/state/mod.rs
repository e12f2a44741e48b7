//! The deterministic state machine of the main chain: its registry and what each chain has indexed.

mod genesis;

pub use genesis::{Genesis, GenesisError, MainChain, SideChain};
