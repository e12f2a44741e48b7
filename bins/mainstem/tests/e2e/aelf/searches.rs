//! Transactions whose chain nobody says, while a chain's node says what it likes of those of another one.

use std::sync::Arc;

use engine::chain::{Hash, Height};
use engine::merkle::path::Step;
use engine::proof::{AelfPart, Transaction as Part};
use engine::source::{Answer, Answers, NoAnswer, Question};
use serde_json::{Value, json};

use super::chain::{AelfChain, Lies, Node, Transaction};
use super::{ASKED, TDVV, TDVW, World, hex};
use crate::support::{alone, http, wait_for};

/// The node of `tDVW`, which has some records of its own making, each with the path of another transaction.
struct Liar {
    node: Node,
    records: Vec<([u8; 32], Value)>,
}

impl Answers for Liar {
    fn answer(&self, question: &Question) -> Result<Answer, NoAnswer> {
        let Some((id, record)) = self.records.iter().find(|(id, _)| id == question.id()) else {
            return self.node.answer(question);
        };
        if let Question::Record { .. } = question {
            return Ok(Answer::Record(record.to_string().into_bytes()));
        }
        let path = TDVW.path(ASKED).into_iter();
        let path = path.map(|(hash, left)| Step { hash: Hash(hash), left }).collect();
        let part = Part::Aelf(AelfPart { id: Hash(*id), path });
        Ok(Answer::Transaction { height: Height(ASKED.height), part })
    }
}

fn result(url: &str, id: [u8; 32]) -> (u16, Value) {
    let path = format!("/api/blockChain/transactionResult?transactionId={}", hex(id));
    http::try_get(url, &path).unwrap()
}

/// The details of a refusal, which must have AElf's code for what is not found.
fn details((status, told): (u16, Value)) -> String {
    assert_eq!((status, &told["Error"]["Code"]), (403, &json!("20001")), "{told}");
    told["Error"]["Details"].as_str().unwrap().to_owned()
}

#[test]
fn no_chain_is_believed_about_a_transaction_without_a_path_to_an_indexed_block() {
    let _alone = alone();
    // What is said of it, by `tDVW` only, if not of one of `tDVV`'s.
    let record = |id: [u8; 32], status: &str, block: Option<u64>| {
        let mut record = TDVW.record(ASKED);
        record["TransactionId"] = hex(id).into();
        record["Status"] = status.into();
        record["BlockNumber"] = block.unwrap_or_default().into();
        record["BlockHash"] = block.map(|height| hex(TDVW.hash(height))).into();
        (id, record)
    };
    let of_one = |index| TDVV.transaction_id(Transaction { height: ASKED.height, index });
    let own = |index| TDVW.transaction_id(Transaction { height: 22, index });
    let [stolen, disputed] = [of_one(4), of_one(5)];
    let [forged, early, nowhere, pending, lower, none] =
        [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32], [6; 32]];
    let liar = Liar {
        node: Node { chain: TDVW, lies: Lies::None },
        records: vec![
            record(stolen, "MINED", Some(ASKED.height)),
            record(disputed, "MINED", Some(1_000)),
            record(forged, "MINED", Some(ASKED.height)),
            record(early, "MINED", Some(1_000)),
            record(nowhere, "Mined", None),
            record(pending, "Pending", None),
            record(lower, "mined", Some(ASKED.height)),
            record(none, "NotExisted", None),
        ],
    };
    let honest = Node { chain: TDVV, lies: Lies::None };
    let mut world = World::with(true, [Arc::new(honest), Arc::new(liar)]);
    let (api, side) = (world.node.api.clone(), world.side("tDVW"));

    assert_eq!(ASKED.index, 4);
    assert_eq!(result(&api, stolen), (200, TDVV.record(ASKED)), "a claim that is refuted is none");
    assert_eq!(result(&api, own(0)), (200, TDVW.record(Transaction { height: 22, index: 0 })));
    let text = details(result(&api, disputed));
    assert!(text.contains("/aelf/tDVV/ or /aelf/tDVW/"), "{text}");
    for id in [forged, lower] {
        let text = details(result(&api, id));
        assert!(text.contains("does not lead to block 17"), "{text}");
    }
    assert!(details(result(&api, nowhere)).contains("no BlockNumber or BlockHash"));
    for id in [early, pending] {
        let (status, told) = result(&api, id);
        assert_eq!(
            (status, &told["Status"], &told["TransactionId"]),
            (200, &json!("PENDING"), &json!(hex(id)))
        );
        assert_eq!((&told["BlockNumber"], &told["BlockHash"]), (&json!(0), &Value::Null));
    }
    let unknown = [7; 32];
    for id in [none, unknown] {
        for url in [&api, &side] {
            assert_eq!(result(url, id).1["Status"], "NOTEXISTED");
        }
    }
    // One that failed, of which AElf's nodes give no path: told where it is asked for by chain.
    let failed = Transaction { height: 22, index: 3 };
    assert!(!AelfChain::is_mined(failed));
    assert!(details(result(&api, own(3))).contains("ask under /aelf/tDVW/"));
    assert_eq!(result(&side, own(3)), (200, TDVW.record(failed)));
    // Of its own transactions a chain may say what it likes.
    assert_eq!(result(&side, early).1["Status"], "MINED");

    // A chain that cannot be asked may have it.
    drop(world.clients.remove(1));
    let mut text = String::new();
    wait_for("tDVW to be without a node", || {
        let (status, told) = result(&api, unknown);
        (status == 403).then(|| text = details((status, told)))
    });
    assert!(text.contains("not every one could say: chain tDVW"), "{text}");
    assert_eq!(result(&api, stolen), (200, TDVV.record(ASKED)));
}
