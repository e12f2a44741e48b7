//! Documents of all kinds that are right.

use std::collections::BTreeMap;

use verify::chain::Hash;
use verify::proof::{BlockContent, Document, Nested, SimPart, Transaction};

use super::evm::{self, EvmBlock};
use super::{
    Sample, Section, World, aelf_part, aelf_tree, digest, nested, section, sim_data, sim_part, sim_tree,
    transaction,
};

pub const MAIN: u32 = 9_992_731;
pub const AELF: u32 = 1_866_392;
pub const EVM: u32 = 1;
pub const SIM: u32 = 7;
/// The main chains that are side chains of another, from the innermost out.
pub const INNERMOST: u32 = 3001;
pub const MIDDLE: u32 = 3002;

/// How many transactions the AElf blocks 1, 2, .. have.
pub const AELF_SIZES: [usize; 6] = [1, 2, 3, 5, 6, 33];
/// How many the EVM blocks have.
pub const EVM_SIZES: [usize; 5] = [1, 2, 17, 131, 300];
/// How many the simulated blocks have.
pub const SIM_SIZES: [usize; 4] = [1, 3, 8, 13];

/// The worlds, from the innermost out: the simulated chain's blocks are in the first, the headers of each in the next.
pub fn worlds() -> [World; 3] {
    let sim: Vec<_> = SIM_SIZES
        .iter()
        .map(|size| BlockContent {
            hash: digest(format!("simulated {size}").as_bytes()),
            tx_root: sim_tree(&sim_data(*size)).root(),
        })
        .collect();
    let mut innermost = World::new(INNERMOST);
    innermost.seal(&[(SIM, Section { first: 1, blocks: sim.clone() }), (9, section(9, 4, 2))].into());
    for height in 2..=6 {
        innermost.seal(&[(9, section(9, 2 + 2 * height, 2))].into());
    }
    let mut middle = World::new(MIDDLE);
    middle.seal(&[(2, section(2, 1, 3))].into());
    middle.seal(&[(2, section(2, 4, 1)), (INNERMOST, innermost.as_side(1, 5))].into());
    middle.seal(&[(INNERMOST, innermost.as_side(6, 6))].into());

    let aelf = AELF_SIZES
        .iter()
        .map(|size| BlockContent { hash: digest(&size.to_le_bytes()), tx_root: aelf_tree(*size).root() });
    let evm = evm_blocks();
    let mut main = World::new(MAIN);
    main.seal(&[(SIM, Section { first: 1, blocks: sim })].into());
    // Nothing at all.
    main.seal(&BTreeMap::new());
    main.seal(
        &[
            (EVM, Section { first: 100, blocks: evm.iter().map(EvmBlock::content).collect() }),
            (AELF, Section { first: 1, blocks: aelf.collect() }),
            (MIDDLE, middle.as_side(1, 3)),
            (6, section(6, 50, 7)),
            (8, section(8, 1, 1)),
        ]
        .into(),
    );
    main.seal(&[(0, section(0, 10, 2)), (2, section(2, 1, 130)), (u32::MAX, section(u32::MAX, 1, 3))].into());
    for height in 5..=16_u64 {
        let chains = (0..=height % 5).map(|chain| 20 + chain as u32);
        main.seal(&chains.map(|chain| (chain, section(chain, height * 10, height % 4 + 1))).collect());
    }
    // As high as heights go.
    main.seal(&[(6, section(6, (1 << 63) - 3, 3)), (u32::MAX - 1, section(1, 9, 2))].into());
    [innermost, middle, main]
}

/// The EVM chain's blocks, from height 100.
pub fn evm_blocks() -> Vec<EvmBlock> {
    (100..).zip(EVM_SIZES).map(|(number, size)| EvmBlock::new(number, size, size != 2)).collect()
}

/// A transaction three levels deep: in the simulated chain, in the innermost main chain, in the middle one, in the outer
/// one.
pub fn three_levels([innermost, middle, main]: &[World; 3]) -> Document {
    let sim = transaction(innermost, sim_part(&sim_data(13), 12), (SIM, 4), Some(5));
    let inner = transaction(middle, nested(sim), (INNERMOST, 5), Some(3));
    Document::Transaction(transaction(main, nested(inner), (MIDDLE, 3), Some(16)))
}

pub fn samples() -> Vec<Sample> {
    let worlds = worlds();
    let [innermost, middle, main] = &worlds;
    let mut all = Vec::new();
    let mut add = |name: String, document| all.push(Sample::new(name, document));

    for (chain, height, head) in [
        (SIM, 1, None),
        (SIM, 4, Some(2)),
        (AELF, 3, Some(17)),
        (8, 1, None),
        (6, 56, Some(4)),
        (2, 1, Some(12)),
        (2, 128, Some(16)),
        (2, 130, None),
        (0, 11, Some(9)),
        (u32::MAX, 2, Some(10)),
        (20, 100, Some(17)),
        (6, (1 << 63) - 1, None),
    ] {
        let to = head.map_or_else(String::new, |head| format!(" up to header {head}"));
        add(format!("block {height} of chain {chain}{to}"), Document::Block(main.proof(chain, height, head)));
    }

    for (height, size) in (1..).zip(AELF_SIZES) {
        let places = [0, size / 2, size - 1];
        for (turn, index) in
            places.into_iter().enumerate().filter(|(turn, place)| !places[..*turn].contains(place))
        {
            let head = (turn == 1).then_some(9);
            let proof = transaction(main, aelf_part(size, index), (AELF, height), head);
            add(format!("AElf transaction {index} of {size}"), Document::Transaction(proof));
        }
    }
    for (height, size) in (1..).zip(SIM_SIZES) {
        let proof = transaction(main, sim_part(&sim_data(size), size - 1), (SIM, height), Some(3));
        add(format!("simulated transaction {} of {size}", size - 1), Document::Transaction(proof));
    }
    for (height, block) in (100..).zip(&evm_blocks()) {
        let size = block.receipts.len();
        for (index, transaction_too, receipt) in [
            (0, false, true),
            (size / 2, true, false),
            (size - 1, true, true),
            (128, false, true),
            (127, true, false),
        ] {
            if index >= size || size == 1 && index == 0 && transaction_too && !receipt {
                continue;
            }
            let what = match (transaction_too, receipt) {
                (true, true) => "transaction and receipt",
                (true, false) => "transaction",
                _ => "receipt",
            };
            let part = block.transaction(index, transaction_too, receipt);
            let proof = transaction(main, part, (EVM, height), (index % 2 == 0).then_some(5));
            add(format!("EVM {what} {index} of {size}"), Document::Transaction(proof));
        }
    }
    let in_middle = Nested::Block(middle.proof(INNERMOST, 2, Some(3)));
    let inside = Transaction::Mainstem(Box::new(in_middle));
    add(
        "a block of a Mainstem's own side chain".into(),
        Document::Transaction(transaction(main, inside, (MIDDLE, 3), None)),
    );
    let sim = transaction(innermost, sim_part(&sim_data(3), 1), (SIM, 2), None);
    let two = transaction(middle, nested(sim), (INNERMOST, 1), Some(3));
    add("a transaction over two levels".into(), Document::Transaction(two));
    add("a transaction over three levels".into(), three_levels(&worlds));
    add("a transaction over eight levels".into(), Document::Transaction(levels(8)));

    let everything: Vec<_> = (1..=130).map(|height| (2, height)).collect();
    let spread: Vec<_> = [
        (SIM, 2),
        (AELF, 1),
        (AELF, 6),
        (6, 50),
        (6, 51),
        (6, 56),
        (2, 7),
        (2, 64),
        (2, 65),
        (20, 50),
        (22, 70),
    ]
    .into();
    for (name, wanted, head) in [
        ("one block", &[(6, 53)][..], None),
        ("one block up to header 10", &[(6, 53)][..], Some(10)),
        ("two neighbours", &[(6, 54), (6, 55)][..], Some(17)),
        ("the first and the last of 130", &[(2, 1), (2, 130)][..], None),
        ("all of a chain", &everything[..], Some(5)),
        ("blocks of several main blocks", &spread[..], Some(17)),
        ("blocks of main blocks of which the last is the head", &[(2, 3), (20, 70), (21, 71)][..], Some(7)),
        ("blocks of all chains of a main block", &[(0, 10), (2, 9), (u32::MAX, 3)][..], Some(16)),
    ] {
        add(format!("blocks: {name}"), Document::Blocks(main.many(wanted, head)));
    }

    for (from, to) in [
        (1, 1),
        (1, 2),
        (1, 17),
        (2, 3),
        (2, 9),
        (3, 4),
        (4, 7),
        (5, 6),
        (5, 17),
        (8, 16),
        (9, 17),
        (16, 17),
        (7, 7),
    ] {
        add(format!("consistency from {from} to {to}"), Document::Consistency(main.consistency(from, to)));
    }

    for (chain, at, head) in [
        (SIM, 1, None),
        (2, 4, Some(5)),
        (8, 3, Some(17)),
        (AELF, 3, None),
        (u32::MAX, 4, Some(16)),
        (6, 17, None),
    ] {
        let proof = main.section(chain, at, head);
        add(
            format!("all {} blocks of chain {chain} in main block {at}", proof.blocks.len()),
            Document::Chain(proof),
        );
    }

    for (chain, at, head) in [
        (SIM, 2, None),
        (SIM, 2, Some(17)),
        (0, 3, Some(9)),
        (7, 3, None),
        (7, 3, Some(4)),
        (1, 4, None),
        (u32::MAX - 1, 4, Some(16)),
        (u32::MAX, 17, None),
        (19, 9, Some(12)),
        (5_000_000, 3, None),
    ] {
        add(format!("no block of chain {chain} in main block {at}, {}", head.unwrap_or(at)), {
            Document::Absence(main.absence(chain, at, head))
        });
    }
    all
}

/// Documents that are right, though of blocks that no honest chain makes, or of which a changed one says the same.
pub fn odd() -> Vec<Sample> {
    let data = vec![b"twice".to_vec(); 2];
    let block = BlockContent { hash: digest(b"twice"), tx_root: sim_tree(&data).root() };
    let mut world = World::new(MAIN);
    world.seal(&[(SIM, Section { first: 1, blocks: vec![block] })].into());
    // Only in AElf's tree a copy has no place of its own.
    let second = Transaction::Sim(SimPart { data: data[1].clone(), path: sim_tree(&data).path(1) });
    let equal = transaction(&world, second, (SIM, 1), None);

    // A trie whose root is a branch, and its leaf in it: values are longer than that in any real one.
    let leaf = evm::rlp_list(&[evm::rlp(&[0x30]), evm::rlp(b"short")]);
    let inside = evm::by_hand(0, vec![evm::branch(&[(8, leaf), (3, evm::rlp(&[7; 32]))])]);
    vec![
        Sample::new("simulated transaction 1 of 2 equal ones", Document::Transaction(equal)),
        Sample::new("EVM receipt in a node that stands in its parent", inside),
    ]
}

/// A simulated transaction under `levels` main chains, each a side chain of the next.
pub fn levels(levels: u32) -> verify::proof::CrossChainProof {
    let data = sim_data(2);
    let content = BlockContent { hash: Hash([9; 32]), tx_root: sim_tree(&data).root() };
    let mut world = World::new(4000);
    world.seal(&[(SIM, Section { first: 1, blocks: vec![content] })].into());
    let mut proof = transaction(&world, sim_part(&data, 1), (SIM, 1), None);
    for level in 1..=levels {
        let mut outer = World::new(4000 + level);
        outer.seal(&[(world.chain, world.as_side(1, 1))].into());
        proof = transaction(&outer, nested(proof), (world.chain, 1), None);
        world = outer;
    }
    proof
}
