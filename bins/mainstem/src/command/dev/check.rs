//! Fetches a proof over HTTP, as an outsider would, and verifies it against what the simulated chain says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engine::chain::{ChainId, Hash, Height};
use engine::sim::{SimChain, SimConfig};
use rest::Client;

/// How far a simulated chain is run again to see what a block must be.
const RERUN: u64 = 10_000;

/// How long the chain may take to have a block, from when the run is over.
const FIRST_BLOCK: Duration = Duration::from_secs(5);

/// A proof that verified.
pub(super) struct Checked {
    /// The side chain.
    pub(super) chain: ChainId,
    /// The side block.
    pub(super) height: Height,
    /// The main block that indexed it.
    pub(super) main: Height,
    /// The later main block that the proof ends in.
    pub(super) head: Height,
    /// Hash of its header.
    pub(super) head_hash: Hash,
}

/// Proves a block of `chain` up to the newest main block and verifies that.
pub(super) fn check(client: &Client, chain: ChainId, sim: &Arc<SimConfig>) -> Result<Checked> {
    // A short run may be over before this chain's first blocks are: its node still sends them.
    let deadline = Instant::now() + FIRST_BLOCK;
    let durable = loop {
        let durable = client.chain(chain)?.durable;
        if durable >= sim.first_height {
            break durable;
        }
        ensure!(Instant::now() < deadline, "no block of chain {chain} is durable yet");
        std::thread::sleep(Duration::from_millis(20));
    };
    let height = Height(durable.0.min(RERUN));
    let newest = client.latest_block()?;
    ensure!(
        newest.hash == newest.header.hash(),
        "the hash of the newest main block is not that of its header"
    );
    let proof = client.proof(chain, height, Some(newest.header.height))?;
    let verified = proof.verify_trusting(newest.hash)?;

    let mut source = SimChain::new(chain, Arc::clone(sim));
    source.seek(height.previous());
    let (hash, tx_root, _) = source.step();
    ensure!(
        (proof.chain_id, proof.block.height, proof.block.hash, proof.block.tx_root)
            == (chain, height, hash, tx_root),
        "the proof is about another block than height {height} of chain {chain}"
    );
    let (main, head) = (proof.header.height, verified.trusted.height);
    Ok(Checked { chain, height, main, head, head_hash: verified.trusted_hash })
}
