//! The commitments against vectors written by an independent program, and every mutation of their proofs.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;

use engine::chain::{ChainId, Hash, Height, MainHeader};
use engine::merkle::path::{Step, fold};
use engine::merkle::{aelf, history::History, leaf, tree};
use engine::proof::Proof;
use mainstem_engine as engine;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Vectors {
    trees: Vec<Tree>,
    main_chain: Vec<Block>,
    proofs: Vec<Value>,
}

#[derive(Deserialize)]
struct Tree {
    n: usize,
    root: Hash,
    aelf_root: Hash,
    paths: BTreeMap<String, Vec<Step>>,
}

#[derive(Deserialize)]
struct Block {
    header: MainHeader,
    header_bytes: String,
    header_hash: Hash,
    chain_roots: BTreeMap<String, Hash>,
    chains: BTreeMap<String, Chain>,
}

#[derive(Deserialize)]
struct Chain {
    first_height: Height,
    blocks: Vec<SideBlock>,
}

#[derive(Deserialize)]
struct SideBlock {
    hash: Hash,
    tx_root: Hash,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/mainstem_commitments.json")).unwrap()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut stored = vec![Hash::ZERO; tree::stored_nodes(leaves.len())];
    tree::root(&mut leaves.to_vec(), &mut stored)
}

#[test]
fn trees_and_paths_are_those_of_the_vectors() {
    for case in vectors().trees {
        let leaves: Vec<Hash> =
            (0..case.n).map(|index| Hash(Sha256::digest(index.to_string()).into())).collect();
        let mut stored = vec![Hash::ZERO; tree::stored_nodes(case.n)];
        assert_eq!(tree::root(&mut leaves.clone(), &mut stored), case.root, "n = {}", case.n);
        assert_eq!(aelf::root(&mut leaves.clone()), case.aelf_root, "n = {}", case.n);
        assert!(!case.paths.is_empty());
        for (index, expected) in &case.paths {
            let index: usize = index.parse().unwrap();
            let path = tree::path(index, case.n, &stored, |leaf| leaves[leaf]);
            assert_eq!(&path, expected, "{index} of {}", case.n);
            assert_eq!(fold(leaves[index], index as u64, case.n as u64, &path), Ok(case.root));
        }
    }
}

#[test]
fn headers_and_all_their_roots_are_those_of_the_vectors() {
    let (mut history, mut parent) = (History::default(), None);
    for block in vectors().main_chain {
        let header = block.header;
        assert_eq!(const_hex::encode_prefixed(header.encode()), block.header_bytes);
        assert_eq!(MainHeader::decode(&header.encode()), header);
        assert_eq!(header.hash(), block.header_hash);
        assert_eq!(header.history_root, history.root(), "height {}", header.height);
        assert!(parent.is_none_or(|parent| header.parent == parent));
        parent = Some(block.header_hash);
        history.append(leaf::history(header.height, block.header_hash));

        let chains: BTreeMap<u32, &Chain> =
            block.chains.iter().map(|(id, chain)| (id.parse().unwrap(), chain)).collect();
        let chain_leaves: Vec<Hash> = chains
            .iter()
            .map(|(&id, chain)| {
                let heights = (chain.first_height.0..).map(Height);
                let leaves: Vec<Hash> = (chain.blocks.iter().zip(heights))
                    .map(|(block, height)| leaf::side(ChainId(id), height, block.hash, block.tx_root))
                    .collect();
                let chain_root = root(&leaves);
                assert_eq!(chain_root, block.chain_roots[&id.to_string()]);
                leaf::chain(ChainId(id), chain.first_height, leaves.len() as u32, chain_root)
            })
            .collect();
        assert_eq!(root(&chain_leaves), header.side_root);
        let mut tx_roots: Vec<Hash> =
            chains.values().flat_map(|chain| &chain.blocks).map(|block| block.tx_root).collect();
        assert_eq!(aelf::root(&mut tx_roots), header.aelf_root);
        assert_eq!(header.chain_count as usize, chains.len());
        assert_eq!(
            header.leaf_count as usize,
            chains.values().map(|chain| chain.blocks.len()).sum::<usize>()
        );
    }
}

/// A proof of the vectors and the hash of the header that it must end in, taken from the vectors' main chain.
fn proofs() -> Vec<(Value, Hash)> {
    let vectors = vectors();
    let trusted = |proof: &Value| {
        let newest = proof.get("head").unwrap_or(&proof["header"]);
        let height = newest["height"].as_u64().unwrap() as usize;
        vectors.main_chain[height - 1].header_hash
    };
    vectors.proofs.iter().map(|proof| (proof.clone(), trusted(proof))).collect()
}

fn accepts(proof: &Value, trusted: Hash) -> bool {
    Proof::deserialize(proof).is_ok_and(|proof| proof.verify_trusting(trusted).is_ok())
}

#[test]
fn proofs_verify_and_survive_both_forms() {
    let proofs = proofs();
    assert!(!proofs.is_empty());
    for (json, trusted) in proofs {
        let proof = Proof::deserialize(&json).unwrap();
        assert_eq!(proof.verify_trusting(trusted).unwrap().header_hash, proof.header.hash());
        assert_eq!(serde_json::to_value(&proof).unwrap(), json);
        let bytes = proof.to_bytes();
        assert_eq!(Proof::from_bytes(&bytes), Ok(proof));
        for length in 0..bytes.len() {
            assert!(Proof::from_bytes(&bytes[..length]).is_err(), "cut to {length}");
        }
        assert!(Proof::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn every_flipped_bit_of_the_binary_form_is_refused() {
    for (json, trusted) in proofs() {
        let bytes = Proof::deserialize(&json).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let accepted =
                Proof::from_bytes(&wrong).is_ok_and(|proof| proof.verify_trusting(trusted).is_ok());
            assert!(!accepted, "bit {bit}");
        }
    }
}

#[test]
fn every_mutation_of_the_json_form_is_refused() {
    let mut tried = 0;
    for (proof, trusted) in proofs() {
        assert!(accepts(&proof, trusted));
        for mutant in mutants(&proof) {
            assert!(!accepts(&mutant, trusted), "accepted {mutant} in place of {proof}");
            tried += 1;
        }
    }
    assert!(tried > 10_000, "{tried}");
}

/// Every value changed, every bit of every hash flipped, every step or field dropped, doubled or invented.
fn mutants(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![Value::Bool(!flag), Value::Null],
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            let flips = (0..64).map(|bit| number ^ (1 << bit));
            let near = [number.wrapping_add(1), number.wrapping_sub(1), 0, u64::MAX, number.wrapping_mul(2)];
            let others = flips.chain(near).filter(|other| *other != number);
            others.map(Value::from).chain([Value::Null, Value::from(-1), Value::from("1")]).collect()
        }
        Value::String(text) => {
            let hash: Hash = text.parse().unwrap();
            let flips = (0..256).map(|bit| {
                let mut flipped = hash;
                flipped.0[bit / 8] ^= 1 << (bit % 8);
                flipped.to_string()
            });
            let others =
                [Hash::ZERO.to_string(), text[2..].to_owned(), format!("{text}00"), text[..64].to_owned()];
            flips.chain(others).filter(|other| other != text).map(Value::from).collect()
        }
        Value::Array(steps) => {
            let mut all = Vec::new();
            for (index, step) in steps.iter().enumerate() {
                all.extend(mutants(step).into_iter().map(|mutant| {
                    let mut steps = steps.clone();
                    steps[index] = mutant;
                    steps
                }));
                let mut dropped = steps.clone();
                dropped.remove(index);
                let mut doubled = steps.clone();
                doubled.insert(index, step.clone());
                all.extend([dropped, doubled]);
            }
            for left in [false, true] {
                let step = serde_json::json!({ "hash": Hash([7; 32]), "left": left });
                all.push([std::slice::from_ref(&step), &steps[..]].concat());
                all.push([&steps[..], &[step]].concat());
            }
            let mut reversed = steps.clone();
            reversed.reverse();
            all.extend((reversed != *steps).then_some(reversed));
            all.into_iter().map(Value::Array).chain([Value::Null]).collect()
        }
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (name, field) in fields {
                all.extend(mutants(field).into_iter().map(|mutant| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), mutant);
                    fields
                }));
                let mut dropped = fields.clone();
                dropped.remove(name);
                all.push(dropped);
            }
            let mut invented = fields.clone();
            invented.insert("invented".into(), Value::from(1));
            all.push(invented);
            all.into_iter().map(Value::Object).collect()
        }
        Value::Null => Vec::new(),
    }
}
