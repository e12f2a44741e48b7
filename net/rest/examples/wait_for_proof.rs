//! Waits until a side block is indexed, and verifies the proof without trusting the node that gave it.
//!
//! `cargo run -p mainstem-client --example wait_for_proof -- 127.0.0.1:9480 tDVV 7 [TRUSTED-HEADER-HASH]`
//!
//! The hash of the header has to come from somewhere else than this node, or the proof shows no more than that the node
//! agrees with itself. Without one, the hash of the header is printed, for comparing it.

use std::error::Error;
use std::time::Duration;

use rest::{ChainId, Client, Document, Hash, Height};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("{what} is missing"));
    let client = Client::new(&next("the node's address")?);
    let chain: ChainId = next("the chain")?.parse()?;
    let height = Height(next("the height")?.parse()?);
    let trusted: Option<Hash> = next("").ok().map(|hash| hash.parse()).transpose()?;

    // The node answers as soon as the block is indexed; after 30 s it says what is missing.
    let proof = client.wait_for_proof(chain, height, Duration::from_secs(30))?;
    if (proof.chain_id, proof.block.height) != (chain, height) {
        return Err("the node has proven another block".into());
    }
    let (block, root) = (proof.block.hash, proof.block.tx_root);
    let proof = Document::Block(proof);
    let outcome = match trusted {
        Some(hash) => proof.verify_trusting(hash)?,
        None => proof.verify()?,
    };
    println!("block {height} of chain {chain} is {block} with transaction root {root},");
    println!("under main header {}", outcome.verified.trusted_hash);
    Ok(())
}
