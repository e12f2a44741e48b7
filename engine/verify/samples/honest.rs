//! What is true of the worlds: whether a document is, byte for byte, the honest proof of what it claims.

use verify::proof::{CrossChainProof, Document, EvmPart, Nested, Transaction};

use super::accepted::{AELF, AELF_SIZES, EVM, EVM_SIZES, SIM, SIM_SIZES, evm_blocks, worlds};
use super::evm::EvmBlock;
use super::{World, aelf_ids, aelf_part, sim_data, sim_part};

pub struct Truth {
    worlds: [World; 3],
    evm: Vec<EvmBlock>,
}

impl Truth {
    pub fn new() -> Self {
        Self { worlds: worlds(), evm: evm_blocks() }
    }

    /// Whether someone honest would have written this document, of what it says itself.
    pub fn has(&self, document: &Document) -> bool {
        match document {
            Document::Block(proof) => self
                .block(
                    proof.header.chain_id.0,
                    proof.chain_id.0,
                    proof.block.height.0,
                    proof.head.map(|head| head.height.0),
                )
                .is_some_and(|honest| honest == *proof),
            Document::Transaction(proof) => self.transaction(proof),
            Document::Blocks(proof) => {
                let wanted: Vec<_> =
                    proof.blocks().map(|(chain, block, _)| (chain.0, block.height.0)).collect();
                let Some(world) = self.world(proof.main_blocks[0].header.chain_id.0) else { return false };
                wanted.iter().all(|(chain, height)| world.has(*chain, *height))
                    && world.many(&wanted, proof.head.map(|head| head.height.0)) == *proof
            }
            Document::Consistency(proof) => {
                let (from, to) = (proof.from.height.0, proof.to.height.0);
                self.world(proof.from.chain_id.0).is_some_and(|world| {
                    to <= world.blocks.len() as u64 && world.consistency(from, to) == *proof
                })
            }
            Document::Chain(proof) => {
                let (chain, at, head) =
                    (proof.chain_id.0, proof.header.height.0, proof.head.map(|head| head.height.0));
                self.world(proof.header.chain_id.0).is_some_and(|world| {
                    at <= world.blocks.len() as u64
                        && world.block(at).index(chain).is_some()
                        && world.section(chain, at, head) == *proof
                })
            }
            Document::Absence(proof) => {
                let (chain, at, head) =
                    (proof.chain_id.0, proof.header.height.0, proof.head.map(|head| head.height.0));
                self.world(proof.header.chain_id.0).is_some_and(|world| {
                    at <= world.blocks.len() as u64
                        && world.block(at).index(chain).is_none()
                        && world.absence(chain, at, head) == *proof
                })
            }
        }
    }

    fn world(&self, chain: u32) -> Option<&World> {
        self.worlds.iter().find(|world| world.chain == chain)
    }

    fn block(&self, world: u32, chain: u32, height: u64, head: Option<u64>) -> Option<verify::proof::Proof> {
        let world = self.world(world)?;
        world.has(chain, height).then(|| world.proof(chain, height, head))
    }

    fn transaction(&self, proof: &CrossChainProof) -> bool {
        let (chain, height) = (proof.block.chain_id.0, proof.block.block.height.0);
        let place = |first: u64| usize::try_from(height.wrapping_sub(first)).unwrap_or(usize::MAX);
        let part = match &proof.transaction {
            Transaction::Aelf(part) => AELF_SIZES.get(place(1)).is_some_and(|size| {
                let index = aelf_ids(*size).iter().position(|id| *id == part.id);
                chain == AELF && index.is_some_and(|index| aelf_part(*size, index) == proof.transaction)
            }),
            Transaction::Sim(part) => SIM_SIZES.get(place(1)).is_some_and(|size| {
                let data = sim_data(*size);
                let index = data.iter().position(|data| *data == part.data);
                chain == SIM && index.is_some_and(|index| sim_part(&data, index) == proof.transaction)
            }),
            Transaction::Evm(part) => EVM_SIZES.get(place(100)).is_some_and(|size| {
                let EvmPart { index, transaction, receipt, .. } = part;
                let block = &self.evm[place(100)];
                chain == EVM
                    && (*index as usize) < *size
                    && block.part(*index as usize, transaction.is_some(), receipt.is_some()) == *part
            }),
            Transaction::Mainstem(nested) => {
                let inner = nested.block();
                inner.head.unwrap_or(inner.header).chain_id.0 == chain
                    && self.has(&match &**nested {
                        Nested::Block(proof) => Document::Block(proof.clone()),
                        Nested::Transaction(proof) => Document::Transaction(proof.clone()),
                    })
            }
        };
        part && self.has(&Document::Block(proof.block.clone()))
    }
}

impl World {
    fn has(&self, chain: u32, height: u64) -> bool {
        self.blocks.iter().any(|block| {
            block.index(chain).is_some_and(|index| {
                let section = &block.sections[index].1;
                (section.first..section.first + u64::from(section.count())).contains(&height)
            })
        })
    }
}
