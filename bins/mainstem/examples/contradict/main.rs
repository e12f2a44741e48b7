//! Contradicts what it sent, until the main chain puts its chain into quarantine: to see what an operator sees then.
//!
//! Only blocks that are not sealed yet can be contradicted, so let a chain that nothing was sent of wait for long:
//!
//! ```text
//! mainstem run --data DIR --seal.rules aelf
//! cargo run -p mainstem --example contradict -- 127.0.0.1:9481 SERVER-KEY NODE.key CHAIN 3
//! mainstem why CHAIN --data DIR
//! ```

mod liar;

use std::error::Error;

use net::identity::Identity;

use liar::Liar;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [server, key, file, chain, times] = &args[..] else {
        return Err("usage: contradict SERVER SERVER-KEY KEY-FILE CHAIN TIMES".into());
    };
    let identity = Identity::load(file.as_ref())?;
    let (server, server_key, chain) = (server.parse()?, key.parse()?, chain.parse()?);
    Liar { identity: &identity, server, server_key, chain }.contradict(times.parse()?)
}
