//! A node that is killed at random moments loses nothing that it acknowledged or served, and has nothing twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::chain::{BlockView, Height};
use engine::proof::{self, Proof};
use engine::store::BlockReader;

use crate::support::node::{Chain, Data, Node};
use crate::support::{Random, alone, http, indexed, key, run, wait_for};
use crate::two_programs::sim;

const KILLS: usize = 24;
const TRIBUTARIES: u32 = 4;
const CHAINS_EACH: u32 = 4;
const FIRST: u32 = 1_000_000;
/// So many blocks of each chain come after the last kill.
const MORE: u64 = 1_000;

/// What was seen of a node before it was killed: it must still hold afterwards.
#[derive(Default)]
struct Seen {
    durable: BTreeMap<u32, u64>,
    proofs: Vec<Proof>,
}

impl Seen {
    /// Looks at the node until `time` has passed.
    fn look(&mut self, node: &Node, time: Duration, random: &mut Random) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let Some(durable) = http::try_durable(&node.api) else { return };
            for (chain, height) in durable {
                let before = self.durable.entry(chain).or_default();
                assert!(
                    height >= *before,
                    "chain {chain}: durable was {before}, after the restart it is {height}"
                );
                *before = height;
            }
            let chain = FIRST + random.below((TRIBUTARIES * CHAINS_EACH).into()) as u32;
            let newest = self.durable[&chain];
            if newest > 0
                && let Some((200, proof)) = http::try_get(&node.api, &format!("/v1/proofs/{chain}/{newest}"))
            {
                self.proofs.push(serde_json::from_value(proof).unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn total(&self) -> u64 {
        self.durable.values().sum()
    }
}

#[test]
fn a_node_killed_at_random_moments_loses_nothing_and_has_nothing_twice() {
    let _alone = alone();
    let mut random = Random::seeded();
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..TRIBUTARIES).map(|index| dir.path().join(format!("{index}.key"))).collect();
    let publics: Vec<_> = keys.iter().map(|file| key(file)).collect();
    let chains: Vec<_> = (0..TRIBUTARIES * CHAINS_EACH)
        .map(|index| Chain {
            id: FIRST + index,
            first_height: 1,
            keys: vec![publics[(index / CHAINS_EACH) as usize].clone()],
        })
        .collect();
    let data = Data::new(&chains);
    // Small segments, so that kills fall between segments too.
    let more = ["--storage.segment-bytes", "1MiB", "--seal.max-leaves", "2048"];
    let more = [&more[..], &["--seal.interval-ms", "20"]].concat();
    let mut node = Node::start(&data.path(), None, &more);
    let ingest = node.ingest.clone();
    let tributaries = |node: &Node, settings: &[&str]| -> Vec<_> {
        let of_key = |(key, index): (&PathBuf, u32)| {
            let ids: Vec<_> =
                (0..CHAINS_EACH).map(|n| (FIRST + index * CHAINS_EACH + n).to_string()).collect();
            sim(node, key, &ids.join(","), settings)
        };
        keys.iter().zip(0..).map(of_key).collect()
    };
    // Without an end, so that blocks flow however long the kills take.
    let mut endless = tributaries(&node, &["--rate", "200"]);

    let mut seen = Seen::default();
    let mut kills_while_blocks_came = 0;
    let mut kills_at_start = 0;
    while kills_while_blocks_came < KILLS {
        let before = seen.total();
        wait_for("a block to become durable", || {
            seen.look(&node, Duration::from_millis(1), &mut random);
            (seen.total() > before).then_some(())
        });
        let time = Duration::from_millis(random.below(400));
        seen.look(&node, time, &mut random);
        node.process.kill();
        kills_while_blocks_came += 1;
        // Now and then the next one is killed while it opens the log, or before it has done much.
        while random.below(3) == 0 {
            let mut short_lived = Node::launch(&data.path(), Some(&ingest), &more);
            std::thread::sleep(Duration::from_millis(random.below(120)));
            short_lived.kill();
            kills_at_start += 1;
        }
        node = Node::start(&data.path(), Some(&ingest), &more);
    }

    // These have reconnected by themselves each time. Others go on, and end when all they sent is acknowledged.
    for tributary in &mut endless {
        tributary.signal("TERM");
        assert!(tributary.wait().success(), "{}", tributary.output());
    }
    let stop_at = seen.durable.values().max().unwrap() + MORE;
    for mut tributary in tributaries(&node, &["--rate", "0", "--stop-at", &stop_at.to_string()]) {
        assert!(tributary.wait().success(), "{}", tributary.output());
    }
    let durable: BTreeMap<_, _> = http::try_durable(&node.api).unwrap().into_iter().collect();
    assert!(durable.values().all(|height| *height >= stop_at), "{durable:?}");
    for before in &seen.proofs {
        let path = format!("/v1/proofs/{}/{}", before.chain_id.0, before.block.height);
        let now: Proof = serde_json::from_value(http::get(&node.api, &path)).unwrap();
        assert_eq!(now, *before, "what was served is what is there");
        now.verify().unwrap();
    }
    node.process.signal("TERM");
    assert!(node.process.wait().success(), "{}", node.process.output());

    let reader = storage::LogReader::open(data.log()).unwrap();
    check(&reader, &durable);
    let (code, _, error) = run(crate::support::mainstem()
        .args(["proof", "--chain", "1000003", "--height", &stop_at.to_string()])
        .args(["--data", data.path().to_str().unwrap()]));
    assert_eq!(code, 0, "{error}");
    println!(
        "killed {kills_while_blocks_came} times while blocks came and {kills_at_start} times at the start; {} proofs \
         kept, {} main blocks",
        seen.proofs.len(),
        reader.head()
    );
}

/// What is in the log is what the simulated chains have, each with a proof that verifies under one header chain.
fn check(reader: &storage::LogReader, durable: &BTreeMap<u32, u64>) {
    let chains = indexed::as_simulated(reader);
    let newest = reader.block(reader.head()).unwrap().unwrap().header().hash();
    assert_eq!(chains.len() as u32, TRIBUTARIES * CHAINS_EACH);
    for (id, chain) in &chains {
        assert_eq!(chain.height().0, durable[&id.0], "chain {id}");
        for height in (1..=chain.height().0).step_by(97) {
            let proof = proof::build(reader, *id, Height(height), Some(reader.head())).unwrap();
            assert_eq!(proof.verify().unwrap().trusted_hash, newest);
        }
    }
}
