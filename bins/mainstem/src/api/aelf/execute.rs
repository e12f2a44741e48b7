//! `executeTransaction`: the views of the contracts, by the name of the method, from what is indexed.
//!
//! Signatures are not checked: views tell what anybody may know, and change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use aelf::acs7::{
    ChainIdAndHeightDict, CrossChainMerkleProofContext, GetChainStatusOutput, IndexedSideChainBlockData,
    SideChainBlockData, SideChainIndexingInformation, SideChainIndexingInformationList, SideChainStatus,
    VerifyTransactionInput,
};
use aelf::{Address, MerklePath, MerklePathNode, Transaction};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use engine::aelf::contract::{self, RootChoice};
use engine::chain::{BlockView as _, ChainId, Hash, Height};
use engine::merkle::path::Step;
use engine::store::BlockReader;
use prost::Message;
use serde_json::{Map, Value};

use super::contracts::Contract;
use super::refusal::{Code, Refusal};
use super::view::View;
use super::{Aelf, Answer};

/// The views of the cross-chain contract that are answered.
pub(super) const VIEWS: [&str; 10] = [
    "VerifyTransaction",
    "GetSideChainIdAndHeight",
    "GetSideChainIndexingInformationList",
    "GetAllChainsIdAndHeight",
    "GetIndexedSideChainBlockDataByHeight",
    "GetBoundParentChainHeightAndMerklePathByHeight",
    "GetSideChainHeight",
    "GetParentChainHeight",
    "GetParentChainId",
    "GetChainStatus",
];

/// Most side blocks of one main block that an answer lists.
const MAX_LISTED: usize = 16_384;

pub(super) async fn execute<R: BlockReader>(
    State(aelf): State<Arc<Aelf<R>>>,
    view: View,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body.map_err(|error| Refusal::because(Code::InvalidParams, error.body_text()))?;
    let transaction = transaction(&body)?;
    let to = transaction.to.as_ref().map(|to| to.value.as_slice()).unwrap_or_default();
    let Some(contract) = Contract::at(to, view.chain(&aelf), view.is_main()) else {
        let text = "Invalid contract address: this node answers for the genesis and the cross-chain contract";
        return Err(Refusal::because(Code::InvalidTransaction, text));
    };
    let contracts = Views { aelf: &aelf, view };
    let output = match contract {
        Contract::Genesis => contracts.of_genesis(&transaction),
        Contract::CrossChain => contracts.of_cross_chain(&transaction),
        Contract::Token => Err(not_answered(&transaction.method_name)),
    }?;
    super::text(&headers, &aelf.node.answers, const_hex::encode(output))
}

/// Reads `{"rawTransaction": hex}`; the name without regard to case, as AElf does.
fn transaction(body: &[u8]) -> Result<Transaction, Refusal> {
    let invalid = |why: &str| Refusal::because(Code::InvalidParams, why);
    let body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| invalid(&format!("the body: {error}")))?;
    let raw = body.iter().find(|(name, _)| name.eq_ignore_ascii_case("rawTransaction"));
    let raw = raw.and_then(|(_, raw)| raw.as_str()).ok_or_else(|| invalid("rawTransaction: expected hex"))?;
    let bytes = const_hex::decode(raw).map_err(|error| invalid(&format!("rawTransaction: {error}")))?;
    Transaction::decode(&*bytes).map_err(|error| invalid(&format!("rawTransaction: {error}")))
}

fn not_answered(method: &str) -> Refusal {
    let method: String = method.chars().take(100).collect();
    let text =
        format!("Method {method:?} is not answered here: this node knows what it indexed, and no more");
    Refusal::because(Code::InvalidTransaction, text)
}

type Output = Result<Vec<u8>, Refusal>;

/// The contracts of one chain.
struct Views<'a, R> {
    aelf: &'a Aelf<R>,
    view: View,
}

impl<R: BlockReader> Views<'_, R> {
    fn of_genesis(&self, transaction: &Transaction) -> Output {
        match transaction.method_name.as_str() {
            "GetContractAddressByName" => {
                let name: aelf::Hash = input(transaction)?;
                let found = Contract::named(&name.value);
                // A name that nobody has is nothing, not an error.
                let address = found.map(|contract| {
                    contract.address(self.view.chain(self.aelf), self.view.is_main()).0.to_vec()
                });
                Ok(address.map(|value| Address { value }.encode_to_vec()).unwrap_or_default())
            }
            other => Err(not_answered(other)),
        }
    }

    fn of_cross_chain(&self, transaction: &Transaction) -> Output {
        match transaction.method_name.as_str() {
            "VerifyTransaction" => {
                self.verify_transaction(input(transaction)?).map(|yes| yes.encode_to_vec())
            }
            "GetSideChainIdAndHeight" => {
                let id_height_dict = self.side_chains()?.into_iter().collect();
                Ok(ChainIdAndHeightDict { id_height_dict }.encode_to_vec())
            }
            "GetAllChainsIdAndHeight" => {
                let mut id_height_dict: BTreeMap<_, _> = self.side_chains()?.into_iter().collect();
                if !self.view.is_main() {
                    id_height_dict.insert(number(self.parent()?), self.parent_height()?);
                }
                Ok(ChainIdAndHeightDict { id_height_dict }.encode_to_vec())
            }
            "GetSideChainIndexingInformationList" => {
                let of_chain =
                    |(chain_id, indexed_height)| SideChainIndexingInformation { chain_id, indexed_height };
                let indexing_information_list = self.side_chains()?.into_iter().map(of_chain).collect();
                Ok(SideChainIndexingInformationList { indexing_information_list }.encode_to_vec())
            }
            "GetSideChainHeight" => self.side_chain_height(input(transaction)?).map(|at| at.encode_to_vec()),
            "GetChainStatus" => {
                // Whether it is registered is all that is known.
                self.side_chain_height(input(transaction)?)?;
                Ok(GetChainStatusOutput { status: SideChainStatus::Active as i32 }.encode_to_vec())
            }
            "GetParentChainHeight" => self.parent_height().map(|height| height.encode_to_vec()),
            "GetParentChainId" => self.parent().map(|parent| number(parent).encode_to_vec()),
            "GetIndexedSideChainBlockDataByHeight" => {
                self.indexed_by(input(transaction)?).map(|data| data.encode_to_vec())
            }
            "GetBoundParentChainHeightAndMerklePathByHeight" => {
                self.bound_by(input(transaction)?).map(|context| context.encode_to_vec())
            }
            other => Err(not_answered(other)),
        }
    }

    /// The children of this chain and how far each is indexed. Side chains have none that are known here.
    fn side_chains(&self) -> Result<Vec<(i32, i64)>, Refusal> {
        if !self.view.is_main() {
            return Ok(Vec::new());
        }
        self.aelf
            .node
            .registry
            .chains()
            .iter()
            .map(|chain| Ok((number(chain.id), self.indexed(chain.id)?)))
            .collect()
    }

    fn indexed(&self, chain: ChainId) -> Result<i64, Refusal> {
        View::Side(chain).head(self.aelf).map(of_height)
    }

    fn side_chain_height(&self, chain: i32) -> Result<i64, Refusal> {
        let chain = ChainId(chain.cast_unsigned());
        if !self.view.is_main() || self.aelf.node.registry.chain(chain).is_none() {
            return Err(Refusal::assertion("Side chain not found."));
        }
        self.indexed(chain)
    }

    fn parent(&self) -> Result<ChainId, Refusal> {
        match self.view {
            View::Main => Err(Refusal::assertion("Parent chain not exist.")),
            View::Side(_) => Ok(self.aelf.node.genesis.main.id),
        }
    }

    /// A side chain seen here has its parent at once.
    fn parent_height(&self) -> Result<i64, Refusal> {
        self.parent()?;
        View::Main.head(self.aelf).map(of_height)
    }

    /// The side blocks of a main block, in the order of the leaves of its tree.
    fn indexed_by(&self, height: i64) -> Result<IndexedSideChainBlockData, Refusal> {
        let mut list = Vec::new();
        if let (View::Main, Ok(height)) = (self.view, u64::try_from(height))
            && let Some(block) = self.aelf.node.reader.block(Height(height)).map_err(Refusal::unreadable)?
        {
            let columns = block.columns();
            if columns.len() > MAX_LISTED {
                let text = format!(
                    "main block {height} indexed {} side blocks; at most {MAX_LISTED} are listed in one answer",
                    columns.len()
                );
                return Err(Refusal::because(Code::InvalidTransaction, text));
            }
            for section in (0..block.section_count()).map(|index| block.section(index)) {
                for (offset, leaf) in section.leaves().enumerate() {
                    let (Some(hash), Some(root)) = (columns.hashes.get(leaf), columns.tx_roots.get(leaf))
                    else {
                        break;
                    };
                    list.push(SideChainBlockData {
                        height: of_height(Height(section.first_height.0.saturating_add(offset as u64))),
                        block_header_hash: Some((*hash.as_bytes()).into()),
                        transaction_status_merkle_tree_root: Some((*root.as_bytes()).into()),
                        chain_id: number(section.chain),
                    });
                }
            }
            block.intact().map_err(Refusal::unreadable)?;
        }
        Ok(IndexedSideChainBlockData { side_chain_block_data_list: list })
    }

    /// Which main block indexed an own height, and the path from its root to the root of that main block.
    fn bound_by(&self, height: i64) -> Result<CrossChainMerkleProofContext, Refusal> {
        let unbound = || Refusal::assertion("Assertion failed!");
        let View::Side(chain) = self.view else { return Err(unbound()) };
        self.need_roots()?;
        let reader = &self.aelf.node.reader;
        let height = u64::try_from(height).map(Height).map_err(|_| unbound())?;
        let main = reader.locate(chain, height).map_err(Refusal::unreadable)?.ok_or_else(unbound)?;
        let block = reader.block(main).map_err(Refusal::unreadable)?.ok_or_else(unbound)?;
        let leaf = block.find(chain).and_then(|(_, section)| {
            section.leaves().nth(usize::try_from(height.0.checked_sub(section.first_height.0)?).ok()?)
        });
        let path = self.aelf.trees.of(&block)?.path(leaf.ok_or_else(unbound)?).ok_or_else(unbound)?;
        block.intact().map_err(Refusal::unreadable)?;
        let merkle_path_nodes = path.into_iter().map(|step| MerklePathNode {
            hash: Some((*step.hash.as_bytes()).into()),
            is_left_child_node: step.left,
        });
        Ok(CrossChainMerkleProofContext {
            bound_parent_chain_height: of_height(main),
            merkle_path_from_parent_chain: Some(MerklePath {
                merkle_path_nodes: merkle_path_nodes.collect(),
            }),
        })
    }

    /// Whether a path leads from a mined transaction to the root that is recorded for a height.
    fn verify_transaction(&self, input: VerifyTransactionInput) -> Result<bool, Refusal> {
        self.need_roots()?;
        let root =
            self.recorded_root(ChainId(input.verified_chain_id.cast_unsigned()), input.parent_chain_height)?;
        let id = input.transaction_id.unwrap_or_default().value;
        let path = input.path.unwrap_or_default().merkle_path_nodes;
        // AElf hashes whatever it is given; what is not 32 bytes cannot lead to a root.
        let steps: Option<Vec<Step>> = path
            .iter()
            .map(|step| {
                let hash = step.hash.as_ref().and_then(aelf::Hash::bytes)?;
                Some(Step { hash: Hash(hash), left: step.is_left_child_node })
            })
            .collect();
        let id = <[u8; 32]>::try_from(id).ok().map(Hash);
        let leads = |(id, steps): (Hash, Vec<Step>)| contract::verify_transaction(root, id, &steps);
        Ok(id.zip(steps).is_some_and(leads))
    }

    /// The root that a chain id selects, as AElf's contract does: it does nothing else.
    fn recorded_root(&self, chain: ChainId, height: i64) -> Result<Hash, Refusal> {
        let genesis = &self.aelf.node.genesis;
        let (parent, is_child) = match self.view {
            View::Main => (None, self.aelf.node.registry.chain(chain).is_some()),
            View::Side(_) => (Some(genesis.main.id), false),
        };
        let choice = RootChoice::of(chain, parent, is_child);
        let recorded = match choice {
            // Of the own block that indexed it, or, seen from a side chain, of its parent's.
            RootChoice::Released => true,
            RootChoice::AllSides => parent.is_some(),
            // A main chain here has no transactions of its own.
            RootChoice::Parent => false,
        };
        let root = match u64::try_from(height) {
            Ok(height) if recorded => {
                View::Main.block(self.aelf, Height(height))?.map(|block| block.aelf_root)
            }
            _ => None,
        };
        root.filter(|root| *root != Hash::ZERO).ok_or_else(|| match choice {
            // AElf's contract says nothing more than that it failed.
            RootChoice::Released => {
                Refusal::assertion(format_args!("No side chain block is recorded at height {height}."))
            }
            // The height is the one that was asked for, also where it is below 0.
            RootChoice::AllSides | RootChoice::Parent => {
                Refusal::assertion(format_args!("Parent chain block at height {height} is not recorded."))
            }
        })
    }

    fn need_roots(&self) -> Result<(), Refusal> {
        if self.aelf.node.genesis.main.aelf_root {
            return Ok(());
        }
        let text = "this main chain has no AElf roots: its genesis document lacks aelf_root = true";
        Err(Refusal::because(Code::InvalidTransaction, text))
    }
}

/// The input of a method.
fn input<M: Message + Default>(transaction: &Transaction) -> Result<M, Refusal> {
    M::decode(&*transaction.params).map_err(|error| {
        Refusal::because(Code::InvalidTransaction, format_args!("{}: {error}", transaction.method_name))
    })
}

/// A chain id as AElf has it.
fn number(chain: ChainId) -> i32 {
    chain.0.cast_signed()
}

/// A height as AElf has it; ours are never above it.
fn of_height(height: Height) -> i64 {
    i64::try_from(height.0).unwrap_or(i64::MAX)
}
