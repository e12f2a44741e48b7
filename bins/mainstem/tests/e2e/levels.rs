//! A Mainstem as a side chain of another, which is one of a third: three real nodes, and one proof over all of them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::node::Node;
use crate::support::process::Process;
use crate::support::{http, key, mainstem, run, tributary, wait_for};
use crate::transactions::{proven, sim_id};
use crate::two_programs::sim;

const SIDE: u32 = 7;
const GRANDCHILD: u32 = 300;
const CHILD: u32 = 200;
const MAIN: u32 = 100;

/// A main chain that indexes one chain.
fn level(dir: &TempDir, id: u32, side: u32, public: &str) -> Node {
    let genesis = format!(
        "[main]\nid = {id}\nname = \"level {id}\"\n[[chain]]\nid = {side}\nname = \"side\"\nfirst_height = 1\n\
         nodes = [{public:?}]\n"
    );
    let document = dir.path().join(format!("{id}.toml"));
    fs::write(&document, genesis).unwrap();
    let data = dir.path().join(format!("data-{id}"));
    let (code, _, error) =
        run(mainstem().arg("init").arg("--data").arg(&data).arg("--genesis").arg(&document));
    assert_eq!(code, 0, "{error}");
    Node::start(&data, None, &[])
}

/// Sends a level's main blocks to the level above.
fn up(from: &Node, chain: u32, to: &Node, key: &Path) -> Process {
    let mut command = tributary();
    command.args(["mainstem", "--node", &from.api, "--chain", &chain.to_string(), "--poll", "50ms"]);
    command.args(["--main", &to.ingest, "--main-key", &to.key, "--key"]).arg(key);
    Process::start("tributary mainstem", &mut command)
}

/// An id of a transaction two levels below: which chain of the child, which of the grandchild, and there which.
fn nested(id: &str) -> String {
    let hex = |chain: u32| chain.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    format!("0x{}{}{}", hex(GRANDCHILD), hex(SIDE), id.trim_start_matches("0x"))
}

fn verifies(dir: &Path, proof: &Value) -> bool {
    let file = dir.join("changed.json");
    fs::write(&file, proof.to_string()).unwrap();
    run(mainstem().arg("verify").arg(&file)).0 == 0
}

#[test]
fn one_proof_leads_over_three_levels_and_its_levels_cannot_be_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("node.key");
    let public = key(&key_file);
    let grandchild = level(&dir, GRANDCHILD, SIDE, &public);
    let child = level(&dir, CHILD, GRANDCHILD, &public);
    let main = level(&dir, MAIN, CHILD, &public);
    let _sim = sim(&grandchild, &key_file, "7", &["--rate", "50"]);
    let mut up1 = up(&grandchild, GRANDCHILD, &child, &key_file);
    let mut up2 = up(&child, CHILD, &main, &key_file);
    let (first, second) = (sim_id(SIDE, 3, 1), sim_id(SIDE, 40, 2));
    for id in [&first, &second] {
        let path = format!("/v1/proofs/tx/{CHILD}/{}", nested(id));
        wait_for("the transaction to be proven at the top", || {
            assert!(!up1.ended() && !up2.ended(), "{}\n{}", up1.output(), up2.output());
            let (status, body) = http::try_get(&main.api, &path)?;
            assert!(status == 200 || status == 404 || status == 503, "{body}");
            (status == 200).then_some(())
        });
    }
    let chain = CHILD.to_string();
    let one = proven(&main, dir.path(), &chain, &nested(&first));
    let two = proven(&main, dir.path(), &chain, &nested(&second));
    let innermost = &one["transaction"]["proof"]["transaction"]["proof"];
    assert_eq!(innermost["transaction"]["type"], "sim");
    assert_eq!(innermost["block"]["chain_id"], SIDE);
    assert_eq!(innermost["block"]["block"]["height"], 3);
    assert_eq!(one["transaction"]["proof"]["block"]["chain_id"], GRANDCHILD);
    assert_eq!(one["block"]["chain_id"], CHILD);

    // Exchanged, left out, doubled, changed.
    let at = ["/transaction/proof", "/transaction/proof/transaction/proof"];
    assert!(verifies(dir.path(), &one) && verifies(dir.path(), &two));
    for path in at {
        let mut swapped = one.clone();
        *swapped.pointer_mut(path).unwrap() = two.pointer(path).unwrap().clone();
        assert!(!verifies(dir.path(), &swapped), "{path} of another proof");
    }
    let mut skipped = one.clone();
    skipped["transaction"]["proof"] = innermost.clone();
    assert!(!verifies(dir.path(), &skipped), "a level left out");
    let mut doubled = one.clone();
    doubled["transaction"]["proof"]["transaction"]["proof"] = one["transaction"]["proof"].clone();
    assert!(!verifies(dir.path(), &doubled), "a level twice");
    let mut outside_in = one["transaction"]["proof"].clone();
    outside_in["transaction"]["proof"] = one.clone();
    assert!(!verifies(dir.path(), &outside_in), "the levels the other way round");
    for path in at {
        let mut other_chain = one.clone();
        other_chain.pointer_mut(path).unwrap()["block"]["chain_id"] = 9.into();
        assert!(!verifies(dir.path(), &other_chain), "{path} of another chain");
    }

    // A block of the grandchild, named by its height.
    let id = GRANDCHILD.to_le_bytes().into_iter().chain(1_u64.to_le_bytes());
    let id = const_hex::encode(id.collect::<Vec<_>>());
    let block = proven(&main, dir.path(), &chain, &format!("0x{id}"));
    assert_eq!(block["transaction"]["proof"]["chain_id"], GRANDCHILD);
    assert_eq!(block["transaction"]["proof"]["block"]["height"], 1);
    // A chain that the child does not index.
    let strange = format!("/v1/proofs/tx/{CHILD}/0x{}{}", "63000000", "0100000000000000");
    assert_eq!(http::try_get(&main.api, &strange).unwrap().0, 404);
}
