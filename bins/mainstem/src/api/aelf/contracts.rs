//! The contracts that a client finds: their addresses and what their methods look like.
//!
//! Addresses are derived as AElf derives them, from the chain's id and the order in which its genesis block deploys
//! contracts, so they are the ones that a real AElf chain of the same id has: of AELF, the cross-chain contract is
//! `2SQ9LeGZYSWmfJcYuQkDQxgd3HzwjamAaaL4Tge2eFSXw2cseq`.

use std::sync::LazyLock;

use engine::aelf::address::Address;
use engine::aelf::{chain_id, concat};
use engine::chain::{ChainId, Hash};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use sha2::{Digest as _, Sha256};

/// The system contracts that a chain is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contract {
    /// Knows the addresses of the others.
    Genesis,
    /// Token transfers over chains. Only its messages are known here, for clients to encode them.
    Token,
    /// What is indexed, and the proofs of it.
    CrossChain,
}

impl Contract {
    /// All of them.
    const ALL: [Self; 3] = [Self::Genesis, Self::Token, Self::CrossChain];

    /// The name that the genesis contract knows it by.
    const fn name(self) -> &'static str {
        match self {
            Self::Genesis => "AElf.ContractNames.Genesis",
            Self::Token => "AElf.ContractNames.Token",
            Self::CrossChain => "AElf.ContractNames.CrossChain",
        }
    }

    /// Its number in the order of deployment, which differs between a main chain and a side chain.
    const fn serial(self, main: bool) -> u64 {
        match (self, main) {
            (Self::Genesis, _) => 0,
            (Self::Token, false) => 7,
            (Self::Token, true) | (Self::CrossChain, false) => 8,
            (Self::CrossChain, true) => 9,
        }
    }

    /// Its address on a chain: `H(H(chain id, 4 bytes little-endian) || H(serial number, 8 bytes little-endian))`
    /// (`AddressHelper.cs`).
    pub(super) fn address(self, chain: ChainId, main: bool) -> Address {
        let serial = Hash(Sha256::digest(self.serial(main).to_le_bytes()).into());
        Address(concat(&[chain_id::hash(chain), serial]).0)
    }

    /// Which contract of a chain has this address.
    pub(super) fn at(address: &[u8], chain: ChainId, main: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|contract| contract.address(chain, main).0 == address)
    }

    /// Which contract has a name with this hash.
    pub(super) fn named(hash: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|contract| Sha256::digest(contract.name()).as_slice() == hash)
    }

    /// Its `FileDescriptorSet`, encoded. Clients take the methods of the first service of each file.
    pub(super) fn descriptors(self) -> &'static [u8] {
        static GENESIS: LazyLock<Vec<u8>> = LazyLock::new(|| with_imports(genesis_file()));
        static TOKEN: LazyLock<Vec<u8>> = LazyLock::new(|| with_imports(token_file()));
        match self {
            Self::Genesis => &GENESIS,
            Self::Token => &TOKEN,
            Self::CrossChain => aelf::FILE_DESCRIPTOR_SET,
        }
    }

    /// The names of the methods that are answered.
    pub(super) fn views(self) -> Vec<String> {
        match self {
            Self::Genesis => vec!["GetContractAddressByName".into()],
            Self::Token => Vec::new(),
            Self::CrossChain => super::execute::VIEWS.map(str::to_owned).to_vec(),
        }
    }
}

/// Reads an address; AElf's clients also write `ELF_<address>_AELF`.
pub(super) fn read_address(text: &str) -> Option<Address> {
    text.split('_').nth(1).unwrap_or(text).parse().ok()
}

fn genesis_file() -> FileDescriptorProto {
    file(
        "acs0.proto",
        "acs0",
        "ACS0",
        vec![],
        vec![method("GetContractAddressByName", ".aelf.Hash", ".aelf.Address")],
    )
}

/// What clients encode when they make a transfer of another chain known: they need its input alone.
fn token_file() -> FileDescriptorProto {
    let message = |name: &str, field: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.into()),
        field,
        ..DescriptorProto::default()
    };
    let transfer = message(
        "CrossChainTransferInput",
        vec![
            of_message("to", 1, ".aelf.Address"),
            field("symbol", 2, Type::String),
            field("amount", 3, Type::Int64),
            field("memo", 4, Type::String),
            field("to_chain_id", 5, Type::Int32),
            field("issue_chain_id", 6, Type::Int32),
        ],
    );
    let receive = message(
        "CrossChainReceiveTokenInput",
        vec![
            field("from_chain_id", 1, Type::Int32),
            field("parent_chain_height", 2, Type::Int64),
            field("transfer_transaction_bytes", 3, Type::Bytes),
            of_message("merkle_path", 4, ".aelf.MerklePath"),
        ],
    );
    let methods = vec![
        method("CrossChainTransfer", ".token.CrossChainTransferInput", ".google.protobuf.Empty"),
        method("CrossChainReceiveToken", ".token.CrossChainReceiveTokenInput", ".google.protobuf.Empty"),
    ];
    file("token_contract.proto", "token", "TokenContract", vec![transfer, receive], methods)
}

/// A file with everything that the cross-chain contract's file imports, too.
fn with_imports(mut file: FileDescriptorProto) -> Vec<u8> {
    let contract = FileDescriptorSet::decode(aelf::FILE_DESCRIPTOR_SET).expect("it was compiled with us");
    let mut all: Vec<_> = contract.file.into_iter().filter(|file| file.service.is_empty()).collect();
    file.dependency = all.iter().map(|file| file.name().to_owned()).collect();
    all.push(file);
    FileDescriptorSet { file: all }.encode_to_vec()
}

fn file(
    name: &str,
    package: &str,
    service: &str,
    message_type: Vec<DescriptorProto>,
    method: Vec<MethodDescriptorProto>,
) -> FileDescriptorProto {
    let service = ServiceDescriptorProto { name: Some(service.into()), method, options: None };
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some(package.into()),
        message_type,
        service: vec![service],
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    }
}

fn method(name: &str, input: &str, output: &str) -> MethodDescriptorProto {
    MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(input.into()),
        output_type: Some(output.into()),
        ..MethodDescriptorProto::default()
    }
}

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional as i32),
        r#type: Some(kind as i32),
        ..FieldDescriptorProto::default()
    }
}

fn of_message(name: &str, number: i32, message: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(message.into()), ..field(name, number, Type::Message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_real_chains_with_these_ids() {
        // As explorers of AElf's main net show them.
        let known = [
            (9_992_731, true, Contract::Genesis, "pykr77ft9UUKJZLVq15wCH8PinBSjVRQ12sD1Ayq92mKFsJ1i"),
            (9_992_731, true, Contract::Token, "JRmBduh4nXWi1aXgdUsj5gJrzeZb2LxmrAbf7W99faZSvoAaE"),
            (9_992_731, true, Contract::CrossChain, "2SQ9LeGZYSWmfJcYuQkDQxgd3HzwjamAaaL4Tge2eFSXw2cseq"),
            (1_866_392, false, Contract::Genesis, "2dtnkWDyJJXeDRcREhKSZHrYdDGMbn3eus5KYpXonfoTygFHZm"),
            (1_866_392, false, Contract::Token, "7RzVGiuVWkvL4VfVHdZfQF2Tri3sgLe9U991bohHFfSRZXuGX"),
            (1_866_392, false, Contract::CrossChain, "2snHc8AMh9QMbCAa7XXmdZZVM5EBZUUPDdLjemwUJkBnL6k8z9"),
        ];
        for (chain, main, contract, text) in known {
            let address = contract.address(ChainId(chain), main);
            assert_eq!(address.to_string(), text);
            assert_eq!(read_address(text), Some(address));
            assert_eq!(read_address(&format!("ELF_{text}_AELF")), Some(address));
            assert_eq!(Contract::at(&address.0, ChainId(chain), main), Some(contract));
            assert_eq!(
                Contract::at(&address.0, ChainId(chain), !main) == Some(contract),
                contract == Contract::Genesis
            );
        }
    }

    #[test]
    fn a_file_comes_after_all_that_it_needs_and_only_one_has_a_service() {
        for contract in Contract::ALL {
            let set = FileDescriptorSet::decode(contract.descriptors()).unwrap();
            let mut seen = Vec::new();
            for file in &set.file {
                assert!(
                    file.dependency.iter().all(|name| seen.contains(name)),
                    "{contract:?} {}",
                    file.name()
                );
                seen.push(file.name().to_owned());
            }
            let services: Vec<_> = set.file.iter().flat_map(|file| &file.service).collect();
            assert_eq!(services.len(), 1, "{contract:?}");
            let methods: Vec<_> = services[0].method.iter().map(|method| method.name().to_owned()).collect();
            for view in contract.views() {
                assert!(methods.contains(&view), "{view}");
            }
        }
        assert_eq!(
            Contract::named(&Sha256::digest("AElf.ContractNames.CrossChain")),
            Some(Contract::CrossChain)
        );
        assert_eq!(Contract::named(&Sha256::digest("AElf.ContractNames.Vote")), None);
    }
}
