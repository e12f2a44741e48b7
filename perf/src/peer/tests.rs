use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::chain::ChainId;
use rs_merkle::MerkleProof;
use rs_merkle::algorithms::Sha256;
use tempfile::tempdir;

use super::chains::{Chains, ROW_BYTES, Session, leaf};
use super::message::{Batch, Block};
use super::seal::{chain_leaf, tree};
use super::server::{Server, Setup};
use super::{Tuning, load};
use crate::swarm::world::{hash, parent};

const TUNING: Tuning =
    Tuning { streams: 4, batch: 16, ahead: 0, most_leaves: 1 << 12, interval_ms: 0, cache_mib: 16 };

/// What the sender makes of a height, as a row.
fn row(chain: u32, height: u64) -> Vec<u8> {
    let hash = hash(ChainId(chain), height, 0).0;
    let mut tx_root = hash;
    tx_root[31] = 0xff;
    [&hash[..], &tx_root, &height.to_le_bytes()].concat()
}

#[test]
fn what_was_acknowledged_is_found_and_proved_and_is_gone_on_from() {
    const CHAINS: u32 = 7;
    let dir = tempdir().unwrap();
    let path = dir.path().join("peer.redb");
    let mut least = 1;
    // The second time on what the first has left.
    for _ in 0..2 {
        let setup = Setup { chains: CHAINS, connections: 3, path: path.clone(), tuning: TUNING };
        let server = Server::start(&setup).unwrap();
        let load = load::Setup {
            addr: server.addr,
            key: Server::key(),
            chains: CHAINS,
            connections: 3,
            tuning: TUNING,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.spawn(load::send(load));
        let deadline = Instant::now() + Duration::from_secs(30);
        let sample = loop {
            let sample = server.sample().unwrap();
            if sample.main_blocks >= 20 && sample.blocks >= 10_000 {
                break sample;
            }
            assert!(Instant::now() < deadline, "{sample:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let store = server.stop().unwrap();
        drop(runtime);

        let newest = store.newest().unwrap().unwrap();
        let heads = store.heads(CHAINS).unwrap();
        assert!(heads.iter().map(|head| head.0).sum::<u64>() >= sample.blocks);
        let (mut before, mut blocks) = ([0; 32], 0);
        for height in 1..=newest.height {
            let (header, roots) = store.block(height).unwrap().unwrap();
            assert_eq!((header.height, header.parent), (height, before));
            assert_eq!(header.chains as usize, roots.len());
            (before, blocks) = (header.hash(), blocks + header.blocks);
        }
        assert_eq!(blocks, heads.iter().map(|head| head.0).sum::<u64>());

        for chain in 1..=CHAINS {
            let (last, head) = heads[chain as usize - 1];
            assert_eq!(head, hash(ChainId(chain), last, 0).0);
            assert!(store.find(chain, last + 1).unwrap().is_none());
            assert!(last >= least, "chain {chain} came to {last}");
            for height in (1..=last).step_by(97).chain([last]) {
                let found = store.find(chain, height).unwrap().unwrap();
                let index = (height - found.first) as usize;
                assert_eq!(found.rows[index * ROW_BYTES..][..ROW_BYTES], row(chain, height));
                prove(&store, chain, height, &found);
            }
        }
        least = heads.iter().map(|head| head.0).min().unwrap() + 1;
    }
}

/// From the block to the root in its header, both ways of a proof computed from what is stored.
fn prove(store: &super::store::Store, chain: u32, height: u64, found: &super::store::Found) {
    let (header, roots) = store.block(found.main).unwrap().unwrap();
    let rows = found.rows.chunks_exact(ROW_BYTES);
    let mut leaves: Vec<_> = rows.zip(found.first..).map(|(row, height)| leaf(chain, height, row)).collect();
    let (count, index) = (leaves.len(), (height - found.first) as usize);
    let mut lower = tree(&mut leaves);
    lower.commit();
    let place = roots.iter().position(|(id, _)| *id == chain).unwrap();
    let root = roots[place].1;
    let leaf = leaf(chain, height, &row(chain, height));
    let proof: MerkleProof<Sha256> = lower.proof(&[index]);
    assert!(proof.verify(root, &[index], &[leaf], count));
    let other = super::chains::leaf(chain, height + 1, &row(chain, height));
    assert!(!proof.verify(root, &[index], &[other], count));

    let mut tops: Vec<_> = roots
        .iter()
        .map(|(id, root)| {
            let (first, count) = run_of(store, *id, found.main);
            chain_leaf(*id, first, count, root)
        })
        .collect();
    let (count, top) = (tops.len(), tops[place]);
    let mut upper = tree(&mut tops);
    upper.commit();
    assert_eq!(upper.root(), Some(header.root));
    assert!(upper.proof(&[place]).verify(header.root, &[place], &[top], count));
}

/// First height and count of a chain in a main block.
fn run_of(store: &super::store::Store, chain: u32, main: u64) -> (u64, u64) {
    let (mut height, heads) = (1, store.heads(chain).unwrap());
    while height <= heads[chain as usize - 1].0 {
        let found = store.find(chain, height).unwrap().unwrap();
        let count = (found.rows.len() / ROW_BYTES) as u64;
        if found.main == main {
            return (found.first, count);
        }
        height = found.first + count;
    }
    panic!("main block {main} has chain {chain}");
}

fn batch(chain: u32, first: u64, count: u64) -> Batch {
    let bytes = |hash: [u8; 32]| Bytes::copy_from_slice(&hash);
    let block = |height| Block {
        hash: bytes(hash(ChainId(chain), height, 0).0),
        tx_root: bytes([0; 32]),
        time: height,
    };
    let parent = bytes(parent(ChainId(chain), first).0);
    Batch { chain, first_height: first, parent, blocks: (first..first + count).map(block).collect() }
}

#[test]
fn what_does_not_follow_or_is_not_covered_by_credits_is_refused() {
    let chains = Chains::new(&[(0, [0; 32]), (0, [0; 32])], 100);
    let session = |chains: &[u32]| {
        std::sync::Arc::new(Session { chains: chains.to_vec(), durable: tokio::sync::Notify::new() })
    };
    let (first, second) = (session(&[1]), session(&[2]));
    assert_eq!(chains.enter(&first).unwrap()[0].limit, 100);
    chains.enter(&second).unwrap();
    let push = |batch: &Batch| chains.push(batch, &first, Instant::now()).map_err(|error| error.to_string());

    push(&batch(1, 1, 60)).unwrap();
    assert!(push(&batch(2, 1, 1)).unwrap_err().contains("another connection"));
    assert!(push(&batch(3, 1, 1)).unwrap_err().contains("not known"));
    assert!(push(&batch(1, 62, 1)).unwrap_err().contains("expected 61"));
    assert!(push(&batch(1, 60, 1)).unwrap_err().contains("expected 61"));
    assert!(push(&Batch { parent: Bytes::new(), ..batch(1, 61, 1) }).unwrap_err().contains("parent"));
    assert!(push(&batch(1, 61, 0)).unwrap_err().contains("empty"));
    assert!(push(&batch(1, 61, 41)).unwrap_err().contains("above its limit"));
    let mut short = batch(1, 61, 1);
    short.blocks[0].tx_root.truncate(31);
    assert!(push(&short).unwrap_err().contains("32 bytes"));
    push(&batch(1, 61, 40)).unwrap();
    // What has come and is not durable is not acknowledged to who takes over either, who goes on after it.
    let again = &chains.enter(&first).unwrap()[0];
    assert_eq!((again.durable, again.received, again.limit), (0, 100, 100));
    assert_eq!(again.hash, hash(ChainId(1), 100, 0).0[..]);

    // Only what is durable makes room, and is acknowledged.
    let mut runs = chains.take(&mut 0, usize::MAX);
    assert!(push(&batch(1, 101, 1)).is_err());
    assert!(chains.acks(&first, &mut [0]).is_empty());
    let (chain, run) = runs.pop().unwrap();
    assert_eq!((chain, run.first, run.last()), (1, 1, 100));
    chains.durable(chain, run);
    let acks = chains.acks(&first, &mut [0]);
    assert_eq!((acks[0].durable, acks[0].limit), (100, 200));
    push(&batch(1, 101, 100)).unwrap();
}
