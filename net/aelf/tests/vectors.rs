//! The messages on the wire, against vectors that AElf's own files and the protobuf library agree with.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use aelf::acs7::{
    CrossChainExtraData, CrossChainMerkleProofContext, ParentChainBlockData,
    ReleaseCrossChainIndexingProposalInput, SideChainBlockData, VerifyTransactionInput,
};
use aelf::{
    CrossChainRequest, FILE_DESCRIPTOR_SET, HandShake, HandShakeReply, Hash, MerklePath, MerklePathNode,
    SideChainInitializationRequest, Transaction,
};
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;

#[test]
fn messages_are_those_of_aelf() {
    let file: Value = serde_json::from_str(include_str!("vectors/aelf_gen_protobuf.json")).unwrap();
    let messages = file["messages"].as_array().unwrap();
    assert!(messages.len() >= 14);
    for case in messages {
        let wire = const_hex::decode(case["hex"].as_str().unwrap()).unwrap();
        let f = &case["fields"];
        match case["message"].as_str().unwrap() {
            "CrossChainRequest" => same(
                &wire,
                &CrossChainRequest { chain_id: int(f, "chain_id"), next_height: long(f, "next_height") },
            ),
            "HandShake" => same(
                &wire,
                &HandShake { listening_port: int(f, "listening_port"), chain_id: int(f, "chain_id") },
            ),
            "HandShakeReply" => same(&wire, &HandShakeReply { status: int(f, "status") }),
            "SideChainInitializationRequest" => {
                same(&wire, &SideChainInitializationRequest { chain_id: int(f, "chain_id") });
            }
            "acs7.CrossChainExtraData" => same(&wire, &extra(&f["transaction_status_merkle_tree_root"])),
            "acs7.SideChainBlockData" => same(
                &wire,
                &SideChainBlockData {
                    height: long(f, "height"),
                    block_header_hash: hash(&f["block_header_hash"]),
                    transaction_status_merkle_tree_root: hash(&f["transaction_status_merkle_tree_root"]),
                    chain_id: int(f, "chain_id"),
                },
            ),
            "acs7.ParentChainBlockData" => same(&wire, &parent_block(f)),
            "aelf.MerklePath" => same(&wire, &path(&f["merkle_path_nodes"])),
            "acs7.CrossChainMerkleProofContext" => same(
                &wire,
                &CrossChainMerkleProofContext {
                    bound_parent_chain_height: long(f, "bound_parent_chain_height"),
                    merkle_path_from_parent_chain: Some(path(&f["merkle_path_from_parent_chain"])),
                },
            ),
            "acs7.VerifyTransactionInput" => same(
                &wire,
                &VerifyTransactionInput {
                    transaction_id: hash(&f["transaction_id"]),
                    path: Some(path(&f["path"])),
                    parent_chain_height: long(f, "parent_chain_height"),
                    verified_chain_id: int(f, "verified_chain_id"),
                },
            ),
            "acs7.ReleaseCrossChainIndexingProposalInput" => {
                let chains = f["chain_id_list"].as_array().unwrap();
                let chain_id_list = chains.iter().map(|id| id.as_i64().unwrap() as i32).collect();
                same(&wire, &ReleaseCrossChainIndexingProposalInput { chain_id_list });
            }
            other => panic!("a message that is not known here: {other}"),
        }
    }
}

#[test]
fn the_signature_stands_far_behind_the_rest_of_a_transaction() {
    let transaction = Transaction {
        ref_block_number: 1,
        method_name: "V".into(),
        signature: vec![7],
        ..Transaction::default()
    };
    assert_eq!(const_hex::encode(transaction.encode_to_vec()), "18012a015682f1040107");
}

#[test]
fn clients_find_the_views_and_all_that_these_need() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut seen = Vec::new();
    for file in &set.file {
        // As protobufjs wants them: each after those it needs.
        assert!(file.dependency.iter().all(|name| seen.contains(name)), "{}", file.name());
        assert!(file.source_code_info.is_none());
        seen.push(file.name().to_owned());
    }
    let services: Vec<_> = set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| (file.package(), service)))
        .collect();
    assert_eq!(services.len(), 1);
    assert_eq!((services[0].0, services[0].1.name()), ("acs7", "ACS7"));
    let methods: BTreeMap<_, _> = services[0]
        .1
        .method
        .iter()
        .map(|method| (method.name(), (method.input_type(), method.output_type())))
        .collect();
    for (name, input, output) in [
        ("VerifyTransaction", ".acs7.VerifyTransactionInput", ".google.protobuf.BoolValue"),
        ("GetSideChainIdAndHeight", ".google.protobuf.Empty", ".acs7.ChainIdAndHeightDict"),
        ("GetSideChainHeight", ".google.protobuf.Int32Value", ".google.protobuf.Int64Value"),
        ("GetParentChainHeight", ".google.protobuf.Empty", ".google.protobuf.Int64Value"),
        (
            "GetBoundParentChainHeightAndMerklePathByHeight",
            ".google.protobuf.Int64Value",
            ".acs7.CrossChainMerkleProofContext",
        ),
    ] {
        assert_eq!(methods.get(name), Some(&(input, output)), "{name}");
    }
}

/// Encodes to exactly these bytes, and these bytes decode to it.
fn same<M: Message + Default + PartialEq + Debug>(wire: &[u8], message: &M) {
    assert_eq!(M::decode(wire).as_ref(), Ok(message));
    assert_eq!(const_hex::encode(message.encode_to_vec()), const_hex::encode(wire), "{message:?}");
}

fn parent_block(f: &Value) -> ParentChainBlockData {
    let entries = |name: &str| f[name].as_object().cloned().unwrap_or_default();
    ParentChainBlockData {
        height: long(f, "height"),
        cross_chain_extra_data: f.get("cross_chain_extra_data").map(extra),
        chain_id: int(f, "chain_id"),
        transaction_status_merkle_tree_root: hash(&f["transaction_status_merkle_tree_root"]),
        indexed_merkle_path: entries("indexed_merkle_path")
            .iter()
            .map(|(height, nodes)| (height.parse().unwrap(), path(nodes)))
            .collect(),
        extra_data: entries("extra_data")
            .iter()
            .map(|(name, bytes)| (name.clone(), const_hex::decode(bytes.as_str().unwrap()).unwrap()))
            .collect(),
    }
}

fn extra(root: &Value) -> CrossChainExtraData {
    CrossChainExtraData { transaction_status_merkle_tree_root: hash(root) }
}

fn path(nodes: &Value) -> MerklePath {
    let node = |node: &Value| MerklePathNode {
        hash: hash(&node["hash"]),
        is_left_child_node: node["is_left_child_node"].as_bool().unwrap(),
    };
    MerklePath { merkle_path_nodes: nodes.as_array().unwrap().iter().map(node).collect() }
}

#[allow(clippy::unnecessary_wraps, reason = "so it stands in every message")]
fn hash(text: &Value) -> Option<Hash> {
    let bytes: [u8; 32] = const_hex::decode_to_array(text.as_str().unwrap()).unwrap();
    let hash = Hash::from(bytes);
    assert_eq!(hash.bytes(), Some(bytes));
    Some(hash)
}

fn int(fields: &Value, name: &str) -> i32 {
    i32::try_from(long(fields, name)).unwrap()
}

fn long(fields: &Value, name: &str) -> i64 {
    fields[name].as_i64().unwrap()
}
