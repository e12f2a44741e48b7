//! Documents that someone forged, or wrote wrong: each must be refused, whatever its reader trusts.

use alloy_primitives::keccak256;
use serde_json::{Value, json};
use verify::chain::{ChainId, Hash, Height};
use verify::proof::{AelfPart, CrossChainProof, Document, EvmPart, Nested, SimPart, Transaction};
use verify::tree::{Step, node};

use super::accepted::{AELF, EVM, INNERMOST, MIDDLE, SIM, evm_blocks, levels, worlds};
use super::evm::{self, branch, rlp, rlp_list};
use super::{
    AelfTree, BlockContent, Section, World, aelf_ids, aelf_part, digest, nested, section, sim_data, sim_part,
    transaction,
};

pub struct Refused {
    pub name: &'static str,
    pub form: Form,
    pub reason: &'static str,
}

pub enum Form {
    Json(Value),
    Binary(Vec<u8>),
}

pub fn refused() -> Vec<Refused> {
    let mut list = List(Vec::new());
    trees(&mut list);
    blocks(&mut list);
    transactions(&mut list);
    evm_blocks_of_others(&mut list);
    nodes(&mut list);
    many(&mut list);
    histories(&mut list);
    wholes(&mut list);
    forms(&mut list);
    list.0
}

struct List(Vec<Refused>);

impl List {
    fn add(&mut self, name: &'static str, document: impl Into<Document>, reason: &'static str) {
        self.json(name, serde_json::to_value(document.into()).unwrap(), reason);
    }

    fn json(&mut self, name: &'static str, json: Value, reason: &'static str) {
        self.0.push(Refused { name, form: Form::Json(json), reason });
    }

    fn binary(&mut self, name: &'static str, binary: Vec<u8>, reason: &'static str) {
        self.0.push(Refused { name, form: Form::Binary(binary), reason });
    }
}

/// Places in trees where nothing stands.
fn trees(list: &mut List) {
    let [.., main] = worlds();
    let aelf = |size: usize, leaf: usize, place: usize, height| {
        let path = super::aelf_tree(size).path(place);
        let part = Transaction::Aelf(AelfPart { id: aelf_ids(size)[leaf], path });
        Document::Transaction(transaction(&main, part, (AELF, height), None))
    };
    list.add(
        "aelf: duplicate tail, at the leaves",
        aelf(3, 2, 3, 3),
        "the path starts at a copy that completes an odd row",
    );
    list.add(
        "aelf: duplicate of a single leaf",
        aelf(1, 0, 1, 1),
        "the path starts at a copy that completes an odd row",
    );
    list.add(
        "aelf: duplicate tail, a level above",
        aelf(5, 4, 6, 4),
        "the path goes through a copy that completes an odd row",
    );
    list.add(
        "aelf: duplicate tail, two leaves of it",
        aelf(6, 5, 7, 5),
        "the path goes through a copy that completes an odd row",
    );

    // The node over the first two leaves, as if it were a transaction.
    let leaves: Vec<_> = aelf_ids(3).into_iter().map(verify::aelf::mined).collect();
    let path = super::aelf_tree(3).path(0)[1..].to_vec();
    let inner = Transaction::Aelf(AelfPart { id: node(leaves[0], leaves[1]), path });
    list.add(
        "aelf: inner node as a transaction",
        Document::Transaction(transaction(&main, inner, (AELF, 3), None)),
        "the leaf is hashed from the id and the status",
    );
    // A leaf of a transaction that failed.
    let failed = |id: &Hash, status: &str| digest(&[id.as_bytes(), status.as_bytes()].concat());
    let ids = aelf_ids(2);
    let tree = AelfTree::new(vec![failed(&ids[0], "Failed"), verify::aelf::mined(ids[1])]);
    let block = BlockContent { hash: digest(b"failed"), tx_root: tree.root() };
    let mut world = World::new(5);
    world.seal(&[(AELF, Section { first: 1, blocks: vec![block] })].into());
    let part = Transaction::Aelf(AelfPart { id: ids[0], path: tree.path(0) });
    list.add(
        "aelf: a transaction that failed",
        Document::Transaction(transaction(&world, part, (AELF, 1), None)),
        "the leaf has another status than Mined",
    );

    // Two simulated transactions of which the first one's hash starts as a leaf does: the node over them is the leaf of 63 bytes.
    let data: Vec<Vec<u8>> = (0_u32..1 << 20)
        .map(|number| format!("ground {number}").into_bytes())
        .find(|data| digest(&[&[0x10], &data[..]].concat()).0[0] == 0x10)
        .into_iter()
        .chain([b"second".to_vec(), b"third".to_vec()])
        .collect();
    let tree = super::sim_tree(&data);
    let leaf = |index: usize| digest(&[&[0x10], &data[index][..]].concat());
    let forged = [&leaf(0).as_bytes()[1..], leaf(1).as_bytes()].concat();
    assert_eq!(forged.len(), 63);
    let block = BlockContent { hash: digest(b"ground"), tx_root: tree.root() };
    let mut world = World::new(5);
    world.seal(&[(SIM, Section { first: 1, blocks: vec![block] })].into());
    let path = tree.path(0)[1..].to_vec();
    let part = Transaction::Sim(SimPart { data: forged, path });
    list.add(
        "sim: 63 bytes of data that are an inner node",
        Document::Transaction(transaction(&world, part, (SIM, 1), None)),
        "data of 63 bytes has a preimage as long as a node's",
    );
}

fn blocks(list: &mut List) {
    let [.., main] = worlds();
    let right = main.proof(2, 7, Some(9));
    // The node over two leaves, as if it were the leaf of a tree half as large.
    let mut proof = right.clone();
    proof.chain_path.remove(0);
    proof.chain.count = 65;
    proof.block.height = Height(4);
    list.add("block: inner node as leaf", Document::Block(proof), "the side leaf is hashed from the block");
    let mut proof = right.clone();
    proof.chain_path.remove(0);
    list.add("block: path cut", Document::Block(proof), "index and count give the length of chain_path");
    let mut proof = right.clone();
    proof.side_path.push(proof.side_path[0]);
    list.add(
        "block: path lengthened",
        Document::Block(proof),
        "index and chain_count give the length of side_path",
    );
    let mut proof = right.clone();
    proof.chain_path[0].left ^= true;
    list.add("block: side flipped", Document::Block(proof), "index and count give the sides of chain_path");
    let mut proof = right.clone();
    proof.chain_path.swap(0, 1);
    list.add("block: path reordered", Document::Block(proof), "chain_path leads elsewhere");
    let mut proof = right.clone();
    proof.block.height = Height(8);
    list.add(
        "block: another height",
        Document::Block(proof),
        "the height gives the index in the chain's tree",
    );
    let mut proof = right.clone();
    proof.chain_id = ChainId(3);
    list.add("block: another chain", Document::Block(proof), "the side leaf binds the chain");
    let mut proof = right.clone();
    proof.chain.count = 131;
    list.add("block: another count", Document::Block(proof), "the chain leaf binds the count");
    let mut proof = right.clone();
    proof.head = None;
    list.add(
        "block: a history path without a head",
        Document::Block(proof),
        "history_path and head come together",
    );
    let mut proof = right.clone();
    proof.history_path = None;
    list.add(
        "block: a head without a history path",
        Document::Block(proof),
        "history_path and head come together",
    );
    let mut proof = right.clone();
    (proof.header, proof.head) = (proof.head.unwrap(), Some(proof.header));
    list.add(
        "block: header and head exchanged",
        Document::Block(proof),
        "side_path does not lead to that header",
    );
    let mut proof = right.clone();
    proof.head = Some(main.block(10).header);
    list.add("block: another head", Document::Block(proof), "history_path does not lead to that head");
    let mut proof = right.clone();
    proof.head.as_mut().unwrap().chain_id.0 += 1;
    list.add(
        "block: a head of another main chain",
        Document::Block(proof),
        "header and head are of one main chain",
    );
    let mut proof = right.clone();
    proof.version = 2;
    list.add("block: version 2", Document::Block(proof), "the version is not known");
    let mut proof = right;
    proof.header.version = 2;
    list.add("block: a header of version 2", Document::Block(proof), "the version is not known");
    // As a dishonest sealer could seal them.
    let mut world = World::new(5);
    world.seal_as_is(vec![(2, section(2, 0, 2))]);
    list.add("block: height 0", Document::Block(world.proof(2, 0, None)), "heights are 1 to 2^63 - 1");
    let mut world = World::new(5);
    world.seal_as_is(vec![(2, section(2, 1 << 63, 2))]);
    list.add(
        "block: height 2^63",
        Document::Block(world.proof(2, 1 << 63, None)),
        "heights are 1 to 2^63 - 1",
    );
}

fn transactions(list: &mut List) {
    let worlds = worlds();
    let [innermost, middle, main] = &worlds;
    let add = |list: &mut List, name, proof: CrossChainProof, reason| {
        list.add(name, Document::Transaction(proof), reason);
    };
    let right = || transaction(main, aelf_part(33, 16), (AELF, 6), Some(9));
    let mut proof = right();
    proof.block = main.proof(AELF, 5, Some(9));
    add(list, "transaction: of another block", proof, "the path leads to another tx_root");
    let mut proof = right();
    proof.version = 0;
    add(list, "transaction: version 0", proof, "the version is not known");
    let mut proof = right();
    proof.transaction = sim_part(&sim_data(8), 3);
    add(list, "transaction: of another chain", proof, "the path leads to another tx_root");
    let mut proof = right();
    if let Transaction::Aelf(part) = &mut proof.transaction {
        part.path = vec![Step { hash: Hash([1; 32]), left: false }; 33];
    }
    add(list, "transaction: a path of 33 steps", proof, "a path has at most 32 steps");

    // The innermost header of another height, of another chain, and not the newest one.
    let inner =
        |height, head| Transaction::Mainstem(Box::new(Nested::Block(innermost.proof(SIM, height, head))));
    let outer = |part, height| transaction(middle, part, (INNERMOST, height), None);
    add(
        list,
        "mainstem: an older header than the outer block",
        outer(inner(1, Some(2)), 3),
        "the inner proof ends in the outer block's header",
    );
    add(
        list,
        "mainstem: a newer header than the outer block",
        outer(inner(1, Some(3)), 2),
        "the inner proof ends in the outer block's header",
    );
    add(
        list,
        "mainstem: its header, not its head, is the outer block",
        outer(inner(1, Some(4)), 1),
        "the inner proof ends in its head",
    );
    let mut other = World::new(INNERMOST + 5);
    other.seal(&[(SIM, section(SIM, 1, 1))].into());
    let mut world = World::new(5);
    world.seal(&[(INNERMOST, other.as_side(1, 1))].into());
    let foreign = Transaction::Mainstem(Box::new(Nested::Block(other.proof(SIM, 1, None))));
    add(
        list,
        "mainstem: a header of another chain",
        transaction(&world, foreign, (INNERMOST, 1), None),
        "the inner header names another chain than the outer block's",
    );
    let mut world = World::new(5);
    let mut side = innermost.as_side(1, 1);
    side.blocks[0].tx_root = Hash([3; 32]);
    world.seal(&[(INNERMOST, side)].into());
    let part = Transaction::Mainstem(Box::new(Nested::Block(innermost.proof(SIM, 1, None))));
    add(
        list,
        "mainstem: another tx_root than the side root",
        transaction(&world, part, (INNERMOST, 1), None),
        "the inner header's side_root is not tx_root",
    );
    let broken = transaction(innermost, sim_part(&sim_data(3), 0), (SIM, 3), None);
    add(
        list,
        "mainstem: a wrong proof inside",
        transaction(middle, nested(broken), (INNERMOST, 1), None),
        "the inner proof does not verify",
    );
    add(list, "mainstem: nine levels", levels(9), "at most 8 levels");
    list.binary(
        "mainstem: nine levels, binary",
        Document::Transaction(levels(9)).to_bytes(),
        "at most 8 levels",
    );
    let three = super::accepted::three_levels(&worlds);
    let Document::Transaction(mut three) = three else { unreachable!("it is one") };
    three.block = main.proof(MIDDLE, 2, Some(16));
    add(
        list,
        "mainstem: three levels on another outer block",
        three,
        "the inner proof ends in the outer block's header",
    );
}

fn evm_blocks_of_others(list: &mut List) {
    let [.., main] = worlds();
    let blocks = evm_blocks();
    let document = |part: EvmPart, height| {
        Document::Transaction(transaction(&main, Transaction::Evm(part), (EVM, height), None))
    };
    // Block 103 has 131 transactions.
    let right = || blocks[3].part(129, true, true);
    let mut part = right();
    part.receipt.as_mut().unwrap().pop();
    list.add("evm: the last node is missing", document(part, 103), "the nodes do not reach the value");
    let mut part = right();
    let nodes = part.receipt.as_mut().unwrap();
    nodes.push(nodes.last().unwrap().clone());
    list.add("evm: a node is left over", document(part, 103), "each node is used");
    let mut part = right();
    part.receipt.as_mut().unwrap().insert(0, vec![0x80]);
    list.add("evm: an empty trie in front", document(part, 103), "the first node is the root");
    let mut part = right();
    part.receipt.as_mut().unwrap().swap(0, 1);
    list.add("evm: nodes reordered", document(part, 103), "the root comes first");
    let mut part = right();
    part.index = 130;
    list.add("evm: another index", document(part, 103), "the key is rlp(index)");
    let mut part = right();
    std::mem::swap(&mut part.transaction, &mut part.receipt);
    list.add(
        "evm: transaction and receipt exchanged",
        document(part, 103),
        "they stand under different roots",
    );
    let mut part = right();
    part.receipt = Some(Vec::new());
    list.add("evm: a list of no nodes", document(part, 103), "a list has 1 to 32 nodes");
    let mut part = right();
    (part.transaction, part.receipt) = (None, None);
    list.add("evm: neither transaction nor receipt", document(part, 103), "at least one of the two");
    let mut part = right();
    part.header = blocks[2].part(0, true, true).header;
    list.add("evm: the header of another block", document(part, 103), "the header hashes to another hash");
    let mut part = right();
    part.header.push(0);
    list.add("evm: a header with a byte more", document(part, 103), "the header hashes to another hash");
    list.add(
        "evm: proof of another block",
        document(blocks[2].part(0, true, true), 103),
        "the header hashes to another hash",
    );
    let mut part = right();
    part.receipt.as_mut().unwrap().last_mut().unwrap()[40] ^= 1;
    list.add(
        "evm: a receipt with a bit flipped",
        document(part, 103),
        "the node is not the one that is named above it",
    );
    // A block whose chain committed to another receipts root, or another height, than its header has.
    let sealed = |height, tx_root| {
        let content = BlockContent { tx_root, ..blocks[3].content() };
        let mut world = World::new(5);
        world.seal(&[(EVM, Section { first: height, blocks: vec![content] })].into());
        Document::Transaction(transaction(&world, Transaction::Evm(right()), (EVM, height), None))
    };
    list.add(
        "evm: the header of another height",
        sealed(104, blocks[3].content().tx_root),
        "the header's number is the height",
    );
    list.add(
        "evm: a tx_root that is not the receipts root",
        sealed(103, Hash([5; 32])),
        "the header's receipts root is tx_root",
    );
}

/// Nodes that hash to what names them, and that no trie has.
fn nodes(list: &mut List) {
    let value = rlp(&[0xab; 40]);
    // Its key is 8, 0: under the slot 8 of a branch the leaf of a 0 is left.
    let index = 0;
    let leaf = |prefix: &[u8]| rlp_list(&[rlp(prefix), value.clone()]);
    let named = |node: &[u8]| rlp(keccak256(node).as_slice());
    let below = leaf(&[0x30]);
    let one = "a node has one canonical form";
    let mut add = |name, nodes: Vec<Vec<u8>>, reason| list.add(name, evm::by_hand(index, nodes), reason);

    add("evm: a hex-prefix with padding", vec![leaf(&[0x2f, 0x80])], "the padding of a hex-prefix is 0");
    add("evm: a hex-prefix with unknown flags", vec![leaf(&[0x60, 0x80])], "a hex-prefix has two flags");
    add("evm: an empty hex-prefix", vec![leaf(&[])], "a hex-prefix has its flags");
    let long = [&[0x20, 0x80][..], &[0; 32]].concat();
    add("evm: a leaf with a key of 34 bytes", vec![leaf(&long)], "the key is rlp(index)");
    let long = [&[0x00, 0x80][..], &[0; 32]].concat();
    add(
        "evm: an extension with a key of 34 bytes",
        vec![rlp_list(&[rlp(&long), named(&below)]), below.clone()],
        "the key is rlp(index)",
    );
    add("evm: a leaf of a longer key", vec![leaf(&[0x20, 0x80, 0x00])], "the key is rlp(index)");
    add("evm: a leaf of a shorter key", vec![leaf(&[0x38])], "the key is rlp(index)");
    add(
        "evm: a leaf with an empty value",
        vec![rlp_list(&[rlp(&[0x20, 0x80]), rlp(&[])])],
        "a leaf has a value",
    );
    let listed = rlp_list(&[rlp(&[0x20, 0x80]), rlp_list(std::slice::from_ref(&value))]);
    add("evm: a leaf with a list for a value", vec![listed], "the value is a string");

    let with = |slot, item: Vec<u8>| vec![branch(&[(8, named(&below)), (slot, item)]), below.clone()];
    add("evm: a branch with a value", with(16, rlp(b"value")), "no key ends in a branch");
    add("evm: a string in another slot of a branch", with(3, rlp(b"short")), "a child is a hash, or a list");
    add("evm: a byte in another slot of a branch", with(3, vec![5]), "a child is a hash, or a list");
    let of = |length: usize| rlp_list(&[rlp(&[0x30]), rlp(&vec![0xab; length - 3])]);
    for (length, name) in [
        (32, "evm: a node of 32 bytes in another slot of a branch"),
        (33, "evm: a node of 33 bytes in another slot of a branch"),
        (60, "evm: a node of 60 bytes in another slot of a branch"),
    ] {
        let node = of(length.min(56));
        let node = if length == 60 { below.clone() } else { node };
        add(name, with(15, node), "a child of 32 bytes or more is named by its hash");
    }
    for (length, name) in
        [(32, "evm: a node of 32 bytes in its parent"), (33, "evm: a node of 33 bytes in its parent")]
    {
        let node = branch(&[(8, of(length))]);
        add(name, vec![node], "a child of 32 bytes or more is named by its hash");
    }
    let short = of(31);
    add(
        "evm: a node of 31 bytes named by its hash",
        vec![branch(&[(8, named(&short))]), short],
        "a child of less than 32 bytes stands in its parent",
    );
    let below_both = leaf(&[0x20]);
    let extended = |prefix: &[u8], child: Vec<u8>| rlp_list(&[rlp(prefix), child]);
    add(
        "evm: an extension by nothing",
        vec![extended(&[0x00], named(&leaf(&[0x20, 0x80]))), leaf(&[0x20, 0x80])],
        "an extension has nibbles",
    );
    add(
        "evm: an extension with padding",
        vec![extended(&[0x01, 0x80], named(&below_both)), below_both.clone()],
        "the padding of a hex-prefix is 0",
    );
    add("evm: an extension to nothing", vec![extended(&[0x18], rlp(&[]))], "an extension has a child");
    add(
        "evm: an extension to a string",
        vec![extended(&[0x18], rlp(b"short"))],
        "a child is a hash, or a list",
    );
    add(
        "evm: an extension to a node of 32 bytes that stands in it",
        vec![extended(&[0x18], of(32))],
        "a child of 32 bytes or more is named by its hash",
    );
    let last = branch(&[(0, named(&below_both))]);
    add(
        "evm: a key that ends in a branch",
        vec![extended(&[0x00, 0x80], named(&last)), last, below_both],
        "no key ends in a branch",
    );

    let spelt = |items: &[Vec<u8>]| {
        let payload = items.concat();
        [&[0xf9, 0, payload.len() as u8][..], &payload].concat()
    };
    let right = [rlp(&[0x20, 0x80]), value.clone()];
    add("evm: a list with a longer length", vec![spelt(&right)], one);
    let longer = [&[0xb8, 40][..], &[0xab; 40]].concat();
    add("evm: a value with a longer length", vec![rlp_list(&[right[0].clone(), longer])], one);
    add("evm: a value of one byte with a length", vec![rlp_list(&[right[0].clone(), vec![0x81, 5]])], one);
    let loose = branch(&[(8, named(&below)), (3, vec![0xf8, 1, 0x80])]);
    add("evm: another slot with a longer length", vec![loose, below.clone()], one);
    add(
        "evm: a node with a byte more",
        vec![[&leaf(&[0x20, 0x80])[..], &[0]].concat()],
        "a node is one list",
    );
    add("evm: a node that is a string", vec![rlp(&[0xab; 40])], "a node is a list");
    for (count, name) in [
        (1, "evm: a node of one item"),
        (3, "evm: a node of three items"),
        (16, "evm: a node of 16 items"),
        (18, "evm: a node of 18 items"),
    ] {
        let mut items = vec![rlp(&[]); count];
        items[0].clone_from(&value);
        add(name, vec![rlp_list(&items)], "a node has 2 or 17 items");
    }
}

fn many(list: &mut List) {
    let [.., main] = worlds();
    let wanted = [(SIM, 2), (6, 50), (6, 56), (2, 7), (2, 64), (20, 50), (22, 70)];
    let right = || main.many(&wanted, Some(17));
    let mut proof = right();
    proof.main_blocks.reverse();
    list.add("blocks: main blocks reordered", Document::Blocks(proof), "main blocks ascend by height");
    let mut proof = right();
    proof.main_blocks[2].chains[0].blocks.reverse();
    list.add("blocks: side blocks reordered", Document::Blocks(proof), "side blocks ascend by height");
    let mut proof = main.many(&[(0, 10), (2, 7)], None);
    proof.main_blocks[0].chains.reverse();
    list.add("blocks: chains reordered", Document::Blocks(proof), "chains ascend by index");
    let mut proof = right();
    let doubled = proof.main_blocks[0].clone();
    proof.main_blocks.insert(0, doubled);
    list.add("blocks: a main block twice", Document::Blocks(proof), "main blocks ascend by height");
    let mut proof = right();
    let doubled = proof.main_blocks[2].chains[0].blocks[0];
    proof.main_blocks[2].chains[0].blocks.insert(0, doubled);
    list.add("blocks: a side block twice", Document::Blocks(proof), "side blocks ascend by height");
    let mut proof = right();
    proof.main_blocks[2].chains[0].nodes.push(Hash([1; 32]));
    list.add("blocks: a node too many", Document::Blocks(proof), "all nodes are used up");
    let mut proof = right();
    proof.main_blocks[2].chains[0].nodes.pop();
    list.add("blocks: a node too few", Document::Blocks(proof), "the nodes complete the tree");
    let mut proof = right();
    proof.main_blocks[2].chains[0].nodes.swap(0, 1);
    list.add("blocks: nodes reordered", Document::Blocks(proof), "the nodes lead elsewhere");
    let mut proof = right();
    proof.history.as_mut().unwrap().push(Hash([1; 32]));
    list.add("blocks: a node too many in the history", Document::Blocks(proof), "all nodes are used up");
    let mut proof = right();
    proof.main_blocks[2].chains[0].blocks.clear();
    list.add("blocks: a chain without blocks", Document::Blocks(proof), "at least one block");
    let mut proof = right();
    proof.main_blocks.clear();
    list.add("blocks: nothing at all", Document::Blocks(proof), "at least one main block");
    let mut proof = right();
    (proof.head, proof.history) = (None, None);
    list.add(
        "blocks: several main blocks without a head",
        Document::Blocks(proof),
        "without a head there is one main block",
    );
    let mut proof = right();
    proof.history = None;
    list.add("blocks: a head without a history", Document::Blocks(proof), "history and head come together");
    let mut proof = main.many(&[(6, 53)], None);
    (proof.head, proof.history) = (Some(proof.main_blocks[0].header), Some(Vec::new()));
    list.add(
        "blocks: the only main block as head",
        Document::Blocks(proof),
        "a head is later than the only main block",
    );
    let mut proof = right();
    proof.head = Some(main.block(4).header);
    list.add(
        "blocks: a main block above the head",
        Document::Blocks(proof),
        "main blocks are below the head",
    );
}

fn histories(list: &mut List) {
    let [.., main] = worlds();
    // The same chain, rewritten from block 3 on.
    let mut rewritten = World::new(main.chain);
    for height in 1..=2 {
        rewritten.seal_as_is(main.block(height).sections.clone());
    }
    for height in 3..=17 {
        rewritten.seal(&[(3, section(3, height, 1))].into());
    }
    for (name, from, to) in [
        ("consistency: a rewritten history", 5, 17),
        ("consistency: a rewritten block, the history before it kept", 3, 9),
        ("consistency: another block of the same height", 7, 7),
    ] {
        let mut proof = rewritten.consistency(from, to);
        proof.from = main.block(from).header;
        list.add(
            name,
            Document::Consistency(proof),
            "the earlier header is not in the history of the later one",
        );
    }
    // Each half alone would pass: the history of `from` is the beginning, but `from` is not in it; and the other way round.
    let mut forged = main.block(5).header;
    forged.state_root = Hash([1; 32]);
    let mut proof = main.consistency(5, 17);
    proof.from = forged;
    list.add(
        "consistency: right history, another header",
        Document::Consistency(proof),
        "the header is not in the later history",
    );
    let mut world = main.clone();
    world.blocks.truncate(4);
    let mut liar = main.block(5).clone();
    liar.header.history_root = Hash([2; 32]);
    world.blocks.push(liar);
    for height in 6..=9 {
        world.seal(&[(3, section(3, height, 1))].into());
    }
    list.add(
        "consistency: right header, another history",
        Document::Consistency(world.consistency(5, 9)),
        "the earlier history is not the beginning of the later one",
    );
    let right = || main.consistency(5, 17);
    let mut proof = right();
    proof.consistency.pop();
    list.add(
        "consistency: a hash too few",
        Document::Consistency(proof),
        "the heights give the number of hashes",
    );
    let mut proof = right();
    proof.inclusion.push(Hash([1; 32]));
    list.add(
        "consistency: a hash too many",
        Document::Consistency(proof),
        "the heights give the number of hashes",
    );
    let mut proof = right();
    proof.consistency.swap(0, 1);
    list.add("consistency: hashes reordered", Document::Consistency(proof), "the hashes lead elsewhere");
    let mut proof = right();
    std::mem::swap(&mut proof.from, &mut proof.to);
    list.add("consistency: backwards", Document::Consistency(proof), "the later header is higher");
    let mut proof = main.consistency(7, 7);
    proof.inclusion.push(Hash([1; 32]));
    list.add(
        "consistency: hashes for one and the same header",
        Document::Consistency(proof),
        "both lists are empty at the same height",
    );
    let mut proof = right();
    proof.to.chain_id.0 += 1;
    list.add(
        "consistency: of two main chains",
        Document::Consistency(proof),
        "both headers are of one main chain",
    );
}

/// Whole chains, and absence.
fn wholes(list: &mut List) {
    let [.., main] = worlds();
    let right = || main.section(2, 4, Some(9));
    let mut proof = right();
    proof.blocks.pop();
    list.add(
        "chain: the last block is withheld",
        Document::Chain(proof),
        "the number of blocks is in the chain leaf",
    );
    let mut proof = right();
    proof.blocks.remove(0);
    proof.first_height = Height(2);
    list.add(
        "chain: the first block is withheld",
        Document::Chain(proof),
        "the first height is in the chain leaf",
    );
    let mut proof = right();
    proof.blocks.swap(4, 5);
    list.add("chain: blocks reordered", Document::Chain(proof), "a block's height is in its leaf");
    let mut proof = right();
    let last = *proof.blocks.last().unwrap();
    proof.blocks.push(last);
    list.add(
        "chain: the last block twice",
        Document::Chain(proof),
        "the number of blocks is in the chain leaf",
    );
    let mut proof = right();
    proof.blocks.clear();
    list.add("chain: no block", Document::Chain(proof), "at least one block");
    let mut proof = right();
    proof.first_height = Height(u64::MAX);
    list.add("chain: heights beyond 2^64", Document::Chain(proof), "heights are 1 to 2^63 - 1");

    // Main block 3 has the chains 1, 6, 8, 3002 and 1866392.
    let mut proof = main.absence(7, 3, Some(9));
    proof.before = Some(main.neighbour(3, 0));
    list.add(
        "absence: wrong neighbour before",
        Document::Absence(proof),
        "the neighbour stands at index - 1",
    );
    let mut proof = main.absence(7, 3, Some(9));
    proof.after = Some(main.neighbour(3, 3));
    list.add("absence: wrong neighbour after", Document::Absence(proof), "the neighbour stands at index");
    let mut proof = main.absence(7, 3, None);
    proof.chain_id = ChainId(8);
    list.add(
        "absence: of a chain that is there, as its own neighbour after",
        Document::Absence(proof),
        "the neighbour after has a greater id",
    );
    let mut proof = main.absence(7, 3, None);
    proof.chain_id = ChainId(6);
    list.add(
        "absence: of a chain that is there, as its own neighbour before",
        Document::Absence(proof),
        "the neighbour before has a smaller id",
    );
    let mut proof = main.absence(7, 3, None);
    proof.index = 1;
    list.add("absence: another index", Document::Absence(proof), "neighbours stand at index - 1 and index");
    let mut proof = main.absence(7, 3, None);
    proof.before = None;
    list.add("absence: no neighbour before", Document::Absence(proof), "before is null only at index 0");
    let mut proof = main.absence(7, 3, None);
    (proof.after, proof.index) = (None, 5);
    list.add(
        "absence: no neighbour after",
        Document::Absence(proof),
        "before is the chain leaf at index - 1",
    );
    let mut proof = main.absence(0, 3, None);
    proof.before = main.absence(7, 3, None).before;
    list.add("absence: a neighbour before the first", Document::Absence(proof), "before is null at index 0");
    let mut proof = main.absence(7, 3, None);
    proof.index = 6;
    list.add("absence: an index beyond the chains", Document::Absence(proof), "index is 0 to chain_count");
    let mut proof = main.absence(7, 3, None);
    std::mem::swap(&mut proof.before, &mut proof.after);
    list.add(
        "absence: neighbours exchanged",
        Document::Absence(proof),
        "before has a smaller id, after a greater one",
    );
    // A sealer that put its chains in a wrong order.
    let mut world = World::new(5);
    world.seal_as_is([8, 6, 4].map(|chain| (chain, section(chain, 1, 1))).to_vec());
    let mut proof = world.absence(7, 1, None);
    (proof.index, proof.before, proof.after) = (1, Some(world.neighbour(1, 0)), Some(world.neighbour(1, 1)));
    list.add(
        "absence: neighbours that are not sorted",
        Document::Absence(proof),
        "before has a smaller id, after a greater one",
    );
    let mut proof = main.absence(SIM, 2, None);
    proof.header.side_root = Hash([1; 32]);
    list.add(
        "absence: no chains, but a side root",
        Document::Absence(proof),
        "without chains the side root is zero",
    );
}

/// Wrong in form.
fn forms(list: &mut List) {
    let [.., main] = worlds();
    let documents = [
        ("block", Document::Block(main.proof(6, 53, Some(9)))),
        ("transaction", Document::Transaction(transaction(&main, aelf_part(5, 2), (AELF, 4), None))),
        ("blocks", Document::Blocks(main.many(&[(6, 53), (2, 9)], Some(9)))),
        ("consistency", Document::Consistency(main.consistency(5, 9))),
        ("chain", Document::Chain(main.section(6, 3, None))),
        ("absence", Document::Absence(main.absence(7, 3, None))),
    ];
    for (kind, document) in &documents {
        let bytes = document.to_bytes();
        let reason = "no missing and no surplus byte";
        let name = |what: &str| -> &'static str { Box::leak(format!("{kind}: {what}").into_boxed_str()) };
        list.binary(name("binary, a byte too many"), [&bytes[..], &[0]].concat(), reason);
        list.binary(name("binary, a byte too few"), bytes[..bytes.len() - 1].to_vec(), reason);
        let mut wrong = bytes.clone();
        wrong[0] = 2;
        list.binary(name("binary, version 2"), wrong, "the version is not known");
        let json = serde_json::to_value(document).unwrap();
        let mut wrong = json.clone();
        wrong["surplus"] = json!(1);
        list.json(name("an unknown field"), wrong, "unknown fields are refused");
        let mut wrong = json.clone();
        wrong.as_object_mut().unwrap().remove("version");
        list.json(name("no version"), wrong, "no field may be missing");
        let mut wrong = json;
        wrong["kind"] = json!("other");
        list.json(name("an unknown kind"), wrong, "the kind is not known");
    }
    list.binary("no bytes", Vec::new(), "no proof");
    list.binary("an unknown kind, binary", vec![1, 6, 0, 0], "the kind is not known");
    let mut json = serde_json::to_value(&documents[1].1).unwrap();
    json["transaction"]["type"] = json!("sim");
    list.json("transaction: the fields of another type", json, "each type has its own fields");
    let mut json = serde_json::to_value(&documents[1].1).unwrap();
    json["transaction"]["type"] = json!("bitcoin");
    list.json("transaction: an unknown type", json, "the type is not known");
    let mut bytes = documents[1].1.to_bytes();
    // Type, id, then the number of steps and the sides.
    bytes[2 + 1 + 32 + 1 + 3] |= 0x80;
    list.binary("transaction: an unused side bit", bytes, "unused bits of the sides are 0");
    let mut json = serde_json::to_value(&documents[0].1).unwrap();
    json["block"]["height"] = json!(53.5);
    list.json("block: a height that is no integer", json, "heights are integers");
    let mut json = serde_json::to_value(&documents[0].1).unwrap();
    let hash = json["block"]["hash"].as_str().unwrap()[2..].to_owned();
    json["block"]["hash"] = json!(hash);
    list.json("block: a hash without 0x", json, "hashes are 0x and 64 hex digits");
    let mut json = serde_json::to_value(&documents[5].1).unwrap();
    json.as_object_mut().unwrap().remove("before");
    list.json("absence: no word about the neighbour before", json, "null must be said");
    // A transaction proof where the block proof should be, and one in that, and so on.
    let piece = [&[1, 1, 3][..], &[0; 4], &[0], &[0; 4]].concat();
    list.binary(
        "transaction: in place of its block proof, 5000 deep",
        piece.repeat(5000),
        "block is a block proof",
    );
    spellings(list, &documents);
}

/// Other spellings in JSON of what is right.
fn spellings(list: &mut List, documents: &[(&'static str, Document); 6]) {
    let json = |number: usize| serde_json::to_value(&documents[number].1).unwrap();
    let mut change = |name, number: usize, place: &str, to: &dyn Fn(&Value) -> Value, reason| {
        let mut json = json(number);
        let value = json.pointer_mut(place).unwrap();
        *value = to(value);
        list.json(name, json, reason);
    };
    let values = |value: &Value| Value::Array(value.as_object().unwrap().values().cloned().collect());
    // In the order of the fields, which is not that of an object here.
    let fields = |names: &'static [&'static str]| {
        move |value: &Value| Value::Array(names.iter().map(|name| value[name].clone()).collect())
    };
    let object = "what has fields is an object";
    let step = fields(&["hash", "left"]);
    change("block: a step as a list", 0, "/chain_path/0", &step, object);
    change("transaction: a step as a list", 1, "/transaction/path/0", &step, object);
    let chain = fields(&["first_height", "count", "index"]);
    change("block: chain as a list", 0, "/chain", &chain, object);
    change("transaction: the block's chain as a list", 1, "/block/chain", &chain, object);
    let block = fields(&["height", "hash", "tx_root"]);
    change("block: block as a list", 0, "/block", &block, object);
    let header = fields(&[
        "version",
        "chain_id",
        "height",
        "time",
        "parent",
        "side_root",
        "chain_count",
        "leaf_count",
        "ops_root",
        "state_root",
        "history_root",
        "aelf_root",
    ]);
    change("block: header as a list", 0, "/header", &header, object);
    change("consistency: from as a list", 3, "/from", &header, object);
    change("chain: a block as a list", 4, "/blocks/0", &fields(&["hash", "tx_root"]), object);
    change("absence: a neighbour as a list", 5, "/before", &values, object);
    change(
        "blocks: a main block as a list",
        2,
        "/main_blocks/0",
        &fields(&["header", "chains", "nodes"]),
        object,
    );
    let text = |value: &Value| Value::from(value.to_string());
    let number = "a chain id is a number";
    change("block: a chain id as a text", 0, "/chain_id", &text, number);
    change("block: a header's chain id as a text", 0, "/header/chain_id", &text, number);
    change("transaction: a chain id as letters", 1, "/block/chain_id", &|_| json!("tDVV"), number);
    change("absence: a neighbour's chain id as a text", 5, "/before/chain_id", &text, number);
    change("blocks: a chain id as a text", 2, "/main_blocks/0/chains/0/chain_id", &text, number);
    let none = |_: &Value| Value::Null;
    change("block: chain_path null", 0, "/chain_path", &none, "only a neighbour may be null");
    let mut add = |name, number: usize, field: &str, value: Value| {
        let mut json = json(number);
        json[field] = value;
        list.json(name, json, "what is not there is left out: only a neighbour may be null");
    };
    for (number, name) in
        [(0, "block: kind null"), (4, "chain: head null"), (5, "absence: history_path null")]
    {
        let field = name.split_whitespace().nth(1).unwrap();
        add(name, number, field, Value::Null);
    }
    let mut json = json(1);
    json["block"]["head"] = Value::Null;
    list.json("transaction: head null", json, "what is not there is left out: only a neighbour may be null");
    let [.., main] = worlds();
    let mut json = serde_json::to_value(Document::Block(main.proof(8, 1, None))).unwrap();
    (json["head"], json["history_path"]) = (Value::Null, Value::Null);
    list.json(
        "block: head and history_path null",
        json,
        "what is not there is left out: only a neighbour may be null",
    );
    let part = Transaction::Evm(evm_blocks()[0].part(0, false, true));
    let mut json = serde_json::to_value(transaction(&main, part, (EVM, 100), None)).unwrap();
    json["transaction"]["transaction"] = Value::Null;
    list.json("evm: transaction null", json, "what is not there is left out: only a neighbour may be null");
}
