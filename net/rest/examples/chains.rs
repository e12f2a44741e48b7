//! Lists the side chains of a node, with what each is doing and why.
//!
//! `cargo run -p mainstem-client --example chains -- 127.0.0.1:9480`

use std::error::Error;

use rest::{ChainFilter, Client};

fn main() -> Result<(), Box<dyn Error>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9480".to_owned());
    let client = Client::new(&node);
    println!("{:<10} {:>12} {:>12}  STATE", "CHAIN", "RECEIVED", "DURABLE");
    for chain in client.all_chains(&ChainFilter::default()) {
        let chain = chain?;
        let status = chain.progress.as_ref().map(|progress| &progress.status);
        let state = status.map_or_else(String::new, |status| format!("{}: {}", status.state, status.text));
        println!("{:<10} {:>12} {:>12}  {state}", chain.chain, chain.received, chain.durable);
    }
    Ok(())
}
