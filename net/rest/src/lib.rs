//! The HTTP API of a node: what it answers, as types that both sides share, and a client that asks for it.
//!
//! The node itself answers with these types (`docs/api.md` describes them), so they cannot drift from what it says.
//!
//! ```no_run
//! use rest::{Client, Document};
//!
//! let client = Client::new("127.0.0.1:9480");
//! let head = client.status()?.head.ok_or("no main block yet")?;
//! for chain in client.all_chains(&rest::ChainFilter::default()) {
//!     let chain = chain?;
//!     println!("{} is durable up to {}", chain.chain, chain.durable);
//! }
//! let proof = client.proof("tDVV".parse()?, rest::Height(7), Some(head.height))?;
//! // Trust in this header has to come from elsewhere: that is what a proof is for.
//! Document::Block(proof).verify_trusting(head.hash)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//! Everything that a node answers is bounded before memory is taken ([`Document::MAX_BYTES`]), and what is not an answer
//! of a node is an error, never a panic.
#![forbid(unsafe_code)]

mod blocks;
mod chains;
mod client;
mod events;
pub mod health;
mod key;
mod node;
mod peers;
mod problem;
mod proofs;
#[cfg(feature = "openapi")]
pub mod schema;
mod stats;
pub mod status;
pub mod trace;

pub use blocks::{ChainPart, Header, Headers, MainBlock};
pub use chains::{Chains, Finality, IndexedBlock, IndexedIn, SideChain};
pub use client::{ChainFilter, Client, Error, Events};
pub use events::{Event, HeadEvent, Topic};
pub use key::{NodeKey, ParseNodeKeyError};
pub use node::{Head, MainChain, Status};
pub use peers::{ChainOfPeer, Peer, PeerChains, Peers, Refusal, Refusals, Refused};
pub use problem::Problem;
pub use proofs::{BlockName, Trusted, Verdict, Wanted};
pub use stats::{Disk, Latency, Rates, Sample, Stage, Stats};
pub use trace::{BlockTrace, Phase};
pub use verify::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
pub use verify::proof::{Document, Proof};
