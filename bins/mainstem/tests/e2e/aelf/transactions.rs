//! Transactions of AElf chains, proven from their ids to a main header: by our own route and by the program. This needs
//! neither a client of AElf nor AElf's root in the headers.

use std::fs;

use serde_json::{Value, json};

use super::chain::{AelfChain, Transaction};
use super::{ASKED, LIED, TDVV, TDVW, World, hex};
use crate::support::{alone, http, mainstem, run};
use crate::transactions::{proven, refused};

fn id(chain: AelfChain, transaction: Transaction) -> String {
    format!("0x{}", hex(chain.transaction_id(transaction)))
}

#[test]
fn an_aelf_transaction_is_proven_from_its_id_to_a_later_head() {
    let _alone = alone();
    let world = World::start(false);
    let (node, dir) = (&world.node, world.dir.path());
    let cases = [
        (TDVV, "tDVV", ASKED),
        (TDVV, "1866392", Transaction { height: 1, index: 0 }),
        (TDVV, "tDVV", Transaction { height: TDVV.blocks, index: 2 }),
        (TDVW, "tDVW", ASKED),
    ];
    for (chain, name, transaction) in cases {
        let Transaction { height, .. } = transaction;
        let id = id(chain, transaction);
        let proof = proven(node, dir, name, &id);
        assert_eq!(
            (&proof["kind"], &proof["block"]["chain_id"]),
            (&json!("transaction"), &json!(chain.id.0)),
            "{proof}"
        );
        let steps = chain.path(transaction).into_iter();
        let steps = steps.map(|(hash, left)| json!({ "hash": format!("0x{}", hex(hash)), "left": left }));
        let part = json!({ "type": "aelf", "id": id, "path": steps.collect::<Vec<_>>() });
        assert_eq!(proof["transaction"], part);
        let block = json!({
            "height": height,
            "hash": format!("0x{}", hex(chain.hash(height))),
            "tx_root": format!("0x{}", hex(chain.tx_root(height))),
        });
        assert_eq!(proof["block"]["block"], block);

        // The same by the route, where the program asked for it.
        let newest = world.head;
        let same = http::get(&node.api, &format!("/v1/proofs/tx/{name}/{id}?head={newest}"));
        assert_eq!(same, proof);
        // Without a head it ends in the main block that has it, and says so to who trusts that one alone.
        let short = http::get(&node.api, &format!("/v1/proofs/tx/{name}/{id}"));
        assert!(short["block"]["head"].is_null(), "{short}");
        let main = world.indexed_with(chain, height).0;
        let hash = http::get(&node.api, &format!("/v1/blocks/{main}"))["hash"].as_str().unwrap().to_owned();
        let file = dir.join("short.json");
        let verify = |proof: &Value| {
            fs::write(&file, proof.to_string()).unwrap();
            run(mainstem().args(["verify", "--trusted-header", &hash]).arg(&file)).0
        };
        assert_eq!(verify(&short), 0);
        // Another transaction in its place, or a step from the other side.
        let mut other = short.clone();
        other["transaction"]["id"] = format!("0x{}", "12".repeat(32)).into();
        assert_eq!(verify(&other), 1);
        let mut turned = short;
        let left = &mut turned["transaction"]["path"][0]["left"];
        *left = (!left.as_bool().unwrap()).into();
        assert_eq!(verify(&turned), 1);
    }

    let failed = Transaction { height: ASKED.height, index: 3 };
    for (chain, id, status, kind) in [
        ("tDVV", id(TDVV, failed), 404, "unknown-transaction"),
        ("tDVW", id(TDVV, ASKED), 404, "unknown-transaction"),
        ("tDVV", id(TDVV, LIED), 502, "wrong-answer"),
    ] {
        let (got, said, detail) = refused(node, &format!("/v1/proofs/tx/{chain}/{id}"));
        assert_eq!((got, said.as_str()), (status, kind), "{chain} {id}: {detail}");
    }
}
